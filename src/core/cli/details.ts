/** One object as lines of `key: value`, with small lists below; what the `show` commands print. */
import { formatCell, isNumeric, type CellKind, type CellValue } from './cells.ts'
import type { Column } from './columns.ts'
import { writeLines } from './output.ts'
import { paintFor, paintState } from './paint.ts'
import type { Surroundings } from './surroundings.ts'

export interface Detail {
  readonly key: string
  readonly value: CellValue
  readonly kind: CellKind
}

/** A titled list below the lines. */
export interface Section {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  readonly right: readonly boolean[]
}

/** What a view makes of an object; sections are formatted when printed, so that `--bytes` reaches them. */
export interface DetailView {
  readonly details: readonly Detail[]
  readonly sections?: readonly ((bytes: boolean) => Section)[]
}

export const line = (key: string, value: CellValue, kind: CellKind = 'text'): Detail => ({ key, value, kind })

/** A section from the columns of a list. */
export function section<Row>(title: string, rows: readonly Row[], columns: readonly Column<Row>[]): (bytes: boolean) => Section {
  return bytes => ({
    title,
    columns: columns.map(column => column.key),
    rows: rows.map(row => columns.map(column => formatCell(column.get(row), column.kind, bytes))),
    right: columns.map(column => isNumeric(column.kind)),
  })
}

/** Writes the object to stdout. Sections without rows are left out. */
export async function writeDetails(around: Surroundings, view: DetailView, bytes: boolean): Promise<void> {
  const paint = await paintFor(around.stdout, around.env)
  const width = Math.max(0, ...view.details.map(detail => detail.key.length)) + 1
  const lines = view.details.map(({ key, value, kind }) => {
    const text = formatCell(value, kind, bytes)
    return `${paint.bold(`${key}:`.padEnd(width))} ${kind === 'state' ? paintState(paint, text) : text}`
  })
  for (const make of view.sections ?? []) {
    const { title, columns, rows, right } = make(bytes)
    if (rows.length === 0) continue
    const widths = columns.map((name, i) => Math.max(name.length, ...rows.map(row => row[i]!.length)))
    const format = (row: readonly string[]): string => row.map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('  ')
    lines.push('', paint.bold(`${title}:`), `  ${format(columns).trimEnd()}`, ...rows.map(row => `  ${format(row).trimEnd()}`))
  }
  await writeLines(around.stdout, lines)
}
