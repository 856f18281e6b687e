import type { HistoryView } from '../../server/api.ts'
import type { Column } from '../columns.ts'

export const historyColumns: readonly Column<HistoryView>[] = [
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the change' },
  { key: 'time', kind: 'text', get: row => row.time, about: 'when it began' },
  { key: 'user', kind: 'text', get: row => row.user, about: 'who made it' },
  { key: 'result', kind: 'text', get: row => row.result, about: 'ok, or the code of the error' },
  { key: 'command', kind: 'text', get: row => row.command, about: 'what was typed, or the program' },
  { key: 'duration', kind: 'count', get: row => row.duration, about: 'milliseconds that it took', extra: true },
  { key: 'uid', kind: 'count', get: row => row.uid, about: 'number of the user', extra: true },
  { key: 'verb', kind: 'text', get: row => row.verb, about: 'what was called', extra: true },
  { key: 'parameters', kind: 'text', get: row => row.parameters, about: 'with what, as JSON', extra: true },
]
