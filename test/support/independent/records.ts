/** What the records of the map say, and whether they contradict each other (src/metadata/records.ts, key.ts). */
import { Block } from './bytes.ts'
import { SEGMENT, type CheckedDisk, type RootBlock } from './disk.ts'
import type { Records } from './tree.ts'

const KIND_UNIT = 2 ** 32
const kinds = {
  pool: 1,
  disk: 2,
  lun: 3,
  lmap: 4,
  rsd: 5,
  segments: 6,
  open: 7,
  stale: 8,
  process: 9,
  event: 10,
  relationship: 11,
  chunks: 12,
  wod: 13,
  wodBlocks: 14,
  wodDone: 20,
  snapshot: 15,
  tree: 16,
  treeMap: 17,
  leafMap: 18,
  slots: 19,
  host: 24,
  presentation: 25,
  schedule: 26,
  history: 40,
}
export const SLICE = 1024 * 1024
const SLICES = 8

/** The type of a store with parity. */
export const RAID5 = 3
/** Members of a store by its type: none, raid0, raid1 (two copies of four columns), raid5 (four columns and their parity). */
const MEMBERS = [0, 4, 8, 5]

export const diskStates = ['normal', 'missing', 'merging', 'replacing', 'regenerating', 'failed'] as const

export interface DiskInfo {
  readonly number: number
  readonly id: string
  readonly size: number
  readonly segmentsAt: number
  readonly segmentCount: number
  readonly state: (typeof diskStates)[number]
  readonly witness: boolean
  /** The run of segments of its parity log. */
  readonly log: { readonly segment: number; readonly segments: number }
}

export interface StoreInfo {
  readonly lun: number
  readonly number: number
  readonly raid: number
  readonly bound: number
  readonly dirty: number
  readonly members: readonly { readonly disk: number; readonly segment: number }[]
  /** Bit n: slice n may differ between its copies. */
  open: number
  /** By member, bit n: it lacks slice n. */
  stale: number[]
}

export interface LunInfo {
  readonly number: number
  readonly name: string
  readonly size: number
  readonly raid: number
  /** Type of each range and the first slice after it; the last ends at 2^32 - 1. */
  readonly ranges: { end: number; raid: number; stripe: number }[]
  /** Interleaved stores, 1 to 255. */
  readonly stripe: number
  readonly incomplete: boolean
  readonly deleted: boolean
  readonly reclaimFrom: number
  readonly nextStore: number
  readonly boundSlices: number
  readonly storeCount: number
  /** Slice of the LUN to store * 8 + slice of the store. */
  readonly map: Map<number, number>
}

export interface EventInfo {
  readonly timeMs: number
  readonly code: string
  readonly object: string
  readonly message: string
}

export interface PoolRecords {
  readonly name: string
  readonly comment: string
  readonly disks: ReadonlyMap<number, DiskInfo>
  readonly luns: ReadonlyMap<number, LunInfo>
  /** By `lun:store`. */
  readonly stores: ReadonlyMap<string, StoreInfo>
  /** By disk, one state a segment: 0 clean, 1 used, 2 freed, 3 metadata. */
  readonly segments: ReadonlyMap<number, Uint8Array>
  readonly events: readonly EventInfo[]
}

export function readRecords(records: Records, poolId: string, problems: string[]): PoolRecords {
  const disks = new Map<number, DiskInfo>()
  const luns = new Map<number, LunInfo>()
  const stores = new Map<string, StoreInfo>()
  const segments = new Map<number, Uint8Array>()
  const events: EventInfo[] = []
  const sorted = [...records.values()].sort((a, b) => a.hi - b.hi || a.lo - b.lo)
  const each = function* (kind: number): Generator<{ object: number; lo: number; block: Block }> {
    for (const { hi, lo, value } of sorted) if (Math.floor(hi / KIND_UNIT) === kind) yield { object: hi % KIND_UNIT, lo, block: new Block(value) }
  }
  const pool = [...each(kinds.pool)][0]?.block
  if (!pool) problems.push('pool: there is no pool record')
  else if (pool.id(0) !== poolId) problems.push('pool: the record is of another pool')

  for (const { object, block } of each(kinds.disk)) {
    const segmentCount = block.u32(32)
    disks.set(object, {
      number: object,
      id: block.id(0),
      size: block.u64(16),
      segmentsAt: block.u64(24),
      segmentCount,
      state: diskStates[block.u8(40)] ?? 'failed',
      witness: (block.u8(41) & 1) !== 0,
      log: { segment: block.u32(224), segments: block.u16(228) },
    })
    segments.set(object, new Uint8Array(segmentCount))
  }
  for (const { object, block } of each(kinds.lun)) luns.set(object, readLun(object, block))
  for (const { object, lo, block } of each(kinds.lmap)) {
    for (let i = 0; i < 64; i++) {
      const entry = block.u32(i * 4)
      if (entry === 0) continue
      const lun = luns.get(object)
      if (lun) lun.map.set(lo * 64 + i, entry - 1)
      else problems.push(`lmap: LUN ${object} does not exist, but slice ${lo * 64 + i} of it is bound`)
    }
  }
  for (const { object, lo, block } of each(kinds.rsd)) {
    for (let i = 0; i < 4; i++) {
      const at = i * 128
      if (block.u8(at) === 0) continue
      const members = Array.from({ length: block.u8(at + 1) }, (_, m) => ({ disk: block.u32(at + 24 + 8 * m), segment: block.u32(at + 28 + 8 * m) }))
      const number = lo * 4 + i
      const store = { lun: object, number, raid: block.u8(at), bound: block.u8(at + 2), dirty: block.u8(at + 3), members, open: 0, stale: members.map(() => 0) }
      stores.set(`${object}:${number}`, store)
    }
  }
  for (const { object, lo, block } of each(kinds.segments)) {
    const map = segments.get(object)
    if (!map) problems.push(`segments: disk ${object} does not exist, but has a segment map`)
    else for (let i = 0; i < 2048 && lo * 2048 + i < map.length; i++) map[lo * 2048 + i] = (block.u8(i >> 2) >> ((i & 3) * 2)) & 3
  }
  for (const { object, lo, block } of each(kinds.open)) {
    for (let i = 0; i < 64; i++) {
      const mask = block.u8(i)
      const store = stores.get(`${object}:${lo * 64 + i}`)
      if (store) store.open = mask
      else if (mask !== 0) problems.push(`open: store ${lo * 64 + i} of LUN ${object} does not exist`)
    }
  }
  for (const { object, lo, block } of each(kinds.stale)) {
    const store = stores.get(`${object}:${lo}`)
    if (store) store.stale = store.stale.map((_, m) => block.u8(m))
    else problems.push(`stale: store ${lo} of LUN ${object} does not exist`)
  }
  for (const { block } of each(kinds.event)) {
    const [code = '', object = '', ...message] = block.text(8, block.bytes.length - 8).split('\n')
    events.push({ timeMs: block.u64(0), code, object, message: message.join('\n') })
  }
  const relationships = new Set<number>()
  for (const { object, block } of each(kinds.relationship)) {
    relationships.add(object)
    if ((block.u16(88) & 64) !== 0) continue
    // The source of a clone is a snapshot.
    const isClone = (block.u16(88) & 128) !== 0
    for (const lun of isClone ? [block.u32(84)] : [block.u32(80), block.u32(84)])
      if (!luns.has(lun)) problems.push(`relationship: ${object} names LUN ${lun}, which does not exist`)
    if (!isClone && block.u32(80) === block.u32(84)) problems.push(`relationship: ${object} has one LUN as source and image`)
    if (object >= (pool?.u32(100) ?? 0)) problems.push(`pool: relationship ${object} exists, the next would be ${pool?.u32(100)}`)
  }
  for (const { object, block } of each(kinds.chunks)) {
    if (!relationships.has(object)) problems.push(`chunks: relationship ${object} does not exist`)
    if (block.bytes.length !== 512) problems.push(`chunks: a map of relationship ${object} has ${block.bytes.length} bytes`)
  }
  const wods = new Map<number, { era: number; blocks: number }>()
  for (const { object, block } of each(kinds.wod)) {
    wods.set(object, { era: block.u32(88), blocks: block.u64(104) / 2 ** block.u8(81) })
    if ((block.u16(82) & 1) !== 0) continue
    if (object >= (pool?.u32(108) ?? 0)) problems.push(`pool: write-once device ${object} exists, the next would be ${pool?.u32(108)}`)
    if (block.u8(80) >= 2 && luns.get(block.u32(84))?.deleted !== false) problems.push(`wod: ${object} names LUN ${block.u32(84)}, which does not exist`)
    if ((block.u16(82) & 2) !== 0 && luns.get(block.u32(96))?.deleted !== false)
      problems.push(`wod: ${object} is the image of LUN ${block.u32(96)}, which does not exist`)
  }
  const slots = new Set<string>()
  for (const { object, lo, block } of each(kinds.wodBlocks)) {
    const wod = wods.get(object)
    if (!wod) problems.push(`wodBlocks: write-once device ${object} does not exist`)
    if (block.bytes.length !== 512) problems.push(`wodBlocks: a map of write-once device ${object} has ${block.bytes.length} bytes`)
    if (Math.floor(lo / 2 ** 28) !== wod?.era) continue
    for (let i = 0; i < 64; i++) {
      const slot = block.u32(8 * i)
      if (slot === 0) continue
      if ((lo % 2 ** 28) * 64 + i >= wod.blocks) problems.push(`wodBlocks: a block behind the end of write-once device ${object} is written`)
      if (slot === 0xffff_ffff) continue // zeros, which lie nowhere
      if (slots.has(`${object}:${slot}`)) problems.push(`wodBlocks: two blocks of write-once device ${object} lie in slot ${slot - 1}`)
      slots.add(`${object}:${slot}`)
    }
  }
  for (const { object, block } of each(kinds.wodDone)) {
    if (!wods.has(object)) problems.push(`wodDone: write-once device ${object} does not exist`)
    if (block.bytes.length !== 512) problems.push(`wodDone: a map of write-once device ${object} has ${block.bytes.length} bytes`)
  }
  const hosts = new Set<number>()
  for (const { object } of each(kinds.host)) {
    hosts.add(object)
    if (object >= (pool?.u32(124) ?? 0)) problems.push(`pool: host ${object} exists, the next would be ${pool?.u32(124)}`)
  }
  for (const { object, lo } of each(kinds.presentation)) {
    if (!hosts.has(object)) problems.push(`presentation: host ${object} does not exist`)
    if (lo < 2 ** 32 && luns.get(lo)?.deleted !== false) problems.push(`presentation: LUN ${lo} of host ${object} does not exist`)
  }
  for (const { object, block } of each(kinds.schedule)) {
    if (object >= (pool?.u32(120) ?? 0)) problems.push(`pool: schedule ${object} exists, the next would be ${pool?.u32(120)}`)
    if (block.bytes.length !== 720) problems.push(`schedule ${object}: it has ${block.bytes.length} bytes`)
    const count = block.u8(274)
    if (count === 0) problems.push(`schedule ${object}: it is of no LUN`)
    for (let i = 0; i < count; i++) {
      const lun = block.u32(592 + i * 4)
      if (luns.get(lun)?.deleted !== false) problems.push(`schedule ${object}: LUN ${lun} does not exist`)
    }
  }
  for (const { hi } of sorted) if (!Object.values(kinds).includes(Math.floor(hi / KIND_UNIT))) problems.push(`record: key ${hi} is of no known kind`)
  const next = { disk: pool?.u32(88) ?? 0, lun: pool?.u32(92) ?? 0 }
  for (const number of disks.keys()) if (number >= next.disk) problems.push(`pool: disk ${number} exists, the next would be ${next.disk}`)
  for (const number of luns.keys()) if (number >= next.lun) problems.push(`pool: LUN ${number} exists, the next would be ${next.lun}`)
  return { name: pool?.text(16, 64) ?? '', comment: pool?.text(128, 128) ?? '', disks, luns, stores, segments, events }
}

function readLun(number: number, block: Block): LunInfo {
  const flags = block.u16(106)
  return {
    number,
    name: block.text(16, 64),
    size: block.u64(80),
    raid: block.u8(104),
    stripe: block.u8(105),
    ranges: Array.from({ length: 16 }, (_, i) => ({ end: block.u32(160 + i * 16), raid: block.u8(164 + i * 16), stripe: block.u8(165 + i * 16) })).filter(
      ({ end }) => end > 0,
    ),
    incomplete: (flags & 2) !== 0,
    deleted: (flags & 4) !== 0,
    nextStore: block.u32(112),
    boundSlices: block.u32(116),
    storeCount: block.u32(120),
    reclaimFrom: block.u32(124),
    map: new Map(),
  }
}

/** Labels against disk records, disks against their layout. */
export function checkDisks(records: PoolRecords, disks: readonly CheckedDisk[], problems: string[]): void {
  for (const { label, reader } of disks) {
    const record = records.disks.get(label.number)
    if (record?.id !== label.diskId) continue // a disk that the pool no longer has
    if (record.size !== label.size || record.segmentsAt !== label.segmentsAt || record.segmentCount !== label.segmentCount)
      problems.push(`disk ${label.number}: label and record of ${reader.name} differ`)
    if (label.segmentsAt + label.segmentCount * SEGMENT > Math.floor(label.size / 4096) * 4096 - 4096)
      problems.push(`disk ${label.number}: its segments reach into the label at its end`)
    if (label.ownersAt + label.segmentCount * 64 > label.segmentsAt) problems.push(`disk ${label.number}: its owner records reach into its segments`)
  }
}

/** LUNs against their stores: maps and descriptors name each other, counters are right. */
export function checkLuns(records: PoolRecords, problems: string[]): void {
  const names = new Map<string, number>()
  for (const lun of records.luns.values()) {
    const what = `LUN ${lun.number}`
    if (!lun.deleted && names.has(lun.name)) problems.push(`${what}: LUN ${names.get(lun.name)} has its name "${lun.name}" too`)
    if (!lun.deleted) names.set(lun.name, lun.number)
    if (lun.size % SLICE !== 0) problems.push(`${what}: has ${lun.size} bytes`)
    if ([lun, ...lun.ranges].some(({ stripe }) => stripe === 0)) problems.push(`${what}: says that no stores are interleaved`)
    const mine = [...records.stores.values()].filter(store => store.lun === lun.number)
    if (lun.boundSlices !== lun.map.size) problems.push(`${what}: says ${lun.boundSlices} slices are bound, ${lun.map.size} are`)
    if (lun.storeCount !== mine.length) problems.push(`${what}: says it has ${lun.storeCount} stores, ${mine.length} exist`)
    const places = new Map<number, number>()
    for (const [slice, place] of lun.map) {
      if (places.has(place)) problems.push(`${what}: slices ${places.get(place)} and ${slice} share a place`)
      places.set(place, slice)
      const store = records.stores.get(`${lun.number}:${Math.floor(place / SLICES)}`)
      if (!store) problems.push(`${what}: slice ${slice} leads to store ${Math.floor(place / SLICES)}, which does not exist`)
      else if ((store.bound & (1 << (place % SLICES))) === 0) problems.push(`${what}: slice ${slice} leads to a place that is not bound`)
      const raid = lun.ranges.find(({ end }) => slice < end)?.raid ?? lun.raid
      if (store && store.raid !== raid) problems.push(`${what}: slice ${slice} is of type ${raid}, its store ${store.number} of ${store.raid}`)
      if (slice >= lun.size / SLICE && !lun.deleted && lun.reclaimFrom === 0) problems.push(`${what}: slice ${slice} behind its end is bound`)
    }
    for (const store of mine) {
      for (let slice = 0; slice < SLICES; slice++) {
        if ((store.bound & (1 << slice)) !== 0 && !places.has(store.number * SLICES + slice))
          problems.push(`${what}: slice ${slice} of store ${store.number} is bound but nothing leads to it`)
      }
      if (store.number >= lun.nextStore) problems.push(`${what}: has store ${store.number}, the next would be ${lun.nextStore}`)
    }
  }
  for (const store of records.stores.values())
    if (!records.luns.has(store.lun)) problems.push(`store ${store.number} of LUN ${store.lun}: the LUN does not exist`)
}

/** Allocated is reachable, and each segment has one owner. */
export function checkSegments(records: PoolRecords, root: RootBlock, problems: string[]): void {
  const owners = new Map<string, { who: string; state: number }>()
  const own = (disk: number, segment: number, who: string, state: number): void => {
    const key = `${disk}:${segment}`
    const other = owners.get(key)
    if (other) problems.push(`segment ${key}: ${other.who} and ${who} own it`)
    owners.set(key, { who, state })
    const map = records.segments.get(disk)
    if (!map || segment >= map.length) return void problems.push(`segment ${key}: ${who} names it, and it does not exist`)
    if (map[segment] !== state) problems.push(`segment ${key}: ${who} owns it, and the map says ${map[segment]}, not ${state}`)
  }
  for (const store of records.stores.values()) {
    const who = `store ${store.number} of LUN ${store.lun}`
    store.members.forEach(({ disk, segment }) => {
      own(disk, segment, who, 1)
    })
    if (store.members.length !== MEMBERS[store.raid]) problems.push(`${who}: has ${store.members.length} members`)
    if ((store.bound & store.dirty) !== 0) problems.push(`${who}: a slice is both bound and to be cleaned`)
    if (store.bound === 0) problems.push(`${who}: nothing in it is bound`)
    if ((store.open & ~store.bound) !== 0) problems.push(`${who}: a slice that is not bound is open`)
    // A byte and what makes up for it: its copy 4 members on, or all the others.
    store.members.forEach(({ disk }, m) => {
      const others = store.raid === RAID5 ? store.members.slice(0, m) : m < 4 ? [] : [store.members[m - 4]!]
      if (others.some(other => other.disk === disk)) problems.push(`${who}: member ${m} is on disk ${disk}, as is one that is to make up for it`)
    })
  }
  for (const store of root.stores)
    for (const place of store.places) for (let i = 0; i < store.segments; i++) own(place.disk, place.segment + i, `metadata store ${store.id}`, 3)
  for (const { number, log } of records.disks.values()) for (let i = 0; i < log.segments; i++) own(number, log.segment + i, `log of disk ${number}`, 1)
  for (const [disk, map] of records.segments) {
    map.forEach((state, segment) => {
      if ((state === 1 || state === 3) && !owners.has(`${disk}:${segment}`))
        problems.push(`segment ${disk}:${segment}: is in use (${state}) but nothing owns it`)
    })
  }
}
