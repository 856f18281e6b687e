import { LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import type { LockMode, Release } from '../block/range-lock.ts'
import type { Batch } from '../../metadata/batch.ts'
import type { Eras } from '../../metadata/eras.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import {
  RELATIONSHIP_CLONE,
  RELATIONSHIP_COMPLETE,
  RELATIONSHIP_COMPLETING,
  RELATIONSHIP_ENABLED,
  RELATIONSHIP_INVALID,
  RELATIONSHIP_MIXED,
  RELATIONSHIP_USED,
  relationshipRecord,
  updateKinds,
  type RelationshipRecord,
} from '../../metadata/records.ts'
import { ChunkLocks } from './chunk-locks.ts'
import { ChunkMap } from './chunk-map.ts'
import { Chunking, type ChunkRun } from './chunks.ts'

export type RelationshipState = 'disabled' | 'enabled' | 'updating' | 'mixed' | 'invalid'
export type UpdateKind = 'imageUpdate' | 'sourceUpdate'
type MapName = 'migrated' | 'delta' | 'lost' | 'frozen'

/** A configured relationship: its record, its chunk maps, and the locks on its chunks. */
export class Relationship {
  readonly locks = new ChunkLocks()
  /** Handles that are open on it: while there are any it is not unconfigured. */
  holders = 0
  /** What the image's LUN holds from here on is still to be cleared, durably: until then nobody else may write there. Bytes. */
  unclearedFrom: number
  /** Parts of it are cleared one after the other. */
  readonly clearing = new Mutex()
  chunks: Chunking
  migrated!: ChunkMap
  delta!: ChunkMap
  lost!: ChunkMap
  frozen!: ChunkMap

  constructor(
    readonly number: number,
    public record: RelationshipRecord,
    private readonly metadata: Metadata,
  ) {
    this.chunks = new Chunking(2 ** record.chunkShift, record.size)
    this.unclearedFrom = this.blankFrom
    this.openMaps()
  }

  /** What it is called in messages. */
  get label(): string {
    return this.record.name === '' ? `DcsSnap${this.number}` : `DcsSnap${this.number} (${this.record.name})`
  }

  /** From here on the image reads as zeros, whatever its LUN holds; `Infinity` when all of that is the image's. Bytes. */
  get blankFrom(): number {
    return this.record.blankFrom === 0 ? Infinity : this.record.blankFrom
  }

  private flag(bit: number): boolean {
    return (this.record.flags & bit) !== 0
  }
  get isEnabled(): boolean {
    return this.flag(RELATIONSHIP_ENABLED)
  }
  /** It was enabled before, so that its maps mean something. */
  get isUsed(): boolean {
    return this.flag(RELATIONSHIP_USED)
  }
  get isInvalid(): boolean {
    return this.flag(RELATIONSHIP_INVALID)
  }
  get isMixed(): boolean {
    return this.flag(RELATIONSHIP_MIXED)
  }
  /** While disabled: the image is a LUN of its own. */
  get isComplete(): boolean {
    return this.flag(RELATIONSHIP_COMPLETE)
  }
  get isCompleting(): boolean {
    return this.flag(RELATIONSHIP_COMPLETING)
  }
  /** A LUN that is copied from a snapshot (features.md C4): its source never changes. */
  get isClone(): boolean {
    return this.flag(RELATIONSHIP_CLONE)
  }
  /** Takes part in the I/O of both volumes. */
  get isActive(): boolean {
    return this.isEnabled && !this.isInvalid
  }
  /** Disabled, and keeping account of what changes. */
  get isRecording(): boolean {
    return !this.isEnabled && this.isUsed && !this.isInvalid
  }
  get update(): UpdateKind | undefined {
    const kind = updateKinds[this.record.update]
    return kind === 'none' ? undefined : kind
  }
  get state(): RelationshipState {
    if (this.isInvalid) return 'invalid'
    if (this.update) return 'updating'
    if (this.isMixed) return 'mixed'
    return this.isEnabled ? 'enabled' : 'disabled'
  }

  /** Locks a run; a promise only when it must wait. */
  lock(run: ChunkRun, mode: LockMode): Release | Promise<Release> {
    const granted = this.locks.lock(run, mode)
    const trimming = (release: Release) => (): void => {
      release()
      if (this.locks.idle) for (const map of this.maps) map.trim()
    }
    return granted instanceof Promise ? granted.then(trimming) : trimming(granted)
  }

  get maps(): readonly ChunkMap[] {
    return [this.migrated, this.delta, this.lost, this.frozen]
  }

  /** Undefined when the pages of all maps for a run are in memory; else resolves when more of them are, to be asked again. */
  load(run: ChunkRun): Promise<void> | undefined {
    return this.migrated.load(run) ?? this.delta.load(run) ?? this.lost.load(run) ?? this.frozen.load(run)
  }

  /** Whether an update still has to do a chunk of the run; its pages are loaded. */
  hasFrozen({ from, to }: ChunkRun): boolean {
    if (this.record.frozenEra === 0) return false
    for (let chunk = from; chunk < to; chunk++) if (this.frozen.has(chunk)) return true
    return false
  }

  /** Bytes that an update still has to do, in order. */
  async *frozenRanges(): AsyncGenerator<{ readonly offset: number; readonly length: number }> {
    if (this.record.frozenEra === 0) return
    const { chunks } = this
    for await (const run of this.frozen.runs()) yield { offset: chunks.offsetOf(run.from), length: chunks.lengthOf(run) }
  }

  /**
   * Changes the record at once and adds it to the batch. Maps of new eras are empty; whoever starts one has both volumes quiet.
   * @returns what takes it back when the batch was refused
   */
  change(change: Partial<RelationshipRecord>, flags: { set?: number; clear?: number }, batch: Batch): () => void {
    const before = this.record
    const after = { ...before, ...change, flags: (before.flags & ~(flags.clear ?? 0)) | (flags.set ?? 0) }
    batch.put(keyOf('relationship', this.number), relationshipRecord.encode(after))
    this.become(after)
    return () => {
      if (this.record === after) this.become(before)
    }
  }

  private become(record: RelationshipRecord): void {
    this.record = record
    // It grows when it is durable that something was cleared.
    this.unclearedFrom = Math.min(this.unclearedFrom, this.blankFrom)
    this.chunks = new Chunking(2 ** record.chunkShift, record.size)
    this.openMaps()
  }

  /** A map whose era did not change keeps its pages. */
  private openMaps(): void {
    for (const name of ['migrated', 'delta', 'lost', 'frozen'] as const) {
      const era = this.record[`${name satisfies MapName}Era`]
      const current = this[name] as ChunkMap | undefined
      if (current?.era !== era) this[name] = new ChunkMap(this.metadata, this.number, era)
    }
  }

  /** Eras whose records mean something. */
  get eras(): Eras {
    return { inUse: new Set(this.maps.map(map => map.era)), next: this.record.nextEra }
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` */
  refuse(what: string, why: string, fix?: string): never {
    throw new LunarError('ERR_RELATIONSHIP_STATE', `Cannot ${what} ${this.label}`, { why, ...(fix === undefined ? {} : { fix }) })
  }
}
