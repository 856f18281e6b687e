import { unlink } from 'node:fs/promises'
import { LunarError } from '../base/errors.ts'
import type { Disk } from '../block/device.ts'
import { hostError } from '../block/host.ts'
import { BLOCK } from '../../metadata/layout.ts'
import { isSealed, sealBlock } from '../../metadata/block.ts'
import { wodFileLabel } from '../../metadata/records.ts'

/** How files come and go; tests bring simulated ones. */
export interface WodFiles {
  /** @throws LunarError `ERR_EXISTS`, `ERR_HOST_FULL`, `ERR_FILE_NOT_FOUND` (the folder) */
  create(path: string, size: number): Promise<Disk>
  /** @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_HOST_LIMIT`, `ERR_IO` */
  open(path: string, readOnly: boolean): Promise<Disk>
  /** It need not be there. */
  remove(path: string): Promise<void>
}

/** Files of the host. */
export const hostFiles: WodFiles = {
  async create(path, size) {
    const { FileDisk } = await import('../block/file.ts')
    return FileDisk.create(path, size)
  },
  async open(path, readOnly) {
    const { FileDisk } = await import('../block/file.ts')
    return FileDisk.open(path, { readOnly })
  },
  async remove(path) {
    try {
      await unlink(path)
    } catch (error) {
      const known = hostError(`Cannot delete ${path}`, error)
      if (known.code !== 'ERR_FILE_NOT_FOUND') throw known
    }
  },
}

/** Whose a file is. */
export interface FileOwner {
  readonly poolId: string
  readonly wodId: string
  /** Bytes of the device. */
  readonly size: number
}

export const fileSize = (size: number): number => size + BLOCK

export async function writeFileLabel(disk: Disk, owner: FileOwner): Promise<void> {
  const block = wodFileLabel.encode({ crc: 0, magic: 0, ...owner })
  sealBlock('wod', block)
  await disk.writeDurable(owner.size, block)
}

/** @throws LunarError `ERR_TRUNCATED`, `ERR_NOT_A_DISK` unless it is the file of this device */
export async function checkFileLabel(disk: Disk, owner: FileOwner, name: string): Promise<void> {
  const failed = `Cannot use ${disk.name} for write-once device "${name}"`
  if (disk.size < fileSize(owner.size)) throw new LunarError('ERR_TRUNCATED', failed, { why: `it has ${disk.size} bytes, not ${fileSize(owner.size)}` })
  const block = new Uint8Array(BLOCK)
  await disk.read(owner.size, block)
  const found = isSealed('wod', block) ? wodFileLabel.decode(block) : undefined
  if (found?.poolId === owner.poolId && found.wodId === owner.wodId && found.size === owner.size) return
  throw new LunarError('ERR_NOT_A_DISK', failed, {
    why: found ? 'it belongs to another device' : 'it does not end with the label of a write-once device',
    fix: 'bring the right file back to this path',
  })
}

/** Deletes a file that ends with the label of a device of the pool. @returns whether it was one */
export async function removePoolFile(files: WodFiles, path: string, poolId: string): Promise<boolean> {
  const disk = await files.open(path, true)
  const block = new Uint8Array(BLOCK)
  try {
    if (disk.size < BLOCK) return false
    await disk.read(disk.size - BLOCK, block)
  } finally {
    await disk.close()
  }
  if (!isSealed('wod', block) || wodFileLabel.decode(block).poolId !== poolId) return false
  await files.remove(path)
  return true
}
