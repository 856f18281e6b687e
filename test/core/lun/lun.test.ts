import { describe, expect, test } from 'vitest'
import { type LunarError } from '../../../src/core/base/errors.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { alignedBuffers } from '../../../src/core/block/aligned.ts'
import { ioError } from '../../support/io-error.ts'
import { problems } from '../../support/problems.ts'
import { createSimulated, openSimulated, resync, simulatedDisks } from '../../support/simulated-pool.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'

for (const raid of ['raid0', 'raid1'] as const) {
  blockDeviceSuite(
    `a ${raid} LUN`,
    async () => {
      const disks = simulatedDisks(4)
      await createSimulated(disks)
      const { pool, luns } = await openSimulated(disks)
      const lun = await luns.create({ name: 'a', size: 24 * MIB, raid, reserve: false })
      const device = new OpenLun(lun, lun, false)
      return { device, dispose: () => pool.close() }
    },
    4,
  )
}

function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 9) * 13 + seed) & 255
  return bytes
}

async function readAll(device: { read(offset: number, into: Uint8Array): Promise<void> }, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee)
  await device.read(offset, into)
  return into
}

/** Compares without the cost of a matcher that looks at each byte as an element. */
function expectSame(got: Uint8Array, want: Uint8Array): void {
  expect(got.length).toBe(want.length)
  const at = Buffer.compare(got, want) === 0 ? -1 : got.findIndex((byte, i) => byte !== want[i])
  expect(at, 'first byte that differs').toBe(-1)
}

describe('a LUN', () => {
  test('keeps what was written over close and open, and gives its space back when deleted', async () => {
    const disks = simulatedDisks(4)
    await createSimulated(disks)
    let { pool, luns } = await openSimulated(disks)
    const a = await luns.create({ name: 'a', size: 16 * MIB, raid: 'raid1', reserve: false })
    const data = pattern(3 * MIB, 1)
    await a.write(MIB - 4096, data)
    await a.flush()
    expect(pool.largest('raid1')).toBeGreaterThan(0)
    await pool.close()
    ;({ pool, luns } = await openSimulated(disks))
    expect(pool.metadata.report.cleanShutdown).toBe(true)
    expect(Buffer.compare(await readAll(luns.find('a'), MIB - 4096, data.length), data)).toBe(0)
    const used = [...pool.segments.values()].reduce((sum, map) => sum + map.count('used'), 0)
    expect(used).toBe(8)
    await luns.delete(luns.find('a'))
    while (luns.toReclaim[0]) await luns.reclaim(luns.toReclaim[0], 10)
    expect(await pool.cleanFreed()).toBe(8)
    expect([...pool.segments.values()].reduce((sum, map) => sum + map.count('used') + map.count('freed'), 0)).toBe(0)
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('a write that may pass the page cache has its range for itself, so that no cached one meets it', async () => {
    const disks = simulatedDisks(4)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid0', reserve: false })
    await lun.write(0, new Uint8Array(2 * MIB))
    const [pages] = alignedBuffers(1, MIB) as [Buffer]
    for (const [data, sharing] of [
      [new Uint8Array(MIB), true],
      [pages, false],
    ] as const) {
      const written = lun.write(MIB, data)
      const release = lun.stores.lockRange(0, MIB, 4096, 'shared')
      expect(!(release instanceof Promise)).toBe(sharing)
      void Promise.resolve(release).then(free => free())
      await written
    }
    await pool.close()
  })

  test('a write buffer may be reused as soon as the write is acknowledged', async () => {
    const disks = simulatedDisks(2)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 4 * MIB, raid: 'raid1', reserve: false })
    await lun.write(0, new Uint8Array(MIB))
    await lun.flush()
    await lun.stores.closeOpen(0)
    const buffer = Buffer.alloc(4096, 1)
    await lun.write(0, buffer)
    buffer.fill(2)
    await lun.flush()
    expectSame(await readAll(lun, 0, 4096), new Uint8Array(4096).fill(1))
    await pool.close()
  })

  test('what was trimmed and bound again reads as zeros, never as what it held', async () => {
    const disks = simulatedDisks(3)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    for (const raid of ['raid0', 'raid1'] as const) {
      const lun = await luns.create({ name: raid, size: 16 * MIB, raid, reserve: false })
      await lun.write(0, pattern(8 * MIB, 3))
      await lun.trim(2 * MIB, 3 * MIB)
      await lun.write(3 * MIB, new Uint8Array(512).fill(9))
      const after = await readAll(lun, 2 * MIB, 3 * MIB)
      expect(after.subarray(0, MIB).some(byte => byte !== 0)).toBe(false)
      expect(after.subarray(MIB, MIB + 512).every(byte => byte === 9)).toBe(true)
      expect(after.subarray(MIB + 512).some(byte => byte !== 0)).toBe(false)
    }
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test.each(['flush', 'punch'] as const)('a disk that fails the %s of trimmed space leaves, and the mirror is written without it', async kind => {
    const disks = simulatedDisks(4)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const a = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid1', reserve: false })
    await a.write(0, pattern(3 * MIB, 1))
    await a.flush()
    await a.trim(MIB, MIB)
    const [victim] = a.stores.members.disksOf(0)
    disks[victim!.number]!.plan = operation => (operation.kind === kind ? ioError('a disk that broke') : undefined)
    const data = pattern(4096, 2)
    await a.write(MIB, data)
    await a.flush()
    expect(victim!.state).toBe('failed')
    expectSame(await readAll(a, MIB, 4096), data)
    expectSame(await readAll(a, MIB + 4096, MIB - 4096), new Uint8Array(MIB - 4096))
    expectSame(await readAll(a, 0, MIB), pattern(3 * MIB, 1).subarray(0, MIB))
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('a full pool refuses a binding with ERR_POOL_FULL, changes nothing, and goes on when there is space', async () => {
    const disks = simulatedDisks(2)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 1024 * MIB, raid: 'raid1', reserve: false })
    let written = 0
    let refusal: unknown
    while (refusal === undefined) {
      try {
        await lun.write(written, pattern(MIB, written / MIB))
        written += MIB
      } catch (error) {
        refusal = error
      }
    }
    expect((refusal as LunarError).code).toBe('ERR_POOL_FULL')
    expect(written).toBeGreaterThan(16 * MIB)
    expectSame(await readAll(lun, 0, MIB), pattern(MIB, 0))
    expect(await problems(pool)).toEqual([])
    await lun.trim(0, 8 * MIB)
    await lun.write(written, pattern(MIB, 5))
    expectSame(await readAll(lun, written, MIB), pattern(MIB, 5))
    await luns.delete(lun)
    await pool.close()
  })

  test('a reserved LUN can be filled on a pool that others have filled, and one that does not fit leaves nothing', async () => {
    const disks = simulatedDisks(2)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const reserved = await luns.create({ name: 'r', size: 8 * MIB, raid: 'raid1', reserve: true })
    const thin = await luns.create({ name: 't', size: 1024 * MIB, raid: 'raid0', reserve: false })
    await expect(
      (async () => {
        for (let at = 0; ; at += 8 * MIB) await thin.write(at, new Uint8Array(8 * MIB).fill(1))
      })(),
    ).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    await reserved.write(0, pattern(8 * MIB, 8))
    await expect(luns.create({ name: 'x', size: 8 * MIB, raid: 'raid1', reserve: true })).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect(luns.all.map(lun => lun.name)).toEqual(['r', 't'])
    expect(await problems(pool)).toEqual([])
    await pool.close()
  })

  test('a shrink that would lose data is refused without force, and what was cut off reads as zeros after growing again', async () => {
    const disks = simulatedDisks(2)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid1', reserve: false })
    await lun.write(4 * MIB, pattern(2 * MIB, 1))
    await expect(luns.resize(lun, 5 * MIB, { force: false })).rejects.toMatchObject({ code: 'ERR_WOULD_LOSE_DATA' })
    await luns.resize(lun, 6 * MIB, { force: false })
    await luns.resize(lun, 5 * MIB, { force: true })
    await luns.resize(lun, 8 * MIB, { force: false })
    expect(await readAll(lun, 4 * MIB, MIB)).toEqual(pattern(2 * MIB, 1).subarray(0, MIB))
    expect((await readAll(lun, 5 * MIB, 3 * MIB)).some(byte => byte !== 0)).toBe(false)
    await pool.close()
  })
})

describe('a mirror', () => {
  test('goes on when a disk fails a write; the failure is durable and the disk is not trusted afterwards (F10)', async () => {
    const disks = simulatedDisks(3)
    await createSimulated(disks)
    let { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid1', reserve: false })
    await lun.write(0, pattern(4 * MIB, 1))
    await lun.flush()
    const bad = disks[1]!
    bad.plan = operation => (operation.kind === 'write' ? ioError('injected') : undefined)
    await lun.write(0, pattern(4 * MIB, 2))
    await lun.flush()
    expect(pool.disk(1).state).toBe('failed')
    expectSame(await readAll(lun, 0, 4 * MIB), pattern(4 * MIB, 2))
    bad.plan = undefined
    const crashed = disks.map(disk => disk.clone())
    await pool.close()
    ;({ pool, luns } = await openSimulated(crashed))
    expect(pool.disk(1).state).toBe('failed')
    expectSame(await readAll(luns.find('a'), 0, 4 * MIB), pattern(4 * MIB, 2))
    await pool.online(pool.disk(1), undefined)
    await resync(pool)
    expect(pool.disk(1).state).toBe('normal')
    expectSame(await readAll(luns.find('a'), 0, 4 * MIB), pattern(4 * MIB, 2))
    expect(await problems(pool)).toEqual([])
    await pool.close()
    // Without disk 0 or 2 the rest of the copies must be right as well.
    for (const missing of [0, 2]) {
      const rest = crashed.filter((_, i) => i !== missing).map(disk => disk.clone())
      const opened = await openSimulated(rest)
      expectSame(await readAll(opened.luns.find('a'), 0, 4 * MIB), pattern(4 * MIB, 2))
      await opened.pool.close()
    }
  })

  test('a disk that was away is resynced only where something was written', async () => {
    const disks = simulatedDisks(3)
    await createSimulated(disks)
    let { pool, luns } = await openSimulated(disks)
    let lun = await luns.create({ name: 'a', size: 16 * MIB, raid: 'raid1', reserve: false })
    await lun.write(0, pattern(12 * MIB, 1))
    await pool.close()
    ;({ pool, luns } = await openSimulated([disks[0]!, disks[2]!]))
    lun = luns.find('a')
    expect(pool.disk(1).state).toBe('missing')
    await lun.write(MIB, pattern(4096, 7))
    await lun.flush()
    await pool.close()
    ;({ pool, luns } = await openSimulated(disks))
    expect(pool.disk(1).state).toBe('merging')
    const moved = await resync(pool)
    expect(moved).toBeLessThanOrEqual(2 * 256 * 1024)
    expect(pool.disk(1).state).toBe('normal')
    const want = pattern(12 * MIB, 1)
    want.set(pattern(4096, 7), MIB)
    for (const missing of [0, 1, 2]) {
      const copies = disks.filter((_, i) => i !== missing).map(disk => disk.clone())
      if (missing === 0) await pool.close()
      const opened = await openSimulated(copies)
      expectSame(await readAll(opened.luns.find('a'), 0, 12 * MIB), want)
    }
  })

  test('a slice that waits for its resync at a clean close still waits at the next open', async () => {
    const disks = simulatedDisks(2)
    await createSimulated(disks)
    let { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: 4 * MIB, raid: 'raid1', reserve: false })
    await lun.write(0, pattern(MIB, 1))
    await lun.flush()
    // A crash with the slice open.
    const crashed = disks.map(disk => disk.clone())
    await pool.close()
    ;({ pool, luns } = await openSimulated(crashed))
    expect(luns.find('a').stores.unsyncedSlices).toEqual([0])
    await pool.close()
    ;({ pool, luns } = await openSimulated(crashed))
    expect(pool.metadata.report.cleanShutdown).toBe(true)
    expect(luns.find('a').stores.unsyncedSlices).toEqual([0])
    expect(await resync(pool)).toBe(MIB)
    await pool.close()
    ;({ pool, luns } = await openSimulated(crashed))
    expect(luns.find('a').stores.unsyncedSlices).toEqual([])
    await pool.close()
  })
})
