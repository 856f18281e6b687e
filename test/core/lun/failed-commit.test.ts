import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Batch } from '../../../src/metadata/batch.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

const MIB = 1024 * 1024

/** Runs `act` while the pool refuses every commit. */
async function refused({ pool }: OpenPool, act: () => Promise<unknown>): Promise<void> {
  const commit = pool.metadata.commit.bind(pool.metadata)
  pool.metadata.commit = () => Promise.reject(new LunarError('ERR_METADATA_FULL', 'Cannot record the change'))
  await expect(act()).rejects.toMatchObject({ code: 'ERR_METADATA_FULL' })
  pool.metadata.commit = commit
}

test('a change that could not be recorded did not happen', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const open = await openSimulated(disks)
  const { luns, pool } = open
  const a = await luns.create({ name: 'a', size: MIB, raid: 'raid1', reserve: false })
  const b = await luns.create({ name: 'b', size: MIB, raid: 'raid1', reserve: false })
  const before = [a.record, b.record]
  await refused(open, () => luns.swap(a, b))
  await refused(open, () => luns.rename(a, 'c'))
  await refused(open, () => luns.setProtected(b, true))
  await refused(open, () => luns.resize(b, 2 * MIB, { force: false }))
  expect([a.record, b.record]).toEqual(before)
  expect([luns.find('a'), luns.find('b')]).toEqual([a, b])
  expect(() => luns.find('c')).toThrow(/Cannot find LUN/)
  await luns.swap(a, b)
  expect([luns.find('a'), luns.find('b')]).toEqual([b, a])
  await pool.close()
})

test('what marks a LUN incomplete is taken back although a write has bound a slice meanwhile', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { luns, pool } = await openSimulated(disks)
  const lun = await luns.create({ name: 'a', size: MIB, raid: 'raid1', reserve: false })
  const undo = luns.markIncomplete(lun, new Batch())
  await lun.write(0, new Uint8Array(4096).fill(1))
  undo()
  expect([lun.isIncomplete, lun.record.boundSlices]).toEqual([false, 1])
  await pool.close()
})

test('the time of the last write is that of the last commit', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { luns, pool } = await openSimulated(disks)
  const opened = pool.metadata.lastWriteMs
  const now = opened + 3_600_000
  const { clock } = pool.options
  Object.assign(pool.metadata, { options: { ...(pool.metadata as unknown as { options: object }).options, clock: { ...clock, wallMs: () => now } } })
  expect(pool.metadata.lastWriteMs).toBe(opened)
  await luns.create({ name: 'a', size: MIB, raid: 'raid1', reserve: false })
  expect(pool.metadata.lastWriteMs).toBe(now)
  await pool.close()
})
