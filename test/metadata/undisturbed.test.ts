/** What is read of an owner's metadata is one state of it, also while that changes. */
import { expect, test } from 'vitest'
import { deferred } from '../../src/core/base/deferred.ts'
import { diskLayout } from '../../src/metadata/layout.ts'
import { makeSim, openSim } from '../support/sim.ts'

test('a check during a checkpoint does not look for blocks that are not written yet', async () => {
  const disks = await makeSim()
  const open = await openSim(disks)
  // Enough records for a block above others, which is read from disk.
  for (let i = 0; i < 30; i++) await open.create(`l${i}`, 'raid1')
  await open.pool.metadata.checkpoint()
  await open.engine.call('pool.set', { settings: { comment: 'changed' } })
  const written = deferred()
  const begun = deferred()
  const { segmentsAt } = diskLayout(disks[0]!.size, false)
  for (const disk of disks)
    disk.plan = ({ kind, offset }) => {
      if (kind !== 'durable' || offset < segmentsAt) return undefined
      begun.resolve()
      return { delay: written.promise }
    }
  const checkpoint = open.pool.metadata.checkpoint()
  await begun.promise
  const check = open.engine.call('metadata.check', {})
  await new Promise(resolve => setImmediate(resolve))
  written.resolve()
  expect((await check).data).toMatchObject({ ok: true, problems: [] })
  await checkpoint
  expect((await open.events()).filter(({ event }) => event === 'metadata.damaged')).toEqual([])
  await open.close()
})

test('what is committed waits for what reads undisturbed', async () => {
  const open = await openSim(await makeSim())
  const order: string[] = []
  const begun = deferred()
  const go = deferred()
  const reading = open.pool.metadata.undisturbed(async () => {
    order.push('reading')
    begun.resolve()
    await go.promise
    order.push('read')
    return 7
  })
  await begun.promise
  const commit = open.engine.call('pool.set', { settings: { comment: 'new' } }).then(() => order.push('committed'))
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  expect(order).toEqual(['reading'])
  go.resolve()
  expect(await reading).toBe(7)
  await commit
  expect(order).toEqual(['reading', 'read', 'committed'])
  await open.close()
})
