import fc from 'fast-check'
import { expect, test } from 'vitest'
import { homeOf, homesOf, regionOf, sliceInHome, slicesOfHome } from '../../../src/core/lun/homes.ts'

const slices = fc.oneof(fc.integer({ min: 0, max: 10_000 }), fc.integer({ min: 2 ** 31 - 5000, max: 2 ** 31 + 5000 }))
const stripes = fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(255))

test('one store after the other: what three interleaved stores have of 24 MiB', () => {
  expect([0, 1, 2, 3, 23, 24, 25].map(slice => [homeOf(slice, 3), sliceInHome(slice, 3)])).toEqual([
    [0, 0],
    [1, 0],
    [2, 0],
    [0, 1],
    [2, 7],
    [3, 0],
    [4, 0],
  ])
  expect(slicesOfHome(4, 3)).toEqual([25, 28, 31, 34, 37, 40, 43, 46])
  expect([7, 8, 9].map(slice => [homeOf(slice, 1), sliceInHome(slice, 1)])).toEqual([
    [0, 7],
    [1, 0],
    [1, 1],
  ])
})

test('every slice has one place in one home, and slices that follow each other are of different stores', () => {
  fc.assert(
    fc.property(slices, stripes, (slice, stripe) => {
      const home = homeOf(slice, stripe)
      expect(slicesOfHome(home, stripe)[sliceInHome(slice, stripe)]).toBe(slice)
      const region = regionOf(slice, stripe)
      expect(home - region).toBe(slice % stripe)
      // A region begins at a multiple of 8 MiB, so an aligned 8 MiB never crosses one.
      expect(regionOf(slice - (slice % 8), stripe)).toBe(region)
      expect(regionOf(slice - (slice % 8) + 7, stripe)).toBe(region)
    }),
  )
})

test('the homes of a range are those of its slices', () => {
  fc.assert(
    fc.property(slices, fc.integer({ min: 0, max: 3000 }), stripes, (from, count, stripe) => {
      const all = new Set(Array.from({ length: count }, (_, i) => homeOf(from + i, stripe)))
      expect(new Set(homesOf(from, from + count, stripe))).toEqual(all)
    }),
    { numRuns: 50 },
  )
})
