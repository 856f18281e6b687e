import { dirname } from 'node:path'
import { isCode, errnoOf, LunarError } from '../base/errors.ts'
import { labelError, readLabel, type Label, type LabelReport } from '../../metadata/label.ts'
import type { ResourceStack } from '../base/resources.ts'
import { isNbdUri } from '../nbd/uri.ts'
import type { HostDisk } from './host-disk.ts'

/** How a command opens the files of a pool. */
export type Access = 'read' | 'write' | 'write-if-possible'

/** A file that carries a whole label; open. */
export interface Labelled {
  readonly kind: 'label'
  readonly path: string
  readonly disk: HostDisk
  readonly label: Label
}

/** A file that is no usable disk; closed. `label` is what could still be read of it. */
export interface Unusable {
  readonly kind: 'absent' | Exclude<LabelReport['kind'], 'label'>
  readonly path: string
  readonly label?: Label
  readonly error: LunarError
}

/**
 * Opens one file and reads its label. Real absence (ENOENT, ENXIO, EIO) and failed validation are answers; anything
 * else, lack of permission or descriptors first of all, is thrown: a good disk must not count as missing (hazard 33).
 * What stays open is put on `open`.
 */
export async function probe(path: string, access: Access, open: ResourceStack): Promise<Labelled | Unusable> {
  let disk: HostDisk
  try {
    disk = await openPlace(path, access)
  } catch (error) {
    if (isCode(error, 'ERR_FILE_NOT_FOUND') || isCode(error, 'ERR_IO')) return { kind: 'absent', path, error }
    if (isCode(error, 'ERR_NOT_A_DISK')) return { kind: 'foreign', path, error }
    throw error
  }
  let report: LabelReport
  try {
    report = await readLabelSafely(disk)
  } catch (error) {
    await disk.close()
    throw error
  }
  if (report.kind === 'label') {
    open.use(disk)
    return { kind: 'label', path, disk, label: report.label }
  }
  await disk.close()
  const label = 'label' in report ? report.label : null
  return { kind: report.kind, path, error: labelError(path, report), ...(label ? { label } : {}) }
}

/** Opens for writing, so that the lock can be taken, even to read only; on a read-only file system nobody writes and no lock is needed. */
async function openPlace(path: string, access: Access): Promise<HostDisk> {
  if (isNbdUri(path)) return openExport(path, access)
  const { FileDisk } = await import('../block/file.ts')
  if (access === 'read') return FileDisk.open(path, { readOnly: true })
  try {
    return await FileDisk.open(path, { exclusive: 'try' })
  } catch (error) {
    const onReadOnlyMedia = error instanceof LunarError && errnoOf(error.cause) === 'EROFS'
    if (access === 'write-if-possible' && onReadOnlyMedia) return FileDisk.open(path, { readOnly: true })
    throw error
  }
}

/** An export that we may only read is no reason to think that nobody writes there, but a pool may be looked at through it. */
async function openExport(uri: string, access: Access): Promise<HostDisk> {
  const { NbdDisk } = await import('../nbd/nbd-disk.ts')
  if (access === 'read') return NbdDisk.open(uri, { readOnly: true })
  try {
    return await NbdDisk.open(uri)
  } catch (error) {
    if (access === 'write-if-possible' && isCode(error, 'ERR_READ_ONLY')) return NbdDisk.open(uri, { readOnly: true })
    throw error
  }
}

/** A label whose checksum holds and whose numbers make no sense is a damaged one. */
async function readLabelSafely(disk: HostDisk): Promise<LabelReport> {
  try {
    return await readLabel(disk)
  } catch (error) {
    if (isCode(error, 'ERR_METADATA_DAMAGED')) return { kind: 'damaged' }
    throw error
  }
}

/** The folders of those `paths` that are files, each once. */
export const foldersOf = (paths: readonly string[]): string[] => [...new Set(paths.filter(path => !isNbdUri(path)).map(path => dirname(path)))]
