/** Redundancy types of a LUN by address range, and how many stores are interleaved in them (features.md A8): pure. */
import { LunarError } from '../base/errors.ts'
import { formatSize, parseSize } from '../base/units.ts'
import { OPEN_END, raidName, raidTypes, STRIPE_MAX, type LunRecord } from '../../metadata/records.ts'
import { SLICE, STORE, survivesOf, type Redundancy } from '../raid/geometry.ts'
import { homesOf } from './homes.ts'

/** Ranges that a LUN's record has room for. */
const RANGES_MAX = 16

/** Addresses of one redundancy type. Bytes, in steps of 1 MiB; the last one of a LUN has no end, so a LUN grows in its type. */
export interface TypeRange {
  readonly offset: number
  /** null: without an end. */
  readonly length: number | null
  readonly raid: Redundancy
  /** Redundant stores that are interleaved, 1 to 255. */
  readonly stripe: number
}

/** The same as others say it: without `stripe` it is 1. */
export type AskedRange = Omit<TypeRange, 'stripe'> & { readonly stripe?: number }

/** One type, or the types of the ranges, each once: `raid1+raid5`. */
export type RaidText = Redundancy | `${Redundancy}+${string}`

type RecordedRanges = Pick<LunRecord, 'raid' | 'stripe' | 'ranges'>

/** As users write them: `0-1GiB:raid1,1GiB-:raid5:stripe=2`. @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE` */
export function parseRanges(text: string): TypeRange[] {
  const ranges = text.split(',').map((part): TypeRange => {
    const match = /^([^-:]+)-([^-:]*):([a-z0-9]+)(?::stripe=(\d{1,9}))?$/.exec(part.trim())
    if (!match) throw refused(`"${part}" is not FROM-TO:TYPE or FROM-TO:TYPE:stripe=N`)
    const [, from = '', to = '', raid = '', stripe = '1'] = match
    const offset = parseSize(from)
    return { offset, length: to.trim() === '' ? null : parseSize(to) - offset, raid: raid as Redundancy, stripe: Number(stripe) }
  })
  return checkRanges(ranges)
}

/**
 * The same ranges, with neighbours of one type and stripe joined.
 * @throws LunarError `ERR_USAGE` unless they follow each other from 0 on without gap or overlap, in steps of 1 MiB, at most 16, and only the last is without
 *   an end
 */
export function checkRanges(ranges: readonly AskedRange[]): TypeRange[] {
  const joined: TypeRange[] = []
  let next: number | null = 0
  for (const { offset, length, raid, stripe = 1 } of ranges) {
    if (!Object.hasOwn(raidTypes, raid)) throw refused(`${raid} is not a redundancy type; there are ${Object.keys(raidTypes).join(', ')}`)
    if (!Number.isSafeInteger(stripe) || stripe < 1 || stripe > STRIPE_MAX) throw refused(`${stripe} stores cannot be interleaved, 1 to ${STRIPE_MAX} can`)
    if (next === null) throw refused('only the last range has no end')
    if (!Number.isSafeInteger(offset) || offset !== next)
      throw refused(
        offset > next
          ? `nothing is said of ${formatSize(next)} to ${formatSize(offset)}`
          : `the range from ${formatSize(offset)} on begins before ${formatSize(next)}, where the one before it ends`,
      )
    if (length !== null && (!Number.isSafeInteger(length) || length <= 0))
      throw refused(`the range from ${formatSize(offset)} on is empty or ends before it begins`)
    next = length === null ? null : offset + length
    if (next !== null && (next % SLICE !== 0 || next / SLICE >= OPEN_END)) throw refused(`${next} bytes cannot be the end of a range`)
    const last = joined.at(-1)
    if (last?.raid === raid && last.stripe === stripe) joined[joined.length - 1] = { ...last, length: next === null ? null : next - last.offset }
    else joined.push({ offset, length, raid, stripe })
  }
  if (next !== null) throw refused(ranges.length === 0 ? 'there are none' : 'the last range must have no end, so that the LUN can grow')
  if (joined.length > RANGES_MAX) throw refused(`there are ${joined.length}, the most is ${RANGES_MAX}`)
  return joined
}

function refused(why: string): LunarError {
  return new LunarError('ERR_USAGE', 'Cannot use these ranges of redundancy types', {
    why,
    fix: 'name all addresses in order, in steps of 1 MiB, the last range without an end: 0-1GiB:raid1,1GiB-:raid5',
  })
}

/** The fields of a LUN's record for checked ranges. A LUN of one type has none. */
export function recordedRanges(ranges: readonly TypeRange[]): RecordedRanges {
  const last = ranges.at(-1)!
  const usual = { raid: raidTypes[last.raid], stripe: last.stripe }
  if (ranges.length === 1) return { ...usual, ranges: [] }
  return {
    ...usual,
    ranges: ranges.map(range => ({
      endSlice: range.length === null ? OPEN_END : (range.offset + range.length) / SLICE,
      raid: raidTypes[range.raid],
      stripe: range.stripe,
    })),
  }
}

/** The ranges of a record, also of one that has a single type. */
export function rangesOf({ raid, stripe, ranges }: RecordedRanges): TypeRange[] {
  const used = ranges.filter(({ endSlice }) => endSlice > 0)
  if (used.length === 0) return [{ offset: 0, length: null, raid: raidName(raid), stripe }]
  return used.map((range, i) => {
    const from = i === 0 ? 0 : used[i - 1]!.endSlice
    const length = range.endSlice === OPEN_END ? null : (range.endSlice - from) * SLICE
    return { offset: from * SLICE, length, raid: raidName(range.raid), stripe: range.stripe }
  })
}

/** Each type once, in the order of addresses. */
export const typesOf = (ranges: readonly TypeRange[]): Redundancy[] => [...new Set(ranges.map(({ raid }) => raid))]

export const raidText = (types: readonly Redundancy[]): RaidText => types.join('+') as RaidText

/** The parts of the slices [from, to) that have one type and stripe each, in order. */
export function typeRuns(ranges: readonly TypeRange[], from: number, to: number): { from: number; to: number; raid: Redundancy; stripe: number }[] {
  return ranges.flatMap(({ offset, length, raid, stripe }) => {
    const first = Math.max(from, offset / SLICE)
    const end = Math.min(to, length === null ? to : (offset + length) / SLICE)
    return end > first ? [{ from: first, to: end, raid, stripe }] : []
  })
}

/** Bytes of addresses in redundant stores that a LUN of this size takes when all of it is bound, by type. Stores have one type and stripe each. */
export function fullyBound(ranges: readonly TypeRange[], size: number): Map<Redundancy, number> {
  const homes = new Map<string, Set<number>>()
  const bytes = new Map<Redundancy, number>()
  for (const { from, to, raid, stripe } of typeRuns(ranges, 0, size / SLICE)) {
    const kind = `${raid} ${stripe}`
    const own = homes.get(kind) ?? new Set<number>()
    homes.set(kind, own)
    const before = own.size
    for (const home of homesOf(from, to, stripe)) own.add(home)
    bytes.set(raid, (bytes.get(raid) ?? 0) + (own.size - before) * STORE)
  }
  return bytes
}

/** Whether an image survives fewer lost disks than its source at some address below `size`. */
export function isLessRedundant(image: readonly TypeRange[], source: readonly TypeRange[], size: number): boolean {
  return typeRuns(source, 0, size / SLICE).some(run => typeRuns(image, run.from, run.to).some(({ raid }) => survivesOf[raid] < survivesOf[run.raid]))
}

/** The type that survives the most lost disks. */
export const safestOf = (types: readonly Redundancy[]): Redundancy => types.reduce((best, raid) => (survivesOf[raid] > survivesOf[best] ? raid : best))
