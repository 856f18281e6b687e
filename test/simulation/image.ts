/** What an open pool contains, read as a user reads it, and what must hold inside of it. */
import type { ErrorCode } from '../../src/core/base/error-table.ts'
import { isCode } from '../../src/core/base/errors.ts'
import { KIB, SECTOR } from '../../src/core/base/units.ts'
import { isZero } from '../../src/core/base/zeros.ts'
import type { BlockDevice } from '../../src/core/block/device.ts'
import { columnParts, COLUMNS, SLICE, SLICE_ON_MEMBER, SLICES, type Redundancy } from '../../src/core/raid/geometry.ts'
import { storeOf, sliceOf } from '../../src/core/lun/slice-map.ts'
import type { Lun } from '../../src/core/lun/lun.ts'
import type { LocalEngine } from '../../src/core/server/engine.ts'
import { kindOf, type Kind } from '../../src/metadata/key.ts'
import { SEGMENT } from '../../src/metadata/layout.ts'
import { LUN_RESERVING } from '../../src/metadata/records.ts'
import type { Running } from './machine.ts'
import { foundRelation, type RelationFound } from './relation-model.ts'
import { describeStamp, LOST, versionsIn } from './stamps.ts'

export interface LunImage {
  readonly number: number
  readonly name: string
  readonly size: number
  readonly raid: Redundancy
  /** Being reserved when the pool was opened. */
  readonly reserving: boolean
  /** An import, or an image that was let go half way, left it of no use. */
  readonly useless: boolean
  /** Why it cannot be opened: it is an image that is not what it should be. */
  readonly refused: ErrorCode | undefined
  readonly versions: Uint32Array
}

export interface SnapshotImage {
  /** Without its volume's name. */
  readonly label: string
  readonly size: number
  readonly writable: boolean
  /** It could not be kept: nothing of it can be read. */
  readonly dropped: boolean
  readonly versions: Uint32Array
}

export interface PoolImage {
  readonly luns: readonly LunImage[]
  readonly snapshots: readonly SnapshotImage[]
  readonly relations: readonly RelationFound[]
  readonly comment: string
  readonly domains: ReadonlyMap<number, string>
  readonly offline: ReadonlyMap<number, boolean>
}

/** Reads are retried in pieces of this size when some of a LUN cannot be read. */
const PIECE = 64 * KIB

/** Reads whole LUNs into one buffer that grows, again and again. */
class Reader {
  private buffer = new Uint8Array(0)

  async versions(device: BlockDevice, size: number, garbled: boolean): Promise<Uint32Array> {
    if (this.buffer.length < size) this.buffer = new Uint8Array(size)
    const into = this.buffer.subarray(0, size)
    try {
      await device.read(0, into)
      return versionsIn(into, 0, garbled)
    } catch (error) {
      if (!isLost(error)) throw error
    }
    const versions = new Uint32Array(size / SECTOR)
    for (let at = 0; at < size; at += PIECE) {
      const piece = into.subarray(at, at + PIECE)
      try {
        await device.read(at, piece)
        versions.set(versionsIn(piece, at / SECTOR, garbled), at / SECTOR)
      } catch (error) {
        if (!isLost(error)) throw error
        versions.fill(LOST, at / SECTOR, (at + piece.length) / SECTOR)
      }
    }
    return versions
  }
}
const reader = new Reader()

/** No copy is left, or the image that it is read through was given up. */
const isLost = (error: unknown): boolean => isCode(error, 'ERR_DATA_LOST') || isCode(error, 'ERR_IMAGE_INVALID')

/** Hosts may have it: it is no image that is refused, and of use. */
export function isOpenable({ parts }: Running, lun: Lun): boolean {
  try {
    parts.relationships.checkOpen(lun, { mixed: true })
    return !lun.isIncomplete
  } catch {
    return false
  }
}

/** The error code of an image that is refused as a whole. */
async function openImage(engine: LocalEngine, name: string): Promise<BlockDevice | ErrorCode> {
  try {
    return await engine.openLun(name, { readOnly: true, incomplete: true, mixed: true })
  } catch (error) {
    for (const code of ['ERR_IMAGE_INCOMPLETE', 'ERR_IMAGE_INVALID'] as const) if (isCode(error, code)) return code
    throw error
  }
}

/**
 * Reads everything a pool contains.
 * @param isKnown whether a LUN may exist
 */
export async function readPool({ engine, parts }: Running, isKnown: (number: number) => boolean): Promise<PoolImage> {
  const luns: LunImage[] = []
  for (const lun of parts.luns.all) {
    if (lun.isStore) continue
    if (!isKnown(lun.number)) throw new Error(`LUN ${lun.number} "${lun.name}" exists and was never asked for`)
    const device = await openImage(engine, lun.name)
    const refused = typeof device === 'string' ? device : undefined
    luns.push({
      number: lun.number,
      name: lun.name,
      size: lun.size,
      raid: weakestOf(lun.types),
      reserving: (lun.record.flags & LUN_RESERVING) !== 0,
      useless: lun.isIncomplete,
      refused,
      versions: typeof device === 'string' ? new Uint32Array(0) : await reader.versions(device, lun.size, weakestOf(lun.types) === 'raid5'),
    })
    if (typeof device !== 'string') await device.close()
  }
  return {
    luns,
    snapshots: await snapshotsOf(engine, parts),
    relations: parts.relationships.all.map(foundRelation),
    comment: parts.pool.record.comment,
    ...disksOf(parts),
  }
}

/** The type that promises least after a crash with a lost disk: what the model of a LUN of several types is. No LUN has both raid0 and raid5. */
export const weakestOf = (types: readonly Redundancy[]): Redundancy => (['raid0', 'raid5', 'raid1'] as const).find(raid => types.includes(raid))!

async function snapshotsOf(engine: LocalEngine, parts: Running['parts']): Promise<SnapshotImage[]> {
  const found: SnapshotImage[] = []
  for (const { name, record, isWritable, isDropped } of parts.trees.list()) {
    const there = { label: record.name, size: record.size, writable: isWritable, dropped: isDropped }
    if (isDropped) {
      found.push({ ...there, versions: new Uint32Array(record.size / SECTOR).fill(LOST) })
      continue
    }
    const device = await engine.openLun(name, { readOnly: true })
    found.push({ ...there, versions: await reader.versions(device, record.size, false) })
    await device.close()
  }
  return found
}

function disksOf({ pool }: Running['parts']): { domains: Map<number, string>; offline: Map<number, boolean> } {
  const disks = [...pool.disks.values()]
  return { domains: new Map(disks.map(disk => [disk.number, disk.domain])), offline: new Map(disks.map(disk => [disk.number, disk.isOffline])) }
}

/** @throws Error where two images of one pool differ */
export function sameImage(before: PoolImage, after: PoolImage, when: string): void {
  const list = ({ luns }: PoolImage): string => luns.map(({ number, name, size }) => `${number} "${name}" ${size}`).join(', ')
  if (list(before) !== list(after)) throw new Error(`${when} the LUNs are ${list(after)}, before ${list(before)}`)
  if (before.comment !== after.comment) throw new Error(`${when} the comment is "${after.comment}", before "${before.comment}"`)
  const relations = ({ relations: all }: PoolImage): string => all.map(({ number, state }) => `DcsSnap${number} ${state}`).join(', ')
  if (relations(before) !== relations(after)) throw new Error(`${when} the relationships are ${relations(after)}, before ${relations(before)}`)
  sameSnapshots(before, after, when)
  before.luns.forEach((lun, i) => {
    const { versions: other, refused } = after.luns[i]!
    if (refused !== lun.refused) throw new Error(`${when} LUN "${lun.name}" is ${refused ?? 'not refused'}, before ${lun.refused ?? 'not'}`)
    if (Buffer.compare(bytesOf(lun.versions), bytesOf(other)) === 0) return
    const sector = lun.versions.findIndex((version, at) => version !== other[at])
    throw new Error(`${when} sector ${sector} of LUN "${lun.name}" (${lun.raid}) has version ${other[sector]}, before ${lun.versions[sector]}`)
  })
}

function sameSnapshots(before: PoolImage, after: PoolImage, when: string): void {
  const list = ({ snapshots }: PoolImage): string => snapshots.map(({ label, size }) => `${label} ${size}`).join(', ')
  if (list(before) !== list(after)) throw new Error(`${when} the snapshots are ${list(after)}, before ${list(before)}`)
  before.snapshots.forEach(({ label, versions }, i) => {
    const other = after.snapshots[i]!.versions
    if (Buffer.compare(bytesOf(versions), bytesOf(other)) === 0) return
    const sector = versions.findIndex((version, at) => version !== other[at])
    throw new Error(`${when} sector ${sector} of snapshot ${label} has version ${other[sector]}, before ${versions[sector]}`)
  })
}

const bytesOf = (words: Uint32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength)

/** `metadata check` finds nothing. */
export async function checkMetadata({ engine }: Running, when: string): Promise<void> {
  const { data } = await engine.call('metadata.check', {})
  if (!data.ok) throw new Error(`${when} metadata check finds: ${data.problems.map(({ code, object, message }) => `${code} ${object}: ${message}`).join('; ')}`)
}

/** The kinds of records that the pool has now. */
export async function recordKinds({ parts }: Running): Promise<Set<Kind>> {
  const kinds = new Set<Kind>()
  for await (const { hi } of parts.pool.metadata.records()) {
    const kind = kindOf(hi)
    if (kind) kinds.add(kind)
  }
  return kinds
}

/** What counts as clean reads as zeros on its disk: segments, and slices of stores that may be bound without being cleaned. */
export async function checkClean({ parts }: Running, when: string): Promise<void> {
  const { pool, luns } = parts
  for (const [number, map] of pool.segments) {
    const disk = pool.disk(number)
    if (!disk.device) continue
    for (const segment of map.find('clean', 0, map.total)) {
      const data = await firstData(disk.device, disk.offsetOf(segment, 0), SEGMENT)
      if (data !== undefined) throw new Error(`${when} segment ${segment} of disk ${number} counts as clean and holds ${data}`)
    }
  }
  for (const lun of [...luns.all, ...luns.toReclaim]) {
    for await (const store of storesOf(lun)) {
      const { table } = lun.stores
      for (let member = 0; member < table.memberCount(store); member++) {
        const disk = pool.disk(table.diskOf(store, member))
        if (!disk.device || (lun.stores.members.isRedundant(store) && !disk.inService)) continue
        for (let slice = 0; slice < SLICES; slice++) {
          if (((table.boundMask(store) | table.dirtyMask(store)) & (1 << slice)) !== 0 || lun.stores.bits.isStale(store, slice, member)) continue
          const at = disk.offsetOf(table.segmentOf(store, member), slice * SLICE_ON_MEMBER)
          const data = await firstData(disk.device, at, SLICE_ON_MEMBER)
          if (data !== undefined)
            throw new Error(
              `${when} slice ${slice} of store ${store} of LUN "${lun.name}" is unbound and clean, and member ${member} (disk ${disk.number}, byte ${at}) holds ${data}`,
            )
        }
      }
    }
  }
}

/** What the first sector of a range that is not zeros holds; undefined when all are. */
async function firstData(device: BlockDevice, offset: number, length: number): Promise<string | undefined> {
  for (const extent of await device.extents(offset, length)) {
    if (extent.kind !== 'data') continue
    const bytes = new Uint8Array(extent.length)
    await device.read(extent.offset, bytes)
    if (isZero(bytes)) continue
    const at = bytes.findIndex(byte => byte !== 0)
    return describeStamp(new Uint32Array(bytes.buffer, at - (at % SECTOR), SECTOR / 4))
  }
  return undefined
}

/** The stores that slices of a LUN are bound to. */
async function* storesOf(lun: Lun): AsyncGenerator<number> {
  const seen = new Set<number>()
  for await (const { place } of lun.map.bound(0, 0xffff_fffe)) {
    if (seen.has(storeOf(place))) continue
    seen.add(storeOf(place))
    await lun.stores.table.load(storeOf(place))
    yield storeOf(place)
  }
}

/** Every copy of a bound slice that may be read holds the same bytes. Nothing is being written. */
export async function checkCopies({ parts }: Running, when: string): Promise<void> {
  const first = new Uint8Array(SLICE_ON_MEMBER)
  const other = new Uint8Array(SLICE_ON_MEMBER)
  for (const lun of parts.luns.all) {
    if (!lun.stores.redundant) continue
    if (lun.types.includes('raid5')) await checkParity(parts, lun, when)
    for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
      const store = storeOf(place)
      const { table } = lun.stores
      await table.load(store)
      if (table.raid(store) !== 'raid1') continue
      for (let column = 0; column < COLUMNS; column++) {
        const members = lun.stores.members.readable(store, sliceOf(place), column)
        const read = async (member: number, into: Uint8Array): Promise<void> => {
          await parts.pool.disk(table.diskOf(store, member)).read(table.segmentOf(store, member), sliceOf(place) * SLICE_ON_MEMBER, [into])
        }
        if (members.length < 2) continue
        await read(members[0]!, first)
        for (const member of members.slice(1)) {
          await read(member, other)
          if (Buffer.compare(first, other) !== 0)
            throw new Error(
              `${when} the copies of slice ${slice} of LUN "${lun.name}" differ in column ${column} (store ${store}, bytes from ${slice * SLICE})`,
            )
        }
      }
    }
  }
}

/** The parity of every bound slice whose members may all be believed fits. Nothing is being written. */
async function checkParity({ pool }: Running['parts'], lun: Lun, when: string): Promise<void> {
  const sum = new Uint8Array(SLICE_ON_MEMBER)
  const member = new Uint8Array(SLICE_ON_MEMBER)
  const [sums, words] = [new Uint32Array(sum.buffer), new Uint32Array(member.buffer)]
  for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
    const store = storeOf(place)
    const { members, table } = lun.stores
    await table.load(store)
    if (!members.hasParity(store)) continue
    if (members.notCurrent(store, sliceOf(place)).length > 0) continue
    sum.fill(0)
    for (let m = 0; m < table.memberCount(store); m++) {
      await pool.disk(table.diskOf(store, m)).read(table.segmentOf(store, m), sliceOf(place) * SLICE_ON_MEMBER, [member])
      for (let i = 0; i < sums.length; i++) sums[i]! ^= words[i]!
    }
    if (isZero(sum)) continue
    const at = sum.findIndex(byte => byte !== 0)
    throw new Error(`${when} the parity of slice ${slice} of LUN "${lun.name}" does not fit (store ${store}, byte ${at} of the members)`)
  }
}

/** For messages: where a sector of a LUN lies, and what every copy of it holds. */
export async function describeSector({ parts: { pool } }: Running, lun: Lun, sector: number): Promise<string> {
  const slice = Math.floor((sector * SECTOR) / SLICE)
  await lun.map.load(slice)
  const place = lun.map.place(slice)
  if (place < 0) return `slice ${slice} of LUN ${lun.number} is unbound`
  const store = storeOf(place)
  const { table } = lun.stores
  await table.load(store)
  const [part] = columnParts(sliceOf(place) * SLICE + ((sector * SECTOR) % SLICE), SECTOR)
  const lines = [`slice ${slice} of LUN ${lun.number} is slice ${sliceOf(place)} of store ${store}${lun.stores.isOpen(store, sliceOf(place)) ? ', open' : ''}`]
  for (let member = part!.column; member < table.memberCount(store); member += COLUMNS) {
    const disk = pool.disk(table.diskOf(store, member))
    const words = new Uint32Array(SECTOR / 4)
    if (disk.device) await disk.device.read(disk.offsetOf(table.segmentOf(store, member), part!.at), new Uint8Array(words.buffer))
    const state = `${disk.state}${lun.stores.bits.isStale(store, sliceOf(place), member) ? ', stale' : ''}`
    lines.push(
      `  member ${member} on disk ${disk.number} (${state}) at ${disk.offsetOf(table.segmentOf(store, member), part!.at)}: ${disk.device ? describeStamp(words) : 'away'}`,
    )
  }
  return lines.join('\n')
}
