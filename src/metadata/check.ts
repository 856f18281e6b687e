import { LunarError } from '../core/base/errors.ts'
import { ZEROS } from '../core/block/write-once.ts'
import { checkHosts, HostRecords } from './check-hosts.ts'
import { checkSchedules } from './check-schedules.ts'
import { checkCaches, checkQuality } from './check-quality.ts'
import { checkTrees, TreeRecords } from './check-trees.ts'
import { decodeEvent } from './event.ts'
import { decodeHistory } from './history.ts'
import { kindOf, objectOf } from './key.ts'
import {
  CHUNKS_VALUE,
  decodeEntry,
  decodeRecord,
  DISK_WITNESS,
  diskRecord,
  hostRecord,
  LMAP_SLICES,
  LUN_DELETED,
  LUN_WRITE_ONCE,
  lunRecord,
  OPEN_END,
  OPEN_STORES,
  poolRecord,
  presentationRecord,
  processRecord,
  raidTypes,
  RELATIONSHIP_CLONE,
  RELATIONSHIP_ENABLED,
  RELATIONSHIP_GONE,
  RELATIONSHIP_INVALID,
  relationshipRecord,
  RSD_STORES,
  rsdFields,
  scheduleRecord,
  SEGMENTS_PER_RECORD,
  segmentStates,
  slotsRecord,
  SNAPSHOT_DEAD,
  snapshotRecord,
  TREE_EPOCHS,
  treeRecord,
  typeAt,
  WOD_BLOCKS_VALUE,
  WOD_CONFIGURED,
  WOD_ENABLED,
  WOD_GONE,
  WOD_INVALID,
  WOD_UPDATING,
  decodeWodBlocks,
  wodKinds,
  wodRecord,
  eraIndex,
  type DiskRecord,
  type SnapshotRecord,
  type LunRecord,
  type RelationshipRecord,
  type ScheduleRecord,
  type WodRecord,
} from './records.ts'
import type { StoreEntry } from './root.ts'
import type { Entry } from './tree.ts'

export interface Problem {
  /** A stable name. */
  readonly code: string
  readonly object: string
  readonly message: string
}

export interface CheckResult {
  readonly problems: Problem[]
  readonly records: number
  readonly luns: number
  readonly stores: number
  readonly segments: number
}

const SLICES = 8

/**
 * Holds the records of the metadata map against each other: allocated is what is reachable, a segment has one owner, maps
 * and descriptors name each other, names are unique, counters are right. Pure but for reading the entries.
 */
export async function checkRecords(entries: AsyncIterable<Entry>, metadataStores: readonly StoreEntry[]): Promise<CheckResult> {
  const problems: Problem[] = []
  const problem = (code: string, object: string, message: string): void => {
    problems.push({ code, object, message })
  }
  const disks = new Map<number, DiskRecord>()
  const luns = new Map<number, LunRecord>()
  const rsds = new Map<string, ReturnType<typeof rsdFields.decode>>()
  const places = new Map<string, string>()
  const states = new Map<number, Map<number, number>>()
  const relationships = new Map<number, RelationshipRecord>()
  const mapped = new Set<number>()
  const wods = new Map<number, WodRecord>()
  const wodMaps: WodMapRecord[] = []
  const updated = new Set<number>()
  const trees = new TreeRecords()
  const hosts = new HostRecords()
  const schedules = new Map<number, ScheduleRecord>()
  const boundSlices = new Set<string>()
  const marks: { what: string; lun: number; store: number; mask: number }[] = []
  let records = 0
  let hasPool = false

  for await (const { hi, lo, value } of entries) {
    records++
    const object = objectOf(hi)
    try {
      switch (kindOf(hi)) {
        case 'pool':
          decodeRecord(poolRecord, value)
          hasPool = true
          break
        case 'disk':
          disks.set(object, decodeRecord(diskRecord, value))
          break
        case 'lun':
          luns.set(object, decodeRecord(lunRecord, value))
          break
        case 'lmap': {
          const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
          for (let i = 0; i < LMAP_SLICES; i++) {
            const entry = view.getUint32(i * 4, true)
            if (entry === 0) continue
            const key = `${object}:${entry - 1}`
            const other = places.get(key)
            if (other !== undefined) problem('slice.shared', `LUN ${object}`, `slices ${other} and ${lo * LMAP_SLICES + i} are bound to one place`)
            places.set(key, String(lo * LMAP_SLICES + i))
            boundSlices.add(`${object}:${lo * LMAP_SLICES + i}`)
          }
          break
        }
        case 'rsd':
          for (let i = 0; i < RSD_STORES; i++) {
            const rsd = rsdFields.decode(value, i * rsdFields.size)
            if (rsd.raid !== 0) rsds.set(`${object}:${lo * RSD_STORES + i}`, rsd)
          }
          break
        case 'segments':
          for (let i = 0; i < SEGMENTS_PER_RECORD; i++) {
            const state = (value[i >> 2]! >> ((i & 3) * 2)) & 3
            if (state === 0) continue
            let map = states.get(object)
            if (!map) states.set(object, (map = new Map<number, number>()))
            map.set(lo * SEGMENTS_PER_RECORD + i, state)
          }
          break
        case 'open':
          for (let i = 0; i < OPEN_STORES; i++) if (value[i] !== 0) marks.push({ what: 'open', lun: object, store: lo * OPEN_STORES + i, mask: value[i]! })
          break
        case 'stale':
          marks.push({ what: 'stale', lun: object, store: lo, mask: value.reduce((all, mask) => all | mask, 0) })
          break
        case 'process':
          decodeRecord(processRecord, value)
          break
        case 'relationship':
          relationships.set(object, decodeRecord(relationshipRecord, value))
          break
        case 'chunks':
          if (value.length !== CHUNKS_VALUE) problem('record.damaged', `chunks ${object}.${lo}`, `it has ${value.length} bytes, not ${CHUNKS_VALUE}`)
          mapped.add(object)
          break
        case 'wod':
          wods.set(object, decodeRecord(wodRecord, value))
          break
        case 'wodBlocks':
          if (value.length === WOD_BLOCKS_VALUE) wodMaps.push({ wod: object, index: lo, value })
          else problem('record.damaged', `wodBlocks ${object}.${lo}`, `it has ${value.length} bytes, not ${WOD_BLOCKS_VALUE}`)
          break
        case 'wodDone':
          if (value.length !== CHUNKS_VALUE) problem('record.damaged', `wodDone ${object}.${lo}`, `it has ${value.length} bytes, not ${CHUNKS_VALUE}`)
          updated.add(object)
          break
        case 'snapshot':
          trees.snapshots.set(object, decodeRecord(snapshotRecord, value))
          break
        case 'tree':
          trees.trees.set(object, decodeRecord(treeRecord, value))
          break
        case 'treeMap':
        case 'leafMap':
          trees.add(kindOf(hi) === 'treeMap' ? trees.maps : trees.leaves, object, {
            chunk: Math.floor(lo / TREE_EPOCHS),
            epoch: lo % TREE_EPOCHS,
            entry: decodeEntry(value),
          })
          break
        case 'slots': {
          const slices = trees.slots.get(object) ?? new Map<number, ReturnType<typeof slotsRecord.decode>>()
          trees.slots.set(object, slices.set(lo, decodeRecord(slotsRecord, value)))
          break
        }
        case 'host':
          hosts.hosts.set(object, decodeRecord(hostRecord, value))
          break
        case 'presentation':
          hosts.presentations.push({ host: object, lo, record: decodeRecord(presentationRecord, value) })
          break
        case 'schedule':
          schedules.set(object, decodeRecord(scheduleRecord, value))
          break
        case 'event':
          decodeEvent(value)
          break
        case 'history':
          decodeHistory(value)
          break
        case undefined:
          problem('record.unknown', `key ${hi}.${lo}`, 'a record of a kind that is not known')
      }
    } catch (error) {
      problem('record.damaged', `${kindOf(hi) ?? 'record'} ${object}.${lo}`, error instanceof LunarError ? error.why : String(error))
    }
  }

  if (!hasPool) problem('pool.missing', 'pool', 'there is no pool record')
  checkNames(luns, problem)
  checkRanges(luns, problem)
  checkQuality(luns, hosts.hosts, problem)
  checkCaches(luns, problem)
  checkSets(disks, problem)
  const owners = checkStores(rsds, places, luns, disks, problem)
  for (const store of metadataStores) {
    for (const place of store.places) {
      for (let i = 0; i < store.segments; i++) own(owners, `${place.disk}:${place.segment + i}`, `metadata store ${store.id}`, problem)
    }
  }
  for (const [number, { logSegment, logSegments, segmentCount }] of disks) {
    if (logSegments > 0 && logSegment + logSegments > segmentCount)
      problem('disk.log', `disk ${number}`, `its parity log is to lie in segments ${logSegment} to ${logSegment + logSegments - 1} of ${segmentCount}`)
    for (let i = 0; i < logSegments; i++) own(owners, `${number}:${logSegment + i}`, `parity log of disk ${number}`, problem)
  }
  checkSegments(states, owners, disks, problem)
  checkRelationships(relationships, mapped, luns, trees.snapshots, problem)
  checkWods(wods, wodMaps, luns, problem)
  checkWodUpdates(wods, updated, problem)
  checkTrees(trees, luns, boundSlices, problem)
  checkHosts(hosts, { lun: luns, snapshot: trees.snapshots, wod: wods }, problem)
  checkSchedules(schedules, luns, problem)
  for (const { what, lun, store, mask } of marks) {
    const rsd = rsds.get(`${lun}:${store}`)
    if (!rsd) problem(`${what}.orphan`, `LUN ${lun}`, `store ${store} has ${what} marks but does not exist`)
    else if (what === 'open' && (mask & ~rsd.bound) !== 0) problem('open.unbound', `LUN ${lun}`, `store ${store} has open slices that are not bound`)
  }
  return { problems, records, luns: luns.size, stores: rsds.size, segments: owners.size }
}

type Report = (code: string, object: string, message: string) => void

/** Most disks and last index of a redundancy set; fewest beside other sets (features.md A5). */
const SET_DISKS = { max: 11, min: 6 }

/** Indices are unique in a redundancy set, and its size is sane. Before there were sets all disks were in set 0, their number the index. */
function checkSets(disks: ReadonlyMap<number, DiskRecord>, problem: Report): void {
  const groups = new Map<number, Map<number, Map<number, number>>>()
  const data = [...disks].filter(([, record]) => (record.flags & DISK_WITNESS) === 0)
  if (data.every(([number, record]) => record.redundancySet === 0 && record.redundancyIndex === number)) return
  for (const [number, { ldad, redundancySet, redundancyIndex }] of data) {
    const sets = groups.get(ldad) ?? new Map<number, Map<number, number>>()
    groups.set(ldad, sets)
    const set = sets.get(redundancySet) ?? new Map<number, number>()
    sets.set(redundancySet, set)
    const other = set.get(redundancyIndex)
    if (other !== undefined) problem('set.index', `disk ${number}`, `disk ${other} has index ${redundancyIndex} of redundancy set ${redundancySet}, too`)
    if (redundancyIndex > SET_DISKS.max) problem('set.index', `disk ${number}`, `it has index ${redundancyIndex}, the last one is ${SET_DISKS.max}`)
    set.set(redundancyIndex, number)
  }
  for (const [ldad, sets] of groups) {
    for (const [number, { size }] of sets) {
      const object = `redundancy set ${number} of group ${ldad}`
      if (size > SET_DISKS.max) problem('set.size', object, `it has ${size} disks, the most is ${SET_DISKS.max}`)
      if (size < SET_DISKS.min && sets.size > 1) problem('set.size', object, `it has ${size} disks, the least beside other sets is ${SET_DISKS.min}`)
    }
  }
}

function checkNames(luns: ReadonlyMap<number, LunRecord>, problem: Report): void {
  const names = new Map<string, number>()
  for (const [number, lun] of luns) {
    if ((lun.flags & LUN_DELETED) !== 0) continue
    const other = names.get(lun.name)
    if (other !== undefined) problem('lun.name', `LUN ${number}`, `LUN ${other} has the same name "${lun.name}"`)
    names.set(lun.name, number)
  }
}

/** Ranges of redundancy types follow each other, all addresses are in one, and the last is what the record says of the LUN. */
function checkRanges(luns: ReadonlyMap<number, LunRecord>, problem: Report): void {
  for (const [number, { raid, stripe, ranges }] of luns) {
    if (stripe < 1 || ranges.some(range => range.endSlice > 0 && range.stripe < 1)) problem('lun.stripe', `LUN ${number}`, 'no stores are interleaved in it')
    const ends = ranges.map(({ endSlice }) => endSlice)
    const used = ends.filter(end => end > 0)
    if (used.length === 0) continue
    const last = ranges[used.length - 1]!
    if (last.raid !== raid || last.stripe !== stripe)
      problem('lun.ranges', `LUN ${number}`, `it is of type ${raid}, ${stripe} interleaved, its last range of type ${last.raid}, ${last.stripe} interleaved`)
    if (used.some((end, i) => end !== ends[i] || (i > 0 && end <= used[i - 1]!)) || used.at(-1) !== OPEN_END)
      problem('lun.ranges', `LUN ${number}`, `its ranges of redundancy types end at slices ${used.join(', ')}`)
  }
}

/** Each has two LUNs, an image has one source, names are unique, eras were given out, and no map is without its relationship. */
function checkRelationships(
  relationships: ReadonlyMap<number, RelationshipRecord>,
  mapped: ReadonlySet<number>,
  luns: ReadonlyMap<number, LunRecord>,
  snapshots: ReadonlyMap<number, SnapshotRecord>,
  problem: Report,
): void {
  const images = new Map<number, number>()
  const names = new Map<string, number>()
  for (const number of mapped)
    if (!relationships.has(number)) problem('chunks.orphan', `relationship ${number}`, 'there are chunk maps of a relationship that does not exist')
  for (const [number, record] of relationships) {
    if ((record.flags & RELATIONSHIP_GONE) !== 0) continue
    const object = `relationship ${number}`
    const isClone = (record.flags & RELATIONSHIP_CLONE) !== 0
    if (isClone && ((snapshots.get(record.source)?.flags ?? SNAPSHOT_DEAD) & SNAPSHOT_DEAD) !== 0)
      problem('relationship.clone', object, `it is copied from snapshot ${record.source}, which is gone`)
    for (const lun of isClone ? [record.image] : [record.source, record.image]) {
      const found = luns.get(lun)
      if (!found || (found.flags & LUN_DELETED) !== 0) problem('relationship.lun', object, `it names LUN ${lun}, which does not exist`)
      else if (found.size < record.size && (record.flags & (RELATIONSHIP_ENABLED | RELATIONSHIP_INVALID)) === RELATIONSHIP_ENABLED)
        problem('relationship.size', object, `LUN ${lun} has ${found.size} bytes, less than the ${record.size} of its instant`)
    }
    const other = images.get(record.image)
    if (other !== undefined) problem('relationship.image', object, `LUN ${record.image} is the image of relationship ${other}, too`)
    images.set(record.image, number)
    if (record.name !== '' && names.has(record.name)) problem('relationship.name', object, `relationship ${names.get(record.name)} has the same name`)
    names.set(record.name, number)
    for (const era of [record.migratedEra, record.deltaEra, record.lostEra, record.frozenEra])
      if (era >= record.nextEra) problem('relationship.era', object, `a map has era ${era}, the next to be given out is ${record.nextEra}`)
    if (record.blankFrom !== 0 && record.blankFrom < record.size)
      problem('relationship.blank', object, `it is zeros from byte ${record.blankFrom} on, before the ${record.size} bytes of its instant end`)
    if ((record.frozenEra !== 0) !== (record.update !== 0))
      problem('relationship.update', object, 'it has a frozen set without an update, or an update without one')
  }
}

interface WodMapRecord {
  readonly wod: number
  readonly index: number
  readonly value: Uint8Array
}

/** Each has its LUN and no other device has it, names are unique, and no two written blocks lie in one slot. */
function checkWods(wods: ReadonlyMap<number, WodRecord>, maps: readonly WodMapRecord[], luns: ReadonlyMap<number, LunRecord>, problem: Report): void {
  const names = new Map<string, number>()
  const holders = new Map<number, number>()
  for (const [number, record] of wods) {
    if ((record.flags & WOD_GONE) !== 0) continue
    const object = `write-once device ${number}`
    if (names.has(record.name)) problem('wod.name', object, `write-once device ${names.get(record.name)} has the same name "${record.name}"`)
    names.set(record.name, number)
    if (wodKinds[record.kind] === undefined) problem('wod.kind', object, `it is of kind ${record.kind}, which is not known`)
    if (record.era >= record.nextEra) problem('wod.era', object, `its map has era ${record.era}, the next to be given out is ${record.nextEra}`)
    if ((record.flags & WOD_CONFIGURED) !== 0 && !isLive(luns.get(record.source)))
      problem('wod.source', object, `it is the image of LUN ${record.source}, which does not exist`)
    if (record.path !== '') continue
    const lun = luns.get(record.lun)
    if (!isLive(lun) || (lun.flags & LUN_WRITE_ONCE) === 0) problem('wod.lun', object, `it names LUN ${record.lun}, which is not there for it`)
    if (holders.has(record.lun)) problem('wod.lun', object, `write-once device ${holders.get(record.lun)} lies on LUN ${record.lun}, too`)
    holders.set(record.lun, number)
  }
  for (const [number, lun] of luns)
    if (isLive(lun) && (lun.flags & LUN_WRITE_ONCE) !== 0 && !holders.has(number))
      problem('lun.wod', `LUN ${number}`, 'it holds the blocks of a write-once device that does not exist')
  const taken = new Map<string, number>()
  for (const { wod, index, value } of maps) {
    const record = wods.get(wod)
    if (!record) {
      problem('wodBlocks.orphan', `write-once device ${wod}`, 'there is a map of a write-once device that does not exist')
      continue
    }
    if (Math.floor(index / eraIndex(1, 0)) !== record.era) continue // reclaim deletes it
    for (const { block, slot } of decodeWodBlocks(value, index % eraIndex(1, 0))) {
      const object = `write-once device ${wod}`
      if (block >= record.size / 2 ** record.blockShift) problem('wodBlocks.range', object, `block ${block} is written, behind its end`)
      if (slot === ZEROS) continue
      const other = taken.get(`${wod}:${slot}`)
      if (other !== undefined) problem('wodBlocks.shared', object, `blocks ${other} and ${block} lie in one slot`)
      taken.set(`${wod}:${slot}`, block)
    }
  }
}

/** An update under way has its map of what it has done, and no such map is without its device. */
function checkWodUpdates(wods: ReadonlyMap<number, WodRecord>, updated: ReadonlySet<number>, problem: Report): void {
  for (const number of updated)
    if (!wods.has(number)) problem('wodDone.orphan', `write-once device ${number}`, 'there is a map of an update of a write-once device that does not exist')
  for (const [number, { flags, updateEra, nextEra }] of wods) {
    if ((flags & WOD_GONE) !== 0) continue
    const object = `write-once device ${number}`
    if (updateEra >= nextEra) problem('wod.era', object, `its update has era ${updateEra}, the next to be given out is ${nextEra}`)
    if ((updateEra !== 0) !== ((flags & WOD_UPDATING) !== 0)) problem('wod.update', object, 'it has a map of an update without one, or an update without a map')
    if ((flags & WOD_UPDATING) !== 0 && (flags & (WOD_CONFIGURED | WOD_ENABLED | WOD_INVALID)) !== (WOD_CONFIGURED | WOD_ENABLED))
      problem('wod.update', object, 'its source is updated from it, and it is not enabled')
  }
}

const isLive = (lun: LunRecord | undefined): lun is LunRecord => lun !== undefined && (lun.flags & LUN_DELETED) === 0

function own(owners: Map<string, string>, segment: string, owner: string, problem: Report): void {
  const other = owners.get(segment)
  if (other !== undefined) problem('segment.shared', `segment ${segment}`, `${other} and ${owner} both own it`)
  owners.set(segment, owner)
}

/** Redundant stores against the maps that bind to them. @returns who owns each segment, by `disk:segment` */
function checkStores(
  rsds: ReadonlyMap<string, ReturnType<typeof rsdFields.decode>>,
  places: ReadonlyMap<string, string>,
  luns: ReadonlyMap<number, LunRecord>,
  disks: ReadonlyMap<number, DiskRecord>,
  problem: Report,
): Map<string, string> {
  const owners = new Map<string, string>()
  const bound = new Map<number, number>()
  const counts = new Map<number, number>()
  for (const [key, rsd] of rsds) {
    const [lun, store] = key.split(':').map(Number) as [number, number]
    const object = `LUN ${lun} store ${store}`
    counts.set(lun, (counts.get(lun) ?? 0) + 1)
    if (!luns.has(lun)) problem('store.orphan', object, 'its LUN does not exist')
    if ((rsd.bound & rsd.dirty) !== 0) problem('store.masks', object, 'a slice is both bound and waiting to be cleaned')
    if (rsd.bound === 0) problem('store.empty', object, 'no slice of it is bound')
    const members = rsd.members.slice(0, rsd.memberCount)
    members.forEach((member, m) => {
      const disk = disks.get(member.disk)
      if (!disk) problem('store.disk', object, `member ${m} names disk ${member.disk}, which the pool does not have`)
      else if (member.segment >= disk.segmentCount) problem('store.segment', object, `member ${m} names segment ${member.segment} of ${disk.segmentCount}`)
      own(owners, `${member.disk}:${member.segment}`, object, problem)
    })
    if (rsd.raid === raidTypes.raid1) {
      for (let column = 0; column < 4; column++)
        if (members[column]?.disk === members[column + 4]?.disk) problem('store.redundancy', object, `both copies of column ${column} are on one disk`)
    }
    if (rsd.raid === raidTypes.raid5 && new Set(members.map(({ disk }) => disk)).size < members.length)
      problem('store.redundancy', object, 'two members of a parity store are on one disk')
    for (let slice = 0; slice < SLICES; slice++) {
      const isBound = (rsd.bound & (1 << slice)) !== 0
      const named = places.has(`${lun}:${store * SLICES + slice}`)
      if (isBound && !named) problem('slice.unreachable', object, `slice ${slice} is bound but no address leads to it`)
      if (!isBound && named) problem('slice.unbound', object, `an address leads to slice ${slice}, which is not bound`)
    }
  }
  for (const [key, address] of places) {
    const [lun, place] = key.split(':').map(Number) as [number, number]
    bound.set(lun, (bound.get(lun) ?? 0) + 1)
    const rsd = rsds.get(`${lun}:${Math.floor(place / SLICES)}`)
    const record = luns.get(lun)
    if (!rsd) problem('slice.dangling', `LUN ${lun}`, `slice ${address} leads to store ${Math.floor(place / SLICES)}, which does not exist`)
    else if (record && rsd.raid !== typeAt(record, Number(address)))
      problem(
        'slice.raid',
        `LUN ${lun}`,
        `slice ${address} is of redundancy type ${typeAt(record, Number(address))}, its store ${Math.floor(place / SLICES)} of ${rsd.raid}`,
      )
  }
  for (const [number, lun] of luns) {
    if (lun.boundSlices !== (bound.get(number) ?? 0))
      problem('lun.count', `LUN ${number}`, `${lun.boundSlices} slices are recorded as bound, ${bound.get(number) ?? 0} are`)
    if (lun.storeCount !== (counts.get(number) ?? 0))
      problem('lun.count', `LUN ${number}`, `${lun.storeCount} stores are recorded, ${counts.get(number) ?? 0} exist`)
  }
  return owners
}

/** Allocated is reachable, and the other way round. */
function checkSegments(
  states: ReadonlyMap<number, ReadonlyMap<number, number>>,
  owners: ReadonlyMap<string, string>,
  disks: ReadonlyMap<number, DiskRecord>,
  problem: Report,
): void {
  for (const [disk, map] of states) {
    if (!disks.has(disk)) problem('segments.orphan', `disk ${disk}`, 'there is a segment map of a disk the pool does not have')
    for (const [segment, state] of map) {
      const owner = owners.get(`${disk}:${segment}`)
      if (state === segmentStates.used && (owner === undefined || owner.startsWith('metadata')))
        problem('segment.leaked', `disk ${disk}`, `segment ${segment} is allocated but nothing owns it`)
      if (state === segmentStates.metadata && !owner?.startsWith('metadata'))
        problem('segment.leaked', `disk ${disk}`, `segment ${segment} is allocated to metadata but no metadata store lists it`)
      if (state === segmentStates.freed && owner !== undefined) problem('segment.lost', `disk ${disk}`, `segment ${segment} is free but ${owner} owns it`)
    }
  }
  for (const [key, owner] of owners) {
    const [disk, segment] = key.split(':').map(Number) as [number, number]
    const state = states.get(disk)?.get(segment) ?? 0
    if (state === segmentStates.clean) problem('segment.lost', `disk ${disk}`, `segment ${segment} is clean but ${owner} owns it`)
  }
}
