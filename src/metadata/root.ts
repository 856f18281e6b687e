import { NIL_UUID } from '../core/base/uuid.ts'
import { isSealed, sealBlock } from './block.ts'
import { BLOCK, ROOT_COUNT, ROOTS_AT } from './layout.ts'
import { list, struct, text, u16, u32, u64, uuid } from './struct.ts'

/** Most quorum disks of a pool (features.md A3). */
export const MEMBERS_MAX = 7
/** Most copies of a metadata block. */
export const COPIES_MAX = 4
export const STORES_MAX = 83
/** How many ends of memberships a root remembers. */
export const DEPARTURES_MAX = 7

const copyCount = u16(6, 'number of copies')
const memberCount = u32(132, 'quorum disks at this sequence')
const parentMemberCount = u32(248, 'quorum disks at the state this epoch follows')
const storeCount = u32(400, 'metadata stores in use')

export const memberFields = struct('member', 16, { disk: uuid(0, 'disk id, nil when unused') })
export const placeFields = struct('place', 8, { disk: u32(0, 'disk number'), segment: u32(4, 'first segment') })
export const storeFields = struct('metadataStore', 40, {
  id: u32(0, 'number of the store, from 1; 0 when unused'),
  segments: u16(4, 'length of each copy in segments'),
  copies: copyCount,
  places: list(8, COPIES_MAX, placeFields, 'where the copies lie', copyCount),
})

export const departureFields = struct('departure', 32, {
  epoch: uuid(0, 'nil when unused'),
  epochNumber: u64(16, 'its number'),
  sequence: u64(24, 'last sequence of a larger quorum'),
})

/** A root: one state of the pool's metadata, complete with the tail of the journal that follows it. One of 128 places, in turn. */
export const rootFields = struct('root', BLOCK, {
  crc: u32(0, 'crc32c of bytes 4..4095, seeded with the kind'),
  magic: u32(4, 'ROOT'),
  poolId: uuid(8, 'pool'),
  diskId: uuid(24, 'disk this copy was meant for'),
  address: u64(40, 'byte of the disk this copy was meant for'),
  epoch: uuid(48, 'random id of the writer: one opening for writing'),
  epochNumber: u64(64, 'epochs before this one on its line'),
  parentEpoch: uuid(72, 'the epoch this one follows'),
  parentSequence: u64(88, 'and the sequence in it'),
  sequence: u64(96, 'the tree holds every batch up to this one; the journal goes on after it'),
  generation: u64(104, 'administrative commits in the tree'),
  timeMs: u64(112, 'milliseconds since 1970, for people'),
  number: u64(120, 'place in the ring = number modulo 128'),
  flags: u32(128, 'bit 0: closed cleanly, nothing follows in the journal'),
  memberCount,
  members: list(136, MEMBERS_MAX, memberFields, 'their ids', memberCount),
  parentMemberCount,
  parentMembers: list(252, MEMBERS_MAX, memberFields, 'their ids', parentMemberCount),
  treeLevel: u32(364, 'level of the topmost block'),
  treeAddress: u64(368, 'its address, 0 for an empty tree'),
  treeCrc: u32(376, 'its checksum'),
  journalSize: u32(380, 'bytes of journal in use on each quorum disk'),
  adminStart: u64(384, 'byte of the journal where the administrative tail begins'),
  dataStart: u64(392, 'byte of the journal where the data-path tail begins'),
  storeCount,
  nextStore: u32(404, 'number for the next one'),
  poolName: text(408, 64, 'name of the pool'),
  parentEpochNumber: u64(472, 'the number of the epoch this one follows'),
  stores: list(512, STORES_MAX, storeFields, 'where metadata blocks lie', storeCount),
  departures: list(3840, DEPARTURES_MAX, departureFields, 'where quorum disks were left behind, so that one that comes back much later is known to be stale'),
})

export interface Place {
  readonly disk: number
  readonly segment: number
}

/** A run of segments that holds metadata blocks, in several copies. */
export interface StoreEntry {
  readonly id: number
  readonly segments: number
  readonly places: readonly Place[]
}

export interface Root {
  readonly poolId: string
  readonly poolName: string
  readonly epoch: string
  readonly epochNumber: number
  readonly parentEpoch: string
  readonly parentEpochNumber: number
  readonly parentSequence: number
  readonly parentMembers: readonly string[]
  readonly sequence: number
  readonly generation: number
  readonly timeMs: number
  readonly number: number
  readonly clean: boolean
  readonly members: readonly string[]
  readonly tree: { readonly level: number; readonly address: number; readonly crc: number } | undefined
  readonly journalSize: number
  readonly adminStart: number
  readonly dataStart: number
  readonly nextStore: number
  readonly stores: readonly StoreEntry[]
  /** Newest last. */
  readonly departures: readonly Departure[]
}

export interface Departure {
  readonly epoch: string
  readonly epochNumber: number
  readonly sequence: number
}

export const rootAddress = (number: number): number => ROOTS_AT + (number % ROOT_COUNT) * BLOCK

const pad = <T>(items: readonly T[], count: number, filler: T): T[] => [...items, ...Array.from({ length: count - items.length }, () => filler)]
const memberList = (members: readonly string[]): { disk: string }[] =>
  pad(
    members.map(disk => ({ disk })),
    MEMBERS_MAX,
    { disk: NIL_UUID },
  )

export function encodeRoot(root: Root, diskId: string): Uint8Array {
  const block = rootFields.encode({
    ...root,
    crc: 0,
    magic: 0,
    diskId,
    address: rootAddress(root.number),
    flags: root.clean ? 1 : 0,
    memberCount: root.members.length,
    members: memberList(root.members),
    parentMemberCount: root.parentMembers.length,
    parentMembers: memberList(root.parentMembers),
    treeLevel: root.tree?.level ?? 0,
    treeAddress: root.tree?.address ?? 0,
    treeCrc: root.tree?.crc ?? 0,
    storeCount: root.stores.length,
    stores: pad(
      root.stores.map(store => ({
        id: store.id,
        segments: store.segments,
        copies: store.places.length,
        places: pad([...store.places], COPIES_MAX, { disk: 0, segment: 0 }),
      })),
      STORES_MAX,
      { id: 0, segments: 0, copies: 0, places: pad([], COPIES_MAX, { disk: 0, segment: 0 }) },
    ),
    departures: pad(root.departures, DEPARTURES_MAX, { epoch: NIL_UUID, epochNumber: 0, sequence: 0 }),
  })
  sealBlock('root', block)
  return block
}

/** @returns the root at `address`, or undefined when the block is torn, foreign, misdirected or empty */
export function decodeRoot(block: Uint8Array, address: number, poolId: string, diskId: string): Root | undefined {
  if (!isSealed('root', block)) return undefined
  const all = rootFields.decode(block)
  if (all.poolId !== poolId || all.diskId !== diskId || all.address !== address || rootAddress(all.number) !== address) return undefined
  if (all.memberCount > MEMBERS_MAX || all.parentMemberCount > MEMBERS_MAX || all.storeCount > STORES_MAX) return undefined
  return {
    poolId: all.poolId,
    poolName: all.poolName,
    epoch: all.epoch,
    epochNumber: all.epochNumber,
    parentEpoch: all.parentEpoch,
    parentEpochNumber: all.parentEpochNumber,
    parentSequence: all.parentSequence,
    parentMembers: all.parentMembers.map(m => m.disk),
    sequence: all.sequence,
    generation: all.generation,
    timeMs: all.timeMs,
    number: all.number,
    clean: (all.flags & 1) !== 0,
    members: all.members.map(m => m.disk),
    tree: all.treeAddress === 0 ? undefined : { level: all.treeLevel, address: all.treeAddress, crc: all.treeCrc },
    journalSize: all.journalSize,
    adminStart: all.adminStart,
    dataStart: all.dataStart,
    nextStore: all.nextStore,
    stores: all.stores.map(({ id, segments, places }) => ({ id, segments, places })),
    departures: all.departures.filter(departure => departure.epoch !== NIL_UUID),
  }
}
