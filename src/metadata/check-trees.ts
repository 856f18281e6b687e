/** Sharing trees held against each other: who names whom, and that every used slot has exactly one entry. */
import {
  LUN_DELETED,
  LUN_STORE,
  SLOTS_PER_SLICE,
  SNAPSHOT_DEAD,
  SNAPSHOT_HIDDEN,
  SNAPSHOT_WRITABLE,
  type LunRecord,
  type SnapshotRecord,
  type TreeRecord,
} from './records.ts'

/** Bytes of a slice of a store. */
const SLICE = 1024 * 1024

interface TreeEntry {
  readonly chunk: number
  readonly epoch: number
  /** Slot + 1, 0 for zeros. */
  readonly entry: number
}

/** What the records of sharing trees say. */
export class TreeRecords {
  readonly snapshots = new Map<number, SnapshotRecord>()
  readonly trees = new Map<number, TreeRecord>()
  /** By tree, and by snapshot. */
  readonly maps = new Map<number, TreeEntry[]>()
  readonly leaves = new Map<number, TreeEntry[]>()
  /** By LUN of the store and slice: size of its slots, and their bits. */
  readonly slots = new Map<number, Map<number, { readonly slotShift: number; readonly used: Uint8Array }>>()

  add(maps: Map<number, TreeEntry[]>, object: number, entry: TreeEntry): void {
    const known = maps.get(object)
    if (known) known.push(entry)
    else maps.set(object, [entry])
  }
}

type Report = (code: string, object: string, message: string) => void

export function checkTrees(records: TreeRecords, luns: ReadonlyMap<number, LunRecord>, boundSlices: ReadonlySet<string>, problem: Report): void {
  const { snapshots, trees, maps, leaves, slots } = records
  const isLive = (lun: number): boolean => ((luns.get(lun)?.flags ?? LUN_DELETED) & LUN_DELETED) === 0
  const isStore = (lun: number): boolean => isLive(lun) && (luns.get(lun)!.flags & LUN_STORE) !== 0
  for (const [number, tree] of trees) {
    const object = `tree ${number}`
    if ((tree.source === 0) === (tree.snapshot === 0)) problem('tree.source', object, 'it names a LUN and a snapshot as its source, or neither')
    // What is deleted may be there for longer than its source.
    if (![...snapshots.values()].some(snapshot => snapshot.tree === number && (snapshot.flags & SNAPSHOT_DEAD) === 0)) continue
    if (tree.source !== 0 && !isLive(tree.source)) problem('tree.source', object, `it is of LUN ${tree.source}, which does not exist`)
    if (tree.snapshot !== 0 && ((snapshots.get(tree.snapshot)?.flags ?? 0) & SNAPSHOT_WRITABLE) === 0)
      problem('tree.source', object, `it is of snapshot ${tree.snapshot}, which is not there to be written`)
    if (tree.restored !== 0) {
      const to = snapshots.get(tree.restored)
      const before = [...snapshots.values()].find(({ tree: own, epoch, flags }) => own === number && epoch === tree.restoredAt && (flags & SNAPSHOT_DEAD) === 0)
      if (to?.tree !== number || (to.flags & SNAPSHOT_DEAD) !== 0)
        problem('tree.restored', object, `it is restored to snapshot ${tree.restored}, which is gone`)
      if (!before || tree.restoredAt + 1 >= tree.nextEpoch) problem('tree.restored', object, `nothing keeps the state before, of epoch ${tree.restoredAt}`)
    }
    if (tree.updatedBy !== 0 && tree.updatedAt >= tree.nextEpoch) problem('tree.updated', object, `epoch ${tree.updatedAt} was not given out`)
    if (!isStore(tree.store)) problem('tree.store', object, `its store is LUN ${tree.store}, which is none`)
  }
  checkSnapshots(snapshots, trees, problem)
  const named = new Map<string, string>()
  const name = (store: number, shift: number, { chunk, epoch, entry }: TreeEntry, object: string): void => {
    if (entry === 0) return
    const offset = (entry - 1) * 2 ** shift
    const slice = Math.floor(offset / SLICE)
    const slot = (offset % SLICE) / 2 ** shift
    const found = slots.get(store)?.get(slice)
    const place = `${store}:${slice}:${slot}`
    const what = `${object} chunk ${chunk} epoch ${epoch}`
    if (named.has(place)) problem('slot.shared', what, `it lies in a slot that ${named.get(place)} has`)
    named.set(place, what)
    if (found?.slotShift !== shift || (found.used[slot >> 3]! & (1 << (slot & 7))) === 0)
      problem('slot.unused', what, `slot ${slot} of slice ${slice} is not marked as used`)
    if (!boundSlices.has(`${store}:${slice}`)) problem('slot.unbound', what, `slice ${slice} of the store is not bound`)
  }
  for (const [number, entries] of maps) {
    const tree = trees.get(number)
    if (!tree) problem('treeMap.orphan', `tree ${number}`, 'there is a map of a tree that does not exist')
    else
      for (const entry of entries) {
        if (entry.epoch >= tree.nextEpoch) problem('treeMap.epoch', `tree ${number}`, `chunk ${entry.chunk} has epoch ${entry.epoch}, which was not given out`)
        name(tree.store, tree.chunkShift, entry, `tree ${number}`)
      }
  }
  for (const [number, entries] of leaves) {
    const snapshot = snapshots.get(number)
    const tree = snapshot && trees.get(snapshot.tree)
    if (!tree) problem('leafMap.orphan', `snapshot ${number}`, 'there is a map of a snapshot that does not exist')
    else for (const entry of entries) name(tree.store, tree.chunkShift, entry, `snapshot ${number}`)
  }
  for (const [store, slices] of slots) {
    if (!isStore(store) && luns.has(store) && isLive(store)) problem('slots.store', `LUN ${store}`, 'it has slots but is no store')
    if (!isStore(store)) continue // reclaim deletes them
    for (const [slice, { used }] of slices)
      for (let slot = 0; slot < SLOTS_PER_SLICE; slot++)
        if ((used[slot >> 3]! & (1 << (slot & 7))) !== 0 && !named.has(`${store}:${slice}:${slot}`))
          problem('slot.leaked', `LUN ${store}`, `slot ${slot} of slice ${slice} is used, but no map names it`)
  }
}

/** Each is in a tree, names are unique there, and what others rest on is there. */
function checkSnapshots(snapshots: ReadonlyMap<number, SnapshotRecord>, trees: ReadonlyMap<number, TreeRecord>, problem: Report): void {
  const names = new Set<string>()
  for (const [number, snapshot] of snapshots) {
    const object = `snapshot ${number}`
    const tree = trees.get(snapshot.tree)
    if (!tree) problem('snapshot.tree', object, `its tree ${snapshot.tree} does not exist`)
    else if (snapshot.epoch >= tree.nextEpoch) problem('snapshot.epoch', object, `its epoch ${snapshot.epoch} was not given out`)
    if ((snapshot.flags & SNAPSHOT_DEAD) !== 0) continue
    if (snapshot.base !== 0 && ((snapshots.get(snapshot.base)?.flags ?? SNAPSHOT_DEAD) & SNAPSHOT_DEAD) !== 0)
      problem('snapshot.base', object, `snapshot ${snapshot.base}, which it rests on, is gone`)
    if ((snapshot.flags & SNAPSHOT_HIDDEN) !== 0) continue
    if (names.has(`${snapshot.tree}@${snapshot.name}`)) problem('snapshot.name', object, `another snapshot of its tree is called "${snapshot.name}", too`)
    names.add(`${snapshot.tree}@${snapshot.name}`)
  }
}
