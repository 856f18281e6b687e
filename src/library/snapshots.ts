import type { Params, Result, SnapshotDetail, SnapshotSummary, StoreDetail, StoreSummary } from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'
import { Schedules } from './schedules.ts'

export type NewSnapshots = Omit<Params<'snap.create'>, 'snapshots' | 'dryRun'>
/** A snapshot that was made. */
export type MadeSnapshot = Result<'snap.create'>[number]
export type RestoreSpec = Omit<Params<'snap.restore'>, 'snapshots' | 'dryRun' | 'disconnect'>
export type CloneSpec = Omit<Params<'snap.clone'>, 'source' | 'name' | 'dryRun'>
/** What rotation keeps: `keep: { hourly: 24, daily: 7 }`, `keepLast`, `olderThanMs`. */
export type KeepRules = Omit<Params<'snap.rotate'>, 'volumes' | 'dryRun'>
export type NewStore = Omit<Params<'store.create'>, 'dryRun'>

/** The stores in which snapshots keep chunks; several volumes may share one. */
export class Stores {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_TOO_FEW_DISKS` */
  create(spec: NewStore, options?: ChangeOptions): Promise<StoreSummary> {
    return this.asker.change('store.create', spec, options)
  }

  list(options?: CallOptions): Promise<StoreSummary[]> {
    return this.asker.ask('store.list', {}, options)
  }

  /** @throws LunarError `ERR_STORE_NOT_FOUND` */
  show(store: string, options?: CallOptions): Promise<StoreDetail> {
    return this.asker.ask('store.show', { store }, options)
  }

  /** What it may grow to. @throws LunarError `ERR_BAD_SIZE`, `ERR_WOULD_LOSE_DATA` when chunks lie behind the new end */
  resize(store: string, size: number, options?: ChangeOptions): Promise<Result<'store.resize'>> {
    return this.asker.change('store.resize', { store, size }, options)
  }

  /** Moves chunks together, while everything is used as usual. @returns bytes moved, and bytes of the pool that came back */
  compact(store: string, options?: ChangeOptions): Promise<Result<'store.compact'>> {
    return this.asker.change('store.compact', { store }, options)
  }

  /** @throws LunarError `ERR_HAS_SNAPSHOTS` while a snapshot keeps chunks there */
  delete(store: string, options?: ChangeOptions): Promise<Result<'store.delete'>> {
    return this.asker.change('store.delete', { store }, options)
  }
}

/** The snapshots of a pool, named after their volume: `db@monday`. `pool.luns` opens, imports and exports them like LUNs. */
export class Snapshots {
  readonly stores: Stores
  readonly schedules: Schedules

  /** @internal */
  constructor(private readonly asker: Asker) {
    this.stores = new Stores(asker)
    this.schedules = new Schedules(asker)
  }

  /**
   * One snapshot, or several of one instant; nothing is copied.
   *
   * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_REDUNDANCY`, `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID`,
   * `ERR_RELATIONSHIP_STATE` during a source update from a write-once device
   */
  create(snapshots: string | readonly string[], spec: NewSnapshots = {}, options?: ChangeOptions): Promise<MadeSnapshot[]> {
    return this.asker.change('snap.create', { ...spec, snapshots: namesOf(snapshots) }, options)
  }

  /** All of them, or those of a volume and of its snapshots; `hidden` ones are deleted, and kept for what rests on them. */
  list(options: CallOptions & { readonly volume?: string; readonly hidden?: boolean } = {}): Promise<SnapshotSummary[]> {
    const { signal, ...params } = options
    return this.asker.ask('snap.snapshots', params, signal ? { signal } : {})
  }

  /** @throws LunarError `ERR_SNAPSHOT_NOT_FOUND` */
  show(snapshot: string, options?: CallOptions): Promise<SnapshotDetail> {
    return this.asker.ask('snap.snapshot', { snapshot }, options)
  }

  /** Deletes at once, without a question; `task` gives the space back. @throws LunarError `ERR_BUSY`, `ERR_SNAPSHOT_NOT_FOUND` */
  delete(snapshots: string | readonly string[], options?: ChangeOptions): Promise<Result<'snap.delete'>> {
    return this.asker.change('snap.delete', { snapshots: namesOf(snapshots) }, options)
  }

  /**
   * Deletes what no keep-rule keeps, in one commit; `snapshots` says why each one stayed or went.
   *
   * @throws LunarError `ERR_CLOCK` when the clock seems to have jumped, `ERR_TOO_MANY` when more than half would go, `ERR_USAGE`, `ERR_LUN_NOT_FOUND`
   */
  rotate(volumes: string | readonly string[], rules: KeepRules, options?: ChangeOptions): Promise<Result<'snap.rotate'>> {
    return this.asker.change('snap.rotate', { ...rules, volumes: namesOf(volumes) }, options)
  }

  /** A writable one holds its frozen state again. @throws LunarError `ERR_READ_ONLY`, `ERR_BUSY`, `ERR_HAS_SNAPSHOTS` */
  refresh(snapshot: string, options?: ChangeOptions): Promise<Result<'snap.refresh'>> {
    return this.asker.change('snap.refresh', { snapshot }, options)
  }

  /**
   * LUNs, or writable snapshots, read as a snapshot of theirs at once, several from one instant on. What they held before is a snapshot, `before`; newer ones stay as they are.
   * What differs is copied back by `task`, which nobody has to wait for.
   *
   * @throws LunarError `ERR_SNAPSHOT_NOT_FOUND`, `ERR_BUSY`, `ERR_PROTECTED`, `ERR_RESTORING`, `ERR_EXISTS`, `ERR_BAD_SIZE` of `keepSize` when the snapshot is larger, `ERR_IN_RELATIONSHIP` when
   * something needs the LUN as large as it is
   */
  restore(snapshots: string | readonly string[], spec: RestoreSpec = {}, options?: ChangeOptions): Promise<Result<'snap.restore'>> {
    return this.asker.change('snap.restore', { ...spec, snapshots: namesOf(snapshots) }, options)
  }

  /**
   * A new LUN that holds what a LUN or a snapshot does now: used at once, its full size reserved. `task` copies it; then it depends on nothing.
   *
   * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_POOL_FULL`, `ERR_TOO_FEW_DISKS`
   */
  clone(source: string, name: string, spec: CloneSpec = {}, options?: ChangeOptions): Promise<Result<'snap.clone'>> {
    return this.asker.change('snap.clone', { ...spec, source, name }, options)
  }

  /** Where two snapshots of a volume, or one and the volume, may differ: whole chunks, in order. @throws LunarError `ERR_USAGE` when they are not of one volume */
  diff(from: string, to: string, options?: CallOptions): Promise<Result<'snap.diff'>> {
    return this.asker.ask('snap.diff', { from, to }, options)
  }
}

const namesOf = (names: string | readonly string[]): string[] => (typeof names === 'string' ? [names] : [...names])
