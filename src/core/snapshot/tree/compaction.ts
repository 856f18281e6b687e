import type { Metadata } from '../../../metadata/metadata.ts'
import { Batch } from '../../../metadata/batch.ts'
import { whenLoaded } from '../paged.ts'
import type { SlotBytes, SlotStore } from './slot-store.ts'
import type { Snapshot } from './snapshot.ts'
import type { SnapshotVolume } from './snapshot-volume.ts'
import type { Tree } from './tree.ts'
import type { MapEntry, TreeMap } from './tree-map.ts'

/** Entries looked at, and chunks moved, in one step. */
const LOOKED_MAX = 20_000
const MOVED_MAX = 256

export interface CompactionHost {
  readonly metadata: Metadata
  volume(snapshot: Snapshot): SnapshotVolume
  /** Entries do not go away meanwhile. */
  whileEntriesStay<T>(task: () => Promise<T>): Promise<T>
}

/** One map to go through: of a tree, or what was written to a snapshot. */
interface Part {
  readonly tree: Tree
  readonly snapshot: Snapshot | undefined
}

/**
 * Moves chunks of a store down to where fewer slices hold them all (hazard 26). A chunk is copied and flushed; one commit then names its new slot
 * and gives the old one up; so a crash leaves it in one of the two. The old slot is taken again when reads of it have ended. Each step is called while
 * no snapshot comes or goes, and no restore begins.
 */
export class Compaction {
  /** Chunks stay in slices below this. */
  private limit = -1
  private parts: Part[] = []
  private from = 0

  constructor(
    private readonly store: SlotStore,
    private readonly trees: readonly Tree[],
    private readonly host: CompactionHost,
  ) {}

  /** @returns whether something is left */
  async step(): Promise<boolean> {
    if (this.limit < 0) {
      this.limit = await this.store.slicesNeeded()
      this.parts = this.trees.flatMap(tree => [{ tree, snapshot: undefined }, ...tree.snapshots.map(snapshot => ({ tree, snapshot }))])
    }
    const [part] = this.parts
    if (!part) return false
    const { tree, snapshot } = part
    // What a restore has still to copy is found by the slots it began with; what is given up goes by itself.
    const map = snapshot?.leaf ?? tree.map
    const skip = tree.record.restored !== 0 || snapshot?.isKept === false
    const found: MapEntry[] = []
    let looked = 0
    let next = Infinity
    for await (const entry of skip ? [] : map.walk(this.from)) {
      if (found.length === MOVED_MAX || looked === LOOKED_MAX) {
        next = entry.chunk
        break
      }
      looked++
      const counts = !snapshot || entry.epoch === snapshot.record.leafEra
      if (counts && entry.entry > 0 && this.store.isAbove(entry.entry - 1, tree.record.chunkShift, this.limit)) found.push(entry)
    }
    if (found.length > 0) await this.moveAll(part, map, found)
    this.from = next
    if (next === Infinity) {
      this.parts.shift()
      this.from = 0
    }
    if (this.parts.length > 0) return true
    // What was bound together with slices that are empty now.
    await this.store.trimUnused(this.limit)
    return false
  }

  private async moveAll({ tree, snapshot }: Part, map: TreeMap, found: readonly MapEntry[]): Promise<void> {
    const move = (): Promise<void> => this.host.whileEntriesStay(() => this.move(tree, map, found))
    // What was written to a snapshot is written in place: nobody does meanwhile.
    if (snapshot) await this.host.volume(snapshot).whileUnwritten({ from: found[0]!.chunk, to: found.at(-1)!.chunk + 1 }, move)
    else await move()
  }

  private async move(tree: Tree, map: TreeMap, found: readonly MapEntry[]): Promise<void> {
    const { chunkShift } = tree.record
    const { chunkBytes } = tree
    const current: MapEntry[] = []
    for (const entry of found) {
      // It may have been deleted since it was found.
      const run = { from: entry.chunk, to: entry.chunk + 1 }
      if (await whenLoaded(map, run, () => map.get(entry.chunk, entry.epoch) === entry.entry)) current.push(entry)
    }
    const taken = await this.store.takeBelow(chunkShift, current.length, this.limit)
    const moving = current.slice(0, taken.length)
    if (moving.length === 0) return
    let isNamed = false
    try {
      const chunks: SlotBytes[] = []
      for (const [i, { entry }] of moving.entries()) {
        const bytes = new Uint8Array(chunkBytes)
        await this.store.read((entry - 1) * chunkBytes, bytes)
        chunks.push({ slot: taken[i]!, bytes })
      }
      await this.store.write(chunks, chunkShift)
      await this.store.flush()
      const batch = new Batch()
      const moved = moving.map((entry, i): MapEntry => ({ ...entry, entry: taken[i]! + 1 }))
      const old = moving.map(({ entry }) => entry - 1)
      for (const entry of moved) map.put(entry, batch)
      this.store.put(taken, chunkShift, true, batch)
      this.store.put(old, chunkShift, false, batch)
      await this.host.metadata.commit(batch, 'data', true)
      isNamed = true
      for (const entry of moved) map.remember(entry)
      this.store.moves++
      await this.store.free(old, chunkShift)
      this.store.movedBytes += moving.length * chunkBytes
    } finally {
      if (!isNamed) this.store.drop(taken, chunkShift)
    }
  }
}
