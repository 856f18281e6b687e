import type { Turns } from '../../src/core/block/simulated.ts'

const later = setImmediate // the real one, also where a test replaces timers

/**
 * Completes operations one at a time, reads before all others and each kind in its order, as a host's deadline scheduler does.
 * Whoever only reads is not held up by what others have to write, and those get hardly further meanwhile.
 */
export class ReadsFirst implements Turns {
  private readonly reads: (() => void)[] = []
  private readonly others: (() => void)[] = []
  private pumping = false

  turn(isRead: boolean): Promise<void> {
    return new Promise(resolve => {
      ;(isRead ? this.reads : this.others).push(resolve)
      if (this.pumping) return
      this.pumping = true
      later(this.pump)
    })
  }

  private readonly pump = (): void => {
    const next = this.reads.shift() ?? this.others.shift()
    next?.()
    if (this.reads.length + this.others.length > 0) later(this.pump)
    else this.pumping = false
  }
}
