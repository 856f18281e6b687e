import { invariant } from '../base/errors.ts'

/**
 * Lets operations through until somebody needs quiet: then those in flight end, and new ones wait until it is over. One
 * at a time may ask for quiet.
 */
export class Quiesce {
  private inFlight = 0
  private quiet = false
  private drained: (() => void) | undefined
  private waiting: (() => void)[] = []

  /** Undefined when the operation may start at once; it has been counted then. Each `enter` is matched by one `leave`. */
  enter(): Promise<void> | undefined {
    if (!this.quiet) {
      this.inFlight++
      return undefined
    }
    return new Promise(resolve => {
      this.waiting.push(() => {
        this.inFlight++
        resolve()
      })
    })
  }

  /** Whether nothing may start now. */
  get isQuiet(): boolean {
    return this.quiet
  }

  /** For an operation inside whose work goes on after it has returned: one more `leave` follows. */
  stay(): void {
    this.inFlight++
  }

  leave(): void {
    this.inFlight--
    if (this.inFlight === 0) this.drained?.()
  }

  /** Resolves when nothing is in flight; nothing starts until `resume`. */
  pause(): Promise<void> {
    invariant(!this.quiet, 'only one at a time quiesces a volume')
    this.quiet = true
    if (this.inFlight === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.drained = resolve
    })
  }

  resume(): void {
    this.quiet = false
    this.drained = undefined
    for (const start of this.waiting.splice(0)) start()
  }
}

/** What can be made quiet for one change: a volume. */
export interface Quiescible {
  readonly quiesce: Quiesce
  flush(): Promise<void>
}

/** Lets nothing in, waits for what is under way, and changes. Whatever happens, all volumes go on afterwards. @param volumes each once, in an order that all callers keep */
export async function whilePaused<T>(volumes: readonly Quiescible[], change: () => Promise<T>): Promise<T> {
  const paused: Quiescible[] = []
  try {
    for (const volume of volumes) {
      paused.push(volume)
      await volume.quiesce.pause()
    }
    return await change()
  } finally {
    for (const volume of paused) volume.quiesce.resume()
  }
}

/** The same for a change at which all that was acknowledged is durable: flushed once before, without holding anybody up (features.md C1; hazard 8). */
export async function whileQuiet<T>(volumes: readonly Quiescible[], change: () => Promise<T>): Promise<T> {
  for (const volume of volumes) await volume.flush()
  return whilePaused(volumes, async () => {
    for (const volume of volumes) await volume.flush()
    return change()
  })
}
