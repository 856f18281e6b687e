import type {
  CheckView,
  EventView,
  HistoryView,
  LockView,
  Params,
  PoolDetail,
  PoolService,
  PoolStatus,
  Reply,
  Result,
  RstoreCheck,
  RstoreDetail,
  RstoreSummary,
  TaskView,
  Verb,
} from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'
import { Disks } from './disks.ts'
import { Hosts } from './hosts.ts'
import { Luns } from './luns.ts'
import { Snapshots } from './snapshots.ts'
import { Relationships, type Relationship, type RelationshipReference } from './relationships.ts'

/** The redundant stores of a pool: where the data of its LUNs lies. */
export class Rstores {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** All of them, or those of one LUN. */
  list(lun?: string, options?: CallOptions): Promise<RstoreSummary[]> {
    return this.asker.ask('rstore.list', lun === undefined ? {} : { lun }, options)
  }

  /** @throws LunarError `ERR_RSTORE_NOT_FOUND` */
  show(lun: string, store: number, options?: CallOptions): Promise<RstoreDetail> {
    return this.asker.ask('rstore.show', { lun, store }, options)
  }

  /** Reads every member of a LUN's stores, or of one of them, and tells where they do not fit together. */
  verify(lun: string, store?: number, options?: CallOptions): Promise<RstoreCheck> {
    return this.asker.ask('rstore.verify', store === undefined ? { lun } : { lun, store }, options)
  }

  /** The same, and makes what does not fit from the first readable copy, or from the other members. @throws LunarError of a disk that fails the write */
  repair(lun: string, store?: number, options?: ChangeOptions): Promise<RstoreCheck> {
    const dryRun = options?.dryRun === true
    return this.asker.ask('rstore.repair', store === undefined ? { lun, dryRun } : { lun, store, dryRun }, options)
  }
}

/** The background tasks of a pool. Each call with a number throws LunarError `ERR_TASK_NOT_FOUND` when there is none. */
export class Tasks {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** The last hundred that ended, too. */
  list(options?: CallOptions): Promise<TaskView[]> {
    return this.asker.ask('task.list', {}, options)
  }

  show(task: number, options?: CallOptions): Promise<TaskView> {
    return this.asker.ask('task.show', { task }, options)
  }

  /** Resolves when the task has ended well. @throws LunarError `ERR_TASK_FAILED`, `ERR_TASK_STOPPED`; `ERR_INTERRUPTED` when the signal aborts, and the task goes on */
  wait(task: number, options?: CallOptions): Promise<TaskView> {
    return this.asker.ask('task.wait', { task }, options)
  }

  /** It stays paused, over restarts too, until it is resumed. @throws LunarError `ERR_TASK_STATE` */
  pause(task: number, options?: CallOptions): Promise<TaskView> {
    return this.asker.ask('task.pause', { task }, options)
  }

  resume(task: number, options?: CallOptions): Promise<TaskView> {
    return this.asker.ask('task.resume', { task }, options)
  }

  /** Ends it for good. @throws LunarError `ERR_TASK_STATE` for what the pool itself needs */
  stop(task: number, options?: CallOptions): Promise<TaskView> {
    return this.asker.ask('task.stop', { task }, options)
  }
}

/** What a pool knows about itself. */
export class PoolMetadata {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** Reads all of it and says what contradicts itself; a problem found is in the answer, not an error. */
  check(options?: CallOptions): Promise<CheckView> {
    return this.asker.ask('metadata.check', {}, options)
  }

  /** All records as text, one a line. */
  async dump(options?: CallOptions): Promise<string> {
    return (await this.asker.ask('metadata.dump', {}, options)).text
  }
}

/** An open pool, from `openPool`. Whoever opened it closes it: `await using pool = await openPool('tank')`. */
export class Pool implements AsyncDisposable {
  readonly disks: Disks
  readonly luns: Luns
  readonly rstores: Rstores
  readonly tasks: Tasks
  readonly metadata: PoolMetadata
  readonly relationships: Relationships
  readonly snapshots: Snapshots
  readonly hosts: Hosts
  private closing: Promise<void> | undefined
  private readonly ending = new AbortController()

  /** @internal */
  constructor(
    private readonly asker: Asker,
    /** UUID of the pool. */
    readonly id: string,
    private readonly onClose: (pool: Pool) => void,
  ) {
    this.disks = new Disks(asker)
    this.luns = new Luns(asker)
    this.rstores = new Rstores(asker)
    this.tasks = new Tasks(asker)
    this.metadata = new PoolMetadata(asker)
    this.relationships = new Relationships(asker, this.name)
    this.snapshots = new Snapshots(asker)
    this.hosts = new Hosts(asker)
  }

  /** @internal */
  get service(): PoolService {
    return this.asker.service
  }

  get name(): string {
    return this.service.pool
  }

  get isClosed(): boolean {
    return this.closing !== undefined
  }

  show(options?: CallOptions): Promise<PoolDetail> {
    return this.asker.ask('pool.show', {}, options)
  }

  /** Health, who owns it, disks, what runs, and what to do about it. */
  status(options?: CallOptions): Promise<PoolStatus> {
    return this.asker.ask('pool.status', {}, options)
  }

  /** Changes settings; those in force are in `show`. @throws LunarError `ERR_USAGE` for what is none */
  set(settings: Record<string, string>, options?: ChangeOptions): Promise<Result<'pool.set'>> {
    return this.asker.change('pool.set', { settings }, options)
  }

  /** What happened to it, oldest first: the newest `limit`, or those with a number above `after`. */
  events(options: CallOptions & { readonly limit?: number; readonly after?: number } = {}): Promise<EventView[]> {
    const { signal, ...params } = options
    return this.asker.ask('pool.events', params, signal ? { signal } : {})
  }

  /** Who changed it, when and how, oldest first: the newest `limit`, or those with a number above `after`. */
  history(options: CallOptions & { readonly limit?: number; readonly after?: number } = {}): Promise<HistoryView[]> {
    const { signal, ...params } = options
    return this.asker.ask('pool.history', params, signal ? { signal } : {})
  }

  /**
   * Events as they come: `for await (const event of pool.follow())`. First those with a number above `after`, then each one when it is durable, whoever owns
   * the pool, and past any change of the owner; following does not own it. Ends when the signal aborts or the pool is closed.
   *
   * @throws LunarError `ERR_POOL_NOT_FOUND` when its disks are gone, `ERR_LOCKED` when the owner cannot be asked
   */
  follow(options: CallOptions & { readonly after?: number } = {}): AsyncIterable<EventView> {
    const { signal, after } = options
    return this.service.follow(after, signal ? AbortSignal.any([signal, this.ending.signal]) : this.ending.signal)
  }

  /** Who owns it. */
  lock(options?: CallOptions): Promise<LockView> {
    return this.asker.ask('lock.show', {}, options)
  }

  /** One relationship: `pool.relationship(3)`, `'DcsSnap3'`, or its name. */
  relationship(ref: RelationshipReference): Relationship {
    return this.relationships.of(ref)
  }

  /** Any verb as the commands send it; the reply has generation and warnings. */
  call<V extends Verb>(verb: V, params: Params<V>, options: CallOptions = {}): Promise<Reply<Result<V>>> {
    return this.service.call(verb, params, options.signal)
  }

  /**
   * Closes what is open and lets the pool go. When this process owned it, everything is flushed, and background work that
   * is not done goes on in a process of its own.
   */
  close(): Promise<void> {
    this.closing ??= this.leave()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async leave(): Promise<void> {
    this.onClose(this)
    this.ending.abort()
    try {
      await this.luns.closeAll()
    } finally {
      await this.service.close()
    }
  }
}
