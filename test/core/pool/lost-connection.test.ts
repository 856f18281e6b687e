/** A disk behind a connection that is lost: what the pool goes on with, what it copies when the disk is back, and who may vote. */
import { expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { RemoteEnd } from '../../../src/core/block/device.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Redundancy } from '../../../src/core/raid/geometry.ts'
import { createSimulated, findSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

/** Behind a connection: `cut` loses it and, as a server does that dies with its host, what was not flushed. */
function connect(disk: SimulatedDisk): { cut(): void } {
  const loss = deferred<LunarError>()
  const remote: RemoteEnd & { isLost: boolean } = {
    isLost: false,
    lost: loss.promise,
    lose: why => {
      remote.isLost = true
      const error = new LunarError('ERR_IO', `Cannot use ${disk.name}`, { why })
      disk.plan = () => ({ error })
      loss.resolve(error)
    },
  }
  Object.assign(disk, { remote })
  return {
    cut: () => {
      remote.lose('the server closed the connection')
      disk.dropUnflushed()
    },
  }
}

const block = (value: number, length = 4096): Buffer => Buffer.alloc(length, value)

async function tank(count: number, raid: Redundancy): Promise<{ open: OpenPool; disks: SimulatedDisk[]; lun: ReturnType<OpenPool['luns']['find']> }> {
  const disks = simulatedDisks(count)
  await createSimulated(disks)
  const open = await openSimulated(disks)
  const lun = await open.luns.create({ name: 'db', size: 32 * MIB, raid, reserve: false, dryRun: false })
  return { open, disks, lun }
}

/** The disk as another connection finds it. */
async function back({ pool }: OpenPool, number: number, disk: SimulatedDisk): Promise<SimulatedDisk> {
  const again = disk.clone()
  connect(again)
  await pool.online(pool.disk(number), (await findSimulated([again]))[0])
  return again
}

test('what was flushed is not copied again, what was not is, and the mirror reads right from each of its disks', async () => {
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const connection = connect(disks[1]!)
  const open = await openSimulated(disks)
  const lun = await open.luns.create({ name: 'db', size: 32 * MIB, raid: 'raid1', reserve: false, dryRun: false })
  for (let slice = 0; slice < 24; slice++) await lun.write(slice * MIB, block(slice + 1))
  await lun.flush()
  await lun.write(3 * MIB, block(103)) // acknowledged, and on no server's disk yet
  connection.cut()
  await expect.poll(() => open.pool.disk(1).state).toBe('missing')
  await lun.write(20 * MIB, block(120))
  await lun.flush()
  await back(open, 1, disks[1]!)
  expect(open.pool.disk(1).state).toBe('merging')
  const moved = await resync(open.pool)
  expect(moved).toBeGreaterThan(0)
  expect(moved, 'two slices of 1 MiB').toBeLessThanOrEqual(2 * MIB)
  expect(open.pool.disk(1).state).toBe('normal')
  for (const other of [0, 2]) {
    const into = Buffer.alloc(4096)
    if (!open.pool.disk(other).inService) continue
    await open.pool.offline(open.pool.disk(other))
    for (let slice = 0; slice < 24; slice++) {
      await lun.read(slice * MIB, into)
      expect([slice, into[0], into[4095]]).toEqual([slice, ...(slice === 3 ? [103, 103] : slice === 20 ? [120, 120] : [slice + 1, slice + 1])])
    }
    await open.pool.online(open.pool.disk(other), undefined)
    await resync(open.pool)
  }
  await open.pool.close()
})

test('of bytes that were only there and in no flush, no later flush says that they are kept', async () => {
  const { open, disks, lun } = await tank(1, 'raid0')
  await lun.write(0, block(1))
  await lun.flush()
  await open.pool.close()
  for (const unflushed of [false, true]) {
    const again = disks.map(disk => disk.clone())
    const lost = connect(again[0]!)
    // Without another quorum disk the pool could not go on at all.
    const witness = await openWithWitness(again)
    const volume = witness.luns.find('db')
    await volume.write(0, block(2))
    if (!unflushed) await volume.flush()
    lost.cut()
    await expect.poll(() => witness.pool.disk(0).state).toBe('missing')
    await expect(volume.write(0, block(3))).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    await back(witness, 0, again[0]!)
    await volume.write(4096, block(4))
    if (unflushed) await expect(volume.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
    else await volume.flush()
    await witness.pool.close()
  }
})

async function openWithWitness(disks: SimulatedDisk[]): Promise<OpenPool> {
  const open = await openSimulated(disks)
  const more = [new SimulatedDisk(32 * MIB, { name: 'w1' }), new SimulatedDisk(32 * MIB, { name: 'w2' })]
  await open.pool.addDisks(more.map(disk => ({ disk, blank: true, witness: true, domain: '' })))
  return open
}

test.each([
  { remote: [1], cut: [1], holds: true },
  { remote: [1, 2], cut: [1], holds: true },
  // Another host that reaches these two has two of three quorum disks, and could open the pool.
  { remote: [1, 2], cut: [1, 2], holds: false },
])('of three quorum disks $remote are remote, and $cut are lost: goes on $holds', async ({ remote, cut, holds }) => {
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const connections = new Map(remote.map(number => [number, connect(disks[number]!)]))
  const open = await openSimulated(disks)
  for (const number of cut) connections.get(number)!.cut()
  const change = open.luns.create({ name: 'db', size: 8 * MIB, raid: 'raid0', reserve: false, dryRun: false })
  if (holds) await change
  else await expect(change).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
  await open.pool.close()
})

test('where its leaving cannot be recorded, nothing is acknowledged that a disk has missed', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const witness = new SimulatedDisk(32 * MIB, { name: 'w' })
  const connections = [disks[1]!, witness].map(connect)
  const open = await openSimulated(disks)
  await open.pool.addDisks([{ disk: witness, blank: true, witness: true, domain: '' }])
  const lun = await open.luns.create({ name: 'db', size: 8 * MIB, raid: 'raid1', reserve: false, dryRun: false })
  await lun.write(0, block(1))
  for (const connection of connections) connection.cut()
  for (let attempt = 0; attempt < 3; attempt++) {
    // Too long to be acknowledged ahead.
    await expect(lun.write(0, block(2, 320 * 1024)).then(() => lun.flush())).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
  }
  await open.pool.close()
})
