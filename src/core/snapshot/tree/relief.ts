import { isCode } from '../../base/errors.ts'
import { Mutex } from '../../base/mutex.ts'
import { orUndo } from '../../base/undo.ts'
import { Batch } from '../../../metadata/batch.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { SNAPSHOT_DROPPED, SNAPSHOT_UNTIDY } from '../../../metadata/records.ts'
import type { Luns } from '../../lun/luns.ts'
import type { Pool } from '../../pool/pool.ts'
import type { ChunkRun } from '../chunks.ts'
import { whenLoaded } from '../paged.ts'
import type { SnapshotPolicy } from './policy.ts'
import type { SlotStore } from './slot-store.ts'
import type { Snapshot } from './snapshot.ts'
import type { Preservation, Relieved, Tree } from './tree.ts'
import { NONE } from './tree-map.ts'

/** Slices of deleted LUNs that are given back at a time. */
const RECLAIM_SLICES = 256

export interface ReliefHost {
  readonly metadata: Metadata
  readonly pool: Pool
  readonly luns: Luns
  policyOf(tree: Tree): SnapshotPolicy
  /** Gives back a part of what deleted snapshots held, without waiting for who holds chunks. @returns whether something came back */
  freeSome(store: SlotStore): Promise<boolean>
  /** Snapshots, in whatever tree, that read what was written to this one. */
  ownOf(snapshot: Snapshot): readonly Snapshot[]
  restsOn(snapshot: Snapshot): readonly Snapshot[]
  dropped(trees: ReadonlySet<Tree>): void
}

/**
 * A chunk cannot be preserved since there is no space (features.md C2; hazard 23): first what is deleted gives back what it holds, then the
 * policy of the source decides. A snapshot that is dropped is so durably before its source changes, and refuses to be read from then on: it is never
 * of two instants. The caller has chunks locked, so nothing here waits for locks of chunks or for a volume to become quiet.
 */
export class Relief {
  /** A drop that is not durable yet is waited for by the next one that needs it. */
  private readonly turns = new Mutex()
  /** How often space was made, or snapshots were dropped. */
  private made = 0

  constructor(private readonly host: ReliefHost) {}

  /** @returns what is still to be preserved, to try again; undefined when the write has to fail with `error` */
  async run(preservation: Preservation, error: unknown): Promise<Relieved | undefined> {
    if (!isCode(error, 'ERR_POOL_FULL') && !isCode(error, 'ERR_HOST_FULL') && !isCode(error, 'ERR_METADATA_FULL')) return undefined
    const { made } = this
    return this.turns.run(async () => {
      const { tree } = preservation
      // Another write has made some while this one waited.
      if (this.made !== made) return { tree: await this.stillNeeded(preservation) }
      this.made++
      if (await this.giveBack(tree)) return { tree: { ...preservation, slots: [] } }
      // While the source reads as one of its snapshots, its own bytes are at stake.
      if (tree.record.restored !== 0) return undefined
      const affected = await this.affected(preservation)
      if (affected.length > 0) return (await this.dropFor(tree, affected)) ? { tree: await this.stillNeeded(preservation) } : undefined
      // Nothing to give up: somebody has done so since it was planned, or it is not for want of slots.
      const still = await this.stillNeeded(preservation)
      return still?.chunks === preservation.chunks ? undefined : { tree: still }
    })
  }

  private async stillNeeded(preservation: Preservation): Promise<Preservation | undefined> {
    const { tree, runs } = preservation
    // While its source is restored it is planned by other rules, and nothing of it is dropped.
    if (tree.record.restored !== 0) return { ...preservation, slots: [] }
    const all = { from: runs[0]!.from, to: runs.at(-1)!.to }
    return whenLoaded(tree.map, all, () => tree.stillNeeded(preservation))
  }

  /** @returns false when the policy drops nothing */
  private async dropFor(tree: Tree, affected: readonly Snapshot[]): Promise<boolean> {
    const policy = this.host.policyOf(tree)
    if (policy === 'fail-writes') return false
    const epochs = policy === 'drop' ? new Set(affected.map(({ record }) => record.epoch)) : this.oldest(tree)
    const going = this.withOwn(tree.snapshots.filter(({ isKept, record }) => isKept && epochs.has(record.epoch)))
    // What was made of a hidden one, and is not made whole yet, would lose its bytes.
    if (going.length === 0 || going.some(({ isHidden }) => isHidden)) return false
    await this.drop(going, policy)
    return true
  }

  /** Snapshots that read the chunks from the source: a change of it that is not preserved would mix them. Chunks that a reserve is for are preserved. */
  private async affected({ tree, runs, epoch, upTo }: Preservation): Promise<Snapshot[]> {
    const found = new Set<Snapshot>()
    const add = ({ from, to }: ChunkRun): void => {
      for (const snapshot of tree.snapshots) {
        if (!snapshot.isKept || snapshot.record.epoch > upTo || found.has(snapshot)) continue
        for (let chunk = from; chunk < to; chunk++) {
          if (tree.map.first(chunk, snapshot.record.epoch) !== NONE || tree.isReserved(chunk, epoch)) continue
          found.add(snapshot)
          break
        }
      }
    }
    for (const run of runs) await whenLoaded(tree.map, run, () => add(run))
    return [...found]
  }

  private async giveBack(tree: Tree): Promise<boolean> {
    const { luns } = this.host
    // What is kept for snapshots first would need space and locks itself.
    const due = luns.toReclaim.find(lun => !luns.cutKeeper(lun))
    if (due) {
      await luns.reclaim(due, RECLAIM_SLICES)
      return true
    }
    return this.host.freeSome(tree.store)
  }

  /** The oldest epoch that nobody has open, nothing rests on and no space is reserved for. */
  private oldest(tree: Tree): ReadonlySet<number> {
    const isHeld = (snapshot: Snapshot): boolean =>
      snapshot.isHidden || snapshot.reserve !== undefined || snapshot.users.length > 0 || this.host.restsOn(snapshot).some(({ isKept }) => isKept)
    const kept = tree.snapshots.filter(({ isKept }) => isKept)
    const held = new Set(kept.filter(isHeld).map(({ record }) => record.epoch))
    const free = kept.map(({ record }) => record.epoch).filter(epoch => !held.has(epoch))
    return new Set(free.length === 0 ? [] : [Math.min(...free)])
  }

  /** With snapshots of what was written to them, at any depth. */
  private withOwn(snapshots: readonly Snapshot[]): Snapshot[] {
    const all = new Set(snapshots)
    for (const snapshot of all) for (const own of this.host.ownOf(snapshot)) if (own.isKept) all.add(own)
    return [...all]
  }

  private async drop(going: readonly Snapshot[], policy: SnapshotPolicy): Promise<void> {
    const { metadata, pool } = this.host
    const flags = SNAPSHOT_DROPPED | SNAPSHOT_UNTIDY
    const batch = new Batch()
    for (const snapshot of going) {
      snapshot.flag(flags, batch)
      pool.event(batch, 'snapshot.dropped', snapshot.name, `there was no space to preserve a chunk, and the policy is ${policy}`)
    }
    await orUndo(
      () => metadata.commit(batch, 'admin', true),
      () => {
        for (const snapshot of going) snapshot.unflagged(flags)
      },
    )
    this.flagged(going, flags)
  }

  /** What some snapshots read is lost: they are dropped in a commit that is made at once, and refuse to be read from now on. */
  lose(snapshots: readonly Snapshot[], reason: string, batch: Batch): void {
    const flags = SNAPSHOT_DROPPED | SNAPSHOT_UNTIDY
    const going = this.withOwn(snapshots)
    for (const snapshot of going) {
      snapshot.flag(flags, batch)
      this.host.pool.event(batch, 'snapshot.dropped', snapshot.name, reason)
    }
    this.flagged(going, flags)
  }

  private flagged(going: readonly Snapshot[], flags: number): void {
    for (const snapshot of going) snapshot.flagged(flags)
    const trees = new Set(going.map(({ tree }) => tree))
    for (const tree of trees) tree.settle()
    this.host.dropped(trees)
  }
}
