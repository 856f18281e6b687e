import { LunarError } from '../../base/errors.ts'
import { checkName } from '../../base/names.ts'
import { orUndo } from '../../base/undo.ts'
import { whileQuiet } from '../../block/quiesce.ts'
import { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import { poolRecord, snapshotRecord, TREE_EPOCHS, TREE_STOPPED, treeRecord, type SnapshotRecord, type TreeRecord } from '../../../metadata/records.ts'
import type { Lun } from '../../lun/lun.ts'
import { checkUnused, type Luns } from '../../lun/luns.ts'
import type { Pool } from '../../pool/pool.ts'
import { checkDelay, type Relationships } from '../relationships.ts'
import { RestoreProcess, type CopiedBack } from './restore-process.ts'
import type { FlagChange, Snapshot } from './snapshot.ts'
import type { SourceVolume } from './snapshot-volume.ts'
import type { Tree } from './tree.ts'

export interface NewRestores {
  /** `db@s1`, or `db@rw1@s1` of a writable snapshot; several at one instant, of different volumes. */
  readonly names: readonly string[]
  /** What the snapshots of the states before are called; `before-restore-1` and so on when left out. */
  readonly keepBefore?: string
  /** A LUN that has grown since keeps its size, and reads as zeros behind the end of the snapshot; else it becomes as large as that. */
  readonly keepSize?: boolean
  /** Pause of copying back between steps: milliseconds, or `PACE_ADAPTIVE`. */
  readonly delay?: number
  readonly dryRun?: boolean
}

/** A volume that reads as a snapshot of it from now on. */
export interface Restored {
  readonly snapshot: Snapshot
  readonly volume: string
  /** The snapshot of the state before. */
  readonly before: string
  /** Bytes that the volume has, and had before. */
  readonly size: number
  readonly was: number
  /** It was not being restored to this snapshot, or no longer copied back. */
  readonly changed: boolean
}

/** Adds a new size to a batch; `undo` when that was refused. */
type FillSize = (batch: Batch) => { readonly undo: () => void }

interface Plan {
  readonly snapshot: Snapshot
  readonly tree: Tree
  /** Undefined: what is restored is a writable snapshot. */
  readonly lun: Lun | undefined
  readonly volume: RestorableVolume
  readonly volumeName: string
  /** Name in the tree of the snapshot of the state before. */
  readonly before: string
  /** Bytes that the volume has before and after. */
  readonly was: number
  readonly size: number
  /** The volume is being restored to it already. */
  readonly running: boolean
}

type RestorableVolume = SourceVolume & CopiedBack

/** What restoring needs of the directory of snapshots. */
export interface RestoreHost {
  find(name: string): Snapshot
  volume(snapshot: Snapshot): SourceVolume
  /** What a tree is of. */
  sourceOf(tree: Tree): RestorableVolume
  /** The writable snapshot that a tree is of; undefined: it is of a LUN. */
  parentOf(tree: Tree): Snapshot | undefined
  sourceNameOf(tree: Tree): string
  /** Takes a durable record of a snapshot into the directory. */
  addSnapshot(number: number, record: SnapshotRecord): Snapshot
  /** Takes a durable record of a tree, and what follows of it. */
  setTree(tree: Tree, record: TreeRecord): void
  /** Adds to a batch that hidden snapshots go which only the restore of this tree still needed. */
  dropHidden(batch: Batch, ended: Tree): FlagChange
}

/**
 * Restores LUNs and writable snapshots to their snapshots (features.md C6, D3; hazard 60): one commit, and the volume reads as the snapshot; what differs is
 * copied back behind it.
 */
export class Restores {
  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly host: RestoreHost,
  ) {}

  /**
   * @throws LunarError `ERR_SNAPSHOT_NOT_FOUND`, `ERR_BUSY`, `ERR_PROTECTED`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_USAGE`, `ERR_IN_RELATIONSHIP`, `ERR_POOL_FULL`,
   * `ERR_RELATIONSHIP_STATE` during an update, `ERR_RESTORING` when the volume is being restored to another snapshot, or another one to it
   */
  restore(spec: NewRestores): Promise<Restored[]> {
    return this.relationships.changing.run(async () => {
      if (spec.delay !== undefined) checkDelay(spec.delay)
      const plans = spec.names.map(name => this.plan(name, spec))
      this.checkDistinct(plans)
      const fresh = plans.filter(({ running }) => !running)
      const stopped = plans.filter(({ running, tree }) => running && (tree.record.flags & TREE_STOPPED) !== 0)
      if (!spec.dryRun) {
        for (const { tree } of plans.filter(({ running }) => running))
          await this.change(tree, { flags: tree.record.flags & ~TREE_STOPPED, ...(spec.delay === undefined ? {} : { restoreDelay: spec.delay }) })
        for (const { lun } of fresh) {
          const image = lun && this.relationships.volume(lun.number).asImage
          if (image) await this.relationships.clear(image)
        }
        for (const { lun, size, was } of fresh) if (lun && size < was) await this.relationships.noteCut(lun, size)
        if (fresh.length > 0)
          await this.resized(fresh, sizes =>
            whileQuiet(
              // What was written to the snapshots is durable, too: from now on it is what the volumes hold.
              [...new Set<SourceVolume>(fresh.flatMap(({ volume, snapshot }) => [volume, this.host.volume(snapshot)]))],
              () => this.commit(fresh, sizes, spec.delay ?? 0),
            ),
          )
        for (const { lun } of fresh) if (lun) await this.luns.setIncomplete(lun, false)
      }
      return plans.map(plan => ({
        snapshot: plan.snapshot,
        volume: plan.volumeName,
        before: `${plan.volumeName}@${plan.before}`,
        size: plan.size,
        was: plan.was,
        changed: fresh.includes(plan) || stopped.includes(plan),
      }))
    })
  }

  /** Readies LUNs for other sizes, which become durable with what `commit` makes so. */
  private resized([plan, ...rest]: readonly Plan[], commit: (sizes: readonly FillSize[]) => Promise<void>): Promise<void> {
    if (!plan) return commit([])
    const next = (sizes: readonly FillSize[]): Promise<void> => this.resized(rest, others => commit([...sizes, ...others]))
    return plan.lun && plan.size !== plan.was ? this.luns.resizeWith(plan.lun, plan.size, fill => next([fill])) : next([])
  }

  private checkDistinct(plans: readonly Plan[]): void {
    const twice = plans.find(({ tree }, i) => plans.findIndex(other => other.tree === tree) < i)
    if (twice) throw new LunarError('ERR_USAGE', `Cannot restore "${twice.volumeName}" to "${twice.snapshot.name}"`, { why: 'it is named twice' })
  }

  private plan(name: string, spec: NewRestores): Plan {
    const snapshot = this.host.find(name)
    snapshot.checkKept('restore to')
    const { tree } = snapshot
    const volumeName = this.host.sourceNameOf(tree)
    const volume = this.host.sourceOf(tree)
    const parent = this.host.parentOf(tree)
    const lun = parent ? undefined : this.luns.byId(tree.record.source)
    const failed = `restore ${parent ? 'snapshot' : 'LUN'} "${volumeName}" to snapshot "${name}"`
    const was = volume.size
    if (tree.restoring?.snapshot === snapshot) return { snapshot, tree, lun, volume, volumeName, before: this.beforeOf(tree), was, size: was, running: true }
    this.checkNotRestoring(tree, failed)
    const own = this.host.volume(snapshot).tree
    // What it reads itself is not all its own yet.
    if (own) this.checkNotRestoring(own, failed)
    if (parent) this.checkSnapshot(parent, failed)
    else if (lun) this.checkLun(lun, snapshot, spec.keepSize === true, failed)
    const size = spec.keepSize ? was : snapshot.record.size
    if (tree.record.nextEpoch + 2 >= TREE_EPOCHS)
      throw new LunarError('ERR_OUT_OF_RANGE', `Cannot ${failed}`, { why: `"${volumeName}" has had as many snapshots as can be told apart` })
    return { snapshot, tree, lun, volume, volumeName, before: this.newName(tree, volumeName, spec.keepBefore), was, size, running: false }
  }

  private checkNotRestoring({ restoring }: Tree, failed: string): void {
    if (!restoring) return
    const { name, tree } = restoring.snapshot
    throw new LunarError('ERR_RESTORING', `Cannot ${failed}`, {
      why: `"${this.host.sourceNameOf(tree)}" is being restored to "${name}"`,
      fix: `wait for its end: lunar task list; if that was stopped: lunar snap restore ${name}`,
    })
  }

  private checkSnapshot(parent: Snapshot, failed: string): void {
    if (!parent.isLive)
      throw new LunarError('ERR_SNAPSHOT_NOT_FOUND', `Cannot ${failed}`, { why: `"${parent.name}" is deleted, and kept for what rests on it` })
    parent.checkKept('restore')
    parent.checkQuiet('restore')
    // What is copied from it would change.
    if (parent.tree.restoring?.snapshot === parent) this.checkNotRestoring(parent.tree, failed)
  }

  private checkLun(lun: Lun, snapshot: Snapshot, keepSize: boolean, failed: string): void {
    this.luns.checkUnprotected(lun, failed.replace(` LUN "${lun.name}"`, ''))
    checkUnused(lun, failed)
    this.relationships.checkOpen(lun, { mixed: true })
    const updating = this.relationships.updateOn(lun)
    if (updating)
      throw new LunarError('ERR_RELATIONSHIP_STATE', `Cannot ${failed} during an update of ${updating.label}`, {
        why: 'an update is under way',
        fix: `wait for its end: lunar GetSnapStatus ${updating.number}`,
      })
    const { size } = snapshot.record
    if (keepSize && size > lun.size)
      throw new LunarError('ERR_BAD_SIZE', `Cannot ${failed} and keep its size`, {
        why: `the LUN has ${lun.size} bytes, the snapshot has ${size}`,
        fix: `lunar snap restore ${snapshot.name}, which makes the LUN as large as that`,
      })
    if (!keepSize && size < lun.size) this.relationships.checkCut(lun, size)
  }

  private newName(tree: Tree, volume: string, wanted: string | undefined): string {
    const taken = new Set(tree.snapshots.filter(({ isLive }) => isLive).map(({ record }) => record.name))
    if (wanted !== undefined) {
      checkName('snapshot', wanted)
      if (taken.has(wanted))
        throw new LunarError('ERR_EXISTS', `Cannot keep the state of "${volume}" as "${volume}@${wanted}"`, {
          why: 'it has a snapshot of this name',
          fix: 'give another --keep-before, or leave it out',
        })
      return wanted
    }
    let number = 1
    while (taken.has(`before-restore-${number}`)) number++
    return `before-restore-${number}`
  }

  /** The name of the state before of a restore under way. */
  private beforeOf(tree: Tree): string {
    return tree.snapshots.find(({ record, isDead }) => !isDead && record.epoch === tree.record.restoredAt && record.base === 0)?.record.name ?? ''
  }

  private async commit(plans: readonly Plan[], sizes: readonly FillSize[], delay: number): Promise<void> {
    const now = this.pool.options.clock.wallMs()
    const batch = new Batch()
    let number = Math.max(1, this.pool.record.nextSnapshot)
    const made = plans.map(({ tree, lun, volume, volumeName, before, snapshot }) => {
      const at = tree.record.nextEpoch
      const record: SnapshotRecord = {
        snapshotId: this.pool.options.uuids(),
        name: before,
        tree: tree.number,
        epoch: at,
        flags: 0,
        onFull: 0,
        base: 0,
        size: volume.size,
        createdMs: now,
        leafEra: 1,
        reserveFrom: 0,
        reserveCount: 0,
      }
      // The epoch behind that of the state before says what is back.
      const treeAfter: TreeRecord = { ...tree.record, nextEpoch: at + 2, restored: snapshot.number, restoredAt: at, restoreDelay: delay, flags: 0 }
      batch.put(keyOf('snapshot', number), snapshotRecord.encode(record))
      batch.put(keyOf('tree', tree.number), treeRecord.encode(treeAfter))
      this.pool.event(batch, 'snapshot.created', `${volumeName}@${before}`, `read-only, before a restore to ${snapshot.name}`)
      this.pool.event(batch, lun ? 'lun.restored' : 'snapshot.restored', volumeName, `to ${snapshot.name}`)
      return { number: number++, record, tree, treeAfter }
    })
    this.pool.record = { ...this.pool.record, nextSnapshot: number }
    batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
    const resized = sizes.map(fill => fill(batch))
    // Of two instants they are no longer.
    const commit = (): Promise<void> =>
      this.relationships.forgiveMixed(
        plans.flatMap(({ lun }) => lun ?? []),
        fill => {
          fill(batch)
          return this.pool.metadata.commit(batch, 'admin', true)
        },
      )
    await orUndo(commit, () => {
      for (const { undo } of resized) undo()
    })
    for (const { number: own, record, tree, treeAfter } of made) {
      this.host.addSnapshot(own, record)
      this.host.setTree(tree, treeAfter)
    }
  }

  private async change(tree: Tree, change: Partial<TreeRecord>): Promise<void> {
    const record = { ...tree.record, ...change }
    if (treeRecord.encode(record).every((byte, i) => byte === treeRecord.encode(tree.record)[i])) return
    const batch = new Batch()
    batch.put(keyOf('tree', tree.number), treeRecord.encode(record))
    await this.pool.metadata.commit(batch, 'admin', true)
    tree.record = record
  }

  // ---- copying back

  /** What copies back, to be run; undefined when nothing is being restored, or when that was stopped. */
  async process(tree: Tree): Promise<RestoreProcess | undefined> {
    if (!tree.restoring || (tree.record.flags & TREE_STOPPED) !== 0) return undefined
    const { clock } = this.pool.options
    const body = new RestoreProcess(
      this.host.sourceOf(tree),
      tree,
      this.pool.metadata,
      () => clock.monotonicMs(),
      () => this.finish(tree),
    )
    await body.begin()
    return body
  }

  /**
   * Copying back ends before its end; the volume goes on reading as the snapshot, and what a host writes to is copied before. Restoring it to the
   * same snapshot again goes on. @returns whether it was under way
   */
  stop(tree: Tree): Promise<boolean> {
    return this.relationships.changing.run(async () => {
      if (!tree.restoring || (tree.record.flags & TREE_STOPPED) !== 0) return false
      await this.change(tree, { flags: tree.record.flags | TREE_STOPPED })
      return true
    })
  }

  /** Everything is back. */
  private finish(tree: Tree): Promise<void> {
    return this.relationships.changing.run(async () => {
      if (!tree.restoring) return
      const record: TreeRecord = { ...tree.record, restored: 0, restoredAt: 0, restoreDelay: 0, flags: 0 }
      const batch = new Batch()
      batch.put(keyOf('tree', tree.number), treeRecord.encode(record))
      const copied = this.host.parentOf(tree) ? 'snapshot.copied-back' : 'lun.copied-back'
      this.pool.event(batch, copied, this.host.sourceNameOf(tree), `from ${tree.restoring.snapshot.name}`)
      const dropped = this.host.dropHidden(batch, tree)
      await orUndo(() => this.pool.metadata.commit(batch, 'admin', true), dropped.undo)
      this.host.setTree(tree, record)
      dropped.done()
    })
  }
}
