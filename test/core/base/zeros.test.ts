import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isZero } from '../../../src/core/base/zeros.ts'

const lengths = fc.oneof(fc.nat(300), fc.integer({ min: 65_000, max: 200_000 }))

test('zeros are told from anything else', () => {
  fc.assert(
    fc.property(lengths, fc.nat(20), fc.nat(), (length, offset, place) => {
      const bytes = new Uint8Array(length + offset).fill(1, 0, offset).subarray(offset)
      expect(isZero(bytes)).toBe(true)
      if (length === 0) return
      bytes[place % length] = 1
      expect(isZero(bytes)).toBe(false)
    }),
  )
})
