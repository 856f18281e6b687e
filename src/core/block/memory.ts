import { LunarError } from '../base/errors.ts'
import { SECTOR } from '../base/units.ts'
import type { BlockDevice, Extent } from './device.ts'
import { SparsePages } from './sparse-pages.ts'

/** A device in memory; what was never written takes no space. For tests and as the simplest example of a device. */
export class MemoryDevice implements BlockDevice {
  private readonly pages: SparsePages
  private closed = false

  /** @param size bytes, a multiple of `blockSize` */
  constructor(
    readonly size: number,
    readonly blockSize: number = SECTOR,
  ) {
    this.pages = new SparsePages(size)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.check(offset, into.length)
    this.pages.read(offset, into)
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      this.check(at, part.length)
      this.pages.read(at, part)
      at += part.length
    }
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.check(offset, data.length)
    this.pages.write(offset, data)
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      this.check(at, part.length)
      this.pages.write(at, part)
      at += part.length
    }
  }

  async flush(): Promise<void> {
    this.check(0, 0)
  }

  async trim(offset: number, length: number): Promise<void> {
    this.check(offset, length)
    this.pages.punch(offset, length)
  }

  async zero(offset: number, length: number): Promise<void> {
    this.check(offset, length)
    this.pages.punch(offset, length)
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    this.check(offset, length)
    return this.pages.extents(offset, length)
  }

  async close(): Promise<void> {
    this.closed = true
  }

  /** Bytes of memory that hold data. */
  get allocated(): number {
    return this.pages.allocated
  }

  /** As at the end of a file: beyond the end nothing can be transferred. */
  private check(offset: number, length: number): void {
    if (this.closed) throw new LunarError('ERR_FAILED', 'Cannot use the memory device', { why: 'it is closed' })
    if (offset + length > this.size) throw new LunarError('ERR_IO', 'Cannot reach the memory device', { why: `truncated: it has ${this.size} bytes` })
  }
}
