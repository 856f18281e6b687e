/** What writes mean for relationships: bits that become durable together, and the copies due before. Pure. */
import type { ChunkRun } from './chunks.ts'
import type { Relationship } from './relationship.ts'
import type { Preservation, Tree } from './tree/tree.ts'

/** Bits of one relationship that become durable together with a write. */
export interface Mark {
  readonly relationship: Relationship
  /** Chunks to preserve: they become the image's own. */
  readonly migrated: ChunkRun[]
  readonly delta: ChunkRun[]
  readonly lost: ChunkRun[]
}

/** What is due before a write: bits and copies of relationships, and chunks for the snapshots of the volume. */
export interface Due {
  readonly marks: readonly Mark[]
  readonly tree: Preservation | undefined
}

/** A range of the source that is read once, and what of it each image wants. */
export interface CopyRun {
  /** Bytes, `to` not included. */
  readonly from: number
  readonly to: number
  readonly copies: readonly { readonly copier: Relationship | Tree; readonly runs: readonly ChunkRun[] }[]
}

/** Neighbouring ranges are read and written together up to this. Bytes. */
const RUN_MAX = 1024 * 1024

/** Appends a run, as a part of the last one when it follows that. */
function append(runs: ChunkRun[], run: ChunkRun): void {
  const last = runs.at(-1)
  if (last?.to === run.from) runs[runs.length - 1] = { from: last.from, to: run.to }
  else runs.push(run)
}

/**
 * What is to be copied for some writes, in order of address, neighbours together. What one write preserves is read in one
 * piece, however many images want it (hazard 17).
 *
 * @param writes what is due before each write; what they preserve lies in chunks that only this write has locked
 */
export function copyRuns(writes: readonly Due[]): CopyRun[] {
  const each: CopyRun[] = []
  for (const { marks, tree } of writes) {
    const copies: { copier: Relationship | Tree; runs: readonly ChunkRun[] }[] = marks
      .filter(({ migrated }) => migrated.length > 0)
      .map(({ relationship, migrated }) => ({ copier: relationship, runs: migrated }))
    if (tree) copies.push({ copier: tree.tree, runs: tree.runs })
    if (copies.length === 0) continue
    let from = Infinity
    let to = 0
    for (const { copier, runs } of copies) {
      from = Math.min(from, copier.chunks.offsetOf(runs[0]!.from))
      to = Math.max(to, copier.chunks.endOf(runs.at(-1)!.to - 1))
    }
    each.push({ from, to, copies })
  }
  each.sort((a, b) => a.from - b.from)
  const joined: CopyRun[] = []
  for (const run of each) {
    const last = joined.at(-1)
    if (last?.to !== run.from || run.to - last.from > RUN_MAX) joined.push(run)
    else joined[joined.length - 1] = { from: last.from, to: run.to, copies: together(last.copies, run.copies) }
  }
  return joined
}

function together(first: CopyRun['copies'], second: CopyRun['copies']): CopyRun['copies'] {
  const byCopier = new Map<Relationship | Tree, ChunkRun[]>()
  for (const { copier, runs } of [...first, ...second]) {
    let all = byCopier.get(copier)
    if (!all) byCopier.set(copier, (all = []))
    for (const run of runs) append(all, run)
  }
  return [...byCopier].map(([copier, runs]) => ({ copier, runs }))
}

/** The marks of some writes, one for each relationship. Runs keep the order of the writes. */
export function joinMarks(writes: readonly (readonly Mark[])[]): Mark[] {
  if (writes.length === 1) return [...writes[0]!]
  const byRelationship = new Map<Relationship, Mark>()
  for (const marks of writes) {
    for (const { relationship, migrated, delta, lost } of marks) {
      let all = byRelationship.get(relationship)
      if (!all) byRelationship.set(relationship, (all = { relationship, migrated: [], delta: [], lost: [] }))
      for (const run of migrated) append(all.migrated, run)
      for (const run of delta) append(all.delta, run)
      for (const run of lost) append(all.lost, run)
    }
  }
  return [...byRelationship.values()]
}

/** A change of one byte of a map in a batch, at most. Bytes. */
const RECORD_BYTES = 32

/** Cuts writes into groups whose bits fit into a batch of `most` bytes; a write alone always does. */
export function commitGroups(writes: readonly (readonly Mark[])[], most: number): (readonly Mark[])[][] {
  const groups: (readonly Mark[])[][] = []
  let size = 0
  for (const marks of writes) {
    let own = 0
    for (const { migrated, delta, lost } of marks)
      for (const runs of [migrated, delta, lost]) for (const { from, to } of runs) own += (Math.ceil((to - from) / 8) + 1) * RECORD_BYTES
    if (groups.length === 0 || size + own > most) {
      groups.push([])
      size = 0
    }
    groups.at(-1)!.push(marks)
    size += own
  }
  return groups
}
