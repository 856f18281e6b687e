import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { CommitWith } from '../../../src/core/wod/wods.ts'
import { Batch } from '../../../src/metadata/batch.ts'
import { problems } from '../../support/problems.ts'
import { stamp } from '../../conformance/block-device.ts'
import { writeOnceSuite } from '../../conformance/write-once.ts'
import { WodPool, wodKindsAll } from '../../support/wod-pool.ts'

for (const kind of wodKindsAll) {
  for (const blockBytes of [64 * KIB, 4 * KIB]) {
    writeOnceSuite(
      `a device on a ${kind} with blocks of ${blockBytes}`,
      async () => {
        const pool = await WodPool.make()
        const device = await pool.create(kind, 4 * MIB, blockBytes)
        const dispose = async (): Promise<void> => {
          expect(await problems(pool.open.pool)).toEqual([])
          await pool.open.pool.close()
        }
        return { device, reopen: () => pool.reopen(), dispose }
      },
      blockBytes === 4 * KIB ? 1 : 4,
    )
  }
}

test('space that cannot be given back is used again all the same', async () => {
  const pool = await WodPool.make()
  const device = await pool.create('vdisk', 4 * MIB, 64 * KIB)
  const file = pool.files.disks.get('/w.wod')!
  await device.write(0, stamp(0, device.size, 1))
  for (const [offset, length] of [
    [0, device.size],
    [MIB, 2 * MIB],
  ] as const) {
    file.plan = ({ kind }) => (kind === 'punch' ? new LunarError('ERR_IO', 'no punching') : undefined)
    await expect(device.reallocate(offset, length)).rejects.toMatchObject({ code: 'ERR_IO' })
    file.plan = undefined
    await device.write(offset, stamp(offset, length, 2))
  }
  const into = new Uint8Array(device.size)
  await device.read(0, into)
  expect(Buffer.compare(into, stamp(0, device.size, 2))).toBe(0)
  await pool.open.pool.close()
})

test.each(wodKindsAll)('zeros take no space of a %s', async kind => {
  const pool = await WodPool.make()
  const device = await pool.create(kind, 4 * MIB, 64 * KIB)
  const writes: string[] = []
  for (const disk of pool.files.disks.values())
    disk.plan = ({ kind: what }) => {
      if (what === 'write' || what === 'reserve') writes.push(what)
      return undefined
    }
  await device.write(0, new Uint8Array(2 * MIB))
  await device.zero(2 * MIB, 2 * MIB)
  expect(await device.extents(0, 4 * MIB)).toEqual([{ offset: 0, length: 4 * MIB, kind: 'data' }])
  expect([writes, pool.open.luns.all.map(({ record }) => record.boundSlices)]).toEqual([[], pool.open.luns.all.map(() => 0)])
  await pool.open.pool.close()
})

describe.each(wodKindsAll)('a %s that is renewed', kind => {
  const SIZE = 4 * MIB
  const BLOCK = 64 * KIB

  const commitOf =
    (pool: WodPool): CommitWith =>
    async fill => {
      const batch = new Batch()
      fill(batch)
      await pool.open.pool.metadata.commit(batch, 'admin', true)
    }
  const renew = (pool: WodPool): Promise<void> => pool.open.wods.renew([pool.open.wods.find('w')], () => ({}), commitOf(pool))

  /** Bytes that the device's file or LUN takes. */
  const taken = (pool: WodPool): number => {
    const file = pool.files.disks.get('/w.wod')
    return file ? file.allocated : pool.open.luns.find('w').record.boundSlices * MIB
  }

  /** Counts what gives space back. */
  const givenBack = (pool: WodPool): { count: number } => {
    const seen = { count: 0 }
    const lun = pool.open.luns.all.find(({ name }) => name === 'w')
    if (lun) {
      const trim = lun.trim.bind(lun)
      lun.trim = (offset, length) => {
        seen.count++
        return trim(offset, length)
      }
    }
    const file = pool.files.disks.get('/w.wod')
    if (file)
      file.plan = ({ kind: what }) => {
        if (what === 'punch') seen.count++
        return undefined
      }
    return seen
  }

  test('is empty in one commit that gives no space back; that comes behind it, and spares what is written meanwhile', async () => {
    const pool = await WodPool.make()
    const device = await pool.create(kind, SIZE, BLOCK)
    await device.write(0, stamp(0, SIZE, 1))
    const seen = givenBack(pool)
    await renew(pool)
    expect(seen.count).toBe(0)
    expect(taken(pool)).toBeGreaterThanOrEqual(SIZE)
    expect(await device.extents(0, SIZE)).toEqual([{ offset: 0, length: SIZE, kind: 'hole' }])
    const kept = 5 * BLOCK
    await device.write(kept, stamp(kept, BLOCK, 2))
    const tidying = (async (): Promise<void> => {
      while (await pool.open.wods.tidy());
    })()
    await device.write(kept + BLOCK, stamp(kept + BLOCK, BLOCK, 3))
    await tidying
    expect(seen.count).toBeGreaterThan(0)
    expect(taken(pool)).toBeLessThanOrEqual(2 * MIB)
    expect([pool.open.wods.needsTidying, pool.open.wods.find('w').isStale]).toEqual([false, false])
    const again = await pool.reopen()
    const into = new Uint8Array(2 * BLOCK)
    await again.read(kept, into)
    expect(Buffer.compare(into, Buffer.concat([stamp(kept, BLOCK, 2), stamp(kept + BLOCK, BLOCK, 3)]))).toBe(0)
    await pool.open.pool.close()
  })

  test('gives its space back after an end that came before it could', async () => {
    const pool = await WodPool.make()
    const device = await pool.create(kind, SIZE, BLOCK)
    await device.write(0, stamp(0, SIZE, 1))
    await renew(pool)
    const again = await pool.reopen()
    expect(pool.open.wods.needsTidying).toBe(true)
    await again.write(0, stamp(0, BLOCK, 2))
    while (await pool.open.wods.tidy());
    expect(taken(pool)).toBeLessThanOrEqual(MIB)
    const into = new Uint8Array(BLOCK)
    await again.read(0, into)
    expect(Buffer.compare(into, stamp(0, BLOCK, 2))).toBe(0)
    await pool.open.pool.close()
  })

  test('keeps what it has when the commit fails', async () => {
    const pool = await WodPool.make()
    const device = await pool.create(kind, SIZE, BLOCK)
    await device.write(0, stamp(0, BLOCK, 1))
    await expect(
      pool.open.wods.renew(
        [pool.open.wods.find('w')],
        () => ({}),
        () => Promise.reject(new Error('no commit')),
      ),
    ).rejects.toThrow('no commit')
    const into = new Uint8Array(BLOCK)
    await device.read(0, into)
    expect(Buffer.compare(into, stamp(0, BLOCK, 1))).toBe(0)
    await device.write(BLOCK, stamp(BLOCK, BLOCK, 1))
    await pool.open.pool.close()
  })
})
