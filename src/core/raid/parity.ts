/** How a write to rows of a raid5 store is done: pure, no I/O. */
import { COLUMNS, PARITY_MEMBER, ROW, UNIT } from './geometry.ts'

/**
 * How the parity of a range of member addresses is made:
 * - `full`: the XOR of the new bytes of all columns;
 * - `modify`: the XOR of the old parity, and the old and new bytes of the columns that are written;
 * - `reconstruct`: the XOR of the new bytes and of the columns that are not written;
 * - `none`: not at all, the parity is away or stale.
 */
export type ParityWay = 'full' | 'modify' | 'reconstruct' | 'none'

/** A range of member addresses in which the same columns are written. */
export interface RowSegment {
  /** Byte of the member segment. */
  readonly at: number
  /** Bytes, above 0. */
  readonly length: number
  /** Columns whose bytes are written, ascending; the one that is unavailable is among them when its bytes are. */
  readonly touched: readonly number[]
  readonly way: ParityWay
  /** Members to read over the whole of the range first, ascending. None of them is unavailable. */
  readonly reads: readonly number[]
}

/** What a write does to a row, or to whole rows that follow each other. */
export interface RowPlan {
  /** Byte of the store and length in bytes: the part of the write that lies in these rows. */
  readonly at: number
  readonly length: number
  /** Every byte of the rows is written. */
  readonly whole: boolean
  /** One to three, by address; they do not overlap. */
  readonly segments: readonly RowSegment[]
}

const ALL_COLUMNS: readonly number[] = Array.from({ length: COLUMNS }, (_, column) => column)

/** The byte of the store that is byte `at` of a column's segment. */
export const byteOfStore = (column: number, at: number): number => Math.floor(at / UNIT) * ROW + column * UNIT + (at % UNIT)

/**
 * @param at byte of the store, length in bytes above 0; the range ends inside of the store
 * @param unavailable the member that is away or stale in all of the range, `PARITY_MEMBER` for the parity. With two of them nothing may be
 *   written, so there is no plan for that.
 * @returns plans in order of address; whole rows that follow each other are one
 */
export function planRows(at: number, length: number, unavailable: number | undefined): RowPlan[] {
  const plans: RowPlan[] = []
  const end = at + length
  for (let from = at; from < end;) {
    const row = Math.floor(from / ROW)
    const wholeRows = from === row * ROW ? Math.floor((end - from) / ROW) : 0
    const to = wholeRows > 0 ? from + wholeRows * ROW : Math.min(end, (row + 1) * ROW)
    const segments = wholeRows > 0 ? [segmentOf(row * UNIT, wholeRows * UNIT, ALL_COLUMNS, unavailable)] : partOfRow(from, to, row, unavailable)
    plans.push({ at: from, length: to - from, whole: wholeRows > 0, segments })
    from = to
  }
  return plans
}

/** A write that begins at offset x of a unit and ends at offset y of one touches other columns from x and from y on. */
function partOfRow(from: number, to: number, row: number, unavailable: number | undefined): RowSegment[] {
  const [begin, end] = [from - row * ROW, to - row * ROW]
  const edges = [0, begin % UNIT, end % UNIT, UNIT].sort((a, b) => a - b)
  const segments: RowSegment[] = []
  for (let i = 1; i < edges.length; i++) {
    const [x, y] = [edges[i - 1]!, edges[i]!]
    const touched = x < y ? ALL_COLUMNS.filter(column => begin <= column * UNIT + x && column * UNIT + y <= end) : []
    if (touched.length > 0) segments.push(segmentOf(row * UNIT + x, y - x, touched, unavailable))
  }
  return segments
}

function segmentOf(at: number, length: number, touched: readonly number[], unavailable: number | undefined): RowSegment {
  if (unavailable === PARITY_MEMBER) return { at, length, touched, way: 'none', reads: [] }
  if (touched.length === COLUMNS) return { at, length, touched, way: 'full', reads: [] }
  const others = ALL_COLUMNS.filter(column => !touched.includes(column))
  const fewer = touched.length + 1 < others.length ? 'modify' : 'reconstruct'
  const way = unavailable === undefined ? fewer : touched.includes(unavailable) ? 'reconstruct' : 'modify'
  return { at, length, touched, way, reads: way === 'modify' ? [...touched, PARITY_MEMBER] : others }
}
