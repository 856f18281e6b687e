import { KIB, MIB } from '../base/units.ts'

/** Stripe unit: what lies on one disk before the next one comes. Bytes (hazard 36). */
export const UNIT = 64 * KIB
export const COLUMNS = 4
/** A row: one unit on each column. Bytes. */
export const ROW = COLUMNS * UNIT
/** A slice (RSEG): four whole rows, the unit of binding. Bytes. */
export const SLICE = MIB
export const SLICES = 8
/** Address space of a redundant store (Compaq, paragraphs 0072 to 0074). Bytes. */
export const STORE = SLICES * SLICE
/** What a slice takes on each member. Bytes. */
export const SLICE_ON_MEMBER = SLICE / COLUMNS

/** How many copies of each column a redundancy type keeps. */
export const copiesOf = { raid0: 1, raid1: 2, raid5: 1 } as const
export type Redundancy = keyof typeof copiesOf
/** Members that hold parity: they come after the copies of the columns. Parity at a byte of its segment is of the same byte of each column. */
export const parityCount = { raid0: 0, raid1: 0, raid5: 1 } as const
/** Disks that a store may lose without losing a byte. */
export const survivesOf = { raid0: 0, raid1: 1, raid5: 1 } as const
export const memberCount = (raid: Redundancy): number => COLUMNS * copiesOf[raid] + parityCount[raid]
/** The member that holds the parity of a raid5 store. */
export const PARITY_MEMBER = COLUMNS

/** A part of a request that lies contiguously on one column. */
export interface ColumnPart {
  readonly column: number
  /** Byte of the member segment. */
  readonly at: number
  readonly length: number
}

/**
 * Cuts a range of a store's address space into one contiguous range per column: whole units of following rows lie one
 * after the other on their column.
 *
 * @param at byte of the store, length in bytes above 0; the range ends inside of the store
 * @returns at most one part a column, in column order; their lengths add up to `length`
 */
export function columnParts(at: number, length: number): ColumnPart[] {
  const parts: ColumnPart[] = []
  const end = at + length
  for (let column = 0; column < COLUMNS; column++) {
    const from = onColumn(at, column)
    const to = onColumn(end, column)
    if (to > from) parts.push({ column, at: from, length: to - from })
  }
  return parts
}

/** How many bytes of a column lie before byte `at` of the store. */
function onColumn(at: number, column: number): number {
  const row = Math.floor(at / ROW)
  const inRow = at - row * ROW
  return row * UNIT + Math.min(UNIT, Math.max(0, inRow - column * UNIT))
}

/** The pieces of `buffer`, which holds the store's bytes from `at` on, that belong to one column, in order. */
export function columnPieces(buffer: Uint8Array, at: number, column: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  const end = at + buffer.length
  for (let row = Math.floor(at / ROW); row * ROW < end; row++) {
    const from = Math.max(at, row * ROW + column * UNIT)
    const to = Math.min(end, row * ROW + (column + 1) * UNIT)
    if (to > from) pieces.push(buffer.subarray(from - at, to - at))
  }
  return pieces
}
