/** F21: two disks of parity stores are away: what can be proved is served, the rest is EIO and listed exactly, and all is back when they are. */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { clones, expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'

const SIZE = 16 * MIB
const UNIT = 64 * KIB

describe('F21 two disks lost', async () => {
  const base = await makeSim({ disks: 5 })
  const made = await openSim(base)
  const lun = await made.create('parity', 'raid5', SIZE)
  await lun.write(0, stamped(SIZE, 1))
  await lun.flush()
  await made.close()

  const pairs = [0, 1, 2, 3].flatMap(a => [1, 2, 3, 4].filter(b => b > a).map(b => [a, b] as const))
  test.each(pairs)('disks %i and %i: refused and served ranges are the LUN, nothing is made up, nothing is written there', async (a, b) => {
    const disks = clones(base)
    // A quorum may lose two of its disks by being told so: this is about data.
    const open = await openSim(
      disks.filter((_, i) => i !== a && i !== b),
      { force: true },
    )
    const device = open.lun('parity')
    const contents = stamped(SIZE, 1)
    const refused: number[] = []
    for (let at = 0; at < SIZE; at += UNIT) {
      try {
        expect((await readAll(device, at, UNIT)).equals(contents.subarray(at, at + UNIT))).toBe(true)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_DATA_LOST' })
        refused.push(at)
      }
    }
    const { data } = await open.engine.call('lun.map', { lun: 'parity', lost: true })
    const listed = data.flatMap(({ offset, length }) => Array.from({ length: length / UNIT }, (_, i) => offset + i * UNIT))
    expect(listed).toEqual(refused)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThanOrEqual(SIZE / UNIT / 2)
    await expect(device.write(refused[0]!, stamped(UNIT, 9))).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    await open.close()

    const again = await openSim(disks, { force: true })
    for (const number of [a, b]) if (!again.pool.disk(number).inService) await again.pool.online(again.pool.disk(number), undefined)
    await again.settled()
    expect((await readAll(again.lun('parity'))).equals(contents)).toBe(true)
    await again.close()
    await expectSound(disks)
  })
})
