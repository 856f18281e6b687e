import { dirname } from 'node:path'
import { isCode, errnoOf, LunarError } from '../base/errors.ts'
import { labelError, readLabel, type Label, type LabelReport } from '../../metadata/label.ts'
import type { FileDisk } from '../block/file.ts'
import type { ResourceStack } from '../base/resources.ts'

/** How a command opens the files of a pool. */
export type Access = 'read' | 'write' | 'write-if-possible'

/** A file that carries a whole label; open. */
export interface Labelled {
  readonly kind: 'label'
  readonly path: string
  readonly disk: FileDisk
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
  let disk: FileDisk
  try {
    disk = await openFile(path, access)
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
async function openFile(path: string, access: Access): Promise<FileDisk> {
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

/** A label whose checksum holds and whose numbers make no sense is a damaged one. */
async function readLabelSafely(disk: FileDisk): Promise<LabelReport> {
  try {
    return await readLabel(disk)
  } catch (error) {
    if (isCode(error, 'ERR_METADATA_DAMAGED')) return { kind: 'damaged' }
    throw error
  }
}

/** The folders of `paths`, each once. */
export const foldersOf = (paths: readonly string[]): string[] => [...new Set(paths.map(path => dirname(path)))]
