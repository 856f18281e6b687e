/** Figures that are counted, by the simulated disks and nobody else (hazard 56). */
import { expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { storeOf } from '../../src/core/lun/slice-map.ts'
import { createPoolOn } from '../../src/core/pool/format.ts'
import { SLICE, SLICE_ON_MEMBER } from '../../src/core/raid/geometry.ts'
import { newSources, openPool, type Running, type Sources } from './machine.ts'
import { countRounds, dataWrites } from './rounds.ts'

/** "64 small operations in flight share at most 4 rounds of flushes" (issue 2, Figures). */
const ROUNDS_MAX = 4
const IN_FLIGHT = 64

async function machine(count: number, size = 64 * MIB): Promise<{ disks: SimulatedDisk[]; sources: Sources; running: Running }> {
  const sources = newSources(1)
  const disks = Array.from({ length: count }, (_, i) => new SimulatedDisk(size, { name: `disk${i}` }))
  await createPoolOn(
    disks.map(disk => ({ disk, blank: true, witness: false })),
    'tank',
    sources.clock,
    sources.uuids,
  )
  return { disks, sources, running: await openPool(disks, sources) }
}

const quorumOf = (running: Running): boolean[] => [...running.parts.pool.disks.values()].map(disk => running.parts.pool.metadata.memberIds.includes(disk.id))

const create = (running: Running, name: string, size: number, raid: 'raid0' | 'raid1' = 'raid1'): Promise<unknown> =>
  running.engine.call('lun.create', { name, size, raid })

/** A LUN whose slices are all bound and closed. */
async function writtenLun(running: Running, slices: number): Promise<void> {
  await create(running, 'a', slices * SLICE)
  const device = await running.engine.openLun('a')
  await device.write(0, new Uint8Array(slices * SLICE).fill(1))
  await device.flush()
  await device.close()
  await running.parts.luns.find('a').stores.closeOpen(0)
}

test('one creation takes one flush on each quorum disk, and none elsewhere', async () => {
  const { disks, running } = await machine(6)
  const quorum = quorumOf(running)
  expect(quorum.filter(Boolean)).toHaveLength(5)
  const { rounds, flushes } = await countRounds(disks, () => create(running, 'a', MIB))
  expect(rounds).toBe(1)
  expect(flushes).toEqual(quorum.map(member => (member ? 1 : 0)))
})

test('64 creations in flight share at most 4 rounds of flushes', async () => {
  const { disks, running } = await machine(3)
  const { rounds, flushes } = await countRounds(disks, () => Promise.all(Array.from({ length: IN_FLIGHT }, (_, i) => create(running, `lun${i}`, MIB))))
  expect(running.parts.luns.all).toHaveLength(IN_FLIGHT)
  expect(rounds).toBeLessThanOrEqual(ROUNDS_MAX)
  expect(Math.max(...flushes)).toBeLessThanOrEqual(ROUNDS_MAX)
})

test('creating a pool of 64 disks takes at most 4 flushes on each disk, in parallel', async () => {
  const disks = Array.from({ length: 64 }, (_, i) => new SimulatedDisk(64 * MIB, { name: `disk${i}` }))
  const { clock, uuids } = newSources(1)
  const specs = disks.map(disk => ({ disk, blank: true, witness: false }))
  const { rounds, flushes } = await countRounds(disks, () => createPoolOn(specs, 'tank', clock, uuids))
  expect(rounds).toBeLessThanOrEqual(4)
  expect(Math.max(...flushes)).toBeLessThanOrEqual(4)
  expect(Math.min(...flushes)).toBe(1)
})

/** 64 writes of 4 KiB, each to a slice of its own and followed by a flush as each writer wants it. */
async function scatteredWrites(running: Running): Promise<void> {
  const device = await running.engine.openLun('a')
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async (_, i) => {
      await device.write(i * SLICE + 4 * KIB * i, new Uint8Array(4 * KIB).fill(2))
      await device.flush()
    }),
  )
  await device.close()
}

test('64 writes in flight into clean slices of a mirror share at most 4 rounds of flushes', async () => {
  const { disks, running } = await machine(4, 128 * MIB)
  await writtenLun(running, IN_FLIGHT)
  expect(running.parts.luns.find('a').stores.openCount).toBe(0)
  const { rounds, flushes } = await countRounds(disks, () => scatteredWrites(running))
  expect(running.parts.luns.find('a').stores.openCount).toBe(IN_FLIGHT)
  expect(rounds).toBeLessThanOrEqual(ROUNDS_MAX)
  expect(Math.max(...flushes)).toBeLessThanOrEqual(ROUNDS_MAX)
})

test.each(['raid0', 'raid1'] as const)('64 writes in flight into unbound slices share at most 4 rounds of flushes (%s)', async raid => {
  const { disks, running } = await machine(4, 128 * MIB)
  await create(running, 'a', IN_FLIGHT * SLICE, raid)
  const { rounds, flushes } = await countRounds(disks, () => scatteredWrites(running))
  expect(running.parts.luns.find('a').record.boundSlices).toBe(IN_FLIGHT)
  expect(rounds).toBeLessThanOrEqual(ROUNDS_MAX)
  expect(Math.max(...flushes)).toBeLessThanOrEqual(ROUNDS_MAX)
})

test('a view flushes nothing and writes nothing', async () => {
  const { disks, sources, running } = await machine(4)
  await writtenLun(running, 2)
  await running.engine.close()
  for (const disk of disks) disk.resetCounters()
  const view = await openPool(disks, sources, { view: true })
  await view.engine.call('lun.list', {})
  await view.engine.call('pool.status', {})
  const device = await view.engine.openLun('a', { readOnly: true })
  const data = new Uint8Array(2 * SLICE)
  await device.read(0, data)
  await device.close()
  await view.engine.close()
  expect(data.every(byte => byte === 1)).toBe(true)
  expect(disks.some(({ counters }) => counters.reads > 0)).toBe(true)
  for (const { counters } of disks)
    expect({ ...counters, reads: 0, bytesRead: 0 }).toEqual({
      reads: 0,
      writes: 0,
      durables: 0,
      flushes: 0,
      reserves: 0,
      punches: 0,
      zeros: 0,
      bytesRead: 0,
      bytesWritten: 0,
    })
})

test('a resync after a crash copies the slices that were open and no other', async () => {
  const { disks, sources, running } = await machine(4)
  await writtenLun(running, 16)
  const device = await running.engine.openLun('a')
  for (const slice of [2, 9]) await device.write(slice * SLICE + 8 * KIB, new Uint8Array(4 * KIB).fill(3))
  await device.flush()
  const left = disks.map(disk => disk.clone())
  const writes = await dataWrites(left, async () => {
    const { engine } = await openPool(left, sources)
    await engine.settled()
  })
  expect(writes.reduce((sum, { length }) => sum + length, 0)).toBe(2 * SLICE)
  const { stores, map } = running.parts.luns.find('a')
  const open = new Set<string>()
  for (const slice of [2, 9]) {
    const store = storeOf(map.place(slice))
    for (let member = 0; member < stores.table.memberCount(store); member++) {
      const disk = running.parts.pool.disk(stores.table.diskOf(store, member))
      open.add(`${disk.number}:${disk.offsetOf(stores.table.segmentOf(store, member), (map.place(slice) % 8) * SLICE_ON_MEMBER)}`)
    }
  }
  expect(writes.filter(({ disk, offset }) => !open.has(`${disk}:${offset}`))).toEqual([])
})

test('a disk that comes back is written only where it missed something, and no other disk is', async () => {
  const { disks, running } = await machine(4)
  await writtenLun(running, 16)
  await running.engine.call('disk.offline', { disk: '3' })
  const device = await running.engine.openLun('a')
  await device.write(5 * SLICE, new Uint8Array(SLICE).fill(4))
  await device.flush()
  const writes = await dataWrites(disks, async () => {
    await running.engine.call('disk.online', { disk: '3' })
    await running.engine.settled()
  })
  const { stores, map } = running.parts.luns.find('a')
  const store = storeOf(map.place(5))
  const mine = Array.from({ length: stores.table.memberCount(store) }, (_, member) => member).filter(member => stores.table.diskOf(store, member) === 3)
  expect(mine.length).toBeGreaterThan(0)
  const disk = running.parts.pool.disk(3)
  const segments = writes.filter(({ offset }) => offset >= disk.record.segmentsAt)
  expect(segments.every(write => write.disk === 3)).toBe(true)
  expect(segments.map(({ offset }) => offset).sort((a, b) => a - b)).toEqual(
    mine.map(member => disk.offsetOf(stores.table.segmentOf(store, member), (map.place(5) % 8) * SLICE_ON_MEMBER)).sort((a, b) => a - b),
  )
  expect(segments.every(({ length }) => length === SLICE_ON_MEMBER)).toBe(true)
})
