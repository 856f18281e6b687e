/** What a reader takes from the quorum disks: the newest root of each, and how many reads that is. */
import { expect, test } from 'vitest'
import { systemClock } from '../../src/core/base/clock.ts'
import { randomUuid } from '../../src/core/base/uuid.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Pool } from '../../src/core/pool/pool.ts'
import { BLOCK, ROOT_COUNT, ROOTS_AT } from '../../src/metadata/layout.ts'
import { glanceAtQuorumDisk, inspectQuorumDisk, ringBuffer, type MetadataDisk } from '../../src/metadata/quorum-disk.ts'
import { createSimulated, findSimulated, openSimulated, simulatedDisks } from '../support/simulated-pool.ts'

/** A pool of three quorum disks that was opened and closed `times`: two roots each. */
async function usedPool(times: number): Promise<SimulatedDisk[]> {
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  for (let i = 0; i < times; i++) await (await openSimulated(disks)).pool.close()
  return disks
}

const view = async (disks: readonly SimulatedDisk[]): Promise<Pool> =>
  Pool.open(await findSimulated(disks), { clock: systemClock, uuids: randomUuid, readOnly: true })

async function members(disks: readonly SimulatedDisk[]): Promise<{ poolId: string; members: MetadataDisk[] }> {
  const found = await findSimulated(disks)
  const members = found.map(({ disk, label }) => ({ number: label.diskNumber, id: label.diskId, disk, segmentsAt: label.segmentsAt, quorumHint: true }))
  return { poolId: found[0]!.label.poolId, members }
}

/** Counts reads of the ring of roots; the disk reads as before. */
function countRingReads(disk: SimulatedDisk): number[] {
  const lengths: number[] = []
  const read = disk.read.bind(disk)
  disk.read = (offset, into) => {
    if (offset >= ROOTS_AT && offset < ROOTS_AT + ROOT_COUNT * BLOCK) lengths.push(into.length)
    return read(offset, into)
  }
  return lengths
}

test('a view reads the ring of each disk once, and one block of one disk to see that it is still current', async () => {
  const disks = await usedPool(70)
  const reads = disks.map(countRingReads)
  const pool = await view(disks)
  expect(reads).toEqual([[ROOT_COUNT * BLOCK], [ROOT_COUNT * BLOCK], [ROOT_COUNT * BLOCK]])
  expect(await pool.metadata.stillCurrent()).toBe(true)
  expect(reads.flat().filter(length => length !== ROOT_COUNT * BLOCK)).toEqual([BLOCK])
})

test('a view is no longer current when its root has left the ring, and not before', async () => {
  const disks = await usedPool(1)
  const pool = await view(disks)
  const writer = await openSimulated(disks)
  for (let i = 0; i < ROOT_COUNT - 2; i++) await writer.pool.metadata.checkpoint()
  expect(await pool.metadata.stillCurrent()).toBe(true)
  for (let i = 0; i < 2; i++) await writer.pool.metadata.checkpoint()
  expect(await pool.metadata.stillCurrent()).toBe(false)
  await writer.pool.close()
})

test('a glance finds the root that an inspection finds, whatever was torn', async () => {
  const disks = await usedPool(70)
  const { poolId, members: all } = await members(disks)
  const ring = ringBuffer()
  for (let torn = 0; torn < 12; torn++) {
    const inspected = await inspectQuorumDisk(all[0]!, poolId)
    const glanced = await glanceAtQuorumDisk(all[0]!, poolId, ring)
    expect(inspected?.roots[0]).toBeDefined()
    expect(glanced).toEqual({ member: all[0], root: inspected!.roots[0], tail: inspected!.tail, head: inspected!.copy.head })
    // The newest loses its end; every other time it also claims to be newer than all others.
    const at = ROOTS_AT + (inspected!.roots[0]!.number % ROOT_COUNT) * BLOCK
    const junk = new Uint8Array(torn % 2 === 0 ? BLOCK / 2 : BLOCK).fill(0xee)
    if (junk.length === BLOCK) new DataView(junk.buffer).setUint32(4, 0x524f4f54, true)
    await disks[0]!.write(at + BLOCK - junk.length, junk)
  }
})

test('a disk that stayed behind, or is away, is judged by all that the others hold', async () => {
  const disks = await usedPool(2)
  const behind = disks[2]!.clone()
  const writer = await openSimulated(disks)
  await writer.pool.close()
  for (const some of [[disks[0]!, disks[1]!, behind], disks.slice(0, 2)]) {
    const pool = await view(some)
    expect(pool.metadata.report.decision.current).toHaveLength(2)
    expect(pool.metadata.generation).toBe(writer.pool.metadata.generation)
  }
  await expect(view([behind])).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
})
