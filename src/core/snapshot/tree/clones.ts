import { whilePaused } from '../../block/quiesce.ts'
import { LunarError } from '../../base/errors.ts'
import { orUndo } from '../../base/undo.ts'
import { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import {
  poolRecord,
  RELATIONSHIP_CLONE,
  RELATIONSHIP_COMPLETING,
  RELATIONSHIP_ENABLED,
  RELATIONSHIP_GONE,
  RELATIONSHIP_USED,
  relationshipRecord,
  type RelationshipRecord,
} from '../../../metadata/records.ts'
import { fitting } from '../../../metadata/struct.ts'
import type { Lun } from '../../lun/lun.ts'
import type { Luns } from '../../lun/luns.ts'
import type { Pool } from '../../pool/pool.ts'
import type { Redundancy } from '../../raid/geometry.ts'
import { CHUNK_DEFAULT } from '../chunks.ts'
import type { Relationship } from '../relationship.ts'
import { checkDelay, type Relationships } from '../relationships.ts'
import { CompleteImage } from '../updates.ts'
import type { FlagChange } from './snapshot.ts'
import type { FrozenPlan } from './trees.ts'

/** Longest name of a snapshot. Bytes. */
const NAME_MAX = 64

export interface NewClone {
  /** A LUN, or a snapshot of any kind. */
  readonly source: string
  /** The new LUN. */
  readonly name: string
  /** As the source when left out. */
  readonly raid?: Redundancy
  /** Pause of copying between steps: milliseconds, or `PACE_ADAPTIVE`. */
  readonly delay?: number
  readonly dryRun?: boolean
}

/** What cloning needs of the directory of snapshots. */
export interface CloneHost {
  planFrozen(source: string, name: string, failed: string): FrozenPlan
  /** Makes the hidden snapshot, in one commit with what `together` adds for its number; what that returns is called when it is durable. */
  freeze(frozen: FrozenPlan, together: (batch: Batch, snapshot: number) => () => void): Promise<void>
  /** Adds to a batch that hidden snapshots go which only this clone still needed. */
  dropHidden(batch: Batch, ended: Relationship): FlagChange
}

/**
 * Snapclones (features.md C4; Compaq paragraphs 0100 to 0109; hazard 18): a hidden frozen snapshot, and a LUN that is an image of it. It
 * is filled in the background, and then the snapshot is deleted like any other: nothing is ever handed to a predecessor.
 */
export class Clones {
  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly host: CloneHost,
  ) {}

  /**
   * @returns the new LUN; with `dryRun` what it would be
   * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_TOO_FEW_DISKS`, `ERR_POOL_FULL` when its full size cannot be reserved,
   * `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID`, `ERR_RELATIONSHIP_STATE` during a source update from a write-once device
   */
  clone(spec: NewClone): Promise<{ readonly lun: Lun; readonly clone: Relationship | undefined }> {
    return this.relationships.changing.run(async () => {
      if (spec.delay !== undefined) checkDelay(spec.delay)
      const frozen = this.host.planFrozen(spec.source, fitting(`clone.${spec.name}`, NAME_MAX), `Cannot clone "${spec.source}"`)
      const lun = await this.luns.create({
        name: spec.name,
        size: frozen.plan.base?.record.size ?? frozen.plan.source.size,
        raid: spec.raid ?? this.rangesOf(spec.source),
        reserve: true,
        // Until it reads as its source, in the commit that makes the snapshot.
        incomplete: true,
        dryRun: spec.dryRun === true,
      })
      if (spec.dryRun) return { lun, clone: undefined }
      return orUndo(
        async () => ({ lun, clone: await this.connect(frozen, lun, spec) }),
        () => this.luns.delete(lun),
      )
    })
  }

  /** Types by address of the LUN that a volume is of. */
  private rangesOf(source: string): Lun['ranges'] {
    return this.luns.find(source.split('@')[0]!).ranges
  }

  private async connect(frozen: FrozenPlan, lun: Lun, spec: NewClone): Promise<Relationship> {
    const { record: before } = this.pool
    const number = Math.max(1, before.nextRelationship)
    const undo: (() => void)[] = []
    try {
      await this.host.freeze(frozen, (batch, snapshot) => {
        const record = this.recordOf(snapshot, lun, spec.delay ?? 0)
        this.pool.record = { ...this.pool.record, nextRelationship: number + 1 }
        batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
        batch.put(keyOf('relationship', number), relationshipRecord.encode(record))
        undo.push(this.luns.markIncomplete(lun, batch, false))
        this.pool.event(batch, 'lun.cloned', lun.name, `of ${spec.source}`)
        return () => this.relationships.addClone(number, record)
      })
    } catch (error) {
      for (const one of undo) one()
      throw error
    }
    return this.relationships.cloneOf(lun)!
  }

  private recordOf(snapshot: number, lun: Lun, delay: number): RelationshipRecord {
    const now = this.pool.options.clock.wallMs()
    return {
      relationshipId: this.pool.options.uuids(),
      name: '',
      source: snapshot,
      image: lun.number,
      flags: RELATIONSHIP_CLONE | RELATIONSHIP_ENABLED | RELATIONSHIP_USED | RELATIONSHIP_COMPLETING,
      chunkShift: Math.log2(CHUNK_DEFAULT),
      onFull: 0,
      update: 0,
      mixed: 0,
      size: lun.size,
      createdMs: now,
      enabledMs: now,
      asOfMs: now,
      nextEra: 4,
      migratedEra: 1,
      deltaEra: 2,
      lostEra: 3,
      frozenEra: 0,
      blankFrom: 0,
      completeDelay: delay,
      imageDelay: 0,
      sourceDelay: 0,
      reason: '',
    }
  }

  /** What fills a clone, to be run. */
  async process(clone: Relationship): Promise<CompleteImage> {
    const { clock } = this.pool.options
    const body = new CompleteImage(
      this.relationships,
      clone,
      () => clock.monotonicMs(),
      () => this.finish(clone),
    )
    await body.begin()
    return body
  }

  /** It owns every chunk: one commit, and it is a LUN like any other. */
  private finish(clone: Relationship): Promise<void> {
    return this.relationships.changing.run(async () => {
      if (this.relationships.clones.includes(clone)) await this.leave(clone, 'lun.independent', new Batch())
    })
  }

  /** What a clone holds before its end is of no use without its source: the LUN is to be deleted next. */
  abandon(lun: Lun): Promise<void> {
    return this.relationships.changing.run(async () => {
      const clone = this.relationships.cloneOf(lun)
      if (!clone) return
      const batch = new Batch()
      const undo = this.luns.markIncomplete(lun, batch)
      await orUndo(() => this.leave(clone, 'lun.abandoned', batch), undo)
    })
  }

  private async leave(clone: Relationship, event: string, batch: Batch): Promise<void> {
    // Writes under way mark chunks of it, and those that come after would go past them.
    await whilePaused([this.relationships.volume(clone.record.image)], async () => {
      const undo = clone.change({}, { set: RELATIONSHIP_GONE, clear: RELATIONSHIP_COMPLETING }, batch)
      this.pool.event(batch, event, this.relationships.image(clone).name, '')
      const dropped = this.host.dropHidden(batch, clone)
      await orUndo(
        () => this.pool.metadata.commit(batch, 'admin', true),
        () => {
          undo()
          dropped.undo()
        },
      )
      this.relationships.removeClone(clone)
      dropped.done()
    })
  }

  /** @throws LunarError `ERR_BUSY` while a LUN is still being copied */
  checkNone(lun: Lun, what: string): void {
    if (!this.relationships.cloneOf(lun)) return
    throw new LunarError('ERR_BUSY', `Cannot ${what} LUN "${lun.name}"`, {
      why: 'it is a clone that is still being copied',
      fix: 'wait for the end: lunar task list',
    })
  }
}
