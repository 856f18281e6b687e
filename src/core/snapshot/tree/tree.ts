import { invariant } from '../../base/errors.ts'
import { isZero } from '../../base/zeros.ts'
import type { LockMode, Release } from '../../block/range-lock.ts'
import { Batch } from '../../../metadata/batch.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import type { TreeRecord } from '../../../metadata/records.ts'
import { ChunkLocks } from '../chunk-locks.ts'
import { Chunking, runsOf, runsWhere, type ChunkRun } from '../chunks.ts'
import { whenLoaded } from '../paged.ts'
import type { Relationship } from '../relationship.ts'
import type { MapMemory } from './map-memory.ts'
import type { Restoring } from './restoring.ts'
import type { Reserve, SlotBytes, SlotStore } from './slot-store.ts'
import type { Snapshot } from './snapshot.ts'
import { NONE, TreeMap, type MapEntry } from './tree-map.ts'

/** Old bytes of a range that is about to change. */
interface OldBytes {
  readonly from: number
  readonly bytes: Uint8Array
}

/** A part of a range of a source. */
export interface PresentPart {
  readonly offset: number
  readonly length: number
  /** It reads as the snapshot that the source is restored to. */
  readonly restoring: Restoring | undefined
}

/** What is still to be preserved after space was made, or snapshots were dropped. */
export interface Relieved {
  readonly tree: Preservation | undefined
}

/** Chunks of a source that a write has to preserve: they are locked. */
export interface Preservation {
  readonly tree: Tree
  readonly runs: readonly ChunkRun[]
  readonly chunks: number
  /** How many of them the newest reserve is for, and it: kept until whoever has planned with it has ended. */
  readonly reserved: number
  readonly reserve: Reserve | undefined
  /** The epoch they are preserved under. */
  readonly epoch: number
  /** Only snapshots up to this epoch need it: for the others the change is none. */
  readonly upTo: number
  /** Slots that were taken for it and have no entry yet. */
  slots: number[]
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
  /** What the largest snapshot had of the source: the chunks that first writes preserve. */
  chunks: Chunking
  /** The source is being restored to one of the snapshots. */
  restoring: Restoring | undefined
  /** What to do when chunks cannot be preserved: what to try next, or undefined when the write has to fail. */
  relieve: (preservation: Preservation, error: unknown) => Promise<Relieved | undefined> = () => Promise.resolve(undefined)
  /** The newest live epoch, 0 when there is none; while the source is being restored not before the one that says a chunk is back. */
  private newest = 0
  /** Snapshots that have space bound for what they may need, the newest first. */
  private reservers: readonly Snapshot[] = []

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

  /** The same, or writes that had to are under way: those that come after them wait for their locks. */
  get isInUse(): boolean {
    return this.isActive || !this.locks.idle
  }

  /** Epochs that something needs, in order. */
  get liveEpochs(): number[] {
    return [...new Set(this.snapshots.filter(({ isKept }) => isKept).map(({ record }) => record.epoch))].sort((a, b) => a - b)
  }

  /** Whether the source has changed since a live epoch began, or may have: from the map alone. What was acknowledged ahead is not in it yet. */
  async hasChangedSince(epoch: number): Promise<boolean> {
    // What is still to be copied back changed with the restore, and the map does not say so yet.
    if (this.restoring && this.restoring.at >= epoch) return true
    return this.map.hasFrom(epoch)
  }

  /** Snapshots came or went: called while the source is quiet, or when fewer chunks are to be preserved than before. */
  settle(): void {
    const live = this.snapshots.filter(({ isKept }) => isKept)
    const newest = Math.max(0, ...live.map(({ record }) => record.epoch))
    this.newest = this.restoring ? Math.max(newest, this.restoring.at + 1) : newest
    this.reservers = live.filter(({ reserve }) => reserve).sort((a, b) => b.record.epoch - a.record.epoch)
    // It never becomes less: what is under way counts chunks as it did when it began.
    const size = live.reduce((most, { record }) => Math.max(most, record.size), 0)
    if (size > this.chunks.size) this.chunks = new Chunking(this.chunkBytes, size)
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

  /** The same preservation, without what no kept snapshot needs any more; undefined when that is all of it. Its pages are loaded. */
  stillNeeded({ runs: old, upTo }: Preservation): Preservation | undefined {
    if (upTo < Infinity) return this.preservationUpTo(upTo, old)
    const runs = this.isActive ? old.flatMap(run => runsWhere(run, chunk => !this.map.covers(chunk, this.newest))) : []
    return this.preservation(runs, this.newest)
  }

  /** What is kept under an epoch has a slot in a reserve, where it is the first of a chunk. Its page is loaded. */
  isReserved(chunk: number, epoch: number): boolean {
    const reserver = this.reserverOf(epoch)
    return reserver !== undefined && chunk * this.chunkBytes < reserver.record.size && this.map.first(chunk, reserver.record.epoch) === NONE
  }

  /** The newest snapshot with a reserve that reads what is kept under an epoch. */
  private reserverOf(epoch: number): Snapshot | undefined {
    return this.reservers.find(({ record }) => record.epoch <= epoch)
  }

  /** The newest epoch of before an update of the source that is under way; undefined when no snapshot was taken during it. */
  updatedAt({ number, record: { frozenEra } }: Relationship): number | undefined {
    const { updatedBy, updateEra, updatedAt } = this.record
    return updatedBy === number && updateEra === frozenEra ? updatedAt : undefined
  }

  /**
   * What the copying of an update has to preserve of a range that it has still to do. Snapshots of before read what the source holds; for those that
   * were taken during the update it holds the same before and after. The chunks are locked.
   */
  planUpdate(offset: number, length: number, updatedAt: number): Promise<{ readonly tree: Preservation | undefined }> {
    const run = this.chunks.touched(offset, length)
    return whenLoaded(this.map, run, () => ({ tree: this.preservationUpTo(updatedAt, [run]) }))
  }

  private preservationUpTo(upTo: number, runs: readonly ChunkRun[]): Preservation | undefined {
    const epoch = this.liveEpochs.filter(one => one <= upTo).at(-1)
    if (epoch === undefined) return undefined
    return this.preservation(
      runs.flatMap(run => runsWhere(run, chunk => this.map.first(chunk, epoch) === NONE)),
      epoch,
      upTo,
    )
  }

  /** What a change of the range has to preserve first; undefined when nothing. The chunks are locked. */
  async plan(offset: number, length: number): Promise<Preservation | undefined> {
    if (!this.isActive) return undefined
    return whenLoaded(this.map, this.chunks.touched(offset, length), () => this.planNow(offset, length))
  }

  /** The same with the pages of the map loaded. */
  planNow(offset: number, length: number): Preservation | undefined {
    if (!this.isActive) return undefined
    const run = this.chunks.touched(offset, length)
    return this.preservation(
      runsWhere(run, chunk => !this.map.covers(chunk, this.newest)),
      this.newest,
    )
  }

  /** @param epoch what the chunks hold is to be kept under it */
  preservation(runs: readonly ChunkRun[], epoch: number, upTo = Infinity): Preservation | undefined {
    if (runs.length === 0) return undefined
    let reserved = 0
    for (const { from, to } of runs) for (let chunk = from; chunk < to; chunk++) if (this.isReserved(chunk, epoch)) reserved++
    return {
      tree: this,
      runs,
      chunks: runs.reduce((sum, { from, to }) => sum + to - from, 0),
      reserved,
      reserve: this.reserverOf(epoch)?.reserve,
      epoch,
      upTo,
      slots: [],
    }
  }

  /**
   * Where a range of the source is being restored and not back yet it reads as the snapshot. The range is used in parts; what the snapshot has is
   * locked meanwhile, so that nobody copies it back and then changes it there.
   */
  async present<T>(offset: number, length: number, use: (parts: PresentPart[]) => Promise<T>): Promise<T> {
    const run = this.chunks.touched(offset, length)
    if (!(await this.hasPending(run))) return use([{ offset, length, restoring: undefined }])
    const release = await this.locks.lock(run, 'shared')
    try {
      const { restoring } = this
      const runs = restoring ? await whenLoaded(restoring, run, () => [...runsOf(run, chunk => restoring.isPending(chunk))]) : [{ ...run, value: false }]
      const parts: PresentPart[] = []
      for (const { from, to, value } of runs) {
        const at = Math.max(offset, this.chunks.offsetOf(from))
        parts.push({ offset: at, length: Math.min(offset + length, this.chunks.endOf(to - 1)) - at, restoring: value ? restoring : undefined })
      }
      const end = Math.max(offset, this.chunks.size)
      if (end < offset + length) parts.push({ offset: end, length: offset + length - end, restoring: undefined })
      return await use(parts)
    } finally {
      release()
    }
  }

  /** Whether something of a run is still to be copied back. */
  async hasPending(run: ChunkRun): Promise<boolean> {
    const { restoring } = this
    if (!restoring) return false
    return whenLoaded(restoring, run, () => {
      for (let chunk = run.from; chunk < run.to; chunk++) if (restoring.isPending(chunk)) return true
      return false
    })
  }

  /** What an entry says of a chunk of a snapshot that has none of its own, whatever is being restored. Pages are loaded, and the chunk is locked. */
  presentEntry(chunk: number, epoch: number): number {
    return this.restoring && epoch > this.restoring.at ? this.restoring.entryOf(chunk) : NONE
  }

  /** Takes slots for all of it, their space bound. @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`; then none is taken */
  async take(preservation: Preservation): Promise<void> {
    if (preservation.slots.length > 0) return
    const { chunkShift } = this.record
    const { chunks, reserved, reserve } = preservation
    const shared = chunks > reserved ? await this.store.take(chunkShift, chunks - reserved) : []
    if (reserved > 0) preservation.slots = [...shared, ...(await this.takeReserved(reserved, reserve, shared))]
    else preservation.slots = shared
  }

  private async takeReserved(count: number, reserve: Reserve | undefined, shared: readonly number[]): Promise<number[]> {
    try {
      return await this.store.take(this.record.chunkShift, count, reserve)
    } catch (error) {
      this.drop(shared)
      throw error
    }
  }

  /** Takes slots when that needs no waiting: in space that is bound. @returns whether it has them */
  takeNow(preservation: Preservation): boolean {
    // What a reserve is for is taken from there.
    if (preservation.reserved > 0) return false
    if (preservation.slots.length === 0) preservation.slots = this.store.takeNow(this.record.chunkShift, preservation.chunks) ?? []
    return preservation.slots.length > 0
  }

  /** Slots that were taken and are not needed. */
  drop(slots: readonly number[]): void {
    this.store.drop(slots, this.record.chunkShift)
  }
}

/** Entries committed at a time: with the bits of their slots they fit into a batch. */
const ENTRIES = 1024

/**
 * What some writes preserve, copied together: the chunks in order of address into slots that lie next to each other, as few long
 * writes. Made by `begin`, fed with old bytes, written, flushed and committed; `end` gives back what did not come to that.
 */
export class TreeCopies {
  private readonly slab: Uint8Array
  /** Place in the slab of the first chunk of each run. */
  private readonly starts = new Map<number, number>()
  /** By place: what it holds has a slot. */
  private readonly filled: Uint8Array
  private readonly chunks: number[] = []
  private readonly slots: number[]
  /** Every entry is right that is not older than the newest live epoch. */
  private readonly epoch: number
  private entries: MapEntry[] = []
  private readonly written: number[] = []

  private constructor(
    private readonly tree: Tree,
    preservations: readonly Preservation[],
  ) {
    this.epoch = Math.max(...preservations.map(({ epoch }) => epoch))
    this.slots = preservations.flatMap(preservation => preservation.slots.splice(0)).sort((a, b) => a - b)
    for (const { from, to } of preservations.flatMap(({ runs }) => runs).sort((a, b) => a.from - b.from)) {
      this.starts.set(from, this.chunks.length)
      for (let chunk = from; chunk < to; chunk++) this.chunks.push(chunk)
    }
    this.slab = new Uint8Array(this.slots.length === 0 ? 0 : this.chunks.length * tree.chunkBytes)
    this.filled = new Uint8Array(this.chunks.length)
  }

  /**
   * Takes the slots that are missing, but for what is known to read as zeros.
   * @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`; then all slots are given back
   */
  static async begin(preservations: readonly Preservation[], isHole: (offset: number, length: number) => Promise<boolean>): Promise<TreeCopies | undefined> {
    const [first] = preservations
    if (!first) return undefined
    const { tree } = first
    try {
      for (const preservation of preservations) {
        const { runs, slots } = preservation
        if (slots.length === 0 && !(await isHole(tree.chunks.offsetOf(runs[0]!.from), tree.chunks.lengthOf({ from: runs[0]!.from, to: runs.at(-1)!.to }))))
          await tree.take(preservation)
      }
    } catch (error) {
      for (const { slots } of preservations) tree.drop(slots.splice(0))
      throw error
    }
    return new TreeCopies(tree, preservations)
  }

  /** Old bytes of some runs. @param old undefined: all of them read as zeros */
  add(runs: readonly ChunkRun[], old: OldBytes | undefined): void {
    if (!old) return
    const { chunkBytes } = this.tree
    for (const { from, to } of runs) {
      const start = this.starts.get(from)
      invariant(start !== undefined, `chunk ${from} was not to be preserved`)
      for (let chunk = from; chunk < to; chunk++) {
        const bytes = old.bytes.subarray(chunk * chunkBytes - old.from, (chunk + 1) * chunkBytes - old.from)
        if (isZero(bytes)) continue
        const place = start + chunk - from
        this.slab.set(bytes, place * chunkBytes)
        this.filled[place] = 1
      }
    }
  }

  /** Writes what was added. What reads as zeros takes no slot. */
  async write(): Promise<void> {
    const { chunkBytes } = this.tree
    const parts: SlotBytes[] = []
    for (const [place, chunk] of this.chunks.entries()) {
      if (this.filled[place] === 0) {
        this.entries.push({ chunk, epoch: this.epoch, entry: 0 })
        continue
      }
      const slot = this.slots[this.written.length]
      invariant(slot !== undefined, `chunk ${chunk} has no slot`)
      this.written.push(slot)
      this.entries.push({ chunk, epoch: this.epoch, entry: slot + 1 })
      const last = parts.at(-1)
      const at = place * chunkBytes
      // Neighbours in the slab and in the store are one.
      if (last && last.slot + last.bytes.length / chunkBytes === slot && last.bytes.byteOffset + last.bytes.length === at)
        parts[parts.length - 1] = { slot: last.slot, bytes: this.slab.subarray(at - last.bytes.length, at + chunkBytes) }
      else parts.push({ slot, bytes: this.slab.subarray(at, at + chunkBytes) })
    }
    await this.tree.store.write(parts, this.tree.record.chunkShift)
  }

  async flush(): Promise<void> {
    if (this.written.length > 0) await this.tree.store.flush()
  }

  /** Entries and slots become durable, then visible. @throws `ERR_METADATA_FULL`; what was committed before stays */
  async commit(metadata: Metadata, urgent: boolean): Promise<void> {
    const groups: MapEntry[][] = []
    for (let from = 0; from < this.entries.length; from += ENTRIES) groups.push(this.entries.slice(from, from + ENTRIES))
    const { map, store, record } = this.tree
    const results = await Promise.allSettled(
      groups.map(async group => {
        const slots = group.filter(({ entry }) => entry > 0).map(({ entry }) => entry - 1)
        const batch = new Batch()
        for (const entry of group) map.put(entry, batch)
        store.put(slots, record.chunkShift, true, batch)
        await metadata.commit(batch, 'data', urgent)
        for (const entry of group) map.remember(entry)
        return slots
      }),
    )
    const kept = new Set(results.flatMap(result => (result.status === 'fulfilled' ? result.value : [])))
    this.slots.splice(0, this.slots.length, ...this.slots.filter(slot => !kept.has(slot)))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /** It is over: slots without a committed entry are free again. */
  end(): void {
    this.tree.drop(this.slots.splice(0))
  }
}
