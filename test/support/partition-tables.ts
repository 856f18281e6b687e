/** Images with partition tables, as fdisk and gdisk write them. */
import { crc32 } from 'node:zlib'

export const LINUX = '0fc63daf-8483-4772-8e79-3d69d8477de4'
const LINUX_BYTES = Buffer.from('af3dc60f838472478e793d69d8477de4', 'hex')

/** @param entries in sectors of 512 */
export function mbrImage(size: number, entries: readonly { type: number; start: number; count: number }[]): Buffer {
  const image = Buffer.alloc(size)
  entries.forEach(({ type, start, count }, i) => {
    const at = 446 + 16 * i
    image[at + 4] = type
    image.writeUInt32LE(start, at + 8)
    image.writeUInt32LE(count, at + 12)
  })
  image.writeUInt16LE(0xaa55, 510)
  return image
}

/** Both copies of a table of 128 entries, and the protective MBR; `undefined` leaves an entry empty. */
export function gptImage(size: number, sector: number, partitions: readonly ({ first: number; last: number; name: string } | undefined)[]): Buffer {
  const image = mbrImage(size, [{ type: 0xee, start: 1, count: size / sector - 1 }])
  const entries = Buffer.alloc(128 * 128)
  partitions.forEach((partition, i) => {
    if (!partition) return
    const at = 128 * i
    LINUX_BYTES.copy(entries, at)
    entries.fill(i + 1, at + 16, at + 32)
    entries.writeBigUInt64LE(BigInt(partition.first), at + 32)
    entries.writeBigUInt64LE(BigInt(partition.last), at + 40)
    entries.write(partition.name, at + 56, 'utf16le')
  })
  const sectors = size / sector
  const room = entries.length / sector
  for (const [at, other, entriesAt] of [
    [1, sectors - 1, 2],
    [sectors - 1, 1, sectors - 1 - room],
  ] as const) {
    const header = image.subarray(at * sector, (at + 1) * sector)
    header.write('EFI PART', 0, 'latin1')
    header.writeUInt32LE(0x10000, 8)
    header.writeUInt32LE(92, 12)
    header.writeBigUInt64LE(BigInt(at), 24)
    header.writeBigUInt64LE(BigInt(other), 32)
    header.writeBigUInt64LE(BigInt(2 + room), 40)
    header.writeBigUInt64LE(BigInt(sectors - 2 - room), 48)
    header.fill(7, 56, 72)
    header.writeBigUInt64LE(BigInt(entriesAt), 72)
    header.writeUInt32LE(128, 80)
    header.writeUInt32LE(128, 84)
    header.writeUInt32LE(crc32(entries), 88)
    header.writeUInt32LE(crc32(header.subarray(0, 92)), 16)
    entries.copy(image, entriesAt * sector)
  }
  return image
}
