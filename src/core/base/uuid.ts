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

/** What was formatted last, by the first byte: an opening meets the same few ids in hundreds of roots. */
const formatted: { readonly bytes: Buffer; readonly text: string }[] = []

/** @param bytes of which the first 16 count */
export function formatUuid(bytes: Uint8Array): string {
  const uuid = Buffer.from(bytes.buffer, bytes.byteOffset, 16)
  const known = formatted[uuid[0]!]
  if (known?.bytes.equals(uuid)) return known.text
  const hex = uuid.toString('hex')
  const text = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  formatted[uuid[0]!] = { bytes: Buffer.from(uuid), text }
  return text
}

export function uuidBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

export const NIL_UUID = '00000000-0000-0000-0000-000000000000'
