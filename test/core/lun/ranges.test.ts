import { expect, test } from 'vitest'
import { GIB, MIB } from '../../../src/core/base/units.ts'
import { checkRanges, fullyBound, isLessRedundant, parseRanges, rangesOf, recordedRanges, safestOf, typeRuns, typesOf } from '../../../src/core/lun/ranges.ts'
import type { TypeRange } from '../../../src/core/lun/ranges.ts'
import { OPEN_END, stripeAt, typeAt } from '../../../src/metadata/records.ts'

const mixed = parseRanges('0-3MiB:raid0, 3MiB-13MiB:raid1:stripe=2,13MiB-:raid5')

test('ranges are read as users write them', () => {
  expect(parseRanges('0-1GiB:raid1,1GiB-:raid5')).toEqual([
    { offset: 0, length: GIB, raid: 'raid1', stripe: 1 },
    { offset: GIB, length: null, raid: 'raid5', stripe: 1 },
  ])
  expect(parseRanges('0-:raid5')).toEqual([{ offset: 0, length: null, raid: 'raid5', stripe: 1 }])
  expect(parseRanges('0-1GiB:raid1:stripe=3,1GiB-:raid1:stripe=1')).toEqual([
    { offset: 0, length: GIB, raid: 'raid1', stripe: 3 },
    { offset: GIB, length: null, raid: 'raid1', stripe: 1 },
  ])
  expect(checkRanges([{ offset: 0, length: null, raid: 'raid0' }])).toEqual([{ offset: 0, length: null, raid: 'raid0', stripe: 1 }])
  // Neighbours of one type and stripe are one range.
  expect(parseRanges('0-1MiB:raid1,1MiB-2MiB:raid1,2MiB-:raid0')).toEqual([
    { offset: 0, length: 2 * MIB, raid: 'raid1', stripe: 1 },
    { offset: 2 * MIB, length: null, raid: 'raid0', stripe: 1 },
  ])
})

test.each([
  ['', /is not FROM-TO:TYPE/],
  ['0-1GiB', /is not FROM-TO:TYPE/],
  ['0-1GiB:raid1', /must have no end/],
  ['1MiB-:raid1', /nothing is said of 0 B to 1 MiB/],
  ['0-1GiB:raid1,2GiB-:raid5', /nothing is said of 1 GiB to 2 GiB/],
  ['0-2GiB:raid1,1GiB-:raid5', /begins before 2 GiB/],
  ['1GiB-:raid5,0-1GiB:raid1', /nothing is said of 0 B to 1 GiB/],
  ['0-:raid1,1GiB-:raid5', /only the last range has no end/],
  ['0-0:raid1,0-:raid5', /empty or ends before it begins/],
  ['0-2MiB:raid0,2MiB-1MiB:raid1,1MiB-:raid5', /empty or ends before it begins/],
  ['0-1000000:raid1,1000000-:raid5', /1000000 bytes cannot be the end/],
  ['0-4096TiB:raid1,4096TiB-:raid5', /cannot be the end/],
  ['0-1GiB:raid7,1GiB-:raid5', /raid7 is not a redundancy type/],
  ['0-:raid5:stripe=0', /0 stores cannot be interleaved, 1 to 255 can/],
  ['0-:raid5:stripe=256', /256 stores cannot/],
  ['0-:raid5:stripe=', /is not FROM-TO:TYPE or/],
  ['0-:raid5:row=2', /is not FROM-TO:TYPE or/],
  ['0-1GiB:toString,1GiB-:raid5', /is not FROM-TO:TYPE/],
  [`${Array.from({ length: 16 }, (_, i) => `${i}MiB-${i + 1}MiB:raid${i % 2}`).join()},16MiB-:raid5`, /there are 17, the most is 16/],
])('%s is refused', (text, why) => {
  expect(() => parseRanges(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE', why: expect.stringMatching(why) as string }))
})

test('sixteen ranges are as many as fit, and numbers of other programs are checked too', () => {
  const most = parseRanges(`${Array.from({ length: 15 }, (_, i) => `${i}MiB-${i + 1}MiB:raid${i % 2}`).join()},15MiB-:raid5`)
  expect(most).toHaveLength(16)
  expect(rangesOf(recordedRanges(most))).toEqual(most)
  for (const bad of [[], [{ offset: 0, length: 0.5, raid: 'raid0' }], [{ offset: Number.NaN, length: null, raid: 'raid0' }]] as TypeRange[][])
    expect(() => checkRanges(bad)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }))
})

test('what is recorded says the type of every slice', () => {
  const record = recordedRanges(mixed)
  expect(record).toEqual({
    raid: 3,
    stripe: 1,
    ranges: [
      { endSlice: 3, raid: 1, stripe: 1 },
      { endSlice: 13, raid: 2, stripe: 2 },
      { endSlice: OPEN_END, raid: 3, stripe: 1 },
    ],
  })
  // As it is read from the disk: with the places that are not used.
  const read = { ...record, ranges: [...record.ranges, ...Array.from({ length: 13 }, () => ({ endSlice: 0, raid: 0, stripe: 0 }))] }
  expect(rangesOf(read)).toEqual(mixed)
  expect([0, 2, 3, 12, 13, 14, 0x7fff_ffff].map(slice => typeAt(read, slice))).toEqual([1, 1, 2, 2, 3, 3, 3])
  expect([0, 2, 3, 12, 13, 0x7fff_ffff].map(slice => stripeAt(read, slice))).toEqual([1, 1, 2, 2, 1, 1])
  const single = recordedRanges(parseRanges('0-:raid1:stripe=7'))
  expect(single).toEqual({ raid: 2, stripe: 7, ranges: [] })
  expect([typeAt(single, 5), stripeAt(single, 5)]).toEqual([2, 7])
  expect(rangesOf(single)).toEqual([{ offset: 0, length: null, raid: 'raid1', stripe: 7 }])
})

test('types, runs of slices, stores of 8 MiB and redundancy follow from the ranges', () => {
  expect(typesOf(parseRanges('0-1MiB:raid5,1MiB-2MiB:raid0,2MiB-:raid5'))).toEqual(['raid5', 'raid0'])
  expect(safestOf(['raid0', 'raid5', 'raid1'])).toBe('raid5')
  expect(typeRuns(mixed, 2, 14)).toEqual([
    { from: 2, to: 3, raid: 'raid0', stripe: 1 },
    { from: 3, to: 13, raid: 'raid1', stripe: 2 },
    { from: 13, to: 14, raid: 'raid5', stripe: 1 },
  ])
  expect(typeRuns(mixed, 20, 20)).toEqual([])
  // Slices 0 to 7 take a store of raid0, 8 to 15 one of raid5, and two of raid1 are interleaved over both.
  expect([...fullyBound(mixed, 14 * MIB)]).toEqual([
    ['raid0', 8 * MIB],
    ['raid1', 16 * MIB],
    ['raid5', 8 * MIB],
  ])
  expect([...fullyBound(mixed, 2 * MIB)]).toEqual([['raid0', 8 * MIB]])
  // The second region of 24 MiB has two slices, of two stores.
  expect([...fullyBound(parseRanges('0-:raid5:stripe=3'), 26 * MIB)]).toEqual([['raid5', 40 * MIB]])
  const raid1 = parseRanges('0-:raid1')
  expect(isLessRedundant(mixed, raid1, 20 * MIB)).toBe(true)
  expect(isLessRedundant(raid1, mixed, 20 * MIB)).toBe(false)
  expect(isLessRedundant(mixed, mixed, 20 * MIB)).toBe(false)
  expect(isLessRedundant(parseRanges('0-3MiB:raid1,3MiB-:raid0'), raid1, 3 * MIB)).toBe(false)
})
