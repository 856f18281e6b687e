import type { PoolDetail, PoolStatus, PoolSummary, RedundancySet, Setting } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'
import { diskColumns } from './disk.ts'
import { taskColumns } from './task.ts'

export type ListedPool = PoolSummary & { readonly problem: string | null }

export const poolColumns: readonly Column<ListedPool>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the pool' },
  { key: 'health', kind: 'state', get: row => row.health, about: 'healthy, degraded or critical' },
  { key: 'disks', kind: 'count', get: row => row.disks, about: 'disks that belong to the pool' },
  { key: 'luns', kind: 'count', get: row => row.luns, about: 'LUNs' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes of segments' },
  { key: 'used', kind: 'size', get: row => row.used, about: 'bytes of segments in use' },
  { key: 'free', kind: 'size', get: row => row.free, about: 'bytes of segments that are free' },
  { key: 'problem', kind: 'text', get: row => row.problem, about: 'why the pool cannot be opened, if so' },
  { key: 'created', kind: 'text', get: row => row.created, about: 'when the pool was made', extra: true },
  { key: 'id', kind: 'text', get: row => row.id, about: 'UUID of the pool', extra: true },
]

export type ImportedPool = ListedPool & { readonly paths: readonly string[]; readonly missing: number }

export const importedColumns: readonly Column<ImportedPool>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the pool' },
  { key: 'health', kind: 'state', get: row => row.health, about: 'healthy, degraded or critical' },
  { key: 'disks', kind: 'count', get: row => row.disks, about: 'disks that belong to the pool' },
  { key: 'missing', kind: 'count', get: row => row.missing, about: 'disks of it that were not found' },
  { key: 'luns', kind: 'count', get: row => row.luns, about: 'LUNs' },
  { key: 'problem', kind: 'text', get: row => row.problem, about: 'why the pool cannot be opened, if so' },
  { key: 'paths', kind: 'text', get: row => row.paths, about: 'where its disks were found' },
  { key: 'id', kind: 'text', get: row => row.id, about: 'UUID of the pool', extra: true },
]

const settingColumns: readonly Column<Setting>[] = [
  { key: 'key', kind: 'text', get: row => row.key, about: 'name of the setting' },
  { key: 'value', kind: 'text', get: row => row.value, about: 'its value' },
  { key: 'from', kind: 'text', get: row => row.from, about: 'where the value comes from' },
]
export const settingsSection = (settings: readonly Setting[]): ReturnType<typeof section> => section('settings', settings, settingColumns)

/** `0+1 2+3 4`: disk numbers, pairs together. */
function pairsOf({ disks }: RedundancySet): string {
  const pairs = new Map<number, number[]>()
  for (const { disk, index } of disks) pairs.set(index >> 1, [...(pairs.get(index >> 1) ?? []), disk])
  return [...pairs.values()].map(pair => pair.join('+')).join('  ')
}

/** Disks that are not as they should be, by state: `3 missing, 5 failed`. */
const troubleOf = ({ disks }: RedundancySet): string =>
  disks
    .filter(({ state }) => state !== 'normal')
    .map(({ disk, state }) => `${disk} ${state}`)
    .join(', ')

export const poolView = (pool: PoolDetail): DetailView => ({
  details: [
    line('name', pool.name),
    line('health', pool.health, 'state'),
    line('id', pool.id),
    line('created', pool.created),
    line('last write', pool.lastWrite),
    line('generation', pool.generation, 'count'),
    line('format version', pool.formatVersion, 'count'),
    line('disks', pool.disks, 'count'),
    line('LUNs', pool.luns, 'count'),
    line('size', pool.size, 'size'),
    line('used', pool.used, 'size'),
    line('free', pool.free, 'size'),
    line('metadata used', pool.metadata.used, 'size'),
    line('metadata size', pool.metadata.size, 'size'),
    line('metadata copies', pool.metadata.copies, 'count'),
    ...pool.largest.map(({ raid, size }) => line(`largest ${raid} LUN`, size, 'size')),
    ...(pool.astride > 0 ? [line('stores astride sets', pool.astride, 'count')] : []),
  ],
  sections: [
    section('redundancy sets', pool.sets, [
      { key: 'group', kind: 'text', get: row => row.ldad, about: 'disk group' },
      { key: 'set', kind: 'count', get: row => row.set, about: 'number' },
      { key: 'size', kind: 'size', get: row => row.size, about: 'bytes of segments' },
      { key: 'free', kind: 'size', get: row => row.free, about: 'bytes of segments that are free' },
      { key: 'pairs of disks', kind: 'text', get: row => pairsOf(row), about: 'disk numbers' },
      { key: 'not normal', kind: 'text', get: row => troubleOf(row), about: 'disks that are not in service' },
    ]),
    section('quorum', pool.quorum, [
      { key: 'disk', kind: 'count', get: row => row.disk, about: 'number' },
      { key: 'name', kind: 'text', get: row => row.name, about: 'path' },
      { key: 'state', kind: 'state', get: row => row.state, about: 'state' },
      { key: 'witness', kind: 'text', get: row => row.witness, about: 'holds no data' },
    ]),
    settingsSection(pool.settings),
  ],
})

const statusDisks = diskColumns.filter(column => ['disk', 'state', 'size', 'used', 'stale', 'errors', 'path'].includes(column.key))
const statusTasks = taskColumns.filter(column => !column.extra)

export const statusView = (status: PoolStatus): DetailView => ({
  details: [
    line('pool', status.name),
    line('health', status.health, 'state'),
    line('last write', status.lastWrite),
    line('generation', status.generation, 'count'),
    line('owner', status.owner === null ? 'none' : `pid ${status.owner.pid} on ${status.owner.host} since ${status.owner.since}: ${status.owner.command}`),
    ...(status.astride > 0 ? [line('stores astride sets', status.astride, 'count')] : []),
    ...status.messages.map(message => line('note', message)),
  ],
  sections: [
    section('disks', status.disks, statusDisks),
    section('LUNs with less than they were promised', status.luns, [
      { key: 'name', kind: 'text', get: row => row.name, about: 'name' },
      { key: 'health', kind: 'state', get: row => row.health, about: 'health' },
      { key: 'lost', kind: 'size', get: row => row.lost, about: 'bytes that cannot be read' },
      { key: 'stale', kind: 'size', get: row => row.stale, about: 'bytes still to be copied' },
    ]),
    section('relationships that need somebody', status.relationships, [
      { key: 'number', kind: 'count', get: row => row.number, about: 'number' },
      { key: 'source', kind: 'text', get: row => row.source, about: 'source' },
      { key: 'image', kind: 'text', get: row => row.image, about: 'image' },
      { key: 'trouble', kind: 'state', get: row => row.trouble, about: 'mixed, invalid or lost' },
      { key: 'lost', kind: 'size', get: row => row.lost, about: 'bytes of the image that were lost while it was disabled' },
    ]),
    section('tasks', status.tasks, statusTasks),
  ],
})
