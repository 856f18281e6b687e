/** A device of blocks for clients that count in bytes (the server advertises a minimum block of 1). */
import { alignDown, alignUp, GIB, MIB } from '../base/units.ts'
import { zeroPart } from '../base/zeros.ts'
import type { BlockDevice } from '../block/device.ts'
import { RangeLock, type Release } from '../block/range-lock.ts'

/** Longer ranges are trimmed and zeroed in pieces, so that a connection that is closed meanwhile stops. Bytes. */
const PIECE = GIB

/**
 * What all connections of one export share: a block of which a write covers a part is read and written again, so no
 * other write may touch it meanwhile. Writes of whole blocks never wait for each other.
 */
export class EdgeLock {
  /** Partial blocks being written, or waiting to be. Writes that take no lock may be made while there are none. */
  partial = 0
  private readonly ranges = new RangeLock()

  whole(offset: number, length: number): Release | Promise<Release> {
    return this.ranges.tryLock(offset, length, 'shared') ?? this.ranges.lock(offset, length, 'shared')
  }

  async exclusive(offset: number, length: number): Promise<Release> {
    this.partial++
    const release = await this.ranges.lock(offset, length, 'exclusive')
    return () => {
      this.partial--
      release()
    }
  }
}

/** Ranges are inside of the device and of at least one byte. Errors are those of the device. */
export class ByteAccess {
  private readonly mask: number

  constructor(
    private readonly device: BlockDevice,
    readonly edges: EdgeLock,
    /** Says whether the client is gone, so that long work ends. */
    private readonly isGone: () => boolean,
  ) {
    this.mask = device.blockSize - 1
  }

  /** Block sizes are powers of two. */
  isWhole(offset: number, length: number): boolean {
    return (((offset % 0x1_0000_0000) | length) & this.mask) === 0
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.isWhole(offset, into.length) ? this.device.read(offset, into) : this.readPartial(offset, into)
  }

  private async readPartial(offset: number, into: Uint8Array): Promise<void> {
    const from = alignDown(offset, this.device.blockSize)
    const outer = Buffer.allocUnsafe(alignUp(offset + into.length, this.device.blockSize) - from)
    await this.device.read(from, outer)
    into.set(outer.subarray(offset - from, offset - from + into.length))
  }

  async write(offset: number, parts: readonly Uint8Array[], length: number): Promise<void> {
    if (!this.isWhole(offset, length)) return this.writePartial(offset, parts, length)
    const locked = this.edges.whole(offset, length)
    const release = locked instanceof Promise ? await locked : locked
    try {
      await (parts.length === 1 ? this.device.write(offset, parts[0]!) : this.device.writev(offset, parts))
    } finally {
      release()
    }
  }

  private async writePartial(offset: number, parts: readonly Uint8Array[], length: number): Promise<void> {
    const { blockSize } = this.device
    const from = alignDown(offset, blockSize)
    const to = alignUp(offset + length, blockSize)
    const release = await this.edges.exclusive(from, to - from)
    try {
      const all: Uint8Array[] = [...parts]
      const first = from < offset ? await this.block(from) : undefined
      if (first) all.unshift(first.subarray(0, offset - from))
      if (to > offset + length) {
        const last = first && to - blockSize === from ? first : await this.block(to - blockSize)
        all.push(last.subarray(offset + length - (to - blockSize)))
      }
      await this.device.writev(from, all)
    } finally {
      release()
    }
  }

  private async block(offset: number): Promise<Uint8Array> {
    const block = new Uint8Array(this.device.blockSize)
    await this.device.read(offset, block)
    return block
  }

  /** Blocks that are in the range in part stay as they are. */
  async trim(offset: number, length: number): Promise<void> {
    const { blockSize } = this.device
    const from = alignUp(offset, blockSize)
    const to = alignDown(offset + length, blockSize)
    await this.pieces(from, to - from, (at, size) => this.device.trim(at, size))
  }

  /** @param written zeros are written, so that the range takes its space (NO_HOLE) */
  async zero(offset: number, length: number, written: boolean): Promise<void> {
    const { blockSize } = this.device
    const end = offset + length
    const from = Math.min(end, alignUp(offset, blockSize))
    const to = Math.max(from, alignDown(end, blockSize))
    if (from > offset) await this.writePartial(offset, [zeroPart(from - offset)], from - offset)
    if (written) await this.pieces(from, to - from, (at, size) => this.device.write(at, zeroPart(size)), MIB)
    else await this.pieces(from, to - from, (at, size) => this.device.zero(at, size))
    if (end > to) await this.writePartial(to, [zeroPart(end - to)], end - to)
  }

  private async pieces(offset: number, length: number, work: (offset: number, length: number) => Promise<void>, piece = PIECE): Promise<void> {
    for (let at = offset; at < offset + length && !this.isGone(); at += piece) {
      const size = Math.min(piece, offset + length - at)
      const locked = this.edges.whole(at, size)
      const release = locked instanceof Promise ? await locked : locked
      try {
        await work(at, size)
      } finally {
        release()
      }
    }
  }

  flush(): Promise<void> {
    return this.device.flush()
  }
}
