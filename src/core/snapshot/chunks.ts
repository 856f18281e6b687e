import { LunarError } from '../base/errors.ts'
import { KIB, MIB } from '../base/units.ts'

export const CHUNK_MIN = 4 * KIB
export const CHUNK_MAX = MIB
/** 64 blocks of 512 bytes (DataCore, Fig. 5). */
export const CHUNK_DEFAULT = 32 * KIB

/** @throws LunarError `ERR_BAD_SIZE` unless a chunk can have this size */
export function checkChunkSize(bytes: number): void {
  if (bytes < CHUNK_MIN || bytes > CHUNK_MAX || !Number.isInteger(Math.log2(bytes)))
    throw new LunarError('ERR_BAD_SIZE', `Cannot use chunks of ${bytes} bytes`, {
      why: `a chunk is a power of two from ${CHUNK_MIN} to ${CHUNK_MAX} bytes`,
      fix: 'leave --chunk-size out for 32KiB',
    })
}

/** A run of chunks, `to` not included. */
export interface ChunkRun {
  readonly from: number
  readonly to: number
}

/**
 * The chunks of a range of addresses: index arithmetic without bit operations, which wrap at 2^31 (hazard 45). The last
 * chunk may be short.
 */
export class Chunking {
  /** @param bytes of a chunk; @param size of what is cut, in bytes */
  constructor(
    readonly bytes: number,
    readonly size: number,
  ) {}

  get count(): number {
    return Math.ceil(this.size / this.bytes)
  }

  offsetOf(chunk: number): number {
    return chunk * this.bytes
  }

  endOf(chunk: number): number {
    return Math.min(this.size, (chunk + 1) * this.bytes)
  }

  /** Bytes in a run. */
  lengthOf({ from, to }: ChunkRun): number {
    return Math.min(this.size, to * this.bytes) - from * this.bytes
  }

  /** The bytes from and to which the chunks of a range reach, as far as it lies inside. */
  widened(offset: number, length: number): readonly [from: number, to: number] {
    const run = this.touched(offset, length)
    if (run.to <= run.from) return [offset, offset + length]
    return [Math.min(offset, this.offsetOf(run.from)), Math.max(offset + length, this.endOf(run.to - 1))]
  }

  /** The chunks that a range touches, as far as it lies inside; empty when it does not. */
  touched(offset: number, length: number): ChunkRun {
    const from = Math.min(this.count, Math.floor(offset / this.bytes))
    const to = Math.min(this.count, Math.ceil((offset + length) / this.bytes))
    return { from, to: length > 0 ? Math.max(from, to) : from }
  }
}

/** Cuts a run into runs of equal `value(chunk)`. */
export function* runsOf<T>({ from, to }: ChunkRun, value: (chunk: number) => T): Generator<ChunkRun & { readonly value: T }> {
  for (let start = from; start < to;) {
    const is = value(start)
    let end = start + 1
    while (end < to && value(end) === is) end++
    yield { from: start, to: end, value: is }
    start = end
  }
}

/** The runs of a run whose chunks pass a test, in order. */
export function runsWhere(run: ChunkRun, test: (chunk: number) => boolean): ChunkRun[] {
  const runs: ChunkRun[] = []
  for (const { from, to, value } of runsOf(run, test)) if (value) runs.push({ from, to })
  return runs
}
