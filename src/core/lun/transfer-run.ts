/** What import and export share: pieces of work, buffers, progress, the way to stop. */
import { LunarError } from '../base/errors.ts'
import { MIB, alignDown } from '../base/units.ts'
import { isZero } from '../base/zeros.ts'
import { alignedBuffers } from '../block/aligned.ts'
import type { BlockDevice } from '../block/device.ts'
import { STORE } from '../raid/geometry.ts'

/** All in bytes. */
export interface TransferProgress {
  readonly done: number
  /** Null while it is not known, for pipes. */
  readonly total: number | null
  /** Of `done`, what was data and not holes. */
  readonly moved: number
}

export interface TransferResult {
  /** Bytes of the source, or of the range exported. */
  readonly size: number
  /** Bytes moved. */
  readonly moved: number
  /** Bytes that stayed holes or zeros and were not moved. */
  readonly holes: number
  readonly seconds: number
  /** Both sides were read again and are equal. */
  readonly verified: boolean
}

/** A piece of work: at most one chunk of data, or a hole of any length. */
export interface Piece {
  /** Bytes from the start of the transfer. */
  readonly at: number
  readonly length: number
  readonly hole: boolean
}

/** Requests are cut at multiples of this: what is bound at once, in one commit. A quarter of it costs twice the processor time. */
export const CHUNK = STORE
/** What is gathered from a pipe before it is written: what came is not held back for long. A multiple of 1 MiB. */
export const PIPE_CHUNK = 2 * MIB
/** Requests in flight, each with a buffer of its own that is used again. */
export const WINDOW = 8

export const interrupted = (what: string): LunarError => new LunarError('ERR_INTERRUPTED', what, { why: 'it was asked to stop' })

/** Counts, reports and stops one transfer. */
export class TransferRun {
  private readonly startedAt = performance.now()
  private done = 0
  private moved = 0
  private failed = false

  constructor(
    /** "Cannot import FILE", for messages. */
    readonly what: string,
    private readonly total: number | null,
    private readonly signal?: AbortSignal,
    private readonly onProgress?: (progress: TransferProgress) => void,
  ) {}

  /** @throws LunarError `ERR_INTERRUPTED` */
  checkStop(): void {
    if (this.signal?.aborted) throw interrupted(this.what)
  }

  /** A piece is through: `length` bytes, `moved` of them as data. */
  passed(length: number, moved: number): void {
    this.done += length
    this.moved += moved
    this.onProgress?.({ done: this.done, total: this.total, moved: this.moved })
  }

  /** No more pieces are to be begun. */
  stop(): void {
    this.failed = true
  }

  /** True after the first failure. */
  get stopping(): boolean {
    return this.failed
  }

  /**
   * Runs `worker` `WINDOW` times at once. When one fails the others end after their present piece (they ask
   * `stopping`); resolves or rejects when all have ended, with the first error.
   */
  async parallel(worker: (index: number) => Promise<void>): Promise<void> {
    let first: { error: unknown } | undefined
    const guarded = async (index: number): Promise<void> => {
      try {
        await worker(index)
      } catch (error) {
        first ??= { error }
        this.stop()
      }
    }
    await Promise.all(Array.from({ length: WINDOW }, (_, index) => guarded(index)))
    if (first) throw first.error
  }

  /** Hands the pieces to the workers, each with its index. */
  async eachPiece(pieces: Iterable<Piece>, work: (piece: Piece, worker: number) => Promise<void>): Promise<void> {
    const left = pieces[Symbol.iterator]()
    await this.parallel(async worker => {
      while (!this.stopping) {
        this.checkStop()
        const next = left.next()
        if (next.done) return
        await work(next.value, worker)
      }
    })
  }

  result(size: number, verified: boolean): TransferResult {
    return { size, moved: this.moved, holes: size - this.moved, seconds: (performance.now() - this.startedAt) / 1000, verified }
  }
}

/** Buffers of one chunk, one a worker. Big ones cost a page fault for every 4 KiB when they are fresh, so they are made once. */
export const makeBuffers = (length: number): Uint8Array[] => alignedBuffers(WINDOW, length)

/** Cuts ranges of data and holes into pieces; data at multiples of `CHUNK` of the device, where the transfer begins at `origin`. */
export function* cutPieces(ranges: readonly Piece[], origin: number): Generator<Piece> {
  for (const range of ranges) {
    if (range.hole) {
      yield range
      continue
    }
    const end = range.at + range.length
    for (let at = range.at; at < end;) {
      const to = Math.min(end, alignDown(origin + at, CHUNK) + CHUNK - origin)
      yield { at, length: to - at, hole: false }
      at = to
    }
  }
}

/** Data and holes of a device's range, in order, `at` from its start. What cannot be read (`lost`) counts as data: reading it tells. */
export async function devicePieces(device: BlockDevice, offset: number, length: number): Promise<Piece[]> {
  const extents = await device.extents(offset, length)
  return extents.map(extent => ({ at: extent.offset - offset, length: extent.length, hole: extent.kind === 'hole' || extent.kind === 'zero' }))
}

/** Makes a range read as zeros; what does already is left alone. */
export async function clearRange(device: BlockDevice, offset: number, length: number): Promise<void> {
  for (const extent of await device.extents(offset, length)) {
    if (extent.kind === 'data' || extent.kind === 'lost') await device.zero(extent.offset, extent.length)
  }
}

/** @throws LunarError `ERR_VERIFY_MISMATCH` unless a range of the device reads as zeros */
export async function verifyZero(what: string, device: BlockDevice, offset: number, length: number, buffer: Uint8Array): Promise<void> {
  for (const extent of await device.extents(offset, length)) {
    if (extent.kind !== 'data' && extent.kind !== 'lost') continue
    const end = extent.offset + extent.length
    for (let at = extent.offset; at < end; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, end - at))
      await device.read(at, part)
      if (!isZero(part)) throw mismatch(what, at)
    }
  }
}

export const mismatch = (what: string, offset: number): LunarError =>
  new LunarError('ERR_VERIFY_MISMATCH', what, { why: `what was read back at byte ${offset} and after differs` })
