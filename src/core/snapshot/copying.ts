import { PACE_ADAPTIVE } from '../../metadata/records.ts'
import type { ProcessBody, Step } from '../process/runner.ts'
import type { ChunkRun } from './chunks.ts'

/** Bytes under lock at a time without a pace: while nobody uses the volumes, and while hosts do, who wait for one such run at most. */
export const RUN_BYTES_IDLE = 8 * 1024 * 1024
export const RUN_BYTES_USED = 256 * 1024
/** Runs under way at a time: one is copied while another is flushed. */
const RUNS = 3
/** With the adaptive pace: this pause while hosts use the volume, which they do for so long after an operation. Milliseconds. */
const BUSY_PAUSE_MS = 20
const IDLE_AFTER_MS = 50

/** What copying processes share: the next runs by the pace, and when there are none. */
export abstract class Copying implements ProcessBody {
  /** Chunks to do when last counted; made less by what is done. */
  private left = 0
  private cursor = 0
  private readonly running: Promise<number>[] = []

  constructor(
    private readonly nowMs: () => number,
    private readonly ended: () => Promise<void>,
  ) {}

  /** Counts what is to be done, for progress. */
  async begin(): Promise<void> {
    this.left = await this.toDo()
  }

  remaining(): number {
    return Math.max(0, this.left)
  }

  /** Milliseconds, or `PACE_ADAPTIVE`. */
  protected abstract get delay(): number
  protected abstract get chunkBytes(): number
  /** When a host last used one of the volumes. */
  protected abstract get lastUsedMs(): number
  protected abstract toDo(): Promise<number>
  protected abstract next(from: number, most: number): Promise<ChunkRun | undefined>
  protected abstract copy(run: ChunkRun): Promise<number>

  /** The pause before the next step, in milliseconds. */
  pace(): number {
    if (this.delay !== PACE_ADAPTIVE) return this.delay
    return this.inUse ? BUSY_PAUSE_MS : 0
  }

  /** Hosts use one of the volumes now. */
  private get inUse(): boolean {
    return this.nowMs() - this.lastUsedMs < IDLE_AFTER_MS
  }

  /** Starts the next run, and waits for one when enough are under way. */
  async step(): Promise<Step> {
    const paced = this.pace() > 0
    const most = paced ? 1 : Math.max(1, Math.floor((this.inUse ? RUN_BYTES_USED : RUN_BYTES_IDLE) / this.chunkBytes))
    const run = await this.next(this.cursor, most)
    if (run) {
      this.cursor = run.to
      const copying = this.copy(run)
      // Its failure is told by the step that waits for it.
      copying.catch(() => undefined)
      this.running.push(copying)
    }
    let moved = 0
    while (this.running.length > 0 && (!run || paced || this.running.length >= RUNS)) moved += await this.running.shift()!
    this.left -= moved
    if (run) return { moved, finished: false }
    if (this.cursor > 0) {
      // From the beginning again: only when nothing is found there, nothing is left.
      this.cursor = 0
      return { moved, finished: false }
    }
    await this.ended()
    return { moved, finished: true }
  }

  async end(): Promise<void> {
    await Promise.all(this.running.splice(0))
  }
}
