import type { LunarError } from '../base/errors.ts'

/** What a range of a device holds. `hole` takes no space below and reads as zeros; `zero` reads as zeros; `lost` cannot be read. */
export type ExtentKind = 'data' | 'zero' | 'hole' | 'lost'

export interface Extent {
  /** Bytes from the start of the device. */
  readonly offset: number
  /** Bytes, above 0. */
  readonly length: number
  readonly kind: ExtentKind
}

/**
 * Anything that stores bytes at addresses: disks at the bottom, layers over them, LUNs on top (engine.md section 1).
 *
 * Offsets and lengths are bytes and multiples of `blockSize`; whoever serves users checks ranges once (`checkRange`),
 * layers do not. A write is volatile until a later `flush` has resolved. Overlapping writes in flight at the same time
 * end in either order; a read beside a write of the same range may see old or new blocks.
 */
export interface BlockDevice {
  readonly size: number
  readonly blockSize: number
  /** Fills `into` from `offset` on. @throws LunarError `ERR_IO` when any byte of it cannot be read */
  read(offset: number, into: Uint8Array): Promise<void>
  /** Fills the parts one after the other from one contiguous range. */
  readv(offset: number, parts: readonly Uint8Array[]): Promise<void>
  /** The caller must not change `data` before the promise resolves. @throws LunarError `ERR_IO`, `ERR_HOST_FULL`, `ERR_POOL_FULL` */
  write(offset: number, data: Uint8Array): Promise<void>
  /** Writes the parts one after the other to one contiguous range. */
  writev(offset: number, parts: readonly Uint8Array[]): Promise<void>
  /** All writes that resolved before this call are on stable storage when it resolves. After a failure nothing of them is known. */
  flush(): Promise<void>
  /** A hint that the range is not needed; it then reads as what it held or as zeros. */
  trim(offset: number, length: number): Promise<void>
  /** The range reads as zeros afterwards; space below may be given back. */
  zero(offset: number, length: number): Promise<void>
  /** Extents in order without gaps or overlaps, their lengths add up to `length`; neighbours may be of one kind. */
  extents(offset: number, length: number): Promise<Extent[]>
  close(): Promise<void>
}

/**
 * What a device may offer besides: small transfers made at once, without a promise, a thread or an allocation, as long as nothing stands in
 * the way. Each says no whenever anything is not simple (something to wait for, a slow disk, space that is not bound, a member that
 * is away, a range out of bounds), at no more cost than finding that out; the caller then asks again in the usual way, which finds it
 * out again and does what is due, or says what is wrong.
 *
 * Every request counts as all others do: a write that was made is volatile until a later `flush`, and a flush that has begun does not cover it.
 * Whoever makes many in a row lets the event loop turn in between (`YIELD_EVERY`).
 */
export interface FastDevice {
  /** Fills `into` from `offset` on. @returns whether it did; else nothing is known of `into` */
  tryRead(offset: number, into: Uint8Array): boolean
  /**
   * Writes `data`, which is the caller's again when it returns.
   * @returns whether it did; else the range may hold old bytes, new bytes or some of both until `write` has resolved, as beside any write
   */
  tryWrite(offset: number, data: Uint8Array): boolean
}

/** Transfers that may be made at once before the event loop has a turn. */
export const YIELD_EVERY = 64

/** The same device when it offers transfers at once. */
export const fastOf = (device: BlockDevice & Partial<FastDevice>): FastDevice | undefined =>
  device.tryRead && device.tryWrite ? (device as BlockDevice & FastDevice) : undefined

/** What a device that holds requests back offers besides. */
export interface Hurried {
  /** Requests that it holds back, and all that come, are done without delay: whoever asked has gone, or has to go. */
  hurry(): void
}

export const hurry = (device: BlockDevice & Partial<Hurried>): void => {
  device.hurry?.()
}

/**
 * A device at the bottom of a pool: an image file, a block device, memory, or the simulated disk.
 * Errors of the host are told apart (hazard 12): `ERR_IO` is the disk's fault, `ERR_HOST_FULL` and `ERR_HOST_LIMIT` never.
 */
export interface Disk extends BlockDevice, Partial<FastDevice> {
  /** For messages: the path, or a name in tests. */
  readonly name: string
  /** Equal for two handles on one file or device, by whatever path (device and inode). */
  readonly identity: string
  /**
   * Writes and makes just this range durable, without waiting for other dirty data of the device (an O_DSYNC
   * descriptor of its own, hazard 13).
   */
  writeDurable(offset: number, data: Uint8Array): Promise<void>
  /** Takes the host's blocks for the range, so that later writes there meet no ENOSPC. Contents stay. @throws LunarError `ERR_HOST_FULL` */
  reserve(offset: number, length: number): Promise<void>
  /** Makes the range read as zeros, giving the host's blocks back where it can; durable after a `flush`. */
  punch(offset: number, length: number): Promise<void>
  /** Of a disk at the other end of a connection. Other hosts may reach it too, and no lock of the kernel guards it. */
  readonly remote?: RemoteEnd
}

/** A connection that holds until it is lost, and then never again: every call fails, and another one has to be opened. */
export interface RemoteEnd {
  readonly isLost: boolean
  /** Resolves with the reason when the connection is lost; not when it is closed. */
  readonly lost: Promise<LunarError>
  /** Gives the connection up: what is under way fails, and it is lost for this reason. */
  lose(why: string): void
}

/** A layer that forwards everything; a real layer overrides what it changes. */
export class BlockLayer implements BlockDevice {
  constructor(protected readonly next: BlockDevice) {}
  get size(): number {
    return this.next.size
  }
  get blockSize(): number {
    return this.next.blockSize
  }
  read(offset: number, into: Uint8Array): Promise<void> {
    return this.next.read(offset, into)
  }
  readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.next.readv(offset, parts)
  }
  write(offset: number, data: Uint8Array): Promise<void> {
    return this.next.write(offset, data)
  }
  writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.next.writev(offset, parts)
  }
  flush(): Promise<void> {
    return this.next.flush()
  }
  trim(offset: number, length: number): Promise<void> {
    return this.next.trim(offset, length)
  }
  zero(offset: number, length: number): Promise<void> {
    return this.next.zero(offset, length)
  }
  extents(offset: number, length: number): Promise<Extent[]> {
    return this.next.extents(offset, length)
  }
  close(): Promise<void> {
    return this.next.close()
  }
}
