import type { ByteRange, RelationshipSummary, RotatedSnapshot, SnapshotDetail, SnapshotSummary, StoreDetail, StoreSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'

/** A row of `snap list`: relationships, and snapshots in the same words. */
export type SnapRow = RelationshipSummary | SnapshotRow

/** A snapshot as an image of its source. */
export interface SnapshotRow extends SnapshotSummary {
  readonly image: string
  readonly process: null
  readonly completePercent: null
  readonly differentPercent: null
  readonly asOf: string
  readonly cost: null
  readonly lessRedundant: null
}

export const snapshotRow = (snapshot: SnapshotSummary): SnapshotRow => ({
  ...snapshot,
  image: snapshot.name,
  process: null,
  completePercent: null,
  differentPercent: null,
  asOf: snapshot.created,
  cost: null,
  lessRedundant: null,
})

const isSnapshot = (row: SnapRow): row is SnapshotRow => 'store' in row && 'created' in row

export const snapColumns: readonly Column<SnapRow>[] = [
  { key: 'number', kind: 'count', get: row => (isSnapshot(row) ? null : row.number), about: 'number of the relationship, kept for life' },
  { key: 'name', kind: 'text', get: row => (isSnapshot(row) ? row.name.slice(row.source.length + 1) : row.name), about: 'its name, if it has one' },
  { key: 'source', kind: 'text', get: row => row.source, about: 'volume that the image is of' },
  { key: 'image', kind: 'text', get: row => row.image, about: 'LUN that is the image, or the snapshot' },
  {
    key: 'state',
    kind: 'state',
    get: row => row.state,
    about: 'read-only, writable or dropped; of relationships: disabled, enabled, updating, mixed or invalid',
  },
  { key: 'process', kind: 'text', get: row => row.process, about: 'what runs now' },
  { key: 'complete', kind: 'percent', get: row => row.completePercent, about: 'share of the image that is its own' },
  { key: 'different', kind: 'percent', get: row => row.differentPercent, about: 'share that was written on either side' },
  { key: 'as-of', kind: 'text', get: row => row.asOf, about: 'the instant the image is of' },
  { key: 'chunk', kind: 'size', get: row => row.chunkBytes, about: 'size of a chunk', extra: true },
  { key: 'cost', kind: 'text', get: row => row.cost, about: 'what a write of the source waits for: preserving, recording or none', extra: true },
  { key: 'less-redundant', kind: 'text', get: row => row.lessRedundant, about: 'the image has fewer copies than the source', extra: true },
  { key: 'size', kind: 'size', get: row => (isSnapshot(row) ? row.size : null), about: 'bytes of a snapshot', extra: true },
  { key: 'store', kind: 'text', get: row => (isSnapshot(row) ? row.store : null), about: 'where a snapshot keeps chunks', extra: true },
  { key: 'reserved', kind: 'size', get: row => (isSnapshot(row) ? row.reserved : null), about: 'bytes bound for what a snapshot may need', extra: true },
  { key: 'on-full', kind: 'text', get: row => (isSnapshot(row) ? row.onFull : null), about: 'what happens when there is no space for a snapshot', extra: true },
]

export const snapshotView = (snapshot: SnapshotDetail): DetailView => ({
  details: [
    line('name', snapshot.name),
    line('source', snapshot.source),
    line('state', snapshot.state, 'state'),
    line('view of', snapshot.of),
    line('image is of', snapshot.created),
    line('size', snapshot.size, 'size'),
    line('freed if deleted', snapshot.exclusive, 'size'),
    line('all snapshots of the source', snapshot.tree.total, 'size'),
    line('shared by several', snapshot.tree.shared, 'size'),
    line('being given back', snapshot.tree.dead, 'size'),
    line('chunk size', snapshot.chunkBytes, 'size'),
    line('store', snapshot.store),
    line('space', snapshot.reserved > 0 ? 'reserve' : 'demand'),
    line('reserved', snapshot.reserved, 'size'),
    line('when there is no space', snapshot.onFull),
    line('number', snapshot.number, 'count'),
    line('id', snapshot.id),
  ],
  sections: [section('what rests on it', snapshot.restsOn, [{ key: 'snapshot', kind: 'text', get: row => row, about: 'name' }])],
})

/** A line of `snap tree`. */
export interface TreeRow extends SnapshotSummary {
  /** 0 for a snapshot of a LUN, 1 for one of that. */
  readonly depth: number
}

/** Each volume's snapshots in order of time, and below each what is made of it: snapshots of it, and writable views. */
export function treeRows(snapshots: readonly SnapshotSummary[], roots: readonly string[]): TreeRow[] {
  const rows: TreeRow[] = []
  const add = (list: readonly SnapshotSummary[], depth: number): void => {
    for (const snapshot of list) {
      rows.push({ ...snapshot, depth })
      // A hidden one and a new one may have one name: what is of it is listed once.
      add(
        snapshots.filter(one => one.of === snapshot.name && one.source === snapshot.source && !rows.some(({ number }) => number === one.number)),
        depth + 1,
      )
      add(
        snapshots.filter(one => one.source === snapshot.name && one.of === null && !rows.some(({ number }) => number === one.number)),
        depth + 1,
      )
    }
  }
  for (const root of roots)
    add(
      snapshots.filter(one => one.source === root && (one.of === null || !snapshots.some(({ name }) => name === one.of))),
      0,
    )
  return rows
}

export const treeColumns: readonly Column<TreeRow>[] = [
  { key: 'snapshot', kind: 'text', get: row => `${'  '.repeat(row.depth)}${row.name}`, about: 'name, below what it is made of' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'read-only, writable, dropped, or hidden: deleted, and kept for what rests on it' },
  { key: 'as-of', kind: 'text', get: row => row.created, about: 'the instant it is of' },
  { key: 'of', kind: 'text', get: row => row.of, about: 'the read-only snapshot that it is a writable view of', extra: true },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes', extra: true },
]

/** A line for each decision of a rotation. */
export const rotationColumns: readonly Column<RotatedSnapshot>[] = [
  { key: 'action', kind: 'text', get: row => row.action, about: 'keep or delete' },
  { key: 'snapshot', kind: 'text', get: row => row.name, about: 'name' },
  { key: 'as-of', kind: 'text', get: row => row.created, about: 'the instant it is of' },
  { key: 'reason', kind: 'text', get: row => row.reasons.join(', '), about: 'what keeps it, or why nothing does' },
]

export const diffColumns: readonly Column<ByteRange>[] = [
  { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the volumes' },
  { key: 'length', kind: 'size', get: row => row.length, about: 'bytes that may differ' },
]

export const storeColumns: readonly Column<StoreSummary>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the store' },
  { key: 'raid', kind: 'text', get: row => row.raid, about: 'redundancy type' },
  { key: 'chunks', kind: 'size', get: row => row.chunks, about: 'bytes of chunks that it holds' },
  { key: 'used', kind: 'size', get: row => row.used, about: 'bytes on disks, redundancy included' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'how it is' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes that it may grow to', extra: true },
  { key: 'created', kind: 'text', get: row => row.created, about: 'when it was made', extra: true },
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of its LUN', extra: true },
]

export const storeView = (store: StoreDetail): DetailView => ({
  details: [
    line('name', store.name),
    line('state', store.state, 'state'),
    line('raid', store.raid),
    line('chunks', store.chunks, 'size'),
    line('used', store.used, 'size'),
    line('size', store.size, 'size'),
    line('number', store.number, 'count'),
    line('id', store.id),
    line('created', store.created),
  ],
  sections: [
    section('volumes', store.trees, [
      { key: 'volume', kind: 'text', get: row => row.volume, about: 'whose snapshots keep chunks here' },
      { key: 'snapshots', kind: 'count', get: row => row.snapshots, about: 'how many there are' },
      { key: 'chunks', kind: 'size', get: row => row.chunks, about: 'bytes of their chunks' },
      { key: 'chunk', kind: 'size', get: row => row.chunkBytes, about: 'size of a chunk' },
    ]),
  ],
})
