import { noQuality, type Quality } from './quality.ts'
import { TokenBucket } from './token-bucket.ts'

/** Requests that had to wait, and how long, together. */
export class HeldBack {
  requests = 0
  milliseconds = 0

  add(milliseconds: number): void {
    this.requests++
    this.milliseconds += milliseconds
  }
}

/** The limits of one volume or one host: all who use it share them. */
export class Limiter {
  /** Since the pool was opened. */
  readonly held = new HeldBack()
  private operations: TokenBucket | undefined
  private bytes: TokenBucket | undefined
  private current: Quality = noQuality

  /** @param name for people: `host db1` */
  constructor(readonly name: () => string) {}

  get quality(): Quality {
    return this.current
  }

  /** Anything may have to wait. */
  get isOn(): boolean {
    return this.operations !== undefined || this.bytes !== undefined
  }

  /** From now on, with full buckets: whoever waits has to ask again. */
  set(quality: Quality, now: number): void {
    this.current = quality
    this.operations = bucketOf(quality.iops, quality.iopsBurst, now)
    this.bytes = bucketOf(quality.bps, quality.bpsBurst, now)
  }

  /** One operation with so many bytes would not have to wait. */
  has(bytes: number, now: number): boolean {
    return (this.operations?.has(1, now) ?? true) && (this.bytes?.has(bytes, now) ?? true)
  }

  /** Takes what one operation needs. @returns milliseconds until it may go */
  take(bytes: number, now: number): number {
    const operation = this.operations?.take(1, now) ?? 0
    return Math.max(operation, this.bytes?.take(bytes, now) ?? 0)
  }
}

const bucketOf = (rate: number, burst: number, now: number): TokenBucket | undefined =>
  rate === 0 ? undefined : new TokenBucket(rate, burst > 0 ? burst : Math.max(1, rate / 10), now)
