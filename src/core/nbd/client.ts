/** The client's side of one NBD connection: negotiation, then requests, as many at once as their callers make. */
import { connect as connectPlain, type Socket } from 'node:net'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { deferred, type Deferred } from '../base/deferred.ts'
import { errnoOf, LunarError } from '../base/errors.ts'
import { MIB } from '../base/units.ts'
import type { RemoteEnd } from '../block/device.ts'
import { BASE_ALLOCATION } from './contexts.ts'
import { Input } from './input.ts'
import {
  chunk,
  command,
  GREETING,
  info,
  nbdError,
  option,
  OPTION_REPLY_HEADER,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  optionReply,
  put16,
  put32,
  put64,
  REPLY_DONE,
  REQUEST_HEADER,
  REQUEST_MAGIC,
  SIMPLE_REPLY_HEADER,
  SIMPLE_REPLY_MAGIC,
  STRING_MAX,
  STRUCTURED_REPLY_HEADER,
  STRUCTURED_REPLY_MAGIC,
  u16,
  u32,
  u64,
} from './protocol.ts'
import type { NbdAddress } from './uri.ts'

/** What a server that says nothing of it takes (protocol: size constraints). Bytes. */
const PAYLOAD_DEFAULT = 32 * MIB
/** Longest reply but data: a status of as many extents as the protocol allows. Bytes. */
const CHUNK_MAX = 8 * MIB + 64
/** A server has so long to answer and to finish the negotiation. Milliseconds. */
const HANDSHAKE_MS = 5000
/** A server that owes replies and has sent nothing for so many turns in a row, each so long, is gone. Milliseconds. */
const QUIET_TURN_MS = 10_000
const QUIET_TURNS_MAX = 3

/** Answers to an option: no such export; not this client, not without TLS, not this option. */
const UNKNOWN_EXPORT = 0x8000_0006
const refusals: readonly number[] = [0x8000_0001, 0x8000_0002, 0x8000_0005]
/** That we may not, or lack what it takes, is not the server's absence (hazard 33). */
const isRefusal = /^(EACCES|EPERM|EMFILE|ENFILE|ENOMEM|ENOBUFS|ERR_(TLS|SSL).*|.*(CERT|SIGNATURE).*)$/

interface Pending {
  readonly type: number
  readonly offset: number
  readonly length: number
  /** Where a READ puts its data. */
  readonly into: Uint8Array | undefined
  readonly extents: { length: number; flags: number }[]
  readonly ended: Deferred<void>
  covered: number
  failed: LunarError | undefined
}

const codeOf = (error: number): 'ERR_HOST_FULL' | 'ERR_READ_ONLY' | 'ERR_IO' =>
  error === nbdError.noSpace ? 'ERR_HOST_FULL' : error === nbdError.perm ? 'ERR_READ_ONLY' : 'ERR_IO'

/** Replies are checked before they are believed: one that contradicts the protocol ends the connection. */
export class NbdClient implements RemoteEnd {
  size = 0
  flags = 0
  minimumBlock = 1
  payloadMax = PAYLOAD_DEFAULT
  /** Id of `base:allocation`, where the server has it. */
  allocationId: number | undefined

  private readonly input = new Input()
  private reader: { count: number; ready: Deferred<Buffer> } | undefined
  private readonly pending = new Map<number, Pending>()
  private cookie = 0
  private structured = false
  private serving = false
  private failure: LunarError | undefined
  private readonly closed = deferred()
  private readonly loss = deferred<LunarError>()
  private hasLost = false
  /** Runs while requests are under way; data that arrive begin the count anew. */
  private quietTimer: NodeJS.Timeout | undefined
  private quietTurns = 0
  /** The READ whose data are arriving, and how many of them are still to come. */
  private filling: { pending: Pending; at: number; left: number; done: boolean; cookie: number } | undefined

  private constructor(
    private socket: Socket,
    private readonly address: NbdAddress,
  ) {
    this.listen(socket)
  }

  /** @throws LunarError `ERR_IO` when the server is not there or breaks the protocol, `ERR_FILE_NOT_FOUND` when it does not have the export */
  static async open(address: NbdAddress): Promise<NbdClient> {
    const socket = 'path' in address.at ? connectPlain(address.at.path) : connectPlain({ ...address.at, noDelay: true, keepAlive: true })
    const client = new NbdClient(socket, address)
    const timer = setTimeout(() => {
      client.fail('the server took too long to negotiate')
    }, HANDSHAKE_MS)
    try {
      await client.negotiate()
      return client
    } catch (error) {
      await client.abandon()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** What is under way fails with it; the server is told, and the socket closed. */
  async close(): Promise<void> {
    if (!this.failure && this.serving) {
      const request = this.header({ type: command.disconnect, flags: 0, offset: 0, length: 0 }, this.cookie)
      this.failure = this.error('it is closed')
      this.socket.end(request)
    }
    const timer = setTimeout(() => this.socket.destroy(), 1000)
    await this.closed.promise
    clearTimeout(timer)
  }

  get isLost(): boolean {
    return this.hasLost
  }

  get lost(): Promise<LunarError> {
    return this.loss.promise
  }

  lose(why: string): void {
    this.fail(why)
  }

  // ---- requests

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.request({ type: command.read, flags: 0, offset, length: into.length }, into)
  }

  write(offset: number, parts: readonly Uint8Array[], length: number, flags: number): Promise<void> {
    return this.request({ type: command.write, flags, offset, length }, undefined, parts)
  }

  /** A command without data in either direction. */
  run(type: number, offset: number, length: number, flags = 0): Promise<void> {
    return this.request({ type, flags, offset, length })
  }

  /** Flags of `base:allocation`; fewer bytes than asked for are possible. */
  async status(offset: number, length: number): Promise<readonly { length: number; flags: number }[]> {
    const extents: { length: number; flags: number }[] = []
    await this.request({ type: command.blockStatus, flags: 0, offset, length }, undefined, [], extents)
    return extents
  }

  private request(
    request: { type: number; flags: number; offset: number; length: number },
    into?: Uint8Array,
    parts: readonly Uint8Array[] = [],
    extents: Pending['extents'] = [],
  ): Promise<void> {
    if (this.failure) return Promise.reject(this.failure)
    const cookie = this.cookie
    this.cookie = (this.cookie + 1) % 0x1_0000_0000
    if (this.pending.size === 0) this.watchQuiet()
    const ended = deferred()
    this.pending.set(cookie, { type: request.type, offset: request.offset, length: request.length, into, extents, ended, covered: 0, failed: undefined })
    this.socket.cork()
    this.socket.write(this.header(request, cookie))
    for (const part of parts) this.socket.write(part)
    this.socket.uncork()
    return ended.promise
  }

  private header({ type, flags, offset, length }: { type: number; flags: number; offset: number; length: number }, cookie: number): Buffer {
    const header = Buffer.alloc(REQUEST_HEADER)
    put32(header, 0, REQUEST_MAGIC)
    put16(header, 4, flags)
    put16(header, 6, type)
    put64(header, 8, cookie)
    put64(header, 16, offset)
    put32(header, 24, length)
    return header
  }

  /** A server that is cut off, or hangs, closes no connection. */
  private watchQuiet(): void {
    this.quietTurns = 0
    this.quietTimer ??= setInterval(() => {
      if (this.pending.size === 0) {
        clearInterval(this.quietTimer)
        this.quietTimer = undefined
      } else if (++this.quietTurns >= QUIET_TURNS_MAX) this.fail(`the server has sent nothing for ${(QUIET_TURN_MS * QUIET_TURNS_MAX) / 1000} s`)
    }, QUIET_TURN_MS).unref()
  }

  // ---- replies

  private listen(socket: Socket): void {
    socket.on('data', this.onData)
    socket.on('error', error => {
      this.fail(error.message, error)
    })
    socket.on('close', this.onClose)
  }

  private readonly onData = (data: Buffer): void => {
    this.quietTurns = 0
    this.input.push(data)
    if (this.serving) this.consume()
    else this.feed()
  }

  private readonly onClose = (): void => {
    this.fail('the server closed the connection')
    this.closed.resolve()
  }

  private error(why: string, cause?: unknown): LunarError {
    return new LunarError(isRefusal.test(errnoOf(cause) ?? '') ? 'ERR_HOST_LIMIT' : 'ERR_IO', `Cannot use ${this.address.uri}`, { why, cause })
  }

  /** From here on everything fails with the first reason. */
  private fail(why: string, cause?: unknown): void {
    if (!this.failure) {
      this.failure = this.error(why, cause)
      this.hasLost = true
      this.loss.resolve(this.failure)
    }
    clearInterval(this.quietTimer)
    this.reader?.ready.reject(this.failure)
    this.reader = undefined
    for (const { ended } of this.pending.values()) ended.reject(this.failure)
    this.pending.clear()
    this.filling = undefined
    this.input.clear()
    this.socket.destroy()
  }

  private async abandon(): Promise<void> {
    this.fail('it could not be opened')
    await this.closed.promise
  }

  private consume(): void {
    const { input } = this
    while (!this.failure) {
      if (this.filling) {
        if (!this.fill()) return
        continue
      }
      if (!input.peek(SIMPLE_REPLY_HEADER)) return
      const magic = u32(input.buffer, input.position)
      if (magic === SIMPLE_REPLY_MAGIC) this.simple()
      else if (magic === STRUCTURED_REPLY_MAGIC && this.structured) {
        if (!this.chunk()) return
      } else return this.fail('a reply without the magic number')
    }
  }

  /** Copies what has arrived of a READ to where it belongs. @returns whether that was all */
  private fill(): boolean {
    const { input, filling } = this
    if (!filling) return true
    const count = Math.min(filling.left, input.length)
    if (count > 0) {
      input.copy(filling.pending.into!.subarray(filling.at, filling.at + count), count)
      input.skip(count)
      filling.at += count
      filling.left -= count
    }
    if (filling.left > 0) return false
    this.filling = undefined
    if (filling.done) this.finish(filling.cookie, filling.pending)
    return true
  }

  private find(high: number, low: number): Pending | undefined {
    return high === 0 ? this.pending.get(low) : undefined
  }

  private simple(): void {
    const { input } = this
    const error = u32(input.buffer, input.position + 4)
    const cookie = u32(input.buffer, input.position + 12)
    const pending = this.find(u32(input.buffer, input.position + 8), cookie)
    input.skip(SIMPLE_REPLY_HEADER)
    if (!pending) return this.fail('a reply to nothing')
    if (error !== 0) pending.failed = this.refusal(pending, error, '')
    else if (pending.type === command.blockStatus || (pending.type === command.read && this.structured)) return this.fail('a simple reply where it cannot be')
    if (error === 0 && pending.type === command.read) {
      pending.covered = pending.length
      this.filling = { pending, at: 0, left: pending.length, done: true, cookie }
      return
    }
    this.finish(cookie, pending)
  }

  /** @returns false when not all of it has arrived */
  private chunk(): boolean {
    const { input } = this
    if (!input.peek(STRUCTURED_REPLY_HEADER)) return false
    const { buffer, position } = input
    const flags = u16(buffer, position + 4)
    const type = u16(buffer, position + 6)
    const cookie = u32(buffer, position + 12)
    const pending = this.find(u32(buffer, position + 8), cookie)
    const length = u32(buffer, position + 16)
    const done = (flags & REPLY_DONE) !== 0
    if (!pending) return this.wrong('a reply to nothing')
    if (type === chunk.offsetData) {
      if (input.length < STRUCTURED_REPLY_HEADER + 8) return false
      input.skip(STRUCTURED_REPLY_HEADER)
      input.peek(8)
      const at = u64(input.buffer, input.position) - pending.offset
      input.skip(8)
      if (!pending.into || length <= 8 || at < 0 || at + length - 8 > pending.length) return this.wrong('data that nobody asked for')
      pending.covered += length - 8
      this.filling = { pending, at, left: length - 8, done, cookie }
      return true
    }
    if (length > CHUNK_MAX) return this.wrong(`a reply of ${length} bytes`)
    if (input.length < STRUCTURED_REPLY_HEADER + length) return false
    input.skip(STRUCTURED_REPLY_HEADER)
    const payload = input.read(length)
    if (type === chunk.none ? !done || length !== 0 : !this.note(pending, type, payload)) return this.wrong(`a chunk of type ${type} that contradicts itself`)
    if (done) this.finish(cookie, pending)
    return true
  }

  private note(pending: Pending, type: number, payload: Buffer): boolean {
    if (type === chunk.offsetHole) {
      if (!pending.into || payload.length !== 12) return false
      const at = u64(payload, 0) - pending.offset
      const length = u32(payload, 8)
      if (at < 0 || length === 0 || at + length > pending.length) return false
      pending.into.fill(0, at, at + length)
      pending.covered += length
      return true
    }
    if (type === chunk.blockStatus) {
      if (pending.type !== command.blockStatus || payload.length < 12 || payload.length % 8 !== 4) return false
      if (u32(payload, 0) !== this.allocationId) return false
      for (let at = 4; at < payload.length; at += 8) {
        const length = u32(payload, at)
        if (length === 0) return false
        pending.extents.push({ length, flags: u32(payload, at + 4) })
      }
      return true
    }
    if (type < 0x8000 || payload.length < 6) return false
    const error = u32(payload, 0)
    const length = u16(payload, 4)
    if (error === 0 || length > STRING_MAX || length > payload.length - 6) return false
    pending.failed = this.refusal(pending, error, payload.toString('utf8', 6, 6 + length))
    return true
  }

  private wrong(why: string): boolean {
    this.fail(why)
    return false
  }

  private refusal(pending: Pending, error: number, text: string): LunarError {
    const why = `the server answered with error ${error}${text === '' ? '' : `: ${JSON.stringify(text)}`}`
    return new LunarError(codeOf(error), `Cannot carry out command ${pending.type} at byte ${pending.offset} of ${this.address.uri}`, { why })
  }

  private finish(cookie: number, pending: Pending): void {
    this.pending.delete(cookie)
    if (pending.failed) pending.ended.reject(pending.failed)
    else if (pending.into && pending.covered !== pending.length) this.fail('a READ without all of its data')
    else if (pending.type === command.blockStatus && pending.extents.length === 0) this.fail('a status that says nothing')
    else pending.ended.resolve()
    if (this.failure && !pending.failed) pending.ended.reject(this.failure)
  }

  // ---- negotiation

  private bytes(count: number): Promise<Buffer> {
    if (this.failure) return Promise.reject(this.failure)
    const ready = deferred<Buffer>()
    this.reader = { count, ready }
    this.feed()
    return ready.promise
  }

  private feed(): void {
    if (!this.reader || this.input.length < this.reader.count) return
    const { count, ready } = this.reader
    this.reader = undefined
    ready.resolve(this.input.read(count))
  }

  private async negotiate(): Promise<void> {
    const greeting = await this.bytes(GREETING.length)
    if (!greeting.subarray(0, 16).equals(GREETING.subarray(0, 16)) || (u16(greeting, 16) & 1) === 0) throw this.error('it is no NBD server that negotiates')
    const noZeroes = u16(greeting, 16) & 2
    const flags = Buffer.alloc(4)
    put32(flags, 0, 1 | noZeroes)
    this.socket.write(flags)
    if (this.address.tls) await this.startTls()
    this.structured = (await this.option(option.structuredReply)).at(-1)!.type === optionReply.ack
    const name = Buffer.from(this.address.export)
    if (this.structured) await this.selectAllocation(name)
    const go = Buffer.alloc(4 + name.length + 4)
    put32(go, 0, name.length)
    go.set(name, 4)
    put16(go, 4 + name.length, 1)
    put16(go, 6 + name.length, info.blockSize)
    const replies = await this.option(option.go, go)
    const last = replies.at(-1)!
    if (last.type !== optionReply.ack) throw this.refused(last)
    for (const { type, data } of replies) {
      if (type !== optionReply.info || data.length < 2) continue
      if (u16(data, 0) === info.export && data.length === 12) {
        this.size = u64(data, 2)
        this.flags = u16(data, 10)
      } else if (u16(data, 0) === info.blockSize && data.length === 14) {
        this.minimumBlock = u32(data, 2)
        this.payloadMax = Math.min(PAYLOAD_DEFAULT, u32(data, 10))
      }
    }
    if (this.flags === 0 || !Number.isSafeInteger(this.size)) throw this.error('the server does not say how large the export is')
    this.serving = true
    this.consume()
  }

  private refused({ type, data }: { type: number; data: Buffer }): LunarError {
    const unknown = type === UNKNOWN_EXPORT
    const code = unknown ? 'ERR_FILE_NOT_FOUND' : refusals.includes(type) ? 'ERR_HOST_LIMIT' : 'ERR_IO'
    return new LunarError(code, `Cannot open ${this.address.uri}`, {
      why: unknown ? 'the server has no such export for us' : `the server refused: ${JSON.stringify(data.toString('utf8'))}`,
    })
  }

  private async selectAllocation(name: Buffer): Promise<void> {
    const context = Buffer.from(BASE_ALLOCATION)
    const data = Buffer.alloc(4 + name.length + 8 + context.length)
    put32(data, 0, name.length)
    data.set(name, 4)
    put32(data, 4 + name.length, 1)
    put32(data, 8 + name.length, context.length)
    data.set(context, 12 + name.length)
    const replies = await this.option(option.setMetaContext, data)
    const found = replies.find(reply => reply.type === optionReply.metaContext && reply.data.toString('utf8', 4) === BASE_ALLOCATION)
    if (found && replies.at(-1)!.type === optionReply.ack) this.allocationId = u32(found.data, 0)
  }

  private async startTls(): Promise<void> {
    const last = (await this.option(option.startTls)).at(-1)!
    if (last.type !== optionReply.ack) throw this.refused(last)
    const { at, certificates } = this.address
    if (certificates === undefined) throw this.error('TLS needs certificates: ?tls-certificates=FOLDER')
    const files = ['ca-cert.pem', 'client-cert.pem', 'client-key.pem'].map(file => readFile(join(certificates, file)))
    const [ca, cert, key] = await Promise.all(files).catch((error: unknown) => {
      throw new LunarError('ERR_HOST_LIMIT', `Cannot open ${this.address.uri}`, { cause: error, fix: 'check the folder that tls-certificates names' })
    })
    const plain = this.socket
    plain.off('data', this.onData)
    plain.off('close', this.onClose)
    const servername = 'host' in at ? at.host : 'localhost'
    this.socket = connectTls({ socket: plain, ca: ca!, cert: cert!, key: key!, servername, host: servername, minVersion: 'TLSv1.2' })
    this.listen(this.socket)
  }

  /** All replies to an option, up to the one that ends it. */
  private async option(code: number, data: Uint8Array = new Uint8Array()): Promise<{ type: number; data: Buffer }[]> {
    const request = Buffer.alloc(16 + data.length)
    request.write('IHAVEOPT', 'latin1')
    put32(request, 8, code)
    put32(request, 12, data.length)
    request.set(data, 16)
    this.socket.write(request)
    const replies: { type: number; data: Buffer }[] = []
    for (let count = 0; count < 100; count++) {
      const head = await this.bytes(OPTION_REPLY_HEADER)
      if (u32(head, 0) !== OPTION_REPLY_MAGIC_HIGH || u32(head, 4) !== OPTION_REPLY_MAGIC_LOW || u32(head, 8) !== code)
        throw this.error('an answer to another option')
      const length = u32(head, 16)
      if (length > 64 * 1024) throw this.error(`an answer of ${length} bytes`)
      const reply = { type: u32(head, 12), data: await this.bytes(length) }
      replies.push(reply)
      if (reply.type === optionReply.ack || reply.type >= 0x8000_0000) return replies
    }
    throw this.error('answers without end')
  }
}
