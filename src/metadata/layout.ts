import { alignUp, GIB, KIB, MIB } from '../core/base/units.ts'

/** The unit of metadata: labels, roots, tree blocks; journal blocks are a multiple of it. Bytes. */
export const BLOCK = 4096
/** A physical segment, PSEG: the unit of physical allocation (Compaq, paragraph 0059). Bytes. */
export const SEGMENT = 2 * MIB
export const FORMAT_VERSION = 1

export const LABEL_AT = 0
export const LOCK_RECORD_AT = BLOCK
export const ROOTS_AT = 64 * KIB
export const ROOT_COUNT = 128
export const JOURNAL_AT = ROOTS_AT + ROOT_COUNT * BLOCK
export const JOURNAL_SMALL = 16 * MIB
export const JOURNAL_LARGE = 64 * MIB
/** Disks from this size on have room for the large journal. */
const LARGE_JOURNAL_FROM = 16 * GIB
/** One record for each segment says who owns it (features.md A13). */
export const OWNER_RECORD = 64

export const DISK_SIZE_MIN = 64 * MIB
export const WITNESS_SIZE_MIN = 32 * MIB

export interface DiskLayout {
  readonly size: number
  readonly rootsAt: number
  readonly journalAt: number
  /** Bytes of room for the journal on this disk; the pool uses one size on all of its quorum disks. */
  readonly journalRoom: number
  readonly ownersAt: number
  readonly segmentsAt: number
  readonly segmentCount: number
  /** The second copy of the label. */
  readonly labelEndAt: number
}

/** Where things lie on a disk of `size` bytes; a witness has no segments. */
export function diskLayout(size: number, witness: boolean): DiskLayout {
  const journalRoom = !witness && size >= LARGE_JOURNAL_FROM ? JOURNAL_LARGE : JOURNAL_SMALL
  const ownersAt = JOURNAL_AT + journalRoom
  const labelEndAt = Math.floor(size / BLOCK) * BLOCK - BLOCK
  let segmentsAt = alignUp(ownersAt, MIB)
  let segmentCount = 0
  if (!witness) {
    segmentCount = Math.floor((labelEndAt - ownersAt) / SEGMENT)
    for (;;) {
      segmentsAt = alignUp(ownersAt + alignUp(segmentCount * OWNER_RECORD, BLOCK), MIB)
      if (segmentsAt + segmentCount * SEGMENT <= labelEndAt) break
      segmentCount--
    }
  }
  return { size, rootsAt: ROOTS_AT, journalAt: JOURNAL_AT, journalRoom, ownersAt, segmentsAt, segmentCount, labelEndAt }
}

/** How a journal of `size` bytes is shared by its two streams: [start, end) in bytes from the journal's start. */
export function journalStreams(size: number): { admin: Stream; data: Stream } {
  const admin = size / 4
  return { admin: { from: 0, to: admin }, data: { from: admin, to: size } }
}

export interface Stream {
  readonly from: number
  readonly to: number
}
