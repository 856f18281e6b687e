import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { WITNESS_SIZE_MIN } from '../../metadata/layout.ts'
import { errnoOf, LunarError } from '../base/errors.ts'
import type { ResourceStack } from '../base/resources.ts'
import { hostError } from '../block/host.ts'
import { mapBounded } from './bounded.ts'
import { probe, type Labelled, type Unusable } from './probe.ts'

const OPEN_AT_ONCE = 16
/** Files looked at in one folder, folders looked into: a wrong path must not read a whole host. */
const FILES_MAX = 4096
const FOLDERS_MAX = 64

export interface FolderFinds {
  readonly results: readonly (Labelled | Unusable)[]
  /** The first file that is large enough for a disk and that we may not read. */
  readonly unreadable: LunarError | undefined
}

/** Reads the labels of what lies in the folders, except the paths in `skip`. A symlink to a file that was found anyway is no duplicate. */
export async function lookInFolders(folders: readonly string[], skip: ReadonlySet<string>, open: ResourceStack): Promise<FolderFinds> {
  const listed = await mapBounded(folders.slice(0, FOLDERS_MAX), OPEN_AT_ONCE, listFolder)
  const entries = listed.flat().filter(entry => !skip.has(entry.path))
  let unreadable: LunarError | undefined
  const look = async (links: boolean): Promise<(Labelled | Unusable)[]> => {
    const wanted = entries.filter(entry => entry.link === links)
    const looks = await mapBounded(wanted, OPEN_AT_ONCE, entry => probeEntry(entry.path, open))
    return looks.flatMap(result => {
      if (!(result instanceof LunarError)) return result ? [result] : []
      unreadable ??= result
      return []
    })
  }
  const results = await look(false)
  const seen = new Set(results.flatMap(result => (result.kind === 'label' ? [result.disk.identity] : [])))
  for (const result of await look(true)) {
    if (result.kind !== 'label') continue
    if (seen.has(result.disk.identity)) await result.disk.close()
    else results.push(result)
    seen.add(result.disk.identity)
  }
  return { results, unreadable }
}

interface FolderEntry {
  readonly path: string
  readonly link: boolean
}

async function listFolder(folder: string): Promise<FolderEntry[]> {
  let entries: Dirent[]
  try {
    entries = await readdir(folder, { withFileTypes: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw hostError(`Cannot look into ${folder}`, error)
  }
  const disks = entries.filter(entry => entry.isFile() || entry.isBlockDevice() || entry.isSymbolicLink())
  disks.sort((a, b) => (a.name < b.name ? -1 : 1))
  return disks.slice(0, FILES_MAX).map(entry => ({ path: join(folder, entry.name), link: entry.isSymbolicLink() }))
}

/** @returns undefined for what cannot be a disk, the error for what may be one and cannot be read */
async function probeEntry(path: string, open: ResourceStack): Promise<Labelled | Unusable | LunarError | undefined> {
  try {
    const stats = await stat(path)
    if (!stats.isBlockDevice() && (!stats.isFile() || stats.size === 0)) return undefined
    try {
      return await probe(path, 'read', open)
    } catch (error) {
      const errno = error instanceof LunarError ? errnoOf(error.cause) : undefined
      if (errno !== 'EACCES' && errno !== 'EPERM') throw error
      return stats.isBlockDevice() || stats.size < WITNESS_SIZE_MIN ? undefined : (error as LunarError)
    }
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ELOOP' || errno === 'EACCES') return undefined // gone meanwhile, or a symlink to nowhere
    throw error instanceof LunarError ? error : hostError(`Cannot look at ${path}`, error)
  }
}
