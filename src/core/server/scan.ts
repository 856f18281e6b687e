/**
 * From files and folders to pools, by label. Paths never decide: disks are found renamed, in another order, and a copy
 * of a disk is refused by name (faults F16, F17, F28, F30).
 */
import { stat } from 'node:fs/promises'
import type { Label } from '../../metadata/label.ts'
import { LunarError } from '../base/errors.ts'
import type { ResourceStack } from '../base/resources.ts'
import { hostError } from '../block/host.ts'
import { isNbdUri } from '../nbd/uri.ts'
import { mapBounded } from './bounded.ts'
import type { MissingDisk } from './engine-types.ts'
import { lookInFolders } from './folder-scan.ts'
import { absolutePlace } from './host-disk.ts'
import type { OwnedDisk } from './ownership.ts'
import { foldersOf, probe, type Access, type Labelled, type Unusable } from './probe.ts'
import type { KnownPool } from './registry.ts'

/** Opens under way at the same time. */
const OPEN_AT_ONCE = 16

export interface FoundPool {
  readonly id: string
  readonly name: string
  readonly disks: readonly OwnedDisk[]
  readonly missing: readonly MissingDisk[]
}

export interface ScannedPool extends FoundPool {
  /** Why the pool cannot be opened from these files. */
  readonly problem: LunarError | null
  /** A file that may be a disk and could not be read: a pool with a missing disk must not be opened past it (hazard 33). */
  readonly unreadable: LunarError | null
}

/** The disks of a pool that the registry knows: where they were last seen, else beside each other. */
export async function openKnown(known: KnownPool, access: Access, open: ResourceStack): Promise<FoundPool> {
  const probes = await mapBounded(known.disks, OPEN_AT_ONCE, disk => probe(disk.path, access, open))
  const found: Labelled[] = []
  let missing: MissingDisk[] = []
  let reason: LunarError | undefined
  for (const [index, result] of probes.entries()) {
    const knownId = known.disks[index]?.id
    if (result.kind === 'label' && result.label.poolId === known.id) {
      found.push(result)
      continue
    }
    if (result.kind === 'newer' && (!result.label || result.label.poolId === known.id)) throw result.error
    if (result.kind !== 'label' && result.kind !== 'absent') reason ??= result.error
    missing.push(
      missingDisk(result.path, result.kind === 'label' ? 'it holds a disk of another pool now' : result.error.why, labelId(result, known.id) ?? knownId),
    )
  }
  if (missing.length > 0) {
    const beside = await lookBeside(known, access, open, found)
    found.push(...beside.disks)
    const ids = new Set(found.map(({ label }) => label.diskId))
    missing = found.length < known.disks.length ? missing.filter(disk => disk.diskId === undefined || !ids.has(disk.diskId)) : []
    if (missing.length > 0 && beside.unreadable) throw beside.unreadable
  }
  const duplicate = findDuplicate(found)
  if (duplicate) throw duplicate
  if (found.length === 0) throw reason ?? noDiskFound(known)
  return { id: known.id, name: nameOf(found), disks: found.map(({ disk, label }) => ({ disk, label })), missing }
}

const labelId = (result: Labelled | Unusable, poolId: string): string | undefined =>
  result.kind !== 'label' && result.label?.poolId === poolId ? result.label.diskId : undefined

const missingDisk = (path: string, reason: string, diskId?: string): MissingDisk => ({ path, reason, ...(diskId === undefined ? {} : { diskId }) })

/** Disks of the pool that lie under another name in the folders of the known ones, and what could not be read there. */
async function lookBeside(
  known: KnownPool,
  access: Access,
  open: ResourceStack,
  found: readonly Labelled[],
): Promise<{ disks: Labelled[]; unreadable: LunarError | undefined }> {
  // What is known at a URI is reached by its server only: a file with its label, should this host have it, is the server's.
  const have = new Set([...found.map(({ label }) => label.diskId), ...known.disks.filter(disk => isNbdUri(disk.path)).map(disk => disk.id)])
  const beside = await lookInFolders(foldersOf(known.disks.map(disk => disk.path)), new Set(known.disks.map(disk => disk.path)), open)
  const newer = beside.results.find(result => result.kind === 'newer' && result.label?.poolId === known.id)
  if (newer?.kind === 'newer') throw newer.error
  const disks = await keep(beside.results, access, open, label => label.poolId === known.id && !have.has(label.diskId))
  return { disks, unreadable: beside.unreadable }
}

/** One disk by its id: at `path`, else beside the other disks of the pool. Undefined when it is nowhere. */
export async function findDisk(known: KnownPool, diskId: string, path: string | undefined, open: ResourceStack): Promise<Labelled | undefined> {
  const isIt = (label: Label): boolean => label.poolId === known.id && label.diskId === diskId
  if (path !== undefined) {
    const result = await probe(path, 'write', open)
    if (result.kind !== 'label') throw result.error
    if (isIt(result.label)) return result
    await result.disk.close()
    throw new LunarError('ERR_DISK_NOT_FOUND', `Cannot use ${path}`, {
      why: `it is disk ${result.label.diskId} of pool ${result.label.poolName}, not disk ${diskId} of pool ${known.name}`,
    })
  }
  const likely = known.disks.filter(disk => disk.id === undefined || disk.id === diskId).map(disk => disk.path)
  const last = await keep(await mapBounded(likely, OPEN_AT_ONCE, candidate => probe(candidate, 'read', open)), 'write', open, isIt)
  if (last[0] || likely.some(isNbdUri)) return last[0]
  const beside = await lookInFolders(foldersOf(known.disks.map(disk => disk.path)), new Set(likely), open)
  const matches = await keep(beside.results, 'write', open, isIt)
  const duplicate = findDuplicate(matches)
  if (duplicate) throw duplicate
  return matches[0]
}

/** Closes all but the disks that are `wanted`; those are opened again when more than reading is wanted. */
async function keep(results: readonly (Labelled | Unusable)[], access: Access, open: ResourceStack, wanted: (label: Label) => boolean): Promise<Labelled[]> {
  const kept: Labelled[] = []
  for (const result of results) {
    if (result.kind !== 'label') continue
    if (wanted(result.label) && access === 'read') {
      kept.push(result)
      continue
    }
    await result.disk.close()
    const again = wanted(result.label) ? await probe(result.path, access, open) : undefined
    if (again?.kind !== 'label') continue
    if (wanted(again.label)) kept.push(again)
    else await again.disk.close()
  }
  return kept
}

/** Every pool whose disks are among `paths`, files and folders. What an operator named must be a disk; what merely lies in a folder need not. */
export async function scanPaths(paths: readonly string[], open: ResourceStack): Promise<ScannedPool[]> {
  const { files, folders } = await sortPaths(paths)
  const named = await mapBounded(files, OPEN_AT_ONCE, file => probe(file, 'read', open))
  const lying = await lookInFolders(folders, new Set(files), open)
  const found = [...named, ...lying.results].filter(result => result.kind === 'label')
  const unusable = [...named, ...lying.results.filter(result => result.kind !== 'foreign' && result.kind !== 'empty')].filter(result => result.kind !== 'label')
  const ids = [...new Set(found.map(({ label }) => label.poolId))]
  const pools = ids.map(id => ({ ...scannedPool(id, found, unusable, ids.length === 1), unreadable: lying.unreadable ?? null }))
  const stray = unusable.find(result => named.includes(result) && !belongsSomewhere(result, ids))
  if (stray) throw stray.error
  if (pools.length === 0) throw lying.unreadable ?? unusable[0]?.error ?? nothingFound(paths)
  return pools
}

function scannedPool(id: string, found: readonly Labelled[], unusable: readonly Unusable[], only: boolean): Omit<ScannedPool, 'unreadable'> {
  const mine = found.filter(({ label }) => label.poolId === id)
  const broken = unusable.filter(result => result.label?.poolId === id || (only && !result.label && result.kind === 'damaged'))
  const newer = broken.find(result => result.kind === 'newer')
  return {
    id,
    name: nameOf(mine),
    disks: mine.map(({ disk, label }) => ({ disk, label })),
    missing: broken.map(result => missingDisk(result.path, result.error.why, result.label?.diskId)),
    problem: findDuplicate(mine) ?? newer?.error ?? null,
  }
}

/** A damaged disk can be counted to a pool when there is just one; a foreign file never. */
const belongsSomewhere = (result: Unusable, ids: readonly string[]): boolean =>
  result.label ? ids.includes(result.label.poolId) : result.kind === 'damaged' && ids.length === 1

/** The name on the newest label. */
const nameOf = (disks: readonly Labelled[]): string => disks.reduce((a, b) => (b.label.generation > a.label.generation ? b : a)).label.poolName

/** @returns the error when two of the files are one, or carry the label of one disk */
export function findDuplicate(disks: readonly Labelled[]): LunarError | undefined {
  const byIdentity = new Map<string, Labelled>()
  const byId = new Map<string, Labelled>()
  for (const disk of disks) {
    const same = byIdentity.get(disk.disk.identity)
    if (same) return duplicateError(same.path, disk.path, `they are one ${isNbdUri(disk.path) ? 'export' : 'file'}`)
    const copy = byId.get(disk.label.diskId)
    if (copy)
      return duplicateError(copy.path, disk.path, `both carry the label of disk ${disk.label.diskNumber} (${disk.label.diskId}) of pool ${disk.label.poolName}`)
    byIdentity.set(disk.disk.identity, disk)
    byId.set(disk.label.diskId, disk)
  }
  return undefined
}

export const duplicateError = (a: string, b: string, why: string): LunarError =>
  new LunarError('ERR_DUPLICATE_DISK', `Cannot use ${a} and ${b} together`, { why })

async function sortPaths(paths: readonly string[]): Promise<{ files: string[]; folders: string[] }> {
  const files: string[] = []
  const folders: string[] = []
  for (const path of paths.map(absolutePlace)) {
    const isFolder = !isNbdUri(path) && (await isDirectory(path))
    if (!isFolder && files.includes(path)) throw duplicateError(path, path, 'it is given twice')
    ;(isFolder ? folders : files).push(path)
  }
  return { files, folders: [...new Set(folders)] }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    throw hostError(`Cannot look at ${path}`, error)
  }
}

const noDiskFound = (known: KnownPool): LunarError =>
  new LunarError('ERR_POOL_NOT_FOUND', `Cannot find the disks of pool ${known.name}`, {
    why: `none is where it was last seen: ${known.disks.map(disk => disk.path).join(', ')}`,
  })

const nothingFound = (paths: readonly string[]): LunarError =>
  new LunarError('ERR_POOL_NOT_FOUND', `Cannot find a pool in ${paths.join(', ')}`, { why: 'no file there carries a Lunar label' })
