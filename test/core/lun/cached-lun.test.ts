/** The write-back cache of a LUN, in an engine that its owner opens and closes. */
import { expect, test } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import { OpenLun } from '../../../src/core/lun/open-lun.ts'
import type { BlockDevice } from '../../../src/core/block/device.ts'
import { makeSim, openSim, SimClock, type SimPool } from '../../support/sim.ts'
import { ioError } from '../../support/io-error.ts'
import { problems } from '../../support/problems.ts'
import { readAll } from './support.ts'

/** Time in which nobody is written back unasked. */
class StandingClock extends SimClock {
  override pause(_ms?: number, signal?: AbortSignal): Promise<void> {
    return new Promise(resolve => signal?.addEventListener('abort', () => resolve()))
  }
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
const set = (pool: SimPool, cache: string) => pool.engine.call('lun.set', { lun: 'a', settings: { cache } })
const held = (pool: SimPool): number => pool.lun('a').cache!.used

async function made(raid: 'raid0' | 'raid1' = 'raid1') {
  const disks = await makeSim()
  const pool = await openSim(disks, { clock: new StandingClock() })
  await pool.create('a', raid)
  const device: BlockDevice = await pool.engine.openLun('a')
  await device.write(0, filled(4 * MIB, 1))
  await device.flush()
  await set(pool, '1MiB')
  return { disks, pool, device }
}

test('an owner that closes writes down what is held, and so do a snapshot, switching off, and shrinking', async () => {
  const { disks, pool, device } = await made()
  expect(device).toBeInstanceOf(OpenLun)
  await device.write(0, filled(4096, 2))
  expect(held(pool)).toBe(4096)
  await pool.engine.call('snap.create', { snapshots: ['a@s'] })
  expect(held(pool)).toBe(0)
  const snapshot = await pool.engine.openLun('a@s', { readOnly: true })
  const seen = filled(512, 0)
  await snapshot.read(0, seen)
  expect(seen).toEqual(filled(512, 2))
  await snapshot.close()
  await pool.engine.call('snap.delete', { snapshots: ['a@s'] })
  await pool.engine.settled()

  await device.write(4096, filled(4096, 3))
  await set(pool, 'off')
  expect(pool.lun('a').cache).toBeUndefined()
  await device.flush()
  await set(pool, '1MiB')
  await device.write(3 * MIB, filled(4096, 4))
  await device.close()
  await pool.engine.call('lun.resize', { lun: 'a', size: 2 * MIB, force: true })
  await pool.engine.settled()
  expect(held(pool)).toBe(0)

  const again = await pool.engine.openLun('a')
  await again.write(0, filled(512, 5))
  expect(held(pool)).toBe(4096)
  await pool.close()
  const next = await openSim(disks)
  const found = await readAll(next.lun('a'), 0, 8192)
  expect([found[0], found[512], found[4096]]).toEqual([5, 2, 3])
  expect(await problems(next.pool)).toEqual([])
  await next.close()
})

test('deleting a LUN takes what is held along: nothing of it is bound again', async () => {
  const { disks, pool, device } = await made()
  await device.write(MIB, filled(4096, 2))
  await device.close()
  await pool.engine.call('lun.trim', { lun: 'a', offset: 0, length: 4 * MIB })
  expect(held(pool)).toBe(0)
  const again = await pool.engine.openLun('a')
  await again.write(MIB, filled(512, 3))
  await again.write(MIB, filled(512, 4))
  await again.close()
  const { cache } = pool.lun('a')
  await pool.engine.call('lun.delete', { lun: 'a' })
  await pool.engine.settled()
  expect(cache!.used).toBe(0)
  expect(pool.luns.all).toEqual([])
  expect(await problems(pool.pool)).toEqual([])
  await pool.close()
  expect(await problems((await openSim(disks)).pool)).toEqual([])
})

test('what cannot be written back fails every flush and switching off, and is told in the event log', async () => {
  const { disks, pool, device } = await made('raid0')
  await device.write(0, filled(4 * MIB, 2))
  await device.flush()
  for (let at = 0; at < MIB / 2; at += 64 * 1024) await device.write(at, filled(4096, 3))
  for (const disk of disks) disk.plan = ({ kind }) => (kind === 'write' ? ioError(kind) : undefined)
  await expect(device.flush()).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
  await expect(set(pool, 'off')).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
  expect(pool.lun('a').record.cacheBytes).toBe(MIB)
  for (const disk of disks) disk.plan = undefined
  await pool.pool.events.flush()
  expect(await pool.count('lun.cacheFailed', 'a')).toBe(1)
})
