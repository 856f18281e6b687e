/** The transmission phase of one connection: requests are read, carried out, and answered in the order in which they end. */
import { invariant } from '../base/errors.ts'
import { deferred, type Deferred } from '../base/deferred.ts'
import { fastOf, hurry, YIELD_EVERY, type FastDevice } from '../block/device.ts'
import type { Awake } from './awake.ts'
import { ARENA, type Buffers } from './buffers.ts'
import { ByteAccess, type EdgeLock } from './byte-access.ts'
import { statusOf } from './contexts.ts'
import type { RequestCounts } from './counts.ts'
import type { MetaContext, NbdExport } from './exports.ts'
import type { Input } from './input.ts'
import type { NbdLimits } from './limits.ts'
import type { Output } from './output.ts'
import {
  command,
  commandFlag,
  EXTENDED_REQUEST_HEADER,
  EXTENDED_REQUEST_MAGIC,
  nbdError,
  REQUEST_HEADER,
  REQUEST_MAGIC,
  u16,
  u32,
  u64,
  type NbdError,
} from './protocol.ts'
import { doneLength, errorReply, putDone, putReadHeader, readHeader, statusChunk, type ReplyForm, type RequestHead } from './replies.ts'
import { errorNumber, errorText, stringBytes } from './reply-errors.ts'

/** Up to this a request may be carried out at once. Bytes. */
const SMALL = 64 * 1024
/** So much is carried out at once before other connections have their turn. Bytes; a request counts as one of so many bytes at least. */
const TURN_BYTES = 2 * 1024 * 1024
const TURN_REQUEST = TURN_BYTES / YIELD_EVERY
/** Where the data of a long read begin: long buffers of the host begin 16 bytes behind a page, so this is the start of a cache line. Bytes. */
const LONG_DATA = 48
/** CACHE reads so much at most. Bytes. */
const CACHE_MAX = 64 * 1024 * 1024
const CACHE_PIECE = 1024 * 1024
/** What a request costs besides its data, as the limits count. Bytes. */
const REQUEST_COST = 512

export interface SelectedContext {
  readonly id: number
  readonly context: MetaContext
}

/** What was negotiated. */
export interface Session {
  readonly export: NbdExport
  readonly form: ReplyForm
  readonly contexts: readonly SelectedContext[]
}

/** What a connection gives to its transmission. */
export interface Link {
  readonly input: Input
  readonly output: Output
  readonly limits: NbdLimits
  readonly buffers: Buffers
  readonly edges: EdgeLock
  readonly awake: Awake
  /** Of all connections. */
  readonly counts: RequestCounts
  /** The other side broke the protocol: the connection ends at once. */
  fail(why: string): void
  /** Reads no more from the socket until `resume`. Repeating either is harmless. */
  pause(): void
  resume(): void
  /** The client said that it is done, and nothing is under way any more. */
  finished(): void
}

/** Counted for status and metrics. */
export interface TransferCounts {
  requests: number
  bytesRead: number
  bytesWritten: number
}

const allowedFlags: readonly number[] = [
  commandFlag.fua | commandFlag.df, // read
  commandFlag.fua, // write
  commandFlag.fua, // disconnect
  commandFlag.fua, // flush
  commandFlag.fua, // trim
  commandFlag.fua, // cache
  commandFlag.fua | commandFlag.noHole | commandFlag.fastZero, // write zeroes
  commandFlag.fua | commandFlag.one, // block status
]

export class Transmission {
  readonly counts: TransferCounts = { requests: 0, bytesRead: 0, bytesWritten: 0 }
  /** Requests under way. */
  inFlight = 0

  private readonly bytes: ByteAccess
  private readonly fast: FastDevice | undefined
  private readonly size: number
  private readonly form: ReplyForm
  private readonly headerLength: number
  private readonly readHead: number
  private bytesInFlight = 0
  /** Bytes of a refused request that are dropped as they arrive. */
  private skipping = 0
  /** When what is read now had arrived, milliseconds; and what was made at once of it. */
  private turnBegun = 0
  private readsAtOnce = 0
  private writesAtOnce = 0
  /** Nothing is read before so many bytes wait: a header, or a header with its data. */
  private needed: number
  /** The limits hold requests back. */
  private stopped = false
  private turnScheduled = false
  /** The client is done, or gone: nothing more is read. */
  private ended = false
  private gone = false
  private draining = false
  private idle: Deferred<void> | undefined

  constructor(
    private readonly link: Link,
    private readonly session: Session,
  ) {
    const { device } = session.export
    this.form = session.form
    this.size = device.size
    this.bytes = new ByteAccess(device, link.edges, () => this.gone)
    this.fast = fastOf(device)
    this.headerLength = session.form === 'extended' ? EXTENDED_REQUEST_HEADER : REQUEST_HEADER
    this.readHead = readHeader[session.form]
    this.needed = this.headerLength
  }

  /** Carries out what has arrived, as far as the limits allow; called whenever there is more, or more room. */
  consume(): void {
    const { input } = this.link
    let budget = TURN_BYTES
    this.stopped = false
    this.turnBegun = performance.now()
    while (!this.ended) {
      if (this.skipping > 0) {
        const skipped = Math.min(this.skipping, input.length)
        input.skip(skipped)
        this.skipping -= skipped
        if (this.skipping > 0) break
      }
      if (input.length < this.needed) break
      if (this.isFull() || budget <= 0) {
        this.stopped = true
        break
      }
      budget -= this.next()
    }
    if (this.ended) input.clear()
    this.link.output.flush()
    const now = performance.now()
    this.countAtOnce(now)
    this.link.awake.touch(now)
    if (!this.stopped) return this.link.resume()
    this.link.pause()
    if (!this.isFull()) this.scheduleTurn()
  }

  private countAtOnce(now: number): void {
    const { times } = this.link.counts
    if (this.readsAtOnce > 0) times[command.read]!.add((now - this.turnBegun) * 1000, this.readsAtOnce)
    if (this.writesAtOnce > 0) times[command.write]!.add((now - this.turnBegun) * 1000, this.writesAtOnce)
    this.readsAtOnce = 0
    this.writesAtOnce = 0
  }

  /** There may be room for more: the client took replies. */
  proceed(): void {
    if (this.stopped && !this.isFull()) this.consume()
  }

  /** The client is done or the server wants to close: what comes from now on is not carried out. Resolves when nothing is under way. */
  async drain(): Promise<void> {
    this.draining = true
    hurry(this.session.export.device)
    if (this.inFlight === 0) return
    this.idle ??= deferred()
    await this.idle.promise
  }

  /** The connection is closed: nobody takes replies any more. */
  abandon(): void {
    this.gone = true
    this.ended = true
    this.link.input.clear()
    hurry(this.session.export.device)
  }

  private isFull(): boolean {
    const { limits, output } = this.link
    return this.inFlight >= limits.requestsInFlightMax || this.bytesInFlight + output.backlog > limits.bytesInFlightMax
  }

  /** Reads one request and carries it out, or begins to. @returns what it costs of the turn */
  private next(): number {
    const { input, limits } = this.link
    const extended = this.form === 'extended'
    input.peek(this.headerLength)
    const { buffer, position } = input
    if (u32(buffer, position) !== (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return this.violated('a request without the magic number')
    const flags = u16(buffer, position + 4)
    const type = u16(buffer, position + 6)
    const offsetHigh = u32(buffer, position + 16)
    const offsetLow = u32(buffer, position + 20)
    const length = extended ? u64(buffer, position + 24) : u32(buffer, position + 24)
    const request: RequestHead = {
      type,
      flags,
      cookieHigh: u32(buffer, position + 8),
      cookieLow: u32(buffer, position + 12),
      offsetHigh,
      offsetLow,
      offset: offsetHigh * 0x1_0000_0000 + offsetLow,
      length,
    }
    const payload = extended ? (flags & commandFlag.payload) !== 0 : type === command.write
    if (payload) {
      if (length > limits.payloadFatal) return this.violated(`a payload of ${length} bytes`)
      const refused = this.draining ? nbdError.shutdown : this.refusal(request, true)
      if (refused !== undefined) {
        this.needed = this.headerLength
        input.skip(this.headerLength)
        this.skipping = length
        return this.refuse(request, refused)
      }
      if (input.length < this.headerLength + length) {
        this.needed = this.headerLength + length
        return 0
      }
      this.needed = this.headerLength
      input.skip(this.headerLength)
      this.counts.requests++
      return type === command.write ? this.write(request) : this.filteredStatus(request)
    }
    input.skip(this.headerLength)
    if (type === command.disconnect) return this.disconnect()
    const refused = this.draining ? nbdError.shutdown : this.refusal(request, false)
    if (refused !== undefined) return this.refuse(request, refused)
    this.counts.requests++
    if (type === command.read) return this.read(request)
    this.begin(request, 0, this.longRun(request))
    return REQUEST_COST
  }

  /** Why a request is not carried out: what the protocol says of its flags, its range and the export. */
  private refusal(request: RequestHead, payload: boolean): NbdError | undefined {
    const { type, flags, length } = request
    const allowed = allowedFlags[type]
    if (allowed === undefined) return nbdError.invalid
    const withPayload = this.form === 'extended' && (type === command.write || (type === command.blockStatus && this.session.contexts.length > 0))
    if ((flags & ~(allowed | (withPayload ? commandFlag.payload : 0))) !== 0) return nbdError.invalid
    if (type === command.write && !payload) return nbdError.invalid
    if (type === command.flush) return request.offset === 0 && length === 0 ? undefined : nbdError.invalid
    const changes = type === command.write || type === command.trim || type === command.writeZeroes
    if (changes && this.session.export.readOnly) return nbdError.perm
    if (type === command.blockStatus) {
      if (this.form === 'simple' || this.session.contexts.length === 0) return nbdError.invalid
      if (payload) return length >= 8 && length % 4 === 0 && length <= 8 + 4 * this.session.contexts.length ? undefined : nbdError.invalid
    }
    if (length === 0) return nbdError.invalid
    if (request.offset > this.size || length > this.size - request.offset) {
      return type === command.write || type === command.writeZeroes ? nbdError.noSpace : nbdError.invalid
    }
    if ((type === command.read || type === command.write) && length > this.link.limits.payloadMax) {
      return type === command.read && this.form !== 'simple' ? nbdError.overflow : nbdError.invalid
    }
    return undefined
  }

  private violated(why: string): number {
    this.ended = true
    this.link.fail(why)
    return 0
  }

  private refuse(request: RequestHead, error: NbdError): number {
    this.link.counts.failed(error)
    this.send(errorReply(this.form, request, error, stringBytes(refusalText(request, error, this.size))))
    return REQUEST_COST
  }

  private disconnect(): number {
    this.ended = true
    if (this.inFlight === 0) this.link.finished()
    return 0
  }

  // ---- read and write

  private read(request: RequestHead): number {
    const { length } = request
    const { output } = this.link
    this.counts.bytesRead += length
    if (this.fast && length <= SMALL && this.bytes.isWhole(request.offset, length)) {
      const at = output.reserve(this.readHead + length)
      const data = at + this.readHead
      if (this.fast.tryRead(request.offset, output.buffer.subarray(data, data + length))) {
        putReadHeader(this.form, output.buffer, at, request)
        output.commit(this.readHead + length)
        this.readsAtOnce++
        return Math.max(TURN_REQUEST, length)
      }
    }
    this.readLater(request)
    return REQUEST_COST
  }

  private readLater(request: RequestHead): void {
    const { buffers } = this.link
    const end = LONG_DATA + request.length
    const start = LONG_DATA - this.readHead
    const buffer = buffers.take(end)
    const begun = this.turnBegun
    this.started(request.length)
    this.bytes.read(request.offset, buffer.subarray(LONG_DATA, end)).then(
      () => {
        if (this.gone) {
          buffers.give(buffer)
        } else {
          putReadHeader(this.form, buffer, start, request)
          this.link.output.long(buffer, start, end)
        }
        this.completed(request, begun, request.length)
      },
      (error: unknown) => {
        buffers.give(buffer)
        this.failed(request, error)
        this.completed(request, begun, request.length)
      },
    )
  }

  /** All of its data has arrived. */
  private write(request: RequestHead): number {
    const { input, edges } = this.link
    const { length, offset } = request
    this.counts.bytesWritten += length
    if (this.fast && length <= SMALL && (request.flags & commandFlag.fua) === 0 && edges.partial === 0 && this.bytes.isWhole(offset, length)) {
      let data = input.whole(length)
      if (!data) {
        data = Buffer.allocUnsafe(length)
        input.copy(data, length)
      }
      if (this.fast.tryWrite(offset, data)) {
        input.skip(length)
        this.done(request)
        this.writesAtOnce++
        return Math.max(TURN_REQUEST, length)
      }
    }
    this.begin(request, length, this.writeAll(request, input.take(length)))
    return REQUEST_COST
  }

  private async writeAll(request: RequestHead, parts: readonly Uint8Array[]): Promise<void> {
    await this.bytes.write(request.offset, parts, request.length)
    await this.flushIfWanted(request)
    this.done(request)
  }

  private async flushIfWanted(request: RequestHead): Promise<void> {
    if ((request.flags & commandFlag.fua) !== 0) await this.bytes.flush()
  }

  // ---- what takes longer

  private async longRun(request: RequestHead): Promise<void> {
    const { type, flags, offset, length } = request
    if (type === command.flush) {
      await this.bytes.flush()
    } else if (type === command.trim) {
      await this.bytes.trim(offset, length)
      await this.flushIfWanted(request)
    } else if (type === command.writeZeroes) {
      const noHole = (flags & commandFlag.noHole) !== 0
      if ((flags & commandFlag.fastZero) !== 0 && (noHole || !this.session.export.zeroIsFast)) {
        this.refuse(request, nbdError.notSupported)
        return
      }
      await this.bytes.zero(offset, length, noHole)
      await this.flushIfWanted(request)
    } else if (type === command.cache) {
      await this.cache(offset, length)
    } else {
      invariant(type === command.blockStatus, 'every command is known here')
      return this.status(request, this.session.contexts, length)
    }
    this.done(request)
  }

  /** Reads, so that the devices below have it in memory. */
  private async cache(offset: number, length: number): Promise<void> {
    const { buffers } = this.link
    const end = offset + Math.min(length, CACHE_MAX)
    const buffer = buffers.take(Math.min(CACHE_PIECE, length))
    try {
      for (let at = offset; at < end && !this.gone; at += CACHE_PIECE) await this.bytes.read(at, buffer.subarray(0, Math.min(CACHE_PIECE, end - at)))
    } finally {
      buffers.give(buffer)
    }
  }

  private async status(request: RequestHead, contexts: readonly SelectedContext[], length: number): Promise<void> {
    const one = (request.flags & commandFlag.one) !== 0
    const chunks: Buffer[] = []
    for (const [index, { id, context }] of contexts.entries()) {
      const extents = await statusOf(context, request.offset, length, one)
      chunks.push(statusChunk(this.form, request, id, extents, index === contexts.length - 1))
    }
    for (const reply of chunks) this.send(reply)
  }

  /** BLOCK_STATUS with a payload (extended headers): its length, and the contexts that are wanted. */
  private filteredStatus(request: RequestHead): number {
    const data = this.link.input.read(request.length)
    const length = u64(data, 0)
    const ids = Array.from({ length: (request.length - 8) / 4 }, (_, i) => u32(data, 8 + 4 * i))
    const wanted = this.session.contexts.filter(({ id }) => ids.includes(id))
    if (wanted.length === 0 || wanted.length !== ids.length || length === 0 || request.offset > this.size || length > this.size - request.offset) {
      return this.refuse(request, nbdError.invalid)
    }
    this.begin(request, 0, this.status(request, wanted, length))
    return REQUEST_COST
  }

  // ---- replies

  private started(bytes: number): void {
    this.inFlight++
    this.bytesInFlight += bytes + REQUEST_COST
  }

  /** Waits for a request that answers itself when it goes well. */
  private begin(request: RequestHead, bytes: number, work: Promise<void>): void {
    const begun = this.turnBegun
    this.started(bytes)
    work.then(
      () => {
        this.completed(request, begun, bytes)
      },
      (error: unknown) => {
        this.failed(request, error)
        this.completed(request, begun, bytes)
      },
    )
  }

  private completed({ type }: RequestHead, begun: number, bytes: number): void {
    this.link.counts.times[type]!.add((performance.now() - begun) * 1000)
    this.inFlight--
    this.bytesInFlight -= bytes + REQUEST_COST
    this.scheduleTurn()
    if (this.inFlight > 0) return
    this.idle?.resolve()
    if (this.ended && !this.gone) this.link.finished()
  }

  private done(request: RequestHead): void {
    if (this.gone) return
    const { output } = this.link
    const length = doneLength[this.form]
    const at = output.reserve(length) // may change the buffer
    putDone(this.form, output.buffer, at, request)
    output.commit(length)
  }

  private failed(request: RequestHead, error: unknown): void {
    const number = errorNumber(error)
    this.link.counts.failed(number)
    this.send(errorReply(this.form, request, number, errorText(error)))
  }

  private send(reply: Buffer): void {
    if (this.gone) return
    const { output, buffers } = this.link
    if (reply.length <= ARENA) {
      const at = output.reserve(reply.length)
      output.buffer.set(reply, at)
      output.commit(reply.length)
      return
    }
    const buffer = buffers.take(reply.length)
    reply.copy(buffer)
    output.long(buffer, 0, reply.length)
  }

  /** Replies of what ends in one turn of the event loop leave together; then there is room for more requests. */
  private scheduleTurn(): void {
    if (this.turnScheduled) return
    this.turnScheduled = true
    setImmediate(this.turn)
  }

  private readonly turn = (): void => {
    this.turnScheduled = false
    if (this.gone) return
    this.link.output.flush()
    if (this.stopped) this.proceed()
    else this.consume()
  }
}

function refusalText(request: RequestHead, error: NbdError, size: number): string {
  if (error === nbdError.shutdown) return 'The server is closing this connection'
  if (error === nbdError.perm) return 'The export is read-only'
  if (error === nbdError.notSupported) return 'Zeroing is no faster than writing zeros here'
  if (error === nbdError.overflow) return `A read of ${request.length} bytes is too long`
  return `Command ${request.type} with flags ${request.flags} for ${request.length} bytes at ${request.offset} cannot be carried out on an export of ${size} bytes`
}
