/** The log: scattered blocks lie together, and what was given up comes back. */
import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { WriteOnce, type Place, type PlacedBlock, type WriteOnceMap } from '../../../src/core/block/write-once.ts'
import { LOG_SEGMENT, LOG_SPARE, LogSpace } from '../../../src/core/wod/log-space.ts'
import { stamp } from '../../conformance/block-device.ts'

const BLOCK = 64 * KIB

class MemoryMap implements WriteOnceMap {
  readonly places = new Map<number, Place>()
  load(): undefined {
    return undefined
  }
  get(block: number): Place | undefined {
    return this.places.get(block)
  }
  async put(blocks: readonly PlacedBlock[]): Promise<void> {
    await new Promise(setImmediate)
    for (const { block, slot, crc } of blocks) this.places.set(block, { slot, crc })
  }
  clear(blocks: readonly number[]): Promise<void> {
    for (const block of blocks) this.places.delete(block)
    return Promise.resolve()
  }
  clearAll(): Promise<void> {
    this.places.clear()
    return Promise.resolve()
  }
  renewed(): void {
    this.places.clear()
  }
  async *written(from: number, to: number): AsyncGenerator<PlacedBlock> {
    for (const [block, place] of [...this.places].sort(([a], [b]) => a - b)) if (block >= from && block < to) yield { block, ...place }
    await Promise.resolve()
  }
}

class CountedDevice extends MemoryDevice {
  trims = 0
  writes = 0
  /** While it is set, reads wait for it. */
  reading: Promise<void> | undefined
  override async read(offset: number, into: Uint8Array): Promise<void> {
    await this.reading
    return super.read(offset, into)
  }
  override async write(offset: number, data: Uint8Array): Promise<void> {
    this.writes++
    await new Promise(setImmediate)
    return super.write(offset, data)
  }
  trimFails = false
  override trim(offset: number, length: number): Promise<void> {
    this.trims++
    if (this.trimFails) return Promise.reject(new LunarError('ERR_IO', 'no trimming'))
    return super.zero(offset, length)
  }
}

function make(size: number): { device: WriteOnce; below: CountedDevice; map: MemoryMap } {
  const map = new MemoryMap()
  const below = new CountedDevice(size + LOG_SPARE * LOG_SEGMENT)
  const space = new LogSpace(below, BLOCK, below.size, map, size / BLOCK, false)
  return { device: new WriteOnce('the log', size, BLOCK, map, space), below, map }
}

test('blocks from everywhere lie in one segment', async () => {
  const { device, below } = make(64 * MIB)
  for (let block = 0; block < 1024; block += 64) await device.write(block * BLOCK, stamp(block * BLOCK, BLOCK, 1))
  expect(below.allocated).toBe(MIB)
})

test('a device that is always full but for one block goes on, and the log is cleaned', async () => {
  const { device, below } = make(4 * MIB)
  const random = new Random(3)
  const generations = Array.from({ length: 64 }, () => 1)
  await device.write(0, stamp(0, device.size, 1))
  for (let generation = 2; generation < 400; generation++) {
    const block = random.below(64)
    await device.reallocate(block * BLOCK, BLOCK)
    await device.write(block * BLOCK, stamp(block * BLOCK, BLOCK, generation))
    generations[block] = generation
  }
  const into = new Uint8Array(BLOCK)
  for (const [block, generation] of generations.entries()) {
    await device.read(block * BLOCK, into)
    expect(Buffer.compare(into, stamp(block * BLOCK, BLOCK, generation)), `block ${block}`).toBe(0)
  }
  expect(below.trims).toBeGreaterThan(20)
})

test('many writers on a full log wait for each other and all get room', async () => {
  const { device, map } = make(4 * MIB)
  await device.write(0, stamp(0, device.size, 1))
  for (let round = 2; round < 20; round++) {
    const blocks = new Random(round).shuffle(Array.from({ length: 64 }, (_, i) => i)).slice(0, 20)
    await Promise.all(
      blocks.map(async block => {
        await device.reallocate(block * BLOCK, BLOCK)
        await device.write(block * BLOCK, stamp(block * BLOCK, BLOCK, round))
        await device.read(block * BLOCK, new Uint8Array(BLOCK))
      }),
    )
  }
  expect(map.places.size).toBe(64)
  expect(new Set([...map.places.values()].map(({ slot }) => slot)).size).toBe(64)
})

test('a read that began before its block was moved has the old bytes below it to the end', async () => {
  const { device, below, map } = make(2 * MIB)
  await device.write(0, stamp(0, device.size, 1))
  const odd = Array.from({ length: 16 }, (_, i) => 2 * i + 1)
  for (const block of odd) await device.reallocate(block * BLOCK, BLOCK)
  for (const block of odd) await device.write(block * BLOCK, stamp(block * BLOCK, BLOCK, 2))
  await device.reallocate(BLOCK, BLOCK)
  const before = new Map(map.places)
  let go: () => void = () => undefined
  below.reading = new Promise(resolve => (go = resolve))
  const into = [0, 2, 16, 18].map(block => ({ block, bytes: new Uint8Array(BLOCK) }))
  const reads = into.map(({ block, bytes }) => device.read(block * BLOCK, bytes))
  await new Promise(setImmediate)
  below.reading = undefined
  // What is written now needs a cleaned segment: blocks move while the reads wait.
  const write = device.write(BLOCK, stamp(BLOCK, BLOCK, 3))
  for (let i = 0; i < 200; i++) await new Promise(setImmediate)
  expect(into.some(({ block }) => map.get(block)!.slot !== before.get(block)!.slot)).toBe(true)
  go()
  await Promise.all([...reads, write])
  for (const { block, bytes } of into) expect(Buffer.compare(bytes, stamp(block * BLOCK, BLOCK, 1)), `block ${block}`).toBe(0)
})

test('segments that cannot be given back are filled again all the same', async () => {
  const { device, below } = make(4 * MIB)
  await device.write(0, stamp(0, device.size, 1))
  for (const [offset, length] of [
    [0, 4 * MIB],
    [MIB, 3 * MIB],
  ] as const) {
    below.trimFails = true
    await expect(device.reallocate(offset, length)).rejects.toMatchObject({ code: 'ERR_IO' })
    below.trimFails = false
    await device.write(offset, stamp(offset, length, 2))
  }
  const into = new Uint8Array(device.size)
  await device.read(0, into)
  expect(Buffer.compare(into, stamp(0, device.size, 2))).toBe(0)
})
