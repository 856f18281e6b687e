import { LunarError } from '../core/base/errors.ts'
import type {
  Delay,
  Params,
  ProcessName,
  RelationshipConfig,
  RelationshipHold,
  RelationshipMaps,
  RelationshipStatus,
  RelationshipSummary,
  RelationshipView,
  Result,
  TaskView,
} from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'

/** A relationship: its number (`3`), `DcsSnap3` in any letter case, its name, or one of these after `pool/`. */
export type RelationshipReference = number | string
export type NewRelationship = Omit<Params<'snap.configure'>, 'dryRun'>
/** One relationship that was enabled: `lost` are the ranges of the image that read the source from now on. */
export type Enabled = Result<'snap.enable'>[number]
export type Disabled = Result<'snap.disable'>[number]
/** What enabling may give up: ranges of the image that were lost, the rest of an update that never ended. */
export type EnableForce = 'lost-part' | 'mixed'

export interface EnableOptions extends ChangeOptions {
  /** Drops the maps: the image becomes the source as it is now. */
  readonly fresh?: boolean
  readonly force?: EnableForce | readonly EnableForce[]
}

export interface StartOptions extends CallOptions {
  /** Resolves when the process has ended. @throws LunarError `ERR_TASK_FAILED`, `ERR_TASK_STOPPED` */
  readonly wait?: boolean
  /** Of updates: name of a read-only snapshot that is taken of the volume before it is overwritten. */
  readonly keepBefore?: string
}

/** `task` is null when there was nothing to do; `outcome` is the ended task when it was waited for. */
export type Started = Result<'snap.start'> & { readonly outcome: TaskView | null }

/** Two bitmaps of one instant: chunk i is bit `i & 7`, low bit first, of byte `i >> 3`. */
export interface ActiveMaps extends Omit<RelationshipMaps, 'migrated' | 'delta'> {
  /** Chunks that the image holds itself. */
  readonly migrated: Uint8Array
  /** Chunks in which source and image may differ. */
  readonly delta: Uint8Array
}

/** The relationships of a pool: which LUN is a point-in-time image of which. */
export class Relationships {
  /** @internal */
  constructor(
    private readonly asker: Asker,
    private readonly poolName: string,
  ) {}

  /** @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_IN_RELATIONSHIP`, `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE` */
  configure(spec: NewRelationship, options?: ChangeOptions): Promise<RelationshipConfig> {
    return this.asker.change('snap.configure', spec, options)
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` while it is enabled, `ERR_BUSY` while handles are open */
  unconfigure(ref: RelationshipReference, options?: ChangeOptions): Promise<RelationshipView> {
    return this.asker.change('snap.unconfigure', { relationship: this.name(ref) }, options)
  }

  list(options?: CallOptions): Promise<RelationshipSummary[]> {
    return this.asker.ask('snap.list', {}, options)
  }

  /** Enables several at one instant: their images are of the same moment. @throws as {@link Relationship.enable} */
  enable(refs: readonly RelationshipReference[], options: EnableOptions = {}): Promise<Enabled[]> {
    const { fresh = false, force = [], ...rest } = options
    const forced = typeof force === 'string' ? [force] : force
    const params = { relationships: refs.map(ref => this.name(ref)), fresh, forceLostPart: forced.includes('lost-part'), forceMixed: forced.includes('mixed') }
    return this.asker.change('snap.enable', params, rest)
  }

  /** Disables several. @throws as {@link Relationship.disable} */
  disable(refs: readonly RelationshipReference[], options?: ChangeOptions): Promise<Disabled[]> {
    return this.asker.change('snap.disable', { relationships: refs.map(ref => this.name(ref)) }, options)
  }

  /** One of them, to work with; whether it exists is told by the first thing that it is asked. */
  of(ref: RelationshipReference): Relationship {
    return new Relationship(this.asker, this, this.name(ref))
  }

  /** @internal */
  name(ref: RelationshipReference): string {
    const text = String(ref)
    const slash = text.indexOf('/')
    if (slash < 0) return text
    if (text.slice(0, slash) === this.poolName) return text.slice(slash + 1)
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" in pool "${this.poolName}"`, { why: 'it names another pool', fix: 'open that pool' })
  }
}

/** One relationship. Each call throws LunarError `ERR_RELATIONSHIP_NOT_FOUND` when there is none (any more). */
export class Relationship {
  /** @internal */
  constructor(
    private readonly asker: Asker,
    private readonly all: Relationships,
    /** Number or name, without the pool. */
    readonly ref: string,
  ) {}

  /**
   * Goes on with the maps that are kept, or begins anew with `fresh` and the first time.
   *
   * @throws LunarError `ERR_LOST_PART` with the ranges, `ERR_MIXED`, `ERR_BUSY` while a client has the image, `ERR_RELATIONSHIP_STATE`
   */
  async enable(options?: EnableOptions): Promise<Enabled> {
    return one(await this.all.enable([this.ref], options))
  }

  /** Leaves all I/O and keeps maps and chunks. @throws LunarError `ERR_RELATIONSHIP_STATE` while an update runs, `ERR_BUSY` */
  async disable(options?: ChangeOptions): Promise<Disabled> {
    return one(await this.all.disable([this.ref], options))
  }

  /** The settings as they are stored. */
  config(options?: CallOptions): Promise<RelationshipConfig> {
    return this.asker.ask('snap.config', { relationship: this.ref }, options)
  }

  /** The settings in use. @throws LunarError `ERR_RELATIONSHIP_STATE` when it is disabled */
  activeConfig(options?: CallOptions): Promise<Result<'snap.activeConfig'>> {
    return this.asker.ask('snap.activeConfig', { relationship: this.ref }, options)
  }

  status(options?: CallOptions): Promise<RelationshipStatus> {
    return this.asker.ask('snap.status', { relationship: this.ref }, options)
  }

  async maps(options?: CallOptions): Promise<ActiveMaps> {
    const { migrated, delta, ...rest } = await this.asker.ask('snap.maps', { relationship: this.ref }, options)
    return { ...rest, migrated: fromBase64(migrated), delta: fromBase64(delta) }
  }

  /** Holds off unconfiguring, whoever asks for it, until what it gives is closed, or the pool is. */
  hold(): Promise<RelationshipHold> {
    return this.asker.service.holdRelationship(this.ref)
  }

  /** Starts a process; resolves at once unless `wait`. @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY`, `ERR_POOL_FULL` */
  async start(kind: ProcessName, options: StartOptions = {}): Promise<Started> {
    const { wait = false, keepBefore, ...rest } = options
    const started = await this.asker.ask('snap.start', { relationship: this.ref, kind, ...(keepBefore === undefined ? {} : { keepBefore }) }, rest)
    const outcome = wait && started.task !== null ? await this.asker.ask('task.wait', { task: started.task }, rest) : null
    return { ...started, outcome }
  }

  /** Stops a process after the chunk in hand; a stopped update leaves its volume mixed. @returns bytes done and left */
  stop(kind: ProcessName, options?: CallOptions): Promise<Result<'snap.stop'>> {
    return this.asker.ask('snap.stop', { relationship: this.ref, kind }, options)
  }

  /** Sets the pace of a process, at once and stored. @param ms 0 to 3600000, or `adaptive` */
  setDelay(kind: ProcessName, ms: Delay, options?: CallOptions): Promise<Result<'snap.setDelay'>> {
    return this.asker.ask('snap.setDelay', { relationship: this.ref, kind, delay: ms }, options)
  }
}

function one<T>(answers: readonly T[]): T {
  const [answer] = answers
  if (answer === undefined) throw new LunarError('ERR_BUG', 'Invariant broken: the pool answered nothing about one relationship')
  return answer
}

const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))
