import { LunarError } from '../base/errors.ts'
import { isZero } from '../base/zeros.ts'
import { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { runsWhere, type ChunkRun } from './chunks.ts'
import { whenLoaded } from './paged.ts'
import { CopyBuffers } from './copy-buffers.ts'
import { Copying, RUN_BYTES_IDLE, RUN_BYTES_USED } from './copying.ts'
import type { Relationship } from './relationship.ts'
import { copiedFrom } from './still-updated.ts'
import type { ThroughVolume } from './tree/snapshot-volume.ts'
import type { Volume } from './volume.ts'

export interface CopyHost {
  readonly metadata: Metadata
  volume(lun: number): Volume
  through(image: Relationship): ThroughVolume
}

/**
 * Does the chunks of a run that an update still has to do (DataCore Figs. 9, 10): locks them, copies, flushes the volume
 * written, and only then commits that they are done. What others preserve of that volume is preserved first.
 * @param broken is told when that volume cannot be written: it rejects, or has given up the update
 * @returns bytes copied
 */
export async function updateRun(
  host: CopyHost,
  relationship: Relationship,
  run: ChunkRun,
  buffers = CopyBuffers.none,
  broken: (error: unknown) => Promise<void> = error => Promise.reject(error as Error),
): Promise<number> {
  const { chunks, record } = relationship
  const target = host.volume(relationship.update === 'sourceUpdate' ? record.source : record.image)
  const from = copiedFrom(relationship, host)
  const release = await target.lockFor(chunks.offsetOf(run.from), chunks.lengthOf(run))
  try {
    if (relationship.record.frozenEra === 0) return 0
    const { frozen } = relationship
    const due = await whenLoaded(relationship, run, () => runsWhere(run, chunk => frozen.has(chunk)))
    let moved = 0
    const updatedAt = target.tree?.updatedAt(relationship)
    const isDone = async (change: () => Promise<void>): Promise<boolean> => {
      try {
        await change()
        return true
      } catch (error) {
        await broken(error)
        return false
      }
    }
    for (const part of due) {
      const at = chunks.offsetOf(part.from)
      const length = chunks.lengthOf(part)
      moved += length
      const kept = updatedAt === undefined ? undefined : await target.tree?.planUpdate(at, length, updatedAt)
      const hole = (await from.extentsThrough(at, length)).every(({ kind }) => kind === 'hole')
      const change = (put: () => Promise<void>): Promise<boolean> => isDone(() => target.changeLocked(at, length, put, relationship, kept))
      const changed = hole
        ? change(() => target.below.zero(at, length))
        : buffers.lend(length, async bytes => {
            await from.readThrough(at, bytes)
            return change(() => target.below.write(at, bytes))
          })
      if (!(await changed)) return moved
    }
    if (due.length === 0 || !(await isDone(() => target.below.flush()))) return 0
    const batch = new Batch()
    frozen.put(due, false, batch)
    await host.metadata.commit(batch, 'data', true)
    frozen.remember(due, false)
    return moved
  } finally {
    release()
  }
}

/** Copies what an image lacks of a run from its source (DataCore Fig. 8). @returns bytes copied */
export async function completeRun(host: CopyHost, relationship: Relationship, run: ChunkRun, buffers = CopyBuffers.none): Promise<number> {
  const release = await relationship.lock(run, 'exclusive')
  try {
    if (!relationship.isActive) return 0
    const { migrated, chunks } = relationship
    const due = await whenLoaded(relationship, run, () => runsWhere(run, chunk => !migrated.has(chunk)))
    if (due.length === 0) return 0
    const source = host.through(relationship)
    const image = host.volume(relationship.record.image)
    let moved = 0
    for (const part of due) {
      const from = chunks.offsetOf(part.from)
      const length = chunks.lengthOf(part)
      const hole = (await source.extentsThrough(from, length)).every(({ kind }) => kind === 'hole')
      // A clone's LUN is new: only a write that a crash cut off has left something there.
      const clean = hole && relationship.isClone && (await buffers.lend(length, bytes => image.below.read(from, bytes).then(() => isZero(bytes))))
      if (hole && !clean) await image.put(relationship, [part], undefined)
      else if (!hole)
        await buffers.lend(length, async bytes => {
          await source.readThrough(from, bytes)
          await image.put(relationship, [part], { from, bytes })
        })
      moved += length
    }
    await image.below.flush()
    const batch = new Batch()
    migrated.put(due, true, batch)
    await host.metadata.commit(batch, 'data', true)
    migrated.remember(due, true)
    return moved
  } finally {
    release()
  }
}

/** A process of a relationship. */
abstract class OfRelationship extends Copying {
  protected readonly buffers = new CopyBuffers(RUN_BYTES_USED, RUN_BYTES_IDLE)

  constructor(
    protected readonly host: CopyHost,
    readonly relationship: Relationship,
    nowMs: () => number,
    ended: () => Promise<void>,
  ) {
    super(nowMs, ended)
  }

  protected get chunkBytes(): number {
    return this.relationship.chunks.bytes
  }
  protected get lastUsedMs(): number {
    const { source, image } = this.relationship.record
    if (this.relationship.isClone) return this.host.volume(image).lastUsedMs
    return Math.max(this.host.volume(source).lastUsedMs, this.host.volume(image).lastUsedMs)
  }
}

/** Forced migration (DataCore Fig. 8). */
export class CompleteImage extends OfRelationship {
  protected get delay(): number {
    return this.relationship.record.completeDelay
  }
  protected async toDo(): Promise<number> {
    const { chunks, migrated } = this.relationship
    return ((chunks.count - (await migrated.count())) / Math.max(1, chunks.count)) * chunks.size
  }
  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    if (this.relationship.isInvalid)
      throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${this.relationship.label}`, { why: this.relationship.record.reason })
    return this.relationship.migrated.nextClear(from, this.relationship.chunks.count, most)
  }
  protected copy(run: ChunkRun): Promise<number> {
    return completeRun(this.host, this.relationship, run, this.buffers)
  }
}

/** Image update and source update (DataCore Figs. 9, 10). */
export class Update extends OfRelationship {
  protected get delay(): number {
    const { record, update } = this.relationship
    return update === 'sourceUpdate' ? record.sourceDelay : record.imageDelay
  }
  protected async toDo(): Promise<number> {
    const { chunks, frozen } = this.relationship
    return (await frozen.count()) * chunks.bytes
  }
  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    if (this.relationship.isInvalid)
      throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${this.relationship.label}`, { why: this.relationship.record.reason })
    // What is not frozen in between is left alone.
    for await (const run of this.relationship.frozen.runs(from)) return { from: run.from, to: Math.min(this.relationship.chunks.count, run.from + most) }
    return undefined
  }
  protected copy(run: ChunkRun): Promise<number> {
    return updateRun(this.host, this.relationship, run, this.buffers)
  }
}
