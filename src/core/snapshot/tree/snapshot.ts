import { LunarError } from '../../base/errors.ts'
import type { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import {
  SNAPSHOT_DEAD,
  SNAPSHOT_FLAGS_AT,
  SNAPSHOT_HIDDEN,
  SNAPSHOT_UNTIDY,
  SNAPSHOT_WRITABLE,
  snapshotRecord,
  type SnapshotRecord,
} from '../../../metadata/records.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import type { MapMemory } from './map-memory.ts'
import type { Tree } from './tree.ts'
import { TreeMap } from './tree-map.ts'

/** A snapshot of a tree: an epoch of its source, frozen, and over it what was written to the snapshot, if it is writable. */
export class Snapshot {
  /** Who has it open, each as often as it is open: what makes it busy. */
  readonly users: string[] = []
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
  ) {
    this.leaf = new TreeMap(metadata, 'leafMap', number, memory)
  }

  /** `db@s1`. */
  get name(): string {
    return `${this.sourceName(this.tree)}@${this.record.name}`
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
  /** What users see. */
  get isLive(): boolean {
    return !this.isHidden && !this.isDead
  }

  /** Sets flags of its record in a commit; `flagged` after it. */
  flag(flags: number, batch: Batch): void {
    const bytes = new Uint8Array(2)
    new DataView(bytes.buffer).setUint16(0, this.record.flags | flags, true)
    batch.patch(keyOf('snapshot', this.number), SNAPSHOT_FLAGS_AT, bytes, snapshotRecord.size)
  }

  flagged(flags: number): void {
    this.record = { ...this.record, flags: this.record.flags | flags }
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
