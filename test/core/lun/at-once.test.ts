import { describe, expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { fastOf } from '../../../src/core/block/device.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import type { Redundancy } from '../../../src/core/raid/geometry.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)

/** A LUN on disks that do at once what `quick` says. */
async function quickLun(raid: Redundancy, quick: () => boolean): Promise<{ lun: Lun; disks: SimulatedDisk[]; close: () => Promise<void> }> {
  const made = simulatedDisks(5)
  await createSimulated(made)
  const disks = made.map(disk => disk.clone({ atOnce: quick }))
  const { pool, luns } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: 16 * MIB, raid, reserve: false })
  return { lun, disks, close: () => pool.close() }
}

async function readBack(lun: Lun, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length)
  await lun.read(offset, into)
  return into
}

const cases: { what: string; offset: number; length: number }[] = [
  { what: 'what crosses a unit', offset: 62 * KIB, length: 4 * KIB },
  { what: 'half a block', offset: 256, length: 512 },
  { what: 'what ends behind the LUN', offset: 16 * MIB - 512, length: 1024 },
  { what: 'what begins before it', offset: -512, length: 512 },
  { what: 'nothing', offset: 0, length: 0 },
]

describe('transfers at once', () => {
  test('of a raid0 LUN: what is unbound reads as zeros and is not written; what is bound is both', async () => {
    const { lun, close } = await quickLun('raid0', () => true)
    const into = bytes(4096, 9)
    expect(lun.tryWrite(0, bytes(4096, 1))).toBe(false)
    expect(await readBack(lun, 0, 4096)).toEqual(bytes(4096, 0))
    await lun.write(MIB, bytes(4096, 1))
    expect(lun.tryRead(2 * MIB, into)).toBe(true)
    expect(into).toEqual(bytes(4096, 0))
    expect(lun.tryWrite(MIB + 4096, bytes(4096, 2))).toBe(true)
    expect(lun.tryRead(MIB + 4096, into)).toBe(true)
    expect(into).toEqual(bytes(4096, 2))
    expect(await readBack(lun, MIB, 8192)).toEqual(new Uint8Array([...bytes(4096, 1), ...bytes(4096, 2)]))
    await close()
  })

  test.each(cases)('not $what', async ({ offset, length }) => {
    const { lun, close } = await quickLun('raid0', () => true)
    await lun.write(0, bytes(MIB, 1))
    await lun.write(15 * MIB, bytes(MIB, 1))
    expect(lun.tryRead(offset, new Uint8Array(length))).toBe(false)
    expect(lun.tryWrite(offset, new Uint8Array(length))).toBe(false)
    await close()
  })

  test('are covered by the next flush', async () => {
    const { lun, disks, close } = await quickLun('raid0', () => true)
    await lun.write(0, bytes(4096, 1))
    await lun.flush()
    expect(lun.tryWrite(0, bytes(4096, 2))).toBe(true)
    expect(disks.some(disk => disk.unflushed > 0)).toBe(true)
    await lun.flush()
    expect(disks.every(disk => disk.unflushed === 0)).toBe(true)
    for (const disk of disks) disk.dropUnflushed()
    expect(await readBack(lun, 0, 4096)).toEqual(bytes(4096, 2))
    await close()
  })

  test('of a raid1 LUN wait for nothing and nobody: not before its slice is open, not beside who has the range', async () => {
    let hold: Promise<void> | undefined
    const { lun, disks, close } = await quickLun('raid1', () => hold === undefined)
    await lun.write(0, bytes(4096, 1))
    await lun.flush()
    await lun.stores.closeOpen(0)
    expect(lun.tryWrite(0, bytes(4096, 2))).toBe(false)
    await lun.write(0, bytes(4096, 3))
    await lun.drain()
    expect(lun.tryWrite(0, bytes(4096, 4))).toBe(true)
    const until = deferred()
    hold = until.promise
    for (const disk of disks) disk.plan = ({ kind }) => (kind === 'write' ? { delay: until.promise } : undefined)
    const writing = lun.write(0, bytes(4096, 5))
    await new Promise(resolve => setImmediate(resolve))
    hold = undefined
    for (const disk of disks) disk.plan = undefined
    expect(lun.tryWrite(2048, bytes(4096, 6))).toBe(false)
    expect(lun.tryRead(2048, bytes(4096, 0))).toBe(false)
    expect(lun.tryWrite(8192, bytes(4096, 6))).toBe(true)
    until.resolve()
    await writing
    expect(await readBack(lun, 0, 4096)).toEqual(bytes(4096, 5))
    await close()
  })

  test('of a raid1 LUN reach all copies, also when only the first of them can be written at once', async () => {
    let left = 100
    const { lun, close } = await quickLun('raid1', () => left-- > 0)
    await lun.write(0, bytes(MIB, 1))
    await lun.drain()
    left = 1
    expect(lun.tryWrite(0, bytes(4096, 2))).toBe(true)
    expect(lun.tryWrite(0, bytes(4096, 3))).toBe(false)
    left = 0
    expect(await readBack(lun, 0, 4096)).toEqual(bytes(4096, 2))
    await lun.flush()
    expect(await lun.verifySlice(0, false)).toMatchObject({ misfits: [] })
    await close()
  })

  test('of a raid1 LUN need every member', async () => {
    const { lun, close } = await quickLun('raid1', () => true)
    await lun.write(0, bytes(MIB, 1))
    await lun.drain()
    const pool = lun.stores.host
    await pool.failDisk(pool.disk(0), new Error('gone'))
    expect(lun.tryWrite(0, bytes(4096, 2)) && lun.tryWrite(64 * KIB, bytes(4096, 2)) && lun.tryWrite(128 * KIB, bytes(4096, 2))).toBe(false)
    await lun.write(0, bytes(MIB, 3))
    expect(await readBack(lun, 0, MIB)).toEqual(bytes(MIB, 3))
    await close()
  })

  test('of a raid5 LUN: reads, no writes', async () => {
    const { lun, close } = await quickLun('raid5', () => true)
    await lun.write(0, bytes(MIB, 1))
    await lun.drain()
    const into = bytes(4096, 0)
    expect(lun.tryRead(4096, into)).toBe(true)
    expect(into).toEqual(bytes(4096, 1))
    expect(lun.tryWrite(4096, bytes(4096, 2))).toBe(false)
    await close()
  })

  test('are all that a small write to parity makes but for its log; what cannot be made at once is made the usual way', async () => {
    for (const share of [0, 0.5, 1]) {
      const random = new Random(share * 10)
      const { lun, disks, close } = await quickLun('raid5', () => random.chance(share))
      const expected = bytes(MIB, 1)
      await lun.write(0, expected)
      await lun.flush()
      for (const disk of disks) disk.resetCounters()
      const usual = disks.flatMap(disk => [vi.spyOn(disk, 'read'), vi.spyOn(disk, 'write')])
      for (let i = 0; i < 20; i++) {
        const at = 4096 * random.below(256)
        expected.fill(i, at, at + 4096)
        await lun.write(at, bytes(4096, i))
      }
      await lun.drain()
      const calls = usual.reduce((sum, { mock }) => sum + mock.calls.length, 0)
      if (share === 0) expect(calls).toBe(4 * 20)
      else if (share === 1) expect(calls).toBe(0)
      else expect(calls).toBeGreaterThan(10)
      // Old bytes and old parity; new bytes and new parity.
      expect(disks.reduce((sum, { counters }) => sum + counters.reads, 0)).toBe(2 * 20)
      expect(disks.reduce((sum, { counters }) => sum + counters.writes, 0)).toBe(2 * 20)
      await lun.flush()
      for (const disk of disks) disk.dropUnflushed()
      expect(Buffer.compare(await readBack(lun, 0, MIB), expected)).toBe(0)
      expect((await lun.verifySlice(0, false))!.misfits).toEqual([])
      await close()
    }
  })

  test('are refused by a LUN that is closed or open for reading', async () => {
    const { lun, close } = await quickLun('raid0', () => true)
    await lun.write(0, bytes(4096, 1))
    const reader = new OpenLun(lun, lun, true)
    const device = fastOf(reader)!
    expect(device.tryRead(0, bytes(4096, 0))).toBe(true)
    expect(device.tryWrite(0, bytes(4096, 2))).toBe(false)
    await reader.close()
    expect(device.tryRead(0, bytes(4096, 0))).toBe(false)
    await close()
  })
})
