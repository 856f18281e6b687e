import type { DiskDetail, DiskSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, type DetailView } from '../details.ts'

export const diskColumns: readonly Column<DiskSummary>[] = [
  { key: 'disk', kind: 'count', get: row => row.number, about: 'the number the disk keeps for life' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'normal, missing, merging, replacing, regenerating or failed' },
  { key: 'domain', kind: 'text', get: row => row.domain, about: 'failure domain' },
  { key: 'set', kind: 'count', get: row => row.redundancySet, about: 'redundancy set in its group' },
  { key: 'index', kind: 'count', get: row => row.redundancyIndex, about: 'index in the set; adjacent even and odd are a pair' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes of the disk' },
  { key: 'used', kind: 'size', get: row => row.used, about: 'bytes of segments in use' },
  { key: 'free', kind: 'size', get: row => row.free, about: 'bytes of segments that are free' },
  { key: 'stale', kind: 'size', get: row => row.stale, about: 'bytes written elsewhere while it was away' },
  { key: 'errors', kind: 'count', get: row => row.errors, about: 'I/O errors since the pool was opened' },
  { key: 'path', kind: 'text', get: row => row.path, about: 'where the disk was last seen' },
  { key: 'witness', kind: 'text', get: row => row.witness, about: 'votes, but holds no data', extra: true },
  { key: 'quorum', kind: 'text', get: row => row.quorum, about: 'holds a copy of the roots and the journal', extra: true },
  { key: 'id', kind: 'text', get: row => row.id, about: 'UUID of the disk', extra: true },
]

export const diskSummaryView = (disk: DiskSummary): DetailView => ({
  details: [
    line('disk', disk.number, 'count'),
    line('id', disk.id),
    line('path', disk.path),
    line('state', disk.state, 'state'),
    line('domain', disk.domain),
    line('redundancy set', disk.redundancySet, 'count'),
    line('redundancy index', disk.redundancyIndex, 'count'),
    line('witness', disk.witness),
    line('quorum', disk.quorum),
    line('size', disk.size, 'size'),
    line('used', disk.used, 'size'),
    line('free', disk.free, 'size'),
    line('stale', disk.stale, 'size'),
    line('errors', disk.errors, 'count'),
  ],
})

export const diskView = (disk: DiskDetail): DetailView => ({
  details: [
    ...diskSummaryView(disk).details,
    line('state since', disk.stateSince),
    line('added', disk.added),
    line('disk group', disk.ldad),
    line(
      'segments',
      `${disk.segments.total}: ${disk.segments.used} used, ${disk.segments.clean} clean, ${disk.segments.freed} freed, ${disk.segments.metadata} metadata`,
    ),
    line('roots at', disk.layout.rootsAt, 'size'),
    line('journal at', disk.layout.journalAt, 'size'),
    line('journal size', disk.layout.journalSize, 'size'),
    line('segments at', disk.layout.segmentsAt, 'size'),
    line('LUNs', disk.luns),
  ],
})
