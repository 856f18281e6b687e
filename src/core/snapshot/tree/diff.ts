import { LunarError } from '../../base/errors.ts'
import type { Snapshot } from './snapshot.ts'
import type { Tree } from './tree.ts'

/** A side of a comparison: a snapshot, or its source as it is now. */
export interface Side {
  readonly name: string
  readonly size: number
  /** Undefined: the source. */
  readonly snapshot: Snapshot | undefined
}

/** What an update of the source has still to do: the source, and snapshots behind an epoch, read otherwise there than those up to it. */
export interface StillUpdated {
  readonly at: number
  readonly ranges: AsyncIterable<DiffExtent>
}

/** Bytes of both sides that may differ. */
export interface DiffExtent {
  readonly offset: number
  readonly length: number
}

/**
 * Where two sides of one tree may differ, from the maps alone (features.md G2): chunks that were first written after the older instant and
 * before the newer one, and what was written to writable snapshots. What lies behind the end of the smaller side differs.
 *
 * @param range only what of it lies in these bytes
 * @param updated what the source reads as otherwise than before, and no entry says so yet
 */
export async function diffOf(
  tree: Tree,
  a: Side,
  b: Side,
  range: DiffExtent = { offset: 0, length: Math.max(a.size, b.size) },
  updated?: StillUpdated,
): Promise<DiffExtent[]> {
  const epochs = [a, b].map(({ snapshot }) => snapshot?.record.epoch ?? Infinity)
  const [from, to] = [Math.min(...epochs), Math.max(...epochs)]
  const { chunkBytes } = tree
  const size = Math.min(a.size, b.size)
  const rangeEnd = range.offset + range.length
  const [firstChunk, endChunk] = [Math.floor(range.offset / chunkBytes), Math.ceil(rangeEnd / chunkBytes)]
  const chunks: number[] = []
  let last = -1
  for await (const { chunk, epoch } of tree.map.walk(firstChunk, endChunk)) {
    if (epoch < from || chunk === last) continue
    // The first entry from the older instant on is kept as long as that is live.
    last = chunk
    if (epoch < to) chunks.push(chunk)
  }
  const written = new Set<number>()
  // What is still to be copied back to the source changed with the restore, and the map does not say so yet.
  const { restoring } = tree
  if (restoring && from <= restoring.at && restoring.at < to)
    for await (const chunk of restoring.candidates(0)) if (await restoring.findPending(chunk)) written.add(chunk)
  if (updated && from <= updated.at && updated.at < to)
    for await (const { offset, length } of updated.ranges)
      for (let chunk = Math.floor(offset / chunkBytes); chunk * chunkBytes < offset + length; chunk++) written.add(chunk)
  for (const { snapshot } of [a, b]) {
    if (!snapshot || a.snapshot === b.snapshot) continue
    for await (const { chunk, epoch } of snapshot.leaf.walk(firstChunk, endChunk)) if (epoch === snapshot.record.leafEra) written.add(chunk)
  }
  const all = written.size === 0 ? chunks : [...new Set([...chunks, ...written])].sort((one, other) => one - other)
  const extents: { offset: number; length: number }[] = []
  const add = (from: number, to: number): void => {
    const [offset, end] = [Math.max(range.offset, from), Math.min(rangeEnd, to)]
    const previous = extents.at(-1)
    if (end <= offset) return
    if (previous && previous.offset + previous.length === offset) previous.length += end - offset
    else extents.push({ offset, length: end - offset })
  }
  for (const chunk of all) add(Math.min(size, chunk * chunkBytes), Math.min(size, (chunk + 1) * chunkBytes))
  add(size, Math.max(a.size, b.size))
  return extents
}

/** @throws LunarError `ERR_USAGE` unless they are of one source */
export function requireOneTree(a: Side, b: Side, tree: Tree | undefined): Tree {
  const found = a.snapshot?.tree ?? b.snapshot?.tree
  const isOne = found !== undefined && [a, b].every(({ snapshot }) => (snapshot ? snapshot.tree === found : tree === found))
  if (!isOne)
    throw new LunarError('ERR_USAGE', `Cannot compare "${a.name}" with "${b.name}"`, {
      why: 'they are not snapshots of one volume, or a volume and a snapshot of it',
      fix: 'lunar snap tree',
    })
  return found
}
