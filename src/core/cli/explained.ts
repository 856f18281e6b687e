/** Error codes as things that can be listed and shown. */
import { errorTable, isErrorCode, type ErrorCode } from '../base/error-table.ts'
import { LunarError } from '../base/errors.ts'
import type { Column } from './columns.ts'
import { line, type DetailView } from './details.ts'
import { nearest } from './nearest.ts'

export interface ExplainedCode {
  readonly code: ErrorCode
  readonly exit: number
  readonly explain: string
  readonly fix: string
}

const codes = Object.keys(errorTable) as ErrorCode[]
const explained = (code: ErrorCode): ExplainedCode => ({ code, exit: errorTable[code].exit, explain: errorTable[code].explain, fix: errorTable[code].fix })

export const explainedList = (): ExplainedCode[] => codes.map(explained)

/** @param text the code in any letter case, with or without `ERR_`. @throws LunarError `ERR_CODE_NOT_FOUND` */
export function explainCode(text: string): ExplainedCode {
  const upper = text.toUpperCase().replaceAll('-', '_')
  const code = upper.startsWith('ERR_') ? upper : `ERR_${upper}`
  if (isErrorCode(code)) return explained(code)
  const guess = nearest(code, codes)
  throw new LunarError(
    'ERR_CODE_NOT_FOUND',
    `Cannot explain "${text}"`,
    guess === undefined ? {} : { why: `there is no such code; the nearest is ${guess}`, fix: `lunar explain ${guess}` },
  )
}

export const explainedColumns: readonly Column<ExplainedCode>[] = [
  { key: 'code', kind: 'text', get: row => row.code, about: 'the stable name of the error' },
  { key: 'exit', kind: 'count', get: row => row.exit, about: 'exit status of the command' },
  { key: 'explain', kind: 'text', get: row => row.explain, about: 'what happened' },
  { key: 'fix', kind: 'text', get: row => row.fix, about: 'what to do', extra: true },
]

export const explainedView = (row: ExplainedCode): DetailView => ({
  details: [line('code', row.code), line('exit status', row.exit, 'count'), line('means', row.explain), line('fix', row.fix)],
})
