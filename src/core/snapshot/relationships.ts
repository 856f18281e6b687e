import { invariant, LunarError } from '../base/errors.ts'
import { Latencies } from '../base/latency.ts'
import { Mutex } from '../base/mutex.ts'
import { checkName } from '../base/names.ts'
import { MIB } from '../base/units.ts'
import { ByteBudget } from '../block/hold.ts'
import { whilePaused, whileQuiet } from '../block/quiesce.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import { dropEras, NO_ERAS } from '../../metadata/eras.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import {
  decodeRecord,
  fullPolicies,
  PACE_ADAPTIVE,
  poolRecord,
  REASON_MAX,
  RELATIONSHIP_CLONE,
  RELATIONSHIP_COMPLETE,
  RELATIONSHIP_COMPLETING,
  RELATIONSHIP_ENABLED,
  RELATIONSHIP_GONE,
  RELATIONSHIP_INVALID,
  RELATIONSHIP_MIXED,
  RELATIONSHIP_USED,
  relationshipRecord,
  updateKinds,
  type RelationshipRecord,
} from '../../metadata/records.ts'
import { fitting } from '../../metadata/struct.ts'
import type { Lun } from '../lun/lun.ts'
import { checkUnused, type Luns, type ResizeOptions } from '../lun/luns.ts'
import { isLessRedundant } from '../lun/ranges.ts'
import type { Pool } from '../pool/pool.ts'
import type { ChunkMap } from './chunk-map.ts'
import { checkChunkSize, CHUNK_DEFAULT, runsWhere, type ChunkRun } from './chunks.ts'
import { clearSome } from './clearing.ts'
import { CopyBuffers } from './copy-buffers.ts'
import { Relationship, type UpdateKind } from './relationship.ts'
import type { ThroughVolume } from './tree/snapshot-volume.ts'
import { NO_WOD_UPDATES, updateVerb, updateWords, type Mixed, type UpdateOf, type WodUpdates } from './update-state.ts'
import { CompleteImage, Update, updateRun } from './updates.ts'
import { Volume, type FirstWriteCounts } from './volume.ts'

export type ProcessName = 'completeImage' | UpdateKind
export type FullPolicy = (typeof fullPolicies)[number]

export interface NewRelationship {
  readonly source: string
  readonly image: string
  /** Bytes, a power of two; 32 KiB when left out. */
  readonly chunkBytes?: number
  readonly name?: string
  readonly onFull?: FullPolicy
  readonly dryRun?: boolean
}

export interface EnableOptions {
  /** Drop the maps: the image becomes the source as it is now. */
  readonly fresh: boolean
  readonly forceLostPart: boolean
  readonly forceMixed: boolean
  readonly dryRun?: boolean
}

/** Bytes of the image, one after the other. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

export interface Disabled {
  readonly relationship: Relationship
  readonly changed: boolean
  /** The image owns all of its chunks. */
  readonly complete: boolean
}

export interface Enabled {
  readonly relationship: Relationship
  readonly changed: boolean
  /** Ranges of the image that read the source from now on. */
  readonly lost: readonly ByteRange[]
}

/** What else changes at an instant, in its commit. */
export interface Together {
  /** Volumes that are quiet for it, by number of their LUN. */
  readonly luns: readonly number[]
  /** @param commit makes a batch durable, with what the relationships change; called once */
  change(now: number, commit: (fill: (batch: Batch) => void) => Promise<void>): Promise<void>
}

/** What the directory of snapshots knows of an update under way. */
export interface DuringUpdate {
  /** Names of the snapshots, and of LUNs that are being copied from hidden ones. */
  names(relationship: Relationship): readonly string[]
  /** They cannot be kept: adds that to a commit that is made at once. */
  lose(relationship: Relationship, reason: string, batch: Batch): void
}

/** What clones are copied from; the directory of snapshots knows it. */
export interface CloneSources {
  /** The frozen snapshot. */
  through(clone: Relationship): ThroughVolume
  /** Number of the LUN at the root of it. */
  lun(clone: Relationship): number
}

/** What enabling a relationship is going to do; `lost` may grow until its volumes are quiet. */
interface EnablePlan {
  readonly relationship: Relationship
  readonly changed: boolean
  readonly fresh: boolean
  lost: readonly ByteRange[]
}

/** Pauses between steps that a new relationship starts with (DataCore Fig. 8; tables.md). Milliseconds. */
export const COMPLETE_DELAY_MS = 20
/** Writes acknowledged ahead of what must be durable before them, with what they preserve, of all volumes. Bytes. */
const HOLD_BYTES = 64 * MIB
/** Records deleted in one step, and bits set in one batch. */
const ERASE_STEP = 2000
const MERGE_STEP = 1000
export const DELAY_MAX_MS = 3_600_000

const delayFields = { completeImage: 'completeDelay', imageUpdate: 'imageDelay', sourceUpdate: 'sourceDelay' } as const

/** The relationships of a pool and the volumes they lie over: the directory, and everything that changes their state. */
export class Relationships {
  readonly budget = new ByteBudget(HOLD_BYTES)
  readonly firstWrites: FirstWriteCounts = { times: new Latencies(), writes: 0, bytes: 0 }
  private readonly byNumber = new Map<number, Relationship>()
  /** LUNs that are being copied from snapshots: what users do not see as relationships. */
  private readonly cloned = new Map<number, Relationship>()
  private readonly gone = new Set<number>()
  private readonly volumes = new Map<number, Volume>()
  /** Relationships whose old maps may still have records. */
  private readonly untidy = new Set<number>()
  /** Images whose LUN failed when it was cleared. */
  private readonly unclearable = new Set<Relationship>()
  /** Why a LUN cannot be an image, for other reasons than relationships of this kind. */
  cannotBeImage: (lun: Lun) => string | undefined = () => undefined
  /** Names of the snapshots of a LUN, which read what it holds. */
  snapshotsOf: (lun: Lun) => readonly string[] = () => []
  /** The snapshot that a LUN is being restored to. */
  restoredTo: (lun: Lun) => string | undefined = () => undefined
  cloneSources: CloneSources | undefined
  /** What images on write-once devices do to their sources. */
  wodUpdates: WodUpdates = NO_WOD_UPDATES
  /** Snapshots that were taken during an update of their source, and read what it has still to do. */
  duringUpdate: DuringUpdate = { names: () => [], lose: () => undefined }
  /** State changes come one after the other. */
  readonly changing = new Mutex()

  private constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
  ) {}

  static async load(pool: Pool, luns: Luns): Promise<Relationships> {
    const relationships = new Relationships(pool, luns)
    for await (const { hi, value } of pool.metadata.range(hiOf('relationship'), 0, 0, hiOf('relationship', 0xffff_ffff))) {
      const number = hi - hiOf('relationship')
      const record = decodeRecord(relationshipRecord, value)
      if ((record.flags & RELATIONSHIP_GONE) !== 0) relationships.gone.add(number)
      else if ((record.flags & RELATIONSHIP_CLONE) !== 0) relationships.cloned.set(number, new Relationship(number, record, pool.metadata))
      else relationships.byNumber.set(number, new Relationship(number, record, pool.metadata))
    }
    if (!relationships.readOnly) for (const number of [...relationships.gone, ...relationships.byNumber.keys()]) await relationships.noteOldMaps(number)
    relationships.wire()
    return relationships
  }

  get metadata(): Metadata {
    return this.pool.metadata
  }

  get readOnly(): boolean {
    return this.pool.options.readOnly
  }

  /** In order of number. */
  get all(): Relationship[] {
    return [...this.byNumber.values()]
  }

  volume(lun: number): Volume {
    let volume = this.volumes.get(lun)
    if (!volume) {
      const found = this.luns.byId(lun)
      if (!found) throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use LUN ${lun}`, { why: 'a relationship names it, but the pool has no such LUN' })
      volume = new Volume(found, this, this.pool.options.clock)
      this.volumes.set(lun, volume)
    }
    return volume
  }

  /** Tells every volume its relationships. */
  private wire(): void {
    for (const volume of this.volumes.values()) {
      volume.asImage = undefined
      volume.asSource = []
    }
    for (const relationship of this.all) {
      const source = this.volume(relationship.record.source)
      source.asSource = [...source.asSource, relationship]
      this.volume(relationship.record.image).asImage = relationship
    }
    for (const clone of this.clones) this.volume(clone.record.image).asImage = clone
  }

  /** In order of number. */
  get clones(): Relationship[] {
    return [...this.cloned.values()]
  }

  /** The clone that a LUN still is. */
  cloneOf(lun: Lun): Relationship | undefined {
    return this.clones.find(({ record }) => record.image === lun.number)
  }

  /** Takes a durable record of a clone into the directory. */
  addClone(number: number, record: RelationshipRecord): Relationship {
    const clone = new Relationship(number, record, this.metadata)
    this.cloned.set(number, clone)
    this.wire()
    return clone
  }

  /** A clone whose durable record says it is gone is a LUN like any other. */
  removeClone(clone: Relationship): void {
    this.cloned.delete(clone.number)
    this.gone.add(clone.number)
    this.untidy.add(clone.number)
    this.wire()
  }

  through(relationship: Relationship): ThroughVolume {
    if (!relationship.isClone) return this.volume(relationship.record.source)
    invariant(this.cloneSources, 'the snapshots are loaded before a clone is used')
    return this.cloneSources.through(relationship)
  }

  /** By `3`, `DcsSnap3` in any letter case, or name. @throws LunarError `ERR_RELATIONSHIP_NOT_FOUND`, `ERR_USAGE` when it could be two */
  find(reference: string): Relationship {
    const number = /^(?:dcssnap)?(\d{1,10})$/i.exec(reference)?.[1]
    const byNumber = number === undefined ? undefined : this.byNumber.get(Number(number))
    const byName = this.all.find(({ record }) => record.name === reference)
    if (byNumber && byName && byNumber !== byName) {
      throw new LunarError('ERR_USAGE', `Cannot tell which relationship "${reference}" is`, {
        why: `it is the number of ${byNumber.label} and the name of ${byName.label}`,
        fix: `write DcsSnap${byNumber.number} or DcsSnap${byName.number}`,
      })
    }
    const found = byNumber ?? byName
    if (!found) throw new LunarError('ERR_RELATIONSHIP_NOT_FOUND', `Cannot find relationship "${reference}" in pool "${this.pool.record.name}"`)
    return found
  }

  source(relationship: Relationship): Lun {
    return this.volume(relationship.record.source).lun
  }

  image(relationship: Relationship): Lun {
    return this.volume(relationship.record.image).lun
  }

  /** Relationships that a LUN is the source or the image of, in order of number. */
  of(lun: Lun): Relationship[] {
    const volume = this.volumes.get(lun.number)
    if (!volume) return []
    return [...volume.asSource, ...(volume.asImage && !volume.asImage.isClone ? [volume.asImage] : [])].sort((a, b) => a.number - b.number)
  }

  // ---- what the rest of the pool asks

  /** @throws LunarError `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID`, `ERR_MIXED` when hosts cannot have the volume */
  checkOpen(lun: Lun, force: { readonly mixed: boolean }): void {
    const image = this.volume(lun.number).asImage
    if (image?.isInvalid) {
      throw new LunarError('ERR_IMAGE_INVALID', `Cannot open LUN "${lun.name}"`, {
        why: `it is the image of ${image.label}, which is invalid: ${image.record.reason}`,
        fix: `lunar EnableNewSnap ${image.number}`,
      })
    }
    if (image && !image.isEnabled && image.isUsed && !image.isComplete) {
      throw new LunarError('ERR_IMAGE_INCOMPLETE', `Cannot open LUN "${lun.name}"`, {
        why: `it is the image of ${image.label}, which is disabled and does not own all of its chunks`,
        fix: `lunar EnableSnap ${image.number}`,
      })
    }
    const mixed = force.mixed ? undefined : this.mixedBy(lun)
    if (mixed) {
      throw new LunarError('ERR_MIXED', `Cannot open LUN "${lun.name}"`, {
        why: `${mixed.reason} (${mixed.label})`,
        fix: `lunar Start${updateVerb(mixed.kind)} ${mixed.number}, or repeat it with --force=mixed`,
      })
    }
  }

  /** The update that did not come to its end and left a volume of two instants. */
  mixedBy(lun: Lun): Mixed | undefined {
    const found = this.mixing(lun)
    return found ? { number: found.number, label: found.label, kind: mixedKind(found), reason: found.record.reason } : this.wodUpdates.mixed(lun.number)
  }

  private mixing(lun: Lun): Relationship | undefined {
    return this.of(lun).find(one => one.isMixed && (mixedKind(one) === 'sourceUpdate' ? one.record.source : one.record.image) === lun.number)
  }

  /**
   * Runs a change after which LUNs are of one instant again.
   * @param commit makes durable what `fill` adds, and is called once
   */
  async forgiveMixed(luns: readonly Lun[], commit: (fill: (batch: Batch) => void) => Promise<void>): Promise<void> {
    await this.wodUpdates.forgive(
      luns.map(({ number }) => number),
      async fill => {
        const undo: (() => void)[] = []
        try {
          await commit(batch => {
            fill?.(batch)
            for (const lun of luns) {
              const found = this.mixing(lun)
              if (found) undo.push(found.change({ mixed: 0, reason: '' }, { clear: RELATIONSHIP_MIXED }, batch))
            }
          })
        } catch (error) {
          for (const one of undo) one()
          throw error
        }
      },
    )
  }

  /** The update under way of a relationship that a LUN is the source or the image of. */
  updateOn(lun: Lun): UpdateOf | undefined {
    for (const { number, label, update } of this.of(lun)) if (update) return { number, label, kind: update }
    return this.wodUpdates.running(lun.number)
  }

  /** @throws LunarError `ERR_IN_RELATIONSHIP` with the relationships */
  checkDelete(lun: Lun): void {
    const users = this.of(lun)
    if (users.length === 0) return
    throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot delete LUN "${lun.name}"`, {
      why: users.map(relationship => this.describe(relationship)).join('; '),
      fix: users.map(({ number }) => `lunar snap unconfigure ${number}`).join(', '),
      blockers: users.map(({ label }) => label),
    })
  }

  /**
   * Shrinks a LUN, in the turn of the caller. A relationship that is enabled keeps both of its volumes at the size of its instant (features.md
   * A8); one that is disabled takes what is cut off as written.
   * @throws LunarError `ERR_IN_RELATIONSHIP`, `ERR_RESTORING`, and as `Luns.resize`
   */
  async shrinkNow(lun: Lun, size: number, options: Omit<ResizeOptions, 'cutting'>): Promise<void> {
    const snapshot = this.restoredTo(lun)
    if (snapshot !== undefined)
      throw new LunarError('ERR_RESTORING', `Cannot shrink LUN "${lun.name}"`, {
        why: `it is being restored to "${snapshot}"`,
        fix: 'wait for the end: lunar task list',
      })
    this.checkCut(lun, size)
    await this.luns.resize(lun, size, { ...options, cutting: () => this.noteCut(lun, size) })
  }

  /** @throws LunarError `ERR_IN_RELATIONSHIP` when a relationship needs more of a LUN than a size */
  checkCut(lun: Lun, size: number): void {
    for (const relationship of this.of(lun)) this.checkShrink(relationship, lun, size)
    this.wodUpdates.checkCut(lun, size)
  }

  private checkShrink(relationship: Relationship, lun: Lun, size: number): void {
    const { number, label, record } = relationship
    if (!relationship.isUsed || relationship.isInvalid || size >= record.size) return
    const refuse = (why: string, fix: string): never => {
      throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot shrink LUN "${lun.name}" to ${size} bytes`, { why, fix, blockers: [label] })
    }
    if (relationship.isEnabled)
      refuse(
        `${this.describe(relationship)}, which is enabled with the ${record.size} bytes of its instant`,
        `lunar DisableSnap ${number}; before that lunar StartCompleteImage ${number} --wait, to keep what the image lacks`,
      )
    if (record.image === lun.number && !relationship.isComplete)
      refuse(`${this.describe(relationship)}, which is disabled and of which the image does not own all chunks`, `lunar snap unconfigure ${number}`)
  }

  /** What is cut off a volume counts as written in relationships that are disabled, also when it grows again. */
  async noteCut(lun: Lun, size: number): Promise<void> {
    await this.volume(lun.number).drain()
    for (const relationship of this.of(lun)) {
      const { chunks, record, migrated } = relationship
      if (!relationship.isRecording) continue
      for (const runs of inBatches([chunks.touched(size, Math.max(0, record.size - size))])) {
        for (const run of runs) for (let loading = relationship.load(run); loading; loading = relationship.load(run)) await loading
        const owned = runs.flatMap(run => runsWhere(run, chunk => migrated.has(chunk)))
        const lacking = runs.flatMap(run => runsWhere(run, chunk => !migrated.has(chunk)))
        await this.setBits(relationship.delta, owned)
        await this.setBits(relationship.lost, lacking)
      }
    }
  }

  private describe(relationship: Relationship): string {
    if (relationship.isClone) return `LUN "${this.image(relationship).name}" is still being copied from a snapshot`
    return `${relationship.label} has LUN "${this.image(relationship).name}" as the image of LUN "${this.source(relationship).name}"`
  }

  // ---- configuring

  /** @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_RELATIONSHIP_STATE` */
  configure(spec: NewRelationship): Promise<{ readonly relationship: Relationship; readonly warnings: string[] }> {
    return this.changing.run(async () => {
      const source = this.luns.find(spec.source)
      const image = this.luns.find(spec.image)
      const chunkBytes = spec.chunkBytes ?? CHUNK_DEFAULT
      checkChunkSize(chunkBytes)
      const name = spec.name ?? ''
      if (name !== '') this.checkNewName(name)
      this.checkPair(source, image)
      const now = this.pool.options.clock.wallMs()
      const number = Math.max(1, this.pool.record.nextRelationship)
      const record: RelationshipRecord = {
        relationshipId: this.pool.options.uuids(),
        name,
        source: source.number,
        image: image.number,
        flags: 0,
        chunkShift: Math.log2(chunkBytes),
        onFull: fullPolicies.indexOf(spec.onFull ?? 'fail-writes'),
        update: 0,
        mixed: 0,
        size: source.size,
        createdMs: now,
        enabledMs: 0,
        asOfMs: 0,
        nextEra: 1,
        migratedEra: 0,
        deltaEra: 0,
        lostEra: 0,
        frozenEra: 0,
        blankFrom: 0,
        completeDelay: COMPLETE_DELAY_MS,
        imageDelay: 0,
        sourceDelay: 0,
        reason: '',
      }
      const relationship = new Relationship(number, record, this.metadata)
      const warnings = isLessRedundant(image.ranges, source.ranges, Math.min(image.size, source.size))
        ? [`The image "${image.name}" (${image.raid}) has less redundancy than its source "${source.name}" (${source.raid})`]
        : []
      if (spec.dryRun) return { relationship, warnings }
      this.pool.record = { ...this.pool.record, nextRelationship: number + 1 }
      const batch = new Batch()
      batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
      batch.put(keyOf('relationship', number), relationshipRecord.encode(record))
      this.pool.event(batch, 'relationship.configured', relationship.label, `${source.name} to ${image.name}`)
      await this.metadata.commit(batch, 'admin')
      this.byNumber.set(number, relationship)
      this.wire()
      return { relationship, warnings }
    })
  }

  private checkNewName(name: string): void {
    checkName('relationship', name)
    if (/^(?:dcssnap)?\d+$/i.test(name))
      throw new LunarError('ERR_BAD_NAME', `Cannot use "${name}" as the name of a relationship`, { why: 'it looks like a number' })
    if (this.all.some(({ record }) => record.name === name))
      throw new LunarError('ERR_EXISTS', `Cannot use "${name}" as the name of a relationship`, { why: 'there is one of this name' })
  }

  private checkPair(source: Lun, image: Lun): void {
    const cannot = (why: string, fix?: string): never => {
      throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot make LUN "${image.name}" an image of LUN "${source.name}"`, {
        why,
        ...(fix === undefined ? {} : { fix }),
      })
    }
    if (source === image) cannot('they are one LUN', 'name another LUN as the image')
    if (image.size < source.size) cannot(`it has ${image.size} bytes, the source has ${source.size}`, `lunar lun resize ${image.name} --size ${source.size}`)
    const other = this.volume(image.number).asImage
    if (other) cannot(this.describe(other))
    const used = this.cannotBeImage(image)
    if (used !== undefined) cannot(used)
    for (let above = this.volume(source.number).asImage; above; above = this.volume(this.sourceLun(above)).asImage)
      if (this.sourceLun(above) === image.number) cannot(`the source is made of it: ${this.describe(above)}`)
    for (const lun of [source, image]) this.luns.checkOwn(lun, 'use in a relationship')
    for (const lun of [source, image]) if (lun.isIncomplete) throw new LunarError('ERR_INCOMPLETE', `Cannot use LUN "${lun.name}" in a relationship`)
  }

  /** Number of the LUN that an image is made of, whatever lies in between. */
  private sourceLun(relationship: Relationship): number {
    return relationship.isClone && this.cloneSources ? this.cloneSources.lun(relationship) : relationship.record.source
  }

  /** Holds off unconfiguring. @returns what ends that; calling it twice is harmless */
  hold(relationship: Relationship): () => void {
    let open = true
    relationship.holders++
    return () => {
      if (open) relationship.holders--
      open = false
    }
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` when it is in use, `ERR_BUSY` while handles are open on it */
  unconfigure(relationship: Relationship, options: { readonly dryRun?: boolean } = {}): Promise<void> {
    return this.changing.run(async () => {
      if (relationship.isEnabled) relationship.refuse('unconfigure', 'it is enabled', `lunar DisableSnap ${relationship.number}`)
      this.checkNotHeld(relationship)
      const image = this.image(relationship)
      const partial = relationship.isUsed && !relationship.isComplete
      if (partial) this.checkNoDependants(relationship, 'unconfigure')
      if (options.dryRun) return
      if (partial) await this.markImagesOf(relationship)
      else await this.clear(relationship)
      // Writes under way mark chunks of it, and those that come after would go past them.
      await whilePaused(this.volumesOf([relationship]), async () => {
        const batch = new Batch()
        const undo = [relationship.change({}, { set: RELATIONSHIP_GONE }, batch)]
        // What such an image holds is of no use as a LUN: it says so from the moment it is one.
        if (partial) undo.push(this.luns.markIncomplete(image, batch))
        this.pool.event(batch, 'relationship.unconfigured', relationship.label, this.describe(relationship))
        await this.commit(batch, () => {
          for (const one of undo) one()
        })
        this.byNumber.delete(relationship.number)
        this.gone.add(relationship.number)
        this.untidy.add(relationship.number)
        this.wire()
      })
    })
  }

  private checkNotHeld({ label, holders }: Relationship): void {
    if (holders === 0) return
    throw new LunarError('ERR_BUSY', `Cannot unconfigure ${label}`, {
      why: holders === 1 ? 'a program has a handle of it open' : `programs have ${holders} handles of it open`,
      fix: 'close the handles (DcsPITDeviceCloseHandle), or end the programs',
    })
  }

  // ---- enabling and disabling

  /**
   * Enables relationships at one instant (DataCore Fig. 7, 714; features.md B4).
   * @throws LunarError `ERR_LOST_PART` with the ranges, `ERR_MIXED`, `ERR_BUSY`, `ERR_RELATIONSHIP_STATE`
   */
  enable(relationships: readonly Relationship[], options: EnableOptions): Promise<Enabled[]> {
    return this.changing.run(() => this.enableNow(relationships, options))
  }

  /** The same in the turn of the caller, with what else is to happen at that instant. */
  async enableNow(relationships: readonly Relationship[], options: EnableOptions, together?: Together): Promise<Enabled[]> {
    const plans: EnablePlan[] = []
    for (const relationship of new Set(relationships)) plans.push(await this.planEnable(relationship, options))
    const due = plans.filter(({ changed }) => changed)
    for (const plan of due) this.checkTogether(plan, due)
    if ((due.length > 0 || together) && !options.dryRun) {
      // What a read still copies for an update that was stopped is of the instant before.
      for (const { relationship } of due) {
        await relationship.locks.settled()
        await this.clear(relationship)
      }
      for (const plan of due) if (plan.fresh || plan.lost.length > 0) await this.markImagesOf(plan.relationship)
      const now = this.pool.options.clock.wallMs()
      const instant = (): Promise<void> =>
        this.atOneInstant(
          due.map(({ relationship }) => relationship),
          async batch => {
            // What was written to a source since it was looked at counts: now nothing more comes.
            for (const plan of due) if (!plan.fresh) await this.replan(plan, due, options)
            return due.map(plan => {
              const { record } = plan.relationship
              const era = record.nextEra
              this.pool.event(batch, plan.fresh ? 'relationship.enabledNew' : 'relationship.enabled', plan.relationship.label, this.describe(plan.relationship))
              if (plan.fresh) {
                return plan.relationship.change(
                  {
                    size: this.source(plan.relationship).size,
                    blankFrom: this.behind(plan.relationship),
                    migratedEra: era,
                    deltaEra: era + 1,
                    lostEra: era + 2,
                    frozenEra: 0,
                    nextEra: era + 3,
                    asOfMs: now,
                    enabledMs: now,
                    update: 0,
                    mixed: 0,
                    reason: '',
                  },
                  {
                    set: RELATIONSHIP_ENABLED | RELATIONSHIP_USED,
                    clear: RELATIONSHIP_INVALID | RELATIONSHIP_MIXED | RELATIONSHIP_COMPLETE | RELATIONSHIP_COMPLETING,
                  },
                  batch,
                )
              }
              const forgotten = plan.lost.length > 0 ? { lostEra: era, nextEra: era + 1 } : {}
              return plan.relationship.change(
                { enabledMs: now, ...forgotten },
                { set: RELATIONSHIP_ENABLED, clear: RELATIONSHIP_COMPLETE | RELATIONSHIP_MIXED },
                batch,
              )
            })
          },
          together && { luns: together.luns, change: commit => together.change(now, commit) },
        )
      // Nothing is cleared for the new instants before they are durable.
      await due.reduceRight<() => Promise<void>>(
        (inner, { relationship }) =>
          () =>
            relationship.clearing.run(inner),
        instant,
      )()
    }
    return plans
  }

  /** Where an image that is larger than its source ends as its source does, from where on it is zeros; 0 when nothing is behind that. */
  private behind(relationship: Relationship): number {
    const { size } = this.source(relationship)
    return this.image(relationship).size > size ? size : 0
  }

  /** What the image's LUN holds behind the instant is cleared, durably, when it resolves. */
  async clear(relationship: Relationship): Promise<void> {
    while (await clearSome(relationship, this.image(relationship), this.metadata));
  }

  /** A source that is an image cannot become another one at the very instant that is taken of it. */
  private checkTogether({ relationship, fresh, lost }: EnablePlan, due: readonly EnablePlan[]): void {
    const made = due.find(other => other.relationship.record.source === relationship.record.image)
    if (made && (fresh || lost.length > 0))
      made.relationship.refuse('enable', `its source is the image of ${relationship.label}, which changes at the same instant`, 'enable one after the other')
  }

  /** Looks again at what is lost of an image, with its volumes quiet: what was planned is held to the same rules. */
  private async replan(plan: EnablePlan, due: readonly EnablePlan[], options: EnableOptions): Promise<void> {
    const { relationship } = plan
    const lost = await this.lostRanges(relationship)
    const bytes = (ranges: readonly ByteRange[]): number => ranges.reduce((sum, { length }) => sum + length, 0)
    if (bytes(lost) === bytes(plan.lost)) return
    const first = plan.lost.length === 0
    plan.lost = lost
    this.checkLost(relationship, lost, options)
    this.checkNoDependants(relationship, 'enable')
    this.checkTogether(plan, due)
    if (first) await this.markImagesOf(relationship)
  }

  private async planEnable(relationship: Relationship, options: EnableOptions): Promise<EnablePlan> {
    const fresh = options.fresh || !relationship.isUsed
    if (relationship.isInvalid && !fresh)
      relationship.refuse('enable', `it is invalid: ${relationship.record.reason}`, `lunar EnableNewSnap ${relationship.number}`)
    if (relationship.isEnabled && !fresh) return { relationship, changed: false, lost: [], fresh }
    this.checkNoUpdate(relationship, 'enable')
    if (relationship.isCompleting) relationship.refuse('enable', 'complete image is running', `lunar StopCompleteImage ${relationship.number}`)
    checkUnused(this.image(relationship), `enable ${relationship.label}`)
    const source = this.source(relationship)
    const image = this.image(relationship)
    this.checkWhole(source, `enable ${relationship.label}`)
    if (fresh) this.luns.checkUnprotected(image, `replace what is on the image of ${relationship.label},`)
    if (image.size < source.size && fresh)
      relationship.refuse(
        'enable',
        `the source has grown to ${source.size} bytes, the image has ${image.size}`,
        `lunar lun resize ${image.name} --size ${source.size}`,
      )
    const cut = fresh ? undefined : [source, image].find(({ size }) => size < relationship.record.size)
    if (cut)
      relationship.refuse(
        'enable',
        `LUN "${cut.name}" was shrunk to ${cut.size} bytes while it was disabled, its instant has ${relationship.record.size}`,
        `lunar EnableNewSnap ${relationship.number}`,
      )
    const mixed = [source, ...(fresh ? [] : [image])].map(lun => this.mixedBy(lun)).find(found => found !== undefined)
    if (mixed && !options.forceMixed) throw new LunarError('ERR_MIXED', `Cannot enable ${relationship.label}`, { why: `${mixed.reason} (${mixed.label})` })
    const lost = fresh ? [] : await this.lostRanges(relationship)
    this.checkLost(relationship, lost, options)
    if (fresh || lost.length > 0) this.checkNoDependants(relationship, 'enable')
    return { relationship, changed: true, lost, fresh }
  }

  /** @throws LunarError `ERR_LOST_PART` with the ranges unless that is forced */
  private checkLost(relationship: Relationship, lost: readonly ByteRange[], options: EnableOptions): void {
    if (lost.length === 0 || options.forceLostPart) return
    throw new LunarError('ERR_LOST_PART', `Cannot enable ${relationship.label}`, {
      why: `the source was written while it was disabled; lost of the image: ${lost
        .slice(0, 8)
        .map(({ offset, length }) => `${offset}+${length}`)
        .join(', ')}${lost.length > 8 ? `, and ${lost.length - 8} more` : ''}`,
      blockers: lost.map(({ offset, length }) => `${offset}+${length}`),
    })
  }

  /** Ranges of the image that its source was written in while the relationship was disabled. */
  async lostRanges(relationship: Relationship): Promise<ByteRange[]> {
    const ranges: ByteRange[] = []
    for await (const run of relationship.lost.runs()) ranges.push({ offset: relationship.chunks.offsetOf(run.from), length: relationship.chunks.lengthOf(run) })
    return ranges
  }

  /** Takes relationships out of all I/O at one instant; maps and data stay. @throws LunarError `ERR_BUSY`, `ERR_RELATIONSHIP_STATE` */
  disable(relationships: readonly Relationship[], options: { readonly dryRun?: boolean } = {}): Promise<Disabled[]> {
    return this.changing.run(() => this.disableNow(relationships, options))
  }

  /** The same in the turn of the caller, with what else is to happen at that instant. */
  async disableNow(relationships: readonly Relationship[], options: { readonly dryRun?: boolean }, together?: Together): Promise<Disabled[]> {
    const due = [...new Set(relationships)].filter(({ isEnabled }) => isEnabled)
    for (const relationship of due) {
      this.checkNoUpdate(relationship, 'disable')
      checkUnused(this.image(relationship), `disable ${relationship.label}`)
      if (!(await this.isWhole(relationship))) this.checkNoDependants(relationship, 'disable')
    }
    if ((due.length > 0 || together) && !options.dryRun) {
      const now = this.pool.options.clock.wallMs()
      await this.atOneInstant(
        due,
        async batch => {
          const whole = new Map<Relationship, boolean>()
          for (const relationship of due) whole.set(relationship, await this.isWhole(relationship))
          return due.map(relationship => {
            this.pool.event(batch, 'relationship.disabled', relationship.label, this.describe(relationship))
            return relationship.change(
              {},
              { set: whole.get(relationship) ? RELATIONSHIP_COMPLETE : 0, clear: RELATIONSHIP_ENABLED | RELATIONSHIP_COMPLETING },
              batch,
            )
          })
        },
        together && { luns: together.luns, change: commit => together.change(now, commit) },
      )
    }
    const results = []
    for (const relationship of new Set(relationships))
      results.push({
        relationship,
        changed: due.includes(relationship),
        complete: relationship.isUsed && !relationship.isInvalid && (await this.isWhole(relationship)),
      })
    return results
  }

  /** The image owns every chunk. */
  async isWhole(relationship: Relationship): Promise<boolean> {
    return !relationship.isInvalid && relationship.isUsed && (await relationship.migrated.count()) === relationship.chunks.count
  }

  /** Everything acknowledged of the volumes is durable, nothing is in flight, and then one commit (features.md C1; hazard 8). */
  private async atOneInstant(
    relationships: readonly Relationship[],
    change: (batch: Batch) => (() => void)[] | Promise<(() => void)[]>,
    together?: { readonly luns: readonly number[]; change(commit: (fill: (batch: Batch) => void) => Promise<void>): Promise<void> },
  ): Promise<void> {
    await whileQuiet(this.volumesOf(relationships, together?.luns), async () => {
      const commit = async (fill?: (batch: Batch) => void): Promise<void> => {
        const batch = new Batch()
        const undo = await change(batch)
        fill?.(batch)
        await this.commit(batch, () => {
          for (const one of undo) one()
        })
      }
      await (together ? together.change(commit) : commit())
      for (const { number } of relationships) await this.noteOldMaps(number)
    })
  }

  /** Sources and images, and other LUNs, each once and in one order. */
  private volumesOf(relationships: readonly Relationship[], others: readonly number[] = []): Volume[] {
    const numbers = [...new Set(relationships.flatMap(({ record }) => [record.source, record.image]).concat(others))].sort((a, b) => a - b)
    return numbers.map(number => this.volume(number))
  }

  private async commit(batch: Batch, undo: () => void): Promise<void> {
    try {
      await this.metadata.commit(batch, 'admin', true)
    } catch (error) {
      undo()
      throw error
    }
  }

  /** An image changes as a whole: whatever was made of it and owns all its chunks differs everywhere from now on. */
  private async markImagesOf(relationship: Relationship): Promise<void> {
    for (const dependant of this.volume(relationship.record.image).asSource) {
      if (!dependant.isUsed || dependant.isInvalid) continue
      for (const runs of inBatches([{ from: 0, to: dependant.chunks.count }])) await this.setBits(dependant.delta, runs)
    }
  }

  private async setBits(bits: ChunkMap, runs: readonly ChunkRun[]): Promise<void> {
    if (runs.length === 0) return
    for (const run of runs) for (let loading = bits.load(run); loading; loading = bits.load(run)) await loading
    const batch = new Batch()
    bits.put(runs, true, batch)
    await this.metadata.commit(batch, 'data', true)
    for (const run of runs) for (let loading = bits.load(run); loading; loading = bits.load(run)) await loading
    bits.remember(runs, true)
  }

  // ---- checks

  /** What a source holds must mean something. @throws LunarError `ERR_INCOMPLETE`, `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID` */
  private checkWhole(source: Lun, what: string): void {
    this.checkOpen(source, { mixed: true })
    if (source.isIncomplete) throw new LunarError('ERR_INCOMPLETE', `Cannot ${what}`, { why: `an import into its source "${source.name}" has not ended` })
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` unless it is enabled and valid */
  private checkActive(relationship: Relationship, what: string): void {
    if (!relationship.isEnabled) relationship.refuse(what, 'it is disabled', `lunar EnableSnap ${relationship.number}`)
    if (relationship.isInvalid) relationship.refuse(what, `it is invalid: ${relationship.record.reason}`, `lunar EnableNewSnap ${relationship.number}`)
  }

  /** One update at a time on a volume; state changes wait for its end. */
  private checkNoUpdate(relationship: Relationship, what: string): void {
    for (const lun of [this.source(relationship), this.image(relationship)]) {
      const snapshot = this.restoredTo(lun)
      if (snapshot !== undefined) relationship.refuse(what, `LUN "${lun.name}" is being restored to ${snapshot}`, 'wait for the end: lunar task list')
      const other = this.updateOn(lun)
      if (other) relationship.refuse(what, `${updateWords(other.kind)} of ${other.label} is under way`, `lunar Stop${updateVerb(other.kind)} ${other.number}`)
    }
  }

  /** Images of this image read through it unless they own all of their chunks. */
  private checkNoDependants(relationship: Relationship, what: string): void {
    const snapshots = this.snapshotsOf(this.image(relationship))
    if (snapshots.length > 0)
      throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot ${what} ${relationship.label}`, {
        why: `its image has snapshots that read through it: ${snapshots.join(', ')}`,
        fix: `lunar snap delete ${snapshots.join(' ')}`,
        blockers: snapshots,
      })
    const dependants = this.volume(relationship.record.image).asSource.filter(one => one.isUsed && !one.isInvalid && !one.isComplete)
    if (dependants.length === 0) return
    throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot ${what} ${relationship.label}`, {
      why: `its image has images of its own: ${dependants.map(one => this.describe(one)).join('; ')}`,
      fix: 'complete and disable them, or unconfigure them',
      blockers: dependants.map(({ label }) => label),
    })
  }

  // ---- processes

  /** @returns whether it did not run yet. @throws LunarError `ERR_RELATIONSHIP_STATE` */
  startComplete(relationship: Relationship, options: { readonly dryRun?: boolean } = {}): Promise<boolean> {
    return this.changing.run(async () => {
      this.checkActive(relationship, 'complete the image of')
      if (relationship.isCompleting) return false
      if (!options.dryRun) await this.setFlags(relationship, { set: RELATIONSHIP_COMPLETING })
      return true
    })
  }

  /** @returns whether it ran */
  stopComplete(relationship: Relationship): Promise<boolean> {
    return this.changing.run(async () => {
      if (!relationship.isCompleting) return false
      await this.setFlags(relationship, { clear: RELATIONSHIP_COMPLETING })
      return true
    })
  }

  private async setFlags(relationship: Relationship, flags: { set?: number; clear?: number }, change: Partial<RelationshipRecord> = {}): Promise<void> {
    const batch = new Batch()
    const undo = relationship.change(change, flags, batch)
    await this.commit(batch, undo)
  }

  /** The differences of this instant are frozen; from now on the volume reads as updated. @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY` */
  startUpdate(relationship: Relationship, kind: UpdateKind, options: { readonly dryRun?: boolean } = {}): Promise<boolean> {
    return this.changing.run(async () => {
      const what = kind === 'sourceUpdate' ? 'update the source of' : 'update the image of'
      this.checkActive(relationship, what)
      if (relationship.update === kind) return false
      this.checkNoUpdate(relationship, what)
      this.checkWhole(this.source(relationship), `${what} ${relationship.label}`)
      const target = kind === 'sourceUpdate' ? this.source(relationship) : this.image(relationship)
      checkUnused(target, `${what} ${relationship.label}`)
      if (target.isProtected)
        throw new LunarError('ERR_PROTECTED', `Cannot ${what} ${relationship.label}`, {
          why: `LUN "${target.name}" is protected`,
          fix: `lunar lun unprotect ${target.name}`,
        })
      if (options.dryRun) return true
      const { deltaEra, nextEra } = relationship.record
      await this.atOneInstant([relationship], batch => {
        this.pool.event(batch, `relationship.${kind}`, relationship.label, 'started')
        return [
          relationship.change(
            {
              update: updateKinds.indexOf(kind),
              frozenEra: deltaEra,
              deltaEra: nextEra,
              nextEra: nextEra + 1,
              ...(kind === 'imageUpdate' ? { asOfMs: this.pool.options.clock.wallMs() } : {}),
            },
            {},
            batch,
          ),
        ]
      })
      return true
    })
  }

  /** Nothing is frozen any more: both volumes are equal but for what was written since. */
  private async finishUpdate(relationship: Relationship): Promise<void> {
    const kind = relationship.update
    if (!kind) return
    const over = relationship.isMixed && updateKinds[relationship.record.mixed] === kind
    const batch = new Batch()
    const undo = relationship.change({ update: 0, frozenEra: 0, ...(over ? { mixed: 0, reason: '' } : {}) }, over ? { clear: RELATIONSHIP_MIXED } : {}, batch)
    this.pool.event(batch, `relationship.${kind}`, relationship.label, 'done')
    await this.commit(batch, undo)
    await this.noteOldMaps(relationship.number)
  }

  /**
   * Ends an update before its end, when its process runs no more: what is left goes back into the delta, locks fall, and the
   * volume it wrote is of two instants. @returns bytes left
   */
  stopUpdate(relationship: Relationship, reason: string): Promise<number> {
    return this.changing.run(async () => {
      const kind = relationship.update
      if (!kind) return 0
      await this.checkStopUpdate(relationship)
      let left = 0
      let runs: ChunkRun[] = []
      for await (const run of relationship.frozen.runs()) {
        left += relationship.chunks.lengthOf(run)
        runs.push(run)
        if (runs.length < MERGE_STEP) continue
        for (const some of inBatches(runs)) await this.setBits(relationship.delta, some)
        runs = []
      }
      for (const some of inBatches(runs)) await this.setBits(relationship.delta, some)
      if (left === 0) {
        await this.finishUpdate(relationship)
        return 0
      }
      const target = kind === 'sourceUpdate' ? this.source(relationship) : this.image(relationship)
      const why = `an update of "${target.name}" ended before its end: ${reason}`
      // Paused: a source write that no longer preserves for the frozen set must not be durable before the set is known to be given up.
      await whilePaused(this.volumesOf([relationship]), async () => {
        const batch = new Batch()
        const undo = relationship.change(
          { update: 0, frozenEra: 0, mixed: updateKinds.indexOf(kind), reason: fitting(why, REASON_MAX) },
          { set: RELATIONSHIP_MIXED },
          batch,
        )
        this.pool.event(batch, 'relationship.mixed', relationship.label, why)
        await this.commit(batch, undo)
      })
      await this.noteOldMaps(relationship.number)
      return left
    })
  }

  /** @throws LunarError `ERR_HAS_SNAPSHOTS` when some were taken during the update, and read what it has still to do */
  async checkStopUpdate(relationship: Relationship): Promise<void> {
    const names = relationship.update ? this.duringUpdate.names(relationship) : []
    if (names.length === 0 || (await relationship.frozen.count()) === 0) return
    throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot stop the update of ${relationship.label}`, {
      why: `${names.join(', ')} ${names.length === 1 ? 'was' : 'were'} taken during it, and ${names.length === 1 ? 'reads' : 'read'} what it has still to copy`,
      fix: `wait for its end: lunar GetSnapStatus ${relationship.number}; or delete them`,
      blockers: names,
    })
  }

  /** The relationship whose update writes a LUN. */
  updating(lun: Lun): Relationship | undefined {
    return this.of(lun).find(({ update, record }) => update !== undefined && (update === 'sourceUpdate' ? record.source : record.image) === lun.number)
  }

  /** The process of a kind, to be run; undefined when the relationship wants none. */
  async process(relationship: Relationship, kind: ProcessName): Promise<CompleteImage | Update | undefined> {
    const now = (): number => this.pool.options.clock.monotonicMs()
    let body: CompleteImage | Update | undefined
    if (kind === 'completeImage' && relationship.isCompleting && relationship.isActive)
      body = new CompleteImage(this, relationship, now, () => this.setFlags(relationship, { clear: RELATIONSHIP_COMPLETING }))
    if (kind !== 'completeImage' && relationship.update === kind) body = new Update(this, relationship, now, () => this.finishUpdate(relationship))
    await body?.begin()
    return body
  }

  /** @returns what it was */
  setDelay(relationship: Relationship, kind: ProcessName, delay: number, options: { readonly dryRun?: boolean } = {}): Promise<number> {
    return this.changing.run(async () => {
      checkDelay(delay)
      const field = delayFields[kind]
      const was = relationship.record[field]
      if (was !== delay && !options.dryRun) await this.setFlags(relationship, {}, { [field]: delay })
      return was
    })
  }

  delayOf(relationship: Relationship, kind: ProcessName): number {
    return relationship.record[delayFields[kind]]
  }

  // ---- what volumes ask

  async settle(relationship: Relationship, run: ChunkRun, broken?: (error: unknown) => Promise<void>): Promise<void> {
    await updateRun(this, relationship, run, CopyBuffers.none, broken)
  }

  /** The image cannot be kept any more: durable before the source changes. */
  async invalidate(relationship: Relationship, error: unknown): Promise<void> {
    if (relationship.isInvalid) return
    const reason = error instanceof LunarError ? `${error.message}${error.why === '' ? '' : `: ${error.why}`}` : String(error)
    const batch = new Batch()
    // What was taken during an update reads what that will not copy any more.
    if (relationship.update) this.duringUpdate.lose(relationship, reason, batch)
    // A source update that ends here leaves its source of two instants.
    const mixed = relationship.update === 'sourceUpdate'
    relationship.change(
      { reason: fitting(reason, REASON_MAX), update: 0, frozenEra: 0, ...(mixed ? { mixed: updateKinds.indexOf('sourceUpdate') } : {}) },
      { set: RELATIONSHIP_INVALID | (mixed ? RELATIONSHIP_MIXED : 0), clear: RELATIONSHIP_COMPLETING },
      batch,
    )
    this.pool.event(batch, 'relationship.invalid', relationship.label, reason)
    this.untidy.add(relationship.number)
    await this.metadata.commit(batch, 'admin', true)
  }

  /** Everything acknowledged has reached the LUNs. */
  async drain(): Promise<void> {
    for (const volume of this.volumes.values()) await volume.drain()
  }

  // ---- old maps

  /** Where nothing is to be tidied, no task has to run for it. */
  private async noteOldMaps(number: number): Promise<void> {
    const eras = this.byNumber.get(number)?.eras ?? NO_ERAS
    if (this.gone.has(number) || (await dropEras(this.metadata, hiOf('chunks', number), eras, 1, new Batch())) > 0) this.untidy.add(number)
  }

  get needsTidying(): boolean {
    return this.untidy.size > 0 || this.toClear !== undefined
  }

  private get toClear(): Relationship | undefined {
    return this.all.find(relationship => relationship.record.blankFrom > 0 && !this.unclearable.has(relationship))
  }

  /** @returns whether something is left */
  private async clearNext(relationship: Relationship): Promise<boolean> {
    try {
      await clearSome(relationship, this.image(relationship), this.metadata)
    } catch (error) {
      if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      // It reads as zeros all the same; the rest of the pool does not wait for it.
      this.unclearable.add(relationship)
      this.pool.warnings.push(
        `LUN "${this.image(relationship).name}" keeps space that nothing needs: ${error.message}${error.why === '' ? '' : `: ${error.why}`}`,
      )
    }
    return this.needsTidying
  }

  /** Deletes a bounded number of records of maps that mean nothing any more, or clears a part of what lies behind an instant. @returns whether something is left */
  async tidy(): Promise<boolean> {
    if (this.toClear) return this.clearNext(this.toClear)
    for (const number of this.untidy) {
      const relationship = this.byNumber.get(number)
      const batch = new Batch()
      const dropped = await dropEras(this.metadata, hiOf('chunks', number), relationship?.eras ?? NO_ERAS, ERASE_STEP, batch)
      if (dropped < ERASE_STEP) {
        this.untidy.delete(number)
        if (this.gone.delete(number)) batch.delete(keyOf('relationship', number))
      }
      if (!batch.isEmpty) await this.metadata.commit(batch, 'data', true)
      if (dropped > 0) return true
    }
    return this.untidy.size > 0
  }
}

const mixedKind = ({ record }: Relationship): UpdateKind => (updateKinds[record.mixed] === 'imageUpdate' ? 'imageUpdate' : 'sourceUpdate')

/** @throws LunarError `ERR_USAGE` unless it is a pause between steps, in milliseconds, or `PACE_ADAPTIVE` */
export function checkDelay(delay: number): void {
  if (delay === PACE_ADAPTIVE || (Number.isInteger(delay) && delay >= 0 && delay <= DELAY_MAX_MS)) return
  throw new LunarError('ERR_USAGE', `Cannot set a delay of ${delay}`, { why: `it is a whole number of milliseconds up to ${DELAY_MAX_MS}, or adaptive` })
}

/** Runs in groups whose bits fit into one batch. */
function* inBatches(runs: readonly ChunkRun[]): Generator<ChunkRun[]> {
  let group: ChunkRun[] = []
  let bytes = 0
  for (const run of runs) {
    for (let from = run.from; from < run.to;) {
      const to = Math.min(run.to, from + 8 * MERGE_STEP)
      group.push({ from, to })
      bytes += (to - from) / 8 + 2
      from = to
      if (bytes < MERGE_STEP) continue
      yield group
      group = []
      bytes = 0
    }
  }
  if (group.length > 0) yield group
}
