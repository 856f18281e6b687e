/** The metrics of one pool: states, and what was counted since this process opened it. */
import type { Traffic } from '../base/traffic.ts'
import { turn } from '../base/turn.ts'
import { diskStates } from '../../metadata/records.ts'
import { BLOCK } from '../../metadata/layout.ts'
import { SLICE } from '../raid/geometry.ts'
import type { EngineParts } from './engine.ts'
import type { Exposition, Labels } from './exposition.ts'

/** Volumes that are written down before others have their turn. */
const VOLUMES_A_TURN = 500

type Parts = Pick<EngineParts, 'pool' | 'luns' | 'relationships' | 'trees' | 'processes' | 'views'>

/** Looks at no map of a volume, so that it costs the same whatever they hold. */
export async function measurePool(parts: Parts, into: Exposition): Promise<void> {
  const pool = parts.pool.record.name
  state(parts, into, { pool })
  disks(parts, into, { pool })
  journal(parts, into, { pool })
  copies(parts, into, { pool })
  memory(parts, into, { pool })
  await tasks(parts, into, { pool })
  await volumes(parts, into, { pool })
}

function state({ pool, views, relationships, trees }: Parts, into: Exposition, labels: Labels): void {
  const { size, used, free } = views.space()
  into.gauge('pool_healthy', '1 when every disk is in service and no copy is stale.', labels, views.allWell ? 1 : 0)
  into.gauge('pool_size_bytes', 'Segments of the disks.', labels, size)
  into.gauge('pool_used_bytes', 'Segments in use.', labels, used)
  into.gauge('pool_free_bytes', 'Segments that are free.', labels, free)
  into.gauge('pool_generation', 'Administrative changes so far.', labels, pool.metadata.generation)
  into.gauge('pool_last_write_timestamp_seconds', 'When something was last recorded.', labels, pool.metadata.lastWriteMs / 1000)
  for (const [state, count] of counted(relationships.all.map(relationship => relationship.state)))
    into.gauge('relationships', 'Relationships by state.', { ...labels, state }, count)
  const snapshots = trees.list()
  into.gauge('snapshots', 'Snapshots.', labels, snapshots.length)
  into.gauge(
    'snapshots_dropped',
    'Snapshots that were dropped, since there was no space for what they needed.',
    labels,
    snapshots.filter(({ isDropped }) => isDropped).length,
  )
}

function counted(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return counts
}

function disks({ pool, views }: Parts, into: Exposition, labels: Labels): void {
  for (const disk of pool.disks.values()) {
    const of = { ...labels, disk: disk.number }
    const { path, size, used, free, stale, errors, quorum } = views.diskSummary(disk)
    into.gauge('disk_info', 'Where a disk is; always 1.', { ...of, path: path ?? '', domain: disk.domain }, 1)
    into.state('disk_state', 'The state that a disk is in is 1.', of, diskStates, disk.state)
    into.gauge('disk_quorum', '1 for a disk of the quorum.', of, quorum ? 1 : 0)
    into.gauge('disk_size_bytes', 'Size of a disk.', of, size)
    into.gauge('disk_used_bytes', 'Segments in use.', of, used)
    into.gauge('disk_free_bytes', 'Segments that are free.', of, free)
    into.gauge('disk_stale_bytes', 'Written elsewhere while the disk was away, still to be copied.', of, stale)
    into.counter('disk_errors_total', 'Input and output errors, since the disk joined the pool.', of, errors)
    traffic(into, 'disk', 'a disk, but for the metadata', of, disk.traffic)
    into.histogram('disk_flush_seconds', 'Flushes of a disk.', of, disk.flushTimes)
  }
}

function traffic(into: Exposition, prefix: string, of: string, labels: Labels, counts: Traffic): void {
  into.counter(`${prefix}_reads_total`, `Reads of ${of}.`, labels, counts.reads)
  into.counter(`${prefix}_writes_total`, `Writes of ${of}.`, labels, counts.writes)
  into.counter(`${prefix}_flushes_total`, `Flushes of ${of}.`, labels, counts.flushes)
  into.counter(`${prefix}_discards_total`, `Ranges of ${of} that were given back or zeroed.`, labels, counts.discards)
  into.counter(`${prefix}_read_bytes_total`, `Bytes read of ${of}.`, labels, counts.bytesRead)
  into.counter(`${prefix}_written_bytes_total`, `Bytes written of ${of}.`, labels, counts.bytesWritten)
  into.counter(`${prefix}_discarded_bytes_total`, `Bytes of ${of} that were given back or zeroed.`, labels, counts.bytesDiscarded)
}

function journal({ pool }: Parts, into: Exposition, labels: Labels): void {
  const { times, batches, bytes } = pool.metadata.journal
  into.histogram('journal_commit_seconds', 'Journal blocks, until they were on all quorum disks.', labels, times)
  into.counter('journal_batches_total', 'Changes in those blocks.', labels, batches)
  into.counter('journal_bytes_total', 'Bytes of those blocks, on each quorum disk.', labels, bytes)
}

function copies({ relationships }: Parts, into: Exposition, labels: Labels): void {
  const { times, writes, bytes } = relationships.firstWrites
  into.histogram('first_write_round_seconds', 'Rounds of first writes: chunks copied, flushed and recorded.', labels, times)
  into.counter('first_writes_total', 'Writes that had something due before them.', labels, writes)
  into.counter('first_write_copied_bytes_total', 'Bytes that were copied before they were overwritten.', labels, bytes)
}

function memory({ pool, luns, relationships, trees }: Parts, into: Exposition, labels: Labels): void {
  const fill = (kind: string, bytes: number, most: number): void => {
    into.gauge(
      'memory_bytes',
      'What is in memory: writes acknowledged ahead (holds) or kept for hosts (caches), and pages of maps.',
      { ...labels, kind },
      bytes,
    )
    into.gauge('memory_limit_bytes', 'What may be of it.', { ...labels, kind }, most)
  }
  fill('binding_hold', luns.budget.taken, luns.budget.limit)
  fill('snapshot_hold', relationships.budget.taken, relationships.budget.limit)
  fill('write_caches', luns.caches.bytes, luns.caches.most)
  fill('lun_maps', luns.maps.bytes, luns.maps.most)
  fill('snapshot_maps', trees.memory.taken, trees.memory.limit)
  fill('metadata', pool.metadata.cached.blocks * BLOCK, pool.metadata.cached.most * BLOCK)
}

async function tasks({ processes }: Parts, into: Exposition, labels: Labels): Promise<void> {
  const all = await processes.list()
  for (const [state, count] of counted(all.map(task => task.state)))
    into.gauge('tasks', 'Background tasks by state; the last hundred that ended, too.', { ...labels, state }, count)
  for (const { number, kind, target, state, done, total, rate } of all) {
    if (state !== 'running' && state !== 'waiting' && state !== 'paused') continue
    const of = { ...labels, task: number, kind, target }
    into.gauge('task_done_bytes', 'What a task that has not ended has done.', of, done)
    into.gauge('task_total_bytes', 'What it has to do.', of, total)
    into.gauge('task_rate_bytes', 'Bytes a second over the last seconds.', of, rate)
  }
}

async function volumes({ luns, trees }: Parts, into: Exposition, labels: Labels): Promise<void> {
  let left = VOLUMES_A_TURN
  const counts = async (volume: string, kind: string, of: Traffic): Promise<void> => {
    // What nobody used is not told: a pool may have many thousands.
    if (of.reads + of.writes + of.flushes + of.discards > 0) traffic(into, 'volume', 'a LUN or a snapshot', { ...labels, volume, kind }, of)
    if (--left > 0) return
    left = VOLUMES_A_TURN
    await turn()
  }
  for (const lun of luns.all) {
    if (lun.isStore) continue
    const of = { ...labels, volume: lun.name }
    into.gauge('lun_size_bytes', 'Size of a LUN.', of, lun.size)
    into.gauge('lun_bound_bytes', 'What of it takes space.', of, lun.record.boundSlices * SLICE)
    await counts(lun.name, 'lun', lun.traffic)
  }
  for (const snapshot of trees.list()) await counts(snapshot.name, 'snapshot', snapshot.traffic)
}
