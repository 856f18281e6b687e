/** Negotiation with one client: options, one after the other, until it has an export or is gone. */
import { LunarError } from '../base/errors.ts'
import { allocationContext, BASE_ALLOCATION } from './contexts.ts'
import type { NbdExport, NbdExportInfo, NbdExports, Peer } from './exports.ts'
import type { Input } from './input.ts'
import type { NbdLimits } from './limits.ts'
import { contextRequest, finds, infoRequest, stringOf } from './options.ts'
import {
  clientFlag,
  EXPORT_NAME_PADDING,
  GREETING,
  info,
  option,
  OPTION_HEADER,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_HEADER,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  optionError,
  optionReply,
  put16,
  put32,
  put64,
  transmissionFlag,
  u32,
  type OptionError,
} from './protocol.ts'
import type { ReplyForm } from './replies.ts'
import { errorText, isNotFound, stringBytes } from './reply-errors.ts'
import type { SelectedContext, Session } from './transmission.ts'

const MINIMUM_BLOCK = 1
const PREFERRED_BLOCK = 4096

/** What a connection gives to its negotiation. */
export interface HandshakeHost {
  readonly peer: Peer
  readonly input: Input
  readonly limits: NbdLimits
  readonly exports: NbdExports
  /** The server is on its way down. */
  readonly closing: boolean
  /** TLS is there, and has to be used before anything else. */
  readonly tlsRequired: boolean
  send(data: Buffer): void
  /** The other side broke the protocol or a limit: the connection ends at once. */
  fail(why: string): void
  /** The client wanted to leave. */
  hangUp(): void
  /** Changes to TLS; resolves when the client has proved who it is, and does nothing more when it could not. */
  startTls(): Promise<boolean>
  /** The client is gone. */
  readonly gone: boolean
  enter(session: Session): void
}

export class Handshake {
  private phase: 'flags' | 'options' | 'over' = 'flags'
  private busy = false
  private overdue = false
  private fixed = false
  private zeroes = true
  private optionCount = 0
  private form: ReplyForm = 'simple'
  private selected: { readonly name: string; readonly contexts: readonly string[] } | undefined

  constructor(private readonly host: HandshakeHost) {}

  begin(): void {
    this.host.send(GREETING)
  }

  /** The client had its time. What the server itself is at is finished first. */
  expire(): void {
    if (this.busy) this.overdue = true
    else if (this.phase !== 'over') this.fail('it took too long to negotiate')
  }

  /** Answers what has arrived. */
  consume(): void {
    const { input, limits } = this.host
    while (!this.busy && this.phase !== 'over') {
      if (this.phase === 'flags') {
        if (!input.peek(4)) return
        const flags = u32(input.buffer, input.position)
        input.skip(4)
        if ((flags & ~(clientFlag.fixedNewstyle | clientFlag.noZeroes)) !== 0) return this.fail(`unknown client flags ${flags}`)
        this.fixed = (flags & clientFlag.fixedNewstyle) !== 0
        this.zeroes = (flags & clientFlag.noZeroes) === 0
        this.phase = 'options'
        continue
      }
      if (!input.peek(OPTION_HEADER)) return
      const { buffer, position } = input
      if (u32(buffer, position) !== OPTION_MAGIC_HIGH || u32(buffer, position + 4) !== OPTION_MAGIC_LOW) return this.fail('an option without the magic number')
      const code = u32(buffer, position + 8)
      const length = u32(buffer, position + 12)
      if (length > limits.optionBytesMax) return this.fail(`an option of ${length} bytes`)
      if (input.length < OPTION_HEADER + length) return
      if (++this.optionCount > limits.optionsMax) return this.fail(`more than ${limits.optionsMax} options`)
      const data = new Uint8Array(length)
      input.skip(OPTION_HEADER)
      input.copy(data, length)
      input.skip(length)
      if (!this.fixed && code !== option.exportName) return this.fail(`option ${code} of a client without fixed newstyle`)
      this.busy = true
      this.answer(code, data).then(this.answered, this.broke)
    }
  }

  private readonly answered = (): void => {
    this.busy = false
    if (this.host.gone || this.phase === 'over') return
    if (this.overdue) this.fail('it took too long to negotiate')
    else this.consume()
  }

  private readonly broke = (error: unknown): void => {
    this.busy = false
    this.fail(error instanceof Error ? error.message : String(error))
  }

  private fail(why: string): void {
    this.phase = 'over'
    this.host.fail(why)
  }

  private async answer(code: number, data: Uint8Array): Promise<void> {
    if (code === option.abort) {
      this.reply(code, optionReply.ack)
      this.phase = 'over'
      this.host.hangUp()
    } else if (code === option.exportName) {
      await this.exportName(data)
    } else if (this.host.closing) {
      this.refuse(code, optionError.shutdown, 'The server is going down')
    } else if (code === option.startTls) {
      await this.startTls(data)
    } else if (this.host.tlsRequired) {
      this.refuse(code, optionError.tlsRequired, 'Use TLS first')
    } else if (code === option.list) {
      await this.list(data)
    } else if (code === option.info || code === option.go) {
      await this.info(code, data)
    } else if (code === option.structuredReply) {
      if (data.length > 0) this.refuse(code, optionError.invalid, 'This option has no data')
      else if (this.form === 'extended') this.refuse(code, optionError.extendedRequired, 'Extended headers are in use')
      else this.agree(code, 'structured')
    } else if (code === option.extendedHeaders) {
      if (data.length > 0) this.refuse(code, optionError.invalid, 'This option has no data')
      else this.agree(code, 'extended')
    } else if (code === option.listMetaContext || code === option.setMetaContext) {
      await this.contexts(code, data)
    } else {
      this.refuse(code, optionError.unsupported, `Option ${code} is not known`)
    }
  }

  private agree(code: number, form: ReplyForm): void {
    this.form = form
    this.reply(code, optionReply.ack)
  }

  private async startTls(data: Uint8Array): Promise<void> {
    if (data.length > 0) return this.refuse(option.startTls, optionError.invalid, 'This option has no data')
    if (this.host.peer.transport === 'tls') return this.refuse(option.startTls, optionError.invalid, 'TLS is in use')
    if (!this.host.tlsRequired) return this.refuse(option.startTls, optionError.policy, 'There is no TLS here')
    // What was sent before the key exchange must never count as said under its protection.
    if (this.host.input.length > 0) return this.fail('bytes that came before TLS')
    this.reply(option.startTls, optionReply.ack)
    this.form = 'simple'
    this.selected = undefined
    if (!(await this.host.startTls())) this.phase = 'over'
  }

  private async list(data: Uint8Array): Promise<void> {
    if (data.length > 0) return this.refuse(option.list, optionError.invalid, 'This option has no data')
    let names: readonly { name: string; description: string }[]
    try {
      names = await this.host.exports.list(this.host.peer)
    } catch (error) {
      return this.refuse(option.list, optionError.policy, error)
    }
    const replies = names.map(({ name, description }) => {
      const bytes = stringBytes(name)
      const length = Buffer.alloc(4)
      put32(length, 0, bytes.length)
      return this.optionReply(option.list, optionReply.server, Buffer.concat([length, bytes, stringBytes(description)]))
    })
    this.host.send(Buffer.concat([...replies, this.optionReply(option.list, optionReply.ack)]))
  }

  private async info(code: number, data: Uint8Array): Promise<void> {
    const request = infoRequest(data)
    if (!request) return this.refuse(code, optionError.invalid, 'The option contradicts itself')
    if (code === option.info) {
      const described = await this.attempt(code, request.name, () => this.describe(request.name))
      if (described)
        this.host.send(Buffer.concat([...this.infoReplies(code, described, request.name, request.wanted), this.optionReply(code, optionReply.ack)]))
      return
    }
    const opened = await this.attempt(code, request.name, () => this.open(request.name))
    if (!opened) return
    const contexts = this.selectedContexts(request.name, opened)
    if (!contexts) {
      await opened.release()
      return this.refuse(code, optionError.unknown, 'A meta context that was selected is no longer there')
    }
    this.host.send(Buffer.concat([...this.infoReplies(code, infoOf(opened), request.name, request.wanted), this.optionReply(code, optionReply.ack)]))
    this.enter(opened, contexts)
  }

  /** Cannot be refused but by closing (protocol: EXPORT_NAME). */
  private async exportName(data: Uint8Array): Promise<void> {
    const name = stringOf(data)
    if (name === undefined || this.host.closing || this.host.tlsRequired || this.form === 'extended') return this.fail('EXPORT_NAME where it cannot be used')
    const opened = await this.open(name)
    const contexts = this.selectedContexts(name, opened)
    if (!contexts) {
      await opened.release()
      return this.fail('a meta context that was selected is no longer there')
    }
    const reply = Buffer.alloc(10 + (this.zeroes ? EXPORT_NAME_PADDING : 0))
    put64(reply, 0, opened.device.size)
    put16(reply, 8, this.flags(opened.readOnly, name))
    this.host.send(reply)
    this.enter(opened, contexts)
  }

  private enter(opened: NbdExport, contexts: readonly SelectedContext[]): void {
    this.phase = 'over'
    this.host.enter({ export: opened, form: this.form, contexts })
  }

  private async contexts(code: number, data: Uint8Array): Promise<void> {
    const listing = code === option.listMetaContext
    if (!listing) this.selected = undefined
    if (this.form === 'simple') return this.refuse(code, optionError.invalid, 'Meta contexts need structured replies')
    const request = contextRequest(data)
    if (request === 'too many') return this.refuse(code, optionError.tooBig, 'These are too many queries')
    if (!request) return this.refuse(code, optionError.invalid, 'The option contradicts itself')
    const described = await this.attempt(code, request.name, () => this.describe(request.name))
    if (!described) return
    const all = [BASE_ALLOCATION, ...described.contexts.map(({ name }) => name)]
    const everything = listing && request.queries.length === 0
    const found = all.filter(name => everything || request.queries.some(query => finds(query, name, listing)))
    if (!listing) this.selected = { name: request.name, contexts: found }
    const replies = found.map((name, index) => {
      const id = Buffer.alloc(4)
      put32(id, 0, listing ? 0 : index + 1)
      return this.optionReply(code, optionReply.metaContext, Buffer.concat([id, stringBytes(name)]))
    })
    this.host.send(Buffer.concat([...replies, this.optionReply(code, optionReply.ack)]))
  }

  /** The contexts that were selected for this very export. @returns undefined when one is not there any more */
  private selectedContexts(name: string, opened: NbdExport): SelectedContext[] | undefined {
    if (this.selected?.name !== name) return []
    const all = [allocationContext(opened.device), ...opened.contexts]
    const found = this.selected.contexts.map((wanted, index) => ({ id: index + 1, context: all.find(context => context.name === wanted) }))
    return found.every((selected): selected is SelectedContext => selected.context !== undefined) ? found : undefined
  }

  // ---- exports

  /** The export, owned by whoever called; released again when the client went meanwhile. */
  private async open(name: string): Promise<NbdExport> {
    const opened = await this.host.exports.open(name, this.host.peer)
    if (!this.host.gone && !this.host.closing) return opened
    await opened.release()
    throw new LunarError('ERR_FAILED', `Cannot serve ${JSON.stringify(name)}`, { why: 'the connection was closed meanwhile' })
  }

  private async describe(name: string): Promise<NbdExportInfo> {
    const { exports, peer } = this.host
    if (exports.describe) return exports.describe(name, peer)
    const opened = await this.open(name)
    const described = infoOf(opened)
    await opened.release()
    return described
  }

  /** Answers with the reason when it fails. */
  private async attempt<T>(code: number, name: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      if (this.host.gone) return undefined
      if (this.host.closing) this.refuse(code, optionError.shutdown, 'The server is going down')
      else if (isNotFound(error)) this.refuse(code, optionError.unknown, `There is no export ${JSON.stringify(name)}`)
      else this.refuse(code, optionError.policy, error)
      return undefined
    }
  }

  // ---- replies

  private flags(readOnly: boolean, name: string): number {
    const chunks = this.form !== 'simple'
    const filtered = this.form === 'extended' && this.selected?.name === name && this.selected.contexts.length > 0
    const changing = transmissionFlag.trim | transmissionFlag.writeZeroes | transmissionFlag.fastZero
    return (
      transmissionFlag.hasFlags |
      transmissionFlag.flush |
      transmissionFlag.fua |
      transmissionFlag.multiConnection |
      transmissionFlag.cache |
      (readOnly ? transmissionFlag.readOnly : changing) |
      (chunks ? transmissionFlag.df : 0) |
      (filtered ? transmissionFlag.blockStatusPayload : 0)
    )
  }

  private infoReplies(code: number, described: NbdExportInfo, name: string, wanted: readonly number[]): Buffer[] {
    const item = (type: number, payload: Uint8Array): Buffer => {
      const data = Buffer.alloc(2 + payload.length)
      put16(data, 0, type)
      data.set(payload, 2)
      return this.optionReply(code, optionReply.info, data)
    }
    const size = Buffer.alloc(10)
    put64(size, 0, described.size)
    put16(size, 8, this.flags(described.readOnly, name))
    const replies = [item(info.export, size)]
    if (wanted.includes(info.name)) replies.push(item(info.name, stringBytes(described.name)))
    if (wanted.includes(info.description)) replies.push(item(info.description, stringBytes(described.description)))
    if (wanted.includes(info.blockSize)) {
      const sizes = Buffer.alloc(12)
      put32(sizes, 0, MINIMUM_BLOCK)
      put32(sizes, 4, PREFERRED_BLOCK)
      put32(sizes, 8, this.host.limits.payloadMax)
      replies.push(item(info.blockSize, sizes))
    }
    return replies
  }

  private refuse(code: number, error: OptionError, why: unknown): void {
    this.reply(code, error, typeof why === 'string' ? stringBytes(why) : errorText(why))
  }

  private reply(code: number, type: number, data: Uint8Array = new Uint8Array()): void {
    this.host.send(this.optionReply(code, type, data))
  }

  private optionReply(code: number, type: number, data: Uint8Array = new Uint8Array()): Buffer {
    const reply = Buffer.allocUnsafe(OPTION_REPLY_HEADER + data.length)
    put32(reply, 0, OPTION_REPLY_MAGIC_HIGH)
    put32(reply, 4, OPTION_REPLY_MAGIC_LOW)
    put32(reply, 8, code)
    put32(reply, 12, type)
    put32(reply, 16, data.length)
    reply.set(data, OPTION_REPLY_HEADER)
    return reply
  }
}

const infoOf = (opened: NbdExport): NbdExportInfo => ({
  name: opened.name,
  description: opened.description,
  size: opened.device.size,
  readOnly: opened.readOnly,
  contexts: opened.contexts,
})
