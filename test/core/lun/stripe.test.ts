/** LUNs whose redundant stores are interleaved, beside the bytes they must have. */
import { describe, expect, test, vi } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { homeOf, sliceInHome } from '../../../src/core/lun/homes.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import { parseRanges } from '../../../src/core/lun/ranges.ts'
import { sliceOf, storeOf } from '../../../src/core/lun/slice-map.ts'
import { SLICE } from '../../../src/core/raid/geometry.ts'
import { checkRecords } from '../../../src/metadata/check.ts'
import { keyOf } from '../../../src/metadata/key.ts'
import { lunRecord } from '../../../src/metadata/records.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'
import { createSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'
import { problems } from '../../support/problems.ts'
import { bytesOf, isDead, readAll } from './support.ts'

async function makeLun(ranges: string, size: number, count: number): Promise<OpenPool & { lun: Lun; disks: SimulatedDisk[] }> {
  // Of 256 MiB, so that what metadata takes does not decide in which set a store lies.
  const disks = simulatedDisks(
    count,
    Array.from({ length: count }, () => 256),
  )
  await createSimulated(disks)
  const open = await openSimulated(disks)
  return { ...open, disks, lun: await open.luns.create({ name: 'a', size, raid: parseRanges(ranges), reserve: false }) }
}

blockDeviceSuite(
  'a LUN of interleaved stores',
  async () => {
    const { pool, lun } = await makeLun('0-9MiB:raid1:stripe=2,9MiB-:raid0:stripe=3', 24 * MIB, 4)
    return { device: new OpenLun(lun, lun, false), dispose: () => pool.close() }
  },
  4,
)

async function expectSame(lun: Lun, bytes: Uint8Array): Promise<void> {
  expect(Buffer.compare(await readAll(lun, 0, bytes.length), bytes)).toBe(0)
}

async function scribble(lun: Lun, bytes: Uint8Array, random: Random, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const at = 512 * random.below(bytes.length / 512)
    const data = bytesOf(Math.min(512 * random.between(1, random.chance(0.3) ? 6000 : 64), bytes.length - at), random)
    bytes.set(data, at)
    await lun.write(at, data)
  }
}

/** Slices by the store that they are bound to; each is in its place there. */
async function storesOf(lun: Lun, stripe: number): Promise<Map<number, number[]>> {
  const stores = new Map<number, number[]>()
  for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
    await lun.stores.table.load(storeOf(place))
    expect(sliceOf(place)).toBe(sliceInHome(slice, stripe))
    expect(lun.stores.table.home(storeOf(place))).toBe(homeOf(slice, stripe))
    stores.set(storeOf(place), [...(stores.get(storeOf(place)) ?? []), slice])
  }
  return stores
}

const disksOf = (lun: Lun, store: number): Set<number> => new Set(lun.stores.table.membersOf(store).map(({ disk }) => disk))

describe.each([
  { raid: 'raid0', stripe: 2, count: 8, apart: true },
  { raid: 'raid1', stripe: 2, count: 16, apart: true },
  { raid: 'raid5', stripe: 2, count: 10, apart: true },
  { raid: 'raid5', stripe: 3, count: 6, apart: false },
])('$raid, $stripe interleaved, on $count disks', ({ raid, stripe, count, apart }) => {
  const ranges = `0-:${raid}:stripe=${stripe}`
  /** Its end lies inside of a region. */
  const size = (8 * stripe + 5) * MIB

  test('slice after slice is of another store, of other disks where there are enough, and what was written stays', async () => {
    const made = await makeLun(ranges, size, count)
    const random = new Random(stripe)
    const bytes = bytesOf(size, random)
    await made.lun.write(0, bytes)
    const stores = await storesOf(made.lun, stripe)
    expect([...stores.values()].map(slices => slices.length).sort()).toEqual(
      [...Array.from({ length: 2 * stripe }, (_, i) => (i < stripe ? 8 : Math.ceil((5 - (i - stripe)) / stripe)))].sort(),
    )
    for (const region of [0, 1]) {
      const first = Array.from({ length: Math.min(stripe, 5) }, (_, i) => disksOf(made.lun, storeOf(made.lun.map.place(region * 8 * stripe + i))))
      const together = first.reduce((sum, disks) => sum + disks.size, 0)
      if (apart) expect(new Set(first.flatMap(disks => [...disks])).size).toBe(together)
      else expect(new Set(first.flatMap(disks => [...disks])).size).toBe(count)
    }
    await scribble(made.lun, bytes, random, 30)
    await made.lun.flush()
    await expectSame(made.lun, bytes)
    await made.lun.trim(3 * MIB, 2 * MIB)
    bytes.fill(0, 3 * MIB, 5 * MIB)
    await expectSame(made.lun, bytes)
    expect(await problems(made.pool)).toEqual([])
    await made.pool.close()

    const { pool, luns } = await openSimulated(made.disks)
    const lun = luns.find('a')
    expect(lun.ranges).toEqual([{ offset: 0, length: null, raid, stripe }])
    await expectSame(lun, bytes)
    await scribble(lun, bytes, random, 20)
    await expectSame(lun, bytes)
    // Space that was given back is bound again where it was.
    expect((await storesOf(lun, stripe)).size).toBe(2 * stripe)
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('without a disk, with it again, in other sizes', async () => {
    const { pool, luns, lun, disks } = await makeLun(ranges, size, count)
    const random = new Random(7)
    let bytes = bytesOf(size, random)
    await lun.write(0, bytes)
    await lun.flush()
    if (raid !== 'raid0') {
      isDead(disks[1]!)
      await scribble(lun, bytes, random, 20)
      await expectSame(lun, bytes)
      expect(pool.disk(1).state).toBe('failed')
      disks[1]!.plan = undefined
      await pool.online(pool.disk(1), undefined)
      await resync(pool)
      expect(pool.disk(1).state).toBe('normal')
      await expectSame(lun, bytes)
    }
    for (const next of [size - MIB, size - (5 * MIB + 3 * MIB), size + MIB]) {
      await luns.resize(lun, next, { force: true })
      while (luns.toReclaim[0]) await luns.reclaim(luns.toReclaim[0], 8)
      const longer = new Uint8Array(next)
      longer.set(bytes.subarray(0, Math.min(next, bytes.length)))
      bytes = longer
      await expectSame(lun, bytes)
    }
    await lun.write(size - 8 * MIB, (bytes = bytesOf(9 * MIB, random)))
    expect(Buffer.compare(await readAll(lun, size - 8 * MIB, bytes.length), bytes)).toBe(0)
    expect((await storesOf(lun, stripe)).size).toBe(2 * stripe)
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })
})

test('what is read and written in a row has the disks of all stores at once, and is bound with one commit for 8 MiB', async () => {
  const { pool, lun, disks } = await makeLun('0-:raid0:stripe=2', 24 * MIB, 8)
  await lun.write(0, bytesOf(4096, new Random(1)))
  const commit = vi.spyOn(pool.metadata, 'commit')
  await lun.write(0, bytesOf(8 * MIB, new Random(1)))
  expect(commit).toHaveBeenCalledTimes(1)
  const reading = new Set<number>()
  disks.forEach((disk, i) => {
    disk.plan = ({ kind }) => {
      if (kind === 'read') reading.add(i)
      return undefined
    }
  })
  await readAll(lun, 0, 2 * MIB)
  expect(reading.size).toBe(8)
  reading.clear()
  await readAll(lun, MIB, MIB)
  expect(reading.size).toBe(4)
  await pool.close()
})

test('a full pool binds to free slices of any store of the type, and a reservation takes all stores of a region that has an end in it', async () => {
  const { pool, luns, lun } = await makeLun('0-1GiB:raid1:stripe=3,1GiB-:raid1', 2048 * MIB, 2)
  await expect(
    (async () => {
      for (let at = 0; ; at += SLICE) await lun.write(at, bytesOf(4096, new Random(at)))
    })(),
  ).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
  expect(pool.largest('raid1')).toBe(0)
  expect(lun.record.boundSlices).toBe(8 * lun.record.storeCount)
  expect(await problems(pool)).toEqual([])
  await lun.trim(0, MIB)
  await lun.write(1500 * MIB, bytesOf(4096, new Random(2)))
  expect(lun.record.boundSlices).toBe(8 * lun.record.storeCount)
  expect(await problems(pool)).toEqual([])
  await luns.delete(lun)
  while (luns.toReclaim[0]) await luns.reclaim(luns.toReclaim[0], 64)
  const reserved = await luns.create({ name: 'b', size: 11 * MIB, raid: parseRanges('0-:raid1:stripe=2'), reserve: true })
  expect(reserved.record).toMatchObject({ boundSlices: 11, storeCount: 2 })
  const tooMuch = pool.largest('raid1') - (pool.largest('raid1') % (24 * MIB)) + 2 * MIB
  await expect(luns.create({ name: 'c', size: tooMuch, raid: parseRanges('0-:raid1:stripe=25'), reserve: true })).rejects.toMatchObject({
    code: 'ERR_POOL_FULL',
  })
  expect(await problems(pool)).toEqual([])
  await pool.close()
})

test('ranges of one type with other stripes never share a store, though a border lies inside of a region', async () => {
  const { pool, lun } = await makeLun('0-12MiB:raid1,12MiB-29MiB:raid1:stripe=2,29MiB-:raid1:stripe=3', 40 * MIB, 4)
  const bytes = bytesOf(40 * MIB, new Random(3))
  // Those of one stripe first, which would otherwise be neighbours of the others' homes.
  await lun.write(28 * MIB, bytes.subarray(28 * MIB))
  await Promise.all(Array.from({ length: 28 }, (_, slice) => lun.write(slice * MIB, bytes.subarray(slice * MIB, (slice + 1) * MIB))))
  await expectSame(lun, bytes)
  const kinds = new Map<number, number>()
  for await (const { slice, place } of lun.map.bound(0, 40)) {
    const stripe = slice < 12 ? 1 : slice < 29 ? 2 : 3
    expect(kinds.get(storeOf(place)) ?? stripe).toBe(stripe)
    kinds.set(storeOf(place), stripe)
  }
  // As many stores as their addresses have homes.
  expect([1, 2, 3].map(stripe => [...kinds.values()].filter(kind => kind === stripe).length)).toEqual([2, 4, 3])
  expect(await problems(pool)).toEqual([])
  await pool.close()
})

test('the checker tells of a LUN in which nothing can be interleaved, and of a last range that is not what the LUN is', async () => {
  const { pool, lun } = await makeLun('0-1MiB:raid1,1MiB-:raid0:stripe=2', 8 * MIB, 4)
  const codesWith = async (change: Partial<typeof lun.record>): Promise<string[]> => {
    const changed = lunRecord.encode({ ...lun.record, ...change })
    async function* entries(): AsyncGenerator<{ hi: number; lo: number; value: Uint8Array }> {
      for await (const entry of pool.metadata.records()) yield entry.hi === keyOf('lun', lun.number).hi ? { ...entry, value: changed } : entry
    }
    return (await checkRecords(entries(), pool.metadata.stores)).problems.map(({ code }) => code)
  }
  expect(await codesWith({})).toEqual([])
  expect(await codesWith({ stripe: 1 })).toEqual(['lun.ranges'])
  expect(await codesWith({ stripe: 0 })).toContain('lun.stripe')
  expect(await codesWith({ ranges: lun.record.ranges.map(range => ({ ...range, stripe: 0 })) })).toContain('lun.stripe')
  await pool.close()
})
