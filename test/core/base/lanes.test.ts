import { expect, test } from 'vitest'
import { inLanes } from '../../../src/core/base/lanes.ts'
import { Slab } from '../../../src/core/base/slab.ts'

test('all items, never more than the lanes at a time', async () => {
  let running = 0
  let most = 0
  const seen: number[] = []
  await inLanes(
    Array.from({ length: 20 }, (_, i) => i),
    3,
    async item => {
      most = Math.max(most, ++running)
      await new Promise(resolve => setImmediate(resolve))
      running--
      seen.push(item)
    },
  )
  expect(most).toBe(3)
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i))
})

test('the first failure is thrown when nothing is under way any more, and nothing new is begun', async () => {
  const begun: number[] = []
  let running = 0
  const work = inLanes([0, 1, 2, 3, 4], 2, async item => {
    begun.push(item)
    running++
    await new Promise(resolve => setImmediate(resolve))
    running--
    if (item === 0) throw new Error('first')
  })
  await expect(work).rejects.toThrow('first')
  expect(running).toBe(0)
  expect(begun).not.toContain(4)
})

test('copies from a slab are their own, whatever becomes of the others', () => {
  const slab = new Slab()
  const original = new Uint8Array(1000).fill(1)
  const copies = Array.from({ length: 600 }, (_, i) => {
    original.fill(i % 251)
    return slab.copy(original)
  })
  const large = slab.copy(new Uint8Array(100_000).fill(9))
  copies.forEach((copy, i) => {
    expect(copy.length).toBe(1000)
    expect(copy.every(byte => byte === i % 251)).toBe(true)
  })
  expect(large.every(byte => byte === 9)).toBe(true)
  expect(new Set(copies.map(({ buffer }) => buffer)).size).toBe(3)
})
