import { LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { OpenOptions, PoolSummary, Reply } from './api.ts'
import { noSummary, toSummary } from './summary.ts'
import { probe } from './probe.ts'
import { Registry, type KnownPool } from './registry.ts'
import { duplicateError, scanPaths, type ScannedPool } from './scan.ts'
import { ViewService } from './view-service.ts'

export interface ImportParams {
  readonly paths: readonly string[]
  readonly name?: string
  readonly readOnly?: boolean
  readonly forceQuorum?: boolean
  readonly choose?: string
  readonly forceHost?: boolean
  readonly command: string
  readonly dryRun?: boolean
  /** Asks to stop waiting for the owner. */
  readonly signal?: AbortSignal
}

export type ImportedPool = PoolSummary & { paths: string[]; missing: number; problem: string | null }

/** Finds pools by the labels in files and folders and remembers where they are. One that cannot be opened is told, not remembered. */
export async function importPools(params: ImportParams): Promise<Reply<ImportedPool[]>> {
  const scanned = await scan(params.paths, params.name)
  const rows: ImportedPool[] = []
  const warnings: string[] = []
  for (const pool of scanned) {
    try {
      rows.push(await importOne(pool, params, warnings))
    } catch (error) {
      if (!(error instanceof LunarError) || scanned.length === 1) throw error
      rows.push({ ...noSummary(pool.id, pool.name, pool.paths.length), paths: pool.paths, missing: 0, problem: `${error.code}: ${error.why}` })
    }
  }
  return { generation: 0, data: rows, warnings }
}

/** What a scan found, its files closed again. */
interface Candidate extends Pick<ScannedPool, 'id' | 'name' | 'missing' | 'problem' | 'unreadable'> {
  readonly paths: string[]
  readonly known: KnownPool
}

async function scan(paths: readonly string[], name: string | undefined): Promise<Candidate[]> {
  await using open = new ResourceStack()
  const pools = await scanPaths(paths, open)
  const wanted = name === undefined ? pools : pools.filter(pool => pool.name === name || pool.id === name)
  if (wanted.length === 0) {
    throw new LunarError('ERR_POOL_NOT_FOUND', `Cannot find pool ${name ?? ''} in ${paths.join(', ')}`, {
      why: `found: ${pools.map(pool => pool.name).join(', ')}`,
    })
  }
  return wanted.map(({ id, name, disks, missing, problem, unreadable }) => {
    const away = missing.map(({ path, diskId }) => (diskId === undefined ? { path } : { path, id: diskId }))
    const known = { id, name, disks: [...disks.map(({ disk, label }) => ({ path: disk.name, id: label.diskId })), ...away] }
    return { id, name, missing, problem, unreadable, known, paths: disks.map(({ disk }) => disk.name) }
  })
}

/**
 * The one pool whose disks are among `paths`, as the registry would know it; changes nothing.
 *
 * @throws LunarError `ERR_POOL_NOT_FOUND`, `ERR_POOL_AMBIGUOUS` when there are several, `ERR_DUPLICATE_DISK` when the
 * pool is known at other paths too
 */
export async function findPoolAt(paths: readonly string[], name: string | undefined): Promise<KnownPool> {
  const [pool, another] = await scan(paths, name)
  if (!pool || another) {
    throw new LunarError('ERR_POOL_AMBIGUOUS', `Cannot tell which pool in ${paths.join(', ')} is meant`, {
      why: `found: ${[pool, another].map(found => `${found?.name} (${found?.id})`).join(', ')}`,
    })
  }
  if (pool.problem) throw pool.problem
  await requireNoOther(pool, new Registry().get(pool.id))
  return pool.known
}

async function importOne(pool: Candidate, params: ImportParams, warnings: string[]): Promise<ImportedPool> {
  if (pool.problem) throw pool.problem
  const registry = new Registry()
  await requireNoOther(pool, registry.get(pool.id))
  const writes = !params.readOnly && !params.dryRun && (params.choose !== undefined || params.forceQuorum === true || params.forceHost === true)
  if (writes) await openForWriting(pool.known, params)
  await using view = await ViewService.open(() => pool.known, { mode: 'view', command: params.command, ...decision(params) })
  const { data: detail } = await view.call('pool.show', {})
  const { data: disks } = await view.call('disk.list', {})
  const missing = disks.filter(disk => disk.state === 'missing').length
  if (missing > 0 && pool.unreadable) throw pool.unreadable
  for (const disk of pool.missing) warnings.push(`${disk.path} is left out: ${disk.reason}`)
  if (registry.list().some(other => other.name === pool.name && other.id !== pool.id)) {
    warnings.push(`another pool is named ${pool.name} too: name this one by its id, ${pool.id}`)
  }
  if (!params.dryRun) registry.remember(pool.known)
  return { ...toSummary(detail), paths: pool.paths, missing, problem: null }
}

/** Taking a side, or what is left, is decided once: by opening for writing, which begins a new epoch. */
async function openForWriting(known: KnownPool, params: ImportParams): Promise<void> {
  const { OwnerService } = await import('./owner-service.ts')
  await using service = await OwnerService.open(() => known, { mode: 'owner', command: params.command, ...decision(params) })
  await service.call('pool.list', {})
}

const decision = (params: ImportParams): Pick<OpenOptions, 'choose' | 'forceQuorum' | 'forceHost' | 'signal'> => ({
  ...(params.signal ? { signal: params.signal } : {}),
  ...(params.choose === undefined ? {} : { choose: params.choose }),
  ...(params.forceQuorum ? { forceQuorum: true } : {}),
  ...(params.forceHost ? { forceHost: true } : {}),
})

/** A pool that is still where it was known cannot be somewhere else too: one of the two is a copy (fault F16). */
async function requireNoOther(pool: Candidate, before: KnownPool | undefined): Promise<void> {
  if (!before) return
  await using open = new ResourceStack()
  const here = await Promise.all(pool.paths.map(path => probe(path, 'read', open)))
  for (const { path } of before.disks.filter(disk => !pool.paths.includes(disk.path))) {
    const there = await probe(path, 'read', open)
    if (there.kind !== 'label' || there.label.poolId !== pool.id) continue
    const copy = here.find(disk => disk.kind === 'label' && disk.label.diskId === there.label.diskId && disk.disk.identity !== there.disk.identity)
    if (copy) {
      const why = `both carry the label of disk ${there.label.diskNumber} of pool ${pool.name}, and the pool is known at the first`
      throw duplicateError(path, copy.path, why)
    }
  }
}
