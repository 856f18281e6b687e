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
