import { systemClock } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'

/** A disk behind a connection that is not there. */
export interface AwayDisk {
  readonly number: number
  readonly path: string
}

/** Pauses between attempts, in milliseconds; each is half as long again, and up to a half of it is left to chance. */
const PAUSE_FIRST = 250
const PAUSE_MAX = 15_000

/**
 * Tries to bring back the disks that went away with their connection: nobody tells when a server is up again. Each disk has its own pace. The attempts end with
 * the disk being back, taken offline by an operator, or the owner leaving; they keep no process from leaving.
 */
export class Reconnector {
  private readonly trying = new Map<number, Promise<void>>()
  private readonly stopped = new AbortController()

  constructor(
    private readonly away: () => readonly AwayDisk[],
    private readonly bringBack: (disk: AwayDisk) => Promise<unknown>,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** Begins with the disks that went since the last call. */
  look(): void {
    if (this.stopped.signal.aborted) return
    for (const disk of this.away()) {
      if (this.trying.has(disk.number)) continue
      this.trying.set(
        disk.number,
        this.tryLong(disk).then(
          () => {
            this.trying.delete(disk.number)
            this.look()
          },
          (error: unknown) => {
            this.failed(error)
          },
        ),
      )
    }
  }

  /** Resolves when the last attempt has ended. */
  async close(): Promise<void> {
    this.stopped.abort()
    await Promise.all(this.trying.values())
  }

  private async tryLong(disk: AwayDisk): Promise<void> {
    const { signal } = this.stopped
    for (let pause = PAUSE_FIRST; ; pause = Math.min(PAUSE_MAX, pause * 1.5)) {
      await systemClock.pause(pause * (0.5 + Math.random() / 2), signal)
      if (signal.aborted || !this.away().some(({ number }) => number === disk.number)) return
      try {
        await this.bringBack(disk)
      } catch (error) {
        if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      }
    }
  }
}
