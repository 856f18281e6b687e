import { basename } from 'node:path'
import { openService } from '../core/server/front.ts'
import { Asker } from './asker.ts'
import { Pool } from './pool.ts'

export interface OpenPoolOptions {
  /** Files and folders to look for the disks in; where they were last seen when left out. */
  readonly paths?: readonly string[]
  /** `owner` (when left out) asks the process that owns the pool, or becomes it. `view` reads metadata beside any owner, changes nothing and serves no LUN. */
  readonly mode?: 'owner' | 'view'
  readonly readOnly?: boolean
  /** Opens with half of the quorum disks or fewer: what the missing ones hold may be newer, and is given up. */
  readonly forceQuorum?: boolean
  /** The disk whose side of a split pool is taken: number, id or path. */
  readonly choose?: string
  /** Uses images on a network file system. */
  readonly forceNonlocal?: boolean
  /** What others read who find the pool locked; the name of the program when left out. */
  readonly command?: string
  /** Is told each warning once. */
  readonly onWarning?: (warning: string) => void
}

const open = new Set<Pool>()

/** The pools that this process has open, in the order in which it opened them. */
export const openPools = (): readonly Pool[] => [...open]

/** What is written into the lock record. */
export const programName = (): string => `node ${basename(process.argv[1] ?? '')}`.trimEnd()

/**
 * Opens a pool by name, by id, or the only one known; `await using` closes it.
 *
 * @throws LunarError `ERR_POOL_NOT_FOUND`, `ERR_POOL_AMBIGUOUS`, `ERR_LOCKED`, `ERR_QUORUM_LOST`, `ERR_SPLIT_BRAIN`, `ERR_FORMAT_NEWER`
 */
export async function openPool(name?: string, options: OpenPoolOptions = {}): Promise<Pool> {
  const { onWarning, mode = 'owner', command = programName(), ...rest } = options
  const service = await openService(name, { ...rest, mode, command })
  try {
    const asker = new Asker(service, onWarning)
    const { id } = await asker.ask('pool.list', {})
    const pool = new Pool(asker, id, closed => open.delete(closed))
    open.add(pool)
    return pool
  } catch (error) {
    await service.close()
    throw error
  }
}
