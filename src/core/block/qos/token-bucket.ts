/**
 * Tokens that come at a rate, and are kept up to a burst. Pure: time is given, in milliseconds of a clock that never jumps.
 *
 * What is asked for goes when there is enough for it, or as much as the bucket holds: so a request larger than the burst goes too, and
 * those after it wait for what it took too much. Over any time the tokens taken are at most the burst, what came in that time, and one request.
 */
export class TokenBucket {
  private tokens: number

  /**
   * @param rate tokens a second, above 0
   * @param burst tokens that are kept, above 0; the bucket is full at first
   * @param at milliseconds
   */
  constructor(
    private readonly rate: number,
    private readonly burst: number,
    private at: number,
  ) {
    this.tokens = burst
  }

  /** Whether `take` would not have to wait. */
  has(amount: number, now: number): boolean {
    return this.wait(amount, now) === 0
  }

  /** Takes tokens, in advance when there are not enough. @returns milliseconds until what they are for may go: in the order of the calls, 0 now */
  take(amount: number, now: number): number {
    const wait = this.wait(amount, now)
    this.tokens -= amount
    return wait
  }

  private wait(amount: number, now: number): number {
    this.tokens = Math.min(this.burst, this.tokens + (Math.max(0, now - this.at) * this.rate) / 1000)
    this.at = Math.max(this.at, now)
    return Math.max(0, ((Math.min(amount, this.burst) - this.tokens) * 1000) / this.rate)
  }
}
