import type { Clock } from '../base/clock.ts'
import { deferred, type Deferred } from '../base/deferred.ts'
import { LunarError } from '../base/errors.ts'

export type RunState = 'running' | 'waiting' | 'paused' | 'done' | 'failed' | 'stopped'

/** What a process did in one step. */
export interface Step {
  /** Bytes moved. */
  readonly moved: number
  /** Nothing is left to do. */
  readonly finished: boolean
}

/**
 * A background process: resync, reclaim and what follows them. Its work is found by looking at what is still to be done,
 * so that it goes on after a crash without skipping anything and redoes at most what the last step had not committed.
 */
export interface ProcessBody {
  /** Does a bounded piece of work and makes its result durable. */
  step(signal: AbortSignal): Promise<Step>
  /** Waits for what steps have left running; called once, when the process ends in whatever way. Nothing when left out. */
  end?(): Promise<void>
  /** Bytes still to do, for progress. */
  remaining(): number
  /** Milliseconds to pause before the next step; looked at before each. None when left out. */
  pace?(): number
}

export interface Progress {
  readonly number: number
  readonly kind: string
  readonly target: string
  readonly state: RunState
  readonly done: number
  readonly total: number
  /** Bytes a second over the last seconds. */
  readonly rate: number
  readonly startedMs: number
  readonly endedMs: number
  readonly reason: string
}

/** Where a process's record is kept (the CursorStore of engine.md section 1). */
export interface ProcessLog {
  save(progress: Progress): Promise<void>
}

/** Rates are measured over this long. */
const RATE_WINDOW_MS = 3000
/** The record is written this often while a process runs. */
const SAVE_EVERY_MS = 2000

/** One running process: steps with a pause between them, until it is finished, stopped or fails. */
export class RunningProcess {
  private state: RunState = 'running'
  private done = 0
  private endedMs = 0
  private reason = ''
  private readonly samples: { at: number; done: number }[] = []
  private readonly abort = new AbortController()
  private waking = new AbortController()
  private endAs: 'paused' | 'stopped' | undefined
  private readonly ended: Deferred<void> = deferred()

  constructor(
    readonly number: number,
    readonly kind: string,
    readonly targetNumber: number,
    readonly target: string,
    private readonly body: ProcessBody,
    private readonly log: ProcessLog,
    private readonly clock: Clock,
    private readonly startedMs: number,
  ) {}

  get isRunning(): boolean {
    return this.state === 'running'
  }

  /** Resolves when the process has ended, in whatever way. */
  get settled(): Promise<void> {
    return this.ended.promise
  }

  progress(): Progress {
    const remaining = this.state === 'done' ? 0 : this.body.remaining()
    const first = this.samples[0]
    const last = this.samples.at(-1)
    const rate = first && last && last.at > first.at && this.state === 'running' ? ((last.done - first.done) / (last.at - first.at)) * 1000 : 0
    return {
      number: this.number,
      kind: this.kind,
      target: this.target,
      state: this.state,
      done: this.done,
      total: this.done + remaining,
      rate,
      startedMs: this.startedMs,
      endedMs: this.endedMs,
      reason: this.reason,
    }
  }

  /** The pace changed: a pause that is under way ends. */
  wake(): void {
    this.waking.abort()
  }

  /**
   * Runs to the end. Never rejects: how it ended is in `progress()`.
   * @param resumed it ran before, and did so many bytes: its pace goes on, so that resuming it often does not make it faster
   */
  async run(resumed?: { readonly done: number }): Promise<void> {
    this.done = resumed?.done ?? 0
    let savedAt = this.clock.monotonicMs()
    this.sample()
    try {
      if (resumed) await this.pause(this.body.pace?.() ?? 0)
      for (;;) {
        if (this.abort.signal.aborted) break
        const step = await this.body.step(this.abort.signal)
        this.done += step.moved
        this.sample()
        if (step.finished) {
          this.state = 'done'
          break
        }
        await this.pause(this.body.pace?.() ?? 0)
        if (this.clock.monotonicMs() - savedAt > SAVE_EVERY_MS) {
          savedAt = this.clock.monotonicMs()
          await this.log.save(this.progress())
        }
      }
      await this.body.end?.()
      if (this.endAs && this.state === 'running') this.state = this.endAs
    } catch (error) {
      this.state = 'failed'
      this.reason = error instanceof Error ? error.message : String(error)
      // What else was under way failed for the same reason, or ended well.
      await this.body.end?.().catch(() => undefined)
    }
    // A process that was interrupted because its owner closes stays "running" on disk: the next owner resumes it.
    const interrupted = this.abort.signal.aborted && this.state === 'running'
    if (!interrupted && this.state !== 'paused') this.endedMs = this.clock.wallMs()
    try {
      await this.log.save(this.progress())
    } catch (error) {
      if (this.reason === '') this.reason = error instanceof Error ? error.message : String(error)
    }
    this.ended.resolve()
  }

  /** Ends the process after the step in hand: because its owner closes, or to stay paused or stopped. */
  async interrupt(as?: 'paused' | 'stopped'): Promise<void> {
    this.endAs ??= as
    this.abort.abort()
    this.wake()
    await this.ended.promise
  }

  private async pause(ms: number): Promise<void> {
    if (ms <= 0 || this.abort.signal.aborted) return
    this.waking = new AbortController()
    await this.clock.pause(ms, this.waking.signal)
  }

  /** @throws LunarError `ERR_TASK_FAILED`, `ERR_TASK_STOPPED` when it did not end well */
  outcome(): void {
    if (this.state === 'failed') throw new LunarError('ERR_TASK_FAILED', `Task ${this.number} (${this.kind} of ${this.target}) failed`, { why: this.reason })
    if (this.state !== 'done')
      throw new LunarError(
        'ERR_TASK_STOPPED',
        `Task ${this.number} (${this.kind} of ${this.target}) was ${this.state === 'running' ? 'interrupted' : this.state}`,
      )
  }

  private sample(): void {
    const at = this.clock.monotonicMs()
    this.samples.push({ at, done: this.done })
    while (this.samples.length > 2 && at - this.samples[0]!.at > RATE_WINDOW_MS) this.samples.shift()
  }
}
