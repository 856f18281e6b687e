/** Every kind of metadata write in one short life of a pool, on a tape, and where on a disk which metadata lies. */
import { MIB } from '../../src/core/base/units.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { JOURNAL_AT, LOCK_RECORD_AT, ROOTS_AT } from '../../src/metadata/layout.ts'
import type { CheckedPool } from './independent-check.ts'
import { makeSim, openSim, stamped, type SimPool } from './sim.ts'

/** What users see of a pool, as text. */
export async function describePool({ engine }: SimPool): Promise<string> {
  const luns = (await engine.call('lun.list', {})).data.map(({ name, size, raid }) => ({ name, size, raid }))
  const disks = (await engine.call('disk.list', {})).data.map(({ number, domain }) => ({ number, domain }))
  const { settings } = (await engine.call('pool.show', {})).data
  return JSON.stringify({ luns, disks, settings })
}

/** What LUN "a" holds at 1 MiB from the second operation on. */
export const block = stamped(64 * 1024, 5)

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
export async function metadataTape(seed: number): Promise<{ tape: Tape; states: string[]; ends: number[] }> {
  const disks = await makeSim({ seed })
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

export const rootAddress = (number: number): number => ROOTS_AT + (number % 128) * 4096

/** Where on a disk its copy of the topmost metadata block lies. */
export function treeTop(pool: CheckedPool, disk: number): number {
  const { tree, stores } = pool.onDisk[0]!.roots[0]!
  const store = stores.find(({ id }) => id === Math.floor(tree!.address / 2 ** 24))!
  const place = store.places.find(candidate => candidate.disk === disk)!
  return pool.disks.get(disk)!.segmentsAt + place.segment * 2 * MIB + (tree!.address % 2 ** 24) * 4096
}

export const kindOf = (offset: number): string =>
  offset >= LOCK_RECORD_AT && offset < ROOTS_AT
    ? 'lock'
    : offset < LOCK_RECORD_AT || offset > 63 * MIB
      ? 'label'
      : offset < JOURNAL_AT
        ? 'root'
        : offset < JOURNAL_AT + 16 * MIB
          ? 'journal'
          : 'node'
