import { bytesOf } from '../core/base/bytes.ts'
import { LunarError } from '../core/base/errors.ts'
import { BlockLayer, type BlockDevice, type Extent } from '../core/block/device.ts'
import { checkRange } from '../core/block/range.ts'

/**
 * An open LUN: a block device. Offsets and lengths are bytes and multiples of `blockSize`. A write is volatile until a
 * later `flush` has resolved. Buffers belong to the device until the promise of the call is settled.
 *
 * Every call throws LunarError `ERR_OUT_OF_RANGE` for what is outside or not in whole blocks, and `ERR_BAD_HANDLE` after
 * `close`, besides what it says itself.
 */
export class LunDevice extends BlockLayer implements AsyncDisposable {
  private closing: Promise<void> | undefined

  /** @internal */
  constructor(
    device: BlockDevice,
    /** Name of the LUN when it was opened. */
    readonly name: string,
    private readonly onClose: (device: LunDevice) => void,
  ) {
    super(device)
  }

  /** Fills `into` from `offset` on. @throws LunarError `ERR_IO`, `ERR_DATA_LOST` */
  override read(offset: number, into: Uint8Array): Promise<void> {
    return this.checked(offset, into.length, () => super.read(offset, into))
  }

  /** @returns a new buffer with `length` bytes from `offset` on */
  async readBytes(offset: number, length: number): Promise<Uint8Array> {
    return this.checked(offset, length, async () => {
      const bytes = new Uint8Array(length)
      await super.read(offset, bytes)
      return bytes
    })
  }

  override readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.checked(offset, bytesOf(parts), () => super.readv(offset, parts))
  }

  /** @throws LunarError `ERR_READ_ONLY`, `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_IO` */
  override write(offset: number, data: Uint8Array): Promise<void> {
    return this.checked(offset, data.length, () => super.write(offset, data))
  }

  override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.checked(offset, bytesOf(parts), () => super.writev(offset, parts))
  }

  /** What was written before this call is on stable storage when it resolves. */
  override flush(): Promise<void> {
    return this.checked(0, 0, () => super.flush())
  }

  /** A hint: the range then reads as what it held, or as zeros. */
  override trim(offset: number, length: number): Promise<void> {
    return this.checked(offset, length, () => super.trim(offset, length))
  }

  /** The range then reads as zeros. */
  override zero(offset: number, length: number): Promise<void> {
    return this.checked(offset, length, () => super.zero(offset, length))
  }

  override extents(offset: number, length: number): Promise<Extent[]> {
    return this.checked(offset, length, () => super.extents(offset, length))
  }

  /** Closing twice is harmless. Flush first: what was not flushed is written, not promised. */
  override close(): Promise<void> {
    this.closing ??= super.close().finally(() => {
      this.onClose(this)
    })
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async checked<T>(offset: number, length: number, act: () => Promise<T>): Promise<T> {
    if (this.closing) throw new LunarError('ERR_BAD_HANDLE', `Cannot use LUN "${this.name}"`, { why: 'it was closed', fix: 'open it again' })
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    return act()
  }
}
