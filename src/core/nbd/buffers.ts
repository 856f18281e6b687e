/** Replies of small requests are put together here. Bytes. */
export const ARENA = 256 * 1024
/** Kept for the next time, all together at most. Bytes. */
const KEPT_MAX = 32 * 1024 * 1024
/** Lengths are rounded up, so that few kinds are kept. Bytes. */
const STEP = 4096

/** Buffers that go from one use to the next: a fresh one of 128 KiB or more costs a page fault for every 4 KiB of it. */
export class Buffers {
  private readonly free = new Map<number, Buffer[]>()
  private kept = 0

  /** @returns a buffer of at least `length` bytes that holds anything */
  take(length: number): Buffer {
    const size = Math.ceil(length / STEP) * STEP
    const found = this.free.get(size)?.pop()
    if (!found) return Buffer.allocUnsafeSlow(size)
    this.kept -= size
    return found
  }

  /** Takes back what `take` gave, and nobody uses. */
  give(buffer: Buffer): void {
    if (this.kept + buffer.length > KEPT_MAX) return
    this.kept += buffer.length
    const list = this.free.get(buffer.length)
    if (list) list.push(buffer)
    else this.free.set(buffer.length, [buffer])
  }
}
