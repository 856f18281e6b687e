/** Sizes that depend on the pool: `50%FREE`. */
import { LunarError } from '../base/errors.ts'
import { alignDown, MIB, parseSize } from '../base/units.ts'
import type { PoolDetail, RaidType } from '../server/api.ts'

export type SizeSpec = { readonly bytes: number } | { readonly percentFree: number }

/** @throws LunarError `ERR_BAD_SIZE` */
export function parseSizeSpec(text: string): SizeSpec {
  const match = /^(\d{1,3}(?:\.\d{1,2})?)%FREE$/i.exec(text.trim())
  if (!match) return { bytes: parseSize(text) }
  const percentFree = Number(match[1])
  if (percentFree <= 0 || percentFree > 100)
    throw new LunarError('ERR_BAD_SIZE', `Cannot use "${text}" as a size`, { why: 'a share of the free space is above 0 and at most 100 percent' })
  return { percentFree }
}

/** Bytes of a size; a share is one of the largest LUN of this type that the pool could hold now, in whole MiB. */
export function resolveSize(spec: SizeSpec, raid: RaidType, pool: PoolDetail): number {
  if ('bytes' in spec) return spec.bytes
  const largest = pool.largest.find(each => each.raid === raid)?.size ?? 0
  const bytes = alignDown((largest * spec.percentFree) / 100, MIB)
  if (bytes === 0)
    throw new LunarError('ERR_POOL_FULL', `Cannot use ${spec.percentFree}%FREE of pool "${pool.name}" for a ${raid} LUN`, { why: 'that is less than 1 MiB' })
  return bytes
}
