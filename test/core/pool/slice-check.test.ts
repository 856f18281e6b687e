import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { Scheduler, type SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { PARITY_MEMBER, SLICE, type Redundancy } from '../../../src/core/raid/geometry.ts'
import { ioError } from '../../support/io-error.ts'
import { createSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'
import { bytesOf } from './parity-twin.ts'

type Made = OpenPool & { lun: Lun; disks: SimulatedDisk[]; bytes: Uint8Array }

/** A LUN of two slices, written and flushed. */
async function made(raid: Redundancy, scheduler?: Scheduler): Promise<Made> {
  const disks = simulatedDisks(5).map(disk => (scheduler ? disk.clone({ scheduler }) : disk))
  await createSimulated(disks)
  const open = await openSimulated(disks)
  const lun = await open.luns.create({ name: 'a', size: 2 * MIB, raid, reserve: false })
  const bytes = bytesOf(2 * MIB, new Random(3))
  await lun.write(0, bytes)
  await lun.flush()
  return { ...open, lun, disks, bytes }
}

/** Where a byte of a member of store 0 lies. */
function placeOf({ pool, lun, disks }: Made, member: number, at: number): { disk: SimulatedDisk; offset: number } {
  const number = lun.stores.table.diskOf(0, member)
  return { disk: disks[number]!, offset: pool.disk(number).offsetOf(lun.stores.table.segmentOf(0, member), at) }
}

/** Changes bytes behind the pool's back. */
async function spoil(open: Made, member: number, at: number, length: number): Promise<void> {
  const { disk, offset } = placeOf(open, member, at)
  const block = new Uint8Array(512 * Math.ceil(length / 512))
  await disk.read(offset - (offset % 512), block)
  block.fill(0xee, offset % 512, (offset % 512) + length)
  await disk.write(offset - (offset % 512), block)
  await disk.flush()
}

function unreadable(open: Made, member: number, at: number): void {
  const { disk, offset } = placeOf(open, member, at)
  let written = false
  disk.plan = operation => {
    if (operation.offset > offset || operation.offset + operation.length <= offset) return undefined
    if (operation.kind === 'write') written = true
    return operation.kind === 'read' && !written ? ioError('bad') : undefined
  }
}

const contentOf = async (lun: Lun): Promise<Uint8Array> => {
  const read = new Uint8Array(lun.size)
  await lun.read(0, read)
  return read
}
const memberBytes = async (open: Made, member: number, at: number): Promise<Uint8Array> => {
  const { disk, offset } = placeOf(open, member, at)
  const bytes = new Uint8Array(4096)
  await disk.read(offset, bytes)
  return bytes
}

describe.each(['raid1', 'raid5'] as const)('the members of a %s store', raid => {
  test('fit after writes, whole rows and small ones', async () => {
    const open = await made(raid)
    const random = new Random(5)
    for (let i = 0; i < 40; i++) await open.lun.write(512 * random.below(4000), bytesOf(512 * random.between(1, 90), random))
    for (const slice of [0, 1]) expect(await open.lun.verifySlice(slice, false)).toMatchObject({ misfits: [], repaired: 0 })
    expect((await open.lun.verifySlice(0, false))!.unchecked).toBeUndefined()
    await open.pool.close()
  })

  test('what changed behind the pool is found to the block, and nothing else; a look changes nothing; repair mends it, durably', async () => {
    const open = await made(raid)
    const last = raid === 'raid1' ? 4 : PARITY_MEMBER
    await spoil(open, last, 72 * KIB + 5, 600)
    const columns = raid === 'raid1' ? [0] : [0, 1, 2, 3]
    const members = raid === 'raid1' ? [0, 4] : [0, 1, 2, 3, 4]
    const misfits = [{ state: 'differs', at: 72 * KIB, length: 1024, members, columns }]
    for (let i = 0; i < 2; i++) expect(await open.lun.verifySlice(0, false)).toEqual({ place: 0, misfits, repaired: 0 })
    expect(await open.lun.verifySlice(1, true)).toEqual({ place: 1, misfits: [], repaired: 0 })
    expect(await open.lun.verifySlice(0, true)).toEqual({ place: 0, misfits, repaired: 1024 })
    expect(await open.lun.verifySlice(0, false)).toEqual({ place: 0, misfits: [], repaired: 0 })
    expect(Buffer.compare(await contentOf(open.lun), open.bytes)).toBe(0)
    const mended = await memberBytes(open, last, 72 * KIB)
    placeOf(open, last, 0).disk.dropUnflushed()
    expect(await memberBytes(open, last, 72 * KIB)).toEqual(mended)
    await open.pool.close()
  })

  test('what one member does not give is made from the others', async () => {
    const open = await made(raid)
    for (const member of [1, 4]) {
      const before = await memberBytes(open, member, 16 * KIB)
      unreadable(open, member, 17 * KIB)
      const found = await open.lun.verifySlice(0, true)
      expect(found!.misfits.map(({ state, at, length, members }) => ({ state, at, length, members }))).toEqual([
        { state: 'unreadable', at: 16 * KIB, length: 4 * KIB, members: [member] },
      ])
      expect(found!.repaired).toBe(4 * KIB)
      expect(await open.lun.verifySlice(0, false)).toMatchObject({ misfits: [] })
      expect(await memberBytes(open, member, 16 * KIB)).toEqual(before)
    }
    await open.pool.close()
  })

  test('what too many members do not give is lost, and stays as it is', async () => {
    const open = await made(raid)
    const pair = raid === 'raid1' ? [1, 5] : [1, 3]
    for (const member of pair) unreadable(open, member, 8 * KIB)
    const found = await open.lun.verifySlice(0, true)
    expect(found!.misfits).toEqual([{ state: 'lost', at: 8 * KIB, length: 4 * KIB, members: pair, columns: raid === 'raid1' ? [1] : [1, 3] }])
    expect(found!.repaired).toBe(0)
    await open.pool.close()
  })

  test('a slice with a member away, and one that a resync has to judge, are told and left alone', async () => {
    const open = await made(raid)
    const last = raid === 'raid1' ? 4 : PARITY_MEMBER
    const victim = open.pool.disk(open.lun.stores.table.diskOf(0, last))
    await open.pool.failDisk(victim, new LunarError('ERR_IO', 'gone'))
    await open.lun.write(0, bytesOf(SLICE, new Random(8)))
    expect(await open.lun.verifySlice(0, true)).toMatchObject({ unchecked: 'member away', misfits: [], repaired: 0 })
    await open.pool.online(victim, undefined)
    expect(await open.lun.verifySlice(0, true)).toMatchObject({ unchecked: 'member away', misfits: [] })
    await resync(open.pool)
    const after = await open.lun.verifySlice(0, true)
    expect(after).toEqual({ place: 0, misfits: [], repaired: 0 })
    open.lun.stores.bits.unsynced.add(0)
    await spoil(open, last, 0, 10)
    expect(await open.lun.verifySlice(0, true)).toEqual({ place: 0, unchecked: 'resync pending', misfits: [], repaired: 0 })
    await open.pool.close()
  })

  test('a disk that refuses the repair leaves service, and what it lacks is not believed when it comes back', async () => {
    const open = await made(raid)
    await open.lun.stores.closeOpen(0)
    const last = raid === 'raid1' ? 4 : PARITY_MEMBER
    await spoil(open, last, 0, 4096)
    const { disk } = placeOf(open, last, 0)
    const victim = open.pool.disk(open.lun.stores.table.diskOf(0, last))
    disk.plan = ({ kind, offset }) => ((kind === 'write' || kind === 'durable') && offset >= victim.offsetOf(0, 0) ? ioError('write') : undefined)
    await expect(open.lun.verifySlice(0, true)).rejects.toThrow(LunarError)
    expect(victim.inService).toBe(false)
    expect(open.lun.stores.bits.isStale(0, 0, last)).toBe(true)
    disk.plan = undefined
    await open.pool.online(victim, undefined)
    await resync(open.pool)
    expect(await open.lun.verifySlice(0, false)).toEqual({ place: 0, misfits: [], repaired: 0 })
    expect(Buffer.compare(await contentOf(open.lun), open.bytes)).toBe(0)
    await open.pool.close()
  })
})

test('without redundancy there is nothing to compare, and what is unbound is not looked at', async () => {
  const open = await made('raid0')
  expect(await open.lun.verifySlice(0, true)).toEqual({ place: 0, unchecked: 'no redundancy', misfits: [], repaired: 0 })
  await open.lun.trim(0, MIB)
  expect(await open.lun.verifySlice(0, true)).toBeUndefined()
  await open.pool.close()
})

test('parity that was made anew stays so, when a crash with a lost disk follows: the log does not bring the old one back', async () => {
  const open = await made('raid5')
  const { lun, disks, bytes } = open
  await spoil(open, PARITY_MEMBER, 0, 512)
  // A small write hands on what does not fit to its entry in the log.
  bytes.set(bytesOf(512, new Random(21)))
  await lun.write(0, bytes.subarray(0, 512))
  await lun.flush()
  expect((await lun.verifySlice(0, true))!.repaired).toBe(512)
  expect(lun.stores.isOpen(0, 0)).toBe(true)
  const lost = lun.stores.table.diskOf(0, 1)
  const after = await openSimulated(disks.filter((_, i) => i !== lost).map(disk => disk.clone()))
  expect(Buffer.compare(await contentOf(after.luns.find('a')), bytes)).toBe(0)
  await after.pool.close()
  await open.pool.close()
})

test('a write waits for the slice that is being compared, so that none is taken for a misfit', async () => {
  const open = await made('raid5', new Scheduler(new Random(1)))
  const random = new Random(11)
  let writing = true
  const writer = (async () => {
    while (writing) await Promise.all(Array.from({ length: 8 }, () => open.lun.write(512 * random.below(2000), bytesOf(512 * random.between(1, 40), random))))
  })()
  for (let i = 0; i < 20; i++) expect((await open.lun.verifySlice(i % 2, i % 3 === 0))!.misfits).toEqual([])
  writing = false
  await writer
  await open.pool.close()
})
