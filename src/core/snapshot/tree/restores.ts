import { LunarError } from '../../base/errors.ts'
import { checkName } from '../../base/names.ts'
import { whileQuiet } from '../../block/quiesce.ts'
import { Batch } from '../../../metadata/batch.ts'
import { keyOf } from '../../../metadata/key.ts'
import { poolRecord, snapshotRecord, TREE_EPOCHS, TREE_STOPPED, treeRecord, type SnapshotRecord, type TreeRecord } from '../../../metadata/records.ts'
import type { Lun } from '../../lun/lun.ts'
import { checkUnused, type Luns } from '../../lun/luns.ts'
import type { Pool } from '../../pool/pool.ts'
import { checkDelay, type Relationships } from '../relationships.ts'
import type { Volume } from '../volume.ts'
import { RestoreProcess } from './restore-process.ts'
import type { FlagChange, Snapshot } from './snapshot.ts'
import type { SourceVolume } from './snapshot-volume.ts'
import type { Tree } from './tree.ts'

export interface NewRestores {
  /** `db@s1`; several at one instant, of different LUNs. */
  readonly names: readonly string[]
  /** What the snapshots of the states before are called; `before-restore-1` and so on when left out. */
  readonly keepBefore?: string
  /** Pause of copying back between steps: milliseconds, or `PACE_ADAPTIVE`. */
  readonly delay?: number
  readonly dryRun?: boolean
}

/** A LUN that reads as a snapshot of it from now on. */
export interface Restored {
  readonly snapshot: Snapshot
  readonly volume: string
  /** The snapshot of the state before. */
  readonly before: string
  /** It was not being restored to this snapshot, or no longer copied back. */
  readonly changed: boolean
}

interface Plan {
  readonly snapshot: Snapshot
  readonly tree: Tree
  readonly lun: Lun
  readonly volume: Volume
  /** Name in the tree of the snapshot of the state before. */
  readonly before: string
  /** The LUN is being restored to it already. */
  readonly running: boolean
}

/** What restoring needs of the directory of snapshots. */
export interface RestoreHost {
  find(name: string): Snapshot
  volume(snapshot: Snapshot): SourceVolume
  /** Takes a durable record of a snapshot into the directory. */
  addSnapshot(number: number, record: SnapshotRecord): Snapshot
  /** Takes a durable record of a tree, and what follows of it. */
  setTree(tree: Tree, record: TreeRecord): void
  /** Adds to a batch that hidden snapshots go which only the restore of this tree still needed. */
  dropHidden(batch: Batch, ended: Tree): FlagChange
}

/** Restores LUNs to their snapshots (features.md C6; hazard 60): one commit, and the LUN reads as the snapshot; what differs is copied back behind it. */
export class Restores {
  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly host: RestoreHost,
  ) {}

  /**
   * @throws LunarError `ERR_SNAPSHOT_NOT_FOUND`, `ERR_BUSY`, `ERR_PROTECTED`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_USAGE`,
   * `ERR_RELATIONSHIP_STATE` during an update, `ERR_RESTORING` when the LUN is being restored to another snapshot
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
        for (const { volume } of fresh) if (volume.asImage) await this.relationships.clear(volume.asImage)
        if (fresh.length > 0)
          await whileQuiet(
            // What was written to the snapshots is durable, too: from now on it is what the LUNs hold.
            [...new Set<SourceVolume>(fresh.flatMap(({ volume, snapshot }) => [volume, this.host.volume(snapshot)]))],
            () => this.commit(fresh, spec.delay ?? 0),
          )
        for (const { lun } of fresh) await this.luns.setIncomplete(lun, false)
      }
      return plans.map(plan => ({
        snapshot: plan.snapshot,
        volume: plan.lun.name,
        before: `${plan.lun.name}@${plan.before}`,
        changed: fresh.includes(plan) || stopped.includes(plan),
      }))
    })
  }

  private checkDistinct(plans: readonly Plan[]): void {
    const twice = plans.find(({ tree }, i) => plans.findIndex(other => other.tree === tree) < i)
    if (twice) throw new LunarError('ERR_USAGE', `Cannot restore LUN "${twice.lun.name}" to "${twice.snapshot.name}"`, { why: 'it is named twice' })
  }

  private plan(name: string, spec: NewRestores): Plan {
    const snapshot = this.host.find(name)
    snapshot.checkKept('restore to')
    const { tree } = snapshot
    const lun = tree.record.snapshot === 0 ? this.luns.byId(tree.record.source) : undefined
    if (!lun)
      throw new LunarError('ERR_USAGE', `Cannot restore from snapshot "${name}"`, {
        why: 'it is a snapshot of a writable snapshot; a LUN is restored from its own snapshots',
        fix: `lunar snap clone ${name} NAME`,
      })
    const failed = `restore LUN "${lun.name}" to snapshot "${name}"`
    const volume = this.relationships.volume(lun.number)
    if (tree.restoring?.snapshot === snapshot) return { snapshot, tree, lun, volume, before: this.beforeOf(tree), running: true }
    if (tree.restoring)
      throw new LunarError('ERR_RESTORING', `Cannot ${failed}`, {
        why: `it is being restored to "${tree.restoring.snapshot.name}"`,
        fix: `wait for its end: lunar task list; if that was stopped: lunar snap restore ${tree.restoring.snapshot.name}`,
      })
    this.luns.checkUnprotected(lun, failed.replace(` LUN "${lun.name}"`, ''))
    checkUnused(lun, failed)
    this.relationships.checkOpen(lun, { mixed: true })
    const updating = this.relationships.updateOn(lun)
    if (updating)
      throw new LunarError('ERR_RELATIONSHIP_STATE', `Cannot ${failed} during an update of ${updating.label}`, {
        why: 'an update is under way',
        fix: `wait for its end: lunar GetSnapStatus ${updating.number}`,
      })
    if (snapshot.record.size !== lun.size)
      throw new LunarError('ERR_BAD_SIZE', `Cannot ${failed}`, {
        why: `the LUN has grown to ${lun.size} bytes, the snapshot has ${snapshot.record.size}`,
        fix: `lunar snap clone ${name} NAME, then lunar lun swap ${lun.name} NAME`,
      })
    if (tree.record.nextEpoch + 2 >= TREE_EPOCHS)
      throw new LunarError('ERR_OUT_OF_RANGE', `Cannot ${failed}`, { why: `"${lun.name}" has had as many snapshots as can be told apart` })
    return { snapshot, tree, lun, volume, before: this.newName(tree, lun, spec.keepBefore), running: false }
  }

  private newName(tree: Tree, lun: Lun, wanted: string | undefined): string {
    const taken = new Set(tree.snapshots.filter(({ isLive }) => isLive).map(({ record }) => record.name))
    if (wanted !== undefined) {
      checkName('snapshot', wanted)
      if (taken.has(wanted))
        throw new LunarError('ERR_EXISTS', `Cannot keep the state of LUN "${lun.name}" as "${lun.name}@${wanted}"`, {
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

  private async commit(plans: readonly Plan[], delay: number): Promise<void> {
    const now = this.pool.options.clock.wallMs()
    const batch = new Batch()
    let number = Math.max(1, this.pool.record.nextSnapshot)
    const made = plans.map(({ tree, lun, before, snapshot }) => {
      const at = tree.record.nextEpoch
      const record: SnapshotRecord = {
        snapshotId: this.pool.options.uuids(),
        name: before,
        tree: tree.number,
        epoch: at,
        flags: 0,
        onFull: 0,
        base: 0,
        size: lun.size,
        createdMs: now,
        leafEra: 1,
        reserveFrom: 0,
        reserveCount: 0,
      }
      // The epoch behind that of the state before says what is back.
      const treeAfter: TreeRecord = { ...tree.record, nextEpoch: at + 2, restored: snapshot.number, restoredAt: at, restoreDelay: delay, flags: 0 }
      batch.put(keyOf('snapshot', number), snapshotRecord.encode(record))
      batch.put(keyOf('tree', tree.number), treeRecord.encode(treeAfter))
      this.pool.event(batch, 'snapshot.created', `${lun.name}@${before}`, `read-only, before a restore to ${snapshot.name}`)
      this.pool.event(batch, 'lun.restored', lun.name, `to ${snapshot.name}`)
      return { number: number++, record, tree, treeAfter }
    })
    const poolBefore = this.pool.record
    this.pool.record = { ...poolBefore, nextSnapshot: number }
    batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
    // Of two instants they are no longer.
    await this.relationships.forgiveMixed(
      plans.map(({ lun }) => lun),
      fill => {
        fill(batch)
        return this.pool.metadata.commit(batch, 'admin', true)
      },
    )
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
      this.relationships.volume(tree.record.source),
      tree,
      this.pool.metadata,
      () => clock.monotonicMs(),
      () => this.finish(tree),
    )
    await body.begin()
    return body
  }

  /**
   * Copying back ends before its end; the LUN goes on reading as the snapshot, and what a host writes to is copied before. Restoring it to the
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
      this.pool.event(batch, 'lun.copied-back', this.relationships.volume(tree.record.source).name, `from ${tree.restoring.snapshot.name}`)
      const dropped = this.host.dropHidden(batch, tree)
      try {
        await this.pool.metadata.commit(batch, 'admin', true)
      } catch (error) {
        dropped.undo()
        throw error
      }
      this.host.setTree(tree, record)
      dropped.done()
    })
  }
}
