/** What every write-once device must do, whatever it lies on. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import type { WriteOnceDevice } from '../../src/core/block/write-once.ts'
import { stamp } from './block-device.ts'

export interface WriteOnceFixture {
  readonly device: WriteOnceDevice
  /** The device after its pool was closed and opened again. */
  reopen(): Promise<WriteOnceDevice>
  dispose(): Promise<void>
}

const bytesOf = async (device: WriteOnceDevice, offset: number, length: number): Promise<Uint8Array> => {
  const into = new Uint8Array(length).fill(0xa5)
  await device.read(offset, into)
  return into
}
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** @param make a fresh device of at least 32 blocks of which none is written */
export function writeOnceSuite(name: string, make: () => Promise<WriteOnceFixture>, seeds = 4): void {
  describe(`${name} as a write-once device`, () => {
    let fixture: WriteOnceFixture
    let device: WriteOnceDevice
    let block: number
    beforeEach(async () => {
      fixture = await make()
      device = fixture.device
      block = device.blockSize
    })
    afterEach(() => fixture.dispose())

    test('at first nothing is written, and a read says so', async () => {
      expect(await device.extents(0, device.size)).toEqual([{ offset: 0, length: device.size, kind: 'hole' }])
      await expect(device.read(0, new Uint8Array(block))).rejects.toMatchObject({ code: 'ERR_UNWRITTEN' })
      await expect(device.read(device.size - block, new Uint8Array(block))).rejects.toMatchObject({ code: 'ERR_UNWRITTEN' })
    })

    test('a block takes one write: the same bytes again are well, others are refused and change nothing', async () => {
      const data = stamp(3 * block, 2 * block, 1)
      await device.write(3 * block, data)
      await device.write(3 * block, data)
      const other = stamp(3 * block, 2 * block, 2)
      await expect(device.write(3 * block, other)).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      expect(same(await bytesOf(device, 3 * block, 2 * block), data)).toBe(true)
      const again = await fixture.reopen()
      expect(same(await bytesOf(again, 3 * block, 2 * block), data)).toBe(true)
      await expect(again.write(4 * block, other.subarray(block))).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      await again.write(3 * block, data)
    })

    test('zeros are bytes like others', async () => {
      await device.write(0, new Uint8Array(block))
      expect(same(await bytesOf(device, 0, block), new Uint8Array(block))).toBe(true)
      await expect(device.write(0, stamp(0, block, 1))).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
    })

    test('zeros without bytes follow the same rules, among blocks with bytes and after opening again', async () => {
      const data = stamp(block, block, 1)
      await device.write(block, data)
      await expect(device.zero(0, 4 * block)).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      await device.zero(2 * block, 2 * block)
      await device.write(2 * block, new Uint8Array(2 * block))
      device = await fixture.reopen()
      const wanted = new Uint8Array(4 * block)
      wanted.set(data, block)
      expect(same(await bytesOf(device, 0, 4 * block), wanted)).toBe(true)
      await expect(device.write(3 * block, data)).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      await device.reallocate(2 * block, block)
      await device.write(2 * block, data)
      wanted.set(data, 2 * block)
      expect(same(await bytesOf(device, 0, 4 * block), wanted)).toBe(true)
    })

    test('after a refusal every block of the range is written: a copier has what it wants', async () => {
      const first = stamp(5 * block, block, 1)
      await device.write(5 * block, first)
      const wide = stamp(4 * block, 3 * block, 2)
      await expect(device.write(4 * block, wide)).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      wide.set(first, block)
      expect(same(await bytesOf(device, 4 * block, 3 * block), wide)).toBe(true)
    })

    test('a read that meets an unwritten block is refused; laid over something, what is written shows', async () => {
      const data = stamp(2 * block, block, 1)
      await device.write(2 * block, data)
      await expect(device.read(block, new Uint8Array(3 * block))).rejects.toMatchObject({ code: 'ERR_UNWRITTEN' })
      const into = new Uint8Array(3 * block).fill(7)
      await device.overlay(block, into)
      const wanted = new Uint8Array(3 * block).fill(7)
      wanted.set(data, block)
      expect(same(into, wanted)).toBe(true)
      expect(await device.extents(0, 4 * block)).toEqual([
        { offset: 0, length: 2 * block, kind: 'hole' },
        { offset: 2 * block, length: block, kind: 'data' },
        { offset: 3 * block, length: block, kind: 'hole' },
      ])
    })

    test('of writers at once one wins, and the block is whole', async () => {
      const writes = [1, 2, 3, 4].map(generation => stamp(0, 2 * block, generation))
      const outcomes = await Promise.allSettled(writes.map(data => device.write(0, data)))
      const won = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []))
      expect(won).toHaveLength(1)
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      expect(same(await bytesOf(device, 0, 2 * block), writes[won[0]!]!)).toBe(true)
    })

    test('ranges are whole blocks inside of the device', async () => {
      for (const [offset, length] of [
        [1, block],
        [0, block - 512],
        [device.size, block],
        [device.size - block, 2 * block],
      ] as const) {
        await expect(device.write(offset, new Uint8Array(length))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
        await expect(device.read(offset, new Uint8Array(length))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
        await expect(device.reallocate(offset, length)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
      }
      await device.write(0, new Uint8Array(0))
      await device.read(0, new Uint8Array(0))
      await device.reallocate(0, 0)
    })

    test('a reallocated range takes writes again, its neighbours do not', async () => {
      await device.write(0, stamp(0, 8 * block, 1))
      await device.reallocate(2 * block, 3 * block)
      await expect(device.read(2 * block, new Uint8Array(block))).rejects.toMatchObject({ code: 'ERR_UNWRITTEN' })
      device = await fixture.reopen()
      await expect(device.read(4 * block, new Uint8Array(block))).rejects.toMatchObject({ code: 'ERR_UNWRITTEN' })
      const data = stamp(2 * block, 3 * block, 2)
      await device.write(2 * block, data)
      await expect(device.write(5 * block, stamp(5 * block, block, 2))).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
      const wanted = stamp(0, 8 * block, 1)
      wanted.set(data, 2 * block)
      expect(same(await bytesOf(device, 0, 8 * block), wanted)).toBe(true)
    })

    test('reallocated as a whole it is as new, and takes every block again', async () => {
      await device.write(0, stamp(0, device.size, 1))
      await device.reallocate(0, device.size)
      expect(await device.extents(0, device.size)).toEqual([{ offset: 0, length: device.size, kind: 'hole' }])
      await device.write(0, stamp(0, device.size, 2))
      device = await fixture.reopen()
      expect(same(await bytesOf(device, 0, device.size), stamp(0, device.size, 2))).toBe(true)
    })

    test.each(Array.from({ length: seeds }, (_, i) => i + 1))('writes, reads and reallocations at random match a model, seed %i', async seed => {
      const random = new Random(seed)
      const count = device.size / block
      const model: (Uint8Array | undefined)[] = Array.from({ length: count }, () => undefined)
      for (let step = 0; step < 150; step++) {
        const dice = random.below(100)
        // Few at a time, each in blocks of its own, so that the model need not guess an order.
        const pieces = Array.from({ length: 4 }, (_, i) => {
          const quarter = Math.floor(count / 4)
          const length = random.between(1, Math.min(quarter, random.chance(0.1) ? quarter : 5))
          return { from: i * quarter + random.below(quarter - length + 1), length }
        })
        await Promise.all(
          pieces.map(async ({ from, length }) => {
            if (dice < 60) {
              const dull = step % 4 === 0
              const data = dull ? new Uint8Array(length * block) : stamp(from * block, length * block, step)
              const refused = model.slice(from, from + length).some((bytes, i) => bytes && !same(bytes, data.subarray(i * block, (i + 1) * block)))
              const writing = dull && length % 2 === 0 ? device.zero(from * block, length * block) : device.write(from * block, data)
              if (refused) await expect(writing).rejects.toMatchObject({ code: 'ERR_ALREADY_WRITTEN' })
              else await writing
              for (let i = 0; i < length; i++) model[from + i] ??= data.slice(i * block, (i + 1) * block)
            } else if (dice < 75) {
              await device.reallocate(from * block, length * block)
              model.fill(undefined, from, from + length)
            } else {
              const into = new Uint8Array(length * block)
              await device.overlay(from * block, into)
              for (let i = 0; i < length; i++) expect(same(into.subarray(i * block, (i + 1) * block), model[from + i] ?? new Uint8Array(block))).toBe(true)
            }
          }),
        )
        if (dice === 99) device = await fixture.reopen()
      }
      const into = new Uint8Array(device.size)
      await device.overlay(0, into)
      for (let i = 0; i < count; i++) expect(same(into.subarray(i * block, (i + 1) * block), model[i] ?? new Uint8Array(block)), `block ${i}`).toBe(true)
    })
  })
}
