/** LUNs with several redundancy types, beside the bytes they must have. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import { parseRanges } from '../../../src/core/lun/ranges.ts'
import { sliceOf, storeOf } from '../../../src/core/lun/slice-map.ts'
import type { Pool } from '../../../src/core/pool/pool.ts'
import { SLICE, UNIT } from '../../../src/core/raid/geometry.ts'
import { checkRecords } from '../../../src/metadata/check.ts'
import { keyOf } from '../../../src/metadata/key.ts'
import { lunRecord, OPEN_END } from '../../../src/metadata/records.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'
import { ioError } from '../../support/io-error.ts'
import { createSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'
import { problems } from '../../support/problems.ts'
import { bytesOf, isDead, readAll } from './support.ts'

const SIZE = 20 * MIB
/** No border lies at a multiple of 8 MiB: groups of slices have two types. */
const RANGES = '0-3MiB:raid0,3MiB-13MiB:raid1,13MiB-:raid5'
const raidAt = (slice: number): string => (slice < 3 ? 'raid0' : slice < 13 ? 'raid1' : 'raid5')

async function makeLun(ranges = RANGES, size = SIZE, count = 6): Promise<OpenPool & { lun: Lun; disks: SimulatedDisk[] }> {
  const disks = simulatedDisks(count)
  await createSimulated(disks)
  const open = await openSimulated(disks)
  return { ...open, disks, lun: await open.luns.create({ name: 'a', size, raid: parseRanges(ranges), reserve: false }) }
}

blockDeviceSuite(
  'a LUN of three types',
  async () => {
    const { pool, lun } = await makeLun('0-1MiB:raid5,1MiB-2MiB:raid1,2MiB-:raid0', 24 * MIB)
    return { device: new OpenLun(lun, lun, false), dispose: () => pool.close() }
  },
  4,
)

async function expectSame(lun: Lun, bytes: Uint8Array, from = 0): Promise<void> {
  expect(Buffer.compare(await readAll(lun, from, bytes.length - from), bytes.subarray(from))).toBe(0)
}

/** Writes at random places, many of them across the borders of ranges. */
async function scribble(lun: Lun, bytes: Uint8Array, random: Random, count: number, from = 0): Promise<void> {
  for (let i = 0; i < count; i++) {
    const length = 512 * random.between(1, random.chance(0.3) ? 6000 : 64)
    const border = MIB * [3, 13, 8, 16][random.below(4)]!
    const near = random.chance(0.5) ? border - 512 * random.below(length / 512) : from + 512 * random.below((bytes.length - from) / 512)
    const at = Math.max(from, near)
    const data = bytesOf(Math.min(length, bytes.length - at), random)
    bytes.set(data, at)
    await lun.write(at, data)
  }
}

async function typeOfEverySlice(lun: Lun): Promise<Map<number, string>> {
  const types = new Map<number, string>()
  for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
    await lun.stores.table.load(storeOf(place))
    expect(sliceOf(place)).toBe(slice % 8)
    types.set(slice, lun.stores.table.raid(storeOf(place)))
  }
  return types
}

describe('a LUN of three types', () => {
  test.each([1, 2, 3])('binds each slice to stores of its type, and keeps what was written over close and open (seed %i)', async seed => {
    const made = await makeLun()
    const random = new Random(seed)
    const bytes = new Uint8Array(SIZE)
    await scribble(made.lun, bytes, random, 60)
    await made.lun.zero(2 * MIB + 4096, 2 * MIB)
    bytes.fill(0, 2 * MIB + 4096, 4 * MIB + 4096)
    await scribble(made.lun, bytes, random, 20)
    await made.lun.flush()
    await expectSame(made.lun, bytes)
    const types = await typeOfEverySlice(made.lun)
    expect(types.size).toBeGreaterThan(15)
    for (const [slice, raid] of types) expect(raid).toBe(raidAt(slice))
    expect(await problems(made.pool)).toEqual([])
    await made.pool.close()

    const { pool, luns } = await openSimulated(made.disks)
    const lun = luns.find('a')
    expect(lun.raid).toBe('raid0+raid1+raid5')
    await expectSame(lun, bytes)
    await scribble(lun, bytes, random, 20)
    await lun.flush()
    await expectSame(lun, bytes)
    expect(await problems(pool)).toEqual([])
    await luns.delete(lun)
    while (luns.toReclaim[0]) await luns.reclaim(luns.toReclaim[0], 8)
    expect([...pool.segments.values()].reduce((sum, map) => sum + map.count('used'), 0)).toBe(logSegments(pool))
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('slices of several types that are written at once are all bound', async () => {
    const { pool, lun } = await makeLun('0-1MiB:raid5,1MiB-2MiB:raid1,2MiB-3MiB:raid5,3MiB-:raid0', 8 * MIB)
    const bytes = bytesOf(8 * MIB, new Random(1))
    await Promise.all(Array.from({ length: 8 }, (_, slice) => lun.write(slice * MIB, bytes.subarray(slice * MIB, (slice + 1) * MIB))))
    await lun.flush()
    await expectSame(lun, bytes)
    expect([...(await typeOfEverySlice(lun)).values()]).toEqual(['raid5', 'raid1', 'raid5', 'raid0', 'raid0', 'raid0', 'raid0', 'raid0'])
    // One store for each type, though the two slices of raid5 are apart.
    expect(lun.record.storeCount).toBe(3)
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('without a disk each range does what its type promises, and with it again nothing is lost', async () => {
    for (let victim = 0; victim < 6; victim++) {
      const { pool, lun, disks } = await makeLun()
      const random = new Random(victim)
      const bytes = bytesOf(SIZE, random)
      await lun.write(0, bytes)
      await lun.flush()
      isDead(disks[victim]!)
      const raid0From3 = 3 * MIB
      await expectSame(lun, bytes, raid0From3)
      await scribble(lun, bytes, random, 30, raid0From3)
      await expectSame(lun, bytes, raid0From3)
      expect(pool.disk(victim).state).toBe('failed')
      // Nothing that was not flushed lay on it alone: the LUN can be flushed.
      await lun.flush()
      const lost: number[] = []
      for (let unit = 0; unit < 3 * (SLICE / UNIT); unit++) {
        try {
          expect(Buffer.compare(await readAll(lun, unit * UNIT, UNIT), bytes.subarray(unit * UNIT, (unit + 1) * UNIT))).toBe(0)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_DATA_LOST' })
          lost.push(unit)
        }
      }
      const onVictim = Array.from({ length: 3 * (SLICE / UNIT) }, (_, unit) => unit).filter(
        unit => lun.stores.table.diskOf(storeOf(lun.map.place(Math.floor((unit * UNIT) / SLICE))), unit % 4) === victim,
      )
      expect(lost).toEqual(onVictim)
      // A write that only lost units would take is refused; the others go on.
      for (const unit of lost.slice(0, 1)) await expect(lun.write(unit * UNIT, bytesOf(4096, random))).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
      await lun.flush()
      disks[victim]!.plan = undefined
      await pool.online(pool.disk(victim), undefined)
      await resync(pool)
      expect(pool.disk(victim).state).toBe('normal')
      await expectSame(lun, bytes)
      expect(await problems(pool)).toEqual([])
      await pool.close()
    }
  })

  test('a flush that fails is told when it was to keep the only copy, and only then', async () => {
    for (const [at, isOnlyCopy] of [
      [MIB, true],
      [5 * MIB, false],
      [14 * MIB, false],
    ] as const) {
      const { pool, lun, disks } = await makeLun()
      await lun.write(0, bytesOf(SIZE, new Random(2)))
      await lun.flush()
      const data = bytesOf(SLICE, new Random(3))
      await lun.write(at, data)
      const victim = lun.stores.table.diskOf(storeOf(lun.map.place(at / SLICE)), 0)
      disks[victim]!.plan = ({ kind }) => (kind === 'flush' ? ioError(kind) : undefined)
      if (isOnlyCopy) {
        await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
        // It stays lost: a second flush does not make it well (hazard 11).
        await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
      } else {
        await lun.flush()
        await lun.flush()
        expect(Buffer.compare(await readAll(lun, at, SLICE), data)).toBe(0)
      }
      expect(pool.disk(victim).state).toBe('failed')
      disks[victim]!.plan = undefined
      await pool.close().catch(() => undefined)
    }
  })

  test('a disk that left service with the only copy of what was not flushed is told by the flush', async () => {
    const { pool, lun, disks } = await makeLun()
    await lun.write(0, bytesOf(SIZE, new Random(2)))
    await lun.flush()
    await lun.write(MIB, bytesOf(SLICE, new Random(3)))
    const victim = lun.stores.table.diskOf(storeOf(lun.map.place(1)), 0)
    isDead(disks[victim]!)
    // The mirror and the parity notice first, and take the disk out of service.
    await lun.write(3 * MIB, bytesOf(10 * MIB, new Random(4)))
    await lun.write(13 * MIB, bytesOf(7 * MIB, new Random(4)))
    expect(pool.disk(victim).state).toBe('failed')
    await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
    disks[victim]!.plan = undefined
    await pool.close().catch(() => undefined)
  })

  test('a disk without room fails the write of a range that cannot do without it, and leaves service for one that can', async () => {
    for (const [at, isRedundant] of [
      [0, false],
      [8 * MIB, true],
      [16 * MIB, true],
    ] as const) {
      const { pool, lun, disks } = await makeLun()
      await lun.write(at, bytesOf(4096, new Random(1)))
      const victim = lun.stores.table.diskOf(storeOf(lun.map.place(at / SLICE)), 0)
      disks[victim]!.plan = ({ kind }) => (kind === 'reserve' ? ioError(kind) : undefined)
      const writing = lun.write(at + SLICE, bytesOf(4096, new Random(1)))
      if (isRedundant) await writing
      else await expect(writing).rejects.toMatchObject({ code: 'ERR_IO' })
      expect(pool.disk(victim).state).toBe(isRedundant ? 'failed' : 'normal')
      disks[victim]!.plan = undefined
      await pool.close()
    }
  })

  test('the checker tells of a slice in a store of another type, and of ranges that do not follow each other', async () => {
    const { pool, lun } = await makeLun()
    await lun.write(0, bytesOf(SIZE, new Random(1)))
    await lun.flush()
    const codesWith = async (ends: readonly number[]): Promise<Set<string>> => {
      const changed = lunRecord.encode({ ...lun.record, ranges: lun.record.ranges.map((range, i) => ({ ...range, endSlice: ends[i]! })) })
      async function* entries(): AsyncGenerator<{ hi: number; lo: number; value: Uint8Array }> {
        for await (const entry of pool.metadata.records()) yield entry.hi === keyOf('lun', lun.number).hi ? { ...entry, value: changed } : entry
      }
      return new Set((await checkRecords(entries(), pool.metadata.stores)).problems.map(({ code }) => code))
    }
    expect(await codesWith([3, 13, OPEN_END])).toEqual(new Set())
    expect(await codesWith([4, 13, OPEN_END])).toEqual(new Set(['slice.raid']))
    expect(await codesWith([3, 2, OPEN_END])).toContain('lun.ranges')
    expect(await codesWith([3, 13, 100])).toContain('lun.ranges')
    expect(await codesWith([0, 3, OPEN_END])).toContain('lun.ranges')
    await pool.close()
  })

  test('the number of a store that is gone is not given to a store of another type', async () => {
    const { pool, lun } = await makeLun('0-8MiB:raid5,8MiB-:raid1', 16 * MIB)
    const places = new Set<number>()
    for (let round = 0; round < 4; round++) {
      const at = (round % 2) * 8 * MIB
      await lun.write(at, bytesOf(4096, new Random(round)))
      const store = storeOf(lun.map.place(at / SLICE))
      expect(places.has(store)).toBe(false)
      places.add(store)
      await lun.trim(at, SLICE)
      expect(lun.stores.table.exists(store)).toBe(false)
    }
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('grows in the type of its last range, keeps its ranges when it shrinks, and gives back what it was cut', async () => {
    const { pool, luns, lun } = await makeLun()
    await lun.write(0, bytesOf(SIZE, new Random(1)))
    const resize = (size: number): Promise<void> => luns.resize(lun, size, { force: true })
    await resize(30 * MIB)
    await lun.write(24 * MIB, bytesOf(6 * MIB, new Random(2)))
    expect((await typeOfEverySlice(lun)).get(29)).toBe('raid5')
    await resize(2 * MIB)
    while (luns.toReclaim[0]) await luns.reclaim(luns.toReclaim[0], 8)
    expect(lun.record.storeCount).toBe(1)
    expect(await problems(pool)).toEqual([])
    await resize(SIZE)
    expect((await readAll(lun, 2 * MIB, SIZE - 2 * MIB)).every(byte => byte === 0)).toBe(true)
    await lun.write(2 * MIB, bytesOf(SIZE - 2 * MIB, new Random(3)))
    for (const [slice, raid] of await typeOfEverySlice(lun)) expect(raid).toBe(raidAt(slice))
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('a full pool binds to free slices of the same type only', async () => {
    const { pool, lun } = await makeLun('0-2GiB:raid1,2GiB-:raid0', 4096 * MIB, 2)
    // A raid0 store with one slice bound, and seven free ones.
    await lun.write(2048 * MIB, bytesOf(SLICE, new Random(1)))
    const error: unknown = await (async () => {
      for (let at = 0; ; at += SLICE) await lun.write(at, bytesOf(4096, new Random(at)))
    })().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'ERR_POOL_FULL' })
    const types = await typeOfEverySlice(lun).catch((thrown: unknown) => thrown)
    expect(types).toBeInstanceOf(Map)
    for (const [slice, raid] of types as Map<number, string>) expect(raid).toBe(slice < 2048 ? 'raid1' : 'raid0')
    // Of its own type there are some, at an address whose group has no store.
    await lun.write(3000 * MIB, bytesOf(4096, new Random(2)))
    expect(lun.stores.table.raid(storeOf(lun.map.place(3000)))).toBe('raid0')
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('every type must be possible, and a reservation takes whole stores of each', async () => {
    const disks = simulatedDisks(4)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const create = (ranges: string, size: number, reserve = false): Promise<Lun> =>
      luns.create({ name: 'a', size: size * MIB, raid: parseRanges(ranges), reserve })
    // Also of a range that lies behind the end now.
    await expect(create('0-1GiB:raid1,1GiB-:raid5', 16)).rejects.toMatchObject({ code: 'ERR_TOO_FEW_DISKS', message: /raid5/ })
    expect(luns.all).toEqual([])
    const largest = pool.largest('raid1') / MIB
    await expect(create(`0-4MiB:raid0,4MiB-:raid1`, largest + 1, true)).rejects.toMatchObject({ code: 'ERR_POOL_FULL', why: /largest raid1/ })
    const lun = await create('0-4MiB:raid0,4MiB-:raid1', 12, true)
    expect(lun.record).toMatchObject({ boundSlices: 12, storeCount: 3 })
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })
})

const logSegments = (pool: Pool): number => [...pool.disks.values()].reduce((sum, { record }) => sum + record.logSegments, 0)
