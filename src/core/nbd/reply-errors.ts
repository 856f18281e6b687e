/** What clients are told when something fails: the error number of the protocol and a text. */
import { LunarError } from '../base/errors.ts'
import type { ErrorCode } from '../base/error-table.ts'
import { errorTable } from '../base/error-table.ts'
import { nbdError, STRING_MAX, type NbdError } from './protocol.ts'

const numbers = new Map<ErrorCode, NbdError>([
  ['ERR_POOL_FULL', nbdError.noSpace],
  ['ERR_HOST_FULL', nbdError.noSpace],
  ['ERR_METADATA_FULL', nbdError.noSpace],
  ['ERR_READ_ONLY', nbdError.perm],
  ['ERR_PROTECTED', nbdError.perm],
  ['ERR_WRITE_ONCE', nbdError.perm],
  ['ERR_OUT_OF_RANGE', nbdError.invalid],
  // A write-once device (serving.md): the text says which of the two it is.
  ['ERR_ALREADY_WRITTEN', nbdError.overflow],
  ['ERR_UNWRITTEN', nbdError.overflow],
])

/** Lack of memory or descriptors is EIO too: the protocol wants no ENOMEM. */
export const errorNumber = (error: unknown): NbdError => (error instanceof LunarError && numbers.get(error.code)) || nbdError.io

/** What failed and why, at most as long as a string of the protocol. */
export function errorText(error: unknown): Buffer {
  const text = error instanceof LunarError ? `${error.message}: ${error.why}` : error instanceof Error ? error.message : String(error)
  return stringBytes(text)
}

/** UTF-8, cut at a character where it is too long for the protocol. */
export function stringBytes(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll('\0', ''), 'utf8')
  if (bytes.length <= STRING_MAX) return bytes
  let end = STRING_MAX
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}

/** Whether the error says that there is no such thing, which a client may not be told apart from "not for you". */
export const isNotFound = (error: unknown): boolean => error instanceof LunarError && errorTable[error.code].exit === 3
