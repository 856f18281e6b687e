import { alignedBuffers } from '../block/aligned.ts'
import { KIB, MIB } from '../base/units.ts'

const SMALLEST = 64 * KIB
/** From here on buffers are page memory, so that what they carry can pass the page cache. */
const PAGES_FROM = MIB
/** Bytes kept for later use. */
const KEPT_MAX = 32 * MIB

/**
 * Buffers for bodies, used again: a fresh one costs a page fault for every 4 KiB. Together they never exceed `budget`
 * bytes; who asks for more waits, and so does the client behind.
 */
export class DataBuffers {
  private readonly free = new Map<number, Uint8Array[]>()
  private kept = 0
  private used = 0
  private readonly waiting: { size: number; start: () => void }[] = []

  constructor(private readonly budget: number) {}

  /** @returns at least `length` bytes with old contents; give it back with `release` */
  async take(length: number): Promise<Uint8Array> {
    const size = Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(Math.max(1, length))))
    if (this.waiting.length > 0 || (this.used > 0 && this.used + size > this.budget)) {
      await new Promise<void>(start => this.waiting.push({ size, start }))
    } else {
      this.used += size
    }
    const reused = this.free.get(size)?.pop()
    if (reused) this.kept -= size
    return reused ?? (size >= PAGES_FROM ? alignedBuffers(1, size)[0]! : Buffer.allocUnsafeSlow(size))
  }

  release(buffer: Uint8Array): void {
    this.used -= buffer.length
    if (this.kept + buffer.length <= KEPT_MAX) {
      const list = this.free.get(buffer.length) ?? []
      list.push(buffer)
      this.free.set(buffer.length, list)
      this.kept += buffer.length
    }
    for (let next = this.waiting[0]; next && (this.used === 0 || this.used + next.size <= this.budget); next = this.waiting[0]) {
      this.waiting.shift()
      this.used += next.size
      next.start()
    }
  }
}
