/** F11: a flush fails once, at every flush, and what it covered is dropped (fsyncgate): no later flush may succeed for it. */
import { describe, expect, test } from 'vitest'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { clones, expectConsistent, makeSim, openSim, readAll, stamped, withSeed } from '../support/sim.ts'
import { checkContents, countWork, ioError, planNth, powerLoss, prepareWork, shapes, work } from '../support/workload.ts'

/** The n-th flush fails, and as Linux does it: what was dirty is dropped, the next flush would succeed. */
function failFlush(disk: SimulatedDisk, n: number): void {
  planNth(disk, ['flush'], nth => {
    if (nth !== n) return undefined
    queueMicrotask(() => disk.dropUnflushed())
    return ioError(`flush ${n}`)
  })
}

describe.each(shapes)('F11 failed flushes ($raid)', async ({ raid, disks: diskCount }) => {
  const base = await makeSim({ disks: diskCount })
  const made = await openSim(base)
  await prepareWork(made, raid)
  await made.close()
  const make = (): Promise<SimulatedDisk[]> => Promise.resolve(clones(base))

  for (let victim = 0; victim < diskCount; victim++) {
    test(`disk ${victim} fails its n-th flush: it is voted out, nothing redundant is lost`, { timeout: 60_000 }, async () => {
      const count = await countWork(make, victim, ['flush'])
      expect(count).toBeGreaterThan(1)
      for (let n = 0; n < count; n++) {
        await withSeed(`flush ${n} of ${count} on disk ${victim}`, async () => {
          const disks = await make()
          const open = await openSim(disks)
          failFlush(disks[victim]!, n)
          const result = await work(open)
          expect([...result.redundantFailures, ...result.adminFailures]).toEqual([])
          await checkContents(open, result, ['redundant'])
          expect(open.pool.disk(victim).state).toBe('failed')

          const dark = powerLoss(disks)
          const again = await openSim(dark)
          expect(again.pool.disk(victim).state).toBe('failed')
          await again.settled()
          await checkContents(again, result)
          await again.close()
          await expectConsistent(dark)
        })
      }
    })
  }

  test('a disk whose flush fails while the pool is being closed does not keep it from closing', async () => {
    const disks = await make()
    const open = await openSim(disks)
    const lun = open.lun('redundant')
    await lun.write(0, stamped(4096, 9))
    await lun.flush()
    const written = await readAll(lun)
    await lun.write(0, stamped(4096, 10))
    await lun.drain()
    failFlush(disks[0]!, 0)
    await open.close()
    const again = await openSim(powerLoss(disks))
    await again.settled()
    const found = await readAll(again.lun('redundant'))
    expect(found.subarray(4096).equals(written.subarray(4096))).toBe(true)
    expect([stamped(4096, 10), stamped(4096, 9)].some(bytes => bytes.equals(found.subarray(0, 4096)))).toBe(true)
    await again.close()
  })

  test('without redundancy: after one failed flush none succeeds and nothing is served until the pool is opened again', async () => {
    const disks = await make()
    const open = await openSim(disks)
    const lun = open.lun('stripe')
    const before = await readAll(lun)
    for (const disk of disks) failFlush(disk, 0)
    await lun.write(0, stamped(4096, 9))
    await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED', exitCode: 8 })
    for (let turn = 0; turn < 3; turn++) {
      await expect(lun.flush()).rejects.toMatchObject({ code: 'ERR_SUSPENDED' })
      await expect(lun.write(0, stamped(4096, 9))).rejects.toThrow()
      await expect(readAll(lun, 0, 4096)).rejects.toThrow()
    }
    const reopened = clones(disks)
    for (const disk of reopened) disk.plan = undefined
    await open.close()
    const again = await openSim(reopened)
    const found = await readAll(again.lun('stripe'))
    expect([found.subarray(4096).equals(before.subarray(4096)), found.length]).toEqual([true, before.length])
    expect([stamped(4096, 9), before.subarray(0, 4096)].some(bytes => bytes.equals(found.subarray(0, 4096)))).toBe(true)
    await again.lun('stripe').write(0, stamped(4096, 10))
    await again.lun('stripe').flush()
    await again.close()
    await expectConsistent(reopened)
  })
})
