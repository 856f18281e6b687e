import { bytesOf } from '../base/bytes.ts'
import { LunarError } from '../base/errors.ts'
import type { BlockDevice, Extent } from '../block/device.ts'
import { STORE } from '../raid/geometry.ts'
import type { ControlClient } from './control-client.ts'
import type { LunOptions } from './engine-types.ts'
import { Moved, type OpenedLun } from './wire.ts'

/** Largest body of one request; what is longer goes as several at once. Less than a store would be bound in several commits. */
const PIECE = STORE

/** A LUN that another process serves: every call is a request on its control socket. */
export class RemoteLun implements BlockDevice {
  private constructor(
    private readonly client: ControlClient,
    private readonly handle: number,
    readonly size: number,
    readonly blockSize: number,
  ) {}

  static async open(client: ControlClient, name: string, options: LunOptions): Promise<RemoteLun> {
    const { handle, size, blockSize } = (await client.json('/v1/luns/open', { name, ...options })) as unknown as OpenedLun
    return new RemoteLun(client, handle, size, blockSize)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (into.length <= PIECE) return this.readPiece(offset, [into])
    await Promise.all(pieces(into.length).map(([from, to]) => this.readPiece(offset + from, [into.subarray(from, to)])))
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    if (bytesOf(parts) <= PIECE) return this.readPiece(offset, parts)
    await Promise.all(addressed(offset, parts).map(([at, part]) => this.read(at, part)))
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    if (data.length <= PIECE) return this.writePiece(offset, [data])
    await Promise.all(pieces(data.length).map(([from, to]) => this.writePiece(offset + from, [data.subarray(from, to)])))
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    if (bytesOf(parts) <= PIECE) return this.writePiece(offset, parts)
    await Promise.all(addressed(offset, parts).map(([at, part]) => this.write(at, part)))
  }

  async flush(): Promise<void> {
    await this.client.data({ path: this.path('flush') })
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.client.data({ path: `${this.path('trim')}?offset=${offset}&length=${length}` })
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.client.data({ path: `${this.path('zero')}?offset=${offset}&length=${length}` })
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    return JSON.parse(await this.client.data({ path: `${this.path('extents')}?offset=${offset}&length=${length}` })) as Extent[]
  }

  async close(): Promise<void> {
    if (!this.client.lost) await this.client.data({ path: this.path('close') })
  }

  private async readPiece(offset: number, into: readonly Uint8Array[]): Promise<void> {
    const length = bytesOf(into)
    if (length > 0) await this.client.data({ path: `${this.path('read')}?offset=${offset}&length=${length}`, into })
  }

  private async writePiece(offset: number, body: readonly Uint8Array[]): Promise<void> {
    if (bytesOf(body) > 0) await this.client.data({ path: `${this.path('write')}?offset=${offset}`, body })
  }

  private path(operation: string): string {
    return `/v1/luns/${this.handle}/${operation}`
  }
}

/**
 * A remote LUN that outlives its owner when that leaves in good order: then everything acknowledged was flushed, and
 * what was not begun is sent to the next owner. An owner that died is an error for good: what it held may be lost.
 */
export class SteadyLun implements BlockDevice {
  readonly size: number
  readonly blockSize: number
  private current: Promise<BlockDevice>
  private closed = false

  /** @param reopen opens the LUN at whoever owns the pool now */
  constructor(
    device: BlockDevice,
    private readonly reopen: () => Promise<BlockDevice>,
  ) {
    this.size = device.size
    this.blockSize = device.blockSize
    this.current = Promise.resolve(device)
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.steady(device => device.read(offset, into))
  }
  readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.steady(device => device.readv(offset, parts))
  }
  write(offset: number, data: Uint8Array): Promise<void> {
    return this.steady(device => device.write(offset, data))
  }
  writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.steady(device => device.writev(offset, parts))
  }
  flush(): Promise<void> {
    return this.steady(device => device.flush())
  }
  trim(offset: number, length: number): Promise<void> {
    return this.steady(device => device.trim(offset, length))
  }
  zero(offset: number, length: number): Promise<void> {
    return this.steady(device => device.zero(offset, length))
  }
  extents(offset: number, length: number): Promise<Extent[]> {
    return this.steady(device => device.extents(offset, length))
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    try {
      await (await this.current).close()
    } catch (error) {
      if (!(error instanceof Moved)) throw error // an owner that left closed it
    }
  }

  private async steady<T>(task: (device: BlockDevice) => Promise<T>): Promise<T> {
    for (;;) {
      if (this.closed) throw new LunarError('ERR_FAILED', 'Cannot use the LUN', { why: 'it is closed' })
      const tried = this.current
      try {
        return await task(await tried)
      } catch (error) {
        if (!(error instanceof Moved)) throw error
        if (this.current === tried) this.current = this.reopen()
      }
    }
  }
}

function pieces(length: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(length / PIECE) }, (_, i) => [i * PIECE, Math.min(length, (i + 1) * PIECE)])
}

function addressed(offset: number, parts: readonly Uint8Array[]): [at: number, part: Uint8Array][] {
  let at = offset
  return parts.map(part => {
    at += part.length
    return [at - part.length, part]
  })
}
