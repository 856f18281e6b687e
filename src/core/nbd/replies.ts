/** The three forms of replies, written in place. */
import {
  chunk,
  EXTENDED_REPLY_HEADER,
  EXTENDED_REPLY_MAGIC,
  put16,
  put32,
  put64,
  REPLY_DONE,
  SIMPLE_REPLY_HEADER,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_HEADER,
  STRUCTURED_REPLY_MAGIC,
} from './protocol.ts'

export type ReplyForm = 'simple' | 'structured' | 'extended'

/** A request as it was read. `cookie` and `offset` in halves, as they go back to the client. */
export interface RequestHead {
  readonly type: number
  readonly flags: number
  readonly cookieHigh: number
  readonly cookieLow: number
  readonly offsetHigh: number
  readonly offsetLow: number
  /** Bytes from the start of the export. */
  readonly offset: number
  /** Bytes that it works on, or that follow it. */
  readonly length: number
}

/** Bytes of OFFSET_DATA before the data. */
const DATA_OFFSET = 8

/** Bytes before the data of a READ. */
export const readHeader: Readonly<Record<ReplyForm, number>> = {
  simple: SIMPLE_REPLY_HEADER,
  structured: STRUCTURED_REPLY_HEADER + DATA_OFFSET,
  extended: EXTENDED_REPLY_HEADER + DATA_OFFSET,
}

/** Bytes of a reply without data that says that all is well. */
export const doneLength: Readonly<Record<ReplyForm, number>> = {
  simple: SIMPLE_REPLY_HEADER,
  structured: SIMPLE_REPLY_HEADER,
  extended: EXTENDED_REPLY_HEADER,
}

export function putSimple(into: Uint8Array, at: number, request: RequestHead, error: number): void {
  put32(into, at, SIMPLE_REPLY_MAGIC)
  put32(into, at + 4, error)
  put32(into, at + 8, request.cookieHigh)
  put32(into, at + 12, request.cookieLow)
}

/** Bytes before the payload of a chunk. */
export const chunkHeader = (form: ReplyForm): number => (form === 'extended' ? EXTENDED_REPLY_HEADER : STRUCTURED_REPLY_HEADER)

/** @param form not `simple` @param length bytes of payload */
export function putChunk(form: ReplyForm, into: Uint8Array, at: number, request: RequestHead, flags: number, type: number, length: number): void {
  put32(into, at, form === 'extended' ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC)
  put16(into, at + 4, flags)
  put16(into, at + 6, type)
  put32(into, at + 8, request.cookieHigh)
  put32(into, at + 12, request.cookieLow)
  if (form !== 'extended') return put32(into, at + 16, length)
  put32(into, at + 16, request.offsetHigh)
  put32(into, at + 20, request.offsetLow)
  put64(into, at + 24, length)
}

/** `doneLength` bytes. A structured reply without data may be a simple one, which is shorter. */
export function putDone(form: ReplyForm, into: Uint8Array, at: number, request: RequestHead): void {
  if (form === 'extended') putChunk(form, into, at, request, REPLY_DONE, chunk.none, 0)
  else putSimple(into, at, request, 0)
}

/** `readHeader` bytes, which the data follow. */
export function putReadHeader(form: ReplyForm, into: Uint8Array, at: number, request: RequestHead): void {
  if (form === 'simple') return putSimple(into, at, request, 0)
  const header = chunkHeader(form)
  putChunk(form, into, at, request, REPLY_DONE, chunk.offsetData, DATA_OFFSET + request.length)
  put32(into, at + header, request.offsetHigh)
  put32(into, at + header + 4, request.offsetLow)
}

/** A whole reply that says what went wrong; a simple one has no room for the text. */
export function errorReply(form: ReplyForm, request: RequestHead, error: number, text: Uint8Array): Buffer {
  if (form === 'simple') {
    const reply = Buffer.allocUnsafe(SIMPLE_REPLY_HEADER)
    putSimple(reply, 0, request, error)
    return reply
  }
  const header = chunkHeader(form)
  const reply = Buffer.allocUnsafe(header + 6 + text.length)
  putChunk(form, reply, 0, request, REPLY_DONE, chunk.error, 6 + text.length)
  put32(reply, header, error)
  put16(reply, header + 4, text.length)
  reply.set(text, header + 6)
  return reply
}

/** One chunk of BLOCK_STATUS. @param form not `simple` */
export function statusChunk(form: ReplyForm, request: RequestHead, id: number, extents: readonly { length: number; flags: number }[], last: boolean): Buffer {
  const wide = form === 'extended'
  const header = chunkHeader(form)
  const each = wide ? 16 : 8
  const fixed = wide ? 8 : 4
  const payload = fixed + extents.length * each
  const reply = Buffer.allocUnsafe(header + payload)
  putChunk(form, reply, 0, request, last ? REPLY_DONE : 0, wide ? chunk.blockStatusExtended : chunk.blockStatus, payload)
  put32(reply, header, id)
  if (wide) put32(reply, header + 4, extents.length)
  extents.forEach(({ length, flags }, index) => {
    const at = header + fixed + index * each
    if (wide) {
      put64(reply, at, length)
      put64(reply, at + 8, flags >>> 0)
    } else {
      put32(reply, at, length)
      put32(reply, at + 4, flags)
    }
  })
  return reply
}
