import { LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { Params, Reply, Result } from './api.ts'
import { contend } from './acquire.ts'
import { engineModule } from './engine-module.ts'
import { lookUp } from './lookup.ts'
import type { LockedPool } from './owner.ts'
import { clearRecords } from './ownership.ts'
import { Registry, type KnownPool } from './registry.ts'
import { openKnown, type FoundPool } from './scan.ts'
import { viewOptions } from './view-service.ts'
import { Moved } from './wire.ts'

export interface EndParams {
  readonly name?: string
  readonly dryRun?: boolean
  readonly command: string
  /** Asks to stop waiting for the owner. */
  readonly signal?: AbortSignal
}

/** Has the owner flush, close and leave, then forgets where the pool is. Its disks can then be taken away. */
export async function exportPool(params: EndParams): Promise<Reply<{ name: string; disks: string[] }>> {
  const known = lookUp(params.name)
  const paths = await closed(known, params).catch((error: unknown) => {
    if (error instanceof LunarError && noDisk.includes(error.code)) return [] // its disks are gone already: only the memory is left
    throw error
  })
  if (!params.dryRun) new Registry().forget(known.id)
  return { generation: 0, data: { name: known.name, disks: paths }, warnings: [] }
}

/** What opening says when none of the files is a disk of the pool any more. */
const noDisk: readonly string[] = ['ERR_POOL_NOT_FOUND', 'ERR_NOT_A_DISK', 'ERR_LABEL_DAMAGED', 'ERR_TRUNCATED']

async function closed(known: KnownPool, params: EndParams): Promise<string[]> {
  await using open = new ResourceStack()
  if (params.dryRun) return (await openKnown(known, 'read', open)).disks.map(({ disk }) => disk.name)
  const alone = await takeAlone(known, params)
  open.use(alone.open)
  await clearRecords(alone.pool.disks)
  return alone.pool.disks.map(({ disk }) => disk.name)
}

/** Writes zeros over what makes the disks a pool, and deletes the files of its write-once devices. Only the one who holds every lock does that. */
export async function destroyPool(params: EndParams & { name: string; force?: boolean }): Promise<Reply<Result<'pool.destroy'>>> {
  const known = lookUp(params.name)
  await using open = new ResourceStack()
  if (params.dryRun) return await look(await openKnown(known, 'read', open), params)
  const alone = await takeAlone(known, params)
  open.use(alone.open)
  const reply = await look(alone.pool, params)
  const { wipePool, removeDeviceFiles } = await engineModule()
  await wipePool(alone.pool.disks)
  await clearRecords(alone.pool.disks)
  new Registry().forget(known.id)
  const stays = await removeDeviceFiles(reply.data.files, known.id)
  return { ...reply, warnings: [...reply.warnings, ...stays] }
}

/** What would go, and whether it may. A pool that cannot be opened goes only with `force`. */
async function look(pool: FoundPool, params: EndParams & { force?: boolean }): Promise<Reply<Result<'pool.destroy'>>> {
  const { openEngine } = await engineModule()
  const asked: Params<'pool.destroy'> = { dryRun: true, ...(params.force ? { force: true } : {}) }
  const away = pool.missing.map(({ path }) => `${path} is not here and keeps its label`)
  try {
    const engine = await openEngine(pool.disks, { ...viewOptions(params), missing: pool.missing })
    try {
      const reply = await engine.call('pool.destroy', asked)
      return { ...reply, warnings: [...reply.warnings, ...away] }
    } finally {
      await engine.close()
    }
  } catch (error) {
    if (!params.force || !(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
    const warning = `the pool could not be opened, so its LUNs are not listed, and files of write-once devices stay: ${error.why}`
    return { generation: 0, data: { name: pool.name, disks: pool.disks.map(({ disk }) => disk.name), luns: [], files: [] }, warnings: [warning, ...away] }
  }
}

/** Takes every lock; an owner that runs is asked to close. @throws LunarError `ERR_BUSY`, naming who uses the pool */
function takeAlone(known: KnownPool, { command, signal }: EndParams): Promise<{ pool: LockedPool; open: ResourceStack }> {
  return contend<{ pool: LockedPool; open: ResourceStack }>(
    () => known,
    { mode: 'owner', command, forceNonlocal: true, ...(signal ? { signal } : {}) },
    {
      free: (pool, open) => Promise.resolve({ pool, open }),
      answered: async client => {
        try {
          await client.call('pool.close', {}, signal)
        } catch (error) {
          if (!(error instanceof Moved)) throw error // it leaves anyway
        } finally {
          client.close()
        }
        return undefined
      },
    },
  )
}
