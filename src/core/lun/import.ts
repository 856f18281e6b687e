import fs, { constants, createReadStream } from 'node:fs'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { crc32c } from '../base/crc32c.ts'
import { LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { MIB, alignUp } from '../base/units.ts'
import { isZero } from '../base/zeros.ts'
import type { BlockDevice } from '../block/device.ts'
import { FileTransfer, type TransferHost } from '../block/file-transfer.ts'
import { blockDeviceSize, dataRanges, hostError } from '../block/host.ts'
import { checkRange } from '../block/range.ts'
import { StreamSource } from './transfer-stream.ts'
import {
  CHUNK,
  PIPE_CHUNK,
  TransferRun,
  clearRange,
  cutPieces,
  makeBuffers,
  mismatch,
  verifyZero,
  type Piece,
  type TransferProgress,
  type TransferResult,
} from './transfer-run.ts'

export interface ImportOptions {
  /** Reads device and source again and compares (pipes: checksums taken on the way). */
  readonly verify?: boolean
  /** Stops at the next chunk, with everything in flight settled. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: TransferProgress) => void
  /** What `-` reads; the process's standard input when left out. */
  readonly stdin?: NodeJS.ReadableStream
  /** Where on the device it begins, in bytes; 0 when left out. */
  readonly offset?: number
}

/** What cannot be read a second time or at an address: pipes, terminals, character devices. */
const isStream = (stats: fs.Stats | fs.BigIntStats): boolean => stats.isFIFO() || stats.isCharacterDevice() || stats.isSocket()

/**
 * Bytes that importing `path` will read; null for pipes.
 * @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_HOST_LIMIT`
 */
export async function sourceSize(path: string): Promise<number | null> {
  if (path === '-') return null
  try {
    const stats = await stat(path, { bigint: true })
    if (isStream(stats)) return null
    return stats.isBlockDevice() ? await blockDeviceSize(stats.rdev) : Number(stats.size)
  } catch (error) {
    throw hostError(`Cannot look at ${path}`, error)
  }
}

/**
 * Copies a file, a block device or a pipe (`-`) to a device and flushes it. Holes of the source, and 1 MiB blocks of
 * zeros in it, become holes. The last part of a block is padded with zeros.
 *
 * @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_HOST_LIMIT`, `ERR_IO`, `ERR_OUT_OF_RANGE` (the source is larger than the
 * device; pipes: noticed on the way), `ERR_INTERRUPTED`, `ERR_VERIFY_MISMATCH`, and what writing to the device throws
 */
export async function importInto(device: BlockDevice, path: string, options: ImportOptions = {}): Promise<TransferResult> {
  const what = `Cannot import ${path === '-' ? 'standard input' : path}`
  try {
    const size = await sourceSize(path)
    checkRange('the device', device.size, device.blockSize, options.offset ?? 0, 0)
    return size === null ? await importStream(device, path, what, options) : await importFile(device, path, size, what, options)
  } catch (error) {
    throw hostError(what, error)
  }
}

function checkFits(what: string, device: BlockDevice, offset: number, size: number): void {
  if (size <= device.size - offset) return
  throw new LunarError('ERR_OUT_OF_RANGE', what, { why: `it has ${size} bytes or more, and there is room for ${device.size - offset}` })
}

/** A file that is read at addresses. */
class FileSource implements TransferHost {
  readonly calls = fs

  constructor(
    readonly name: string,
    private readonly handle: FileHandle,
    readonly size: number,
    /** Without holes of its own: a block device. */
    readonly dense: boolean,
  ) {}

  ended(): void {
    // the handle is closed only after every read was awaited
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return new FileTransfer(this, this.handle.fd, false, offset, [into]).run()
  }

  async pieces(): Promise<Piece[]> {
    if (this.dense) return this.size > 0 ? [{ at: 0, length: this.size, hole: false }] : []
    const pieces: Piece[] = []
    let at = 0
    const add = (to: number, hole: boolean): void => {
      if (to > at) pieces.push({ at, length: to - at, hole })
      at = to
    }
    for (const range of await dataRanges(this.handle.fd, 0, this.size)) {
      add(range.offset, true)
      add(range.offset + range.length, false)
    }
    add(this.size, true)
    return pieces
  }
}

async function importFile(device: BlockDevice, path: string, size: number, what: string, options: ImportOptions): Promise<TransferResult> {
  const origin = options.offset ?? 0
  checkFits(what, device, origin, size)
  await using handle = await open(path, constants.O_RDONLY)
  const source = new FileSource(path, handle, size, (await handle.stat()).isBlockDevice())
  const run = new TransferRun(what, size, options.signal, options.onProgress)
  const buffers = makeBuffers(CHUNK)
  const copier = new Copier(device, origin)
  const pieces = alignPieces(await source.pieces(), device.blockSize, size)

  await run.eachPiece(cutPieces(pieces, origin), async (piece, worker) => {
    if (piece.hole) {
      await clearRange(device, origin + piece.at, alignUp(piece.length, device.blockSize))
      return run.passed(piece.length, 0)
    }
    const data = buffers[worker]!.subarray(0, piece.length)
    await source.read(piece.at, data)
    run.passed(piece.length, await copier.put(piece.at, buffers[worker]!, piece.length))
  })
  await device.flush()
  if (options.verify) await verifyFile(run, device, origin, source, pieces, buffers)
  return run.result(size, options.verify === true)
}

/** Moves the borders between data and holes to whole blocks of the device, in favour of data. */
function alignPieces(pieces: readonly Piece[], blockSize: number, size: number): Piece[] {
  const aligned: Piece[] = []
  let at = 0
  for (const piece of pieces) {
    const end = piece.at + piece.length
    const to = end === size ? end : piece.hole ? end - (end % blockSize) : Math.min(size, alignUp(end, blockSize))
    if (to > at) aligned.push({ at, length: to - at, hole: piece.hole })
    at = Math.max(at, to)
  }
  return aligned
}

/** Puts chunks on the device, padded to whole blocks; 1 MiB blocks of zeros become holes. In other data the first byte that is none tells. */
class Copier {
  constructor(
    private readonly device: BlockDevice,
    private readonly origin: number,
  ) {}

  /**
   * @param at bytes from the start of the transfer
   * @param buffer `length` bytes of data and room for padding
   * @returns bytes that were moved as data
   */
  async put(at: number, buffer: Uint8Array, length: number): Promise<number> {
    const padded = alignUp(length, this.device.blockSize)
    buffer.fill(0, length, padded)
    let zero = 0
    for (let from = 0; from < padded;) {
      const hole = isZero(buffer.subarray(from, Math.min(from + MIB, padded)))
      let to = Math.min(from + MIB, padded)
      while (to < padded && isZero(buffer.subarray(to, Math.min(to + MIB, padded))) === hole) to = Math.min(to + MIB, padded)
      if (hole) {
        await clearRange(this.device, this.origin + at + from, to - from)
        zero += Math.min(to, length) - from
      } else {
        await this.device.write(this.origin + at + from, buffer.subarray(from, to))
      }
      from = to
    }
    return length - zero
  }
}

async function verifyFile(
  run: TransferRun,
  device: BlockDevice,
  origin: number,
  source: FileSource,
  pieces: readonly Piece[],
  buffers: Uint8Array[],
): Promise<void> {
  const others = makeBuffers(CHUNK)
  await run.eachPiece(cutPieces(pieces, origin), async (piece, worker) => {
    const found = buffers[worker]!
    const length = alignUp(piece.length, device.blockSize)
    if (piece.hole) return verifyZero(run.what, device, origin + piece.at, length, found)
    const wanted = others[worker]!.subarray(0, length)
    await Promise.all([device.read(origin + piece.at, found.subarray(0, length)), source.read(piece.at, wanted.subarray(0, piece.length))])
    wanted.fill(0, piece.length)
    if (Buffer.compare(wanted, found.subarray(0, length)) !== 0) throw mismatch(run.what, origin + piece.at)
  })
}

async function importStream(device: BlockDevice, path: string, what: string, options: ImportOptions): Promise<TransferResult> {
  const origin = options.offset ?? 0
  const stream = path === '-' ? (options.stdin ?? process.stdin) : createReadStream(path, { highWaterMark: MIB })
  const run = new TransferRun(what, null, options.signal, options.onProgress)
  const source = new StreamSource(stream, what, options.signal)
  const buffers = makeBuffers(PIPE_CHUNK)
  const copier = new Copier(device, origin)
  const sums: number[] = []
  const turn = new Mutex()
  let size = 0
  const copyNext = async (buffer: Uint8Array): Promise<boolean> => {
    run.checkStop()
    const { at, length } = await turn.run(async () => {
      const filled = run.stopping ? 0 : await source.fill(buffer)
      size += filled
      return { at: size - filled, length: filled }
    })
    if (length === 0) return false
    checkFits(what, device, origin, at + length)
    const moved = await copier.put(at, buffer, length)
    if (options.verify) for (let from = 0; from < length; from += MIB) sums[(at + from) / MIB] = crc32c(buffer.subarray(from, Math.min(from + MIB, length)))
    run.passed(length, moved)
    return true
  }
  try {
    await run.parallel(async worker => {
      try {
        while (!run.stopping && (await copyNext(buffers[worker]!))) continue
      } catch (error) {
        run.stop()
        source.stop() // or the others would wait for data that may never come
        throw error
      }
    })
  } finally {
    await source.close()
  }
  await device.flush()
  if (options.verify) await verifySums(run, device, origin, size, sums, buffers)
  return run.result(size, options.verify === true)
}

async function verifySums(run: TransferRun, device: BlockDevice, origin: number, size: number, sums: readonly number[], buffers: Uint8Array[]): Promise<void> {
  const blocks = sums.map((_, index) => ({ at: index * MIB, length: Math.min(MIB, size - index * MIB), hole: false }))
  await run.eachPiece(blocks, async (piece, worker) => {
    const found = buffers[worker]!.subarray(0, alignUp(piece.length, device.blockSize))
    await device.read(origin + piece.at, found)
    if (crc32c(found.subarray(0, piece.length)) !== sums[piece.at / MIB] || !isZero(found.subarray(piece.length))) throw mismatch(run.what, origin + piece.at)
  })
}
