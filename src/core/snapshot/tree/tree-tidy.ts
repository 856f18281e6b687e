import { Mutex } from '../../base/mutex.ts'
import { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { SNAPSHOT_UNTIDY } from '../../../metadata/records.ts'
import type { SlotStore } from './slot-store.ts'
import type { Snapshot } from './snapshot.ts'
import type { Tree } from './tree.ts'
import type { MapEntry, TreeMap } from './tree-map.ts'

/** Entries looked at, and deleted, in one step. */
const LOOKED_MAX = 20_000
const DELETED_MAX = 2000

/** Whether a live epoch lies in (previous, epoch]: an entry is the first one from some live epoch on. Pure. */
export function isNeeded(previous: number, epoch: number, live: readonly number[]): boolean {
  return live.some(one => one > previous && one <= epoch)
}

/** What it needed is still to be given back. */
const isLeft = ({ isDead, isDropped, isUntidy }: Snapshot): boolean => isDead || (isDropped && isUntidy)

/** A walk over the map of a tree, to find what its dead snapshots alone needed. */
interface Walk {
  /** The chunk to go on with. */
  chunk: number
  /** Dead or dropped when it began: what they needed is gone when it ends. */
  readonly gone: readonly Snapshot[]
}

/** Gives back what deleted snapshots held: entries that no live epoch needs, written chunks, and at last their records. */
export class TreeTidy {
  private readonly due = new Set<Tree>()
  private readonly stores = new Set<SlotStore>()
  private readonly walks = new Map<Tree, Walk>()
  /** Entries are deleted by one at a time. */
  private readonly turns = new Mutex()

  constructor(
    private readonly metadata: Metadata,
    private readonly forgetTree: (tree: Tree, batch: Batch) => void,
  ) {}

  get isDue(): boolean {
    return this.due.size > 0 || this.stores.size > 0
  }

  /** Snapshots of the tree may be dead, or leaves of theirs old. */
  note(tree: Tree): void {
    if (tree.snapshots.some(({ isDead, isUntidy }) => isDead || isUntidy)) this.due.add(tree)
  }

  /** A crash may have left space bound in it. */
  noteStore(store: SlotStore): void {
    this.stores.add(store)
  }

  /** @returns whether something is left */
  async step(forget: (snapshot: Snapshot) => void): Promise<boolean> {
    for (const store of this.stores) {
      await store.trimUnused()
      this.stores.delete(store)
      return this.isDue
    }
    for (const tree of this.due) {
      const walk = await this.begun(tree)
      await this.turns.run(async () => {
        if (!(await this.leaves(tree)) && !(walk && (await this.walk(tree, walk, forget)))) this.due.delete(tree)
      })
      return this.isDue
    }
    return false
  }

  /**
   * Deletes a part of what nothing needs, for a write that has no space: without waiting for writers, and without forgetting anything, which is
   * left to `step`. Slices stay bound, so that the next slots are taken there. @returns whether something came back
   */
  freeSome(store: SlotStore): Promise<boolean> {
    return this.turns.run(async () => {
      // Space of another store comes back to the pool.
      for (const tree of [...this.due].sort((a, b) => Number(b.store === store) - Number(a.store === store))) {
        // What a restore has still to copy is not told by live epochs alone.
        if (tree.record.restored !== 0) continue
        const gone: { entry: MapEntry; previous: number }[] = []
        let previous: MapEntry | undefined
        for await (const entry of tree.map.walk()) {
          const before = previous?.chunk === entry.chunk ? previous.epoch : 0
          if (!isNeeded(before, entry.epoch, tree.liveEpochs)) gone.push({ entry, previous: before })
          previous = entry
          if (gone.length === DELETED_MAX) break
        }
        await tree.store.load()
        // An epoch that came meanwhile counts, too.
        const unneeded = gone.filter(one => !isNeeded(one.previous, one.entry.epoch, tree.liveEpochs)).map(({ entry }) => entry)
        if (unneeded.length > 0) {
          await this.drop(tree, tree.map, unneeded, new Batch(), true)
          return true
        }
        if (await this.leaves(tree, true)) return true
      }
      return false
    })
  }

  /** Nothing deletes entries while it runs. Whoever has chunks of a source locked may wait for this, so it does not wait for those. */
  whileEntriesStay<T>(task: () => Promise<T>): Promise<T> {
    return this.turns.run(task)
  }

  /** The walk over a tree that has something dead or dropped. Writers that may still preserve for that have ended when it resolves. */
  private async begun(tree: Tree): Promise<Walk | undefined> {
    const known = this.walks.get(tree)
    if (known) return known
    const gone = tree.snapshots.filter(isLeft)
    if (gone.length === 0) return undefined
    const walk = { chunk: 0, gone }
    await tree.locks.settled()
    this.walks.set(tree, walk)
    return walk
  }

  /** What was written to snapshots that are dead, or before they were refreshed. @returns whether something was found */
  private async leaves(tree: Tree, keepBound = false): Promise<boolean> {
    for (const snapshot of tree.snapshots) {
      const { isDead, isUntidy, isKept, record, leaf } = snapshot
      if (!isDead && !isUntidy) continue
      const gone: MapEntry[] = []
      for await (const entry of leaf.walk()) {
        if (!isKept || entry.epoch < record.leafEra) gone.push(entry)
        if (gone.length === DELETED_MAX) break
      }
      if (gone.length > 0) {
        await this.drop(tree, leaf, gone, new Batch(), keepBound)
        return true
      }
      if (isUntidy && isKept) await this.tidied(snapshot)
    }
    return false
  }

  private async tidied(snapshot: Snapshot): Promise<void> {
    const batch = new Batch()
    snapshot.put({ flags: snapshot.record.flags & ~SNAPSHOT_UNTIDY }, batch)
    await this.metadata.commit(batch, 'data', true)
    // One that was dropped meanwhile has more to give back.
    if (snapshot.isKept) snapshot.record = { ...snapshot.record, flags: snapshot.record.flags & ~SNAPSHOT_UNTIDY }
  }

  /** @returns whether something is left to do */
  private async walk(tree: Tree, walk: Walk, forget: (snapshot: Snapshot) => void): Promise<boolean> {
    const live = tree.liveEpochs
    const gone: MapEntry[] = []
    let looked = 0
    let chunk = -1
    let previous = 0
    for await (const entry of tree.map.walk(walk.chunk)) {
      if (entry.chunk !== chunk) {
        if (looked >= LOOKED_MAX || gone.length >= DELETED_MAX) {
          walk.chunk = entry.chunk
          await this.drop(tree, tree.map, gone, new Batch())
          return true
        }
        chunk = entry.chunk
        previous = 0
      }
      if (!isNeeded(previous, entry.epoch, live)) gone.push(entry)
      previous = entry.epoch
      looked++
    }
    this.walks.delete(tree)
    const batch = new Batch()
    const over = walk.gone.filter(({ isDead }) => isDead)
    const dropped = walk.gone.filter(({ isDead }) => !isDead)
    for (const snapshot of dropped) snapshot.put({ flags: snapshot.record.flags & ~SNAPSHOT_UNTIDY }, batch)
    // While a record names it, a crash leaves nobody in doubt whose it is.
    for (const { reserve } of over) if (reserve) await tree.store.endReserve(reserve)
    for (const snapshot of over) batch.delete(keyOf('snapshot', snapshot.number))
    const rest = tree.snapshots.filter(snapshot => !over.includes(snapshot))
    tree.snapshots.splice(0, tree.snapshots.length, ...rest)
    for (const snapshot of over) forget(snapshot)
    if (rest.length === 0) this.forgetTree(tree, batch)
    await this.drop(tree, tree.map, gone, batch)
    for (const snapshot of dropped) snapshot.record = { ...snapshot.record, flags: snapshot.record.flags & ~SNAPSHOT_UNTIDY }
    return tree.snapshots.some(isLeft)
  }

  /** @param last is in the commit of the last of them */
  private async drop(tree: Tree, map: TreeMap, gone: readonly MapEntry[], last: Batch, keepBound = false): Promise<void> {
    const shift = tree.record.chunkShift
    // What is used is known before it becomes less.
    await tree.store.load()
    for (let from = 0; from === 0 || from < gone.length; from += DELETED_MAX) {
      const some = gone.slice(from, from + DELETED_MAX)
      const slots = some.filter(({ entry }) => entry > 0).map(({ entry }) => entry - 1)
      const batch = from + DELETED_MAX >= gone.length ? last : new Batch()
      for (const entry of some) map.delete(entry, batch)
      tree.store.put(slots, shift, false, batch)
      if (!batch.isEmpty) await this.metadata.commit(batch, 'data', true)
      for (const entry of some) map.forget(entry)
      await tree.store.free(slots, shift, keepBound)
    }
  }
}
