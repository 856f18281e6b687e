import { MIB } from '../../base/units.ts'
import type { Extent } from '../../block/device.ts'
import type { ChunkRun } from '../chunks.ts'
import { whenLoaded } from '../paged.ts'
import type { Snapshot } from './snapshot.ts'
import type { ThroughVolume } from './snapshot-volume.ts'
import { NONE, type MapEntry, type TreeMap } from './tree-map.ts'

/** What a source that keeps its size has behind the end of the snapshot: it reads as zeros. */
export interface RestoredTail {
  /** Where the source ended at the instant of the restore: chunks. */
  readonly to: number
  /** Chunks from this one on that the source may hold something of, in order. */
  held(from: number): AsyncGenerator<number, undefined>
}

/** Bytes looked at for a tail at a time. */
const TAIL_STEP = 256 * MIB

/** @param size of the snapshot, and @param end of the source at the restore, in bytes */
export const restoredTail = (source: ThroughVolume, chunkBytes: number, size: number, end: number): RestoredTail => ({
  to: end / chunkBytes,
  async *held(from) {
    for (let at = Math.max(size, from * chunkBytes); at < end; at += TAIL_STEP)
      for (const { offset, length, kind } of await source.extentsThrough(at, Math.min(TAIL_STEP, end - at)))
        if (kind !== 'hole') for (let chunk = Math.floor(offset / chunkBytes); chunk * chunkBytes < offset + length; chunk++) yield chunk
    return undefined
  },
})

/** What a snapshot holds, and zeros behind its end. */
class Padded implements ThroughVolume {
  constructor(
    private readonly device: ThroughVolume,
    private readonly size: number,
  ) {}

  async readThrough(offset: number, into: Uint8Array): Promise<void> {
    const inside = Math.max(0, Math.min(into.length, this.size - offset))
    into.fill(0, inside)
    if (inside > 0) await this.device.readThrough(offset, into.subarray(0, inside))
  }

  async extentsThrough(offset: number, length: number): Promise<Extent[]> {
    const inside = Math.max(0, Math.min(length, this.size - offset))
    const extents = inside > 0 ? await this.device.extentsThrough(offset, inside) : []
    return inside < length ? [...extents, { offset: offset + inside, length: length - inside, kind: 'hole' }] : extents
  }
}

/**
 * A source that is being restored to one of its snapshots (features.md C6; hazard 60): which chunks are still to be copied back, from the map alone.
 *
 * The state before is the snapshot of epoch `at`. A chunk is *pending* while it has no entry behind that epoch and the snapshot has bytes of
 * its own there: in the map, or written to it. A pending chunk reads as the snapshot has it. Copying back takes two commits: an entry under `at` keeps what the source held;
 * the source is written and flushed; then the entry moves to `at + 1`, which says that the chunk is back. In between it is pending, whatever the source holds.
 * Where the source is larger than the snapshot and stays so, the snapshot has zeros.
 */
export class Restoring {
  /** What the snapshot holds. */
  readonly device: ThroughVolume
  /** Where the snapshot ends: chunks. */
  private readonly end: number

  constructor(
    readonly snapshot: Snapshot,
    /** Epoch of the state before; the one behind it belongs to no snapshot. */
    readonly at: number,
    private readonly map: TreeMap,
    device: ThroughVolume,
    private readonly tail?: RestoredTail,
  ) {
    this.device = tail ? new Padded(device, snapshot.record.size) : device
    this.end = snapshot.record.size / snapshot.tree.chunkBytes
  }

  /** Undefined when every page that look-ups of the run need is in memory. */
  load(run: ChunkRun): Promise<void> | undefined {
    return this.snapshot.load(run) ?? this.map.load(run)
  }

  /** What the snapshot has of a pending chunk: slot + 1, 0 for zeros; `NONE` when the source itself holds the chunk. Its pages are loaded. */
  entryOf(chunk: number): number {
    if (this.map.first(chunk, this.at + 1) !== NONE) return NONE
    // Entries behind the end of the snapshot are of others.
    if (chunk >= this.end) return this.tail && chunk < this.tail.to ? 0 : NONE
    return this.snapshot.entryOf(chunk)
  }

  isPending(chunk: number): boolean {
    return this.entryOf(chunk) !== NONE
  }

  /** Slot + 1 that keeps what the source held of a pending chunk before, 0 for zeros, `NONE` when nothing does yet. */
  keptOf(chunk: number): number {
    return this.map.first(chunk, this.at)
  }

  /** `isPending` of a chunk whose pages may not be loaded. */
  findPending(chunk: number): Promise<boolean> {
    return whenLoaded(this, { from: chunk, to: chunk + 1 }, () => this.isPending(chunk))
  }

  /** Chunks from this one on that the snapshot may have bytes of its own for, in order, each once: all pending ones are among them. */
  async *candidates(from: number): AsyncGenerator<number> {
    const { epoch, leafEra } = this.snapshot.record
    const kept = chunksOf(this.map.walk(from), entry => entry.epoch >= epoch && entry.epoch <= this.at)
    const written = chunksOf(this.snapshot.leaf.walk(from), entry => entry.epoch >= leafEra)
    let [one, other] = [await kept.next(), await written.next()]
    let last = -1
    while (!one.done || !other.done) {
      const chunk = Math.min(one.done ? Infinity : one.value, other.done ? Infinity : other.value)
      if (!one.done && one.value === chunk) one = await kept.next()
      if (!other.done && other.value === chunk) other = await written.next()
      if (chunk >= this.end) break
      if (chunk > last) yield chunk
      last = chunk
    }
    for await (const chunk of this.tail?.held(from) ?? []) {
      if (chunk > last) yield chunk
      last = chunk
    }
  }
}

async function* chunksOf(entries: AsyncGenerator<MapEntry>, counts: (entry: MapEntry) => boolean): AsyncGenerator<number, undefined> {
  for await (const entry of entries) if (counts(entry)) yield entry.chunk
  return undefined
}
