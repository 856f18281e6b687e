/** F12: every read and every write, one at a time, moves 512 bytes only: the results are the same. */
import { describe, expect, test } from 'vitest'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { clones, expectSound, makeSim, openSim, withSeed } from '../support/sim.ts'
import { checkContents, planNth, prepareWork, shapes, work } from '../support/workload.ts'

const kinds = ['read', 'write', 'durable'] as const

describe.each(shapes)('F12 short transfers ($raid)', async ({ raid, disks: diskCount }) => {
  const base = await makeSim({ disks: diskCount })
  const made = await openSim(base)
  await prepareWork(made, raid)
  await made.close()

  /** Opens, works, reads everything, closes; the plan holds from before the opening to the end. */
  async function run(disks: SimulatedDisk[]): Promise<void> {
    const open = await openSim(disks)
    const result = await work(open)
    expect([...result.redundantFailures, ...result.stripeFailures, ...result.adminFailures]).toEqual([])
    await checkContents(open, result)
    expect([...open.pool.disks.values()].map(disk => [disk.state, disk.errors])).toEqual(disks.map(() => ['normal', 0]))
    await open.close()
    for (const disk of disks) disk.plan = undefined
  }

  test('at each ordinal of each disk', { timeout: 90_000 }, async () => {
    for (let victim = 0; victim < diskCount; victim++) {
      const counted = clones(base)
      const { count } = await (async () => {
        const counter = planNth(counted[victim]!, kinds, () => undefined)
        await run(counted)
        return counter
      })()
      expect(count).toBeGreaterThan(20)
      for (let n = 0; n < count; n += victim === 0 ? 1 : 3) {
        await withSeed(`transfer ${n} of ${count} on disk ${victim}`, async () => {
          const disks = clones(base)
          planNth(disks[victim]!, kinds, nth => (nth === n ? { short: 512 } : undefined))
          await run(disks)
        })
      }
    }
  })

  test('every transfer of every disk, at most 1 KiB at a time', { timeout: 60_000 }, async () => {
    const disks = clones(base)
    for (const disk of disks) planNth(disk, kinds, nth => ({ short: nth % 2 === 0 ? 512 : 1024 }))
    await run(disks)
    await expectSound(disks)
  })
})
