import { readLabel } from '../../metadata/label.ts'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { checkName } from '../base/names.ts'
import { ResourceStack } from '../base/resources.ts'
import type { DiskSpec, PoolDetail, Reply } from './api.ts'
import { mapBounded } from './bounded.ts'
import { makeDisk, requireDistinct, type MadeDisk } from './disk-maker.ts'
import { engineModule } from './engine-module.ts'
import type { FormatDisk, FoundDisk } from './engine-types.ts'
import { whoAmI, withHistory } from './history.ts'
import { absolutePlace } from './host-disk.ts'
import { Owner } from './owner.ts'
import { leaveOwner } from './owner-service.ts'
import { newRecord, takeLock, type OwnedDisk } from './ownership.ts'
import { probe } from './probe.ts'
import { Registry } from './registry.ts'
import { openKnown } from './scan.ts'

export interface CreatePoolParams {
  readonly name: string
  readonly disks: readonly DiskSpec[]
  readonly witness?: readonly DiskSpec[]
  readonly overwrite?: boolean
  readonly dryRun?: boolean
  readonly command: string
  readonly forceNonlocal?: boolean
}

interface Made extends FormatDisk {
  readonly disk: MadeDisk['disk']
  readonly was?: string
  undo(): Promise<void>
}

const MAKE_AT_ONCE = 16

/** Makes a pool of new, empty or (with `overwrite`) any files and devices. When it fails, the host is as it was. */
export async function createPool(params: CreatePoolParams): Promise<Reply<PoolDetail>> {
  checkName('pool', params.name)
  const specs = [...params.disks.map(spec => ({ spec, witness: false })), ...(params.witness ?? []).map(spec => ({ spec, witness: true }))]
  if (params.disks.length === 0) throw new LunarError('ERR_TOO_FEW_DISKS', `Cannot create pool ${params.name}`, { why: 'a pool needs at least one disk' })
  const paths = specs.map(({ spec }) => absolutePlace(spec.path))
  await requireDistinct(paths)
  await requireNewName(params, paths)
  const made: Made[] = []
  const record = newRecord({ command: params.command })
  const open = new ResourceStack()
  try {
    await mapBounded(specs, MAKE_AT_ONCE, async ({ spec, witness }) => {
      const options = { overwrite: params.overwrite ?? false, dryRun: params.dryRun ?? false, witness, forceNonlocal: params.forceNonlocal ?? false, record }
      made.push({ ...(await makeDisk(spec, options, open)), witness, ...(spec.domain === undefined ? {} : { domain: spec.domain }) })
    })
    made.sort((a, b) => paths.indexOf(a.disk.name) - paths.indexOf(b.disk.name))
    return await format(params, made, record, open)
  } catch (error) {
    await open.close()
    if (!params.dryRun) await undoAll(made)
    throw error
  }
}

async function format(params: CreatePoolParams, made: readonly Made[], record: LockRecord, open: ResourceStack): Promise<Reply<PoolDetail>> {
  const { formatPool, openEngine } = await engineModule()
  const { poolId } = await formatPool(made, { name: params.name })
  const disks = await Promise.all(made.map(async ({ disk }) => ({ disk, label: await labelOf(disk) })))
  if (params.dryRun) {
    const engine = open.use(await openEngine(disks, { mode: 'owner', command: params.command, missing: [], opener: noOpener }))
    const reply = await engine.call('pool.show', {})
    await open.close()
    return reply
  }
  const options = { mode: 'owner', command: params.command, forceNonlocal: params.forceNonlocal ?? false } as const
  const pool = { id: poolId, name: params.name, disks: disks as OwnedDisk[], missing: [], record }
  const owner = await Owner.start(
    pool,
    { kind: 'command', readOnly: false, forceQuorum: false, command: options.command, forceNonlocal: options.forceNonlocal },
    open,
  )
  let reply: Reply<PoolDetail>
  try {
    const { command, ...rest } = params
    const engine = await owner.engine
    reply = await withHistory(engine, { ...whoAmI(), command }, 'pool.create', rest, () => owner.call('pool.show', {}))
  } finally {
    await leaveOwner(owner, options)
  }
  return { ...reply, warnings: [...reply.warnings, ...remember(poolId, params.name, disks)] }
}

/** The registry is only a memory: a pool that cannot be remembered is still made. */
function remember(id: string, name: string, disks: readonly FoundDisk[]): string[] {
  try {
    new Registry().remember({ id, name, disks: disks.map(({ disk, label }) => ({ path: disk.name, id: label.diskId })) })
    return []
  } catch (error) {
    if (!(error instanceof LunarError)) throw error
    return [`${error.message}: ${error.why}; find the pool again with: lunar pool import`]
  }
}

async function labelOf(disk: MadeDisk['disk']): Promise<FoundDisk['label']> {
  const report = await readLabel(disk)
  if (report.kind !== 'label')
    throw new LunarError('ERR_IO', `Cannot use ${disk.name} as a disk`, { why: 'the label that was just written does not read back' })
  return report.label
}

/** Files made here go again; on others the labels of the pool that did not come to be are wiped. */
async function undoAll(made: readonly Made[]): Promise<void> {
  for (const { disk, was, undo } of made) {
    try {
      await wipe(disk.name, was)
      await undo()
    } catch (error) {
      process.emitWarning(`${disk.name} could not be cleaned up: ${error instanceof Error ? error.message : String(error)}`, 'LunarWarning')
    }
  }
}

/** Only a label that was written here goes: a disk that was to be overwritten and was not yet still has its old one. */
async function wipe(path: string, was: string | undefined): Promise<void> {
  await using open = new ResourceStack()
  const found = await probe(path, 'write', open)
  if (found.kind !== 'label' || found.label.poolId === was) return
  const record = newRecord({ command: 'pool create' })
  if (await takeLock(found.disk, found.label.diskId, { record }, open)) await (await engineModule()).wipePool([found])
}

/** A name is taken while a disk of the pool that has it can be found, and is not one that shall be overwritten. */
async function requireNewName(params: CreatePoolParams, paths: readonly string[]): Promise<void> {
  const registry = new Registry()
  for (const known of registry.list().filter(pool => pool.name === params.name)) {
    await using open = new ResourceStack()
    try {
      const { disks } = await openKnown(known, 'read', open)
      if (!params.overwrite || disks.some(({ disk }) => !paths.includes(disk.name))) {
        throw new LunarError('ERR_EXISTS', `Cannot create pool ${params.name}`, { why: `a pool of this name is on ${disks[0]?.disk.name ?? 'other disks'}` })
      }
    } catch (error) {
      if (!isCode(error, 'ERR_POOL_NOT_FOUND')) throw error
    }
    if (!params.dryRun) registry.forget(known.id)
  }
}

const refuse = (): Promise<never> => Promise.reject(new LunarError('ERR_READ_ONLY', 'Cannot add disks in a dry run'))
const noOpener = { requireDistinct: refuse, create: refuse, find: refuse, release: refuse, remember: () => Promise.resolve() }
