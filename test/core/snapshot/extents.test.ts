import { expect, test } from 'vitest'
import { withUnknown } from '../../../src/core/snapshot/extents.ts'

const extents = [
  { offset: 0, length: 10, kind: 'hole' },
  { offset: 10, length: 10, kind: 'data' },
  { offset: 20, length: 10, kind: 'hole' },
] as const

test.each([
  { ranges: [], want: 'hole 0-10, data 10-20, hole 20-30' },
  { ranges: [{ offset: 4, length: 2 }], want: 'hole 0-4, data 4-6, hole 6-10, data 10-20, hole 20-30' },
  { ranges: [{ offset: 8, length: 14 }], want: 'hole 0-8, data 8-22, hole 22-30' },
  { ranges: [{ offset: 25, length: 5 }, { offset: 0, length: 3 }, { offset: 3, length: 1 }], want: 'data 0-4, hole 4-10, data 10-20, hole 20-25, data 25-30' }, // prettier-ignore
  { ranges: [{ offset: 0, length: 30 }], want: 'data 0-30' },
])('with $ranges', ({ ranges, want }) => {
  expect(
    withUnknown(extents, ranges)
      .map(({ offset, length, kind }) => `${kind} ${offset}-${offset + length}`)
      .join(', '),
  ).toBe(want)
})
