import type { Snapshot } from './snapshot.ts'
import type { Tree } from './tree.ts'
import { isNeeded } from './tree-tidy.ts'

/** What the snapshots of a tree take in its store, in bytes; the parts add up to the whole (features.md G5). */
export interface TreeSpace {
  /** By snapshot: what would be given back if it alone were deleted. */
  readonly exclusive: ReadonlyMap<Snapshot, number>
  /** Needed by more than one. */
  readonly shared: number
  /** Held for what was deleted, and given back in the background. */
  readonly dead: number
  readonly total: number
}

/** Walks the map of the tree and what was written to its snapshots. */
export async function spaceOf(tree: Tree): Promise<TreeSpace> {
  const exclusive = new Map<Snapshot, number>(tree.snapshots.map(snapshot => [snapshot, 0]))
  const add = (snapshot: Snapshot): void => void exclusive.set(snapshot, exclusive.get(snapshot)! + tree.chunkBytes)
  const live = tree.snapshots.filter(({ isKept }) => isKept)
  let shared = 0
  let dead = 0
  let chunk = -1
  let previous = 0
  for await (const entry of tree.map.walk()) {
    if (entry.chunk !== chunk) previous = 0
    chunk = entry.chunk
    if (entry.entry > 0) {
      const users = live.filter(({ record }) => record.epoch > previous && record.epoch <= entry.epoch)
      if (users.length === 0) dead += tree.chunkBytes
      else if (users.length === 1) add(users[0]!)
      else shared += tree.chunkBytes
    }
    previous = entry.epoch
  }
  for (const snapshot of tree.snapshots) {
    for await (const { epoch, entry } of snapshot.leaf.walk()) {
      if (entry === 0) continue
      if (!snapshot.isKept || epoch !== snapshot.record.leafEra) dead += tree.chunkBytes
      else add(snapshot)
    }
  }
  const total = shared + dead + [...exclusive.values()].reduce((sum, bytes) => sum + bytes, 0)
  return { exclusive, shared, dead, total }
}

/**
 * Bytes of a tree's store that come back when some of its snapshots are deleted together: what they alone need, and what only they share
 * (features.md G5). What is on its way back already is not counted.
 */
export async function freedBy(tree: Tree, going: ReadonlySet<Snapshot>): Promise<number> {
  const live = tree.snapshots.filter(({ isKept }) => isKept)
  const epochs = (some: readonly Snapshot[]): number[] => [...new Set(some.map(({ record }) => record.epoch))].sort((a, b) => a - b)
  const before = epochs(live)
  const after = epochs(live.filter(snapshot => !going.has(snapshot)))
  let freed = 0
  let chunk = -1
  let previous = 0
  for await (const entry of tree.map.walk()) {
    if (entry.chunk !== chunk) previous = 0
    chunk = entry.chunk
    if (entry.entry > 0 && isNeeded(previous, entry.epoch, before) && !isNeeded(previous, entry.epoch, after)) freed += tree.chunkBytes
    previous = entry.epoch
  }
  for (const snapshot of live) {
    if (!going.has(snapshot)) continue
    for await (const { epoch, entry } of snapshot.leaf.walk()) if (entry > 0 && epoch === snapshot.record.leafEra) freed += tree.chunkBytes
  }
  return freed
}
