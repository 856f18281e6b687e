import type { Partition } from '../../lun/partitions.ts'
import type { LunDetail, LunSummary, LunTypeRange, MapExtent } from '../../server/api.ts'
import { formatVolumeId } from '../../server/volume-id.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'
import { heldText } from './held.ts'
import { layerSections } from './layers.ts'
import { settingsSection } from './pool.ts'
import { lunRelationshipColumns } from './relationship.ts'

export const lunColumns: readonly Column<LunSummary>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the LUN' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes users see' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type; those of its ranges' },
  { key: 'bound', kind: 'size', get: row => row.bound, about: 'bytes that were written, in slices of 1 MiB' },
  { key: 'used', kind: 'size', get: row => row.used, about: 'bytes on disks, redundancy included' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'how the LUN is' },
  { key: 'stripe', kind: 'text', get: stripeText, about: 'redundant stores that are interleaved; by range', extra: true },
  { key: 'thin', kind: 'text', get: row => row.thin, about: 'takes space when written', extra: true },
  { key: 'created', kind: 'text', get: row => row.created, about: 'when the LUN was made', extra: true },
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the LUN', extra: true },
  { key: 'id', kind: 'text', get: row => row.id, about: 'UUID of the LUN', extra: true },
  { key: 'volume-id', kind: 'text', get: row => formatVolumeId({ lun: row.id, partition: 0 }), about: 'id of the volume for DcsPM functions', extra: true },
]

function stripeText({ ranges }: LunSummary): string {
  return [...new Set(ranges.map(({ stripe = 1 }) => stripe))].join('+')
}

/** A LUN, or a partition inside of it, as its volume id means it. */
export interface VolumeDetail extends LunDetail {
  readonly volumeId: string
  readonly partition: Partition | null
}

export function volumeView(volume: VolumeDetail): DetailView {
  const view = lunView(volume)
  const { partition } = volume
  const inside = partition
    ? [
        line('partition', partition.number, 'count'),
        line('partition table', partition.table),
        line('partition type', partition.type),
        line('partition name', partition.name),
        line('partition offset', partition.offset, 'size'),
        line('partition length', partition.length, 'size'),
      ]
    : []
  return { ...view, details: [...view.details, line('volume id', volume.volumeId), ...inside] }
}

const rangeColumns: readonly Column<LunTypeRange>[] = [
  { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the LUN' },
  { key: 'length', kind: 'size', get: row => row.length, about: 'bytes; none: without an end' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type' },
  { key: 'stripe', kind: 'count', get: row => row.stripe ?? 1, about: 'redundant stores that are interleaved' },
]

const lunView = (lun: LunDetail): DetailView => ({
  details: [
    line('name', lun.name),
    line('state', lun.state, 'state'),
    line('health', lun.health, 'state'),
    line('size', lun.size, 'size'),
    line('raid', lun.raid),
    line('stripe', stripeText(lun)),
    line('thin', lun.thin),
    line('protected', lun.protected),
    line('bound', lun.bound, 'size'),
    line('used', lun.used, 'size'),
    line('lost', lun.lost, 'size'),
    line('stale', lun.stale, 'size'),
    line('redundant stores', lun.stores, 'count'),
    line('disk group', lun.ldad),
    line('number', lun.number, 'count'),
    line('id', lun.id),
    line('created', lun.created),
    line('held back', heldText(lun.held)),
  ],
  sections: [
    // One range is the line above.
    ...(lun.ranges.length > 1 ? [section('ranges', lun.ranges, rangeColumns)] : []),
    section('disks', lun.disks, [
      { key: 'disk', kind: 'count', get: row => row.disk, about: 'number' },
      { key: 'used', kind: 'size', get: row => row.used, about: 'bytes of segments in use' },
    ]),
    section('relationships', lun.relationships, lunRelationshipColumns),
    settingsSection(lun.settings),
    ...layerSections(lun.layers),
  ],
})

export const mapColumns: readonly Column<MapExtent>[] = [
  { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the LUN' },
  { key: 'length', kind: 'size', get: row => row.length, about: 'bytes' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'bound, unbound, degraded (one copy missing) or lost (refused)' },
  { key: 'store', kind: 'count', get: row => row.store, about: 'redundant store that holds it' },
  { key: 'disks', kind: 'text', get: row => row.disks, about: 'disks that hold it' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type' },
]
