import type { ChunkRun } from '../chunks.ts'
import type { Snapshot } from './snapshot.ts'
import type { ThroughVolume } from './snapshot-volume.ts'
import { NONE, type MapEntry, type TreeMap } from './tree-map.ts'

/**
 * A source that is being restored to one of its snapshots (features.md C6; hazard 60): which chunks are still to be copied back, from the map alone.
 *
 * The state before is the snapshot of epoch `at`. A chunk is *pending* while it has no entry behind that epoch and the snapshot has bytes of
 * its own there: in the map, or written to it. A pending chunk reads as the snapshot has it. Copying back takes two commits: an entry under `at` keeps what the source held;
 * the source is written and flushed; then the entry moves to `at + 1`, which says that the chunk is back. In between it is pending, whatever the source holds.
 */
export class Restoring {
  constructor(
    readonly snapshot: Snapshot,
    /** Epoch of the state before; the one behind it belongs to no snapshot. */
    readonly at: number,
    private readonly map: TreeMap,
    /** What the snapshot holds. */
    readonly device: ThroughVolume,
  ) {}

  /** Undefined when every page that look-ups of the run need is in memory. */
  load(run: ChunkRun): Promise<void> | undefined {
    return this.snapshot.load(run) ?? this.map.load(run)
  }

  /** What the snapshot has of a pending chunk: slot + 1, 0 for zeros; `NONE` when the source itself holds the chunk. Its pages are loaded. */
  entryOf(chunk: number): number {
    return this.map.first(chunk, this.at + 1) === NONE ? this.snapshot.entryOf(chunk) : NONE
  }

  isPending(chunk: number): boolean {
    return this.entryOf(chunk) !== NONE
  }

  /** Slot + 1 that keeps what the source held of a pending chunk before, 0 for zeros, `NONE` when nothing does yet. */
  keptOf(chunk: number): number {
    return this.map.first(chunk, this.at)
  }

  /** `isPending` of a chunk whose pages may not be loaded. */
  async findPending(chunk: number): Promise<boolean> {
    for (let loading = this.load({ from: chunk, to: chunk + 1 }); loading; loading = this.load({ from: chunk, to: chunk + 1 })) await loading
    return this.isPending(chunk)
  }

  /** Chunks from this one on that the snapshot may have bytes of its own for, in order, each once: all pending ones are among them. */
  async *candidates(from: number): AsyncGenerator<number> {
    const { epoch, leafEra } = this.snapshot.record
    const kept = chunksOf(this.map.walk(from), entry => entry.epoch >= epoch && entry.epoch <= this.at)
    const written = chunksOf(this.snapshot.leaf.walk(from), entry => entry.epoch >= leafEra)
    let [one, other] = [await kept.next(), await written.next()]
    for (let last = -1; !one.done || !other.done;) {
      const chunk = Math.min(one.done ? Infinity : one.value, other.done ? Infinity : other.value)
      if (!one.done && one.value === chunk) one = await kept.next()
      if (!other.done && other.value === chunk) other = await written.next()
      if (chunk > last) yield chunk
      last = chunk
    }
  }
}

async function* chunksOf(entries: AsyncGenerator<MapEntry>, counts: (entry: MapEntry) => boolean): AsyncGenerator<number, undefined> {
  for await (const entry of entries) if (counts(entry)) yield entry.chunk
  return undefined
}
