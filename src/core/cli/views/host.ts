import type { HostDetail, HostSummary, PresentationView } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'
import { heldText } from './held.ts'
import { settingsSection } from './pool.ts'

export const hostColumns: readonly Column<HostSummary>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the host' },
  { key: 'volumes', kind: 'count', get: row => row.volumes, about: 'volumes it reaches' },
  { key: 'created', kind: 'text', get: row => row.created, about: 'when it was added', extra: true },
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the host', extra: true },
  { key: 'id', kind: 'text', get: row => row.id, about: 'UUID of the host', extra: true },
]

const presentationColumns: readonly Column<PresentationView>[] = [
  { key: 'volume', kind: 'text', get: row => row.volume, about: 'LUN, snapshot or write-once device' },
  { key: 'access', kind: 'text', get: row => `${row.readOnly ? 'read-only' : 'read-write'}${row.shared ? ', shared' : ''}`, about: 'what the host may do' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes' },
  { key: 'since', kind: 'text', get: row => row.since, about: 'when it was first presented' },
]

export const hostView = (host: HostDetail): DetailView => ({
  details: [
    line('name', host.name),
    line('number', host.number, 'count'),
    line('id', host.id),
    line('created', host.created),
    line('held back', heldText(host.held)),
  ],
  sections: [section('volumes', host.presentations, presentationColumns), settingsSection(host.settings)],
})
