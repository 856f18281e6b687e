/** Image files as bytes: what they hold, whether they changed, and crash states written out as files. */
import { createHash } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { isZero } from './independent/bytes.ts'

/** Which files they are, their size, mode, and when they were written last: equal when nobody changed anything. */
export const fingerprints = (paths: readonly string[]): string[] =>
  paths.map(path => {
    const { ino, size, mode, mtimeNs } = statSync(path, { bigint: true })
    return `${path} ${ino} ${size} ${mode.toString(8)} ${mtimeNs}`
  })

export const hashes = (paths: readonly string[]): string[] => paths.map(path => createHash('sha1').update(readFileSync(path)).digest('hex'))

export function overwriteFile(path: string, at: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+')
  try {
    writeSync(fd, bytes, 0, bytes.length, at)
  } finally {
    closeSync(fd)
  }
}

export function fileBytes(path: string, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const fd = openSync(path, 'r')
  try {
    readSync(fd, bytes, 0, length, at)
  } finally {
    closeSync(fd)
  }
  return bytes
}

/** Writes a simulated disk to a sparse file. */
export async function writeImage(path: string, disk: SimulatedDisk): Promise<void> {
  const fd = openSync(path, 'w', 0o600)
  try {
    ftruncateSync(fd, disk.size)
    const buffer = Buffer.alloc(1024 * 1024)
    for (const { offset, length, kind } of await disk.extents(0, disk.size)) {
      for (let at = offset; kind === 'data' && at < offset + length; at += buffer.length) {
        const part = buffer.subarray(0, Math.min(buffer.length, offset + length - at))
        await disk.read(at, part)
        if (!isZero(part)) writeSync(fd, part, 0, part.length, at)
      }
    }
  } finally {
    closeSync(fd)
  }
}
