/** A disk that joins the quorum has all that is acknowledged from then on, also when another disk fails while it joins. */
import { expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Batch } from '../../src/metadata/batch.ts'
import { BLOCK, ROOT_COUNT, ROOTS_AT } from '../../src/metadata/layout.ts'
import { inspectQuorumDisk, type MetadataDisk } from '../../src/metadata/quorum-disk.ts'
import { clones, expectConsistent, makeSim, openSim, scanSim } from '../support/sim.ts'

const broken = new LunarError('ERR_IO', 'broken')

/** The disks as metadata sees them, and the id of their pool. */
async function quorumDisks(disks: readonly SimulatedDisk[]): Promise<{ poolId: string; members: MetadataDisk[] }> {
  const { found } = await scanSim(disks)
  const members = found.map(({ disk, label }) => ({ number: label.diskNumber, id: label.diskId, disk, segmentsAt: label.segmentsAt, quorumHint: true }))
  return { poolId: found[0]!.label.poolId, members }
}

// Of disks 0 to 2, which hold the metadata, one leaves the quorum; the checkpoint that disk 3 joins with then loses disk 1.
test.each([
  { name: 'a member fails the root of the checkpoint', leaving: 0, fails: 'root', together: [2, 3] },
  { name: 'a member fails its copy of a metadata block', leaving: 0, fails: 'block', together: [2, 3] },
  { name: 'a disk outside the quorum fails its copy of one', leaving: 1, fails: 'block', together: [0, 2, 3] },
])('a disk joins while $name', async ({ leaving, fails, together }) => {
  const disks = await makeSim({ disks: 4 })
  const { poolId, members } = await quorumDisks(disks)
  const open = await openSim(disks)
  const { metadata } = open.pool
  await metadata.removeMember(members[leaving]!.id, new Batch())
  await open.engine.call('pool.set', { settings: { comment: 'in the checkpoint' } })
  let failures = 0
  disks[1]!.plan = ({ kind, offset }) => {
    const part = offset >= members[1]!.segmentsAt ? 'block' : offset >= ROOTS_AT && offset < ROOTS_AT + ROOT_COUNT * BLOCK ? 'root' : 'other'
    if (kind !== 'durable' || part !== fails) return undefined
    failures++
    return broken
  }
  await metadata.addMember(members[3]!, new Batch())
  expect(failures, 'how often disk 1 failed').toBe(1)
  expect(metadata.memberIds).toEqual(together.map(number => members[number]!.id))
  await open.engine.call('pool.set', { settings: { comment: 'acknowledged' } })

  // The host loses power.
  const left = clones(disks)
  const heads = await Promise.all((await quorumDisks(left)).members.map(member => inspectQuorumDisk(member, poolId)))
  const again = await openSim(left)
  expect(again.pool.record.comment).toBe('acknowledged')
  const [newest, ...others] = together.map(number => heads[number]!.copy.head)
  for (const head of others) expect(head).toEqual(newest)
  await again.close()
  await expectConsistent(left)
})
