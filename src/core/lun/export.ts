import { createWriteStream, type BigIntStats } from 'node:fs'
import { stat, truncate, unlink } from 'node:fs/promises'
import { LunarError, errnoOf } from '../base/errors.ts'
import { MIB, alignUp } from '../base/units.ts'
import { zeroPart } from '../base/zeros.ts'
import type { BlockDevice, Disk } from '../block/device.ts'
import { FileDisk } from '../block/file.ts'
import { hostError } from '../block/host.ts'
import { checkRange } from '../block/range.ts'
import { StreamTarget } from './transfer-stream.ts'
import {
  CHUNK,
  TransferRun,
  WINDOW,
  clearRange,
  cutPieces,
  devicePieces,
  makeBuffers,
  mismatch,
  verifyZero,
  type Piece,
  type TransferProgress,
  type TransferResult,
} from './transfer-run.ts'

export interface ExportOptions {
  /** Reads device and file again and compares; nothing to compare with on a pipe. */
  readonly verify?: boolean
  /** Stops at the next chunk, with everything in flight settled. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: TransferProgress) => void
  /** What `-` writes to; the process's standard output when left out. It is not ended. */
  readonly stdout?: NodeJS.WritableStream
  /** Destroys what an existing file or a block device holds. */
  readonly overwrite?: boolean
  /** The range of the device, in whole blocks; all of it when left out. */
  readonly offset?: number
  readonly length?: number
}

interface Range {
  readonly offset: number
  readonly length: number
}

/**
 * Copies a range of a device to a new sparse file (mode 0600), an empty file, a block device or a pipe (`-`), and makes
 * it durable. Holes stay holes; to a pipe they go as zeros. A file made here is removed again when the export fails.
 *
 * @throws LunarError `ERR_NOT_EMPTY`, `ERR_HOST_FULL`, `ERR_HOST_LIMIT`, `ERR_FILE_NOT_FOUND` (the folder), `ERR_IO`,
 * `ERR_OUT_OF_RANGE`, `ERR_PIPE_CLOSED`, `ERR_INTERRUPTED`, `ERR_VERIFY_MISMATCH`, and what reading the device throws
 */
export async function exportFrom(device: BlockDevice, path: string, options: ExportOptions = {}): Promise<TransferResult> {
  const what = `Cannot export to ${path === '-' ? 'standard output' : path}`
  const offset = options.offset ?? 0
  const range = { offset, length: options.length ?? device.size - offset }
  checkRange('the device', device.size, device.blockSize, range.offset, range.length)
  const run = new TransferRun(what, range.length, options.signal, options.onProgress)
  try {
    const present = path === '-' ? undefined : await look(path)
    if (path === '-') return await exportStream(device, range, new StreamTarget(options.stdout ?? process.stdout, what, false, options.signal), run)
    if (present && !present.isFile() && !present.isBlockDevice() && !present.isDirectory()) {
      return await exportStream(device, range, new StreamTarget(createWriteStream(path), what, true, options.signal), run)
    }
    return await exportFile(device, range, path, present, run, options)
  } catch (error) {
    throw hostError(what, error)
  }
}

async function look(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function exportFile(
  device: BlockDevice,
  range: Range,
  path: string,
  present: BigIntStats | undefined,
  run: TransferRun,
  options: ExportOptions,
): Promise<TransferResult> {
  run.checkStop()
  const target = await openTarget(path, present, range.length, run.what, options.overwrite === true)
  try {
    await copyTo(target, device, range, run, options.verify === true)
  } catch (error) {
    await target.close()
    if (!present) await unlink(path)
    throw error
  }
  await target.close()
  return run.result(range.length, options.verify === true)
}

async function openTarget(path: string, present: BigIntStats | undefined, length: number, what: string, overwrite: boolean): Promise<FileDisk> {
  const calls = WINDOW
  if (!present) return FileDisk.create(path, length, { calls })
  if (present.isDirectory()) throw new LunarError('ERR_FAILED', what, { why: 'it is a folder' })
  if (!overwrite && (present.isBlockDevice() || present.size > 0n)) {
    throw new LunarError('ERR_NOT_EMPTY', what, { why: present.isBlockDevice() ? 'it is a block device' : `it holds ${present.size} bytes` })
  }
  if (present.isFile()) {
    await truncate(path, 0)
    await truncate(path, length)
  }
  const disk = await FileDisk.open(path, { calls, exclusive: true })
  if (disk.size >= length) return disk
  await disk.close()
  throw new LunarError('ERR_OUT_OF_RANGE', what, { why: `it has ${disk.size} bytes, and ${length} are needed` })
}

async function copyTo(target: Disk, device: BlockDevice, range: Range, run: TransferRun, verify: boolean): Promise<void> {
  const buffers = makeBuffers(CHUNK)
  const pieces = await devicePieces(device, range.offset, range.length)
  await run.eachPiece(cutPieces(pieces, range.offset), async (piece, worker) => {
    if (piece.hole) {
      await clearRange(target, piece.at, piece.length)
      return run.passed(piece.length, 0)
    }
    const data = buffers[worker]!.subarray(0, piece.length)
    await device.read(range.offset + piece.at, data)
    await target.write(piece.at, data)
    run.passed(piece.length, piece.length)
  })
  await target.flush()
  if (verify) await verifyTarget(target, device, range, run, pieces, buffers)
}

async function verifyTarget(target: Disk, device: BlockDevice, range: Range, run: TransferRun, pieces: readonly Piece[], buffers: Uint8Array[]): Promise<void> {
  const others = makeBuffers(CHUNK)
  await run.eachPiece(cutPieces(pieces, range.offset), async (piece, worker) => {
    const found = buffers[worker]!
    if (piece.hole) return verifyZero(run.what, target, piece.at, piece.length, found)
    const part = found.subarray(0, piece.length)
    const wanted = others[worker]!.subarray(0, piece.length)
    await Promise.all([target.read(piece.at, part), device.read(range.offset + piece.at, wanted)])
    if (Buffer.compare(part, wanted) !== 0) throw mismatch(run.what, piece.at)
  })
}

/** Several reads ahead, writes in order; a buffer is filled again after its write has taken it. */
async function exportStream(device: BlockDevice, range: Range, target: StreamTarget, run: TransferRun): Promise<TransferResult> {
  const buffers = makeBuffers(Math.max(MIB, device.blockSize))
  const pieces = streamPieces(await devicePieces(device, range.offset, range.length), alignUp(MIB, device.blockSize))
  let before = Promise.resolve()
  try {
    await run.eachPiece(pieces, async (piece, worker) => {
      const previous = before
      let written!: () => void
      before = new Promise(resolve => {
        written = resolve
      })
      try {
        const data = piece.hole ? zeroPart(piece.length) : buffers[worker]!.subarray(0, piece.length)
        if (!piece.hole) await device.read(range.offset + piece.at, data)
        await previous
        if (run.stopping) return
        await target.write(data)
        run.passed(piece.length, piece.hole ? 0 : piece.length)
      } catch (error) {
        run.stop() // before the next piece goes on: nothing follows a gap
        throw error
      } finally {
        written()
      }
    })
    await target.end()
  } catch (error) {
    target.abandon()
    throw error
  }
  return run.result(range.length, false)
}

/** Cuts data and holes into parts of at most `part` bytes. */
function* streamPieces(ranges: readonly Piece[], part: number): Generator<Piece> {
  for (const range of ranges) {
    for (let at = range.at; at < range.at + range.length; at += part) yield { at, length: Math.min(part, range.at + range.length - at), hole: range.hole }
  }
}
