import type { BlockDevice, Extent } from '../block/device.ts'
import type { WriteOnceDevice } from '../block/write-once.ts'

/**
 * A write-once device as a block device for hosts (features.md E5): a second write of a block is `ERR_ALREADY_WRITTEN`, a read of one that was
 * never written is `ERR_UNWRITTEN`. A write is durable when it resolves. Its block size is what takes one write.
 */
export class WodDevice implements BlockDevice {
  constructor(private readonly device: WriteOnceDevice) {}

  get size(): number {
    return this.device.size
  }
  get blockSize(): number {
    return this.device.blockSize
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.device.read(offset, into)
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      await this.device.read(at, part)
      at += part.length
    }
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.device.write(offset, data)
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, Buffer.concat(parts)) // parts need not be whole blocks
  }

  flush(): Promise<void> {
    return Promise.resolve()
  }

  /** What is written stays. */
  trim(): Promise<void> {
    return Promise.resolve()
  }

  zero(offset: number, length: number): Promise<void> {
    return this.device.zero(offset, length)
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    return this.device.extents(offset, length)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
