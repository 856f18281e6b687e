import { describe, expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { fastOf } from '../../../src/core/block/device.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import { PARITY_MEMBER, UNIT, type Redundancy } from '../../../src/core/raid/geometry.ts'
import { ioError } from '../../support/io-error.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)

/** A LUN on disks that do at once what `quick` says. */
async function quickLun(raid: Redundancy, quick: () => boolean, mebibytes = 16): Promise<{ lun: Lun; disks: SimulatedDisk[]; close: () => Promise<void> }> {
  const made = simulatedDisks(5)
  await createSimulated(made)
  const disks = made.map(disk => disk.clone({ atOnce: quick }))
  const { pool, luns } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: mebibytes * MIB, raid, reserve: false })
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
    expect(Buffer.compare(await readBack(lun, 0, MIB), bytes(MIB, 3))).toBe(0)
    await close()
  })

  test('of a raid5 LUN: reads, and writes that are acknowledged while they are logged', async () => {
    const { lun, disks, close } = await quickLun('raid5', () => true)
    await lun.write(0, bytes(MIB, 1))
    await lun.drain()
    const into = bytes(4096, 0)
    expect(lun.tryRead(4096, into)).toBe(true)
    expect(into).toEqual(bytes(4096, 1))
    for (const disk of disks) disk.resetCounters()
    expect(lun.tryWrite(4096, bytes(4096, 2))).toBe(true)
    expect(lun.tryRead(4096, into), 'it is not in place yet').toBe(false)
    // The same parity: it waits for the other.
    expect(lun.tryWrite(UNIT + 4096, bytes(4096, 3))).toBe(false)
    expect(
      disks.some(({ counters }) => counters.writes > 0),
      'nothing is in place before it is logged',
    ).toBe(false)
    expect(await readBack(lun, 4096, 4096)).toEqual(bytes(4096, 2))
    expect(lun.tryRead(4096, into)).toBe(true)
    expect(lun.tryWrite(UNIT + 4096, bytes(4096, 3))).toBe(true)
    await lun.flush()
    for (const disk of disks) disk.dropUnflushed()
    expect(await readBack(lun, 4096, 4096)).toEqual(bytes(4096, 2))
    expect(await readBack(lun, UNIT + 4096, 4096)).toEqual(bytes(4096, 3))
    expect((await lun.verifySlice(0, false))!.misfits).toEqual([])
    await close()
  })

  test('of a raid5 LUN: a disk that fails the log, the column or the parity leaves service, and nothing is lost', async () => {
    for (const kind of ['durable', 'column', 'parity'] as const) {
      const { lun, disks, close } = await quickLun('raid5', () => true)
      const expected = bytes(MIB, 1)
      await lun.write(0, expected)
      await lun.flush()
      const { stores } = lun
      const member = kind === 'column' ? 0 : PARITY_MEMBER
      const victim = stores.members.disk(0, member)
      disks[victim.number]!.plan = call => (call.kind === (kind === 'durable' ? 'durable' : 'write') ? ioError('write') : undefined)
      for (let i = 0; i < 8; i++) {
        expect(lun.tryWrite(8192 * i, bytes(4096, i + 2))).toBe(true)
        expected.fill(i + 2, 8192 * i, 8192 * i + 4096)
      }
      await lun.flush()
      expect(victim.inService, kind).toBe(false)
      expect(stores.members.notCurrent(0, 0)).toEqual([member])
      expect(lun.tryWrite(0, bytes(4096, 9)), 'without a member').toBe(false)
      expect(Buffer.compare(await readBack(lun, 0, MIB), expected)).toBe(0)
      await close()
    }
  })

  test('of a raid5 LUN: when two disks fail a write that was acknowledged ahead, the next flush fails', async () => {
    const { lun, disks, close } = await quickLun('raid5', () => true)
    await lun.write(0, bytes(MIB, 1))
    await lun.flush()
    for (const member of [0, PARITY_MEMBER]) {
      disks[lun.stores.members.disk(0, member).number]!.plan = ({ kind }) => (kind === 'write' ? ioError('write') : undefined)
    }
    expect(lun.tryWrite(0, bytes(4096, 2))).toBe(true)
    await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    await close()
  })

  test('of a raid5 LUN: small writes share the durable writes of the log, and logs share their flushes', async () => {
    const { lun, disks, close } = await quickLun('raid5', () => true, 40)
    await lun.write(0, bytes(40 * MIB, 1))
    await lun.flush()
    for (const disk of disks) disk.resetCounters()
    const count = 2048
    const blocks = (40 * MIB) / 4096
    for (let i = 0; i < count; i++) {
      // Those that follow each other have parity in different places.
      if (lun.tryWrite(((i * 1009) % blocks) * 4096, bytes(4096, i))) continue
      await lun.drain()
      expect(lun.tryWrite(((i * 1009) % blocks) * 4096, bytes(4096, i))).toBe(true)
    }
    await lun.drain()
    const sum = (key: 'reads' | 'writes' | 'durables' | 'flushes' | 'bytesWritten'): number => disks.reduce((all, { counters }) => all + counters[key], 0)
    expect([sum('reads'), sum('writes')]).toEqual([2 * count, 2 * count])
    expect(lun.stores.host.logs.size).toBe(5)
    // Groups of about 50, and what their windows need.
    expect(sum('durables')).toBeLessThan(count / 16)
    // 16 MiB of entries in five logs of 4 MiB, each emptied at half at the latest: all of them at once, by a flush of each disk.
    expect(sum('flushes')).toBeLessThanOrEqual(3 * 5)
    expect(sum('bytesWritten')).toBeLessThan(count * 4 * 4096 * 1.06)
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
      // Old bytes and old parity; new bytes and new parity. What was read at once for nothing is read again.
      const reads = disks.reduce((sum, { counters }) => sum + counters.reads, 0)
      if (share === 0.5) expect(reads).toBeLessThan(3 * 20)
      else expect(reads).toBe(2 * 20)
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
