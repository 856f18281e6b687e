/**
 * The numbers of the NBD protocol (doc/proto.md of NetworkBlockDevice/nbd and its extension EXTENDED_HEADERS). All fields
 * are big-endian; what has 64 bits is read and written as two halves, since bit operations have 32.
 */

/** `NBDMAGIC` and `IHAVEOPT`, then the handshake flags. */
export const GREETING = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1')
/** `IHAVEOPT` in two halves: what every option of a client begins with. */
export const OPTION_MAGIC_HIGH = 0x49484156
export const OPTION_MAGIC_LOW = 0x454f5054
export const OPTION_HEADER = 16
export const OPTION_REPLY_MAGIC_HIGH = 0x0003e889
export const OPTION_REPLY_MAGIC_LOW = 0x045565a9
export const OPTION_REPLY_HEADER = 20
/** What follows the reply to EXPORT_NAME unless the client does without. Bytes. */
export const EXPORT_NAME_PADDING = 124

export const clientFlag = { fixedNewstyle: 1, noZeroes: 2 } as const

export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const

export const optionReply = { ack: 1, server: 2, info: 3, metaContext: 4 } as const

/** Replies that refuse an option. */
export const optionError = {
  unsupported: 0x8000_0001,
  policy: 0x8000_0002,
  invalid: 0x8000_0003,
  tlsRequired: 0x8000_0005,
  unknown: 0x8000_0006,
  shutdown: 0x8000_0007,
  tooBig: 0x8000_0009,
  extendedRequired: 0x8000_000a,
} as const
export type OptionError = (typeof optionError)[keyof typeof optionError]

export const info = { export: 0, name: 1, description: 2, blockSize: 3 } as const

export const transmissionFlag = {
  hasFlags: 1,
  readOnly: 1 << 1,
  flush: 1 << 2,
  fua: 1 << 3,
  trim: 1 << 5,
  writeZeroes: 1 << 6,
  df: 1 << 7,
  multiConnection: 1 << 8,
  cache: 1 << 10,
  fastZero: 1 << 11,
  blockStatusPayload: 1 << 12,
} as const

export const REQUEST_MAGIC = 0x25609513
export const REQUEST_HEADER = 28
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71
export const EXTENDED_REQUEST_HEADER = 32

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 } as const

export const commandFlag = { fua: 1, noHole: 2, df: 4, one: 8, fastZero: 16, payload: 32 } as const

export const SIMPLE_REPLY_MAGIC = 0x67446698
export const SIMPLE_REPLY_HEADER = 16
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef
export const STRUCTURED_REPLY_HEADER = 20
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c
export const EXTENDED_REPLY_HEADER = 32

/** Flag of the last chunk of a reply. */
export const REPLY_DONE = 1
export const chunk = { none: 0, offsetData: 1, offsetHole: 2, blockStatus: 5, blockStatusExtended: 6, error: 0x8001 } as const

export const nbdError = { perm: 1, io: 5, invalid: 22, noSpace: 28, overflow: 75, notSupported: 95, shutdown: 108 } as const
export type NbdError = (typeof nbdError)[keyof typeof nbdError]

/** Flags of `base:allocation`. */
export const allocation = { hole: 1, zero: 2 } as const

/** Longest string of the protocol. Bytes. */
export const STRING_MAX = 4096

export const u16 = (from: Uint8Array, at: number): number => (from[at]! << 8) | from[at + 1]!
export const u32 = (from: Uint8Array, at: number): number => ((from[at]! << 24) | (from[at + 1]! << 16) | (from[at + 2]! << 8) | from[at + 3]!) >>> 0
/** Not exact from 2^53 on, which no size reaches. */
export const u64 = (from: Uint8Array, at: number): number => u32(from, at) * 0x1_0000_0000 + u32(from, at + 4)

export function put16(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8
  into[at + 1] = value
}

export function put32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24
  into[at + 1] = value >>> 16
  into[at + 2] = value >>> 8
  into[at + 3] = value
}

/** @param value a whole number from 0 to 2^53 - 1 */
export function put64(into: Uint8Array, at: number, value: number): void {
  put32(into, at, Math.floor(value / 0x1_0000_0000))
  put32(into, at + 4, value >>> 0)
}
