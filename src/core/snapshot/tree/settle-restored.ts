import type { Release } from '../../block/range-lock.ts'
import { Batch } from '../../../metadata/batch.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { runsWhere, type ChunkRun } from '../chunks.ts'
import { whenLoaded } from '../paged.ts'
import { CopyBuffers } from '../copy-buffers.ts'
import type { Restoring } from './restoring.ts'
import type { Preservation, Tree } from './tree.ts'
import { NONE, type MapEntry } from './tree-map.ts'

/** Chunks that come to be back in one commit. */
const COMMITTED = 512

/** A volume that is being restored: what copying back needs of it. */
export interface RestoredVolume {
  readonly tree: Tree | undefined
  /** What lies below its own snapshots. */
  readonly below: { write(offset: number, data: Uint8Array): Promise<void>; zero(offset: number, length: number): Promise<void>; flush(): Promise<void> }
  /** Locks the chunks of a range in everything that the volume is in. */
  lockFor(offset: number, length: number): Promise<Release>
  /** Keeps what locked chunks hold for the snapshots, durably. */
  keep(due: Preservation): Promise<void>
  /** Changes a locked range: whatever is to be preserved of it for others is so first; for the snapshots that is `kept`. */
  changeLocked(offset: number, length: number, put: () => Promise<void>, except: undefined, kept: { readonly tree: Preservation | undefined }): Promise<void>
}

/**
 * Copies what is still pending of a run of chunks back from the snapshot that a volume is being restored to: keeps what the volume held,
 * writes and flushes it, and only then commits that the chunks are back. Whatever moment it is cut off at, it is done again from where it was.
 *
 * @param options.all chunks that the snapshot shares with the volume get an entry of their own, too: the snapshot is about to change there
 * @returns bytes copied
 */
export async function settleRestored(
  volume: RestoredVolume,
  metadata: Metadata,
  wanted: ChunkRun,
  options: { readonly all?: boolean; readonly buffers?: CopyBuffers } = {},
): Promise<number> {
  const { tree } = volume
  const restoring = tree?.restoring
  if (!tree || !restoring) return 0
  const run = { from: wanted.from, to: Math.min(wanted.to, tree.chunks.count) }
  if (options.all !== true && !(await tree.hasPending(run))) return 0
  const offset = tree.chunks.offsetOf(run.from)
  const length = tree.chunks.lengthOf(run)
  if (length <= 0) return 0
  const release = await volume.lockFor(offset, length)
  try {
    if (tree.restoring !== restoring) return 0
    const due = await whenLoaded(restoring, run, () => runsWhere(run, chunk => restoring.isPending(chunk)))
    let moved = 0
    for (const part of due) moved += await copyBack(volume, tree, restoring, part, options.buffers ?? CopyBuffers.none)
    if (moved > 0) {
      await volume.below.flush()
      await commitBack(tree, restoring, due, metadata)
    }
    const shared = options.all === true ? await tree.plan(offset, length) : undefined
    if (shared) await volume.keep(shared)
    return moved
  } finally {
    release()
  }
}

async function copyBack(volume: RestoredVolume, tree: Tree, restoring: Restoring, part: ChunkRun, buffers: CopyBuffers): Promise<number> {
  // What a copy that was cut off has kept is not what the volume holds now.
  const kept = await whenLoaded(restoring, part, () => ({
    tree: tree.preservation(
      runsWhere(part, chunk => restoring.keptOf(chunk) === NONE),
      restoring.at,
    ),
  }))
  const at = tree.chunks.offsetOf(part.from)
  const length = tree.chunks.lengthOf(part)
  const { device } = restoring
  const hole = (await device.extentsThrough(at, length)).every(({ kind }) => kind === 'hole')
  if (hole) await volume.changeLocked(at, length, () => volume.below.zero(at, length), undefined, kept)
  else
    await buffers.lend(length, async bytes => {
      await device.readThrough(at, bytes)
      await volume.changeLocked(at, length, () => volume.below.write(at, bytes), undefined, kept)
    })
  return length
}

/** The entries that keep what the volume held move behind the epoch of the state before. */
async function commitBack(tree: Tree, restoring: Restoring, due: readonly ChunkRun[], metadata: Metadata): Promise<void> {
  const { map } = tree
  const { at } = restoring
  const chunks = due.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
  for (let from = 0; from < chunks.length; from += COMMITTED) {
    const some = chunks.slice(from, from + COMMITTED)
    const run = { from: some[0]!, to: some.at(-1)! + 1 }
    const entries = await whenLoaded(map, run, () => some.map((chunk): MapEntry => ({ chunk, epoch: at, entry: restoring.keptOf(chunk) })))
    const batch = new Batch()
    for (const entry of entries) {
      map.delete(entry, batch)
      map.put({ ...entry, epoch: at + 1 }, batch)
    }
    await metadata.commit(batch, 'data', true)
    for (const entry of entries) {
      map.remember({ ...entry, epoch: at + 1 })
      map.forget(entry)
    }
  }
}
