/** What users did to a pool: one record for each administrative change. */
import { Buffer } from 'node:buffer'
import { LunarError } from '../core/base/errors.ts'
import { VALUE_MAX } from './batch.ts'
import { getU64, putU64 } from './u64.ts'

/** Changes kept. Key (history, 0, number): u64 milliseconds since 1970, u32 milliseconds that it took, u32 user id, then a JSON array of texts: user, result, verb, command, parameters. */
export const HISTORY_KEPT = 1000

const HEADER = 16
/** User id of somebody of whom none is known. */
export const NO_UID = 0xffff_ffff
/** Characters of what has no bound of its own; the first that are cut when the record would be too long. */
const COMMAND_MAX = 400
const PARAMETERS_MAX = 400
const NAME_MAX = 64

export interface HistoryEntry {
  /** Milliseconds since 1970, when it began. */
  readonly timeMs: number
  readonly durationMs: number
  /** Of the process that asked for it, or `NO_UID`. */
  readonly uid: number
  readonly user: string
  /** `ok`, or the code of the error. */
  readonly result: string
  /** `lun.create`. */
  readonly verb: string
  /** What was typed, or the program. */
  readonly command: string
  /** JSON; cut, and then ended by an ellipsis, when it is long. */
  readonly parameters: string
}

export function encodeHistory(entry: HistoryEntry): Uint8Array {
  const { timeMs, durationMs, uid, user, result, verb, command, parameters } = entry
  for (let share = 1; ; share /= 2) {
    const texts = [cut(user, NAME_MAX * share), result, verb, cut(command, COMMAND_MAX * share), cut(parameters, PARAMETERS_MAX * share)]
    const body = Buffer.from(JSON.stringify(texts), 'utf8')
    if (HEADER + body.length > VALUE_MAX) continue
    const value = new Uint8Array(HEADER + body.length)
    const view = new DataView(value.buffer)
    putU64(view, 0, timeMs)
    view.setUint32(8, Math.min(Math.round(durationMs), 0xffff_ffff), true)
    view.setUint32(12, uid, true)
    value.set(body, HEADER)
    return value
  }
}

const cut = (text: string, length: number): string => (text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`)

/** @throws LunarError `ERR_METADATA_DAMAGED` */
export function decodeHistory(value: Uint8Array): HistoryEntry {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const texts = value.length > HEADER ? parsed(Buffer.from(value.subarray(HEADER)).toString('utf8')) : undefined
  if (!Array.isArray(texts) || texts.length < 5 || !texts.every(text => typeof text === 'string'))
    throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a record of the history', { why: 'it is not a list of texts' })
  const [user, result, verb, command, parameters] = texts as [string, string, string, string, string]
  return { timeMs: getU64(view, 0), durationMs: view.getUint32(8, true), uid: view.getUint32(12, true), user, result, verb, command, parameters }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
