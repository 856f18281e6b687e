/** A range of a LUN as `--offset` and `--length` give it. */
import { LunarError } from '../base/errors.ts'
import { formatSize, parseSize } from '../base/units.ts'

export interface ByteRange {
  /** Bytes from the start of the LUN. */
  readonly offset: number
  /** Bytes, above 0. */
  readonly length: number
}

/**
 * @param length bytes; up to the end of the LUN when left out
 * @throws LunarError `ERR_OUT_OF_RANGE` when the range is empty or passes the end
 */
export function resolveRange(lun: { readonly name: string; readonly size: number }, offset: number | undefined, length: number | undefined): ByteRange {
  const start = offset ?? 0
  const count = length ?? lun.size - start
  if (count > 0 && start + count <= lun.size) return { offset: start, length: count }
  throw new LunarError('ERR_OUT_OF_RANGE', `Cannot use ${Math.max(count, 0)} bytes from byte ${start} on of LUN "${lun.name}"`, {
    why: count <= 0 ? 'the range is empty' : `the LUN ends at ${lun.size} bytes (${formatSize(lun.size)})`,
  })
}

/** A range in one word: `4MiB+1MiB`. @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE` */
export function parseByteRange(text: string): ByteRange {
  const [offset, length, ...rest] = text.split('+')
  if (offset === undefined || length === undefined || rest.length > 0)
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" as a range`, { why: 'a range is OFFSET+LENGTH', fix: 'write it like 4MiB+1MiB' })
  return { offset: parseSize(offset), length: parseSize(length) }
}
