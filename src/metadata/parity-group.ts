/** A group of the parity log on disk: header blocks that say what is in it, then the bytes. Pure. */
import { LunarError } from '../core/base/errors.ts'
import { SECTOR } from '../core/base/units.ts'
import { hasMagic, isSealed, sealBlock } from './block.ts'
import { BLOCK, SEGMENT } from './layout.ts'
import { struct, u16, u32, u64, u8, uuid } from './struct.ts'

/** What the header begins with; the entries follow, each with its pieces behind it. */
export const parityGroupFields = struct('parityGroup', 80, {
  crc: u32(0, 'crc32c of bytes 4 to the end of the group, seeded with the kind'),
  magic: u32(4, 'GOLP'),
  poolId: uuid(8, 'pool'),
  diskId: uuid(24, 'disk'),
  sequence: u64(40, 'number of the group: one more than that of the group before'),
  tail: u64(48, 'number of the oldest group that counts; its own when none before it does'),
  at: u32(56, 'block of the ring where it begins'),
  before: u32(60, 'block of the ring where the group before it begins'),
  blocks: u32(64, 'blocks, the header included'),
  headerBlocks: u16(68, 'blocks of the header'),
  entryCount: u16(70, 'entries'),
})

export const parityEntryFields = struct('parityEntry', 16, {
  lun: u32(0, 'LUN'),
  store: u32(4, 'redundant store'),
  generation: u32(8, 'its allocation generation: an entry of another one means nothing'),
  slice: u8(12, 'slice of the store'),
  kind: u8(13, '0: bytes to be written; 1: older entries of these member addresses do not count'),
  pieces: u16(14, 'pieces that follow'),
})

export const parityPieceFields = struct('parityPiece', 12, {
  at: u32(0, "byte of the member's segment"),
  length: u32(4, 'bytes, a multiple of 512; as many follow in the payload, in the order of the pieces, when the entry has bytes'),
  member: u8(8, 'member of the store, 4 is the parity'),
})

/** What identifies a redundant store for as long as it is allocated. */
export interface LogKey {
  readonly lun: number
  readonly store: number
  readonly generation: number
}

/** Bytes that are to lie at a place of a member. */
export interface LogPiece {
  readonly member: number
  /** Byte of the member's segment, a multiple of 512. */
  readonly at: number
  readonly bytes: Uint8Array
}

/** An entry that is logged: pieces; or, with `voids`, the range of member addresses whose older entries do not count any more. */
export interface GroupEntry {
  readonly key: LogKey
  readonly slice: number
  readonly pieces: readonly LogPiece[]
  readonly voids?: AddressRange
}

/** Member addresses of a store: the same bytes of every member's segment. */
export interface AddressRange {
  readonly from: number
  readonly to: number
}

export interface GroupIdentity {
  readonly poolId: string
  readonly diskId: string
}

export interface GroupHeader {
  readonly sequence: number
  readonly tail: number
  readonly at: number
  readonly before: number
  readonly blocks: number
  readonly headerBlocks: number
  readonly entryCount: number
}

const PIECES = 0
const VOID = 1
/** Of a parity store. */
const MEMBERS = 5
const SLICES_OF_STORE = 8

/** Bytes that an entry takes in the header and in the payload. */
export function entrySize({ pieces, voids }: GroupEntry): { header: number; payload: number } {
  let payload = 0
  for (const { bytes } of pieces) payload += bytes.length
  return { header: parityEntryFields.size + parityPieceFields.size * (voids ? 1 : pieces.length), payload }
}

/** Blocks of a group whose entries take so many bytes. */
export function groupBlocks(header: number, payload: number): { headerBlocks: number; blocks: number } {
  const headerBlocks = Math.ceil((parityGroupFields.size + header) / BLOCK)
  return { headerBlocks, blocks: headerBlocks + Math.ceil(payload / BLOCK) }
}

/** Fills `target`, of `header.blocks` blocks, with a sealed group. */
export function encodeGroup(target: Uint8Array, identity: GroupIdentity, header: GroupHeader, entries: readonly GroupEntry[]): void {
  target.fill(0, 0, header.headerBlocks * BLOCK)
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
  parityGroupFields.encodeView(view, 0, { crc: 0, magic: 0, ...identity, ...header })
  let at = parityGroupFields.size
  let payload = header.headerBlocks * BLOCK
  for (const { key, slice, pieces, voids } of entries) {
    const { lun, store, generation } = key
    parityEntryFields.encodeView(view, at, { lun, store, generation, slice, kind: voids ? VOID : PIECES, pieces: voids ? 1 : pieces.length })
    at += parityEntryFields.size
    if (voids) {
      parityPieceFields.encodeView(view, at, { at: voids.from, length: voids.to - voids.from, member: 0 })
      at += parityPieceFields.size
    }
    for (const piece of pieces) {
      parityPieceFields.encodeView(view, at, { at: piece.at, length: piece.bytes.length, member: piece.member })
      at += parityPieceFields.size
      target.set(piece.bytes, payload)
      payload += piece.bytes.length
    }
  }
  target.fill(0, payload)
  sealBlock('parityLog', target)
}

/** What a block says when it looks like the header of a group of this disk at this place: only `isGroup` says that it is one. */
export function headerAt(block: Uint8Array, identity: GroupIdentity, at: number, ringBlocks: number): GroupHeader | undefined {
  if (!hasMagic('parityLog', block)) return undefined
  let fields
  try {
    fields = parityGroupFields.decode(block)
  } catch {
    return undefined // a number above 2^53: no group begins here
  }
  const { poolId, diskId, sequence, tail, before, blocks, headerBlocks, entryCount } = fields
  if (poolId !== identity.poolId || diskId !== identity.diskId || fields.at !== at) return undefined
  if (tail > sequence || headerBlocks < 1 || headerBlocks > blocks || at + blocks > ringBlocks || before >= ringBlocks) return undefined
  return { sequence, tail, at, before, blocks, headerBlocks, entryCount }
}

/** Whether the bytes of a whole group are those that were written. */
export const isGroup = (bytes: Uint8Array): boolean => isSealed('parityLog', bytes)

/** The entries of a group that `isGroup`; their bytes are parts of `bytes`. @throws LunarError `ERR_METADATA_DAMAGED` when no such group was ever written */
export function decodeEntries(bytes: Uint8Array, header: GroupHeader): GroupEntry[] {
  const entries: GroupEntry[] = []
  let at = parityGroupFields.size
  const headerEnd = header.headerBlocks * BLOCK
  let payload = headerEnd
  for (let i = 0; i < header.entryCount; i++) {
    requires(at + parityEntryFields.size <= headerEnd)
    const { lun, store, generation, slice, kind, pieces: count } = parityEntryFields.decode(bytes, at)
    at += parityEntryFields.size
    const pieces: LogPiece[] = []
    let voids: AddressRange | undefined
    requires(at + count * parityPieceFields.size <= headerEnd && kind <= VOID && slice < SLICES_OF_STORE)
    for (let p = 0; p < count; p++) {
      const piece = parityPieceFields.decode(bytes, at)
      at += parityPieceFields.size
      if (kind === VOID) voids = { from: piece.at, to: piece.at + piece.length }
      else {
        requires(payload + piece.length <= bytes.length && piece.at + piece.length <= SEGMENT && piece.member < MEMBERS)
        pieces.push({ member: piece.member, at: piece.at, bytes: bytes.subarray(payload, payload + piece.length) })
        payload += piece.length
      }
    }
    entries.push({ key: { lun, store, generation }, slice, pieces, ...(voids ? { voids } : {}) })
  }
  return entries
}

function requires(sound: boolean): void {
  if (!sound) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a group of the parity log', { why: 'what its header says cannot be' })
}

/** What is left of pieces, oldest range first, when some member addresses do not count. */
export function withoutVoided(pieces: readonly LogPiece[], voids: readonly AddressRange[]): LogPiece[] {
  let left = [...pieces]
  for (const { from, to } of voids) {
    left = left.flatMap(({ member, at, bytes }) => {
      const end = at + bytes.length
      if (end <= from || to <= at) return [{ member, at, bytes }]
      const kept: LogPiece[] = []
      if (at < from) kept.push({ member, at, bytes: bytes.subarray(0, from - at) })
      if (to < end) kept.push({ member, at: to, bytes: bytes.subarray(to - at) })
      return kept
    })
  }
  return left
}

/** Whether a piece can be logged: whole sectors. */
export const isWholeSectors = ({ at, bytes }: LogPiece): boolean => at % SECTOR === 0 && bytes.length > 0 && bytes.length % SECTOR === 0
