import { expect, test } from 'vitest'
import { Slab } from '../../../src/core/base/slab.ts'

test('copies keep their bytes until they are given back, and their memory is used again', () => {
  const slab = new Slab()
  const buffers = new Set<ArrayBufferLike>()
  const out: { copy: Uint8Array; value: number }[] = []
  for (let i = 0; i < 2000; i++) {
    const value = i % 251
    const copy = slab.copy(new Uint8Array(4096).fill(value))
    buffers.add(copy.buffer)
    out.push({ copy, value })
    // In another order than they came.
    while (out.length > 100) {
      const [one] = out.splice((i * 7) % out.length, 1)
      expect(one!.copy.every(byte => byte === one!.value)).toBe(true)
      slab.release(one!.copy)
    }
  }
  for (const { copy, value } of out) expect(copy.every(byte => byte === value)).toBe(true)
  // 100 pieces of 4 KiB, 64 in a slab, each of which some piece may keep.
  expect(buffers.size).toBeLessThan(32)
})

test('a long copy has memory of its own, and giving it back is harmless', () => {
  const slab = new Slab()
  const long = slab.copy(new Uint8Array(64 * 1024).fill(1))
  slab.release(long)
  expect(slab.copy(new Uint8Array(512)).buffer).not.toBe(long.buffer)
  expect(long[65_535]).toBe(1)
})
