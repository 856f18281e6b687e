/** What every block device must do; run on memory, files, the simulated disk and LUNs. */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import type { BlockDevice } from '../../src/core/block/device.ts'

export interface DeviceFixture {
  readonly device: BlockDevice
  /** Closes the device and removes what it left. */
  dispose(): Promise<void>
}

/** Bytes that name their place and a generation, so that a misplaced block shows. */
export function stamp(offset: number, length: number, generation: number): Uint8Array {
  const data = new Uint8Array(length)
  const view = new DataView(data.buffer)
  for (let at = 0; at < length; at += 16) {
    view.setFloat64(at, offset + at)
    view.setUint32(at + 8, generation)
    view.setUint32(at + 12, 0x4c554e41)
  }
  return data
}

const readBack = async (device: BlockDevice, offset: number, length: number): Promise<Uint8Array> => {
  const into = new Uint8Array(length).fill(0xa5)
  await device.read(offset, into)
  return into
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** @param make a fresh device that reads as zeros, of at least 1 MiB */
export function blockDeviceSuite(name: string, make: () => Promise<DeviceFixture>, runs = 25): void {
  describe(`${name} as a block device`, () => {
    let fixture: DeviceFixture
    let device: BlockDevice
    beforeEach(async () => {
      fixture = await make()
      device = fixture.device
    })
    afterEach(() => fixture.dispose())

    test('reads as zeros at first', async () => {
      expect(same(await readBack(device, 0, 65536), new Uint8Array(65536))).toBe(true)
      expect(same(await readBack(device, device.size - 65536, 65536), new Uint8Array(65536))).toBe(true)
    })

    test('returns what was written, first block, last block and across', async () => {
      const block = device.blockSize
      for (const [offset, length] of [
        [0, block],
        [device.size - block, block],
        [block, 3 * block],
        [65536 - block, 65536 + 2 * block],
        [0, 1024 * 1024],
      ] as const) {
        const data = stamp(offset, length, length)
        await device.write(offset, data)
        expect(same(await readBack(device, offset, length), data)).toBe(true)
      }
    })

    test('leaves neighbours alone', async () => {
      const block = device.blockSize
      await device.write(0, stamp(0, 16 * block, 1))
      await device.write(5 * block, stamp(5 * block, block, 2))
      const wanted = stamp(0, 16 * block, 1)
      wanted.set(stamp(5 * block, block, 2), 5 * block)
      expect(same(await readBack(device, 0, 16 * block), wanted)).toBe(true)
    })

    test('gathers and scatters parts in order', async () => {
      const block = device.blockSize
      const lengths = [block, 4 * block, 2 * block, 9 * block]
      const total = lengths.reduce((sum, length) => sum + length, 0)
      const whole = stamp(3 * block, total, 7)
      let at = 0
      const parts = lengths.map(length => whole.subarray(at, (at += length)))
      await device.writev(3 * block, parts)
      expect(same(await readBack(device, 3 * block, total), whole)).toBe(true)
      const into = [...lengths].reverse().map(length => new Uint8Array(length))
      await device.readv(3 * block, into)
      expect(same(Buffer.concat(into), whole)).toBe(true)
    })

    test('does nothing for no bytes', async () => {
      await device.write(0, new Uint8Array(0))
      await device.writev(0, [])
      await device.readv(0, [])
      await device.read(0, new Uint8Array(0))
      await device.zero(0, 0)
      await device.trim(0, 0)
      expect(await device.extents(0, 0)).toEqual([])
    })

    test('many requests at once do not mix', async () => {
      const block = device.blockSize
      const places = Array.from({ length: 64 }, (_, index) => index * 4 * block)
      await Promise.all(places.map(offset => device.write(offset, stamp(offset, 4 * block, offset))))
      await device.flush()
      const found = await Promise.all(places.map(offset => readBack(device, offset, 4 * block)))
      expect(found.findIndex((data, index) => !same(data, stamp(places[index]!, 4 * block, places[index]!)))).toBe(-1)
    })

    test('zero makes zeros of a part of what was written', async () => {
      const data = stamp(0, 262144, 3)
      await device.write(0, data)
      await device.zero(device.blockSize, 131072)
      data.fill(0, device.blockSize, device.blockSize + 131072)
      expect(same(await readBack(device, 0, 262144), data)).toBe(true)
    })

    test('trim leaves what was there or zeros, and nothing else', async () => {
      const data = stamp(0, 262144, 4)
      await device.write(0, data)
      await device.trim(65536, 131072)
      const found = await readBack(device, 0, 262144)
      for (let at = 0; at < 262144; at += device.blockSize) {
        const block = found.subarray(at, at + device.blockSize)
        const kept = same(block, data.subarray(at, at + device.blockSize))
        const zeroed = at >= 65536 && at < 196608 && block.every(byte => byte === 0)
        expect(kept || zeroed, `block at ${at}`).toBe(true)
      }
    })

    test('flushes that come together all resolve', async () => {
      await device.write(0, stamp(0, 4096, 1))
      expect(await Promise.all([device.flush(), device.flush(), device.flush(), device.flush()])).toHaveLength(4)
    })

    test('after close nothing can be read or written', async () => {
      await device.close()
      await expect(device.read(0, new Uint8Array(device.blockSize))).rejects.toThrow()
      await expect(device.write(0, new Uint8Array(device.blockSize))).rejects.toThrow()
    })

    test('random operations match a model, and extents tell the truth', async () => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), async seed => {
          await using owned = await disposable(make)
          await againstModel(owned.device, new Random(seed))
        }),
        { numRuns: runs },
      )
    })
  })
}

async function disposable(make: () => Promise<DeviceFixture>): Promise<AsyncDisposable & { device: BlockDevice }> {
  const fixture = await make()
  return { device: fixture.device, [Symbol.asyncDispose]: () => fixture.dispose() }
}

/** 60 operations inside of the first MiB, each followed by a comparison of some range. */
async function againstModel(device: BlockDevice, random: Random): Promise<void> {
  const span = 1024 * 1024
  const blocks = span / device.blockSize
  const model = new Uint8Array(span)
  for (let step = 1; step <= 60; step++) {
    const first = random.below(blocks)
    const offset = first * device.blockSize
    const length = random.between(1, Math.min(blocks - first, random.pick([1, 8, 64, 512]))) * device.blockSize
    const action = random.below(8)
    if (action < 4) {
      const data = stamp(offset, length, step)
      model.set(data, offset)
      if (action === 0) {
        const middle = random.below(length / device.blockSize + 1) * device.blockSize
        await device.writev(offset, [data.subarray(0, middle), data.subarray(middle)])
      } else {
        await device.write(offset, data)
      }
    } else if (action === 4) {
      model.fill(0, offset, offset + length)
      await device.zero(offset, length)
    } else if (action === 5) {
      await device.flush()
    } else {
      const found = await readBack(device, offset, length)
      expect(same(found, model.subarray(offset, offset + length)), `read of ${length} at ${offset}, step ${step}`).toBe(true)
    }
    if (step % 20 === 0) await checkExtents(device, model, offset, length)
  }
  expect(same(await readBack(device, 0, span), model), 'all of it at the end').toBe(true)
}

/** In order, without gaps, of the right length, and what is a hole or zero in them is zero in the model. */
async function checkExtents(device: BlockDevice, model: Uint8Array, offset: number, length: number): Promise<void> {
  let at = offset
  for (const extent of await device.extents(offset, length)) {
    expect(extent.offset).toBe(at)
    expect(extent.length).toBeGreaterThan(0)
    expect(extent.length % device.blockSize).toBe(0)
    at += extent.length
    if (extent.kind !== 'data')
      expect(
        model.subarray(extent.offset, at).every(byte => byte === 0),
        `${extent.kind} at ${extent.offset}+${extent.length}`,
      ).toBe(true)
  }
  expect(at).toBe(offset + length)
}
