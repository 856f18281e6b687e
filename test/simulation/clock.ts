import type { Clock } from '../../src/core/base/clock.ts'

/** Time that only the simulation moves. */
export class SteppedClock implements Clock {
  private now = 0

  advance(ms: number): void {
    this.now += ms
  }
  wallMs(): number {
    return 1_700_000_000_000 + this.now
  }
  monotonicMs(): number {
    return this.now
  }
  pause(ms: number): Promise<void> {
    this.now += ms
    return Promise.resolve()
  }
}
