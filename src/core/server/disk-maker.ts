import { constants } from 'node:fs'
import { open as openFile, stat, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { readLabel, type Label, type LabelReport } from '../../metadata/label.ts'
import { readAnyLockRecord, readLockRecord, type LockRecord } from '../../metadata/lock-record.ts'
import { BLOCK, DISK_SIZE_MIN, LOCK_RECORD_AT, ROOTS_AT, WITNESS_SIZE_MIN } from '../../metadata/layout.ts'
import { errnoOf, isCode, LunarError } from '../base/errors.ts'
import type { ResourceStack } from '../base/resources.ts'
import { formatSize } from '../base/units.ts'
import { randomUuid } from '../base/uuid.ts'
import { isZero } from '../base/zeros.ts'
import type { FileDisk } from '../block/file.ts'
import { hostError, isLocal } from '../block/host.ts'
import { isNbdUri } from '../nbd/uri.ts'
import type { DiskSpec } from './api.ts'
import type { CreateDiskOptions, NewDisk } from './engine-types.ts'
import { ScratchDisk } from './scratch-disk.ts'
import { describeRecord } from './holder.ts'
import { absolutePlace, identityOf, isFileDisk, type HostDisk } from './host-disk.ts'
import { letGo, takeLock } from './ownership.ts'
import { lifeOf } from './process-identity.ts'
import { duplicateError } from './scan.ts'

/** A disk for a pool, and how to leave the host as it was when the pool does not come to be. */
export interface MadeDisk extends NewDisk {
  readonly disk: HostDisk | ScratchDisk
  /** Id of the pool that the label of an overwritten disk names. */
  readonly was?: string
  /** Removes the file when it was made here, empties it again when it was empty. Call it after closing the disk. */
  undo(): Promise<void>
}

export interface MakeOptions extends CreateDiskOptions {
  readonly forceNonlocal: boolean
  /** Who locks what is made. */
  readonly record: LockRecord
}

const nothing = (): Promise<void> => Promise.resolve()

/**
 * Opens (or makes) the file or device that `spec` names and locks it. Nothing that is there is touched: it must be
 * empty, or `overwrite` allows it to be destroyed. A dry run checks the same and gives a disk in memory.
 */
export async function makeDisk(spec: DiskSpec, options: MakeOptions, open: ResourceStack): Promise<MadeDisk> {
  if (isNbdUri(spec.path)) return takeExisting(absolutePlace(spec.path), options, open)
  const path = resolve(spec.path)
  const stats = await stat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw hostError(`Cannot use ${path} as a disk`, error)
  })
  await requireLocal(stats ? path : dirname(path), options.forceNonlocal)
  if (stats && !(stats.isFile() && stats.size === 0)) return takeExisting(path, options, open)
  if (spec.size === undefined) {
    throw stats
      ? new LunarError('ERR_DISK_TOO_SMALL', `Cannot use ${path} as a disk`, {
          why: 'the file is empty and no size is given',
          fix: 'say how large it shall be: --size 10G',
        })
      : new LunarError('ERR_FILE_NOT_FOUND', `Cannot use ${path} as a disk`, {
          why: 'the file does not exist and no size is given',
          fix: 'say how large it shall be: --size 10G',
        })
  }
  requireSize(path, spec.size, options.witness)
  if (options.dryRun) return { disk: open.use(new ScratchDisk(path, spec.size)), blank: true, undo: nothing }
  return stats ? growEmpty(path, spec.size, open) : makeNew(path, spec.size, open)
}

/** @throws LunarError `ERR_DUPLICATE_DISK` when a file, device or export is given twice, under whatever path, device node or URI */
export async function requireDistinct(paths: readonly string[]): Promise<void> {
  const seen = new Map<string, string>()
  for (const path of paths.map(absolutePlace)) {
    const identity = (await identityOf(path)) ?? path
    const other = seen.get(identity)
    const what = isNbdUri(path) ? 'export' : identity.startsWith('block:') ? 'device' : 'file'
    if (other !== undefined) throw duplicateError(other, path, `they are one ${what}`)
    seen.set(identity, path)
  }
}

/** @throws LunarError `ERR_DISK_IN_USE` when the path leads to a disk that is open already, under whatever name */
export async function requireOther(path: string, disks: readonly { disk: HostDisk; label: Label }[]): Promise<void> {
  const identity = await identityOf(path)
  const same = disks.find(({ disk }) => disk.identity === identity)
  if (!same) return
  const { diskNumber, poolName } = same.label
  throw new LunarError('ERR_DISK_IN_USE', `Cannot use ${path} as a disk`, {
    why: `it is disk ${diskNumber} of pool ${poolName}, ${same.disk.name}`,
    fix: 'use another disk',
  })
}

/** @throws LunarError `ERR_NONLOCAL` when other hosts may reach the file, whose locks are not seen here (fault F27) */
export async function requireLocal(path: string, force: boolean): Promise<void> {
  if (force || isNbdUri(path) || (await isLocal(path))) return
  throw new LunarError('ERR_NONLOCAL', `Cannot use ${path} for a disk`)
}

function requireSize(path: string, size: number, witness: boolean): void {
  const least = witness ? WITNESS_SIZE_MIN : DISK_SIZE_MIN
  if (size >= least) return
  throw new LunarError('ERR_DISK_TOO_SMALL', `Cannot use ${path} as a ${witness ? 'witness' : 'disk'}`, {
    why: `it has ${formatSize(size)}; the least is ${formatSize(least)}`,
  })
}

async function makeNew(path: string, size: number, open: ResourceStack): Promise<MadeDisk> {
  const { FileDisk } = await import('../block/file.ts')
  const disk = await FileDisk.create(path, size)
  return lockMade(disk, () => removeIfSame(path, disk.identity), open)
}

/** An empty file that somebody made keeps its owner and mode; it only grows. */
async function growEmpty(path: string, size: number, open: ResourceStack): Promise<MadeDisk> {
  const { FileDisk } = await import('../block/file.ts')
  await resizeFile(path, 0, size)
  const undo = (): Promise<void> => resizeFile(path, size, 0)
  try {
    return await lockMade(await FileDisk.open(path), undo, open)
  } catch (error) {
    await undo()
    throw error
  }
}

async function lockMade(disk: FileDisk, undo: () => Promise<void>, open: ResourceStack): Promise<MadeDisk> {
  open.use(disk)
  if (disk.tryLock()) return { disk, blank: true, undo }
  await disk.close()
  throw new LunarError('ERR_DISK_IN_USE', `Cannot use ${disk.name} as a disk`, { why: 'another process has just locked it' })
}

/** Only the size we expect is changed: a file that somebody has used meanwhile stays as it is. */
async function resizeFile(path: string, from: number, to: number): Promise<void> {
  try {
    const file = await openFile(path, constants.O_RDWR)
    try {
      if ((await file.stat()).size === from) await file.truncate(to)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw hostError(`Cannot set the size of ${path}`, error)
  }
}

async function removeIfSame(path: string, identity: string): Promise<void> {
  const { dev, ino } = await stat(path, { bigint: true })
  if (`${dev}:${ino}` === identity) await unlink(path)
}

async function openExisting(place: string): Promise<HostDisk> {
  if (isNbdUri(place)) return (await import('../nbd/nbd-disk.ts')).NbdDisk.open(place)
  return (await import('../block/file.ts')).FileDisk.open(place, { exclusive: true })
}

async function takeExisting(path: string, options: MakeOptions, open: ResourceStack): Promise<MadeDisk> {
  const disk = open.use(await openExisting(path))
  try {
    const report = await labelOf(disk)
    if (!(await lockExisting(disk, report, options, open))) throw await inUse(disk, report)
    if (!options.overwrite && report.kind !== 'empty' && report.kind !== 'foreign') throw labelled(path, report)
    requireSize(path, disk.size, options.witness)
    const blank = await isBlank(disk)
    if (!blank && !options.overwrite)
      throw new LunarError('ERR_NOT_EMPTY', `Cannot use ${path} as a disk`, {
        why: isFileDisk(disk) && disk.isBlockDevice ? 'a block device may hold data; nothing says that it is empty' : 'it holds data',
      })
    const label = 'label' in report ? report.label : null
    if (!options.dryRun) return { disk, blank, undo: nothing, ...(label ? { was: label.poolId } : {}) }
    await disk.close()
    return { disk: open.use(new ScratchDisk(path, disk.size)), blank: true, undo: nothing }
  } catch (error) {
    await letGo(disk, options.record.instance)
    throw error
  }
}

/** Whether it reads as zeros and takes no space; behind a connection, apart from the record that locks it. */
async function isBlank(disk: HostDisk): Promise<boolean> {
  const head = isFileDisk(disk) ? 0 : Math.min(disk.size, ROOTS_AT)
  const extents = await disk.extents(head, disk.size - head)
  if (!extents.every(extent => extent.kind === 'hole' || extent.kind === 'zero')) return false
  const bytes = new Uint8Array(head)
  await disk.read(0, bytes)
  return isZero(bytes.fill(0, LOCK_RECORD_AT, LOCK_RECORD_AT + BLOCK))
}

/** A dry run writes nothing, so of a disk behind a connection it only looks who has it. */
async function lockExisting(disk: HostDisk, report: LabelReport, { dryRun, record }: MakeOptions, open: ResourceStack): Promise<boolean> {
  const label = 'label' in report ? report.label : null
  if (!dryRun || isFileDisk(disk)) return takeLock(disk, label?.diskId ?? randomUuid(), { record }, open)
  const holder = await readAnyLockRecord(disk)
  return !holder || lifeOf(holder.record) === 'dead'
}

async function labelOf(disk: HostDisk): Promise<LabelReport> {
  try {
    return await readLabel(disk)
  } catch (error) {
    if (isCode(error, 'ERR_METADATA_DAMAGED')) return { kind: 'damaged' }
    throw error
  }
}

function labelled(path: string, report: LabelReport): LunarError {
  const label = 'label' in report ? report.label : null
  const why = label ? `it is disk ${label.diskNumber} of pool ${label.poolName} (${label.poolId})` : 'it carries the remains of a label'
  return new LunarError('ERR_DISK_IN_USE', `Cannot use ${path} as a disk`, { why })
}

async function inUse(disk: HostDisk, report: LabelReport): Promise<LunarError> {
  const label = 'label' in report ? report.label : null
  const record = label ? await readLockRecord(disk, label.diskId) : isFileDisk(disk) ? undefined : (await readAnyLockRecord(disk))?.record
  return new LunarError('ERR_DISK_IN_USE', `Cannot use ${disk.name} as a disk`, {
    why: record ? `${describeRecord(record)} uses it${label ? ` for pool ${label.poolName}` : ''}` : 'another process has locked it',
    ...(record ? { blockers: [describeRecord(record)] } : {}),
  })
}
