/** An engine small enough to see through: LUNs are regions of the first disk, its state is JSON in the place of the roots. */
import { FORMAT_VERSION, JOURNAL_AT, diskLayout, ROOTS_AT, SEGMENT } from '../../../../src/metadata/layout.ts'
import { writeLabel, type Label } from '../../../../src/metadata/label.ts'
import { LunarError } from '../../../../src/core/base/errors.ts'
import { MIB } from '../../../../src/core/base/units.ts'
import { randomUuid } from '../../../../src/core/base/uuid.ts'
import type { BlockDevice, Disk, Extent } from '../../../../src/core/block/device.ts'
import { BlockLayer } from '../../../../src/core/block/device.ts'
import type { DiskSummary, Params, Verb } from '../../../../src/core/server/api.ts'
import type { Engine, EngineModule, EngineOptions, FoundDisk } from '../../../../src/core/server/engine-types.ts'

interface State {
  generation: number
  disks: { id: string; path: string }[]
  luns: { name: string; size: number; at: number }[]
  /** Steps of background work that are left; each takes `stepMs`. */
  work: number
  stepMs: number
}

const STATE_BYTES = 64 * 1024
const DATA_AT = 24 * MIB

async function readState(disk: Disk): Promise<State> {
  const bytes = Buffer.alloc(STATE_BYTES)
  await disk.read(ROOTS_AT, bytes)
  const end = bytes.indexOf(0)
  return JSON.parse(bytes.toString('utf8', 0, end)) as State
}

async function writeState(disk: Disk, state: State): Promise<void> {
  const bytes = Buffer.alloc(STATE_BYTES)
  bytes.write(JSON.stringify(state))
  await disk.writeDurable(ROOTS_AT, bytes)
}

class Region extends BlockLayer {
  constructor(
    disk: Disk,
    private readonly at: number,
    private readonly bytes: number,
    private readonly readOnly: boolean,
  ) {
    super(disk)
  }
  override get size(): number {
    return this.bytes
  }
  override read(offset: number, into: Uint8Array): Promise<void> {
    return this.next.read(this.at + offset, into)
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    if (this.readOnly) return Promise.reject(new LunarError('ERR_READ_ONLY', 'Cannot write'))
    return this.next.write(this.at + offset, data)
  }
  override zero(offset: number, length: number): Promise<void> {
    return this.next.zero(this.at + offset, length)
  }
  override trim(offset: number, length: number): Promise<void> {
    return this.next.trim(this.at + offset, length)
  }
  override async extents(offset: number, length: number): Promise<Extent[]> {
    return (await this.next.extents(this.at + offset, length)).map(extent => ({ ...extent, offset: extent.offset - this.at }))
  }
  override close(): Promise<void> {
    return Promise.resolve()
  }
}

const noVolume = (): never => {
  throw new LunarError('ERR_LUN_NOT_FOUND', 'Nothing is presented')
}
const nothingPresented: Engine['presented'] = { hosts: [], list: () => [], describe: noVolume, open: () => new Promise(noVolume) }

export interface FakeHooks {
  onCall?: (verb: Verb, signal: AbortSignal | undefined) => Promise<void> | void
  onOpen?: (options: EngineOptions) => Promise<void> | void
  /** Views: whether what was read is still right. */
  current?: () => boolean
  closed?: () => void
}

export function fakeEngine(hooks: FakeHooks = {}): EngineModule {
  return {
    async formatPool(disks, { name }) {
      const poolId = randomUuid()
      const ids = disks.map(() => randomUuid())
      await writeState(disks[0]!.disk, { generation: 1, disks: disks.map(({ disk }, i) => ({ id: ids[i]!, path: disk.name })), luns: [], work: 0, stepMs: 0 })
      await Promise.all(
        disks.map(({ disk, witness, domain }, i) =>
          writeLabel(disk, makeLabel(disk.size, { poolId, diskId: ids[i]!, poolName: name, diskNumber: i, flags: witness ? 1 : 0, domain: domain ?? '' })),
        ),
      )
      return { poolId }
    },
    async openEngine(disks, options) {
      await hooks.onOpen?.(options)
      return open(disks, options, hooks)
    },
    removeDeviceFiles: () => Promise.resolve([]),
    async wipePool(disks) {
      for (const { disk, label } of disks) {
        await disk.writeDurable(0, new Uint8Array(4096))
        await disk.writeDurable(Math.floor(label.size / 4096) * 4096 - 4096, new Uint8Array(4096))
      }
    },
  }
}

async function open(disks: readonly FoundDisk[], options: EngineOptions, hooks: FakeHooks): Promise<Engine> {
  const first = [...disks].sort((a, b) => a.label.diskNumber - b.label.diskNumber)[0]!
  const state = await readState(first.disk)
  let stopped = false
  const changes = options.mode === 'owner' && !options.readOnly
  const waiters = new Set<() => void>()
  const step = async (): Promise<void> => {
    while (!stopped && state.work > 0) {
      await new Promise(resolve => setTimeout(resolve, state.stepMs))
      if (stopped) return
      state.work--
      await writeState(first.disk, state)
    }
    for (const wake of waiters) wake()
  }
  let stepping = changes ? step() : Promise.resolve()
  const summary = (): DiskSummary[] =>
    state.disks.map((known, number) => {
      const found = disks.find(({ label }) => label.diskId === known.id)
      return {
        number,
        id: known.id,
        path: found?.disk.name ?? null,
        state: found ? 'normal' : 'missing',
        witness: false,
        quorum: true,
        domain: null,
        redundancySet: 0,
        redundancyIndex: number,
        size: 0,
        used: 0,
        free: 0,
        stale: 0,
        errors: 0,
      }
    })
  const pool = (): object => ({
    name: first.label.poolName,
    id: first.label.poolId,
    health: 'healthy',
    disks: state.disks.length,
    luns: state.luns.length,
    size: 1,
    used: 0,
    free: 1,
    created: 'x',
    generation: state.generation,
  })
  const commit = async (): Promise<void> => {
    state.generation++
    await writeState(first.disk, state)
  }
  const answer = async (verb: string, params: Params<Verb>, signal?: AbortSignal): Promise<unknown> => {
    const given = params as { name?: string; lun?: string; size?: number; settings?: Record<string, string> }
    switch (verb) {
      case 'pool.list':
        return [pool()]
      case 'pool.show':
      case 'pool.status':
        return { ...pool(), owner: null, missing: options.missing, work: state.work }
      case 'disk.list':
        return summary()
      case 'lun.list':
        return state.luns
      case 'lun.create':
        if (state.luns.some(lun => lun.name === given.name)) throw new LunarError('ERR_EXISTS', `Cannot create LUN ${given.name}`, { blockers: ['the other'] })
        state.luns.push({ name: given.name!, size: given.size!, at: DATA_AT + state.luns.reduce((sum, lun) => sum + lun.size, 0) })
        await commit()
        return state.luns.at(-1)
      case 'pool.set':
        state.work = Number(given.settings?.work ?? 0)
        state.stepMs = Number(given.settings?.stepMs ?? 0)
        await commit()
        await stepping
        stepping = step()
        return { settings: [], changed: [] }
      case 'pool.destroy':
        return { name: first.label.poolName, disks: disks.map(({ disk }) => disk.name), luns: state.luns.map(lun => lun.name), files: [] }
      case 'task.wait':
        await new Promise<void>((_, reject) => {
          const end = (): void => reject(new LunarError('ERR_INTERRUPTED', 'waiting was given up'))
          if (signal?.aborted) return end()
          signal?.addEventListener('abort', end, { once: true })
        })
        return {}
      case 'disk.add': {
        const { disks: specs, dryRun } = params as Params<'disk.add'>
        for (const spec of specs) {
          const { disk } = await options.opener.create(spec, { overwrite: false, dryRun: dryRun ?? false, witness: false })
          const diskId = randomUuid()
          await writeLabel(disk, makeLabel(disk.size, { poolId: first.label.poolId, poolName: first.label.poolName, diskId, diskNumber: state.disks.length }))
          if (!dryRun) state.disks.push({ id: diskId, path: disk.name })
        }
        if (dryRun) return []
        await commit()
        await options.opener.remember(
          first.label.poolName,
          first.label.poolId,
          state.disks.map(disk => disk.path),
        )
        return summary()
      }
      case 'disk.online': {
        const { disk, path } = params as Params<'disk.online'>
        const found = await options.opener.find(disk, path)
        return found ? { path: found.disk.name } : { path: null }
      }
      default:
        return {}
    }
  }
  return {
    poolName: first.label.poolName,
    poolId: first.label.poolId,
    async call(verb, params, signal) {
      await hooks.onCall?.(verb, signal)
      if (changes === false && ['lun.create', 'pool.set'].includes(verb)) throw new LunarError('ERR_READ_ONLY', 'Cannot change the pool')
      return { generation: state.generation, data: (await answer(verb, params, signal)) as never, warnings: [] }
    },
    async openLun(name, lunOptions) {
      const lun = state.luns.find(known => known.name === name)
      if (!lun) throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find LUN ${name}`)
      return Promise.resolve<BlockDevice>(new Region(first.disk, lun.at, lun.size, lunOptions?.readOnly ?? false))
    },
    holdRelationship: name => Promise.reject(new LunarError('ERR_RELATIONSHIP_NOT_FOUND', `Cannot find relationship ${name}`)),
    startSchedules: () => undefined,
    awayDisks: () => [],
    onDisksChanged: undefined,
    hasWork: () => changes && state.work > 0,
    keepHistory: () => Promise.resolve(),
    async *followEvents() {
      // Nothing happens here.
    },
    measure: into => Promise.resolve(into.gauge('pool_healthy', 'Always.', { pool: 'tank' }, 1)),
    async settled(signal) {
      if (state.work === 0) return
      await new Promise<void>(resolve => {
        waiters.add(resolve)
        signal?.addEventListener('abort', () => resolve(), { once: true })
      })
    },
    presented: nothingPresented,
    stillCurrent: async () => Promise.resolve(hooks.current?.() ?? true),
    async close() {
      stopped = true
      await stepping
      if (changes) await first.disk.flush()
      hooks.closed?.()
    },
  }
}

/** A label as the fake engine writes it; what matters to a test is given. */
export function makeLabel(size: number, given: Partial<Label>): Label {
  const layout = diskLayout(size, false)
  return {
    version: FORMAT_VERSION,
    featuresCompatible: 0,
    featuresReadOnly: 0,
    featuresIncompatible: 0,
    generation: 1,
    poolId: randomUuid(),
    diskId: randomUuid(),
    poolName: 'tank',
    domain: '',
    diskNumber: 0,
    ldad: 0,
    redundancySet: 0,
    redundancyIndex: 0,
    flags: 0,
    state: 0,
    size,
    segmentSize: SEGMENT,
    sliceSize: MIB,
    journalRoom: layout.journalRoom,
    ownersAt: JOURNAL_AT + layout.journalRoom,
    segmentsAt: layout.segmentsAt,
    segmentCount: layout.segmentCount,
    createdMs: 0,
    ...given,
  }
}
