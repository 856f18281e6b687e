/** A pool that is full while snapshots need a copy: the write fails, nothing else does, and space makes it go on (hazards 2, 23). */
import { expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { Reclaim } from '../../../../src/core/lun/reclaim.ts'
import { problems } from '../../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../../support/simulated-pool.ts'

const CHUNK = 4 * KIB

test('a first write fails with no space, its snapshots stay right, and it goes on when there is some', async () => {
  const disks = simulatedDisks(4)
  await createSimulated(disks)
  let open = await openSimulated(disks)
  const { luns } = open
  await luns.create({ name: 'db', size: 4 * MIB, raid: 'raid0', reserve: false })
  const db = open.relationships.volume(luns.find('db').number)
  await db.write(0, new Uint8Array(4 * MIB).fill(1))
  await db.flush()
  await open.trees.create({ names: ['db@s1'] })
  const size = open.pool.largest('raid0')
  await luns.create({ name: 'filler', size, raid: 'raid0', reserve: true })
  expect(open.pool.largest('raid0')).toBe(0)

  const snapshot = open.trees.volume(open.trees.find('db@s1'))
  const read = async (device: { read(offset: number, into: Uint8Array): Promise<void> }, chunk: number): Promise<number> => {
    const into = new Uint8Array(512)
    await device.read(chunk * CHUNK, into)
    return into[0]!
  }
  // Small ones that would be acknowledged ahead, many at once, a long one, and one to the snapshot itself.
  const failed = { code: 'ERR_POOL_FULL' }
  await expect(db.write(0, new Uint8Array(CHUNK).fill(2))).rejects.toMatchObject(failed)
  const many = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => db.write(i * CHUNK, new Uint8Array(CHUNK).fill(2))))
  expect(many.every(({ status }) => status === 'rejected')).toBe(true)
  await expect(db.write(MIB, new Uint8Array(MIB).fill(2))).rejects.toMatchObject(failed)
  await expect(snapshot.write(0, new Uint8Array(CHUNK).fill(3))).rejects.toMatchObject(failed)
  await db.flush()
  for (const chunk of [0, 5, 300]) expect([await read(db, chunk), await read(snapshot, chunk)]).toEqual([1, 1])
  // A snapshot more needs no space, and deleting always works.
  await open.trees.create({ names: ['db@s2'], readOnly: true })
  await open.trees.delete([open.trees.find('db@s2')])

  await luns.delete(luns.find('filler'))
  const reclaim = new Reclaim(open.pool, luns)
  while (!(await reclaim.step()).finished);
  await db.write(0, new Uint8Array(CHUNK).fill(4))
  await snapshot.write(CHUNK, new Uint8Array(CHUNK).fill(5))
  await db.flush()
  expect([await read(db, 0), await read(snapshot, 0), await read(db, 1), await read(snapshot, 1)]).toEqual([4, 1, 1, 5])
  const store = open.trees.stores.slots(open.trees.stores.all[0]!)
  expect(await store.usedBytes()).toBe(2 * CHUNK)
  while (await open.trees.tidy());
  expect(await problems(open.pool)).toEqual([])
  await open.pool.close()
  open = await openSimulated(disks)
  expect(await open.trees.stores.slots(open.trees.stores.all[0]!).usedBytes()).toBe(2 * CHUNK)
  expect(await problems(open.pool)).toEqual([])
})
