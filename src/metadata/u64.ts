/** Whole numbers of 64 bits on disk, little-endian; in memory they are numbers, so none is above 2^53 - 1. */
import { LunarError } from '../core/base/errors.ts'

const HIGH = 0x1_0000_0000

/** @param value from 0 to 2^53 - 1 */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint32(at + 4, Math.floor(value / HIGH), true)
}

/** @throws LunarError `ERR_METADATA_DAMAGED` above 2^53 - 1 */
export function getU64(view: DataView, at: number): number {
  const value = uncheckedU64(view, at)
  if (value > Number.MAX_SAFE_INTEGER) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a metadata field', { why: 'its value is above 2^53' })
  return value
}

/** For bytes that nothing vouches for yet: inexact above 2^53 - 1. */
export const uncheckedU64 = (view: DataView, at: number): number => view.getUint32(at + 4, true) * HIGH + view.getUint32(at, true)
