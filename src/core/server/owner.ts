/**
 * The one process that owns a pool: locked disks, engine, control socket. Every owner listens, so that others go on
 * working while a long command runs (hazard 38).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { readLabel } from '../../metadata/label.ts'
import { deferred } from '../base/deferred.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { BlockDevice, Disk } from '../block/device.ts'
import type { EventView, LockView, Params, PoolStatus, RelationshipHold, Reply, Result, ServerStatus, Verb } from './api.ts'
import type { RemoteClient } from './api-listener.ts'
import type { ControlServer } from './control-server.ts'
import { makeDisk, requireDistinct, requireOther } from './disk-maker.ts'
import { engineModule } from './engine-module.ts'
import type { DiskOpener, Engine, FoundDisk, LunOptions, MissingDisk } from './engine-types.ts'
import { Exposition } from './exposition.ts'
import { whoAmI, withHistory, type Actor } from './history.ts'
import { describeRecord, holderView } from './holder.ts'
import { isFileDisk, isStillThere, type HostDisk } from './host-disk.ts'
import { clearRecords, letGo, takeLock, writeRecord, writeRecords, type OwnedDisk } from './ownership.ts'
import { Registry, type KnownPool } from './registry.ts'
import { ProcessMetrics } from './process-metrics.ts'
import { RemoteDisks } from './remote-disks.ts'
import { findDisk } from './scan.ts'
import { ScratchDisk } from './scratch-disk.ts'
import type { Session } from './session.ts'
import { verbKinds } from './verbs.ts'
import { Moved } from './wire.ts'

export interface OwnerOptions {
  readonly kind: LockRecord['kind']
  readonly command: string
  readonly readOnly: boolean
  readonly forceQuorum: boolean
  readonly forceNonlocal: boolean
  readonly choose?: string
  readonly server?: OwnerServer
}

/** What a server adds to the pools that it owns. */
export interface OwnerServer {
  status(): ServerStatus
  /** Adds the metrics of the process, and of whatever serves clients in it. */
  measure(into: Exposition): Promise<void>
  /** Asks the server to end. */
  stop(): void
  /** Who has volumes of a pool open. */
  clients(pool: string): string[]
  /** A pool got another host, or lost one. */
  hostsChanged(pool: string): Promise<void>
  /** Makes a change that clients may be in the way of; those are disconnected first. */
  withoutClients<T>(pool: string, change: () => Promise<T>): Promise<T>
}

/** A pool whose disks this process has locked. */
export interface LockedPool {
  readonly id: string
  readonly name: string
  readonly disks: readonly OwnedDisk[]
  readonly missing: readonly MissingDisk[]
  /** Who has them locked: this process, before its socket is open. */
  readonly record: LockRecord
}

export class Owner {
  /** Resolves when a client asked the owner to close. */
  readonly closeAsked = deferred()
  private readonly held: OwnedDisk[]
  private readonly registry = new Registry()
  private readonly engineOpen = deferred<Engine>()
  private readonly problems: unknown[] = []
  private readonly newcomers = new Set<HostDisk>()
  private readonly process = new ProcessMetrics()
  private server: ControlServer | undefined
  private remote: RemoteDisks | undefined
  private localUse = 0
  private onChange: (() => void) | undefined

  private constructor(
    readonly pool: LockedPool,
    private readonly options: OwnerOptions,
    private readonly open: ResourceStack,
    private record: LockRecord,
  ) {
    this.held = [...pool.disks]
    this.engineOpen.promise.catch(() => undefined) // whoever waits for the engine gets it; nobody has to
  }

  /**
   * Listens, says on the disks who owns them, and opens the engine. `open` holds the locked disks and is this owner's
   * from here on, also when it fails.
   */
  static async start(pool: LockedPool, options: OwnerOptions, open: ResourceStack): Promise<Owner> {
    const { kind, command, readOnly } = options
    const owner = new Owner(pool, options, open, { ...pool.record, kind, command, readOnly, poolId: pool.id })
    try {
      await owner.listen()
      await writeRecords(owner.held, owner.record)
      await owner.openEngine()
      if (!readOnly)
        owner.remote = new RemoteDisks(await owner.engine, {
          instance: owner.record.instance,
          held: () => owner.held,
          known: () => owner.known(),
          failed: error => owner.problems.push(error),
        })
      if (!readOnly && kind !== 'on-demand') owner.rememberDisks()
      return owner
    } catch (error) {
      owner.engineOpen.reject(error)
      await owner.server?.drain()
      await owner.letGo({ clear: true })
      throw error
    }
  }

  private async listen(): Promise<void> {
    const { ControlServer } = await import('./control-server.ts')
    const { id: poolId, name: poolName } = this.pool
    const { instance, readOnly, kind } = this.record
    const server = await ControlServer.listen({
      hello: { poolId, poolName, instance, readOnly, kind },
      call: (verb, params, session, signal) => this.call(verb, params, signal, session),
      openLun: (name, options) => this.openLun(name, options),
      holdRelationship: name => this.holdRelationship(name),
      changed: () => this.onChange?.(),
      metrics: () => this.metrics(),
      followEvents: (after, signal) => this.followEvents(after, signal),
      failed: error => this.problems.push(error),
    })
    this.server = server
    this.record = { ...this.record, socket: server.socket }
  }

  private async openEngine(): Promise<void> {
    const { openEngine } = await engineModule()
    const { readOnly, forceQuorum, choose, command } = this.options
    const engine = await openEngine(this.pool.disks, {
      mode: 'owner',
      readOnly,
      forceQuorum,
      ...(choose === undefined ? {} : { choose }),
      command,
      missing: this.pool.missing,
      opener: this.opener(),
    })
    this.engineOpen.resolve(engine)
  }

  /** The engine, once it is open. Clients that come before wait for it. */
  get engine(): Promise<Engine> {
    return this.engineOpen.promise
  }

  get clients(): number {
    return this.server?.clients.length ?? 0
  }

  private get quiet(): boolean {
    return this.server?.idle ?? true
  }

  /** The disks it holds, for the process that takes over. */
  get disks(): readonly OwnedDisk[] {
    return this.held
  }

  async call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal, session?: Session): Promise<Reply<Result<V>>> {
    const engine = await this.engine
    const answer = (value: Reply<unknown>): Reply<Result<V>> => value as Reply<Result<V>>
    if (verb === 'lock.show') return answer(await this.showLock(engine))
    if (verb === 'pool.metrics') return answer({ ...(await engine.call('pool.list', {})), data: { text: await this.metrics() } })
    if (verb === 'pool.close') return answer(await this.askToClose(engine, session))
    if (verb === 'pool.destroy' && (params as Params<'pool.destroy'>).dryRun !== true) {
      throw new LunarError('ERR_BUSY', `Cannot destroy pool ${engine.poolName}`, {
        why: 'it is open; destroyPool closes it first',
        blockers: [describeRecord(this.record)],
      })
    }
    if (verb === 'server.status' || verb === 'server.stop') return answer(await this.aboutServer(engine, verb))
    const change = (): Promise<Reply<Result<V>>> => this.change(engine, verb, params, signal)
    if (verbKinds[verb] === 'change' && !this.options.readOnly) return withHistory(engine, this.actor(session), verb, params, change)
    const reply = await change()
    if (verb !== 'pool.status') return reply
    return answer({ ...reply, data: { ...(reply.data as PoolStatus), owner: holderView(this.record) } })
  }

  private async followEvents(after: number, signal: AbortSignal): Promise<AsyncIterable<EventView>> {
    // An owner that cannot open its pool has none to tell: whoever follows waits for the next.
    const engine = await this.engine.catch(() => {
      throw new Moved()
    })
    return engine.followEvents(after, signal)
  }

  /** Of the pool and of this process, as text. */
  private async metrics(): Promise<string> {
    const into = new Exposition()
    await this.measure(into)
    const { server } = this.options
    if (server) await server.measure(into)
    else {
      await this.process.start()
      this.process.measure(into)
    }
    return into.text()
  }

  /** Adds the metrics of the pool and of its control socket. */
  async measure(into: Exposition): Promise<void> {
    await (await this.engine).measure(into)
    this.server?.measure({ pool: this.pool.name }, into)
  }

  private actor(session: Session | undefined): Actor {
    return session ? session.client : { ...whoAmI(), command: this.options.command }
  }

  private async aboutServer(engine: Engine, verb: 'server.status' | 'server.stop'): Promise<Reply<unknown>> {
    const { server } = this.options
    const { generation, data: none, warnings } = await engine.call('server.status', {})
    if (verb === 'server.status') return { generation, data: server ? server.status() : none, warnings: server ? [] : warnings }
    if (!server) throw noServer(engine.poolName)
    server.stop()
    return { generation, data: { pid: process.pid }, warnings: [] }
  }

  /** A change of the pool; with `disconnect`, clients of the server that are in its way leave first. */
  private async change<V extends Verb>(engine: Engine, verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const { server } = this.options
    const call = (): Promise<Reply<Result<V>>> => engine.call(verb, params, signal)
    const { disconnect, dryRun } = params as { disconnect?: boolean; dryRun?: boolean }
    const reply = await (server && disconnect === true && dryRun !== true ? server.withoutClients(engine.poolName, call) : call())
    if (verb === 'host.add' || verb === 'host.remove') await server?.hostsChanged(engine.poolName)
    return reply
  }

  async openLun(name: string, options: LunOptions = {}): Promise<BlockDevice> {
    return (await this.engine).openLun(name, { user: describeRecord(this.record), ...options })
  }

  async holdRelationship(name: string): Promise<RelationshipHold> {
    return (await this.engine).holdRelationship(name)
  }

  /** Answers a client of the HTTP API. @throws Moved when the owner goes away */
  async serve(request: IncomingMessage, response: ServerResponse, url: string, client: RemoteClient): Promise<void> {
    await this.server?.serve(request, response, url, client)
  }

  /** Counts those in this process who use the pool, so that `pool.close` knows. */
  use(): () => void {
    this.localUse++
    return () => {
      this.localUse--
      this.onChange?.()
    }
  }

  /** Resolves when nobody uses the pool and nothing is left to do for `graceMs` without a break, or the signal aborts. */
  async idle(graceMs: number, signal: AbortSignal): Promise<void> {
    const engine = await this.engine
    while (!signal.aborted) {
      if (engine.hasWork()) await Promise.race([engine.settled(signal), this.nextChange(signal)])
      else if (!this.quiet || this.localUse > 0) await this.nextChange(signal)
      else if (await this.staysIdle(graceMs, signal)) return
    }
  }

  /** Whether nobody uses the pool, and nobody ever can again: the files of all of its disks were deleted. @throws LunarError `ERR_IO`, `ERR_HOST_LIMIT` */
  async isOrphaned(): Promise<boolean> {
    if (!this.quiet || this.localUse > 0) return false
    for (const { disk } of this.held) if (!isFileDisk(disk) || !(await disk.watchFaults()).unlinked) return false
    return true
  }

  private async staysIdle(graceMs: number, signal: AbortSignal): Promise<boolean> {
    const grace = AbortSignal.timeout(graceMs)
    await this.nextChange(AbortSignal.any([signal, grace]))
    return grace.aborted && this.quiet && this.localUse === 0
  }

  private async nextChange(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = deferred()
    const wake = (): void => {
      resolve()
    }
    this.onChange = wake
    signal.addEventListener('abort', wake)
    if (signal.aborted) wake()
    await promise
    signal.removeEventListener('abort', wake)
  }

  /** Ends requests under way, sends clients on, and closes the engine with a clean root. The disks stay locked. */
  async quiesce(): Promise<void> {
    await this.server?.drain()
    await this.server?.close()
    await this.remote?.close()
    await (await this.engine).close()
  }

  /** Lets the disks go, after `quiesce` or instead of it. With `clear` nobody owns the pool then; without, another process holds the locks too. */
  async letGo(how: { clear: boolean }): Promise<void> {
    await using closing = new ResourceStack()
    closing.use(this.open)
    if (how.clear && this.record.socket !== '') closing.defer(() => clearRecords(this.held))
    closing.defer(() => this.server?.close())
    this.process.close()
    closing.defer(() => this.remote?.close())
  }

  /** @throws what went wrong in the background, where nobody waited for it */
  throwProblems(): void {
    if (this.problems.length > 0) throw this.problems[0] as Error
  }

  private async showLock(engine: Engine): Promise<Reply<LockView>> {
    const { generation, data } = await engine.call('disk.list', {})
    const paths = new Map(this.held.map(({ disk, label }) => [label.diskId, disk.name]))
    const disks = data.map(disk => ({ disk: disk.number, path: paths.get(disk.id) ?? disk.path ?? '', locked: paths.has(disk.id) }))
    return { generation, data: { pool: engine.poolName, held: true, holder: holderView(this.record), disks }, warnings: [] }
  }

  private async askToClose(engine: Engine, session: Session | undefined): Promise<Reply<{ closed: true }>> {
    const blockers = this.server?.busy(session) ?? []
    blockers.push(...(this.options.server?.clients(engine.poolName) ?? []))
    if (session && this.localUse > 0) blockers.unshift(describeRecord(this.record))
    if (blockers.length > 0) throw new LunarError('ERR_BUSY', `Cannot close pool ${engine.poolName}`, { why: `it is used by ${blockers.join('; ')}`, blockers })
    const { generation } = await engine.call('pool.list', {})
    this.closeAsked.resolve()
    return { generation, data: { closed: true }, warnings: [] }
  }

  private opener(): DiskOpener {
    return {
      requireDistinct,
      create: async (spec, options) => {
        await requireOther(spec.path, this.held)
        const made = await makeDisk(spec, { ...options, forceNonlocal: this.options.forceNonlocal, record: this.record }, this.open)
        const { disk, undo } = made
        if (disk instanceof ScratchDisk) return made
        this.newcomers.add(disk)
        return {
          ...made,
          undo: async () => {
            this.newcomers.delete(disk)
            await letGo(disk, this.record.instance)
            await undo()
          },
        }
      },
      find: (diskId, path) => this.find(diskId, path),
      release: disk => this.release(disk),
      remember: (name, id, paths) => this.remember(name, id, paths),
    }
  }

  private async find(diskId: string, path: string | undefined): Promise<FoundDisk | undefined> {
    const held = this.held.findIndex(({ label }) => label.diskId === diskId)
    const before = this.held[held]
    if (before && (path === undefined || path === before.disk.name)) {
      if (await isStillThere(before.disk)) return this.again(before)
    }
    const found = await findDisk(this.known(), diskId, path, this.open)
    if (!found) return undefined
    if (before && found.disk.identity === before.disk.identity && !(before.disk as Disk).remote?.isLost) {
      await found.disk.close()
      return this.again(before)
    }
    if (!(await takeLock(found.disk, diskId, { record: this.record }, this.open))) {
      await found.disk.close()
      throw new LunarError('ERR_LOCKED', `Cannot use ${found.path}`, { why: 'another process has locked it' })
    }
    if (before) this.held.splice(held, 1)
    await before?.disk.close()
    await this.hold({ disk: found.disk, label: found.label })
    return { disk: found.disk, label: found.label }
  }

  /** A disk that was open all the time; its label may have changed since. */
  private async again(held: OwnedDisk): Promise<FoundDisk | undefined> {
    const report = await readLabel(held.disk)
    return report.kind === 'label' ? { disk: held.disk, label: report.label } : undefined
  }

  /** Its label is wiped: the record that locks it goes, too. */
  private async release(disk: Disk): Promise<void> {
    const at = this.held.findIndex(held => held.disk === disk)
    if (at < 0) return
    const [held] = this.held.splice(at, 1)
    try {
      await clearRecords([held!])
    } finally {
      await letGo(held!.disk, this.record.instance)
    }
  }

  private async hold(disk: OwnedDisk): Promise<void> {
    this.held.push(disk)
    await writeRecord(disk, this.record)
  }

  private known(): KnownPool {
    const disks = this.held.map(({ disk, label }) => ({ path: disk.name, id: label.diskId }))
    const missing = this.pool.missing.map(({ path, diskId }) => (diskId === undefined ? { path } : { path, id: diskId }))
    return { id: this.pool.id, name: this.pool.name, disks: [...disks, ...missing] }
  }

  /** Disks may have been found under other names than before. The registry is only a memory: without it the pool is served all the same. */
  private rememberDisks(): void {
    try {
      this.registry.remember(this.known())
    } catch (error) {
      if (!isCode(error, 'ERR_FAILED')) throw error
    }
  }

  private async remember(name: string, id: string, paths: readonly string[]): Promise<void> {
    for (const disk of this.newcomers) {
      const report = await readLabel(disk)
      if (report.kind !== 'label' || report.label.poolId !== this.pool.id) continue
      this.newcomers.delete(disk)
      await this.hold({ disk, label: report.label })
    }
    const ids = new Map(this.known().disks.map(disk => [disk.path, disk.id]))
    const disks = paths.map(path => {
      const diskId = ids.get(path)
      return diskId === undefined ? { path } : { path, id: diskId }
    })
    this.registry.remember({ id, name, disks })
  }
}

export const noServer = (pool: string): LunarError =>
  new LunarError('ERR_SERVER_UNREACHABLE', `Cannot stop the server of pool ${pool}`, { why: 'no server runs for it', fix: `lunar serve ${pool}` })
