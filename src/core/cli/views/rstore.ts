import type { RstoreDetail, RstoreSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'

export const rstoreColumns: readonly Column<RstoreSummary>[] = [
  { key: 'lun', kind: 'text', get: row => row.lun, about: 'the LUN it belongs to' },
  { key: 'store', kind: 'count', get: row => row.number, about: 'its number in the LUN' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type' },
  { key: 'bound', kind: 'count', get: row => row.bound, about: 'how many of its eight 1 MiB slices are bound' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'healthy, degraded or critical' },
  { key: 'disks', kind: 'text', get: row => row.disks, about: 'disks it lies on' },
]

export const rstoreView = (store: RstoreDetail): DetailView => ({
  details: [
    line('LUN', store.lun),
    line('store', store.number, 'count'),
    line('raid', store.raid),
    line('state', store.state, 'state'),
    line('bound slices', store.bound, 'count'),
    line('disks', store.disks),
  ],
  sections: [
    section('members', store.members, [
      { key: 'member', kind: 'count', get: row => row.member, about: 'place in the store' },
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
