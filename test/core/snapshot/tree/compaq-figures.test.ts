/**
 * Figures 9 to 12 of the Compaq document: the operations of each figure, the bytes of every volume, and the number of copies, which is at
 * most the figure's (hazard 57). A chunk stands for its segment.
 */
import { beforeEach, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

/** A chunk lies in one stripe unit, so a copy of it is one write of this length. */
const CHUNK = 32 * KIB
const SIZE = MIB

let disks: SimulatedDisk[]
let pool: OpenPool
let copies = 0

const volume = (name: string): BlockDevice =>
  name.includes('@') ? pool.trees.volume(pool.trees.find(name)) : pool.relationships.volume(pool.luns.find(name).number)
/** Writes a block of a chunk, so that the rest of it counts. */
const put = (name: string, chunk: number, value: number): Promise<void> => volume(name).write(chunk * CHUNK, new Uint8Array(512).fill(value))
const byte = async (name: string, chunk: number, at = 0): Promise<number> => {
  const into = new Uint8Array(512)
  await volume(name).read(chunk * CHUNK + at, into)
  return into[0]!
}
const bytes = (...names: string[]): Promise<number[]> => Promise.all(names.map(name => byte(name, 1)))
const create = (name: string, readOnly = false): Promise<unknown> => pool.trees.create({ names: [name], readOnly, chunkBytes: CHUNK })

/** Copies of chunks that `act` made, as the disks saw them. */
async function copiesOf(act: () => Promise<unknown>): Promise<number> {
  copies = 0
  await act()
  await pool.relationships.drain()
  return copies
}

beforeEach(async () => {
  disks = simulatedDisks(4)
  await createSimulated(disks)
  pool = await openSimulated(disks)
  await pool.luns.create({ name: 'LD', size: SIZE, raid: 'raid0', reserve: false })
  for (let chunk = 0; chunk < 4; chunk++) await volume('LD').write(chunk * CHUNK, new Uint8Array(CHUNK).fill(10 + chunk))
  for (const disk of disks) {
    const { write } = disk
    disk.write = (offset, data) => {
      if (data.length === CHUNK) copies++
      return write.call(disk, offset, data)
    }
  }
})

test('Fig. 9: a snapshot is one commit, copies nothing, and costs the same on a LUN of any size', async () => {
  await pool.luns.create({ name: 'large', size: 1024 * 1024 * MIB, raid: 'raid0', reserve: false })
  const counts: { writes: number; flushes: number }[] = []
  // The first one of all makes the store, and the first of each its tree.
  for (const name of ['LD@a', 'large@a']) await pool.trees.create({ names: [name] })
  for (const name of ['LD@b', 'large@b']) {
    for (const disk of disks) disk.resetCounters()
    expect(await copiesOf(() => pool.trees.create({ names: [name] }))).toBe(0)
    counts.push({
      writes: disks.reduce((sum, { counters }) => sum + counters.writes + counters.durables, 0),
      flushes: Math.max(...disks.map(({ counters }) => counters.flushes)),
    })
  }
  expect(counts[1]).toEqual(counts[0])
})

test('Fig. 10: stacked snapshots share what nobody wrote, and all read it from the newest volume', async () => {
  for (let i = 0; i <= 3; i++) expect(await copiesOf(() => create(`LD@S${i}`))).toBe(0)
  expect(await bytes('LD', 'LD@S3', 'LD@S2', 'LD@S1', 'LD@S0')).toEqual([11, 11, 11, 11, 11])
  expect(await pool.trees.stores.slots(pool.trees.stores.all[0]!).usedBytes()).toBe(0)
})

test('Figs. 11a to 11c: a write to the newest volume copies the old chunk once, however many snapshots there are', async () => {
  for (let i = 0; i <= 3; i++) await create(`LD@S${i}`)
  expect(await copiesOf(() => put('LD', 1, 50))).toBe(1)
  expect(await bytes('LD', 'LD@S3', 'LD@S2', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11, 11])
  expect(await byte('LD', 1, 512)).toBe(11)
  // The sharing of this chunk is over: the next write copies nothing.
  expect(await copiesOf(() => put('LD', 1, 51))).toBe(0)
  expect(await bytes('LD', 'LD@S3', 'LD@S0')).toEqual([51, 11, 11])
})

test('Figs. 12a to 12c: a write to a snapshot in the middle costs one copy, where the document needs two, and changes no other', async () => {
  for (let i = 0; i <= 3; i++) await create(`LD@S${i}`)
  expect(await copiesOf(() => put('LD@S2', 1, 60))).toBe(1)
  expect(await bytes('LD', 'LD@S3', 'LD@S2', 'LD@S1', 'LD@S0')).toEqual([11, 11, 60, 11, 11])
  expect(await byte('LD@S2', 1, 512)).toBe(11)
  expect(await copiesOf(() => put('LD', 1, 50))).toBe(1)
  expect(await bytes('LD', 'LD@S3', 'LD@S2', 'LD@S1', 'LD@S0')).toEqual([50, 11, 60, 11, 11])
  expect(await copiesOf(() => put('LD@S2', 1, 61))).toBe(0)
  // A write that covers the chunk needs nothing of what it held.
  expect(await copiesOf(() => volume('LD@S1').write(CHUNK, new Uint8Array(CHUNK).fill(70)))).toBe(1)
  expect(await bytes('LD', 'LD@S3', 'LD@S2', 'LD@S1', 'LD@S0')).toEqual([50, 11, 61, 70, 11])
})

test('a chunk that snapshots and relationships lack is read once and copied once for each', async () => {
  for (const name of ['I', 'J']) await pool.luns.create({ name, size: SIZE, raid: 'raid0', reserve: false })
  for (const image of ['I', 'J']) {
    const { relationship } = await pool.relationships.configure({ source: 'LD', image, chunkBytes: CHUNK })
    await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
  }
  for (let i = 0; i <= 3; i++) await create(`LD@S${i}`)
  let reads = 0
  for (const disk of disks) {
    const { read } = disk
    disk.read = (offset, into) => {
      if (into.length === CHUNK) reads++
      return read.call(disk, offset, into)
    }
  }
  expect(await copiesOf(() => put('LD', 1, 50))).toBe(3)
  expect(reads).toBe(1)
  expect(await bytes('LD', 'I', 'J', 'LD@S3', 'LD@S0')).toEqual([50, 11, 11, 11, 11])
})

test('what is first written beside each other is copied in one write', async () => {
  await create('LD@S0')
  // Binds the space of the next slots, too, which lie in one stripe unit.
  for (const chunk of [2, 3]) await put('LD', chunk, 50 + chunk)
  await pool.relationships.drain()
  const lengths: number[] = []
  for (const disk of disks) {
    const { write } = disk
    disk.write = (offset, data) => {
      lengths.push(data.length)
      return write.call(disk, offset, data)
    }
  }
  // Two chunks of a stripe unit in one order, written in the other.
  await Promise.all([put('LD', 1, 51), put('LD', 0, 50)])
  await pool.relationships.drain()
  expect(lengths.filter(length => length >= CHUNK)).toEqual([2 * CHUNK])
  expect([await byte('LD@S0', 0, 0), await byte('LD@S0', 1)]).toEqual([10, 11])
})
