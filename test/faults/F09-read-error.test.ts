/**
 * F09: EIO on reads. A mirror serves the other copy, writes the bad place anew and counts, metadata is rewritten from another copy,
 * and what has one copy fails for exactly the bad range. Parity: test/core/pool/parity.test.ts.
 */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { ioError } from '../support/io-error.ts'
import { clones, expectConsistent, expectSound, makeSim, openSim, readAll, stamped, type SimPool } from '../support/sim.ts'

const SIZE = 4 * MIB
const PIECE = 4 * KIB
const contents = stamped(SIZE, 1)

/** Where a LUN's bytes lie: the first copy of 64 KiB at `at`. */
async function placeOf(disks: readonly SimulatedDisk[], name: string, at: number): Promise<{ disk: number; offset: number }> {
  const pool = await expectSound(disks)
  const lun = [...pool.luns.values()].find(candidate => candidate.name === name)!
  const bytes = (await pool.lunBytes(name)).subarray(at, at + PIECE)
  for (const [number, disk] of disks.entries()) {
    const { segmentsAt } = pool.disks.get(number)!
    for (let offset = segmentsAt; offset < disk.size - MIB; offset += 64 * KIB) {
      const found = Buffer.alloc(PIECE)
      await disk.read(offset, found)
      if (found.equals(bytes)) return { disk: number, offset }
    }
  }
  throw new Error(`LUN ${lun.name} has no copy of byte ${at}`)
}

/** Reads of `length` bytes at `offset` fail on a disk. @returns how often they did */
function badRange(disk: SimulatedDisk, offset: number, length: number): { failed: number } {
  const count = { failed: 0 }
  disk.plan = operation => {
    if (operation.kind !== 'read' || operation.offset >= offset + length || operation.offset + operation.length <= offset) return undefined
    count.failed++
    return ioError(`bad sectors at ${offset}`)
  }
  return count
}

describe('F09 read errors', async () => {
  const base = await makeSim()
  const made = await openSim(base)
  for (const [name, raid, tag] of [
    ['mirror', 'raid1', 1],
    ['stripe', 'raid0', 2],
  ] as const) {
    const lun = await made.create(name, raid, SIZE)
    await lun.write(0, stamped(SIZE, tag))
    await lun.flush()
  }
  await made.close()

  test('a mirror serves the other copy, wherever the bad one lies, counts it, and the disk stays', async () => {
    for (let victim = 0; victim < base.length; victim++) {
      const disks = clones(base)
      const open = await openSim(disks)
      const count = badRange(disks[victim]!, 17 * MIB, disks[victim]!.size)
      for (let at = 0; at < SIZE; at += MIB) expect((await readAll(open.lun('mirror'), at, MIB)).equals(contents.subarray(at, at + MIB))).toBe(true)
      expect(count.failed).toBeGreaterThan(0)
      expect([open.pool.disk(victim).state, open.pool.disk(victim).errors]).toEqual(['normal', count.failed])
      await open.engine.call('pool.set', { settings: { comment: 'so that events are written' } })
      disks[victim]!.plan = undefined
      await open.close()
      const again = await openSim(disks)
      expect(await again.count('disk.readError', `disk ${victim}`)).toBeGreaterThan(0)
      await again.close()
      await expectSound(disks)
    }
  })

  test('a bad place of a mirror is written anew from the other copy', async () => {
    const readByMib = async (open: SimPool): Promise<void> => {
      for (let at = 0; at < SIZE; at += MIB) expect((await readAll(open.lun('mirror'), at, MIB)).equals(contents.subarray(at, at + MIB))).toBe(true)
    }
    for (let victim = 0; victim < base.length; victim++) {
      const disks = clones(base)
      const open = await openSim(disks)
      const written = new Set<number>()
      let failed = 0
      disks[victim]!.plan = ({ kind, offset, length }) => {
        if (offset < 17 * MIB) return undefined
        for (let at = offset; at < offset + length; at += PIECE) {
          if (kind === 'write') written.add(at)
          else if (kind === 'read' && !written.has(at)) {
            failed++
            return ioError(`bad sectors at ${at}`)
          }
        }
        return undefined
      }
      await readByMib(open)
      const before = failed
      expect(before).toBeGreaterThan(0)
      await readByMib(open)
      expect(failed).toBe(before)
      disks[victim]!.plan = undefined
      await open.close()
      await expectSound(disks)
    }
  })

  test('without a second copy exactly the bad range fails, with its name, and the rest is served', async () => {
    const disks = clones(base)
    const at = 256 * KIB
    const { disk, offset } = await placeOf(disks, 'stripe', at)
    const open = await openSim(disks)
    badRange(disks[disk]!, offset, 2 * PIECE)
    const before = stamped(SIZE, 2)
    const bad: number[] = []
    for (let piece = 0; piece < SIZE; piece += PIECE) {
      try {
        expect((await readAll(open.lun('stripe'), piece, PIECE)).equals(before.subarray(piece, piece + PIECE))).toBe(true)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_DATA_LOST', exitCode: 8, message: expect.stringContaining('"stripe"') as string })
        bad.push(piece)
      }
    }
    expect(bad).toEqual([at, at + PIECE])
    expect((await readAll(open.lun('mirror'))).equals(contents)).toBe(true)
    expect(open.pool.disk(disk).errors).toBe(2)
    await open.close()
    await expectSound(disks)
  })

  test('both copies of a mirror: the range fails on no account with zeros or another place, the rest is served', async () => {
    const disks = clones(base)
    const open = await openSim(disks)
    for (const disk of disks) badRange(disk, 17 * MIB, disk.size)
    await expect(readAll(open.lun('mirror'), 0, PIECE)).rejects.toMatchObject({ code: 'ERR_DATA_LOST' })
    for (const disk of disks) disk.plan = undefined
    expect((await readAll(open.lun('mirror'))).equals(contents)).toBe(true)
    await open.close()
    await expectConsistent(disks)
  })

  test.each(['roots and journal', 'tree'] as const)('metadata, %s: another copy is read, the bad one is told and written again', async what => {
    for (let victim = 0; victim < 3; victim++) {
      const disks = clones(base)
      const { segmentsAt } = (await expectSound(disks)).disks.get(victim)!
      const [from, length] = what === 'tree' ? [segmentsAt, 2 * MIB] : [4096, 16 * MIB]
      const count = badRange(disks[victim]!, from, length)
      const open = await openSim(disks)
      expect((await readAll(open.lun('mirror'))).equals(contents)).toBe(true)
      disks[victim]!.plan = undefined
      await open.settled()
      await open.close()
      const again = await openSim(disks)
      const told = await Promise.all(['metadata.damaged', 'quorum.absent'].map(event => again.count(event, `disk ${victim}`)))
      if (count.failed > 0) expect(told.reduce((sum, events) => sum + events)).toBeGreaterThan(0)
      await again.settled()
      await again.close()
      await expectSound(disks)
    }
  })
})
