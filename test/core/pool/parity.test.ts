import crypto from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { PARITY_MEMBER, ROW, SLICE, STORE, UNIT } from '../../../src/core/raid/geometry.ts'
import { ioError } from '../../support/io-error.ts'
import { createSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'
import { storeOf } from '../../../src/core/lun/slice-map.ts'
import { bytesOf, makeLun, SIZE, Twin } from './parity-twin.ts'

const lose = (pool: OpenPool['pool'], number: number): Promise<void> => pool.failDisk(pool.disk(number), new LunarError('ERR_IO', 'gone'))

describe('a parity store', () => {
  test.each([1, 2, 3])('reads what was written, with every disk there, without any one, and after it came back (seed %i)', async seed => {
    const { pool, lun } = await makeLun()
    const twin = new Twin(lun, new Random(seed))
    await lun.write(0, new Uint8Array(SIZE))
    for (let victim = 0; victim < 5; victim++) {
      await twin.write(40)
      await lun.flush()
      await twin.check()
      await lose(pool, victim)
      await twin.check()
      await twin.write(40)
      await twin.check()
      await lun.flush()
      await pool.online(pool.disk(victim), undefined)
      await twin.write(10)
      expect(await resync(pool)).toBeGreaterThan(0)
      expect(pool.disk(victim).state).toBe('normal')
      await twin.check()
    }
    await pool.close()
  })

  test('a write that fails on one disk is acknowledged when that disk is out of service, and nothing is lost', { timeout: 120_000 }, async () => {
    for (let victim = 0; victim < 5; victim++) {
      for (let nth = 0; nth < 12; nth += 2) {
        const { pool, lun, disks } = await makeLun()
        await lun.write(0, new Uint8Array(SIZE))
        const twin = new Twin(lun, new Random(nth))
        await twin.write(5)
        await lun.flush()
        let count = 0
        disks[victim]!.plan = ({ kind }) => ((kind === 'write' || kind === 'durable') && count++ === nth ? ioError('write') : undefined)
        await twin.write(8)
        await lun.flush()
        await twin.check()
        if (count > nth) expect(pool.disk(victim).state).toBe('failed')
        await pool.close()
      }
    }
  })

  test('a disk that leaves while a bad place of it is being repaired does not fail the write that met it', async () => {
    const { pool, lun, disks } = await makeLun()
    const twin = new Twin(lun, new Random(4))
    await twin.write(60)
    await lun.write(0, (twin.bytes.set(bytesOf(ROW, twin.random)), twin.bytes.subarray(0, ROW)))
    await lun.flush()
    const victim = lun.stores.table.diskOf(storeOf(lun.map.place(0)), 0)
    let leaving: Promise<void> | undefined
    disks[victim]!.plan = ({ kind }) => {
      if (kind === 'write') leaving ??= lose(pool, victim)
      return ioError(kind)
    }
    const data = bytesOf(4096, twin.random)
    twin.bytes.set(data)
    await lun.write(0, data)
    await lun.flush()
    await leaving
    expect(leaving).toBeDefined()
    expect(pool.disk(victim).state).toBe('failed')
    await twin.check()
    await pool.close()
  })

  test('a bad place of a member is served from the others, counted and written anew', async () => {
    const { pool, lun, disks } = await makeLun()
    const twin = new Twin(lun, new Random(9))
    await twin.write(60)
    await lun.flush()
    for (let victim = 0; victim < 5; victim++) {
      const bad = badOf(disks[victim]!, pool.disk(victim).offsetOf(0, 0))
      await twin.check()
      expect(pool.disk(victim).state).toBe('normal')
      expect(pool.disk(victim).errors).toBe(bad.failed)
      // What was read once was written anew; the second look finds nothing bad.
      const before = bad.failed
      expect(before).toBeGreaterThan(0)
      await lun.read(0, new Uint8Array(SIZE))
      expect(bad.failed).toBe(before)
      // A write beside bad places needs what they held, or what the others have.
      const again = badOf(disks[victim]!, pool.disk(victim).offsetOf(0, 0))
      await twin.write(30)
      await lun.flush()
      expect(again.failed).toBeGreaterThan(0)
      disks[victim]!.plan = undefined
      await twin.check()
    }
    await pool.close()
  })

  test('two bad places in a row: exactly what both would be needed for is refused', async () => {
    const { pool, lun, disks } = await makeLun()
    const bytes = bytesOf(SLICE, new Random(4))
    await lun.write(0, bytes)
    await lun.flush()
    const { table } = lun.stores
    for (const column of [0, 1]) {
      const disk = table.diskOf(0, column)
      const at = pool.disk(disk).offsetOf(table.segmentOf(0, column), 8 * KIB)
      disks[disk]!.plan = ({ kind, offset, length }) => (kind === 'read' && offset < at + 4 * KIB && at < offset + length ? ioError('bad') : undefined)
    }
    const refused: number[] = []
    for (let at = 0; at < SLICE; at += 4 * KIB) {
      const into = new Uint8Array(4 * KIB)
      try {
        await lun.read(at, into)
        expect(Buffer.compare(into, bytes.subarray(at, at + into.length))).toBe(0)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_DATA_LOST' })
        refused.push(at)
      }
    }
    expect(refused).toEqual([8 * KIB, UNIT + 8 * KIB])
    // A long read beside them is served too: the bad places are looked for.
    const unit = new Uint8Array(2 * UNIT)
    await lun.read(2 * UNIT, unit)
    expect(Buffer.compare(unit, bytes.subarray(2 * UNIT, 4 * UNIT))).toBe(0)
    await pool.close()
  })

  test('without two disks what lies on the others is read, the rest is refused, and nothing is written there', async () => {
    const { pool, lun, disks } = await makeLun()
    const bytes = bytesOf(SIZE, new Random(5))
    await lun.write(0, bytes)
    await lun.flush()
    await lun.stores.closeOpen(0)
    const { table } = lun.stores
    const [first, second] = [table.diskOf(0, 1), table.diskOf(0, 2)]
    await lose(pool, first)
    await lose(pool, second)
    const contents = await Promise.all(disks.map(disk => stableOf(disk, pool.disk(0).offsetOf(0, 0))))
    for (let column = 0; column < 4; column++) {
      const into = new Uint8Array(UNIT)
      const reading = lun.read(column * UNIT, into)
      if (column === 1 || column === 2) await expect(reading).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
      else {
        await reading
        expect(Buffer.compare(into, bytes.subarray(column * UNIT, (column + 1) * UNIT))).toBe(0)
      }
      await expect(lun.write(column * UNIT, bytesOf(4 * KIB, new Random(1)))).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    }
    await expect(lun.write(0, bytesOf(SLICE, new Random(1)))).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    expect(await Promise.all(disks.map(disk => stableOf(disk, pool.disk(0).offsetOf(0, 0))))).toEqual(contents)
    for (const disk of [first, second]) {
      await pool.online(pool.disk(disk), undefined)
      await resync(pool)
    }
    const all = new Uint8Array(SIZE)
    await lun.read(0, all)
    expect(Buffer.compare(all, bytes)).toBe(0)
    await pool.close()
  })

  test('parity goes round the disks, also when stores are bound at the same time', async () => {
    const disks = simulatedDisks(5)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 5 * STORE, raid: 'raid5', reserve: false })
    await lun.write(0, new Uint8Array(5 * STORE))
    const { table } = lun.stores
    expect(new Set([0, 1, 2, 3, 4].map(store => table.diskOf(store, PARITY_MEMBER))).size).toBe(5)
    await pool.close()
  })

  test('a small write: what it reads, logs and writes', async () => {
    const { pool, lun, disks } = await makeLun()
    await lun.write(0, bytesOf(SLICE, new Random(5)))
    await lun.flush()
    for (const disk of disks) disk.resetCounters()
    await lun.write(UNIT + 8 * KIB, bytesOf(4 * KIB, new Random(6)))
    await lun.drain()
    const { table } = lun.stores
    const counts = (member: number): number[] => {
      const { reads, writes, durables, flushes } = disks[table.diskOf(0, member)]!.counters
      return [reads, writes, durables, flushes]
    }
    // The old bytes of one column and the parity; one durable write of the log; both in place.
    expect([0, 1, 2, 3].map(counts)).toEqual([
      [0, 0, 0, 0],
      [1, 1, 0, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ])
    expect(counts(PARITY_MEMBER)).toEqual([1, 1, 1, 0])
    for (const disk of disks) disk.resetCounters()
    // Whole rows need no reading, and no log but for one entry that voids the older one.
    await lun.write(0, bytesOf(2 * ROW, new Random(6)))
    expect(counts(0)).toEqual([0, 1, 0, 0])
    expect(counts(PARITY_MEMBER)).toEqual([0, 1, 1, 0])
    await lun.write(0, bytesOf(2 * ROW, new Random(7)))
    expect(counts(PARITY_MEMBER)).toEqual([0, 2, 1, 0])
    await pool.close()
  })
})

/** From `from` on reads of a disk fail, until the place is written. */
function badOf(disk: SimulatedDisk, from: number): { failed: number } {
  const good = new Set<number>()
  const count = { failed: 0 }
  const first = Math.floor(from / 4096)
  disk.plan = ({ kind, offset, length }) => {
    if (offset < from) return undefined
    for (let page = Math.floor(offset / 4096); page * 4096 < offset + length; page++) {
      if (kind === 'write') good.add(page)
      else if (kind === 'read' && page >= first && !good.has(page)) {
        count.failed++
        return ioError('bad')
      }
    }
    return undefined
  }
  return count
}

async function stableOf(disk: SimulatedDisk, from: number): Promise<string> {
  const bytes = Buffer.alloc(24 * MIB)
  await disk.clone().read(from, bytes)
  return crypto.createHash('sha256').update(bytes).digest('hex')
}
