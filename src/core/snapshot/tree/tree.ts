import type { LockMode, Release } from '../../block/range-lock.ts'
import type { Batch } from '../../../metadata/batch.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import type { TreeRecord } from '../../../metadata/records.ts'
import { ChunkLocks } from '../chunk-locks.ts'
import { Chunking, runsWhere, type ChunkRun } from '../chunks.ts'
import type { MapMemory } from './map-memory.ts'
import type { SlotBytes, SlotStore } from './slot-store.ts'
import type { Snapshot } from './snapshot.ts'
import { TreeMap, type MapEntry } from './tree-map.ts'

/** Old bytes of a range that is about to change. */
export interface OldBytes {
  readonly from: number
  readonly bytes: Uint8Array
}

/** Chunks of a source that are preserved together: which, and from `take` on where. */
export interface Preservation {
  readonly runs: readonly ChunkRun[]
  readonly chunks: number
  /** The epoch they are preserved under. */
  readonly epoch: number
  /** Slots taken and not given back. */
  slots: number[]
  entries: MapEntry[]
}

/**
 * The sharing tree of one source (engine.md section 2; Compaq paragraphs 0092 to 0105): one ordered map of preserved chunks for all of its
 * snapshots. A first write stores the old chunk once, under the newest live epoch.
 */
export class Tree {
  readonly map: TreeMap
  readonly locks = new ChunkLocks()
  /** In order of number: live, hidden and dead ones. */
  readonly snapshots: Snapshot[] = []
  /** What the newest live snapshot has of the source: the chunks that first writes preserve. Of no chunks when none is live. */
  chunks: Chunking
  /** The newest live epoch, 0 when there is none. */
  private newest = 0

  constructor(
    readonly number: number,
    public record: TreeRecord,
    readonly store: SlotStore,
    metadata: Metadata,
    memory: MapMemory,
  ) {
    this.map = new TreeMap(metadata, 'treeMap', number, memory)
    this.chunks = new Chunking(this.chunkBytes, 0)
  }

  get chunkBytes(): number {
    return 2 ** this.record.chunkShift
  }

  /** Writes to the source may have to preserve. */
  get isActive(): boolean {
    return this.newest > 0
  }

  /** Epochs that something needs, in order. */
  get liveEpochs(): number[] {
    return [...new Set(this.snapshots.filter(({ isDead }) => !isDead).map(({ record }) => record.epoch))].sort((a, b) => a - b)
  }

  /** Snapshots came or went: called while the source is quiet, or when fewer chunks are to be preserved than before. */
  settle(): void {
    const live = this.snapshots.filter(({ isDead }) => !isDead)
    this.newest = Math.max(0, ...live.map(({ record }) => record.epoch))
    this.chunks = new Chunking(this.chunkBytes, live.find(({ record }) => record.epoch === this.newest)?.record.size ?? 0)
  }

  /** Locks a run of chunks of the source; a promise only when it must wait. */
  lock(run: ChunkRun, mode: LockMode): Release | Promise<Release> {
    return this.locks.lock(run, mode)
  }

  /** A write of the range needs nothing of this tree; false also when that cannot be said at once. */
  covers(offset: number, length: number): boolean {
    const run = this.chunks.touched(offset, length)
    if (this.map.load(run)) return false
    for (let chunk = run.from; chunk < run.to; chunk++) if (!this.map.covers(chunk, this.newest)) return false
    return true
  }

  /** What a change of the range has to preserve first; undefined when nothing. The chunks are locked. */
  async plan(offset: number, length: number): Promise<Preservation | undefined> {
    if (!this.isActive) return undefined
    const run = this.chunks.touched(offset, length)
    for (let loading = this.map.load(run); loading; loading = this.map.load(run)) await loading
    const runs = runsWhere(run, chunk => !this.map.covers(chunk, this.newest))
    if (runs.length === 0) return undefined
    return { runs, chunks: runs.reduce((sum, { from, to }) => sum + to - from, 0), epoch: this.newest, slots: [], entries: [] }
  }

  /** Takes slots for all of it, their space bound. @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`; then none is taken */
  async take(preservation: Preservation): Promise<void> {
    if (preservation.slots.length === 0) preservation.slots = await this.store.take(this.record.chunkShift, preservation.chunks)
  }

  /** Copies the old bytes, flushed when it resolves. What reads as zeros takes no slot. @param old undefined: all of it reads as zeros */
  async write(preservation: Preservation, old: OldBytes | undefined): Promise<void> {
    const { chunkBytes } = this
    const written: SlotBytes[] = []
    if (old) await this.take(preservation)
    for (const { from, to } of preservation.runs) {
      for (let chunk = from; chunk < to; chunk++) {
        const bytes = old?.bytes.subarray(chunk * chunkBytes - old.from, (chunk + 1) * chunkBytes - old.from)
        let entry = 0
        if (bytes && !isZero(bytes)) {
          const slot = preservation.slots[written.length]!
          written.push({ slot, bytes })
          entry = slot + 1
        }
        preservation.entries.push({ chunk, epoch: preservation.epoch, entry })
      }
    }
    this.store.drop(preservation.slots.splice(written.length), this.record.chunkShift)
    if (written.length === 0) return
    await this.store.write(written, this.record.chunkShift)
    await this.store.flush()
  }

  put(preservation: Preservation, batch: Batch): void {
    for (const entry of preservation.entries) this.map.put(entry, batch)
    this.store.put(preservation.slots, this.record.chunkShift, true, batch)
  }

  /** Its batch is durable. */
  remember(preservation: Preservation): void {
    for (const entry of preservation.entries) this.map.remember(entry)
  }

  /** It did not come to that. */
  drop(preservation: Preservation): void {
    this.store.drop(preservation.slots.splice(0), this.record.chunkShift)
  }
}

const zeros = Buffer.alloc(64 * 1024)

/** Whether bytes are all zero. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length)
    if (zeros.compare(bytes, at, Math.min(bytes.length, at + zeros.length), 0, Math.min(zeros.length, bytes.length - at)) !== 0) return false
  return true
}
