/** How large a write-back cache may be, as operators set it. */
import { LunarError } from '../../base/errors.ts'
import { formatSize, GIB, MIB, parseSize } from '../../base/units.ts'

const BYTES_MAX = 4 * GIB

/** @param text a size, or `off` @returns bytes, 0 when it is off @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE` */
export function parseCacheSize(text: string): number {
  if (text === 'off') return 0
  const bytes = parseSize(text)
  if (bytes < MIB || bytes > BYTES_MAX || bytes % MIB !== 0)
    throw new LunarError('ERR_USAGE', `Cannot set "cache" to ${text}`, { why: `it is off, or 1 MiB to ${formatSize(BYTES_MAX)} in steps of 1 MiB` })
  return bytes
}

/** What the setting is. */
export const cacheValue = (bytes: number): string | number => (bytes === 0 ? 'off' : bytes)
