/** Lists whose rows come one by one, for as long as somebody reads them. */
import { isCode } from '../base/errors.ts'
import { formatCell, isNumeric } from './cells.ts'
import type { Column } from './columns.ts'
import { writeAll } from './output.ts'
import type { Surroundings } from './surroundings.ts'
import type { TableOptions } from './table.ts'

export interface StreamOptions extends TableOptions {
  /** An object a line. */
  readonly json: boolean
}

/** Writes each row at once; a column is as wide as the widest cell so far. Ends with the rows, or when the reader of stdout has gone. */
export async function writeStream<Row>(around: Surroundings, rows: AsyncIterable<Row>, columns: readonly Column<Row>[], options: StreamOptions): Promise<void> {
  const header = columns.map(column => column.key.toUpperCase())
  const widths = header.map(title => title.length)
  const write = (line: string): Promise<void> => writeAll(around.stdout, `${line}\n`)
  const padded = (cells: readonly string[]): string => {
    for (const [i, cell] of cells.entries()) widths[i] = Math.max(widths[i]!, cell.length)
    return cells
      .map((cell, i) => (isNumeric(columns[i]!.kind) ? cell.padStart(widths[i]!) : i === cells.length - 1 ? cell : cell.padEnd(widths[i]!)))
      .join('  ')
  }
  let headed = options.json || options.tabs === true
  try {
    for await (const row of rows) {
      if (options.json) {
        await write(JSON.stringify(row))
        continue
      }
      const cells = columns.map(column => formatCell(column.get(row), column.kind, options.bytes ?? false))
      const line = options.tabs ? cells.join('\t') : padded(cells)
      if (!headed) await write(padded(header))
      headed = true
      await write(line)
    }
  } catch (error) {
    if (!isCode(error, 'ERR_PIPE_CLOSED')) throw error
  }
}
