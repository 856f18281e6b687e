/**
 * Figures 9 to 15 of the Compaq document, and the truth table of its paragraphs 0103 to 0105: the operations of each figure, the bytes of every
 * volume, and the number of copies, which is at most the figure's (hazard 57). A chunk stands for its segment.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import type { CompleteImage } from '../../../../src/core/snapshot/updates.ts'
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

// ---- snapclones

/** The chunk that the figures speak of comes second in the background copy (BGCOPY). */
const SEGMENT = 1
const clone = (source: string, name: string): Promise<unknown> => pool.trees.clones.clone({ source, name, delay: 1 })
const background = async (name: string): Promise<CompleteImage> => pool.trees.clones.process(pool.relationships.cloneOf(pool.luns.find(name))!)
/** Copies chunks to a clone in the background up to the segment. */
async function copySegment(name: string): Promise<void> {
  const process = await background(name)
  for (let chunk = 0; chunk <= SEGMENT; chunk++) await process.step()
}
/** Copies the rest: the clone leaves the tree, and what only it needed is given back. */
async function leave(name: string): Promise<void> {
  const process = await background(name)
  while (!(await process.step()).finished);
  while (await pool.trees.tidy());
  expect(pool.relationships.cloneOf(pool.luns.find(name))).toBeUndefined()
}

describe('snapclones', () => {
  beforeEach(async () => {
    for (const name of ['LD@S0', 'LD@S1']) await create(name)
  })

  test('Figs. 13a to 13c: a snapclone copies nothing at first, and its segment once in the background', async () => {
    expect(await copiesOf(() => clone('LD', 'C0'))).toBe(0)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([11, 11, 11, 11])
    const process = await background('C0')
    for (let chunk = 0; chunk <= SEGMENT; chunk++) expect(await copiesOf(() => process.step())).toBe(1)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([11, 11, 11, 11])
  })

  test('Figs. 13d to 13g: a write after the background copy costs one copy, and the predecessors have it when the clone has left', async () => {
    await clone('LD', 'C0')
    await copySegment('C0')
    expect(await copiesOf(() => put('LD', SEGMENT, 50))).toBeLessThanOrEqual(2)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11])
    expect(await copiesOf(() => put('LD', SEGMENT, 51))).toBe(0)
    await leave('C0')
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([51, 11, 11, 11])
    expect(await byte('LD@S1', SEGMENT, 512)).toBe(11)
  })

  test('Figs. 13h and 13i: a write before the background copy breaks the sharing by itself', async () => {
    await clone('LD', 'C0')
    expect(await copiesOf(() => put('LD', SEGMENT, 50))).toBeLessThanOrEqual(2)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11])
    await leave('C0')
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11])
  })

  test('Fig. 14a: a clone leaves when nothing is shared with it any more', async () => {
    await clone('LD', 'C0')
    await put('LD', SEGMENT, 50)
    await put('C0', SEGMENT, 60)
    await leave('C0')
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 60, 11, 11])
  })

  test('Fig. 14b: a clone leaves while the newest volume and its predecessor still share', async () => {
    await clone('LD', 'C0')
    await leave('C0')
    expect(await copiesOf(() => put('LD', SEGMENT, 50))).toBe(1)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11])
  })

  test("Figs. 15a to 15d: what was preserved while the clone was there is its predecessor's, with nothing to copy down when it leaves", async () => {
    await clone('LD', 'C0')
    await copySegment('C0')
    expect(await copiesOf(() => put('LD', SEGMENT, 50))).toBeLessThanOrEqual(2)
    const process = await background('C0')
    // Nothing but the chunks that the clone still lacks.
    expect(
      await copiesOf(async () => {
        while (!(await process.step()).finished);
        while (await pool.trees.tidy());
      }),
    ).toBe(SIZE / CHUNK - 2)
    expect(await bytes('LD', 'C0', 'LD@S1', 'LD@S0')).toEqual([50, 11, 11, 11])
  })
})

describe('[0103] to [0105]: no predecessor loses data when a snapclone leaves', () => {
  /** What the clone C0 was taken after, and of what. */
  const predecessors: Readonly<Record<string, { readonly before: () => Promise<unknown>; readonly volumes: readonly string[]; readonly of: string }>> = {
    'no predecessor': { before: () => Promise.resolve(), volumes: [], of: 'LD' },
    'a snapshot': { before: () => create('LD@S1'), volumes: ['LD@S1'], of: 'LD' },
    'a snapclone': { before: () => clone('LD', 'C1'), volumes: ['C1'], of: 'LD' },
    'a snapshot and a snapclone': { before: async () => (await create('LD@S1'), await clone('LD', 'C1')), volumes: ['LD@S1', 'C1'], of: 'LD' },
    'a clone of a clone': { before: () => clone('LD', 'C1'), volumes: ['C1'], of: 'C1' },
    'a clone of a snapshot': { before: () => create('LD@S1', true), volumes: ['LD@S1'], of: 'LD@S1' },
    'a clone of a writable snapshot': { before: () => create('LD@S1'), volumes: ['LD@S1'], of: 'LD@S1' },
  }
  const moments = ['before the background copy', 'after the background copy', 'after it has left', 'never'] as const
  const written = ['LD', 'C0', 'its predecessor'] as const

  for (const [name, { before, volumes, of }] of Object.entries(predecessors))
    for (const moment of moments)
      for (const target of moment === 'never' ? written.slice(0, 1) : written)
        test(`${name}; ${target} written ${moment}`, async () => {
          await before()
          await clone(of, 'C0')
          const all = ['LD', 'C0', ...volumes]
          const wanted = new Map(all.map(one => [one, 11]))
          const writes = async (now: string): Promise<void> => {
            const volumeName = target === 'its predecessor' ? volumes[0] : target
            if (moment !== now || volumeName === undefined || (volumeName.includes('@') && !pool.trees.find(volumeName).isWritable)) return
            await put(volumeName, SEGMENT, 50)
            wanted.set(volumeName, 50)
          }
          const check = async (): Promise<void> => expect(await bytes(...all)).toEqual(all.map(one => wanted.get(one)))
          await writes('before the background copy')
          await check()
          await copySegment('C0')
          await writes('after the background copy')
          await check()
          await leave('C0')
          await check()
          await writes('after it has left')
          await check()
          if (volumes.includes('C1')) await leave('C1')
          await check()
          // Whoever is left is written everywhere: nobody has bytes of another one.
          await put('LD', SEGMENT, 70)
          wanted.set('LD', 70)
          await put('C0', SEGMENT, 71)
          wanted.set('C0', 71)
          await check()
        })
})
