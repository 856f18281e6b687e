/** What commands show of relationships. */
import { isoTime, isoTimeOrNone } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { fullPolicies, PACE_ADAPTIVE } from '../../metadata/records.ts'
import type { Pool } from '../pool/pool.ts'
import { isLessRedundant } from '../lun/ranges.ts'
import type { ChunkMap } from '../snapshot/chunk-map.ts'
import type { Progress } from '../process/runner.ts'
import type { Relationship } from '../snapshot/relationship.ts'
import type { Relationships } from '../snapshot/relationships.ts'
import type { Delay, ProcessName, RelationshipConfig, RelationshipMaps, RelationshipStatus, RelationshipSummary, RelationshipView } from './api.ts'
import type { Processes } from './processes.ts'

const BLOCK_BYTES = 512
/** Ranges listed in a status. */
const LOST_MAX = 1000
/** Maps that change while they are read are read again so often. */
const MAP_TRIES_MAX = 8

export const delayView = (ms: number): Delay => (ms === PACE_ADAPTIVE ? 'adaptive' : ms)
const percent = (part: number, of: number): number => (of === 0 ? 0 : Math.floor((part / of) * 100))

export const progressView = (running: Progress, kind: ProcessName, delayMs: number): RelationshipStatus['progress'] => ({
  kind,
  task: running.number,
  done: running.done,
  total: running.total,
  rate: Math.round(running.rate),
  eta: running.rate > 0 ? Math.ceil((running.total - running.done) / running.rate) : null,
  delayMs: delayView(delayMs),
})

export class SnapViews {
  constructor(
    private readonly pool: Pool,
    private readonly relationships: Relationships,
    private readonly processes: Processes,
  ) {}

  view(relationship: Relationship): RelationshipView {
    return {
      number: relationship.number,
      name: relationship.record.name === '' ? null : relationship.record.name,
      source: this.relationships.source(relationship).name,
      image: this.relationships.image(relationship).name,
      state: relationship.state,
      process: relationship.update ?? (relationship.isCompleting ? 'completeImage' : null),
    }
  }

  async summary(relationship: Relationship): Promise<RelationshipSummary> {
    const { total, migrated, different } = await this.chunks(relationship)
    const image = this.relationships.image(relationship)
    const source = this.relationships.source(relationship)
    return {
      ...this.view(relationship),
      chunkBytes: relationship.chunks.bytes,
      completePercent: percent(migrated, total),
      differentPercent: percent(different, total),
      asOf: isoTimeOrNone(relationship.record.asOfMs),
      cost: relationship.isActive ? 'preserving' : relationship.isRecording ? 'recording' : 'none',
      lessRedundant: isLessRedundant(image.ranges, source.ranges, relationship.record.size),
    }
  }

  private async chunks(relationship: Relationship): Promise<RelationshipStatus['chunks']> {
    const frozen = await relationship.frozen.count()
    return {
      total: relationship.chunks.count,
      migrated: await relationship.migrated.count(),
      // What an update has still to do differs, too.
      different: frozen + (await relationship.delta.count()),
      frozen,
      lost: await relationship.lost.count(),
    }
  }

  config(relationship: Relationship): RelationshipConfig {
    const { record } = relationship
    return {
      ...this.view(relationship),
      chunkBytes: relationship.chunks.bytes,
      blockBytes: BLOCK_BYTES,
      delaysMs: { completeImage: delayView(record.completeDelay), imageUpdate: delayView(record.imageDelay), sourceUpdate: delayView(record.sourceDelay) },
      store: this.relationships.image(relationship).name,
      policy: fullPolicies[record.onFull] ?? 'fail-writes',
      created: isoTime(record.createdMs),
    }
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` when it is disabled */
  activeConfig(relationship: Relationship): RelationshipConfig & { enabledAt: string; asOf: string } {
    if (!relationship.isEnabled) relationship.refuse('show the active configuration of', 'it is disabled', `lunar GetSnapConfig ${relationship.number}`)
    const { enabledMs, asOfMs } = relationship.record
    return { ...this.config(relationship), enabledAt: isoTime(enabledMs), asOf: isoTime(asOfMs) }
  }

  async status(relationship: Relationship): Promise<RelationshipStatus> {
    const chunks = await this.chunks(relationship)
    const { record } = relationship
    const running = this.processes.of(relationship)
    const kind = running?.kind as ProcessName | undefined
    return {
      ...this.view(relationship),
      chunks,
      differentPercent: percent(chunks.different, chunks.total),
      completePercent: percent(chunks.migrated, chunks.total),
      asOf: isoTimeOrNone(record.asOfMs),
      enabledAt: relationship.isEnabled ? isoTimeOrNone(record.enabledMs) : null,
      progress: running && kind ? progressView(running, kind, this.relationships.delayOf(relationship, kind)) : null,
      lost: (await this.relationships.lostRanges(relationship)).slice(0, LOST_MAX),
      reason: record.reason === '' ? null : record.reason,
    }
  }

  /** Both maps of one instant: they are read again while they change, and in the end with all chunks locked. */
  async maps(relationship: Relationship): Promise<RelationshipMaps> {
    for (let tries = 0; tries < MAP_TRIES_MAX; tries++) {
      const { maps } = relationship
      const before = maps.map(({ changes }) => changes)
      const read = await this.readMaps(relationship)
      if (relationship.maps.every((map, i) => map === maps[i] && map.changes === before[i])) return read
    }
    const release = await relationship.lock({ from: 0, to: relationship.chunks.count }, 'shared')
    try {
      return await this.readMaps(relationship)
    } finally {
      release()
    }
  }

  private async readMaps(relationship: Relationship): Promise<RelationshipMaps> {
    return {
      ...this.view(relationship),
      chunks: relationship.chunks.count,
      chunkBlocks: relationship.chunks.bytes / BLOCK_BYTES,
      chunkBytes: relationship.chunks.bytes,
      migrated: await bitmap(relationship, [relationship.migrated]),
      delta: await bitmap(relationship, [relationship.delta, relationship.frozen]),
      generation: this.pool.metadata.generation,
    }
  }
}

/** Bitmaps put together, base64. @throws LunarError `ERR_OUT_OF_RANGE` when they do not fit into one answer */
async function bitmap(relationship: Relationship, maps: readonly ChunkMap[]): Promise<string> {
  const bytes = Math.ceil(relationship.chunks.count / 8)
  if (bytes > 64 * 1024 * 1024) throw new LunarError('ERR_OUT_OF_RANGE', `Cannot show the maps of ${relationship.label}`, { why: `each has ${bytes} bytes` })
  const bits = new Uint8Array(bytes)
  for (const map of maps)
    for await (const { from, to } of map.runs()) for (let chunk = from; chunk < to; chunk++) bits[Math.floor(chunk / 8)]! |= 1 << (chunk % 8)
  return Buffer.from(bits).toString('base64')
}
