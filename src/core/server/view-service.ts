import { hostname } from 'node:os'
import { readAnyLockRecord, type LockRecord } from '../../metadata/lock-record.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { BlockDevice, Disk } from '../block/device.ts'
import type { EventView, LockView, OpenOptions, Params, PoolService, PoolStatus, RelationshipHold, Reply, Result, Verb } from './api.ts'
import { engineModule } from './engine-module.ts'
import type { DiskOpener, Engine, FoundDisk } from './engine-types.ts'
import { describeRecord, holderView } from './holder.ts'
import { isFileDisk } from './host-disk.ts'
import { findRecord } from './ownership.ts'
import { lifeOf } from './process-identity.ts'
import type { KnownPool } from './registry.ts'
import { openKnown, type FoundPool } from './scan.ts'
import { verbKinds } from './verbs.ts'
import { Moved } from './wire.ts'

/** How long a view waits for the owner before it shows what the disks say, in milliseconds. */
const ASK_WITHIN = 1000
/** The same where the disks cannot say it. */
const ASK_WITHIN_MAX = 10_000

/** How often a view that was overtaken by a writer is read again before the owner is asked instead. */
const TRIES_MAX = 8

interface Opened {
  readonly pool: FoundPool
  readonly engine: Engine
}

/** Reads metadata without a lock and without writing, beside any owner; asks the owner only for what it alone knows. */
export class ViewService implements PoolService {
  private open = new ResourceStack()

  private constructor(
    readonly pool: string,
    private readonly known: () => KnownPool,
    private readonly options: OpenOptions,
    private opened: Opened | undefined,
  ) {}

  static async open(known: () => KnownPool, options: OpenOptions): Promise<ViewService> {
    const service = new ViewService(known().name, known, options, undefined)
    try {
      await service.view()
      return service
    } catch (error) {
      await service.close()
      throw error
    }
  }

  async call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const kind = verbKinds[verb]
    if (kind === 'change' || kind === 'owner')
      throw new LunarError('ERR_READ_ONLY', `Cannot do ${verb} on pool ${this.pool}`, { why: 'it was opened to look at its metadata' })
    if (kind === 'live') return this.live(verb, params, signal)
    return (await this.read(verb, params, signal)) ?? (await this.askOwner(verb, params, signal))
  }

  openLun(name: string): Promise<BlockDevice> {
    return Promise.reject(
      new LunarError('ERR_READ_ONLY', `Cannot open LUN ${name}`, {
        why: 'user data is served by the owner of the pool; this one was opened to look at its metadata',
      }),
    )
  }

  async *follow(after = 0, signal?: AbortSignal): AsyncGenerator<EventView> {
    await this.leave() // its disks may go while it waits
    const { followEvents } = await import('./follow-events.ts')
    yield* followEvents(this.known, { after, command: this.options.command, ...(signal ? { signal } : {}) })
  }

  holdRelationship(name: string): Promise<RelationshipHold> {
    return Promise.reject(
      new LunarError('ERR_READ_ONLY', `Cannot open a handle of relationship ${name}`, { why: 'the pool was opened to look at its metadata' }),
    )
  }

  async close(): Promise<void> {
    await this.leave()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @returns undefined when writers were faster every time */
  private async read<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>> | undefined> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const { engine } = await this.view()
      const outcome = await engine.call(verb, params, signal).then(
        reply => ({ reply }),
        (error: unknown) => ({ error }),
      )
      if (!(await engine.stillCurrent()))
        await this.leave() // what it saw, error or not, may be half overwritten
      else if ('reply' in outcome) return outcome.reply
      else throw outcome.error
    }
    return undefined
  }

  private async askOwner<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const record = await this.record()
    const reply = record && (await this.ask(record, verb, params, ASK_WITHIN_MAX, signal))
    if (reply) return reply
    throw new LunarError('ERR_BUSY', `Cannot read the metadata of pool ${this.pool}`, {
      why: 'it changes faster than it can be read',
      ...(record ? { blockers: [describeRecord(record)] } : {}),
    })
  }

  private async live<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const record = await this.record()
    const asked = record && (await this.ask(record, verb, params, ASK_WITHIN, signal))
    if (asked) return asked
    if (verb === 'lock.show') return (await this.showLock(record)) as Reply<Result<V>>
    const reply = (await this.read(verb, params, signal)) ?? (await this.askOwner(verb, params, signal))
    if (!record) return reply
    const locks = await this.probeLocks()
    if (!locks.some(({ locked }) => locked)) return reply
    const warnings = [...reply.warnings, `${describeRecord(record)} uses the pool and does not answer: what is shown may be a moment old`]
    const data = verb === 'pool.status' ? { ...(reply.data as PoolStatus), owner: holderView(record) } : reply.data
    return { ...reply, data: data as Result<V>, warnings }
  }

  /** Asks the process that the record names. Undefined when there is none (it died, or just left), or when it does not answer within `ms`. */
  private async ask<V extends Verb>(
    record: LockRecord,
    verb: V,
    params: Params<V>,
    ms: number,
    signal = this.options.signal,
  ): Promise<Reply<Result<V>> | undefined> {
    if (record.host !== hostname()) return undefined
    const asker = { command: this.options.command, readOnly: true, ...(signal ? { signal } : {}) }
    const { askRecord } = await import('./acquire.ts')
    const client = await askRecord(record, asker, ms).catch((error: unknown) => {
      if (isCode(error, 'ERR_LOCKED')) return undefined // its socket is not for this user: what the disks say is shown
      throw error
    })
    if (!client) return undefined
    const late = verb === 'task.wait' ? new AbortController().signal : AbortSignal.timeout(ms)
    try {
      return await client.call(verb, params, signal ? AbortSignal.any([signal, late]) : late)
    } catch (error) {
      if (error instanceof Moved || (late.aborted && !signal?.aborted)) return undefined
      throw error
    } finally {
      client.close()
    }
  }

  private async record(): Promise<LockRecord | undefined> {
    return findRecord((await this.view()).pool.disks)
  }

  private async showLock(record: LockRecord | undefined): Promise<Reply<LockView>> {
    const reply = (await this.read('disk.list', {})) ?? { generation: 0, data: [], warnings: [] }
    const probed = await this.probeLocks()
    const held = probed.some(({ locked }) => locked)
    const byId = new Map(probed.map(({ found, locked }) => [found.label.diskId, { path: found.disk.name, locked }]))
    const disks = reply.data.map(disk => {
      const mine = byId.get(disk.id)
      return { disk: disk.number, path: mine?.path ?? disk.path ?? '', locked: mine?.locked ?? false }
    })
    return {
      generation: reply.generation,
      data: { pool: this.pool, held, holder: held && record ? holderView(record) : null, disks },
      warnings: reply.warnings,
    }
  }

  /** Tries every lock for a moment. A disk that we may only read is believed to be locked when a record says so. */
  private async probeLocks(): Promise<{ found: FoundDisk; locked: boolean }[]> {
    const { pool } = await this.view()
    const record = await findRecord(pool.disks)
    return Promise.all(
      pool.disks.map(async found => {
        if (!isFileDisk(found.disk)) return { found, locked: await isClaimed(found.disk) }
        const { FileDisk } = await import('../block/file.ts')
        try {
          const disk = await FileDisk.open(found.disk.name, { exclusive: 'try' })
          try {
            return { found, locked: disk.identity === found.disk.identity && !disk.tryLock() }
          } finally {
            await disk.close()
          }
        } catch (error) {
          if (isCode(error, 'ERR_HOST_LIMIT') || isCode(error, 'ERR_FILE_NOT_FOUND')) return { found, locked: record !== undefined }
          throw error
        }
      }),
    )
  }

  private async view(): Promise<Opened> {
    if (this.opened) return this.opened
    const { openEngine } = await engineModule()
    const pool = await openKnown(this.known(), 'read', this.open)
    for (let tries = 1; ; tries++) {
      try {
        const engine = this.open.use(await openEngine(pool.disks, { ...viewOptions(this.options), missing: pool.missing }))
        this.opened = { pool, engine }
        return this.opened
      } catch (error) {
        if (tries === TRIES_MAX || !isCode(error, 'ERR_METADATA_DAMAGED')) throw error // a writer may have been faster than the opening
      }
    }
  }

  private async leave(): Promise<void> {
    this.opened = undefined
    await this.open.close()
    this.open = new ResourceStack()
  }
}

/** A disk behind a connection is locked by its record, as long as whoever wrote it may live. */
async function isClaimed(disk: Disk): Promise<boolean> {
  const found = await readAnyLockRecord(disk)
  return found !== undefined && lifeOf(found.record) !== 'dead'
}

/** What a view tells the engine: nothing joins and nothing is remembered. */
export const viewOptions = (
  options: Pick<OpenOptions, 'command' | 'choose' | 'forceQuorum'>,
): Omit<Parameters<Awaited<ReturnType<typeof engineModule>>['openEngine']>[1], 'missing'> => ({
  mode: 'view',
  readOnly: true,
  command: options.command,
  opener: noOpener,
  ...(options.choose === undefined ? {} : { choose: options.choose }),
  ...(options.forceQuorum ? { forceQuorum: true } : {}),
})

const refuse = (): Promise<never> => Promise.reject(new LunarError('ERR_READ_ONLY', 'Cannot change the disks of a pool that is open to look at'))
const noOpener: DiskOpener = { requireDistinct: refuse, create: refuse, find: refuse, release: refuse, remember: refuse }
