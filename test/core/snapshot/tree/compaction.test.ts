/** A store with holes: its chunks move together, every snapshot reads what it did, also after a crash in between; and its size changes. */
import { beforeEach, expect, test } from 'vitest'
import { Random } from '../../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import { CrashExplorer, describeCrash } from '../../../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import { Tape } from '../../../../src/core/block/tape.ts'
import type { SlotStore } from '../../../../src/core/snapshot/tree/slot-store.ts'
import { problems as problemsOf } from '../../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

const CHUNK = 4 * KIB
const SIZE = 4 * MIB
const CHUNKS = SIZE / CHUNK

let disks: SimulatedDisk[]
let open: OpenPool

const device = (name: string, pool = open): BlockDevice =>
  name.includes('@') ? pool.trees.volume(pool.trees.find(name)) : pool.relationships.volume(pool.luns.find(name).number)
const all = async (name: string, pool = open): Promise<Buffer> => {
  const bytes = Buffer.alloc(SIZE)
  await device(name, pool).read(0, bytes)
  return bytes
}
const fill = (name: string, value: number): Promise<void> => {
  const bytes = new Uint8Array(SIZE)
  for (let chunk = 0; chunk < CHUNKS; chunk++) bytes.fill((value * 37 + chunk) % 251 || 1, chunk * CHUNK, (chunk + 1) * CHUNK)
  return device(name).write(0, bytes)
}
const problems = (pool = open): Promise<string[]> => problemsOf(pool.pool)
const store = (pool = open): SlotStore => pool.trees.stores.slots(pool.trees.stores.all[0]!)
const compact = (): Promise<number> => open.trees.compact(open.trees.stores.all[0]!)
const bound = (): number => open.trees.stores.all[0]!.record.boundSlices
const names = ['db@even', 'db@odd', 'db@w'] as const

/** Chunks of a deleted snapshot between those of others, and what was written to one. */
beforeEach(async () => {
  disks = simulatedDisks(3)
  await createSimulated(disks)
  open = await openSimulated(disks)
  await open.luns.create({ name: 'db', size: SIZE, raid: 'raid0', reserve: false })
  await fill('db', 1)
  for (const [i, name] of ['db@a', 'db@b', 'db@even', 'db@c', 'db@odd'].entries()) {
    await open.trees.create({ names: [name], readOnly: true })
    if (name.length === 4) await fill('db', i + 2)
    else for (let chunk = 0; chunk < CHUNKS; chunk += 5) await device('db').write(chunk * CHUNK, new Uint8Array(CHUNK).fill(100 + i))
  }
  await open.trees.create({ names: ['db@w'] })
  for (let chunk = 0; chunk < CHUNKS; chunk += 9) await device('db@w').write(chunk * CHUNK, new Uint8Array(CHUNK).fill(200))
  await device('db').flush()
  await device('db@w').flush()
  await open.trees.delete(['db@a', 'db@b', 'db@c'].map(name => open.trees.find(name)))
  while (await open.trees.tidy());
})

test('chunks move down, what they leave comes back, and everybody reads what they did', async () => {
  const before = new Map<string, Buffer>()
  for (const name of names) before.set(name, await all(name))
  const used = await store().usedBytes()
  const slices = await store().usedSlices()
  const promised = await store().compactible()
  const had = bound()
  expect(slices).toBeGreaterThan(Math.ceil(used / MIB))
  const moved = await compact()
  expect(moved).toBe(promised.moved)
  expect(await store().usedBytes()).toBe(used)
  expect(await store().usedSlices()).toBe(Math.ceil(used / MIB))
  expect([had, bound()]).toEqual([8, Math.ceil(used / MIB)])
  for (const name of names) expect((await all(name)).equals(before.get(name)!), name).toBe(true)
  expect(await compact()).toBe(0)
  expect(await problems()).toEqual([])
  await open.relationships.drain()
  await open.pool.close()
  open = await openSimulated(disks)
  for (const name of names) expect((await all(name)).equals(before.get(name)!), name).toBe(true)
  await open.trees.delete(open.trees.list())
  while (await open.trees.tidy());
  expect([await store().usedBytes(), bound()]).toEqual([0, 0])
})

test('readers and writers go on meanwhile', { timeout: 60_000 }, async () => {
  const frozen = await all('db@even')
  const random = new Random(3)
  const written = new Map<number, number>()
  let running = true
  const reader = (async () => {
    while (running) {
      const at = random.below(CHUNKS - 16) * CHUNK
      const bytes = Buffer.alloc(16 * CHUNK)
      await device('db@even').read(at, bytes)
      expect(bytes.equals(frozen.subarray(at, at + bytes.length))).toBe(true)
    }
  })()
  const writer = (async () => {
    for (let i = 1; running; i++) {
      const chunk = random.below(CHUNKS)
      written.set(chunk, (i % 250) + 1)
      await device('db@w').write(chunk * CHUNK, new Uint8Array(CHUNK).fill((i % 250) + 1))
      await device('db').write(random.below(CHUNKS) * CHUNK, new Uint8Array(CHUNK).fill(77))
    }
  })()
  const moved = await compact()
  running = false
  await Promise.all([reader, writer])
  expect(moved).toBeGreaterThan(0)
  const now = await all('db@w')
  for (const [chunk, value] of written) expect([chunk, now[chunk * CHUNK], now[(chunk + 1) * CHUNK - 1]]).toEqual([chunk, value, value])
  await device('db').flush()
  expect(await problems()).toEqual([])
})

test('a crash at any moment leaves each chunk in one place', { timeout: 120_000 }, async () => {
  const before = new Map<string, Buffer>()
  for (const name of names) before.set(name, await all(name))
  await open.relationships.drain()
  await open.pool.close()
  open = await openSimulated(disks)
  const tape = new Tape(disks)
  const begun = tape.length
  expect(await compact()).toBeGreaterThan(0)
  tape.stop()
  const random = new Random(11)
  const explorer = new CrashExplorer(tape)
  const seen = new Set<number>()
  const cuts = Array.from({ length: 60 }, () => random.between(begun, tape.length)).sort((a, b) => a - b)
  for (const cut of cuts) {
    explorer.at(cut)
    const crash = explorer.state(random)
    if (seen.has(crash.hash)) continue
    seen.add(crash.hash)
    const pool = await openSimulated(crash.disks)
    const where = describeCrash(crash).slice(0, 500)
    while (await pool.trees.tidy());
    expect(await problems(pool), where).toEqual([])
    for (const name of names) expect((await all(name, pool)).equals(before.get(name)!), `${name} ${where}`).toBe(true)
    await pool.pool.close()
  }
  expect(seen.size).toBeGreaterThan(15)
})

test('a store grows, and shrinks to what it holds once that lies together', async () => {
  const { stores } = open.trees
  const kept = stores.all[0]!
  await stores.resize(kept, 32 * 1024 * 1024 * MIB, { dryRun: false })
  expect(kept.size).toBe(32 * 1024 * 1024 * MIB)
  const needed = Math.ceil((await store().usedBytes()) / MIB)
  await expect(stores.resize(kept, needed * MIB, { dryRun: false })).rejects.toMatchObject({ code: 'ERR_WOULD_LOSE_DATA' })
  await compact()
  await expect(stores.resize(kept, (needed - 1) * MIB, { dryRun: true })).rejects.toMatchObject({ code: 'ERR_WOULD_LOSE_DATA' })
  await stores.resize(kept, needed * MIB, { dryRun: true })
  expect(kept.size).toBe(32 * 1024 * 1024 * MIB)
  await stores.resize(kept, needed * MIB, { dryRun: false })
  expect([kept.size, bound() <= needed]).toEqual([needed * MIB, true])
  const frozen = await all('db@even')
  // Now it is full, and says so; it grows, and writes go on.
  await expect(fill('db', 50)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
  await stores.resize(kept, 1024 * MIB, { dryRun: false })
  await fill('db', 50)
  await device('db').flush()
  expect((await all('db@even')).equals(frozen)).toBe(true)
  expect(await problems()).toEqual([])
})
