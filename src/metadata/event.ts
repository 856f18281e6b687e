/** What happened to a pool: one record for each event. */
import { Buffer } from 'node:buffer'
import { LunarError } from '../core/base/errors.ts'
import { fitting } from './struct.ts'
import { getU64, putU64 } from './u64.ts'

/** Events kept. Key (event, 0, number): u64 milliseconds since 1970, then UTF-8: code, object, message, each but the last followed by a line feed. */
export const EVENTS_KEPT = 1000

const HEADER = 8
/** Bytes of code, object and message together. */
const TEXT_MAX = 700

export interface EventEntry {
  /** Milliseconds since 1970. */
  readonly timeMs: number
  readonly event: string
  readonly object: string
  /** May have several lines; cut when it is long. */
  readonly message: string
}

export function encodeEvent({ timeMs, event, object, message }: EventEntry): Uint8Array {
  const body = Buffer.from(fitting(`${event}\n${object}\n${message}`, TEXT_MAX), 'utf8')
  const value = new Uint8Array(HEADER + body.length)
  putU64(new DataView(value.buffer), 0, timeMs)
  value.set(body, HEADER)
  return value
}

/** @throws LunarError `ERR_METADATA_DAMAGED` */
export function decodeEvent(value: Uint8Array): EventEntry {
  if (value.length < HEADER) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a record of an event', { why: 'it is too short' })
  const [event = '', object = '', ...message] = Buffer.from(value.subarray(HEADER)).toString('utf8').split('\n')
  return { timeMs: getU64(new DataView(value.buffer, value.byteOffset, value.byteLength), 0), event, object, message: message.join('\n') }
}
