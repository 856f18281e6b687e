/** F17: disks renamed and in another order: every permutation of up to four opens the same volumes, without a word. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]]
  return items.flatMap((item, i) => permutations(items.filter((_, j) => j !== i)).map(rest => [item, ...rest]))
}

/** The same disks in another order, each under the name of the place where it is found now. */
const moved = (disks: readonly SimulatedDisk[], order: readonly number[]): SimulatedDisk[] =>
  order.map((from, place) => disks[from]!.clone({ name: `/new/${place}.img` }))

describe('F17 renamed disks', () => {
  test.each([1, 2, 3, 4])('every order of %d disks', { timeout: 60_000 }, async count => {
    const disks = await makeSim({ disks: count })
    const raids = count > 1 ? (['raid0', 'raid1'] as const) : (['raid0'] as const)
    const first = await openSim(disks)
    for (const raid of raids) {
      const lun = await first.create(raid, raid, 4 * MIB)
      await lun.write(MIB / 2, stamped(2 * MIB, 3))
      await lun.flush()
    }
    const contents = await Promise.all(raids.map(raid => readAll(first.lun(raid))))
    const { messages } = (await first.engine.call('pool.status', {})).data
    await first.close()
    for (const order of permutations(disks.map((_, i) => i))) {
      const found = moved(disks, order)
      const open = await openSim(found)
      for (const [i, raid] of raids.entries()) expect((await readAll(open.lun(raid))).equals(contents[i]!), `order ${order.join()}`).toBe(true)
      const status = await open.engine.call('pool.status', {})
      expect([status.warnings, status.data.messages, status.data.health]).toEqual([[], messages, 'healthy'])
      expect(status.data.disks.map(disk => disk.path)).toEqual(disks.map((_, i) => `/new/${order.indexOf(i)}.img`))
      expect((await open.events()).map(event => event.event).filter(event => event !== 'lun.created')).toEqual([])
      await open.close()
      await expectSound(found)
    }
  })
})
