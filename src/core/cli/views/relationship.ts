import type { Delay, LunRelationship, ProcessName, RelationshipConfig, RelationshipMaps, RelationshipStatus, RelationshipView } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'

/** `DcsSnap3 (nightly)`. */
export const labelOf = ({ number, name }: Pick<RelationshipView, 'number' | 'name'>): string => `DcsSnap${number}${name === null ? '' : ` (${name})`}`

export const processWords: Readonly<Record<ProcessName, string>> = {
  completeImage: 'complete image',
  imageUpdate: 'image update',
  sourceUpdate: 'source update',
}

export const delayText = (delay: Delay): string => (delay === 'adaptive' ? delay : `${delay} ms`)

const viewLines = (relationship: RelationshipView): DetailView['details'] => [
  line('relationship', `DcsSnap${relationship.number}`),
  line('name', relationship.name),
  line('source', relationship.source),
  line('image', relationship.image),
  line('state', relationship.state, 'state'),
  line('process', relationship.process),
]

const configLines = (config: RelationshipConfig): DetailView['details'] => [
  line('chunk size', config.chunkBytes, 'size'),
  line('block size', config.blockBytes, 'size'),
  line('complete image delay', delayText(config.delaysMs.completeImage)),
  line('image update delay', delayText(config.delaysMs.imageUpdate)),
  line('source update delay', delayText(config.delaysMs.sourceUpdate)),
  line('store', config.store),
  line('when full', config.policy),
  line('created', config.created),
]

const statusLines = (status: RelationshipStatus): DetailView['details'] => [
  line('image is of', status.asOf),
  line('enabled at', status.enabledAt),
  line('complete', status.completePercent, 'percent'),
  line('different', status.differentPercent, 'percent'),
  line('chunks', `${status.chunks.total}: ${status.chunks.migrated} migrated, ${status.chunks.different} different, ${status.chunks.lost} lost`),
  line('reason', status.reason),
]

const statusSections = (status: RelationshipStatus): NonNullable<DetailView['sections']> => [
  section('running', status.progress === null ? [] : [status.progress], [
    { key: 'process', kind: 'text', get: row => processWords[row.kind], about: 'what runs' },
    { key: 'task', kind: 'count', get: row => row.task, about: 'its task' },
    { key: 'done', kind: 'size', get: row => row.done, about: 'bytes done' },
    { key: 'total', kind: 'size', get: row => row.total, about: 'bytes in all' },
    { key: 'rate', kind: 'rate', get: row => row.rate, about: 'bytes a second' },
    { key: 'eta', kind: 'seconds', get: row => row.eta, about: 'time left' },
    { key: 'delay', kind: 'text', get: row => delayText(row.delayMs), about: 'pause between chunks' },
  ]),
  section('lost ranges of the image', status.lost, [
    { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start' },
    { key: 'length', kind: 'size', get: row => row.length, about: 'bytes' },
  ]),
]

export const configView = (config: RelationshipConfig): DetailView => ({ details: [...viewLines(config), ...configLines(config)] })

export const activeConfigView = (config: RelationshipConfig & { enabledAt: string; asOf: string }): DetailView => ({
  details: [...viewLines(config), ...configLines(config), line('enabled at', config.enabledAt), line('image is of', config.asOf)],
})

export const statusView = (status: RelationshipStatus): DetailView => ({
  details: [...viewLines(status), ...statusLines(status)],
  sections: statusSections(status),
})

export type RelationshipDetail = RelationshipConfig & RelationshipStatus

export const relationshipView = (detail: RelationshipDetail): DetailView => ({
  details: [...viewLines(detail), ...statusLines(detail), ...configLines(detail)],
  sections: statusSections(detail),
})

/** What a LUN is part of, for `lun show`. */
export const lunRelationshipColumns: readonly Column<LunRelationship>[] = [
  { key: 'relationship', kind: 'text', get: labelOf, about: 'number and name' },
  { key: 'role', kind: 'text', get: row => row.role, about: 'source or image' },
  { key: 'other', kind: 'text', get: row => row.other, about: 'LUN on the other side' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'state of the relationship' },
]

/** Chunks that are alike in both maps. */
export interface MapRun {
  readonly chunk: number
  readonly count: number
  readonly offset: number
  readonly migrated: boolean
  readonly different: boolean
  /** Bytes, whole chunks. */
  readonly length: number
}

export const mapRunColumns: readonly Column<MapRun>[] = [
  { key: 'chunk', kind: 'count', get: row => row.chunk, about: 'first chunk of the run' },
  { key: 'count', kind: 'count', get: row => row.count, about: 'chunks in the run' },
  { key: 'offset', kind: 'size', get: row => row.offset, about: 'bytes from the start of the volumes' },
  { key: 'length', kind: 'size', get: row => row.length, about: 'bytes of the run, the last chunk counted whole' },
  { key: 'migrated', kind: 'text', get: row => row.migrated, about: 'the image holds its own copy' },
  { key: 'different', kind: 'text', get: row => row.different, about: 'written on either side' },
]

/** The bytes of both maps: first migrated, then delta, `ceil(chunks / 8)` bytes each. */
export const mapBytes = (maps: RelationshipMaps): { readonly migrated: Buffer; readonly delta: Buffer } => ({
  migrated: Buffer.from(maps.migrated, 'base64'),
  delta: Buffer.from(maps.delta, 'base64'),
})

/** Cuts both maps into runs, in order, without gaps. */
export function mapRuns(maps: RelationshipMaps): MapRun[] {
  const { migrated, delta } = mapBytes(maps)
  const has = (bits: Buffer, chunk: number): boolean => (bits[Math.floor(chunk / 8)]! & (1 << (chunk % 8))) !== 0
  const runs: MapRun[] = []
  for (let chunk = 0; chunk < maps.chunks;) {
    const alike = { migrated: has(migrated, chunk), different: has(delta, chunk) }
    let end = chunk + 1
    while (end < maps.chunks && has(migrated, end) === alike.migrated && has(delta, end) === alike.different) end++
    runs.push({ chunk, count: end - chunk, offset: chunk * maps.chunkBytes, length: (end - chunk) * maps.chunkBytes, ...alike })
    chunk = end
  }
  return runs
}
