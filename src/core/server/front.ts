/** The front door: what commands and the library call to make, find, open and end pools. */
import { LunarError } from '../base/errors.ts'
import type { OpenOptions, PoolService, PoolSummary, Reply } from './api.ts'
import { findPoolAt } from './import-pools.ts'
import { lookUp } from './lookup.ts'
import { Registry, type KnownPool } from './registry.ts'
import { noSummary, toSummary } from './summary.ts'
import { ViewService } from './view-service.ts'

export { createPool, type CreatePoolParams } from './create-pool.ts'
export { importPools, type ImportParams } from './import-pools.ts'
export { destroyPool, exportPool } from './end-pool.ts'

/**
 * Opens a pool by name, by id, or the only one known or found in `paths`. `view` reads metadata beside any owner; `owner` asks the process
 * that owns the pool, or becomes it.
 */
export async function openService(pool: string | undefined, options: OpenOptions): Promise<PoolService> {
  const found = options.paths ? await findPoolAt(options.paths, pool) : lookUp(pool)
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
