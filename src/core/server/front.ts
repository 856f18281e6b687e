/** The front door: what commands and the library call to make, find, open and end pools. */
import { LunarError } from '../base/errors.ts'
import type { OpenOptions, PoolService, PoolSummary, Reply } from './api.ts'
import type { CreatePoolParams } from './create-pool.ts'
import type { ImportParams } from './import-pools.ts'
import { lookUp } from './lookup.ts'
import { Registry, type KnownPool } from './registry.ts'
import { noSummary, toSummary } from './summary.ts'
import { ViewService } from './view-service.ts'

export type { CreatePoolParams, ImportParams }

// What a command that only looks does not need is loaded when it is called.

export const createPool: typeof import('./create-pool.ts').createPool = async params => (await import('./create-pool.ts')).createPool(params)
export const importPools: typeof import('./import-pools.ts').importPools = async params => (await import('./import-pools.ts')).importPools(params)
export const exportPool: typeof import('./end-pool.ts').exportPool = async params => (await import('./end-pool.ts')).exportPool(params)
export const destroyPool: typeof import('./end-pool.ts').destroyPool = async params => (await import('./end-pool.ts')).destroyPool(params)

export const startServer: typeof import('./serve.ts').Server.start = async options => (await import('./serve.ts')).Server.start(options)
export const stopServer: typeof import('./serve.ts').stopServer = async (...params) => (await import('./serve.ts')).stopServer(...params)

/**
 * Opens a pool by name, by id, or the only one known or found in `paths`. `view` reads metadata beside any owner; `owner` asks the process
 * that owns the pool, or becomes it.
 */
export async function openService(pool: string | undefined, options: OpenOptions): Promise<PoolService> {
  const found = options.paths ? await (await import('./import-pools.ts')).findPoolAt(options.paths, pool) : lookUp(pool)
  const known = (): KnownPool => (options.paths ? newestOf(found) : lookUp(found.id))
  if (options.mode === 'view') return ViewService.open(known, options)
  const { OwnerService } = await import('./owner-service.ts')
  return OwnerService.open(known, options)
}

/** Disks may have joined since the pool was found; the registry knows, if it means the same files. */
function newestOf(found: KnownPool): KnownPool {
  const known = new Registry().get(found.id)
  return known && found.disks.every(({ path }) => known.disks.some(disk => disk.path === path)) ? known : found
}

/** All known pools, also those that cannot be opened now. */
export async function listPools(): Promise<Reply<(PoolSummary & { problem: string | null })[]>> {
  const pools = await Promise.all(new Registry().list().map(known => summary(known.id, known.name, known.disks.length)))
  return { generation: 0, data: pools, warnings: [] }
}

async function summary(id: string, name: string, disks: number): Promise<PoolSummary & { problem: string | null }> {
  try {
    await using service = await openService(id, { mode: 'view', command: 'pool list' })
    const { data } = await service.call('pool.show', {})
    return { ...toSummary(data), problem: null }
  } catch (error) {
    if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
    return { ...noSummary(id, name, disks), problem: `${error.code}: ${error.why}` }
  }
}
