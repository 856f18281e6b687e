import { isCode, LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import { hurry, type BlockDevice } from '../block/device.ts'
import type { EventView, OpenOptions, Params, PoolService, RelationshipHold, Reply, Result, Verb } from './api.ts'
import { acquire, type Acquired } from './acquire.ts'
import type { Engine, LunOptions } from './engine-types.ts'
import { followEvents } from './follow-events.ts'
import { NextOwner } from './handover.ts'
import type { Owner } from './owner.ts'
import type { KnownPool } from './registry.ts'
import { holdRemotely } from './remote-hold.ts'
import { RemoteLun, SteadyLun } from './remote-lun.ts'
import { withAbsolutePaths } from './verbs.ts'
import { Moved } from './wire.ts'

/** How long a command lets background work go on before an owner in the background takes over, in milliseconds. */
const FINISH_INLINE = 300

/** A relationship that a user of the service holds, and the owner that knows it. */
interface Held {
  readonly number: number
  at: Acquired
  hold: RelationshipHold | undefined
}

/** The pool by way of its owner, whichever process that is at the moment: commands never care which. */
export class OwnerService implements PoolService {
  private closing: Promise<void> | undefined
  private closeFully = false
  private readonly held = new Set<Held>()
  private release: (() => void) | undefined

  private constructor(
    readonly pool: string,
    private readonly known: () => KnownPool,
    private readonly options: OpenOptions,
    private current: Promise<Acquired>,
  ) {}

  static async open(known: () => KnownPool, options: OpenOptions): Promise<OwnerService> {
    return OwnerService.over(await acquire(known, options), known, options)
  }

  /** A service over an owner that this process is already, or has found. */
  static over(acquired: Acquired, known: () => KnownPool, options: OpenOptions): OwnerService {
    const name = acquired.kind === 'owner' ? acquired.owner.pool.name : acquired.client.hello.poolName
    const service = new OwnerService(name, known, options, Promise.resolve(acquired))
    service.use(acquired)
    return service
  }

  async call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const absolute = withAbsolutePaths(verb, params)
    return this.steady(async acquired => {
      if (acquired.kind === 'client') return acquired.client.call(verb, absolute, signal)
      const reply = await acquired.owner.call(verb, absolute, signal)
      if (verb === 'pool.close') this.closeFully = true
      return reply
    })
  }

  async openLun(name: string, options: LunOptions = {}): Promise<BlockDevice> {
    const wanted = { ...options, ...(this.options.readOnly ? { readOnly: true } : {}) }
    const { kind, device } = await this.openAt(name, wanted)
    if (kind !== 'owner') return new SteadyLun(device, async () => (await this.openAt(name, wanted)).device)
    // Who is asked to stop does not wait for what limits hold back; a client's owner sees it go.
    this.options.signal?.addEventListener('abort', () => hurry(device), { once: true })
    return device
  }

  private openAt(name: string, options: LunOptions): Promise<{ kind: Acquired['kind']; device: BlockDevice }> {
    return this.steady(async acquired => {
      const device = acquired.kind === 'owner' ? await acquired.owner.openLun(name, options) : await RemoteLun.open(acquired.client, name, options)
      return { kind: acquired.kind, device }
    })
  }

  follow(after = 0, signal?: AbortSignal): AsyncIterable<EventView> {
    return followEvents(this.known, { after, command: this.options.command, ...(signal ? { signal } : {}) })
  }

  async holdRelationship(name: string): Promise<RelationshipHold> {
    const held = await this.steady(async at => ({ at, ...(await holdAt(at, name)) }))
    this.held.add(held)
    await this.steady(now => this.holdAll(now)) // the owner may have changed in between
    const close = async (): Promise<void> => {
      if (this.held.delete(held)) await held.hold?.close()
    }
    return { number: held.number, close }
  }

  /** What is held is held at a new owner too. One that was unconfigured while nobody owned the pool is gone. */
  private async holdAll(at: Acquired): Promise<void> {
    for (const held of this.held) {
      if (held.at === at) continue
      held.hold = undefined
      try {
        held.hold = (await holdAt(at, `DcsSnap${held.number}`)).hold
      } catch (error) {
        if (!isCode(error, 'ERR_RELATIONSHIP_NOT_FOUND')) throw error
      }
      held.at = at
    }
  }

  /** The owner went away: whoever holds something does not wait for the next call to look for the next one. */
  private async rejoin(left: Acquired): Promise<void> {
    const current = await this.current.catch(() => undefined)
    if (current !== left || this.closing || this.held.size === 0) return
    this.current = this.again()
    this.current.catch(() => undefined) // whoever calls next has its error
  }

  /** Runs the task at the owner; when that leaves in good order, at whoever owns the pool next. */
  private async steady<T>(task: (acquired: Acquired) => Promise<T>): Promise<T> {
    for (;;) {
      if (this.closing) throw this.closedError()
      const tried = this.current
      try {
        return await task(await tried)
      } catch (error) {
        const moved = error instanceof Moved
        // Closing cut the call off: nobody shall own the pool for it once more.
        if (this.closing && (moved || isCode(error, 'ERR_SERVER_UNREACHABLE'))) throw this.closedError()
        if (!moved) throw error
        if (this.current === tried) this.current = this.again()
      }
    }
  }

  private closedError(): LunarError {
    return new LunarError('ERR_FAILED', `Cannot use pool ${this.pool}`, { why: 'it was closed' })
  }

  private async again(): Promise<Acquired> {
    const acquired = await acquire(this.known, this.options)
    this.use(acquired)
    try {
      await this.holdAll(acquired)
    } catch (error) {
      if (acquired.kind === 'client') acquired.client.close()
      throw error
    }
    return acquired
  }

  private use(acquired: Acquired): void {
    if (acquired.kind === 'owner') this.release = acquired.owner.use()
    else void acquired.client.ended.then(() => this.rejoin(acquired))
  }

  /** What is left to do in the background goes on: a moment here, then in a process of its own. */
  close(): Promise<void> {
    this.closing ??= this.leave()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async leave(): Promise<void> {
    const acquired = await this.current.catch(() => undefined) // whoever called last has its error
    if (!acquired) return
    if (acquired.kind === 'client') {
      // Its session ends a moment later at the owner; what it held is free when this resolves.
      await Promise.all(
        [...this.held].map(async ({ hold }) => {
          await hold?.close()
        }),
      )
      acquired.client.close()
      return
    }
    this.release?.()
    await leaveOwner(acquired.owner, this.options, this.closeFully)
  }
}

async function holdAt(at: Acquired, name: string): Promise<{ number: number; hold: RelationshipHold }> {
  const hold = at.kind === 'owner' ? await at.owner.holdRelationship(name) : await holdRemotely(at.client, name)
  return { number: hold.number, hold }
}

/** Ends the ownership of this process; with work left, another one takes it over without an unlocked moment. */
export async function leaveOwner(owner: Owner, options: OpenOptions, fully = false): Promise<void> {
  const engine = await owner.engine
  const handOn = !fully && !options.readOnly && !(await finished(engine))
  const disks = [...owner.disks]
  let handed = false
  await using leaving = new ResourceStack()
  leaving.defer(() => owner.letGo({ clear: !handed }))
  const next = handOn ? await NextOwner.start(owner.pool.id, disks).catch(workWaits) : undefined
  try {
    await owner.quiesce()
  } catch (error) {
    next?.giveUp()
    throw error
  }
  const { id: poolId, name: poolName, missing, record } = owner.pool
  const paths = disks.map(({ disk }) => disk.name)
  const order = { poolId, poolName, command: options.command, forceNonlocal: options.forceNonlocal ?? false, paths, missing, instance: record.instance }
  handed = next !== undefined && (await next.takeOver(order).then(() => true, workWaits)) === true
  owner.throwProblems()
}

/** The command has done what it was asked; what it leaves behind is safe, and goes on when the pool is used next. */
function workWaits(error: unknown): undefined {
  const why = error instanceof LunarError ? `${error.message}: ${error.why}` : String(error)
  process.emitWarning(`Background work waits until the pool is used again. ${why}`, 'LunarWarning')
}

/** Gives background work a moment to end. */
async function finished(engine: Engine): Promise<boolean> {
  if (!engine.hasWork()) return true
  await engine.settled(AbortSignal.timeout(FINISH_INLINE))
  return !engine.hasWork()
}
