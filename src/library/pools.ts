/** What makes, finds and ends pools: the same functions that the commands call. */
import { errorTable, type ErrorCode, type ErrorEntry } from '../core/base/error-table.ts'
import type { PoolDetail, PoolSummary, Reply, Result } from '../core/server/api.ts'
import * as front from '../core/server/front.ts'
import type { ImportedPool } from '../core/server/import-pools.ts'
import { programName } from './open-pool.ts'

export type NewPool = Omit<front.CreatePoolParams, 'command'>
export type ImportPoolsOptions = Omit<front.ImportParams, 'command' | 'paths'>

const command = (): { command: string } => ({ command: programName() })

/** Makes a pool of new, empty or (with `overwrite`) any files and devices. When it fails, the host is as it was. @throws LunarError `ERR_EXISTS`, `ERR_DISK_IN_USE`, `ERR_NOT_EMPTY`, `ERR_DISK_TOO_SMALL` */
export function createPool(spec: NewPool): Promise<Reply<PoolDetail>> {
  return front.createPool({ ...spec, ...command() })
}

/** All known pools; `problem` says why one cannot be opened now. */
export function listPools(): Promise<Reply<(PoolSummary & { problem: string | null })[]>> {
  return front.listPools()
}

/** Finds pools in files and folders and remembers where they are. */
export function importPools(paths: readonly string[], options: ImportPoolsOptions = {}): Promise<Reply<ImportedPool[]>> {
  return front.importPools({ ...options, paths, ...command() })
}

/** Has the owner flush, close and leave, and forgets where the pool is. @throws LunarError `ERR_BUSY`, naming who uses it */
export function exportPool(name: string, options: { readonly dryRun?: boolean } = {}): Promise<Reply<{ name: string; disks: string[] }>> {
  return front.exportPool({ ...options, name, ...command() })
}

/** Writes zeros over what makes the disks a pool, without a question. @throws LunarError `ERR_BUSY`, naming who uses it */
export function destroyPool(name: string, options: { readonly dryRun?: boolean; readonly force?: boolean } = {}): Promise<Reply<Result<'pool.destroy'>>> {
  return front.destroyPool({ ...options, name, ...command() })
}

/** What a code means, the exit status of a command that fails with it, and what to do next. */
export const explainError = (code: ErrorCode): ErrorEntry => errorTable[code]
