import { LunarError } from '../core/base/errors.ts'
import { keyOf, type Key } from './key.ts'
import { bytes, struct, text, list, u16, u32, u64, u8, uuid, type Struct } from './struct.ts'

/** Values of the records of the metadata map. Gaps are reserved and zero. */

/** Key (pool, 0). */
export const poolRecord = struct('poolRecord', 256, {
  poolId: uuid(0, 'pool'),
  name: text(16, 64, 'name'),
  createdMs: u64(80, 'milliseconds since 1970'),
  nextDisk: u32(88, 'number for the next disk; never reused'),
  nextLun: u32(92, 'number for the next LUN; never reused'),
  nextProcess: u32(96, 'number for the next process; never reused'),
  nextRelationship: u32(100, 'number for the next relationship, 0 is 1; never reused'),
  nextWod: u32(108, 'number for the next write-once device, 0 is 1; never reused'),
  nextSnapshot: u32(112, 'number for the next snapshot, 0 is 1; never reused'),
  nextTree: u32(116, 'number for the next sharing tree, 0 is 1; never reused'),
  nextSchedule: u32(120, 'number for the next schedule, 0 is 1; never reused'),
  nextHost: u32(124, 'number for the next host, 0 is 1; never reused'),
  metadataCopies: u8(104, 'copies of metadata blocks wanted'),
  quorumWanted: u8(105, 'quorum disks wanted, 0: by the number of disks'),
  spare: u8(106, 'reserved: spare space policy'),
  astride: u8(107, '1: redundant stores may have members in several redundancy sets; 0: none has'),
  comment: text(128, 128, 'free text of the operator'),
})
export type PoolRecord = ReturnType<typeof poolRecord.decode>

/** Limits and place in the queue: 29 bytes from `at` on. 0 is none. */
const qualityFields = (at: number) => ({
  iops: u32(at, 'operations a second at most, 0: no limit'),
  iopsBurst: u32(at + 4, 'operations at once after a pause, 0: a tenth of a second of them'),
  bps: u64(at + 8, 'bytes a second at most, 0: no limit'),
  bpsBurst: u64(at + 16, 'bytes at once after a pause, 0: a tenth of a second of them'),
  minIops: u32(at + 24, 'operations a second that it has when the pool is saturated, 0: none; of a host 0'),
  priority: u8(at + 28, '0 normal, 1 high, 2 low; of a host 0'),
})

export const diskStates = ['normal', 'missing', 'merging', 'replacing', 'regenerating', 'failed'] as const
export type DiskStateName = (typeof diskStates)[number]

export const DISK_WITNESS = 1
/** Taken out of service by the operator: not taken back when it is seen again. */
export const DISK_OFFLINE = 2
/** It is to leave the pool: what it holds moves to the others, nothing new comes. */
export const DISK_LEAVING = 4

/** Key (disk, number). */
export const diskRecord = struct('diskRecord', 256, {
  diskId: uuid(0, 'disk'),
  size: u64(16, 'bytes'),
  segmentsAt: u64(24, 'first byte of segment 0'),
  segmentCount: u32(32, 'segments'),
  journalRoom: u32(36, 'bytes reserved for the journal'),
  state: u8(40, '0 normal, 1 missing, 2 merging, 3 replacing, 4 regenerating, 5 failed'),
  flags: u8(41, 'bit 0: witness; bit 1: offline by the operator; bit 2: leaving the pool'),
  ldad: u16(42, 'disk group'),
  redundancySet: u16(44, 'redundancy set in the group; 0 for a witness, which has none'),
  redundancyIndex: u16(46, 'index in the set; adjacent even and odd are a pair'),
  domain: text(48, 32, 'failure domain, empty when none'),
  addedMs: u64(80, 'milliseconds since 1970'),
  stateSinceMs: u64(88, 'milliseconds since 1970'),
  errors: u64(96, 'I/O errors seen'),
  reason: text(104, 120, 'why it is not normal'),
  logSegment: u32(224, 'first segment of its parity log'),
  logSegments: u16(228, 'segments of its parity log, 0: it has none'),
})
export type DiskRecord = ReturnType<typeof diskRecord.decode>

export const LUN_RESERVED = 1
export const LUN_INCOMPLETE = 2
export const LUN_DELETED = 4
/** Its space is being reserved: not acknowledged yet, and taken back when the pool is opened. */
export const LUN_RESERVING = 8
/** No host writes it, nobody deletes, resizes or updates it. */
export const LUN_PROTECTED = 16
/** It holds the blocks of a write-once device. */
export const LUN_WRITE_ONCE = 32
/** It holds the preserved chunks of snapshots. */
export const LUN_STORE = 64

/** Most stores that are interleaved. */
export const STRIPE_MAX = 255

export const rangeFields = struct('lunRange', 16, {
  endSlice: u32(0, 'first slice after the range; 0xffffffff: it has no end; 0 when unused'),
  raid: u8(4, 'redundancy type'),
  stripe: u8(5, 'interleaved stores, 1 to 255'),
})

/** Key (lun, number). */
export const lunRecord = struct('lunRecord', 512, {
  lunId: uuid(0, 'LUN'),
  name: text(16, 64, 'name'),
  size: u64(80, 'bytes'),
  createdMs: u64(88, 'milliseconds since 1970'),
  modifiedMs: u64(96, 'milliseconds since 1970, of the last administrative change'),
  raid: u8(104, '1 raid0, 2 raid1, 3 raid5; with ranges that of the last'),
  stripe: u8(105, 'interleaved stores, 1 to 255; with ranges that of the last'),
  flags: u16(
    106,
    'bit 0: fully reserved; bit 1: incomplete import; bit 2: deleted, being reclaimed; bit 3: being reserved; bit 4: protected; bit 5: of a write-once device; bit 6: a store of snapshots',
  ),
  ldad: u16(108, 'disk group'),
  nextStore: u32(112, 'number for the next redundant store'),
  boundSlices: u32(116, 'slices bound'),
  storeCount: u32(120, 'redundant stores'),
  nextGeneration: u32(140, 'allocation generation for the next redundant store, 0 is 1; never reused'),
  reclaimFrom: u32(124, 'slices from this one on are being given back after a shrink; 0 when none'),
  epoch: u32(128, 'reserved: epoch of the sharing tree'),
  tree: u32(132, 'reserved: sharing tree the LUN is a source of'),
  onFull: u8(136, 'when a chunk of it cannot be preserved for snapshots: 0 writes fail, 1 those that need it are dropped, 2 the oldest are'),
  cacheBytes: u64(144, 'bytes of its write-back cache, whole MiB, 0: none'),
  ...qualityFields(416),
  ranges: list(160, 16, rangeFields, 'redundancy types by address, in order, the last without an end; none: all of it is of the type above'),
})
export type LunRecord = ReturnType<typeof lunRecord.decode>

export const raidTypes = { raid0: 1, raid1: 2, raid5: 3 } as const
export type RaidName = keyof typeof raidTypes
export const raidName = (number: number): RaidName => {
  if (number === raidTypes.raid0) return 'raid0'
  if (number === raidTypes.raid1) return 'raid1'
  if (number === raidTypes.raid5) return 'raid5'
  throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a metadata record', { why: `redundancy type ${number} is not known` })
}

/** `endSlice` of a range without an end. */
export const OPEN_END = 0xffff_ffff

/** Redundancy type of the stores that a slice of a LUN is bound to, as the number in records. */
export function typeAt({ raid, ranges }: Pick<LunRecord, 'raid' | 'ranges'>, slice: number): number {
  // The end of an unused place is 0.
  for (const range of ranges) if (range.endSlice > slice) return range.raid
  return raid
}

/** How many stores are interleaved where a slice of a LUN lies. */
export function stripeAt({ stripe, ranges }: Pick<LunRecord, 'stripe' | 'ranges'>, slice: number): number {
  for (const range of ranges) if (range.endSlice > slice) return range.stripe
  return stripe
}

/** Slices in an LMAP record. Key (lmap, LUN, slice / 64), value 64 u32: 0 unbound, else 1 + store * 8 + slice in the store. */
export const LMAP_SLICES = 64
export const LMAP_VALUE = LMAP_SLICES * 4

/** Most members of a redundant store: three copies of four columns. */
export const RSD_MEMBERS_MAX = 12
export const rsdMember = struct('rsdMember', 8, { disk: u32(0, 'disk number'), segment: u32(4, 'segment') })
export const rsdFields = struct('rsd', 128, {
  raid: u8(0, 'redundancy type, 0 when the place is free'),
  memberCount: u8(1, 'members'),
  bound: u8(2, 'bit n: slice n is bound'),
  dirty: u8(3, 'bit n: slice n was given back and is not clean yet'),
  home: u32(4, 'the 8 MiB of the LUN it was made for; of n interleaved stores for 8 n MiB: the first of these plus its place among them'),
  generation: u32(8, 'allocation generation, for the owner records'),
  checksums: u64(16, 'reserved: where checksums of its blocks lie'),
  members: list(24, RSD_MEMBERS_MAX, rsdMember, 'segments: copy times 4 plus column; parity after the columns'),
})
/** Redundant stores in an RSD record. Key (rsd, LUN, store / 4). */
export const RSD_STORES = 4
export const RSD_VALUE = RSD_STORES * rsdFields.size

/** Segments in a segment-map record. Key (segments, disk, segment / 2048), 2 bits each, low bits first. */
export const SEGMENTS_PER_RECORD = 2048
export const SEGMENTS_VALUE = SEGMENTS_PER_RECORD / 4
export const segmentStates = { clean: 0, used: 1, freed: 2, metadata: 3 } as const

/** Stores in an open-region record. Key (open, LUN, store / 64), one byte a store, bit n: slice n is open. Missing: none is. */
export const OPEN_STORES = 64

/** Key (stale, LUN, store): one byte a member, bit n: the member missed a write to slice n. Missing: none did. */
export const staleKey = (lun: number, store: number): Key => keyOf('stale', lun, store)

export const processKinds = ['resync', 'reclaim', 'completeImage', 'imageUpdate', 'sourceUpdate', 'restore', 'clone', 'evacuate'] as const
export type ProcessKind = (typeof processKinds)[number]
export const processStates = ['running', 'waiting', 'paused', 'done', 'failed', 'stopped'] as const

/** Key (process, 0, number). */
export const processRecord = struct('processRecord', 256, {
  kind: u8(0, '0 resync, 1 reclaim, 2 complete image, 3 image update, 4 source update, 5 restore, 6 clone, 7 evacuate'),
  state: u8(1, '0 running, 1 waiting, 2 paused, 3 done, 4 failed, 5 stopped'),
  target: u32(4, 'number of the relationship, of the sharing tree of a restore, of the disk that leaves, 0 for the pool'),
  startedMs: u64(8, 'milliseconds since 1970'),
  endedMs: u64(16, 'milliseconds since 1970, 0 while it runs'),
  done: u64(24, 'bytes'),
  total: u64(32, 'bytes'),
  cursor: u64(40, 'where it goes on'),
  delayMs: u32(48, 'pace: pause between steps'),
  targetName: text(56, 64, 'name of the target when it was started'),
  reason: text(120, 120, 'why it ended'),
})
export type ProcessRecord = ReturnType<typeof processRecord.decode>

export const RELATIONSHIP_ENABLED = 1
/** It was enabled before: its maps mean something. */
export const RELATIONSHIP_USED = 2
/** The image could not be kept: it is refused until it is enabled anew. */
export const RELATIONSHIP_INVALID = 4
/** An update ended before its end: the volume it wrote is of two instants. */
export const RELATIONSHIP_MIXED = 8
/** While disabled: the image owns every chunk. */
export const RELATIONSHIP_COMPLETE = 16
/** Complete image was started and has not ended. */
export const RELATIONSHIP_COMPLETING = 32
/** Unconfigured: only its maps are still to be deleted. */
export const RELATIONSHIP_GONE = 64
/** A LUN that is being copied from a snapshot: its source is the number of that. */
export const RELATIONSHIP_CLONE = 128

/** A pace that follows the load instead of a fixed pause. */
export const PACE_ADAPTIVE = 0xffff_ffff

export const updateKinds = ['none', 'imageUpdate', 'sourceUpdate'] as const
export const fullPolicies = ['fail-writes', 'drop'] as const

/** Key (relationship, number). */
export const relationshipRecord = struct('relationshipRecord', 384, {
  relationshipId: uuid(0, 'relationship'),
  name: text(16, 64, 'name, empty when none was given'),
  source: u32(80, 'LUN; of a clone the snapshot that it is copied from'),
  image: u32(84, 'LUN'),
  flags: u16(88, 'bit 0: enabled; bit 1: was enabled before; bit 2: invalid; bit 3: mixed; bit 4: complete; bit 5: completing; bit 6: gone; bit 7: a clone'),
  chunkShift: u8(90, 'chunk size as a power of two'),
  onFull: u8(91, '0 the write that cannot be preserved fails, 1 the image is dropped'),
  update: u8(92, 'update under way: 0 none, 1 image update, 2 source update'),
  mixed: u8(93, 'update that ended before its end, when mixed: 1 image update, 2 source update'),
  size: u64(96, 'bytes of the source at the instant'),
  createdMs: u64(104, 'milliseconds since 1970'),
  enabledMs: u64(112, 'milliseconds since 1970, when it was last enabled'),
  asOfMs: u64(120, 'milliseconds since 1970, the instant the image is of'),
  nextEra: u32(128, 'number for the next era of a map; never reused'),
  migratedEra: u32(132, 'era of the map of migrated chunks'),
  deltaEra: u32(136, 'era of the map of changed chunks'),
  lostEra: u32(140, 'era of the map of chunks changed while disabled that the image lacked'),
  frozenEra: u32(144, 'era of the map of what an update still has to do, 0: none'),
  completeDelay: u32(148, 'pause of complete image between steps, milliseconds; 0xffffffff: adaptive'),
  imageDelay: u32(152, 'the same of image update'),
  sourceDelay: u32(156, 'the same of source update'),
  reason: text(160, 120, 'why it is invalid or mixed'),
  blankFrom: u64(280, 'bytes: from here on, behind the instant, the image reads as zeros and its LUN is still to be cleared; 0: nothing is'),
})
export type RelationshipRecord = ReturnType<typeof relationshipRecord.decode>

/** Chunks in a record of a chunk map, one bit each, low bits first. Key (chunks, relationship, era * 2^28 + chunk / 4096). */
export const CHUNKS_PER_RECORD = 4096
export const CHUNKS_VALUE = CHUNKS_PER_RECORD / 8
const ERA_UNIT = 2 ** 28
/** Index of a page of a map that has eras. */
export const eraIndex = (era: number, page: number): number => era * ERA_UNIT + page

/** Deleted: only what it holds is still to be given back. */
export const WOD_GONE = 1
/** It is the image of a source. */
export const WOD_CONFIGURED = 2
export const WOD_ENABLED = 4
/** The image could not be kept: it is refused until it is enabled anew. */
export const WOD_INVALID = 8

/** It was emptied as a whole, and the space of what it held before may not all be given back yet. */
export const WOD_STALE = 16
/** Its image is being completed. */
export const WOD_COMPLETING = 32
/** Its source is being updated from it. */
export const WOD_UPDATING = 64
/** Such an update ended before its end: the source is of two instants. */
export const WOD_MIXED = 128
/** Bytes of a reason in its record. */
export const WOD_REASON_MAX = 96

/** On a sparse file; on blocks packed into a file; on a thin LUN; on a log in a LUN. */
export const wodKinds = ['file', 'vdisk', 'lun', 'store'] as const
export type WodKind = (typeof wodKinds)[number]

/** Key (wod, number). */
export const wodRecord = struct('wodRecord', 768, {
  wodId: uuid(0, 'write-once device'),
  name: text(16, 64, 'name'),
  kind: u8(80, '0 sparse file, 1 packed file, 2 LUN, 3 log in a LUN'),
  blockShift: u8(81, 'block size as a power of two'),
  flags: u16(
    82,
    'bit 0: gone; bit 1: is the image of a source; bit 2: enabled; bit 3: invalid; bit 4: what it held before may still take space; bit 5: the image is being completed; bit 6: its source is being updated; bit 7: such an update ended before its end',
  ),
  lun: u32(84, 'LUN that holds its blocks, for kinds 2 and 3'),
  era: u32(88, 'era of its map'),
  nextEra: u32(92, 'number for the next era; never reused'),
  source: u32(96, 'LUN it is the image of'),
  relationship: u32(100, 'number of that relationship'),
  size: u64(104, 'bytes'),
  createdMs: u64(112, 'milliseconds since 1970'),
  emptiedMs: u64(120, 'milliseconds since 1970, when all of it was last made unwritten'),
  asOfMs: u64(128, 'milliseconds since 1970, the instant the image is of'),
  imageSize: u64(136, 'bytes of the source at the instant'),
  onFull: u8(144, '0 the write that cannot be preserved fails, 1 the image is dropped'),
  completeDelay: u32(148, 'pause between the steps of complete image, milliseconds; 0xffffffff adaptive'),
  reason: text(152, WOD_REASON_MAX, 'why the image is invalid, or its source mixed'),
  updateEra: u32(248, 'era of the map of what a source update has done, 0: there is none'),
  sourceDelay: u32(252, 'pause between the steps of a source update, milliseconds; 0xffffffff adaptive'),
  path: text(256, 512, 'file that holds its blocks, for kinds 0 and 1'),
})
export type WodRecord = ReturnType<typeof wodRecord.decode>

/**
 * Blocks in a record of the map of a write-once device. Key (wodBlocks, device, era * 2^28 + block / 64), value 64 times u32 slot + 1, 0 when
 * the block is not written and 0xffffffff when it is zeros and lies nowhere, and u32 crc32c of its bytes.
 */
export const WOD_BLOCKS = 64
export const WOD_ENTRY = 8
export const WOD_BLOCKS_VALUE = WOD_BLOCKS * WOD_ENTRY

/** The written blocks of a map record. */
export function decodeWodBlocks(value: Uint8Array, page: number): { block: number; slot: number; crc: number }[] {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const blocks = []
  for (let i = 0; i < WOD_BLOCKS; i++) {
    const slot = view.getUint32(i * WOD_ENTRY, true) - 1
    if (slot >= 0) blocks.push({ block: page * WOD_BLOCKS + i, slot, crc: view.getUint32(i * WOD_ENTRY + 4, true) })
  }
  return blocks
}

/** What ends the file of a write-once device, sealed; at the size of the device. */
export const wodFileLabel = struct('wodFileLabel', 4096, {
  crc: u32(0, 'checksum'),
  magic: u32(4, 'magic'),
  poolId: uuid(8, 'pool'),
  wodId: uuid(24, 'write-once device'),
  size: u64(40, 'bytes'),
})

/** Written to, in a map of its own over its frozen state. */
export const SNAPSHOT_WRITABLE = 1
/** Deleted, but what rests on it still needs it. */
export const SNAPSHOT_HIDDEN = 2
/** Deleted: only what it alone needs is still to be given back. */
export const SNAPSHOT_DEAD = 4
/** What was written to it before it was refreshed is still to be given back. */
export const SNAPSHOT_UNTIDY = 8

/** There was no space to preserve a chunk for it, and the policy of its source gave it up: it cannot be read, and is there to say so. */
export const SNAPSHOT_DROPPED = 16

/** Key (snapshot, number). */
export const snapshotRecord = struct('snapshotRecord', 256, {
  snapshotId: uuid(0, 'snapshot'),
  name: text(16, 64, 'name, unique in its tree'),
  tree: u32(80, 'sharing tree'),
  epoch: u32(84, 'frozen state: the first entry of a chunk from this epoch on, else the source'),
  flags: u16(
    88,
    'bit 0: writable; bit 1: hidden, something rests on it; bit 2: dead; bit 3: its leaf has entries of older eras; bit 4: dropped when there was no space',
  ),
  onFull: u8(90, 'reserved; the policy is of the LUN'),
  base: u32(92, 'snapshot whose frozen state it is a writable view of, 0: its own'),
  size: u64(96, 'bytes of the source at the instant'),
  createdMs: u64(104, 'milliseconds since 1970'),
  leafEra: u32(112, 'era of its leaf map'),
  reserveFrom: u32(116, 'slices of the store that are bound for what it may need: the first one'),
  reserveCount: u32(120, 'how many, 0: none'),
})
export type SnapshotRecord = ReturnType<typeof snapshotRecord.decode>
/** Where the flags lie: deleting changes nothing else. */
export const SNAPSHOT_FLAGS_AT = snapshotRecord.fields.flags.offset

/** The source reads as the snapshot it is restored to, and what it lacks of it is copied only when a host writes there. */
export const TREE_STOPPED = 1

/** Key (tree, number). */
export const treeRecord = struct('treeRecord', 128, {
  source: u32(0, 'LUN whose snapshots these are, 0: a snapshot'),
  snapshot: u32(4, 'writable snapshot whose snapshots these are, 0: a LUN'),
  store: u32(8, 'LUN that holds the preserved chunks'),
  chunkShift: u8(12, 'chunk size as a power of two'),
  flags: u8(13, 'bit 0: copying back was stopped'),
  nextEpoch: u32(16, 'epoch of the next snapshot; never reused'),
  restored: u32(20, 'snapshot that the source is being restored to, 0: none'),
  restoredAt: u32(24, 'epoch of the state before that; the one behind it is no snapshot: a chunk with an entry there or later is back'),
  restoreDelay: u32(28, 'pause of copying back between steps, milliseconds; 0xffffffff: adaptive'),
  createdMs: u64(32, 'milliseconds since 1970'),
  updatedBy: u32(40, 'relationship whose update of the source was under way when a snapshot was taken, 0: none'),
  updateEra: u32(44, 'era of what that update had still to do: another update is not meant'),
  updatedAt: u32(48, 'newest epoch of before that update: snapshots behind it are of the source as updated'),
})
export type TreeRecord = ReturnType<typeof treeRecord.decode>

/** Epochs of a tree, and eras of a leaf map: index of an entry = chunk * 2^20 + epoch. */
export const TREE_EPOCHS = 2 ** 20

/**
 * Key (treeMap, tree, chunk * 2^20 + epoch), what a chunk held when it was first written under that epoch; key (leafMap, snapshot,
 * chunk * 2^20 + era), what was written to a writable snapshot.
 */
export const mapEntry = struct('mapEntry', 8, {
  slotLow: u32(0, 'slot + 1, 0: the chunk reads as zeros; low bits'),
  slotHigh: u16(4, 'the same, high bits'),
})

/** @param entry slot + 1, 0 for zeros */
export const encodeEntry = (entry: number): Uint8Array => mapEntry.encode({ slotLow: entry % 2 ** 32, slotHigh: Math.floor(entry / 2 ** 32) })

/** @throws LunarError `ERR_METADATA_DAMAGED` */
export function decodeEntry(value: Uint8Array): number {
  const { slotLow, slotHigh } = decodeRecord(mapEntry, value)
  return slotHigh * 2 ** 32 + slotLow
}

/** Slots of 4 KiB in a slice of 1 MiB: slots have this size or a larger one. */
export const SLOTS_PER_SLICE = 256

/** Key (slots, LUN of the store, slice): which slots of a slice of 1 MiB hold a chunk. */
export const slotsRecord = struct('slotsRecord', 40, {
  slotShift: u8(0, 'slot size as a power of two'),
  used: bytes(8, 32, 'bit n: slot n holds a chunk'),
})
/** Where the bits are in it. */
export const SLOTS_BITS_AT = slotsRecord.fields.used.offset

/** Key (host, number): somebody to whom volumes are presented. */
export const hostRecord = struct('hostRecord', 128, {
  hostId: uuid(0, 'host'),
  name: text(16, 64, 'name; the common name of its certificate'),
  createdMs: u64(80, 'milliseconds since 1970'),
  ...qualityFields(88),
})
export type HostRecord = ReturnType<typeof hostRecord.decode>

/** The host may only read. */
export const PRESENTATION_READ_ONLY = 1
/** Other hosts may write the volume, too. */
export const PRESENTATION_SHARED = 2
/** Also while an unfinished update has left the volume of two instants. */
export const PRESENTATION_MIXED = 4

/** What can be presented, by the number that stands for it in keys. */
export const volumeKinds = ['lun', 'snapshot', 'wod'] as const
export type VolumeKind = (typeof volumeKinds)[number]
const VOLUME_UNIT = 2 ** 32
export const presentationIndex = (kind: VolumeKind, volume: number): number => volumeKinds.indexOf(kind) * VOLUME_UNIT + volume
/** @returns undefined when the index is of no known kind */
export function presentedVolume(lo: number): { readonly kind: VolumeKind; readonly volume: number } | undefined {
  const kind = volumeKinds[Math.floor(lo / VOLUME_UNIT)]
  return kind === undefined ? undefined : { kind, volume: lo % VOLUME_UNIT }
}

/** Key (presentation, host, kind of volume * 2^32 + its number), kind 0 LUN, 1 snapshot, 2 write-once device. */
export const presentationRecord = struct('presentationRecord', 32, {
  createdMs: u64(0, 'milliseconds since 1970'),
  flags: u8(8, 'bit 0: read only; bit 1: others may write it, too; bit 2: also when it is mixed'),
})
export type PresentationRecord = ReturnType<typeof presentationRecord.decode>

/** It takes no snapshots until it is resumed. */
export const SCHEDULE_PAUSED = 1
/** Nobody writes its snapshots. */
export const SCHEDULE_READ_ONLY = 2
/** A run that was missed is not caught up. */
export const SCHEDULE_NO_CATCH_UP = 4
/** A run takes nothing when nothing was written since the last one that did. */
export const SCHEDULE_SKIP_UNCHANGED = 8
/** `keepLast` is a rule: what no rule keeps goes. Else it only guards what another rule would delete. */
export const SCHEDULE_LAST_IS_RULE = 16

export const scheduleResults = ['none', 'taken', 'unchanged', 'missed', 'failed', 'unrotated'] as const
export type ScheduleResultName = (typeof scheduleResults)[number]

/** LUNs of one schedule. */
export const SCHEDULE_LUNS = 32
/** Bytes of the texts of a schedule. */
export const SCHEDULE_TEXTS = { cron: 96, zone: 48, reason: 240 } as const

const scheduledLun = struct('scheduledLun', 4, { lun: u32(0, 'LUN') })
const scheduledLuns = u8(274, 'LUNs')

/** Key (schedule, number): when snapshots are taken of some LUNs, and which are kept. */
export const scheduleRecord = struct('scheduleRecord', 720, {
  scheduleId: uuid(0, 'schedule'),
  name: text(16, 64, 'name'),
  cron: text(80, SCHEDULE_TEXTS.cron, 'when it runs: a cron expression of five fields, or @daily'),
  zone: text(176, SCHEDULE_TEXTS.zone, 'IANA name of the time zone of the expression, and of the days that rules count'),
  prefix: text(224, 48, 'names of its snapshots, before a hyphen and the time'),
  flags: u8(272, 'bit 0: paused; bit 1: read-only snapshots; bit 2: no catch-up; bit 3: skips when unchanged; bit 4: keepLast is a rule'),
  result: u8(273, 'of the last run: 0 none yet, 1 taken, 2 unchanged, 3 missed, 4 failed, 5 taken or unchanged, but rotation was refused'),
  lunCount: scheduledLuns,
  keepLast: u32(276, 'the newest so many stay, at least 1'),
  minutely: u32(280, 'minutes of which the last snapshot is kept'),
  hourly: u32(284, 'the same of hours'),
  daily: u32(288, 'the same of days'),
  weekly: u32(292, 'the same of weeks'),
  monthly: u32(296, 'the same of months'),
  yearly: u32(300, 'the same of years'),
  olderThanMs: u64(304, 'milliseconds; what is older goes; 0: no such rule'),
  createdMs: u64(312, 'milliseconds since 1970'),
  settledMs: u64(320, 'milliseconds since 1970: what was due until then is taken, skipped or given up'),
  lastMs: u64(328, 'milliseconds since 1970, of the last run, 0: none yet'),
  takenMs: u64(336, 'milliseconds since 1970, of the last run that took snapshots, 0: none yet'),
  failures: u32(344, 'runs that did not go well, since the last that did'),
  deleted: u32(348, 'snapshots that the last run deleted'),
  reason: text(352, SCHEDULE_TEXTS.reason, 'why the last run ended as it did'),
  luns: list(592, SCHEDULE_LUNS, scheduledLun, 'snapshots of them are of one instant', scheduledLuns),
})
export type ScheduleRecord = ReturnType<typeof scheduleRecord.decode>

/** Bytes of a reason that is recorded: of a disk's state, a process's end, a relationship. */
export const REASON_MAX = 118

/** A record's value, decoded. @throws LunarError `ERR_METADATA_DAMAGED` when it has another length than its table */
export function decodeRecord<T>(table: Struct<T>, value: Uint8Array): T {
  if (value.length !== table.size) {
    throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use a ${table.name}`, { why: `it has ${value.length} bytes, not ${table.size}` })
  }
  return table.decode(value)
}
