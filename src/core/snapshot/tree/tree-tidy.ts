import { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { SNAPSHOT_UNTIDY, snapshotRecord } from '../../../metadata/records.ts'
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

/** A walk over the map of a tree, to find what its dead snapshots alone needed. */
interface Walk {
  /** The chunk to go on with. */
  chunk: number
  /** Dead when it began: what they needed is gone when it ends. */
  readonly dead: readonly Snapshot[]
}

/** Gives back what deleted snapshots held: entries that no live epoch needs, written chunks, and at last their records. */
export class TreeTidy {
  private readonly due = new Set<Tree>()
  private readonly stores = new Set<SlotStore>()
  private readonly walks = new Map<Tree, Walk>()

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
      if (!(await this.leaves(tree)) && !(await this.walk(tree, forget))) this.due.delete(tree)
      return this.isDue
    }
    return false
  }

  /** What was written to snapshots that are dead, or before they were refreshed. @returns whether something was found */
  private async leaves(tree: Tree): Promise<boolean> {
    for (const snapshot of tree.snapshots) {
      const { isDead, isUntidy, record, leaf } = snapshot
      if (!isDead && !isUntidy) continue
      const gone: MapEntry[] = []
      for await (const entry of leaf.walk()) {
        if (isDead || entry.epoch < record.leafEra) gone.push(entry)
        if (gone.length === DELETED_MAX) break
      }
      if (gone.length > 0) {
        await this.drop(tree, leaf, gone, new Batch())
        return true
      }
      if (isUntidy) await this.tidied(snapshot)
    }
    return false
  }

  private async tidied(snapshot: Snapshot): Promise<void> {
    const record = { ...snapshot.record, flags: snapshot.record.flags & ~SNAPSHOT_UNTIDY }
    const batch = new Batch()
    batch.put(keyOf('snapshot', snapshot.number), snapshotRecord.encode(record))
    await this.metadata.commit(batch, 'data', true)
    snapshot.record = record
  }

  /** @returns whether something is left to do */
  private async walk(tree: Tree, forget: (snapshot: Snapshot) => void): Promise<boolean> {
    const walk = this.walks.get(tree) ?? { chunk: 0, dead: tree.snapshots.filter(({ isDead }) => isDead) }
    if (walk.dead.length === 0) return false
    // Writers that began before they were dead may still preserve for them.
    if (!this.walks.has(tree)) await tree.locks.settled()
    this.walks.set(tree, walk)
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
    const over = walk.dead
    for (const snapshot of over) batch.delete(keyOf('snapshot', snapshot.number))
    const rest = tree.snapshots.filter(snapshot => !over.includes(snapshot))
    tree.snapshots.splice(0, tree.snapshots.length, ...rest)
    for (const snapshot of over) forget(snapshot)
    if (rest.length === 0) this.forgetTree(tree, batch)
    await this.drop(tree, tree.map, gone, batch)
    return tree.snapshots.some(({ isDead }) => isDead)
  }

  /** @param last is in the commit of the last of them */
  private async drop(tree: Tree, map: TreeMap, gone: readonly MapEntry[], last: Batch): Promise<void> {
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
      await tree.store.free(slots, shift)
    }
  }
}
