/** Where ids come from: the system's random source, or a seeded one in the simulation. */
export type UuidSource = () => string

export const randomUuid: UuidSource = () => formatUuid(stampVersion(crypto.getRandomValues(new Uint8Array(16))))

/** A source that a seed replays. */
export function seededUuids(u32: () => number): UuidSource {
  return () => {
    const bytes = new Uint8Array(16)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < 16; i += 4) view.setUint32(i, u32())
    return formatUuid(stampVersion(bytes))
  }
}

/** Marks 16 random bytes as an RFC 9562 version 4 UUID. */
function stampVersion(bytes: Uint8Array): Uint8Array {
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes
}

/** Of what was read last, by the first byte: an opening meets the same few ids in hundreds of roots. */
const known: { readonly a: number; readonly b: number; readonly c: number; readonly d: number; readonly text: string }[] = []

/** The 16 bytes at `offset`, as text. */
export function readUuid(view: DataView, offset: number): string {
  const a = view.getUint32(offset)
  const b = view.getUint32(offset + 4)
  const c = view.getUint32(offset + 8)
  const d = view.getUint32(offset + 12)
  const last = known[a >>> 24]
  if (last?.a === a && last.b === b && last.c === c && last.d === d) return last.text
  const [hexB, hexC] = [hex(b), hex(c)]
  const text = `${hex(a)}-${hexB.slice(0, 4)}-${hexB.slice(4)}-${hexC.slice(0, 4)}-${hexC.slice(4)}${hex(d)}`
  known[a >>> 24] = { a, b, c, d, text }
  return text
}

const hex = (u32: number): string => u32.toString(16).padStart(8, '0')

/** @param bytes of which the first 16 count */
export const formatUuid = (bytes: Uint8Array): string => readUuid(new DataView(bytes.buffer, bytes.byteOffset, 16), 0)

export function uuidBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

export const NIL_UUID = '00000000-0000-0000-0000-000000000000'
