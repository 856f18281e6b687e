/** An export of another server as a disk (features.md A1, B13). */
import { bytesOf } from '../base/bytes.ts'
import { LunarError } from '../base/errors.ts'
import { settle } from '../base/settle.ts'
import { alignDown, GIB, MIB, SECTOR } from '../base/units.ts'
import { zeroPart } from '../base/zeros.ts'
import type { Disk, Extent, ExtentKind, RemoteEnd } from '../block/device.ts'
import { shortTransfer } from '../block/host.ts'
import { NbdClient } from './client.ts'
import { allocation, command, commandFlag, transmissionFlag } from './protocol.ts'
import { exportIdentity, parseNbdUri, type NbdAddress } from './uri.ts'

/** One request without data covers at most this. Bytes. */
const PIECE = GIB
/** Longer transfers are cut: others on the connection have their turn. Bytes. */
const TRANSFER_MAX = 4 * MIB

/**
 * One connection. When it is lost everything fails with `ERR_IO` from then on, as with a disk that was pulled out: what the server
 * had not flushed may be gone, so a new connection must not go on as if nothing had happened. Who opens the disk
 * again has to bring it up to date.
 */
export class NbdDisk implements Disk {
  readonly blockSize = SECTOR
  readonly size: number
  readonly name: string
  readonly identity: string
  readonly readOnly: boolean
  readonly remote: RemoteEnd
  private readonly transferMax: number

  private constructor(
    private readonly client: NbdClient,
    address: NbdAddress,
    readOnly: boolean,
  ) {
    this.name = address.uri
    this.size = alignDown(client.size, SECTOR)
    this.identity = exportIdentity(address)
    this.remote = client
    this.readOnly = readOnly
    this.transferMax = Math.max(SECTOR, alignDown(Math.min(TRANSFER_MAX, client.payloadMax), SECTOR))
  }

  /** @throws LunarError `ERR_USAGE`, `ERR_IO`, `ERR_FILE_NOT_FOUND`, `ERR_READ_ONLY`, `ERR_NOT_A_DISK` when its blocks are longer than a sector */
  static async open(uri: string, options: { readonly readOnly?: boolean } = {}): Promise<NbdDisk> {
    const address = parseNbdUri(uri)
    const client = await NbdClient.open(address)
    const refused =
      client.minimumBlock > SECTOR
        ? new LunarError('ERR_NOT_A_DISK', `Cannot use ${uri} as a disk`, { why: `its blocks have ${client.minimumBlock} bytes, not ${SECTOR} or less` })
        : !options.readOnly && (client.flags & transmissionFlag.readOnly) !== 0
          ? new LunarError('ERR_READ_ONLY', `Cannot use ${uri} as a disk`, { why: 'the server lets us read only' })
          : undefined
    if (refused) {
      await client.close()
      throw refused
    }
    return new NbdDisk(client, address, options.readOnly ?? false)
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.readv(offset, [into])
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    const reads: Promise<void>[] = []
    let at = offset
    for (const part of parts) {
      this.check(at, part.length)
      for (let done = 0; done < part.length; done += this.transferMax) reads.push(this.client.read(at + done, part.subarray(done, done + this.transferMax)))
      at += part.length
    }
    await settle(reads)
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.put(offset, [data], 0)
  }

  writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.put(offset, parts, 0)
  }

  async writeDurable(offset: number, data: Uint8Array): Promise<void> {
    if (this.has(transmissionFlag.fua)) return this.put(offset, [data], commandFlag.fua)
    await this.put(offset, [data], 0)
    await this.flush()
  }

  private async put(offset: number, parts: readonly Uint8Array[], flags: number): Promise<void> {
    this.checkWritable()
    const length = bytesOf(parts)
    this.check(offset, length)
    if (length === 0) return
    if (length <= this.transferMax) return this.client.write(offset, parts, length, flags)
    const writes: Promise<void>[] = []
    let at = offset
    for (const part of parts) {
      for (let done = 0; done < part.length; done += this.transferMax) {
        const piece = part.subarray(done, done + this.transferMax)
        writes.push(this.client.write(at + done, [piece], piece.length, flags))
      }
      at += part.length
    }
    await settle(writes)
  }

  /** A server without the command has no cache that could lose anything. */
  async flush(): Promise<void> {
    if (this.has(transmissionFlag.flush)) await this.client.run(command.flush, 0, 0)
  }

  async trim(offset: number, length: number): Promise<void> {
    this.checkWritable()
    if (this.has(transmissionFlag.trim)) await this.pieces(offset, length, (at, size) => this.client.run(command.trim, at, size))
  }

  /** The server keeps the space of it, as files do. */
  zero(offset: number, length: number): Promise<void> {
    return this.clear(offset, length, commandFlag.noHole)
  }

  punch(offset: number, length: number): Promise<void> {
    return this.clear(offset, length, 0)
  }

  private async clear(offset: number, length: number, flags: number): Promise<void> {
    this.checkWritable()
    this.check(offset, length)
    if (this.has(transmissionFlag.writeZeroes)) return this.pieces(offset, length, (at, size) => this.client.run(command.writeZeroes, at, size, flags))
    for (let at = offset; at < offset + length; at += MIB) await this.write(at, zeroPart(offset + length - at))
  }

  /** The server takes space for what it says is a hole, as far as it knows; nobody else may write to the range meanwhile. */
  async reserve(offset: number, length: number): Promise<void> {
    this.checkWritable()
    if (!this.has(transmissionFlag.writeZeroes)) return this.check(offset, length)
    for (const extent of await this.extents(offset, length)) {
      if (extent.kind === 'hole') await this.clear(extent.offset, extent.length, commandFlag.noHole)
    }
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    this.check(offset, length)
    const end = offset + length
    const extents: Extent[] = []
    for (let at = offset; at < end;) {
      const found = this.client.allocationId === undefined ? [{ length: end - at, flags: 0 }] : await this.client.status(at, Math.min(PIECE, end - at))
      for (const { length: told, flags } of found) {
        // What is cut in the middle of a sector counts as data as a whole.
        const stop = Math.min(end, at + Math.max(SECTOR, alignDown(told, SECTOR)))
        if (stop > at) extents.push({ offset: at, length: stop - at, kind: told % SECTOR === 0 ? kindOf(flags) : 'data' })
        at = stop
      }
    }
    return extents
  }

  close(): Promise<void> {
    return this.client.close()
  }

  private has(flag: number): boolean {
    return (this.client.flags & flag) !== 0
  }

  private async pieces(offset: number, length: number, run: (offset: number, length: number) => Promise<void>): Promise<void> {
    this.check(offset, length)
    for (let at = offset; at < offset + length; at += PIECE) await run(at, Math.min(PIECE, offset + length - at))
  }

  private check(offset: number, length: number): void {
    if (offset + length > this.size) throw shortTransfer(`Cannot reach bytes ${offset} to ${offset + length} of ${this.name}`, this.size)
  }

  private checkWritable(): void {
    if (this.readOnly) throw new LunarError('ERR_READ_ONLY', `Cannot change ${this.name}`, { why: 'it is open for reading only' })
  }
}

const kindOf = (flags: number): ExtentKind => ((flags & allocation.zero) === 0 ? 'data' : (flags & allocation.hole) === 0 ? 'zero' : 'hole')
