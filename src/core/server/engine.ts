/** The engine: wires pool, LUNs and processes, and answers the verbs. The same in an owner and in a view without a lock. */
import { systemClock, type Clock } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { randomUuid, type UuidSource } from '../base/uuid.ts'
import type { BlockDevice } from '../block/device.ts'
import { checkRecords } from '../../metadata/check.ts'
import { dumpRecord } from '../../metadata/dump.ts'
import { EVENTS_KEPT } from '../../metadata/event.ts'
import { HISTORY_KEPT, type HistoryEntry } from '../../metadata/history.ts'
import { Luns } from '../lun/luns.ts'
import { OpenLun } from '../lun/open-lun.ts'
import { createPoolOn, wipeDisks } from '../pool/format.ts'
import { Pool } from '../pool/pool.ts'
import type { EventView, Params, RelationshipHold, Reply, Result, ServerStatus, Verb } from './api.ts'
import { hostFiles, removePoolFile } from '../wod/files.ts'
import { Wods } from '../wod/wods.ts'
import { Relationships } from '../snapshot/relationships.ts'
import { Rotator } from '../snapshot/tree/rotator.ts'
import { Trees } from '../snapshot/tree/trees.ts'
import { WodImages } from '../snapshot/wod-images.ts'
import { changes } from './changes.ts'
import { rememberPaths } from './disk-additions.ts'
import { diskRemovals } from './disk-removals.ts'
import { hostChanges, hostLooks } from './host-changes.ts'
import { Hosts, type Host } from './hosts.ts'
import { PresentableVolumes } from './volumes.ts'
import { rstoreChecks } from './rstore-checks.ts'
import { snapChanges } from './snap-changes.ts'
import { SnapViews } from './snap-views.ts'
import { eventStream } from './event-stream.ts'
import { Exposition } from './exposition.ts'
import type { Engine, EngineOptions, FormatDisk, FoundDisk, LunOptions } from './engine-types.ts'
import { measurePool } from './pool-metrics.ts'
import { PresentedVolumes } from './presented.ts'
import { Processes } from './processes.ts'
import { ScheduleRuns } from './schedule/runs.ts'
import { scheduleVerbs } from './schedule/schedule-changes.ts'
import { ScheduleViews } from './schedule/schedule-views.ts'
import { Schedules } from './schedule/schedules.ts'
import { ScheduleTimer } from './schedule/timer.ts'
import { Qualities } from './qualities.ts'
import { settingsChanges } from './settings-changes.ts'
import { Troubles } from './troubles.ts'
import { treeChanges } from './tree-changes.ts'
import { TreeViews } from './tree-views.ts'
import { Views } from './views.ts'
import { wodChanges } from './wod-changes.ts'
import { wodSnaps } from './wod-snaps.ts'
import { WodViews } from './wod-views.ts'

export interface EngineParts {
  readonly pool: Pool
  readonly luns: Luns
  readonly views: Views
  readonly processes: Processes
  readonly relationships: Relationships
  readonly snaps: SnapViews
  readonly wods: Wods
  readonly wodViews: WodViews
  readonly wodImages: WodImages
  readonly trees: Trees
  readonly rotator: Rotator
  readonly treeViews: TreeViews
  readonly volumes: PresentableVolumes
  readonly hosts: Hosts
  readonly schedules: Schedules
  readonly scheduleRuns: ScheduleRuns
  readonly scheduleTimer: ScheduleTimer
  readonly scheduleViews: ScheduleViews
  readonly qualities: Qualities
  readonly options: EngineOptions
  /** What replies begin with; of a call, its own. */
  readonly warnings: string[]
}

/** Where time and ids come from; the simulation brings its own. */
export interface EngineSources {
  readonly clock: Clock
  readonly uuids: UuidSource
}

export class LocalEngine implements Engine {
  readonly presented: PresentedVolumes
  onDisksChanged: (() => void) | undefined

  private constructor(private readonly parts: EngineParts) {
    this.presented = new PresentedVolumes(parts, (name, options, host) => this.openFor(name, options, host))
  }

  static async open(
    disks: readonly FoundDisk[],
    options: EngineOptions,
    sources: EngineSources = { clock: systemClock, uuids: randomUuid },
  ): Promise<LocalEngine> {
    const view = options.mode === 'view'
    const readOnly = view || options.readOnly === true
    const choose = options.choose === undefined ? undefined : chooseId(disks, options.choose)
    const pool = await Pool.open(disks, {
      ...sources,
      readOnly,
      // A view of what is left is harmless: it writes nothing.
      force: options.forceQuorum === true || options.readOnly === true,
      ...(choose === undefined ? {} : { choose }),
    })
    const luns = await Luns.load(pool)
    await luns.loadBits()
    const relationships = await Relationships.load(pool, luns)
    const wods = await Wods.load(pool, luns, hostFiles)
    const trees = await Trees.load(pool, luns, relationships)
    const wodImages = new WodImages(pool, luns, relationships, wods)
    const processes = new Processes(pool, luns, relationships, wods, wodImages, trees)
    const schedules = await Schedules.load(pool, luns)
    const troubles = new Troubles(relationships, wods, wodImages, trees, schedules, () => scheduleTimer.isRunning)
    const qualities = new Qualities(sources.clock, () => luns.all)
    const views = new Views(pool, luns, relationships, troubles, qualities)
    const volumes = new PresentableVolumes(luns, trees, wods, relationships)
    const hosts = await Hosts.load(pool, volumes)
    views.presentedTo = (kind, volume) => hosts.namesOf(kind, volume)
    const rotator = new Rotator(pool, trees, snapshot => hosts.namesOf('snapshot', snapshot.number))
    const scheduleRuns = new ScheduleRuns(pool, trees, rotator, schedules)
    const scheduleTimer = new ScheduleTimer(sources.clock, schedules, scheduleRuns, () => processes.look())
    const parts: EngineParts = {
      pool,
      luns,
      processes,
      relationships,
      snaps: new SnapViews(pool, relationships, processes),
      wods,
      wodViews: new WodViews(luns, wods, views),
      wodImages,
      trees,
      rotator,
      treeViews: new TreeViews(trees, views),
      volumes,
      hosts,
      schedules,
      scheduleRuns,
      scheduleTimer,
      scheduleViews: new ScheduleViews(sources.clock, schedules, () => scheduleTimer.isRunning),
      qualities,
      views,
      options,
      warnings: openWarnings(pool, options),
    }
    const engine = new LocalEngine(parts)
    if (!readOnly) {
      await pool.settleStates()
      await luns.dropUnfinished()
      pool.onChange = () => {
        engine.onDisksChanged?.()
        void processes.look().catch((error: unknown) => {
          pool.warnings.push(String(error))
        })
      }
      pool.onRemoved = async device => {
        if (device) await options.opener.release(device)
        await rememberPaths(parts)
      }
      await pool.maintain()
      await processes.look()
    }
    return engine
  }

  get poolName(): string {
    return this.parts.pool.record.name
  }
  get poolId(): string {
    return this.parts.pool.poolId
  }

  async call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    const handler = (verbs as Record<string, Handler>)[verb]
    if (!handler) throw new LunarError('ERR_SERVER_VERSION', `Cannot answer "${verb}"`, { why: 'this version does not know it' })
    // What one call warns of is for whoever made it.
    const warnings = [...this.parts.warnings]
    const data = (await handler({ ...this.parts, warnings }, params as never, signal)) as Result<V>
    return { generation: this.parts.pool.metadata.generation, data, warnings }
  }

  /** @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_INCOMPLETE` unless `incomplete` is given */
  openLun(name: string, options: LunOptions = {}): Promise<BlockDevice> {
    return this.openFor(name, options, undefined)
  }

  /** @param host whose limits count */
  private async openFor(name: string, options: LunOptions, host: Host | undefined): Promise<BlockDevice> {
    if (Trees.isName(name)) return this.openSnapshot(name, options, host)
    const wod = this.parts.wods.named(name)
    if (wod) {
      const image = await this.parts.wodImages.open(wod, { readOnly: options.readOnly === true, user: options.user })
      return this.parts.qualities.plainLayer(wod, image, host)
    }
    const lun = this.parts.luns.find(name)
    this.parts.luns.checkOwn(lun, 'open')
    if (lun.isIncomplete && !options.incomplete) {
      throw new LunarError('ERR_INCOMPLETE', `Cannot open LUN "${name}"`, { fix: `lunar lun import ${name} FILE again, or lunar lun delete ${name}` })
    }
    if (this.parts.pool.options.readOnly && !options.readOnly) throw new LunarError('ERR_READ_ONLY', `Cannot write to LUN "${name}"`)
    const { relationships } = this.parts
    relationships.checkOpen(lun, { mixed: options.mixed === true })
    if (options.readOnly !== true) this.parts.luns.checkUnprotected(lun, 'write to')
    const device = this.parts.qualities.layer(lun, relationships.volume(lun.number), host)
    return new OpenLun(lun, device, options.readOnly === true, options.user, options.protocol)
  }

  /** @throws LunarError `ERR_SNAPSHOT_NOT_FOUND`, `ERR_READ_ONLY` */
  private openSnapshot(name: string, options: LunOptions, host: Host | undefined): BlockDevice {
    const { trees, pool } = this.parts
    const snapshot = trees.find(name)
    snapshot.checkKept('open')
    if (options.readOnly !== true) {
      if (pool.options.readOnly) throw new LunarError('ERR_READ_ONLY', `Cannot write to snapshot "${name}"`)
      snapshot.checkWritable()
    }
    const device = this.parts.qualities.plainLayer(snapshot, trees.volume(snapshot), host)
    return new OpenLun(snapshot, device, options.readOnly === true, options.user, options.protocol)
  }

  /** @throws LunarError `ERR_RELATIONSHIP_NOT_FOUND` */
  holdRelationship(name: string): Promise<RelationshipHold> {
    return new Promise(resolve => {
      const { relationships } = this.parts
      const relationship = relationships.find(name)
      const release = relationships.hold(relationship)
      resolve({
        number: relationship.number,
        close: () => {
          release()
          return Promise.resolve()
        },
      })
    })
  }

  startSchedules(tell: (line: string) => void): void {
    this.parts.scheduleTimer.start(tell)
  }

  awayDisks(): readonly { number: number; id: string }[] {
    return [...this.parts.pool.disks.values()].filter(disk => disk.state === 'missing' && !disk.isOffline).map(({ number, id }) => ({ number, id }))
  }

  hasWork(): boolean {
    return this.parts.processes.hasWork
  }

  settled(signal?: AbortSignal): Promise<void> {
    return this.parts.processes.settled(signal)
  }

  followEvents(after: number, signal: AbortSignal): AsyncIterable<EventView> {
    const { pool, views } = this.parts
    return eventStream(pool.events, () => views.events(EVENTS_KEPT, after), signal)
  }

  keepHistory(entry: HistoryEntry): Promise<void> {
    return this.parts.pool.history.add(entry)
  }

  measure(into: Exposition): Promise<void> {
    return measurePool(this.parts, into)
  }

  stillCurrent(): Promise<boolean> {
    return this.parts.pool.metadata.stillCurrent()
  }

  async close(): Promise<void> {
    const { processes, luns, pool, relationships, wods, scheduleTimer } = this.parts
    await scheduleTimer.close()
    await processes.close()
    // Writes that were acknowledged ahead of their round reach the disks before those are flushed for the last time.
    if (!pool.options.readOnly) {
      await relationships.drain()
      await Promise.all(luns.all.map(lun => lun.drain()))
    }
    await wods.close()
    await pool.close()
  }
}

/** What there is to say of the server when no server owns the pool. */
const noServer: ServerStatus = { running: false, pid: null, version: null, since: null, pools: [], listeners: [], clients: [] }

type Handler = (parts: EngineParts, params: never, signal?: AbortSignal) => unknown

const looks = {
  'pool.list': ({ views }) => views.poolSummary(),
  'pool.show': ({ views }) => views.poolDetail(),
  'pool.status': async ({ views, processes }) => views.poolStatus(await processes.list()),
  'pool.metrics': async parts => {
    const into = new Exposition()
    await measurePool(parts, into)
    return { text: into.text() }
  },
  'pool.events': ({ views }, { limit, after }: Params<'pool.events'>) => views.events(limit ?? 1000, after ?? 0),
  'pool.history': ({ views }, { limit, after }: Params<'pool.history'>) => views.history(limit ?? HISTORY_KEPT, after ?? 0),
  /** What destroying would take away; the labels are wiped by whoever holds the disks. */
  'pool.destroy': async ({ pool, luns, wods }, { dryRun }: Params<'pool.destroy'>) => {
    if (!dryRun) throw new LunarError('ERR_USAGE', `Cannot destroy pool "${pool.record.name}" over its owner`, { fix: 'lunar pool destroy' })
    return {
      name: pool.record.name,
      disks: [...pool.disks.values()].map(disk => disk.label),
      luns: luns.all.map(lun => lun.name),
      files: await wods.ownFiles(),
    }
  },
  'disk.list': ({ pool, views }) => [...pool.disks.values()].map(disk => views.diskSummary(disk)),
  'disk.show': ({ pool, views }, { disk }: Params<'disk.show'>) => views.diskDetail(pool.findDisk(disk)),
  'lun.list': ({ views }) => views.lunList(),
  'lun.show': ({ views, luns }, { lun }: Params<'lun.show'>) => views.lunDetail(luns.find(lun)),
  'lun.map': ({ views, luns }, { lun, lost }: Params<'lun.map'>) => views.lunMap(luns.find(lun), lost === true),
  'rstore.list': ({ views }, { lun }: Params<'rstore.list'>) => views.rstoreList(lun),
  'rstore.show': ({ views }, { lun, store }: Params<'rstore.show'>) => views.rstoreDetail(lun, store),
  'task.list': ({ processes }) => processes.list(),
  'task.show': ({ processes }, { task }: Params<'task.show'>) => processes.find(task),
  'task.wait': ({ processes }, { task }: Params<'task.wait'>, signal?: AbortSignal) => processes.wait(task, signal),
  'wod.list': ({ wods, wodViews }) => Promise.all(wods.all.map(wod => wodViews.summary(wod))),
  'wod.show': ({ wods, wodViews }, { wod }: Params<'wod.show'>) => wodViews.detail(wods.find(wod)),
  ...hostLooks,
  'server.status': () => noServer,
  'metadata.check': async ({ pool }) => {
    const blocks = await pool.metadata.countBlocks()
    const first = await checkOf(pool, blocks)
    // What is changed while it is read fits together only by chance: what does not is looked at again while nothing changes.
    return first.ok ? first : pool.metadata.undisturbed(() => checkOf(pool, blocks))
  },
  'metadata.dump': ({ pool }) =>
    pool.metadata.undisturbed(async () => {
      const lines = [`# pool ${pool.record.name} ${pool.poolId} generation ${pool.metadata.generation}`]
      for await (const entry of pool.metadata.records()) lines.push(dumpRecord(entry))
      return { text: `${lines.join('\n')}\n` }
    }),
} satisfies Record<string, Handler>

const verbs = {
  ...looks,
  ...changes,
  ...diskRemovals,
  ...rstoreChecks,
  ...snapChanges,
  ...wodSnaps,
  ...wodChanges,
  ...treeChanges,
  ...hostChanges,
  ...scheduleVerbs,
  ...settingsChanges,
}

function chooseId(disks: readonly FoundDisk[], choice: string): string {
  const found = disks.find(
    ({ disk, label }) => label.diskId === choice || String(label.diskNumber) === choice || disk.name === choice || disk.name.endsWith(`/${choice}`),
  )
  if (!found)
    throw new LunarError('ERR_DISK_NOT_FOUND', `Cannot choose disk "${choice}"`, { why: 'no disk of the pool that was found has this number, id or path' })
  return found.label.diskId
}

function openWarnings(pool: Pool, options: EngineOptions): string[] {
  const warnings = [...pool.warnings]
  for (const missing of options.missing)
    warnings.push(/ENOENT/.test(missing.reason) ? `No disk of the pool is at ${missing.path} now` : `${missing.path}: ${missing.reason}`)
  return warnings
}

async function checkOf({ metadata }: Pool, blocks: number): Promise<Result<'metadata.check'>> {
  const { problems, ...checked } = await checkRecords(metadata.records(), metadata.stores)
  return { ok: problems.length === 0, generation: metadata.generation, checked: { blocks, ...checked }, problems }
}

export function openEngine(disks: readonly FoundDisk[], options: EngineOptions): Promise<Engine> {
  return LocalEngine.open(disks, options)
}

export function formatPool(disks: readonly FormatDisk[], params: { name: string }): Promise<{ poolId: string }> {
  return createPoolOn(disks, params.name, systemClock, randomUuid)
}

export function wipePool(disks: readonly FoundDisk[]): Promise<void> {
  return wipeDisks(disks.map(({ disk, label }) => ({ disk, size: label.size })))
}

export async function removeDeviceFiles(paths: readonly string[], poolId: string): Promise<string[]> {
  const stays: string[] = []
  for (const path of paths) {
    try {
      if (!(await removePoolFile(hostFiles, path, poolId))) stays.push(`${path} stays: it is no longer a file of the pool`)
    } catch (error) {
      if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      stays.push(`${path} stays: ${error.message}${error.why === '' ? '' : `: ${error.why}`}`)
    }
  }
  return stays
}
