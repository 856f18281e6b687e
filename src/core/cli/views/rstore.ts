import type { RstoreCheck, RstoreDetail, RstoreSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'

export const rstoreColumns: readonly Column<RstoreSummary>[] = [
  { key: 'lun', kind: 'text', get: row => row.lun, about: 'the LUN it belongs to' },
  { key: 'store', kind: 'count', get: row => row.number, about: 'its number in the LUN' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type' },
  { key: 'bound', kind: 'count', get: row => row.bound, about: 'how many of its eight 1 MiB slices are bound' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'healthy, degraded or critical' },
  { key: 'disks', kind: 'text', get: row => row.disks, about: 'disks it lies on' },
  { key: 'parity', kind: 'count', get: row => row.parity, about: 'disk that holds its parity' },
  { key: 'astride', kind: 'text', get: row => row.astride, about: 'its disks are of several redundancy sets' },
]

export const rstoreView = (store: RstoreDetail): DetailView => ({
  details: [
    line('LUN', store.lun),
    line('store', store.number, 'count'),
    line('raid', store.raid),
    line('state', store.state, 'state'),
    line('bound slices', store.bound, 'count'),
    line('disks', store.disks),
    line('astride sets', store.astride),
  ],
  sections: [
    section('members', store.members, [
      { key: 'member', kind: 'count', get: row => row.member, about: 'place in the store' },
      {
        key: 'role',
        kind: 'text',
        get: row => (row.role === 'parity' ? 'parity' : row.role === 'copy' ? `copy of column ${row.column}` : `column ${row.column}`),
        about: 'column, copy of a column, or parity',
      },
      { key: 'disk', kind: 'count', get: row => row.disk, about: 'number of the disk' },
      { key: 'segment', kind: 'count', get: row => row.segment, about: 'segment on the disk' },
      { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the disk' },
      { key: 'state', kind: 'state', get: row => row.state, about: 'state of the disk' },
      { key: 'stale', kind: 'count', get: row => row.staleSlices, about: 'slices still to be copied' },
    ]),
    section('slices', store.slices, [
      { key: 'slice', kind: 'count', get: row => row.slice, about: 'place in the store' },
      { key: 'address', kind: 'size', get: row => row.address, about: 'bytes from the start of the LUN' },
      { key: 'open', kind: 'text', get: row => row.open, about: 'being written: copies may differ after a crash' },
    ]),
  ],
})

export const rstoreCheckView = (check: RstoreCheck): DetailView => {
  const size = (name: string, bytes: number): ReturnType<typeof line>[] => (bytes > 0 ? [line(name, bytes, 'size')] : [])
  return {
    details: [
      line('LUN', check.lun),
      ...(check.store === null ? [] : [line('store', check.store, 'count')]),
      line('compared', check.compared, 'size'),
      ...size('not compared, no redundancy', check.unchecked.noRedundancy),
      ...size('not compared, a member is away', check.unchecked.memberAway),
      ...size('not compared, resync is due', check.unchecked.resyncPending),
      line('differs', check.differs, 'size'),
      line('unreadable on one member', check.unreadable, 'size'),
      line('lost', check.lost, 'size'),
      ...(check.unlisted > 0 ? [line('ranges not listed', check.unlisted, 'count')] : []),
    ],
    sections: [
      section('ranges', check.ranges, [
        { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the LUN' },
        { key: 'length', kind: 'size', get: row => row.length, about: 'how many bytes' },
        { key: 'state', kind: 'text', get: row => row.state, about: 'differs, unreadable or lost' },
        { key: 'store', kind: 'count', get: row => row.store, about: 'redundant store' },
        { key: 'members', kind: 'text', get: row => row.members, about: 'members that do not fit together, or do not give it' },
        { key: 'disks', kind: 'text', get: row => row.disks, about: 'their disks' },
      ]),
    ],
  }
}
