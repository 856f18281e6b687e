import type { Metadata } from '../../../metadata/metadata.ts'
import type { ChunkRun } from '../chunks.ts'
import { CopyBuffers } from '../copy-buffers.ts'
import { Copying, RUN_BYTES_IDLE, RUN_BYTES_USED } from '../copying.ts'
import { settleRestored, type RestoredVolume } from './settle-restored.ts'
import type { Tree } from './tree.ts'

/** Entries looked at in one step, and counted for progress: what is behind them is taken to be like them. */
const LOOKED_MAX = 20_000

/** A volume that is copied back to. */
export interface CopiedBack extends RestoredVolume {
  /** When a host last used it. Monotonic milliseconds. */
  readonly lastUsedMs: number
}

/** Copies back what a volume that is being restored lacks of its snapshot; the map is the cursor. */
export class RestoreProcess extends Copying {
  private readonly buffers = new CopyBuffers(RUN_BYTES_USED, RUN_BYTES_IDLE)

  constructor(
    private readonly volume: CopiedBack,
    private readonly tree: Tree,
    private readonly metadata: Metadata,
    nowMs: () => number,
    ended: () => Promise<void>,
  ) {
    super(nowMs, ended)
  }

  protected get delay(): number {
    return this.tree.record.restoreDelay
  }
  protected get chunkBytes(): number {
    return this.tree.chunkBytes
  }
  protected get lastUsedMs(): number {
    return this.volume.lastUsedMs
  }

  protected async toDo(): Promise<number> {
    const { restoring } = this.tree
    if (!restoring) return 0
    let pending = 0
    let looked = 0
    for await (const chunk of restoring.candidates(0)) {
      if (await restoring.findPending(chunk)) pending++
      if (++looked === LOOKED_MAX) return (pending / (chunk + 1)) * this.tree.chunks.size
    }
    return pending * this.chunkBytes
  }

  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    const { restoring } = this.tree
    if (!restoring) return undefined
    let looked = 0
    for await (const chunk of restoring.candidates(from)) {
      if (!(await restoring.findPending(chunk))) {
        // A step is bounded: the next one goes on from here.
        if (++looked === LOOKED_MAX) return { from: chunk, to: chunk + 1 }
        continue
      }
      let to = chunk + 1
      while (to < Math.min(chunk + most, this.tree.chunks.count) && (await restoring.findPending(to))) to++
      return { from: chunk, to }
    }
    return undefined
  }

  protected copy(run: ChunkRun): Promise<number> {
    return settleRestored(this.volume, this.metadata, run, { buffers: this.buffers })
  }
}
