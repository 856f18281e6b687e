/** One state of the metadata may have two roots: the last checkpoint with its tail, and that of a clean close. A crash may leave each on some disks. */
import { expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { createPoolOn } from '../../src/core/pool/format.ts'
import { BLOCK, ROOT_COUNT, ROOTS_AT } from '../../src/metadata/layout.ts'
import { disksFrom, newSources, openPool, pass } from './machine.ts'

const names = ['disk0', 'disk1', 'disk2']
const sources = newSources(1)
/** So many that the tail of the older root fills several blocks of the tree. */
const luns = Array.from({ length: 100 }, (_, i) => `lun${i}`)

/** What a crash leaves after `work`, when roots reach only the disks `reached`. */
async function crashed(disks: readonly SimulatedDisk[], reached: readonly number[], work: () => Promise<unknown>): Promise<SimulatedDisk[]> {
  disks.forEach((disk, i) => {
    disk.plan = ({ kind, offset }) =>
      kind === 'durable' && offset >= ROOTS_AT && offset < ROOTS_AT + ROOT_COUNT * BLOCK && !reached.includes(i)
        ? { delay: new Promise(() => undefined) }
        : undefined
  })
  void work()
  await pass(200)
  return disksFrom(
    disks.map(disk => disk.snapshot()),
    names,
  )
}

/** Disks on which a pool was being closed: the root of the close is on disk 1 alone. */
async function halfClosed(): Promise<SimulatedDisk[]> {
  const disks = names.map(name => new SimulatedDisk(64 * MIB, { name }))
  const { clock, uuids } = sources
  await createPoolOn(
    disks.map(disk => ({ disk, blank: true, witness: false })),
    'tank',
    clock,
    uuids,
  )
  const { engine, parts } = await openPool(disks, sources)
  for (const name of luns) await engine.call('lun.create', { name: `${name}-old`, size: MIB, raid: 'raid1' })
  await parts.pool.metadata.checkpoint()
  for (const name of luns) await engine.call('lun.rename', { lun: `${name}-old`, name })
  return crashed(disks, [1], () => engine.close())
}

async function lunsOn(disks: readonly SimulatedDisk[]): Promise<string[]> {
  const { engine, parts } = await openPool(disks, sources)
  const check = await engine.call('metadata.check', {})
  expect(check.data.problems).toEqual([])
  return parts.luns.all.map(({ name }) => name)
}

test('an opening that crashes leaves the tree of the newer root whole', async () => {
  const disks = await halfClosed()
  const left = await crashed(disks, [0], () => openPool(disks, sources))
  expect(await lunsOn(left)).toEqual(luns)
})
