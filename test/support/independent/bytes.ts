/** Reading on-disk bytes for the independent checker. Nothing of `src` is used here: a bug there must not hide itself. */

/** CRC-32C by the textbook: one table, one byte a step. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc >>> 0
})

export function checksum(bytes: Uint8Array, seed: number): number {
  let crc = ~seed
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** The kind of a block: its four letters as a little-endian number are magic and seed of the checksum. */
export type Kind = 'LABL' | 'LOCK' | 'ROOT' | 'JRNL' | 'NODE'
const numberOf = (kind: Kind): number => [...kind].reduce((number, letter) => number * 256 + letter.charCodeAt(0), 0)

/** One block, read field by field. Numbers are little-endian. */
export class Block {
  private readonly view: DataView

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u8 = (at: number): number => this.view.getUint8(at)
  u16 = (at: number): number => this.view.getUint16(at, true)
  u32 = (at: number): number => this.view.getUint32(at, true)
  u64 = (at: number): number => Number(this.view.getBigUint64(at, true))
  id = (at: number): string => Buffer.from(this.bytes.subarray(at, at + 16)).toString('hex')
  text(at: number, length: number): string {
    const bytes = Buffer.from(this.bytes.subarray(at, at + length))
    const end = bytes.indexOf(0)
    return bytes.toString('utf8', 0, end < 0 ? length : end)
  }
  ids = (at: number, count: number): string[] => Array.from({ length: count }, (_, i) => this.id(at + 16 * i))

  get isZero(): boolean {
    return isZero(this.bytes)
  }

  /** Whole and of this kind: crc32c of bytes 4 to the end, seeded with the kind, and the kind's magic. */
  is(kind: Kind, length = this.bytes.length): boolean {
    return this.u32(4) === numberOf(kind) && this.u32(0) === checksum(this.bytes.subarray(4, length), numberOf(kind))
  }
}

const zeros = Buffer.alloc(64 * 1024)
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}

/** What the checker reads: a file, a simulated disk, anything with bytes. */
export interface Reader {
  readonly name: string
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
  /** Where there is nothing but zeros, so that it need not be read. */
  extents?(offset: number, length: number): Promise<readonly { readonly offset: number; readonly length: number; readonly kind: string }[]>
}

export async function readAt(reader: Reader, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await reader.read(offset, bytes)
  return bytes
}

export async function readsAsZeros(reader: Reader, offset: number, length: number): Promise<boolean> {
  const extents = (await reader.extents?.(offset, length)) ?? [{ offset, length, kind: 'data' }]
  for (const extent of extents) if (extent.kind !== 'hole' && !isZero(await readAt(reader, extent.offset, extent.length))) return false
  return true
}
