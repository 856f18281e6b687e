/**
 * Keeps the event loop from sleeping for a moment after a request: who sends one at a time sends the next one soon, and
 * to be woken costs more than the request (hazard 46). Off when no request came for so long.
 */
export class Awake {
  private until = 0
  private turning = false

  /** @param microseconds 0 never stays awake */
  constructor(private readonly microseconds: number) {}

  /** A request was served. @param now milliseconds of `performance` */
  touch(now: number): void {
    if (this.microseconds === 0) return
    this.until = now + this.microseconds / 1000
    if (this.turning) return
    this.turning = true
    setImmediate(this.turn)
  }

  private readonly turn = (): void => {
    if (performance.now() < this.until) setImmediate(this.turn)
    else this.turning = false
  }
}
