/** Writes that met the disk may have so much of the time of everybody else. */
const SHARE = 1 / 8
/** And so much of it at once, together or one alone. Milliseconds. */
const DEBT_MAX_MS = 20
/** After one that alone was slower: for so many times as long as it took, at most this. Milliseconds. */
const PAUSE_FACTOR = 20
const PAUSE_MAX_MS = 1000

/**
 * Whether transfers of a disk may be made at once, from how long the last ones held everybody up. One that waits a little is cheaper than the ways of
 * hundreds through the thread pool. Pure: time is given, in milliseconds of a monotonic clock.
 */
export class Patience {
  private pausedUntil = -Infinity
  private debt = 0
  private at = -Infinity

  isOver(now: number): boolean {
    return now < this.pausedUntil
  }

  /** One that ended now has waited for the disk for so long. */
  waited(now: number, ms: number): void {
    this.debt = Math.max(0, this.debt - (now - this.at) * SHARE) + ms
    this.at = now
    if (this.debt <= DEBT_MAX_MS) return
    const pause = ms > DEBT_MAX_MS ? Math.min(PAUSE_MAX_MS, ms * PAUSE_FACTOR) : this.debt / SHARE
    this.pausedUntil = now + pause
    this.debt = 0
  }
}
