/** F33: a disk that does not answer. LUNs on other disks go on, a flush of those on it waits and tells no lie, and all is right when it answers. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { memberCount } from '../../src/core/raid/geometry.ts'
import { deferred } from '../../src/core/base/deferred.ts'
import { makeSim, openSim, readAll, stamped } from '../support/sim.ts'

/** Where user data begins on disks of 64 MiB. */
const DATA_FROM = 17 * MIB
const SIZE = 8 * MIB

/** Whether a promise has an answer once everything that can go on has gone on. */
async function isPending(promise: Promise<unknown>, beside: Promise<unknown>): Promise<boolean> {
  await beside
  for (let turn = 0; turn < 50; turn++) await new Promise(resolve => setImmediate(resolve))
  return (await Promise.race([promise.then(() => 'done'), Promise.resolve('pending')])) === 'pending'
}

describe.each(['raid0', 'raid1', 'raid5'] as const)('F33 a disk that does not answer (%s)', raid => {
  test('holds up its own LUNs only, their flushes wait, and nothing is lost', async () => {
    const disks = await makeSim({ disks: 10 })
    const open = await openSim(disks)
    const luns = [await open.create('slow', raid, SIZE), await open.create('quick', raid, SIZE)]
    for (const lun of luns) {
      await lun.write(0, stamped(SIZE, 1))
      await lun.flush()
    }
    const [on, beside] = luns.map(lun => new Set(Array.from({ length: memberCount(raid) }, (_, m) => lun.stores.table.diskOf(0, m))))
    const victim = [...on!].find(disk => !beside!.has(disk))
    if (victim === undefined) throw new Error(`both LUNs lie on disks ${[...on!].join()}`)

    const answers = deferred()
    disks[victim]!.plan = ({ kind, offset }) => ((kind === 'read' || kind === 'write') && offset >= DATA_FROM ? { delay: answers.promise } : undefined)
    const [slow, quick] = luns as [(typeof luns)[0], (typeof luns)[0]]
    const writing = slow.write(0, stamped(MIB, 2))
    const flushing = writing.then(() => slow.flush())
    const besideIt = (async (): Promise<void> => {
      for (let at = 0; at < SIZE; at += MIB) {
        await quick.write(at, stamped(MIB, 3))
        await quick.flush()
        expect((await readAll(quick, at, MIB)).equals(stamped(MIB, 3))).toBe(true)
      }
    })()
    expect(await isPending(flushing, besideIt)).toBe(true)
    answers.resolve()
    await flushing
    disks[victim]!.plan = undefined
    // What was flushed survives the end of power; the disk was slow, it did not fail.
    expect(open.pool.disk(victim).state).toBe('normal')
    for (const disk of disks) disk.dropUnflushed()
    const again = await openSim(disks.map(disk => disk.clone()))
    expect((await readAll(again.lun('slow'), 0, MIB)).equals(stamped(MIB, 2))).toBe(true)
    expect((await readAll(again.lun('slow'), MIB, SIZE - MIB)).equals(stamped(SIZE, 1).subarray(MIB))).toBe(true)
    await again.close()
  })
})
