/** Changes of relationships beside writes and crashes: each happens whole, at one instant. */
import { setImmediate } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer } from '../../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import { Random } from '../../../src/core/base/random.ts'
import { hiOf } from '../../../src/metadata/key.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

const EVERY = { fresh: false, forceLostPart: false, forceMixed: false }

/** A source `a` full of ones, with `b` as its image, which owns one chunk of 16 and is disabled. */
async function disabled(): Promise<{ disks: SimulatedDisk[]; pool: OpenPool; relationship: Relationship }> {
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const pool = await openSimulated(disks)
  for (const name of ['a', 'b']) await pool.luns.create({ name, size: MIB, raid: 'raid1', reserve: false })
  await write(pool, 'a', 0, MIB, 1)
  const { relationship } = await pool.relationships.configure({ source: 'a', image: 'b', chunkBytes: 64 * KIB })
  await pool.relationships.enable([relationship], EVERY)
  await write(pool, 'a', 0, 4 * KIB, 2)
  await pool.relationships.disable([relationship])
  return { disks, pool, relationship }
}

const volume = ({ relationships, luns }: OpenPool, name: string): ReturnType<typeof relationships.volume> => relationships.volume(luns.find(name).number)
const write = (pool: OpenPool, name: string, offset: number, length: number, value: number): Promise<void> =>
  volume(pool, name).write(offset, Buffer.alloc(length, value))

test('a write to the source while its relationship is being enabled is lost of the image, and is said', async () => {
  const { disks, pool, relationship } = await disabled()
  // The write comes when enabling has looked at what is lost, and waits for flushes.
  let written: Promise<void> | undefined
  for (const disk of disks)
    disk.plan = ({ kind }) => {
      if (kind === 'flush') written ??= write(pool, 'a', 512 * KIB, 4 * KIB, 3)
      return undefined
    }
  await write(pool, 'a', 0, 4 * KIB, 4)
  await expect(pool.relationships.enable([relationship], EVERY)).rejects.toMatchObject({ code: 'ERR_LOST_PART', blockers: [`${512 * KIB}+${64 * KIB}`] })
  await written
  expect(relationship.state).toBe('disabled')
  const [enabled] = await pool.relationships.enable([relationship], { ...EVERY, forceLostPart: true })
  expect(enabled!.lost).toEqual([{ offset: 512 * KIB, length: 64 * KIB }])
})

test('forced, a write that comes while a relationship is being enabled is among what is lost', async () => {
  const { disks, pool, relationship } = await disabled()
  let written: Promise<void> | undefined
  for (const disk of disks)
    disk.plan = ({ kind }) => {
      if (kind === 'flush') written ??= write(pool, 'a', 512 * KIB, 4 * KIB, 3)
      return undefined
    }
  await write(pool, 'a', 0, 4 * KIB, 4)
  const [enabled] = await pool.relationships.enable([relationship], { ...EVERY, forceLostPart: true })
  await written
  expect(enabled!.lost).toEqual([{ offset: 512 * KIB, length: 64 * KIB }])
  const found = Buffer.alloc(4 * KIB)
  await volume(pool, 'b').read(512 * KIB, found)
  expect(found.every(byte => byte === 3)).toBe(true)
  await write(pool, 'a', 512 * KIB, 4 * KIB, 5)
  await volume(pool, 'b').read(512 * KIB, found)
  expect(found.every(byte => byte === 3)).toBe(true)
})

test('an image that was let go half way says so from the moment it is a LUN of its own, after every crash', async () => {
  const { disks, pool, relationship } = await disabled()
  const tape = new Tape(disks)
  await pool.relationships.unconfigure(relationship)
  tape.stop()
  const random = new Random(1)
  const explorer = new CrashExplorer(tape)
  const found = new Set<string>()
  for (let cut = 0; cut <= tape.length; cut++) {
    explorer.at(cut)
    for (let i = 0; i < 3; i++) {
      const after = await openSimulated(explorer.state(random).disks)
      const image = after.luns.find('b')
      const there = after.relationships.all.length > 0
      found.add(there ? 'before' : 'after')
      expect(image.isIncomplete, `cut ${cut}: the relationship is ${there ? 'there' : 'gone'}`).toBe(!there)
      if (there) expect(() => after.relationships.checkOpen(image, { mixed: true })).toThrow(expect.objectContaining({ code: 'ERR_IMAGE_INCOMPLETE' }))
    }
  }
  expect([...found].sort()).toEqual(['after', 'before'])
})

test.each(['a', 'b'])('nothing is written to %s between giving up an update and the commit that says so', async name => {
  const { pool, relationship } = await disabled()
  const { relationships, luns } = pool
  await luns.create({ name: 'other', size: MIB, raid: 'raid1', reserve: false })
  await relationships.enable([relationship], { ...EVERY, fresh: true })
  await write(pool, 'a', 512 * KIB, 4 * KIB, 3)
  await relationships.startUpdate(relationship, 'imageUpdate')
  const held = await raw(pool, name)
  const { metadata } = pool.pool
  const reached = deferred<void>()
  const gate = deferred<void>()
  const commit = metadata.commit.bind(metadata)
  const spy = vi.spyOn(metadata, 'commit').mockImplementation(async (batch, stream, urgent) => {
    if (stream === 'admin') {
      reached.resolve()
      await gate.promise
    }
    return commit(batch, stream, urgent)
  })
  const stopping = relationships.stopUpdate(relationship, 'it was stopped')
  await reached.promise
  let isWritten = false
  const writing = write(pool, name, 512 * KIB, 64 * KIB, 9).then(() => {
    isWritten = true
  })
  // As much as a write needs, and more.
  for (let round = 0; round < 3; round++) {
    await write(pool, 'other', 0, 64 * KIB, round)
    await volume(pool, 'other').flush()
  }
  expect([isWritten, relationship.isMixed, (await raw(pool, name)).equals(held)]).toEqual([false, true, true])
  gate.resolve()
  await Promise.all([stopping, writing])
  await volume(pool, name).flush()
  expect((await raw(pool, name)).subarray(512 * KIB, 576 * KIB).every(byte => byte === 9)).toBe(true)
  spy.mockRestore()
  await pool.pool.close()
})

/** What the LUN itself holds. */
async function raw({ luns }: OpenPool, name: string): Promise<Buffer> {
  const into = Buffer.alloc(MIB)
  await luns.find(name).read(0, into)
  return into
}

test('an image that breaks while it is updated is given up, and its source goes on', async () => {
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const pool = await openSimulated(disks)
  const { luns, relationships } = pool
  await luns.create({ name: 'a', size: MIB, raid: 'raid1', reserve: false })
  await luns.create({ name: 'b', size: MIB, raid: 'raid0', reserve: false })
  await write(pool, 'a', 0, MIB, 1)
  const { relationship } = await relationships.configure({ source: 'a', image: 'b', chunkBytes: 256 * KIB })
  await relationships.enable([relationship], EVERY)
  await write(pool, 'a', 0, MIB, 2)
  await relationships.startUpdate(relationship, 'imageUpdate')
  disks[0]!.plan = ({ kind }) => (kind === 'flush' ? new LunarError('ERR_IO', 'Cannot flush') : undefined)
  for (let offset = 0; offset < MIB; offset += 256 * KIB) await write(pool, 'a', offset, 4 * KIB, 3)
  await volume(pool, 'a').flush()
  expect(relationship.state).toBe('invalid')
  const found = Buffer.alloc(4 * KIB)
  await volume(pool, 'a').read(768 * KIB, found)
  expect(found.every(byte => byte === 3)).toBe(true)
})

test('a relationship that is unconfigured waits for the writes under way: they mark nothing of it later, and none that follows overtakes them', async () => {
  const { pool, relationship } = await disabled()
  const a = volume(pool, 'a')
  // Acknowledged ahead of the round that marks what the image lost.
  for (const chunk of [4, 5]) await write(pool, 'a', chunk * 64 * KIB, 4 * KIB, chunk)
  const going = pool.relationships.unconfigure(relationship)
  while (pool.relationships.all.length > 0) await setImmediate()
  const later = write(pool, 'a', 4 * 64 * KIB, 4 * KIB, 9)
  await Promise.all([going, later])
  while (await pool.relationships.tidy()) continue
  await a.flush()
  const found: number[] = []
  for (const chunk of [4, 5]) {
    const block = Buffer.alloc(512)
    await a.read(chunk * 64 * KIB, block)
    found.push(block[0]!)
  }
  expect(found).toEqual([9, 5])
  const left = []
  for await (const { hi, lo } of pool.pool.metadata.range(hiOf('chunks', relationship.number))) left.push({ hi, lo })
  expect(left).toEqual([])
})
