import { expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { createSimulated, openSimulated, resync, simulatedDisks } from '../../support/simulated-pool.ts'

test('a disk that comes back while a slice is being cleaned without it is not believed there', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool, luns } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid1', reserve: false })
  await lun.write(0, new Uint8Array(2 * MIB).fill(7))
  await lun.flush()
  await lun.stores.closeOpen(0)
  await lun.trim(0, MIB)
  await pool.offline(pool.disk(0))
  // The slice is bound anew, so it is cleaned first, on the disk that is there; meanwhile the other one comes back.
  const [reached, goOn] = [deferred(), deferred()]
  disks[1]!.plan = ({ kind }) => {
    if (kind !== 'punch') return undefined
    reached.resolve()
    return { delay: goOn.promise }
  }
  const writing = lun.write(4096, new Uint8Array(4096).fill(9))
  await reached.promise
  await pool.online(pool.disk(0), undefined)
  goOn.resolve()
  await writing
  await lun.flush()
  await resync(pool)
  const expected = Buffer.alloc(MIB)
  expected.fill(9, 4096, 8192)
  for (const away of [0, 1]) {
    await pool.offline(pool.disk(away))
    const found = Buffer.alloc(MIB)
    await lun.read(0, found)
    expect(found.equals(expected), `without disk ${away}`).toBe(true)
    await pool.online(pool.disk(away), undefined)
    await resync(pool)
  }
  await pool.close()
})

test('a store whose last slice is given back while a neighbour is to be bound to it is not used', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool, luns } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: 8 * MIB, raid: 'raid0', reserve: false })
  await lun.write(MIB, new Uint8Array(4096).fill(7))
  const { table } = lun.stores
  const load = table.load.bind(table)
  vi.spyOn(table, 'load').mockImplementationOnce(async store => {
    await load(store)
    await lun.trim(MIB, MIB)
  })
  await lun.write(0, new Uint8Array(4096).fill(9))
  const found = Buffer.alloc(2 * MIB)
  await lun.read(0, found)
  expect(found.equals(Buffer.concat([Buffer.alloc(4096, 9)], 2 * MIB))).toBe(true)
  await pool.close()
})
