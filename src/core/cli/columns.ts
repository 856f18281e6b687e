/** Which columns a list shows and how its rows are ordered: `-o name,size`, `-o +used,-id`, `--sort -size,name`. */
import { LunarError } from '../base/errors.ts'
import { compareCells, type CellKind, type CellValue } from './cells.ts'

export interface Column<Row> {
  /** What `-o` and `--sort` call it; the header is the same in capitals. */
  readonly key: string
  readonly kind: CellKind
  readonly get: (row: Row) => CellValue
  /** One line for `-o help`. */
  readonly about: string
  /** Shown only when asked for. */
  readonly extra?: boolean
}

/**
 * Reads `-o`. Plain names replace the usual columns and set their order; `+name` adds to them, `-name` takes away.
 *
 * @throws LunarError `ERR_USAGE` for a column that the list does not have, or when none is left
 */
export function chooseColumns<Row>(all: readonly Column<Row>[], wanted: string | undefined): readonly Column<Row>[] {
  const usual = all.filter(column => !column.extra)
  if (wanted === undefined) return usual
  const words = wanted.split(',').map(word => word.trim())
  let chosen: Column<Row>[] = words.some(word => !/^[+-]/.test(word)) ? [] : [...usual]
  for (const word of words) {
    const column = findColumn(all, word.replace(/^[+-]/, ''), '-o')
    chosen = chosen.filter(other => other !== column)
    if (!word.startsWith('-')) chosen.push(column)
  }
  if (chosen.length === 0)
    throw new LunarError('ERR_USAGE', `Cannot show the list: -o ${wanted} leaves no column`, {
      why: `there are: ${keysOf(all)}`,
      fix: '-o help lists the columns',
    })
  return chosen
}

/**
 * Orders rows by `--sort`; the first column counts most, `-` turns one round. Rows that are equal keep their order.
 *
 * @throws LunarError `ERR_USAGE` for a column that the list does not have
 */
export function sortRows<Row>(rows: readonly Row[], all: readonly Column<Row>[], order: string | undefined): readonly Row[] {
  if (order === undefined) return rows
  const keys = order.split(',').map(word => {
    const name = word.trim()
    return { column: findColumn(all, name.replace(/^[+-]/, ''), '--sort'), sign: name.startsWith('-') ? -1 : 1 }
  })
  return [...rows].sort((a, b) => {
    for (const { column, sign } of keys) {
      const difference = compareCells(column.get(a), column.get(b))
      if (difference !== 0) return difference * sign
    }
    return 0
  })
}

function findColumn<Row>(all: readonly Column<Row>[], key: string, flag: string): Column<Row> {
  const column = all.find(candidate => candidate.key === key)
  if (!column)
    throw new LunarError('ERR_USAGE', `Cannot use ${flag}: there is no column "${key}"`, { why: `there are: ${keysOf(all)}`, fix: '-o help lists the columns' })
  return column
}

const keysOf = (all: readonly Column<never>[]): string => all.map(column => column.key).join(', ')

/** The rows of `-o help`. */
export interface ColumnHelp {
  readonly column: string
  readonly shown: boolean
  readonly about: string
}

export const columnHelp = <Row>(all: readonly Column<Row>[]): ColumnHelp[] =>
  all.map(column => ({ column: column.key, shown: !column.extra, about: column.about }))

export const columnHelpColumns: readonly Column<ColumnHelp>[] = [
  { key: 'column', kind: 'text', get: row => row.column, about: 'name for -o and --sort' },
  { key: 'shown', kind: 'text', get: row => row.shown, about: 'whether the list shows it without -o' },
  { key: 'about', kind: 'text', get: row => row.about, about: 'what it holds' },
]
