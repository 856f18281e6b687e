import { LunarError } from '../../base/errors.ts'
import { checkName } from '../../base/names.ts'
import { KIB, MIB } from '../../base/units.ts'
import { orUndo } from '../../base/undo.ts'
import { whileQuiet } from '../../block/quiesce.ts'
import { Batch } from '../../../metadata/batch.ts'
import { hiOf, keyOf } from '../../../metadata/key.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import {
  decodeRecord,
  poolRecord,
  SNAPSHOT_DEAD,
  SNAPSHOT_HIDDEN,
  SNAPSHOT_UNTIDY,
  SNAPSHOT_WRITABLE,
  snapshotRecord,
  TREE_EPOCHS,
  treeRecord,
  type SnapshotRecord,
  type TreeRecord,
} from '../../../metadata/records.ts'
import type { Lun } from '../../lun/lun.ts'
import type { Luns } from '../../lun/luns.ts'
import { safestOf } from '../../lun/ranges.ts'
import type { Pool } from '../../pool/pool.ts'
import { SLICE, type Redundancy } from '../../raid/geometry.ts'
import { checkChunkSize } from '../chunks.ts'
import type { Relationship } from '../relationship.ts'
import type { Relationships } from '../relationships.ts'
import type { Volume } from '../volume.ts'
import { Clones } from './clones.ts'
import { Compaction } from './compaction.ts'
import { diffOf, requireOneTree, type DiffExtent, type Side, type StillUpdated } from './diff.ts'
import { MapMemory } from './map-memory.ts'
import { policyNumber, policyOf, type SnapshotPolicy } from './policy.ts'
import { Relief } from './relief.ts'
import { Restores } from './restores.ts'
import { restoredTail, Restoring } from './restoring.ts'
import { Snapshot, type FlagChange } from './snapshot.ts'
import { SnapshotVolume, type SourceVolume } from './snapshot-volume.ts'
import { freedBy } from './space.ts'
import type { Reserve, SlotStore } from './slot-store.ts'
import { Stores } from './stores.ts'
import { Tree } from './tree.ts'
import { TreeTidy } from './tree-tidy.ts'

/** A first write copies no more than what a page of most programs has; the map takes 28 bytes a chunk. Bytes. */
export const TREE_CHUNK_DEFAULT = 4 * KIB
/** Pages of all maps in memory (engine.md section 3). Bytes. */
const MAP_BYTES = 32 * MIB
/** Deletions of one commit that have an event each. */
const EVENTS_MAX = 200
/** Chunks that an index of the map has room for. */
const CHUNKS_MAX = 2 ** 33

export interface NewSnapshots {
  /** `db@s1`; several at one instant. Or what chooses them when nothing else comes or goes any more. */
  readonly names: readonly string[] | (() => readonly string[])
  /** Nobody writes it. */
  readonly readOnly?: boolean
  /** A read-only snapshot: the new one is a writable view of its frozen state. */
  readonly of?: string
  /** Where preserved chunks go; for the first snapshot of a source. */
  readonly store?: string
  /** Bytes, a power of two; for the first snapshot of a source. */
  readonly chunkBytes?: number
  /** The store may have less redundancy than the source. */
  readonly forceRedundancy?: boolean
  /** Space for all that they may need is bound at once: they cannot run out. */
  readonly reserve?: boolean
  /** What happens to the snapshots of these LUNs when there is no space for a chunk they need; as it is when left out. */
  readonly onFull?: SnapshotPolicy
  /** Asked when nothing else comes or goes any more: whether to make nothing after all. */
  readonly skip?: () => Promise<boolean>
  /** Adds what becomes durable with them to their commit; what it returns is called when that fails. */
  readonly together?: (batch: Batch) => () => void
  /** Who wanted them, for their events. */
  readonly why?: string
  readonly dryRun?: boolean
}

/** A frozen snapshot that users do not see, for what is made of it. */
export interface FrozenPlan {
  readonly plan: Plan
  readonly shape: Shape
}

/** What a creation makes, or would make. */
export interface NewSnapshot {
  readonly name: string
  readonly size: number
  readonly isWritable: boolean
  readonly of: string | undefined
  readonly chunkBytes: number
  readonly store: string
}

/** A snapshot that is about to be. */
export interface Plan {
  readonly source: SourceVolume
  readonly sourceName: string
  readonly name: string
  readonly base: Snapshot | undefined
  /** Of the source: absent for its first snapshot. */
  readonly tree: Tree | undefined
  /** The chunks of a source of several redundancy types go where the safest of them is. */
  readonly raid: Redundancy
  /** Number of the LUN, or of the snapshot. */
  readonly lun: number
  readonly snapshot: number
}

/** What needs its snapshots no longer: the restore of a tree, a clone. */
interface Ended {
  readonly tree?: Tree
  readonly clone?: Relationship
}

const sizeOf = ({ base, source }: Plan): number => base?.record.size ?? source.size

/** What the first snapshot of a source decides for all of them. */
export interface Shape {
  readonly chunkShift: number
  /** The usual one when left out. */
  readonly store: string | undefined
}

/** The snapshots of a pool: the directory, and what creates and deletes them. */
export class Trees {
  readonly stores: Stores
  private readonly byNumber = new Map<number, Tree>()
  private readonly snapshots = new Map<number, Snapshot>()
  private readonly volumes = new Map<number, SnapshotVolume>()
  /** Pages of the maps of all trees. */
  readonly memory = new MapMemory(MAP_BYTES)
  private readonly cleaning: TreeTidy
  readonly restores: Restores
  readonly clones: Clones
  private readonly relief: Relief

  private constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
  ) {
    this.stores = new Stores(pool, luns, () => this.all)
    this.relief = new Relief({
      metadata: pool.metadata,
      pool,
      luns,
      policyOf: tree => this.policyOf(tree),
      freeSome: store => this.cleaning.freeSome(store),
      ownOf: snapshot => this.all.filter(({ record }) => record.snapshot === snapshot.number).flatMap(({ snapshots }) => snapshots),
      restsOn: snapshot => this.restsOn(snapshot),
      dropped: trees => {
        for (const tree of trees) this.cleaning.note(tree)
      },
    })
    this.cleaning = new TreeTidy(pool.metadata, (tree, batch) => {
      this.forgetTree(tree, batch)
    })
    this.restores = new Restores(pool, luns, relationships, {
      find: name => this.find(name),
      volume: snapshot => this.volume(snapshot),
      sourceOf: tree => this.sourceOf(tree),
      parentOf: tree => this.parentOf(tree),
      sourceNameOf: tree => this.sourceNameOf(tree),
      addSnapshot: (number, record) => this.addSnapshot(number, record),
      setTree: (tree, record) => {
        this.setTree(tree, record)
      },
      dropHidden: (batch, ended) => this.dropHidden(batch, { tree: ended }),
    })
    this.clones = new Clones(pool, luns, relationships, {
      planFrozen: (source, name, failed) => this.planFrozen(source, name, failed),
      freeze: (frozen, together) => this.freeze(frozen, together),
      dropHidden: (batch, ended) => this.dropHidden(batch, { clone: ended }),
    })
    relationships.cloneSources = {
      through: clone => this.volume(this.byId(clone.record.source)),
      lun: clone => this.rootOf(this.byId(clone.record.source)),
    }
    relationships.duringUpdate = {
      names: relationship => this.duringUpdate(relationship).map(snapshot => this.cloneNameOf(snapshot) ?? snapshot.name),
      lose: (relationship, reason, batch) => {
        this.relief.lose(this.duringUpdate(relationship), reason, batch)
      },
    }
    luns.cutKeeper = lun => this.cutKeeper(lun)
    relationships.snapshotsOf = lun => this.namesOf(lun)
    relationships.restoredTo = lun => this.treeOf(lun)?.restoring?.snapshot.name
  }

  static async load(pool: Pool, luns: Luns, relationships: Relationships): Promise<Trees> {
    const trees = new Trees(pool, luns, relationships)
    for await (const { hi, value } of pool.metadata.range(hiOf('tree'), 0, 0, hiOf('tree', 0xffff_ffff)))
      trees.addTree(hi - hiOf('tree'), decodeRecord(treeRecord, value))
    for await (const { hi, value } of pool.metadata.range(hiOf('snapshot'), 0, 0, hiOf('snapshot', 0xffff_ffff)))
      trees.addSnapshot(hi - hiOf('snapshot'), decodeRecord(snapshotRecord, value))
    for (const tree of trees.all) {
      trees.setTree(tree, tree.record)
      // Of what is deleted the source may be gone.
      if (tree.isActive) trees.sourceOf(tree).tree = tree
      trees.cleaning.note(tree)
    }
    if (!pool.options.readOnly && !pool.metadata.report.cleanShutdown) for (const store of trees.stores.all) trees.cleaning.noteStore(trees.stores.slots(store))
    return trees
  }

  private addTree(number: number, record: TreeRecord): Tree {
    const store = this.luns.byId(record.store)
    if (!store)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use sharing tree ${number}`, {
        why: `its store is LUN ${record.store}, which the pool does not have`,
      })
    const tree = new Tree(number, record, this.stores.slots(store), this.metadata, this.memory)
    this.addKnown(tree)
    return tree
  }

  private addKnown(tree: Tree): void {
    this.byNumber.set(tree.number, tree)
    tree.relieve = (preservation, error) => this.relief.run(preservation, error)
  }

  async setPolicy(lun: Lun, policy: SnapshotPolicy): Promise<void> {
    const onFull = policyNumber(policy)
    if (lun.record.onFull !== onFull) await this.luns.set(lun, { onFull }, `on-full=${policy}`)
  }

  /** Of the LUN that it is of in the end. */
  policyOf({ record: { source, snapshot } }: Tree): SnapshotPolicy {
    const parent = this.snapshots.get(snapshot)
    return parent ? this.policyOf(parent.tree) : policyOf(this.luns.byId(source)?.record.onFull ?? 0)
  }

  private addSnapshot(number: number, record: SnapshotRecord, reserve?: Reserve): Snapshot {
    const tree = this.byNumber.get(record.tree)
    if (!tree)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use snapshot ${number}`, {
        why: `it is of sharing tree ${record.tree}, which the pool does not have`,
      })
    const snapshot = new Snapshot(number, record, tree, this.metadata, this.memory, one => this.sourceNameOf(one), reserve)
    tree.snapshots.push(snapshot)
    this.snapshots.set(number, snapshot)
    return snapshot
  }

  /** What a tree is, and what follows: called while its source is quiet, or when its restore has ended. */
  private setTree(tree: Tree, record: TreeRecord): void {
    tree.record = record
    tree.restoring = undefined
    if (record.restored !== 0) {
      const snapshot = this.byId(record.restored)
      const { size } = snapshot.record
      const before = tree.snapshots.find(({ record: { epoch, base }, isDead }) => epoch === record.restoredAt && base === 0 && !isDead)?.record.size ?? size
      const source = this.sourceOf(tree)
      // Else it has become as large as the snapshot, and what was cut off is kept for the state before.
      const tail = before > size && source.size > size ? restoredTail(source, tree.chunkBytes, size, before) : undefined
      tree.restoring = new Restoring(snapshot, record.restoredAt, tree.map, this.volume(snapshot), tail)
    }
    tree.settle()
  }

  private get metadata(): Metadata {
    return this.pool.metadata
  }

  /** In order of number. */
  get all(): Tree[] {
    return [...this.byNumber.values()]
  }

  /** Snapshots that users see, in order of number; with hidden ones when asked. */
  list(options: { readonly hidden?: boolean } = {}): Snapshot[] {
    return [...this.snapshots.values()].filter(({ isLive, isDead }) => isLive || (options.hidden === true && !isDead))
  }

  /** What a tree is of: a LUN with its relationships, or a writable snapshot. */
  private sourceOf(tree: Tree): Volume | SnapshotVolume {
    const parent = this.parentOf(tree)
    return parent ? this.volume(parent) : this.relationships.volume(tree.record.source)
  }

  /** The writable snapshot that a tree is of. */
  private parentOf({ record: { snapshot } }: Tree): Snapshot | undefined {
    return snapshot === 0 ? undefined : this.byId(snapshot)
  }

  sourceNameOf({ record: { source, snapshot } }: Tree): string {
    return snapshot === 0 ? (this.luns.byId(source)?.name ?? String(source)) : (this.snapshots.get(snapshot)?.name ?? String(snapshot))
  }

  private byId(number: number): Snapshot {
    const snapshot = this.snapshots.get(number)
    if (!snapshot) throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use snapshot ${number}`, { why: 'a tree is of it, but the pool has no such snapshot' })
    return snapshot
  }

  volume(snapshot: Snapshot): SnapshotVolume {
    let volume = this.volumes.get(snapshot.number)
    if (!volume) {
      volume = new SnapshotVolume(snapshot, this.sourceOf(snapshot.tree), this.metadata, this.pool.options.clock)
      this.volumes.set(snapshot.number, volume)
    }
    return volume
  }

  /** Number of the LUN that a snapshot is of, at any depth. */
  private rootOf({ tree: { record } }: Snapshot): number {
    return record.snapshot === 0 ? record.source : this.rootOf(this.byId(record.snapshot))
  }

  /** Whether a name is one of a snapshot: it says of what. */
  static isName(name: string): boolean {
    return name.includes('@')
  }

  /** By `db@s1`. @throws LunarError `ERR_SNAPSHOT_NOT_FOUND` */
  find(name: string): Snapshot {
    const found = this.list().find(snapshot => snapshot.name === name)
    if (!found) throw new LunarError('ERR_SNAPSHOT_NOT_FOUND', `Cannot find snapshot "${name}" in pool "${this.pool.record.name}"`)
    return found
  }

  // ---- what the rest of the pool asks

  /** Names of the snapshots of a LUN, and of theirs: what needs it as it is. */
  namesOf(lun: Lun): string[] {
    return this.namesIn(this.treeOf(lun))
  }

  private namesIn(tree: Tree | undefined): string[] {
    const names: string[] = []
    for (const snapshot of tree?.snapshots ?? []) {
      if (snapshot.isDead) continue
      if (snapshot.isLive) names.push(snapshot.name)
      names.push(...this.namesIn(this.all.find(({ record }) => record.snapshot === snapshot.number)))
    }
    return names
  }

  /** The snapshots of a LUN or of a writable snapshot, without those of theirs. @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND` */
  directOf(volume: string): Snapshot[] {
    const tree = Trees.isName(volume) ? this.volume(this.find(volume)).tree : this.treeOf(this.luns.find(volume))
    return tree?.snapshots.filter(({ isLive }) => isLive) ?? []
  }

  /** Whether a volume was not written since a snapshot of it was taken, and has its size: from the map, without reading data. */
  async isUnchangedSince(snapshot: Snapshot): Promise<boolean> {
    const { tree, record, isKept } = snapshot
    const source = this.sourceOf(tree)
    if (!isKept || source.size !== record.size) return false
    // What is still to be copied changed with the update, and the map does not say so yet.
    const updated = this.stillUpdated(tree)
    if (updated && record.epoch <= updated.at) return false
    await source.flush()
    return !(await tree.hasChangedSince(record.epoch))
  }

  treeOf(lun: Lun): Tree | undefined {
    return this.all.find(({ record }) => record.snapshot === 0 && record.source === lun.number)
  }

  /** @throws LunarError `ERR_HAS_SNAPSHOTS` naming them, `ERR_RESTORING` */
  checkNone(lun: Lun, what: string): void {
    const names = this.namesOf(lun)
    if (names.length > 0)
      throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot ${what} LUN "${lun.name}"`, {
        why: `${names.join(', ')} ${names.length === 1 ? 'is a snapshot' : 'are snapshots'} of it`,
        fix: `lunar snap delete ${names.join(' ')}`,
        blockers: names,
      })
    const clones = this.relationships.clones.filter(clone => this.rootOf(this.byId(clone.record.source)) === lun.number)
    if (clones.length > 0) {
      const names = clones.map(clone => this.relationships.image(clone).name)
      throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot ${what} LUN "${lun.name}"`, {
        why: `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} still being copied from it`,
        fix: 'wait for the end: lunar task list',
        blockers: names,
      })
    }
    // Snapshots that are deleted are needed until it has ended.
    if (this.treeOf(lun)?.restoring)
      throw new LunarError('ERR_RESTORING', `Cannot ${what} LUN "${lun.name}"`, {
        why: 'it is being restored to a snapshot that is deleted',
        fix: 'wait for the end: lunar task list',
      })
  }

  /** Snapshots keep the size of their instant, and what is cut off. @throws LunarError `ERR_BUSY` of a clone that is still being copied */
  checkResize(lun: Lun, size: number): void {
    if (size < lun.size) this.clones.checkNone(lun, 'shrink')
  }

  /** What keeps slices of a LUN that a shrink has cut off for its snapshots. */
  private cutKeeper(lun: Lun): ((from: number, to: number) => Promise<void>) | undefined {
    if (this.treeOf(lun)?.isActive !== true) return undefined
    return (from, to) => this.relationships.volume(lun.number).keepCut(from * SLICE, (to - from) * SLICE)
  }

  // ---- creating

  /**
   * Takes snapshots at one instant (features.md C1, G3; Compaq Fig. 9): everything acknowledged is flushed, nothing is in flight, and one
   * commit makes them all. No data is copied.
   * @returns what was made; nothing when it was skipped
   * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID`, `ERR_REDUNDANCY`,
   * `ERR_RELATIONSHIP_STATE` during a source update from a write-once device
   */
  create(spec: NewSnapshots): Promise<NewSnapshot[]> {
    return this.relationships.changing.run(async () => {
      const names = typeof spec.names === 'function' ? spec.names() : spec.names
      const plans = names.map(name => this.plan(name, spec))
      this.checkDistinct(names)
      const shapes = plans.map(plan => this.shape(plan, spec))
      if (spec.onFull !== undefined && plans.some(({ lun }) => lun === 0))
        throw new LunarError('ERR_USAGE', 'Cannot set a policy for snapshots of a snapshot', {
          why: 'it is that of the LUN they are of in the end',
          fix: 'lunar lun set LUN on-full=drop',
        })
      if (await spec.skip?.()) return []
      if (!spec.dryRun) {
        for (const { lun } of plans) if (spec.onFull !== undefined) await this.setPolicy(this.luns.byId(lun)!, spec.onFull)
        await this.createNow(plans, shapes, spec)
      }
      return plans.map(({ sourceName, name, source, base, raid }, i) => ({
        name: `${sourceName}@${name}`,
        size: base?.record.size ?? source.size,
        isWritable: spec.readOnly !== true,
        of: base?.name,
        chunkBytes: 2 ** shapes[i]!.chunkShift,
        store: shapes[i]!.store ?? Stores.usualName(raid),
      }))
    })
  }

  private async createNow(plans: readonly Plan[], shapes: readonly Shape[], spec: NewSnapshots): Promise<void> {
    const trees: Tree[] = []
    for (const [i, plan] of plans.entries()) trees.push(plan.tree ?? (await this.newTree(plan, trees, plans, shapes[i]!)))
    const sources = plans.filter(({ base }) => !base).map(({ source }) => source)
    const reserves: { readonly store: SlotStore; readonly reserve: Reserve }[] = []
    let undo: (() => void) | undefined
    try {
      for (const [i, { store, record }] of (spec.reserve ? trees : []).entries())
        reserves.push({ store, reserve: await store.reserve(record.chunkShift, Math.ceil(sizeOf(plans[i]!) / 2 ** record.chunkShift)) })
      await whileQuiet([...new Set(sources)], () =>
        this.commitNew(
          plans,
          trees,
          spec,
          reserves.map(({ reserve }) => reserve),
          batch => {
            undo = spec.together?.(batch)
          },
        ),
      )
    } catch (error) {
      undo?.()
      for (const { store, reserve } of reserves) await store.endReserve(reserve)
      throw error
    }
  }

  private checkDistinct(names: readonly string[]): void {
    const twice = names.find((name, i) => names.indexOf(name) < i)
    if (twice !== undefined) throw new LunarError('ERR_USAGE', `Cannot create snapshot "${twice}"`, { why: 'it is named twice' })
  }

  private plan(full: string, spec: NewSnapshots): Plan {
    const at = full.lastIndexOf('@')
    const failed = `Cannot create snapshot "${full}"`
    if (at <= 0) throw new LunarError('ERR_BAD_NAME', failed, { why: 'a snapshot is named VOLUME@NAME', fix: `lunar snap create ${full}@NAME` })
    const sourceName = full.slice(0, at)
    const name = checkName('snapshot', full.slice(at + 1))
    const found = Trees.isName(sourceName) ? this.planOnSnapshot(sourceName, failed) : this.planOnLun(sourceName, failed)
    if (found.tree?.snapshots.some(({ isLive, record }) => isLive && record.name === name))
      throw new LunarError('ERR_EXISTS', failed, { why: `"${sourceName}" has a snapshot of this name` })
    const base = spec.of === undefined ? undefined : this.find(spec.of)
    base?.checkKept('make a view of')
    if (base && base.tree !== found.tree) throw new LunarError('ERR_USAGE', failed, { why: `"${base.name}" is no snapshot of "${sourceName}"` })
    if (base?.isWritable) throw new LunarError('ERR_USAGE', failed, { why: `"${base.name}" is written to`, fix: `lunar snap create ${base.name}@${name}` })
    if (base && spec.readOnly)
      throw new LunarError('ERR_USAGE', failed, { why: `a read-only view of "${base.name}" is that snapshot itself`, fix: 'leave --read-only out' })
    if (found.tree && found.tree.record.nextEpoch >= TREE_EPOCHS)
      throw new LunarError('ERR_OUT_OF_RANGE', failed, {
        why: `"${sourceName}" has had as many snapshots as can be told apart`,
        fix: 'delete all of them first',
      })
    return { ...found, sourceName, name, base }
  }

  private planOnLun(name: string, failed: string): Omit<Plan, 'sourceName' | 'name' | 'base'> {
    const lun = this.luns.find(name)
    this.luns.checkOwn(lun, 'take a snapshot of')
    if (lun.isIncomplete) throw new LunarError('ERR_INCOMPLETE', failed, { why: `an import into LUN "${name}" has not ended` })
    this.relationships.checkOpen(lun, { mixed: true })
    // A tree says which relationship updates its source: of a device it would not know where what is still to be copied lies.
    const updating = this.relationships.wodUpdates.running(lun.number)
    if (updating)
      throw new LunarError('ERR_RELATIONSHIP_STATE', failed, {
        why: `an update of ${updating.label} is under way`,
        fix: `wait for its end: lunar GetSnapStatus ${updating.number}`,
      })
    return { source: this.relationships.volume(lun.number), tree: this.treeOf(lun), raid: safestOf(lun.types), lun: lun.number, snapshot: 0 }
  }

  private planOnSnapshot(name: string, failed: string): Omit<Plan, 'sourceName' | 'name' | 'base'> {
    const snapshot = this.find(name)
    snapshot.checkKept('take a snapshot of')
    if (!snapshot.isWritable)
      throw new LunarError('ERR_USAGE', failed, { why: `"${name}" is frozen, so a snapshot of it is itself`, fix: 'use it, or make a writable one --of it' })
    const volume = this.volume(snapshot)
    return { source: volume, tree: volume.tree, raid: safestOf(snapshot.tree.store.lun.types), lun: 0, snapshot: snapshot.number }
  }

  /** Chunk size and store belong to the tree, fixed by its first snapshot (hazard 16). */
  private shape(plan: Plan, spec: Omit<NewSnapshots, 'names'>): Shape {
    const failed = `Cannot create snapshot "${plan.sourceName}@${plan.name}"`
    if (spec.chunkBytes !== undefined) checkChunkSize(spec.chunkBytes)
    const parent = plan.tree ?? (plan.snapshot === 0 ? undefined : this.byId(plan.snapshot).tree)
    const chunkShift = parent?.record.chunkShift ?? Math.log2(spec.chunkBytes ?? TREE_CHUNK_DEFAULT)
    const store = parent?.store.lun.name ?? spec.store
    const differs = parent && ((spec.chunkBytes !== undefined && spec.chunkBytes !== 2 ** chunkShift) || (spec.store !== undefined && spec.store !== store))
    if (differs)
      throw new LunarError('ERR_USAGE', failed, {
        why: `the snapshots of "${plan.sourceName}" have chunks of ${2 ** chunkShift} bytes in store "${store}", as its first one had`,
        fix: 'leave --chunk-size and --store out',
      })
    if (plan.source.size / 2 ** chunkShift > CHUNKS_MAX)
      throw new LunarError('ERR_BAD_SIZE', failed, {
        why: `${plan.source.size} bytes have too many chunks of ${2 ** chunkShift} bytes`,
        fix: 'give a larger --chunk-size',
      })
    if (!parent) this.stores.check(store, plan.raid, spec.forceRedundancy === true)
    const raid = store === undefined ? plan.raid : safestOf(this.stores.find(store).types)
    if (spec.reserve && sizeOf(plan) > this.pool.largest(raid))
      throw new LunarError('ERR_POOL_FULL', failed, {
        why: `${sizeOf(plan)} bytes are to be reserved, and ${raid} has room for ${this.pool.largest(raid)}`,
        fix: 'lunar disk add, or leave --reserve out',
      })
    return { chunkShift, store }
  }

  /** The tree of a source without one, in memory; its store is made when it is missing. */
  private async newTree(plan: Plan, made: readonly Tree[], plans: readonly Plan[], shape: Shape): Promise<Tree> {
    // Two snapshots of one source at one instant have one tree.
    const same = made.find((_, i) => plans[i]!.source === plan.source)
    if (same) return same
    const store = await this.stores.get(shape.store, plan.raid)
    const number = Math.max(1, this.pool.record.nextTree)
    this.pool.record = { ...this.pool.record, nextTree: number + 1 }
    const record: TreeRecord = {
      source: plan.lun,
      snapshot: plan.snapshot,
      store: store.number,
      chunkShift: shape.chunkShift,
      flags: 0,
      nextEpoch: 1,
      restored: 0,
      restoredAt: 0,
      restoreDelay: 0,
      updatedBy: 0,
      updateEra: 0,
      updatedAt: 0,
      createdMs: this.pool.options.clock.wallMs(),
    }
    return new Tree(number, record, this.stores.slots(store), this.metadata, this.memory)
  }

  private recordOf(
    plan: Plan,
    tree: { readonly number: number; readonly record: TreeRecord },
    spec: Pick<NewSnapshots, 'readOnly'> & { readonly hidden?: boolean },
    now: number,
    reserve: Reserve | undefined,
  ): SnapshotRecord {
    return {
      snapshotId: this.pool.options.uuids(),
      name: plan.name,
      tree: tree.number,
      epoch: plan.base?.record.epoch ?? tree.record.nextEpoch,
      flags: (spec.readOnly === true ? 0 : SNAPSHOT_WRITABLE) | (spec.hidden ? SNAPSHOT_HIDDEN : 0),
      onFull: 0,
      base: plan.base?.number ?? 0,
      size: sizeOf(plan),
      createdMs: now,
      leafEra: 1,
      reserveFrom: reserve?.from ?? 0,
      reserveCount: reserve?.count ?? 0,
    }
  }

  /** @param together adds to the commit what comes with snapshots of these numbers; what it returns is called when that is durable */
  private async commitNew(
    plans: readonly Plan[],
    trees: readonly Tree[],
    spec: Pick<NewSnapshots, 'readOnly' | 'why'> & { readonly hidden?: boolean },
    reserves: readonly Reserve[],
    together?: (batch: Batch, snapshots: readonly number[]) => (() => void) | void,
  ): Promise<void> {
    const now = this.pool.options.clock.wallMs()
    const batch = new Batch()
    let number = Math.max(1, this.pool.record.nextSnapshot)
    const made = plans.map((plan, i) => {
      const tree = trees[i]!
      const reserve = reserves[i]
      const record = this.recordOf(plan, tree, spec, now, reserve)
      batch.put(keyOf('snapshot', number), snapshotRecord.encode(record))
      if (!spec.hidden)
        this.pool.event(
          batch,
          'snapshot.created',
          `${plan.sourceName}@${plan.name}`,
          [spec.readOnly === true ? 'read-only' : plan.base ? `of ${plan.base.name}` : 'writable', spec.why].filter(Boolean).join(', '),
        )
      return { number: number++, record, tree, reserve }
    })
    const changed = new Map<Tree, TreeRecord>()
    for (const [i, { tree }] of made.entries()) {
      // Two of one source have one epoch: it is one instant.
      if (!plans[i]!.base) changed.set(tree, { ...tree.record, ...this.markedUpdate(tree), nextEpoch: tree.record.nextEpoch + 1 })
    }
    for (const [tree, record] of changed) batch.put(keyOf('tree', tree.number), treeRecord.encode(record))
    this.pool.record = { ...this.pool.record, nextSnapshot: number }
    const done = together?.(
      batch,
      made.map(one => one.number),
    )
    batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
    await this.metadata.commit(batch, 'admin')
    for (const [tree, record] of changed) tree.record = record
    for (const { number: own, record, tree, reserve } of made) {
      this.addKnown(tree)
      this.addSnapshot(own, record, reserve)
    }
    for (const tree of new Set(trees)) {
      tree.settle()
      this.sourceOf(tree).tree = tree
    }
    done?.()
  }

  /** The first snapshot during an update of its source says which epochs are of before: their state is not what the source reads as. */
  private markedUpdate(tree: Tree): Partial<TreeRecord> {
    const { record } = tree
    const lun = record.snapshot === 0 ? this.luns.byId(record.source) : undefined
    const updating = lun && this.relationships.updating(lun)
    if (!updating || tree.updatedAt(updating) !== undefined) return {}
    return { updatedBy: updating.number, updateEra: updating.record.frozenEra, updatedAt: record.nextEpoch - 1 }
  }

  /** Snapshots that were taken during an update under way. */
  private duringUpdate(relationship: Relationship): Snapshot[] {
    const tree = this.treeOf(relationship.update === 'sourceUpdate' ? this.relationships.source(relationship) : this.relationships.image(relationship))
    const updatedAt = tree?.updatedAt(relationship)
    return tree?.snapshots.filter(({ isKept, record }) => updatedAt !== undefined && isKept && record.epoch > updatedAt) ?? []
  }

  /** Name of the LUN that is being copied from a hidden snapshot. */
  private cloneNameOf({ isHidden, number }: Snapshot): string | undefined {
    const clone = isHidden ? this.relationships.clones.find(({ record }) => record.source === number) : undefined
    return clone && this.relationships.image(clone).name
  }

  // ---- for clones

  /** @param source a LUN, or a snapshot: of a read-only one it is one more view, and of a writable one a snapshot */
  private planFrozen(source: string, name: string, failed: string): FrozenPlan {
    const snapshot = Trees.isName(source) ? this.find(source) : undefined
    snapshot?.checkKept('clone')
    const { tree } = snapshot ?? {}
    const plan: Plan =
      snapshot && tree && !snapshot.isWritable
        ? {
            source: this.sourceOf(tree),
            sourceName: this.sourceNameOf(tree),
            name,
            base: snapshot,
            tree,
            raid: safestOf(tree.store.lun.types),
            lun: tree.record.source,
            snapshot: tree.record.snapshot,
          }
        : { ...(snapshot ? this.planOnSnapshot(source, failed) : this.planOnLun(source, failed)), sourceName: source, name, base: undefined }
    if (plan.tree && plan.tree.record.nextEpoch >= TREE_EPOCHS)
      throw new LunarError('ERR_OUT_OF_RANGE', failed, { why: `"${source}" has had as many snapshots as can be told apart` })
    return { plan, shape: this.shape(plan, {}) }
  }

  private async freeze({ plan, shape }: FrozenPlan, together: (batch: Batch, snapshot: number) => () => void): Promise<void> {
    const tree = plan.tree ?? (await this.newTree(plan, [], [plan], shape))
    await whileQuiet(plan.base ? [] : [plan.source], () =>
      this.commitNew([plan], [tree], { readOnly: true, hidden: true }, [], (batch, [number]) => together(batch, number!)),
    )
  }

  // ---- deleting

  /**
   * One commit: names and reads are gone. What rests on one keeps it, hidden, until that is gone; the rest is given back behind it.
   * @param snapshots or what chooses them while nothing else comes or goes
   * @returns those that stay hidden
   * @throws LunarError `ERR_BUSY`
   */
  delete(
    snapshots: readonly Snapshot[] | (() => readonly Snapshot[]),
    options: { readonly dryRun?: boolean; readonly why?: string } = {},
  ): Promise<Snapshot[]> {
    return this.relationships.changing.run(async () => {
      const named = [...new Set(typeof snapshots === 'function' ? snapshots() : snapshots)]
      for (const snapshot of named) snapshot.checkQuiet('delete')
      const { hidden, dead } = this.deletion(named)
      if (options.dryRun || named.length === 0) return hidden
      const batch = new Batch()
      this.tellDeleted(named, hidden, options.why ?? '', batch)
      await this.commitFlagged(this.flagged({ hidden, dead }, batch), batch)
      return hidden
    })
  }

  private async commitFlagged({ done, undo }: FlagChange, batch: Batch): Promise<void> {
    await orUndo(() => this.metadata.commit(batch, 'admin', true), undo)
    done()
  }

  /** Adds to a batch that snapshots are hidden or gone. */
  private flagged({ hidden, dead }: { readonly hidden: readonly Snapshot[]; readonly dead: readonly Snapshot[] }, batch: Batch): FlagChange {
    const flags = [...hidden.map(snapshot => ({ snapshot, flag: SNAPSHOT_HIDDEN })), ...dead.map(snapshot => ({ snapshot, flag: SNAPSHOT_DEAD }))]
    for (const { snapshot, flag } of flags) snapshot.flag(flag, batch)
    return {
      undo: () => {
        for (const { snapshot, flag } of flags) snapshot.unflagged(flag)
      },
      done: () => {
        for (const { snapshot, flag } of flags) {
          snapshot.flagged(flag)
          snapshot.tree.settle()
          this.cleaning.note(snapshot.tree)
        }
      },
    }
  }

  private dropHidden(batch: Batch, ended: Ended): FlagChange {
    return this.flagged(this.deletion([], ended), batch)
  }

  /** A restore needs the snapshot it goes to, and the state before; a clone what it is copied from. */
  private isNeeded({ tree, number, record }: Snapshot, ended: Ended): boolean {
    if (this.relationships.clones.some(clone => clone !== ended.clone && clone.record.source === number)) return true
    return tree !== ended.tree && tree.restoring !== undefined && (number === tree.record.restored || record.epoch === tree.record.restoredAt)
  }

  /** Bytes of chunks that come back when these are deleted together, with hidden ones that only they kept. */
  async freed(snapshots: readonly Snapshot[]): Promise<number> {
    const going = new Set(this.deletion([...new Set(snapshots)]).dead)
    let freed = 0
    for (const tree of new Set([...going].map(snapshot => snapshot.tree))) freed += await freedBy(tree, going)
    return freed
  }

  /** An event each; of very many one for all, since they are one commit. */
  private tellDeleted(named: readonly Snapshot[], hidden: readonly Snapshot[], why: string, batch: Batch): void {
    if (named.length > EVENTS_MAX)
      return this.pool.event(batch, 'snapshot.deleted', `${named[0]!.name} to ${named.at(-1)!.name}`, [`${named.length} snapshots`, why].join(' ').trim())
    for (const snapshot of named)
      this.pool.event(
        batch,
        'snapshot.deleted',
        snapshot.name,
        [why, hidden.includes(snapshot) ? 'hidden: something rests on it' : ''].filter(Boolean).join(', '),
      )
  }

  /** Which of them stay hidden, and which go for good, with hidden ones that nothing rests on any more. */
  private deletion(named: readonly Snapshot[], ended: Ended = {}): { hidden: Snapshot[]; dead: Snapshot[] } {
    const dead = new Set<Snapshot>()
    const going = new Set([...named, ...this.list({ hidden: true }).filter(({ isHidden }) => isHidden)])
    for (let before = -1; before < dead.size;) {
      before = dead.size
      for (const snapshot of going)
        if (!dead.has(snapshot) && !this.isNeeded(snapshot, ended) && !this.restsOn(snapshot).some(one => !dead.has(one))) dead.add(snapshot)
    }
    return { hidden: named.filter(snapshot => !dead.has(snapshot)), dead: [...dead] }
  }

  /** Writable views of its frozen state, and snapshots of what was written to it. */
  restsOn(snapshot: Snapshot): Snapshot[] {
    return [...this.snapshots.values()].filter(one => !one.isDead && (one.record.base === snapshot.number || one.tree.record.snapshot === snapshot.number))
  }

  // ---- refreshing and comparing

  /**
   * A writable snapshot holds its frozen state again, in one commit; what was written to it is given back behind it (features.md D3).
   * @throws LunarError `ERR_READ_ONLY`, `ERR_BUSY`, `ERR_HAS_SNAPSHOTS`
   */
  refresh(snapshot: Snapshot, options: { readonly dryRun?: boolean } = {}): Promise<void> {
    return this.relationships.changing.run(async () => {
      snapshot.checkWritable()
      snapshot.checkKept('refresh')
      snapshot.checkQuiet('refresh')
      if (snapshot.tree.record.restored === snapshot.number)
        throw new LunarError('ERR_RESTORING', `Cannot refresh snapshot "${snapshot.name}"`, {
          why: `"${this.sourceNameOf(snapshot.tree)}" is being restored to it`,
          fix: 'wait for the end: lunar task list',
        })
      const own = this.all.find(({ record }) => record.snapshot === snapshot.number)
      const names = this.namesIn(own)
      if (own?.isActive)
        throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot refresh snapshot "${snapshot.name}"`, {
          why:
            names.length === 0
              ? 'what was made of it is still being copied'
              : `${names.join(', ')} ${names.length === 1 ? 'is a snapshot' : 'are snapshots'} of it`,
          fix: names.length === 0 ? 'wait for the end: lunar task list' : `lunar snap delete ${names.join(' ')}`,
          blockers: names,
        })
      if (snapshot.record.leafEra + 1 >= TREE_EPOCHS)
        throw new LunarError('ERR_OUT_OF_RANGE', `Cannot refresh snapshot "${snapshot.name}"`, {
          why: 'it was refreshed as often as can be told apart',
          fix: 'delete it and create another one',
        })
      if (options.dryRun) return
      const leafEra = snapshot.record.leafEra + 1
      const batch = new Batch()
      snapshot.put({ leafEra, flags: snapshot.record.flags | SNAPSHOT_UNTIDY }, batch)
      this.pool.event(batch, 'snapshot.refreshed', snapshot.name, '')
      await this.metadata.commit(batch, 'admin', true)
      snapshot.record = { ...snapshot.record, leafEra, flags: snapshot.record.flags | SNAPSHOT_UNTIDY }
      this.cleaning.note(snapshot.tree)
    })
  }

  /**
   * Where two snapshots of a volume, or a snapshot and its volume, may differ.
   * @throws LunarError `ERR_USAGE` when they are not of one volume, `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`
   */
  async diff(from: string, to: string, range?: DiffExtent): Promise<{ readonly extents: DiffExtent[]; readonly chunkBytes: number }> {
    const names = [from, to]
    const trees = new Set<Tree | undefined>()
    const sides = names.map((name, i): Side => {
      const other = names[1 - i]!
      // The volume of the other one, as it is now.
      if (other.startsWith(`${name}@`) || !Trees.isName(name)) {
        const volume = Trees.isName(name) ? this.volume(this.find(name)) : this.relationships.volume(this.luns.find(name).number)
        trees.add(volume.tree)
        return { name, size: volume.size, snapshot: undefined }
      }
      const snapshot = this.find(name)
      snapshot.checkKept('compare')
      return { name, size: snapshot.record.size, snapshot }
    })
    const tree = requireOneTree(sides[0]!, sides[1]!, [...trees][0])
    return { extents: await diffOf(tree, sides[0]!, sides[1]!, range, this.stillUpdated(tree)), chunkBytes: tree.chunkBytes }
  }

  /** What an update of the source of a tree has still to do. */
  private stillUpdated(tree: Tree): StillUpdated | undefined {
    const lun = tree.record.snapshot === 0 ? this.luns.byId(tree.record.source) : undefined
    if (!lun) return undefined
    const before = tree.record.nextEpoch - 1
    const updating = this.relationships.updating(lun)
    if (updating) return { at: tree.updatedAt(updating) ?? before, ranges: updating.frozenRanges() }
    const ranges = this.relationships.wodUpdates.frozenRanges(lun.number)
    return ranges && { at: before, ranges }
  }

  /** Nothing is left of a tree. */
  private forgetTree(tree: Tree, batch: Batch): void {
    batch.delete(keyOf('tree', tree.number))
    this.byNumber.delete(tree.number)
    const { source, snapshot } = tree.record
    const volume = snapshot === 0 ? this.luns.byId(source) && this.relationships.volume(source) : this.volumes.get(snapshot)
    if (volume?.tree === tree) volume.tree = undefined
  }

  /**
   * Moves chunks of a store down, and gives back what that leaves empty; hosts go on meanwhile.
   *
   * @returns bytes that were moved
   * @throws LunarError `ERR_INTERRUPTED` by the signal; then what was moved stays so
   */
  async compact(store: Lun, signal?: AbortSignal): Promise<number> {
    const slots = this.stores.slots(store)
    const compaction = new Compaction(slots, this.stores.treesOf(store), {
      metadata: this.metadata,
      volume: snapshot => this.volume(snapshot),
      whileEntriesStay: task => this.cleaning.whileEntriesStay(task),
    })
    const before = slots.movedBytes
    while (await this.relationships.changing.run(() => compaction.step())) signal?.throwIfAborted()
    return slots.movedBytes - before
  }

  get needsTidying(): boolean {
    return this.cleaning.isDue
  }

  /** Gives back a bounded part of what deleted snapshots held. @returns whether something is left */
  tidy(): Promise<boolean> {
    // What is deleted does not come to be used again meanwhile.
    return this.relationships.changing.run(() =>
      this.cleaning.step(snapshot => {
        this.snapshots.delete(snapshot.number)
        this.volumes.delete(snapshot.number)
      }),
    )
  }
}
