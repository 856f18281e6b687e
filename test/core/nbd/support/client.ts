/**
 * A client of the NBD protocol that believes nothing: every reply is taken apart by the text of the protocol, with numbers of
 * its own, and anything that is not allowed is an error.
 */
import { connect, type Socket } from 'node:net'
import { deferred, type Deferred } from '../../../../src/core/base/deferred.ts'

export const OPT = { exportName: 1, abort: 2, list: 3, starttls: 5, info: 6, go: 7, structured: 8, listContexts: 9, setContexts: 10, extended: 11 }
export const REP = {
  ack: 1,
  server: 2,
  info: 3,
  context: 4,
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  tooBig: 0x80000009,
  extendedRequired: 0x8000000a,
}
export const CMD = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, zeroes: 6, status: 7 }
export const FLAG = { fua: 1, noHole: 2, df: 4, one: 8, fastZero: 16, payload: 32 }
export const ERR = { perm: 1, io: 5, invalid: 22, noSpace: 28, overflow: 75, notSupported: 95, shutdown: 108 }

export interface OptionReply {
  readonly type: number
  readonly data: Buffer
}

export interface Extent {
  readonly length: number
  readonly flags: number
}

export interface Reply {
  readonly cookie: bigint
  readonly error: number
  readonly text: string
  readonly data: Buffer | undefined
  /** By context id. */
  readonly status: ReadonlyMap<number, readonly Extent[]>
  /** Content chunks. */
  readonly chunks: number
}

interface Request {
  readonly type: number
  readonly flags?: number
  readonly offset?: number | bigint
  readonly length?: number | bigint
  readonly payload?: Uint8Array
}

const fail = (what: string): never => {
  throw new Error(`protocol: ${what}`)
}

export const u16be = (value: number): Buffer => Buffer.from([value >> 8, value & 255])
export const u32be = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
export const u64be = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
export const sized = (text: string): Buffer => Buffer.concat([u32be(Buffer.byteLength(text)), Buffer.from(text)])

export class Client {
  form: 'simple' | 'structured' | 'extended' = 'simple'
  size = 0
  flags = 0
  private input = Buffer.alloc(0)
  private waiting: { count: number; deferred: Deferred<Buffer> } | undefined
  private over = false
  private readonly end = deferred()
  private nextCookie = 0x1122334455667700n
  private readonly pending = new Map<
    bigint,
    { request: Request; data: Buffer; covered: number; chunks: number; status: Map<number, Extent[]>; failed: Reply | undefined }
  >()

  private constructor(public socket: Socket) {
    this.attach(socket)
  }

  static async connect(path: string): Promise<Client> {
    const socket = connect(path)
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new Client(socket)
  }

  static over(socket: Socket): Client {
    return new Client(socket)
  }

  /** Reads from another socket from now on: the one with TLS. */
  attach(socket: Socket): void {
    this.socket.removeAllListeners('data')
    this.socket.removeAllListeners('close')
    this.socket = socket
    socket.on('data', data => {
      this.input = this.input.length === 0 ? data : Buffer.concat([this.input, data])
      this.serve()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.over = true
      this.waiting?.deferred.reject(new Error('the server closed the connection'))
      this.end.resolve()
    })
  }

  close(): void {
    this.socket.destroy()
  }

  /** Resolves when the server has closed the connection. @returns what it sent before and nobody read */
  async ended(): Promise<Buffer> {
    await this.end.promise
    return this.input
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  bytes(count: number): Promise<Buffer> {
    if (this.waiting) throw new Error('one reader at a time')
    const wanted = { count, deferred: deferred<Buffer>() }
    this.waiting = wanted
    this.serve()
    if (this.over && this.waiting) {
      this.waiting = undefined
      wanted.deferred.reject(new Error('the server closed the connection'))
    }
    return wanted.deferred.promise
  }

  private serve(): void {
    if (!this.waiting || this.input.length < this.waiting.count) return
    const { count, deferred: ready } = this.waiting
    this.waiting = undefined
    const bytes = this.input.subarray(0, count)
    this.input = this.input.subarray(count)
    ready.resolve(bytes)
  }

  // ---- negotiation

  async greet(flags = 3): Promise<number> {
    const hello = await this.bytes(18)
    if (hello.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') fail('no greeting')
    this.send(u32be(flags))
    return hello.readUInt16BE(16)
  }

  sendOption(code: number, data: Uint8Array = Buffer.alloc(0), length = data.length): void {
    this.send(Buffer.from('IHAVEOPT'), u32be(code), u32be(length), data)
  }

  /** All replies to an option, up to the one that ends it. */
  async option(code: number, data: Uint8Array = Buffer.alloc(0)): Promise<OptionReply[]> {
    this.sendOption(code, data)
    const replies: OptionReply[] = []
    for (;;) {
      const head = await this.bytes(20)
      if (head.readBigUInt64BE(0) !== 0x3e889045565a9n) fail('an option reply without the magic number')
      if (head.readUInt32BE(8) !== code) fail(`a reply to option ${head.readUInt32BE(8)}, not ${code}`)
      const type = head.readUInt32BE(12)
      const reply = { type, data: await this.bytes(head.readUInt32BE(16)) }
      replies.push(reply)
      if (type === REP.ack && reply.data.length > 0) fail('ACK with data')
      if (type === REP.ack || type >= 0x80000000) return replies
    }
  }

  async agree(form: 'simple' | 'structured' | 'extended'): Promise<void> {
    if (form !== 'simple') {
      const [reply] = await this.option(form === 'structured' ? OPT.structured : OPT.extended)
      if (reply?.type !== REP.ack) fail(`${form} replies were refused`)
    }
    this.form = form
  }

  /** Options INFO and GO. @returns the replies; size and flags are taken from them */
  async info(code: number, name: string, wanted: readonly number[] = []): Promise<OptionReply[]> {
    const replies = await this.option(code, Buffer.concat([sized(name), u16be(wanted.length), ...wanted.map(u16be)]))
    if (replies.at(-1)!.type === REP.ack) {
      const item = replies.find(({ type, data }) => type === REP.info && data.readUInt16BE(0) === 0) ?? fail('no NBD_INFO_EXPORT')
      if (item.data.length !== 12) fail('NBD_INFO_EXPORT of the wrong length')
      this.size = Number(item.data.readBigUInt64BE(2))
      this.flags = item.data.readUInt16BE(10)
      if ((this.flags & 1) === 0) fail('HAS_FLAGS is not set')
      if (this.form === 'simple' && (this.flags & 128) !== 0) fail('SEND_DF without structured replies')
      if ((this.flags & 64) === 0 && (this.flags & 2048) !== 0) fail('FAST_ZERO without WRITE_ZEROES')
    }
    return replies
  }

  /** @returns id by name */
  async contexts(code: number, name: string, queries: readonly string[]): Promise<Map<string, number>> {
    const replies = await this.option(code, Buffer.concat([sized(name), u32be(queries.length), ...queries.map(sized)]))
    if (replies.at(-1)!.type !== REP.ack) fail(`contexts were refused: ${replies.at(-1)!.type.toString(16)}`)
    return new Map(replies.slice(0, -1).map(({ data }) => [data.toString('utf8', 4), data.readUInt32BE(0)]))
  }

  async enter(name: string, form: 'simple' | 'structured' | 'extended' = 'simple', contexts: readonly string[] = []): Promise<Map<string, number>> {
    await this.greet()
    await this.agree(form)
    const ids = contexts.length > 0 ? await this.contexts(OPT.setContexts, name, contexts) : new Map<string, number>()
    const replies = await this.info(OPT.go, name)
    if (replies.at(-1)!.type !== REP.ack) fail(`GO was refused: ${replies.at(-1)!.data.toString()}`)
    return ids
  }

  // ---- transmission

  /** @returns the bytes of a request, which is noted as sent */
  encode(request: Request): Buffer {
    const { type, flags = 0, offset = 0, payload } = request
    const cookie = this.nextCookie++
    const length = request.length ?? payload?.length ?? 0
    const wide = this.form === 'extended'
    const allFlags = wide && payload ? flags | FLAG.payload : flags
    this.pending.set(cookie, {
      request,
      data: Buffer.alloc(type === CMD.read ? Math.min(Number(length), 2 ** 26) : 0),
      covered: 0,
      chunks: 0,
      status: new Map(),
      failed: undefined,
    })
    const head = [
      u32be(wide ? 0x21e41c71 : 0x25609513),
      u16be(allFlags),
      u16be(type),
      u64be(cookie),
      u64be(offset),
      wide ? u64be(length) : u32be(Number(length)),
    ]
    return Buffer.concat([...head, payload ?? Buffer.alloc(0)])
  }

  request(request: Request): bigint {
    const cookie = this.nextCookie
    this.send(this.encode(request))
    return cookie
  }

  async call(request: Request): Promise<Reply> {
    const cookie = this.request(request)
    const reply = await this.reply()
    if (reply.cookie !== cookie) fail('a reply to another request')
    return reply
  }

  /** The next request that is answered whole. */
  async reply(): Promise<Reply> {
    for (;;) {
      const magic = (await this.bytes(4)).readUInt32BE()
      if (magic === 0x67446698) {
        if (this.form === 'extended') fail('a simple reply with extended headers')
        const rest = await this.bytes(12)
        const error = rest.readUInt32BE(0)
        const cookie = rest.readBigUInt64BE(4)
        const state = this.pending.get(cookie) ?? fail(`an unknown cookie ${cookie}`)
        if (state.request.type === CMD.read && this.form !== 'simple') fail('a simple reply to READ with structured replies')
        if (state.request.type === CMD.status && error === 0) fail('a simple reply to BLOCK_STATUS')
        if (state.covered > 0 || state.failed || state.status.size > 0) fail('a simple reply after chunks')
        this.pending.delete(cookie)
        const data = state.request.type === CMD.read && error === 0 ? await this.bytes(Number(state.request.length)) : undefined
        return { cookie, error, text: '', data, status: new Map(), chunks: 0 }
      }
      if (this.form === 'simple' || magic !== (this.form === 'structured' ? 0x668e33ef : 0x6e8a278c)) fail(`magic ${magic.toString(16)} of a reply`)
      const reply = await this.chunk()
      if (reply) return reply
    }
  }

  private async chunk(): Promise<Reply | undefined> {
    const wide = this.form === 'extended'
    const head = await this.bytes(wide ? 28 : 16)
    const flags = head.readUInt16BE(0)
    const type = head.readUInt16BE(2)
    const cookie = head.readBigUInt64BE(4)
    const length = wide ? Number(head.readBigUInt64BE(20)) : head.readUInt32BE(12)
    const state = this.pending.get(cookie) ?? fail(`an unknown cookie ${cookie}`)
    if (wide && head.readBigUInt64BE(12) !== BigInt(state.request.offset ?? 0)) fail('a reply with another offset')
    if ((flags & ~1) !== 0) fail(`unknown flags ${flags} of a reply`)
    const done = (flags & 1) !== 0
    const payload = await this.bytes(length)
    const from = Number(state.request.offset ?? 0)
    if (type === 0) {
      if (length !== 0 || !done) fail('a wrong chunk NONE')
    } else if (type === 1) {
      const at = Number(payload.readBigUInt64BE(0)) - from
      if (state.request.type !== CMD.read || length < 9 || at < 0 || at + length - 8 > state.data.length) fail('data outside of the request')
      payload.copy(state.data, at, 8)
      state.covered += length - 8
      state.chunks++
      if (state.chunks > 1 && ((state.request.flags ?? 0) & FLAG.df) !== 0) fail('fragments in spite of DF')
    } else if (type === 5 || type === 6) {
      if (state.request.type !== CMD.status || (type === 6) !== wide) fail('a wrong chunk of status')
      this.noteStatus(state.status, payload, wide, state.request)
    } else if (type === 0x8001) {
      const error = payload.readUInt32BE(0)
      if (error === 0 || payload.readUInt16BE(4) !== length - 6 || length - 6 > 4096) fail('a wrong chunk ERROR')
      state.failed = { cookie, error, text: payload.toString('utf8', 6), data: undefined, status: new Map(), chunks: state.chunks }
    } else {
      fail(`a chunk of type ${type}`)
    }
    if (!done) return undefined
    this.pending.delete(cookie)
    if (state.failed) return state.failed
    if (state.request.type === CMD.read && state.covered !== state.data.length) fail('READ without all of its data')
    return { cookie, error: 0, text: '', data: state.request.type === CMD.read ? state.data : undefined, status: state.status, chunks: state.chunks }
  }

  private noteStatus(status: Map<number, Extent[]>, payload: Buffer, wide: boolean, request: Request): void {
    const id = payload.readUInt32BE(0)
    const start = wide ? 8 : 4
    const each = wide ? 16 : 8
    if (status.has(id)) fail('two chunks of one context')
    if (payload.length <= start || (payload.length - start) % each !== 0) fail('a status of the wrong length')
    if (wide && payload.readUInt32BE(4) !== (payload.length - start) / each) fail('a wrong count of descriptors')
    const extents: Extent[] = []
    for (let at = start; at < payload.length; at += each) {
      extents.push(
        wide
          ? { length: Number(payload.readBigUInt64BE(at)), flags: Number(payload.readBigUInt64BE(at + 8)) }
          : { length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) },
      )
    }
    if (extents.some(({ length }) => length === 0)) fail('an empty extent')
    const asked = request.payload ? Number(Buffer.from(request.payload).readBigUInt64BE(0)) : Number(request.length)
    const total = extents.reduce((sum, { length }) => sum + length, 0)
    if (((request.flags ?? 0) & FLAG.one) !== 0 && (extents.length !== 1 || total > asked)) fail('REQ_ONE was ignored')
    if (total - extents.at(-1)!.length >= asked) fail('extents beyond the range')
    status.set(id, extents)
  }
}
