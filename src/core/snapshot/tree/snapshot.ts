import { LunarError } from '../../base/errors.ts'
import { Traffic } from '../../base/traffic.ts'
import type { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import {
  SNAPSHOT_DEAD,
  SNAPSHOT_DROPPED,
  SNAPSHOT_FLAGS_AT,
  SNAPSHOT_HIDDEN,
  SNAPSHOT_UNTIDY,
  SNAPSHOT_WRITABLE,
  snapshotRecord,
  type SnapshotRecord,
} from '../../../metadata/records.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import type { OpenLun } from '../../lun/open-lun.ts'
import type { ChunkRun } from '../chunks.ts'
import type { MapMemory } from './map-memory.ts'
import type { Reserve } from './slot-store.ts'
import type { Tree } from './tree.ts'
import { NONE, TreeMap } from './tree-map.ts'

/** Flags of snapshots that a commit sets: one of the two is called when it has ended. */
export interface FlagChange {
  done(): void
  undo(): void
}

/** A snapshot of a tree: an epoch of its source, frozen, and over it what was written to the snapshot, if it is writable. */
export class Snapshot {
  /** Space that is bound for what it may need. */
  readonly reserve: Reserve | undefined
  /** Who has it open, each as often as it is open: what makes it busy. */
  readonly users: string[] = []
  /** What hosts and commands asked of it. */
  readonly traffic = new Traffic()
  readonly ways = new Set<OpenLun>()
  /** Flags of commits under way. */
  private pending = 0
  /** What was written to it; only entries of its era count. */
  readonly leaf: TreeMap

  constructor(
    readonly number: number,
    public record: SnapshotRecord,
    readonly tree: Tree,
    metadata: Metadata,
    memory: MapMemory,
    /** What its source is called now. */
    private readonly sourceName: (tree: Tree) => string,
    /** The one that was made for it. */
    reserve?: Reserve,
  ) {
    this.leaf = new TreeMap(metadata, 'leafMap', number, memory)
    this.reserve = reserve ?? (record.reserveCount > 0 ? { from: record.reserveFrom, count: record.reserveCount } : undefined)
    if (this.reserve && !reserve && !this.isDead) tree.store.keepReserve(this.reserve)
  }

  /** `db@s1`. */
  get name(): string {
    return `${this.sourceName(this.tree)}@${this.record.name}`
  }
  get label(): string {
    return `snapshot "${this.name}"`
  }
  get isWritable(): boolean {
    return (this.record.flags & SNAPSHOT_WRITABLE) !== 0
  }
  /** Deleted, and kept for what rests on it. */
  get isHidden(): boolean {
    return (this.record.flags & SNAPSHOT_HIDDEN) !== 0
  }
  /** Deleted for good. */
  get isDead(): boolean {
    return (this.record.flags & SNAPSHOT_DEAD) !== 0
  }
  /** It was refreshed, and what it held before is not all given back. */
  get isUntidy(): boolean {
    return (this.record.flags & SNAPSHOT_UNTIDY) !== 0
  }
  /** There was no space to preserve a chunk for it. */
  get isDropped(): boolean {
    return (this.record.flags & SNAPSHOT_DROPPED) !== 0
  }
  /** Its state is kept: the source is not changed before what it needs is preserved. */
  get isKept(): boolean {
    return !this.isDead && !this.isDropped
  }
  /** What users see. */
  get isLive(): boolean {
    return !this.isHidden && !this.isDead
  }

  /** Undefined when what it has of a run can be looked up at once. */
  load(run: ChunkRun): Promise<void> | undefined {
    return this.leaf.load(run) ?? this.tree.map.load(run)
  }

  /** Slot + 1 of what it has of a chunk: written to it, else preserved; 0 for zeros, `NONE` when it reads its source. Its pages are loaded. */
  entryOf(chunk: number): number {
    const written = this.leaf.first(chunk, this.record.leafEra)
    return written === NONE ? this.tree.map.first(chunk, this.record.epoch) : written
  }

  /** Sets flags of its record in a commit that is made at once; `flagged` after it, `unflagged` when it failed. */
  flag(flags: number, batch: Batch): void {
    this.pending |= flags
    const bytes = new Uint8Array(2)
    new DataView(bytes.buffer).setUint16(0, this.record.flags | this.pending, true)
    batch.patch(keyOf('snapshot', this.number), SNAPSHOT_FLAGS_AT, bytes, snapshotRecord.size)
  }

  flagged(flags: number): void {
    this.unflagged(flags)
    this.record = { ...this.record, flags: this.record.flags | flags }
  }

  unflagged(flags: number): void {
    this.pending &= ~flags
  }

  /** Puts its record with some fields changed in a commit that is made at once. Flags of commits under way stay. */
  put(change: Partial<SnapshotRecord>, batch: Batch): void {
    const record = { ...this.record, ...change }
    batch.put(keyOf('snapshot', this.number), snapshotRecord.encode({ ...record, flags: record.flags | this.pending }))
  }

  /** @throws LunarError `ERR_SNAPSHOT_DROPPED` */
  checkKept(what: string): void {
    if (!this.isDropped) return
    throw new LunarError('ERR_SNAPSHOT_DROPPED', `Cannot ${what} snapshot "${this.name}"`, {
      why: 'it was dropped: what it needs could not be kept when its source was written (lunar pool events)',
      fix: `lunar snap delete ${this.name}`,
    })
  }

  /** @throws LunarError `ERR_READ_ONLY` */
  checkWritable(): void {
    if (this.isWritable) return
    throw new LunarError('ERR_READ_ONLY', `Cannot write to snapshot "${this.name}"`, {
      why: 'it is frozen',
      fix: `lunar snap create ${this.sourceName(this.tree)}@NAME --of ${this.name}`,
    })
  }

  /** @throws LunarError `ERR_BUSY` naming who has it open */
  checkQuiet(what: string): void {
    const users = [...new Set(this.users)]
    if (users.length > 0)
      throw new LunarError('ERR_BUSY', `Cannot ${what} snapshot "${this.name}"`, {
        why: `${users.join(', ')} ${users.length === 1 ? 'has' : 'have'} it open`,
        blockers: users,
      })
  }
}
