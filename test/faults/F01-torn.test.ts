/** F01: every metadata write torn, at every sector and in random ways: the state before or after the operation, and the torn copy rewritten. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { Tape } from '../../src/core/block/tape.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { JOURNAL_AT, LOCK_RECORD_AT, ROOTS_AT } from '../../src/metadata/layout.ts'
import type { CheckedPool } from '../support/independent-check.ts'
import { checkSim, expectSound, makeSim, openSim, overwrite, readAll, stamped, withSeed, type SimPool } from '../support/sim.ts'
import { tearsOf, tornStates, type Tear, type TornState } from '../support/torn.ts'

const SEED = 1

/** What users see of a pool, as text. */
async function describePool({ engine }: SimPool): Promise<string> {
  const luns = (await engine.call('lun.list', {})).data.map(({ name, size, raid }) => ({ name, size, raid }))
  const disks = (await engine.call('disk.list', {})).data.map(({ number, domain }) => ({ number, domain }))
  const { settings } = (await engine.call('pool.show', {})).data
  return JSON.stringify({ luns, disks, settings })
}

const block = stamped(64 * 1024, 5)

const operations: readonly [string, (open: SimPool) => Promise<unknown>][] = [
  ['create', open => open.create('a', 'raid1')],
  [
    'write',
    ({ luns }) =>
      luns
        .find('a')
        .write(MIB, block)
        .then(() => luns.find('a').flush()),
  ],
  ['set', ({ engine }) => engine.call('pool.set', { settings: { comment: 'torn' } })],
  ['checkpoint', ({ pool }) => pool.metadata.checkpoint()],
  ['create another', open => open.create('b', 'raid0')],
  ['rename', ({ engine }) => engine.call('lun.rename', { lun: 'b', name: 'c' })],
  ['label', ({ engine }) => engine.call('disk.label', { disk: '1', domain: 'rack1' })],
  ['grow', ({ engine }) => engine.call('lun.resize', { lun: 'a', size: 32 * MIB })],
  ['delete', ({ engine }) => engine.call('lun.delete', { lun: 'c' })],
  ['settle', open => open.settled()],
  ['close', open => open.close()],
]

/** Runs the operations on a tape. `states[k]` is what users see after k of them, `ends[k]` where on the tape that is. */
async function recorded(): Promise<{ tape: Tape; states: string[]; ends: number[] }> {
  const disks = await makeSim({ seed: SEED })
  const open = await openSim(disks)
  const tape = new Tape(disks)
  const states = [await describePool(open)]
  const ends = [0]
  for (const [name, run] of operations) {
    await run(open)
    ends.push(tape.mark(name))
    states.push(name === 'close' ? states.at(-1)! : await describePool(open))
  }
  tape.stop()
  return { tape, states, ends }
}

const rootAddress = (number: number): number => ROOTS_AT + (number % 128) * 4096

/** Where on a disk its copy of the topmost metadata block lies. */
function treeTop(pool: CheckedPool, disk: number): number {
  const { tree, stores } = pool.onDisk[0]!.roots[0]!
  const store = stores.find(({ id }) => id === Math.floor(tree!.address / 2 ** 24))!
  const place = store.places.find(candidate => candidate.disk === disk)!
  return pool.disks.get(disk)!.segmentsAt + place.segment * 2 * MIB + (tree!.address % 2 ** 24) * 4096
}

const kindOf = (offset: number): string =>
  offset >= LOCK_RECORD_AT && offset < ROOTS_AT
    ? 'lock'
    : offset < LOCK_RECORD_AT || offset > 63 * MIB
      ? 'label'
      : offset < JOURNAL_AT
        ? 'root'
        : offset < JOURNAL_AT + 16 * MIB
          ? 'journal'
          : 'node'

describe('F01 torn sectors', async () => {
  const { tape, states, ends } = await recorded()
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
