/** What an owner that was killed had written and not flushed is in the host's cache alone. */
import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

/** Disks of an owner that was killed: a LUN without redundancy has bytes on one of them that no flush has covered. */
async function killed(): Promise<{ disks: SimulatedDisk[]; written: SimulatedDisk }> {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { luns } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: MIB, raid: 'raid0', reserve: false })
  await lun.write(0, Buffer.alloc(4 * KIB))
  await lun.flush()
  await lun.write(0, Buffer.alloc(4 * KIB, 7))
  return { disks, written: disks.find(({ unflushed }) => unflushed > 0)! }
}

test('the next owner reads nothing that a crash of the machine takes back', async () => {
  const { disks } = await killed()
  const { luns } = await openSimulated(disks)
  const seen = Buffer.alloc(4 * KIB)
  await luns.find('a').read(0, seen)
  for (const disk of disks) disk.dropUnflushed()
  const after = await openSimulated(disks)
  const found = Buffer.alloc(4 * KIB)
  await after.luns.find('a').read(0, found)
  expect(found.equals(seen)).toBe(true)
})

test('where it cannot be made durable it is not read', async () => {
  const { disks, written } = await killed()
  written.plan = ({ kind }) => (kind === 'flush' ? new LunarError('ERR_IO', 'Cannot flush') : undefined)
  for (let owner = 0; owner < 2; owner++) {
    // The second one finds a disk that has failed.
    const { luns } = await openSimulated(disks)
    await expect(luns.find('a').read(0, Buffer.alloc(4 * KIB))).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
  }
})
