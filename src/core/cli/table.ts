/**
 * Lists as text. A box on a terminal for up to 200 rows; plain columns otherwise, because cli-table3 takes 5 s for
 * 10,000 rows and scripts want no boxes; tabs without a header with `-H`.
 */
import { formatCell, isNumeric } from './cells.ts'
import type { Column } from './columns.ts'
import { writeAll, writeLines } from './output.ts'
import { paintFor, paintState } from './paint.ts'
import { isFancy, type Surroundings } from './surroundings.ts'

export const BOX_ROWS_MAX = 200
/** Of a terminal that does not know its width. */
const COLUMNS_USUAL = 80

export interface TableOptions {
  /** `-H`: no header, one tab between cells. */
  readonly tabs?: boolean
  /** `--bytes`: sizes as whole numbers. */
  readonly bytes?: boolean
}

/** Writes the list to stdout; resolves when all of it is taken. */
export async function writeTable<Row>(around: Surroundings, rows: readonly Row[], columns: readonly Column<Row>[], options: TableOptions): Promise<void> {
  const bytes = options.bytes ?? false
  const cells = rows.map(row => columns.map(column => formatCell(column.get(row), column.kind, bytes)))
  if (options.tabs)
    return writeLines(
      around.stdout,
      map(cells, row => row.join('\t')),
    )
  if (rows.length <= BOX_ROWS_MAX && isFancy(around.stdout, around.env)) return writeBox(around, cells, columns)
  return writeLines(around.stdout, plainLines(cells, columns))
}

/** Columns as wide as their widest cell, two spaces apart, numbers to the right. */
function* plainLines<Row>(cells: readonly string[][], columns: readonly Column<Row>[]): Generator<string> {
  const header = columns.map(column => column.key.toUpperCase())
  const widths = naturalWidths(cells, header)
  const right = columns.map(column => isNumeric(column.kind))
  const line = (row: readonly string[]): string => {
    let text = ''
    for (let i = 0; i < row.length; i++) {
      const cell = row[i]!
      const width = widths[i]!
      text += (i === 0 ? '' : '  ') + (right[i] ? cell.padStart(width) : i === row.length - 1 ? cell : cell.padEnd(width))
    }
    return text
  }
  yield line(header)
  for (const row of cells) yield line(row)
}

async function writeBox<Row>(around: Surroundings, cells: readonly string[][], columns: readonly Column<Row>[]): Promise<void> {
  const { default: Table } = await import('cli-table3')
  const paint = await paintFor(around.stdout, around.env)
  const header = columns.map(column => column.key.toUpperCase())
  const table = new Table({
    head: header.map(title => paint.bold(title)),
    colAligns: columns.map(column => (isNumeric(column.kind) ? 'right' : 'left')),
    colWidths: fitWidths(naturalWidths(cells, header), columns, around.stdout.columns || COLUMNS_USUAL),
    style: { head: [], border: [], compact: true },
    wordWrap: true,
  })
  for (const row of cells) table.push(row.map((cell, i) => (columns[i]!.kind === 'state' ? paintState(paint, cell) : cell)))
  await writeAll(around.stdout, table.toString() + '\n')
}

function naturalWidths(cells: readonly string[][], header: readonly string[]): number[] {
  const widths = header.map(title => title.length)
  for (const row of cells) {
    for (let i = 0; i < row.length; i++) if (row[i]!.length > widths[i]!) widths[i] = row[i]!.length
  }
  return widths
}

/**
 * Widths with the box's padding that fit into a terminal: the widest text columns give way, down to 8 characters.
 *
 * @param width characters of the terminal
 */
export function fitWidths<Row>(natural: readonly number[], columns: readonly Column<Row>[], width: number): number[] {
  const widths = [...natural]
  let excess = widths.reduce((sum, each) => sum + each + 3, 1) - width
  while (excess > 0) {
    let widest = -1
    for (let i = 0; i < widths.length; i++) {
      if (columns[i]!.kind === 'text' && widths[i]! > 8 && (widest === -1 || widths[i]! > widths[widest]!)) widest = i
    }
    if (widest === -1) break
    widths[widest]!--
    excess--
  }
  return widths.map(each => each + 2)
}

function* map<A, B>(items: Iterable<A>, to: (item: A) => B): Generator<B> {
  for (const item of items) yield to(item)
}
