/** F10: EIO on the n-th write of a disk, for every n: nothing is acknowledged before the redundancy rule is met and the failure is durable. */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { clones, expectConsistent, makeSim, openSim, readAll, stamped, withSeed } from '../support/sim.ts'
import { checkContents, countWork, ioError, planNth, powerLoss, prepareWork, shapes, work } from '../support/workload.ts'

describe.each(shapes)('F10 write errors ($raid)', async ({ raid, disks: diskCount, victims }) => {
  const base = await makeSim({ disks: diskCount })
  const made = await openSim(base)
  await prepareWork(made, raid)
  await made.close()
  const make = (): Promise<SimulatedDisk[]> => Promise.resolve(clones(base))

  for (const victim of victims) {
    for (const how of ['once', 'from then on'] as const) {
      test(`disk ${victim} fails at its n-th write, ${how}`, { timeout: 60_000 }, async () => {
        const count = await countWork(make, victim, ['write', 'durable'])
        expect(count).toBeGreaterThan(4)
        for (let n = 0; n < count; n++) {
          await withSeed(`write ${n} of ${count} on disk ${victim}, ${how}`, async () => {
            const disks = await make()
            const open = await openSim(disks)
            planNth(disks[victim]!, ['write', 'durable'], nth => (nth === n || (how === 'from then on' && nth > n) ? ioError(`write ${n}`) : undefined))
            const result = await work(open)
            expect([...result.redundantFailures, ...result.adminFailures]).toEqual([])
            await checkContents(open, result, ['redundant'])
            // A disk that failed the one copy of striped data stays: its writer was told.
            const state = result.stripeFailures.length === 0 ? 'failed' : open.pool.disk(victim).state
            expect(open.pool.disk(victim).state).toBe(state)
            expect(open.pool.disk(victim).errors).toBeGreaterThan(0)

            // The lights go out. The disk works again, and what it holds must not be trusted.
            const dark = powerLoss(disks)
            const again = await openSim(dark)
            expect(again.pool.disk(victim).state).toBe(state)
            expect(await again.count('disk.failed', `disk ${victim}`)).toBe(state === 'failed' ? 1 : 0)
            await again.settled()
            await checkContents(again, result)
            await again.close()
            await expectConsistent(dark)
          })
        }
      })
    }
  }

  test('without redundancy the writer is told, and nothing else is lost', async () => {
    const disks = await make()
    const open = await openSim(disks)
    const lun = open.lun('stripe')
    const before = await readAll(lun)
    for (const disk of disks) planNth(disk, ['write'], () => ioError('every write'))
    await expect(lun.write(0, stamped(256 * KIB, 9))).rejects.toMatchObject({ code: 'ERR_DATA_LOST', exitCode: 8 })
    for (const disk of disks) disk.plan = undefined
    expect((await readAll(lun, 256 * KIB, MIB)).equals(before.subarray(256 * KIB, MIB + 256 * KIB))).toBe(true)
    await lun.write(0, stamped(256 * KIB, 10))
    await lun.flush()
    const dark = powerLoss(disks)
    const again = await openSim(dark)
    stamped(256 * KIB, 10).copy(before)
    expect((await readAll(again.lun('stripe'))).equals(before)).toBe(true)
    await again.close()
    await expectConsistent(dark)
  })

  test('a mirror whose last copy fails a write too: the writer is told, and everything else is still served, then and after opening again', async () => {
    const disks = await make()
    const open = await openSim(disks)
    const lun = open.lun('redundant')
    await lun.write(512 * KIB, stamped(64 * KIB, 8))
    await lun.flush()
    const before = await readAll(lun)
    for (const disk of disks) planNth(disk, ['write'], () => ioError('every write'))
    await expect(lun.write(0, stamped(256 * KIB, 9)).then(() => lun.flush())).rejects.toThrow()
    for (const disk of disks) disk.plan = undefined
    const rest = before.subarray(256 * KIB)
    expect((await readAll(lun, 256 * KIB, rest.length)).equals(rest)).toBe(true)
    for (const ended of [powerLoss(clones(disks)), clones(disks)]) {
      const again = await openSim(ended)
      expect((await readAll(again.lun('redundant'), 256 * KIB, rest.length)).equals(rest)).toBe(true)
      await again.settled()
      await again.close()
      await expectConsistent(ended)
    }
  })
})
