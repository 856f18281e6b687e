import { isZero } from '../base/zeros.ts'
import type { Disk } from '../block/device.ts'
import { MemoryDevice } from '../block/memory.ts'

/** A disk in memory that stands for a file: a dry run goes the way of the real one on it. Zeros take no space. */
export class ScratchDisk extends MemoryDevice implements Disk {
  readonly identity: string

  constructor(
    readonly name: string,
    size: number,
  ) {
    super(size)
    this.identity = `scratch:${name}`
  }

  override write(offset: number, data: Uint8Array): Promise<void> {
    return isZero(data) ? this.zero(offset, data.length) : super.write(offset, data)
  }

  override async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      await this.write(at, part)
      at += part.length
    }
  }

  writeDurable(offset: number, data: Uint8Array): Promise<void> {
    return this.write(offset, data)
  }

  punch(offset: number, length: number): Promise<void> {
    return this.zero(offset, length)
  }

  reserve(): Promise<void> {
    return Promise.resolve()
  }
}
