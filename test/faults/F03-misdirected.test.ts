/** F03: a metadata write that landed in another place, or on another disk: the place it hit and the place it missed are both found out and rewritten from other copies. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { applyChange, type Change, type Tape } from '../../src/core/block/tape.ts'
import { block, describePool, kindOf, metadataTape, rootAddress, treeTop } from '../support/metadata-work.ts'
import { bytesOf, checkSim, expectSound, makeSim, openSim, overwrite, readAll, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 3

/** The disks after the first `cut` events, with one change at another address, or on another disk. What is in flight then is not there. */
function misdirected(tape: Tape, cut: number, change: Change, to: { disk: number; offset: number }): SimulatedDisk[] {
  const pages = tape.disks.map(({ baseline }) => baseline.fork())
  for (const event of tape.events.slice(0, cut)) {
    if (event.kind !== 'complete') continue
    if (event.change === change) applyChange(pages[to.disk]!, { ...change, ...to })
    else applyChange(pages[event.change.disk]!, event.change)
  }
  return pages.map((contents, i) => new SimulatedDisk(contents.size, { name: tape.disks[i]!.name, contents }))
}

/** Events that tell of a wrong copy on a disk. */
const told = async (open: SimPool, disk: number): Promise<number> =>
  (await open.count('metadata.damaged', `disk ${disk}`)) + (await open.count('quorum.stale', `disk ${disk}`))

describe('F03 misdirected writes', async () => {
  const { tape, states, ends } = await metadataTape(SEED)
  const writes = tape.events.flatMap(event => (event.kind === 'complete' && event.change.kind === 'durable' ? [event.change] : []))
  const used = tape.disks.map((_, disk) => [...new Set(writes.filter(change => change.disk === disk).map(change => change.offset))])
  const sizeOf = (disk: number): number => tape.disks[disk]!.baseline.size

  test.each(['in another place of its disk', 'on another disk'] as const)(`every metadata write lands %s (seed ${SEED})`, { timeout: 120_000 }, async how => {
    const random = new Random(SEED)
    const kinds = new Set<string>()
    let damaged = 0
    for (const [n, change] of writes.entries()) {
      for (let turn = 0; turn < 3; turn++) {
        const elsewhere = how === 'on another disk'
        const disk = elsewhere ? random.pick(tape.disks.map((_, i) => i).filter(i => i !== change.disk)) : change.disk
        const offset = random.pick(used[disk]!)
        const overlaps = !elsewhere && offset < change.offset + change.length && change.offset < offset + change.length
        if (overlaps || offset + change.length > sizeOf(disk)) continue
        // Two of three times the owner goes on to the end and closes; else it is killed some time after the write.
        const crash = turn === 2
        const cut = crash ? random.between(change.endedAt + 1, tape.length) : tape.length
        const what = `${SEED}, write ${n}, ${kindOf(change.offset)} of disk ${change.disk} at ${change.offset} to disk ${disk} at ${offset}, cut ${cut}`
        await withSeed(what, async () => {
          const disks = misdirected(tape, cut, change, { disk, offset })
          const { problems, damage } = await checkSim(disks)
          expect(problems).toEqual([])
          const done = ends.filter(end => end <= cut).length - 1
          const open = await openSim(disks)
          expect([states[done], states[done + 1]]).toContain(await describePool(open))
          if (done >= 2) expect((await readAll(open.lun('a'), MIB, block.length)).equals(block)).toBe(true)
          await open.settled()
          await open.close()
          await expectSound(disks)
          if (crash || damage.length === 0) return
          damaged++
          kinds.add(kindOf(change.offset))
          const again = await openSim(disks)
          expect((await told(again, disk)) + (await told(again, change.disk)), damage.join('; ')).toBeGreaterThan(0)
          await again.close()
        })
      }
    }
    expect([...kinds].sort()).toEqual(['journal', 'label', 'node', 'root'])
    expect(damaged).toBeGreaterThan(10)
  })

  const newestRoot = async (disks: readonly SimulatedDisk[], disk: number): Promise<number> =>
    rootAddress((await expectSound(disks)).onDisk[disk]!.roots[0]!.number)

  /** A block that is whole, in a place where another one belongs: `[disk, address]` of each. */
  const swaps: readonly [string, (disks: SimulatedDisk[]) => Promise<{ from: [number, number]; to: [number, number] }>][] = [
    ['a root in the place of an older one', async disks => ({ from: [1, await newestRoot(disks, 1)], to: [1, rootAddress(0)] })],
    ['an old root in the place of the newest', async disks => ({ from: [1, rootAddress(0)], to: [1, await newestRoot(disks, 1)] })],
    ['the root of another disk', async disks => ({ from: [0, await newestRoot(disks, 0)], to: [1, await newestRoot(disks, 1)] })],
    ['a root in the place of a label', async disks => ({ from: [1, await newestRoot(disks, 1)], to: [1, 0] })],
    ['the second label in the place of the first', disks => Promise.resolve({ from: [1, disks[1]!.size - 4096], to: [1, 0] })],
    ['a label in the place of the tree', async disks => ({ from: [1, 0], to: [1, treeTop(await expectSound(disks), 1)] })],
    [
      'a tree block one place further',
      async disks => ({ from: [1, treeTop(await expectSound(disks), 1) + 4096], to: [1, treeTop(await expectSound(disks), 1)] }),
    ],
  ]

  test.each(swaps)('%s is no copy of what belongs there', async (_, find) => {
    const disks = await makeSim()
    const first = await openSim(disks)
    await first.create('a', 'raid1')
    await first.close()
    const { from, to } = await find(disks)
    await overwrite(disks[to[0]]!, to[1], await bytesOf(disks[from[0]]!, from[1], 4096))
    const { damage, problems } = await checkSim(disks)
    expect({ problems, damage: damage.length }).toEqual({ problems: [], damage: expect.any(Number) as number })
    expect(damage.length).toBeGreaterThan(0)
    const second = await openSim(disks)
    expect(second.luns.all.map(lun => lun.name)).toEqual(['a'])
    await second.close()
    await expectSound(disks)
    const third = await openSim(disks)
    expect(await told(third, 1)).toBe(1)
    await third.close()
  })
})
