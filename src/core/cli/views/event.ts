import type { EventView } from '../../server/api.ts'
import type { Column } from '../columns.ts'

export const eventColumns: readonly Column<EventView>[] = [
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the event' },
  { key: 'time', kind: 'text', get: row => row.time, about: 'when it happened' },
  { key: 'event', kind: 'text', get: row => row.event, about: 'its stable name' },
  { key: 'object', kind: 'text', get: row => row.object, about: 'what it happened to' },
  { key: 'message', kind: 'text', get: row => row.message, about: 'a sentence' },
]
