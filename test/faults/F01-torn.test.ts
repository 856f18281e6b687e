/** F01: every metadata write torn, at every sector and in random ways: the state before or after the operation, and the torn copy rewritten. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { block, describePool, kindOf, metadataTape, rootAddress, treeTop } from '../support/metadata-work.ts'
import { checkSim, expectSound, makeSim, openSim, overwrite, readAll, stamped, withSeed } from '../support/sim.ts'
import { tearsOf, tornStates, type Tear, type TornState } from '../support/torn.ts'

const SEED = 1

describe('F01 torn sectors', async () => {
  const { tape, states, ends } = await metadataTape(SEED)
  const kinds = new Set<string>()
  let cases = 0

  async function check(state: TornState, there: Tear, others: boolean): Promise<void> {
    const done = ends.filter(end => end <= state.cut).length - 1
    const disks = state.make(there, others)
    const open = await openSim(disks)
    expect([states[done], states[done + 1]]).toContain(await describePool(open))
    if (done >= 2) expect((await readAll(open.lun('a'), MIB, block.length)).equals(block)).toBe(true)
    await open.settled()
    await open.close()
    await expectSound(disks)
    cases++
  }

  for (const part of [0, 1, 2, 3]) {
    test(`every metadata write torn at every sector and at random, part ${part + 1} of 4`, { timeout: 120_000 }, async () => {
      const random = new Random(SEED)
      let index = 0
      for (const state of tornStates(tape)) {
        kinds.add(kindOf(state.change.offset))
        for (const [i, there] of tearsOf(state.change.length, random).entries()) {
          if (index++ % 4 !== part) continue
          await withSeed(
            `${SEED}, event ${state.cut}, disk ${state.change.disk} ${kindOf(state.change.offset)} at ${state.change.offset}, tear ${there.join('')}, others ${i % 2}`,
            () => check(state, there, i % 2 === 1),
          )
        }
      }
    })
  }

  test.each<[string, (disks: SimulatedDisk[]) => Promise<number>]>([
    ['the newest root', async disks => rootAddress((await expectSound(disks)).onDisk[1]!.roots[0]!.number)],
    ['an old root', () => Promise.resolve(rootAddress(0))],
    ['the first label', () => Promise.resolve(0)],
    ['the second label', disks => Promise.resolve(disks[1]!.size - 4096)],
    ['the top of the tree', async disks => treeTop(await expectSound(disks), 1)],
  ])('%s torn on one disk is counted, told once and rewritten', async (_, find) => {
    const disks = await makeSim()
    const first = await openSim(disks)
    await first.create('a', 'raid1')
    await first.close()
    await overwrite(disks[1]!, (await find(disks)) + 1024, stamped(512, 9))
    const { damage, problems } = await checkSim(disks)
    expect({ problems, damage: damage.length }).toEqual({ problems: [], damage: 1 })

    const second = await openSim(disks)
    expect(second.luns.all.map(lun => lun.name)).toEqual(['a'])
    await second.close()
    await expectSound(disks)
    const third = await openSim(disks)
    expect(await third.count('metadata.damaged', 'disk 1')).toBe(1)
    await third.close()
  })

  test('that was every kind of metadata block', () => {
    expect([...kinds].sort()).toEqual(['journal', 'label', 'node', 'root'])
    expect(cases).toBeGreaterThan(500)
  })
})
