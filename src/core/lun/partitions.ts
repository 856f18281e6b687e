/**
 * Finds the partition of a number inside of a volume: GPT (UEFI 2.10, chapter 5) or MBR with logical partitions from 5 on.
 * What is read there was written by somebody else, so nothing of it is believed before it is checked.
 */
import { crc32 } from 'node:zlib'
import { LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'

export interface Partition {
  readonly number: number
  readonly table: 'gpt' | 'mbr'
  /** Bytes from the start of the volume. */
  readonly offset: number
  readonly length: number
  /** GUID of a GPT partition, two hexadecimal digits of an MBR one. */
  readonly type: string
  readonly name: string | null
}

/** Addressable by a table of either kind: 128 entries of a GPT are usual. */
const PARTITION_MAX = 1024
const ENTRY_BYTES_MAX = 4096
/** The sizes of a sector that partition tools write. */
const SECTORS = [512, 4096]
const MBR_BYTES = 512
const PROTECTIVE = 0xee
const EXTENDED = [0x05, 0x0f, 0x85]

/** @throws LunarError `ERR_PARTITION_NOT_FOUND`, `ERR_USAGE` unless `number` is whole and above 0, and what reading throws */
export async function findPartition(device: BlockDevice, number: number, volume: string): Promise<Partition> {
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new LunarError('ERR_USAGE', `Cannot find partition ${number} of ${volume}`, {
      why: 'partitions are numbered from 1',
      fix: 'give 0 for the whole volume',
    })
  }
  const refuse = (why: string): never => {
    throw new LunarError('ERR_PARTITION_NOT_FOUND', `Cannot find partition ${number} of ${volume}`, { why })
  }
  const mbr = readMbr(await readBytes(device, 0, MBR_BYTES))
  if (!mbr) return refuse('it has no partition table')
  const entry = mbr.some(({ type }) => type === PROTECTIVE) ? await gptEntry(device, number, refuse) : await mbrEntry(device, mbr, number, refuse)
  const { offset, length } = entry
  if (length <= 0 || offset <= 0 || offset + length > device.size)
    return refuse(`its entry says bytes ${offset} to ${offset + length}, and the volume has ${device.size}`)
  return entry
}

/** Reads whole blocks around the range. */
async function readBytes(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
  const from = offset - (offset % device.blockSize)
  const end = Math.min(device.size, Math.ceil((offset + length) / device.blockSize) * device.blockSize)
  const bytes = Buffer.alloc(end - from)
  await device.read(from, bytes)
  return bytes.subarray(offset - from, offset - from + length)
}

// ---- MBR

interface MbrEntry {
  readonly type: number
  /** Sectors; `start` counts from what the table says. */
  readonly start: number
  readonly count: number
}

/** @returns undefined when the sector is none: no signature, or the boot sector of a file system, which has one too */
function readMbr(sector: Buffer): MbrEntry[] | undefined {
  if (sector.length < MBR_BYTES || sector.readUInt16LE(510) !== 0xaa55) return undefined
  const entries: MbrEntry[] = []
  for (let at = 446; at < 510; at += 16) {
    if ((sector[at]! & 0x7f) !== 0) return undefined
    entries.push({ type: sector[at + 4]!, start: sector.readUInt32LE(at + 8), count: sector.readUInt32LE(at + 12) })
  }
  return entries
}

type Refuse = (why: string) => never

async function mbrEntry(device: BlockDevice, table: readonly MbrEntry[], number: number, refuse: Refuse): Promise<Partition> {
  const sector = Math.max(512, device.blockSize)
  const found = number <= 4 ? table[number - 1] : await logicalEntry(device, table, number, sector, refuse)
  if (!found || found.type === 0) return refuse('the MBR has no such entry')
  return {
    number,
    table: 'mbr',
    offset: found.start * sector,
    length: found.count * sector,
    type: found.type.toString(16).padStart(2, '0'),
    name: null,
  }
}

/** Follows the chain of extended boot records; each holds one logical partition and the way to the next. */
async function logicalEntry(device: BlockDevice, table: readonly MbrEntry[], number: number, sector: number, refuse: Refuse): Promise<MbrEntry | undefined> {
  const extended = table.find(({ type }) => EXTENDED.includes(type))
  if (!extended) return undefined
  const seen = new Set<number>()
  let at = extended.start
  for (let logical = 5; logical <= Math.min(number, PARTITION_MAX); logical++) {
    const inside = at >= extended.start && at < extended.start + extended.count && (at + 1) * sector <= device.size
    if (!inside || seen.has(at)) return refuse('its extended boot records lead nowhere')
    seen.add(at)
    const [own, next] = readMbr(await readBytes(device, at * sector, MBR_BYTES)) ?? refuse('an extended boot record is damaged')
    if (logical === number) return own && { ...own, start: own.start + at }
    if (!next || next.type === 0) return undefined
    at = extended.start + next.start
  }
  return undefined
}

// ---- GPT

interface Gpt {
  readonly sector: number
  readonly firstUsable: number
  readonly lastUsable: number
  readonly entriesAt: number
  readonly entryCount: number
  readonly entryBytes: number
  readonly entriesCrc: number
}

async function gptEntry(device: BlockDevice, number: number, refuse: Refuse): Promise<Partition> {
  for (const sector of SECTORS) {
    for (const at of [1, Math.floor(device.size / sector) - 1]) {
      const table = await readGpt(device, sector, at)
      if (!table) continue
      const { gpt, entries } = table
      const entry = entries.subarray((number - 1) * gpt.entryBytes, number * gpt.entryBytes)
      const type = number <= gpt.entryCount ? guidText(entry) : undefined
      if (type === undefined || /^[0-]+$/.test(type)) return refuse('the GPT has no such entry')
      const [first, last] = [Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(40))]
      if (first > last || first < gpt.firstUsable || last > gpt.lastUsable)
        return refuse(`its entry says sectors ${first} to ${last}, outside of what the GPT uses`)
      const name = entry.toString('utf16le', 56, 128).split('\0', 1)[0] ?? ''
      return { number, table: 'gpt', offset: first * sector, length: (last - first + 1) * sector, type, name: name === '' ? null : name }
    }
  }
  return refuse('both copies of its GPT are damaged')
}

/** @returns undefined unless header and entries are whole */
async function readGpt(device: BlockDevice, sector: number, at: number): Promise<{ gpt: Gpt; entries: Buffer } | undefined> {
  if (at < 1 || (at + 1) * sector > device.size) return undefined
  const header = await readBytes(device, at * sector, sector)
  const headerBytes = header.readUInt32LE(12)
  if (header.toString('latin1', 0, 8) !== 'EFI PART' || headerBytes < 92 || headerBytes > sector) return undefined
  const summed = Buffer.from(header.subarray(0, headerBytes))
  summed.writeUInt32LE(0, 16)
  if (crc32(summed) !== header.readUInt32LE(16) || Number(header.readBigUInt64LE(24)) !== at) return undefined
  const gpt: Gpt = {
    sector,
    firstUsable: Number(header.readBigUInt64LE(40)),
    lastUsable: Number(header.readBigUInt64LE(48)),
    entriesAt: Number(header.readBigUInt64LE(72)) * sector,
    entryCount: header.readUInt32LE(80),
    entryBytes: header.readUInt32LE(84),
    entriesCrc: header.readUInt32LE(88),
  }
  const { entriesAt, entryCount, entryBytes } = gpt
  if (entryCount < 1 || entryCount > PARTITION_MAX || entryBytes < 128 || entryBytes > ENTRY_BYTES_MAX) return undefined
  if (entriesAt < 2 * sector || entriesAt + entryCount * entryBytes > device.size) return undefined
  const entries = await readBytes(device, entriesAt, entryCount * entryBytes)
  return crc32(entries) === gpt.entriesCrc ? { gpt, entries } : undefined
}

/** A GUID as it is written: the first three fields are little-endian. */
function guidText(bytes: Buffer): string {
  const fields = [Buffer.from(bytes.subarray(0, 4)).reverse(), Buffer.from(bytes.subarray(4, 6)).reverse(), Buffer.from(bytes.subarray(6, 8)).reverse()]
  return [...fields, bytes.subarray(8, 10), bytes.subarray(10, 16)].map(field => field.toString('hex')).join('-')
}
