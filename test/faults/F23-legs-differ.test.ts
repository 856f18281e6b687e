/** F23: after a crash the copies of a mirror differ: reads never alternate, only open slices are copied, a killed resync goes on. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { CrashExplorer } from '../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { ioError } from '../support/io-error.ts'
import { clones, expectConsistent, expectSound, makeSim, openBare, openSim, readAll, simReaders, stamped, withSeed } from '../support/sim.ts'

const SEED = 23
const SIZE = 48 * MIB
/** Slices that are written just before the crash: more than resync takes in one step. */
const DIRTY = Array.from({ length: 40 }, (_, i) => i)
const PIECE = 64 * KIB
const DATA_FROM = 17 * MIB
const before = stamped(8 * MIB, 1)
const after = DIRTY.map(slice => stamped(PIECE, 100 + slice))

/** A LUN whose slices are all written and closed, then what the disks are told by writes to 40 of them. */
async function recorded(raid: 'raid1' | 'raid5', count: number): Promise<Tape> {
  const disks = await makeSim({ seed: SEED, disks: count })
  const first = await openSim(disks)
  const made = await first.create('a', raid, SIZE)
  for (let at = 0; at < SIZE; at += 8 * MIB) await made.write(at, before)
  await made.flush()
  await first.close()
  const { luns } = await openBare(disks)
  for (const disk of disks) await disk.flush()
  const tape = new Tape(disks)
  const lun = luns.find('a')
  for (const slice of DIRTY) await lun.write(slice * MIB + (slice % 4) * PIECE, after[slice]!)
  tape.stop()
  return tape
}

/** Members of the mirror whose bytes are not what their partner has. */
async function differingSlices(disks: readonly SimulatedDisk[]): Promise<number> {
  const pool = await expectConsistent(disks)
  const readers = simReaders(disks)
  let count = 0
  for (const store of pool.stores.values()) {
    for (let slice = 0; slice < 8; slice++) {
      for (let column = 0; column < 4; column++) {
        const copies = await Promise.all(
          [column, column + 4].map(async member => {
            const { disk, segment } = store.members[member]!
            const bytes = Buffer.alloc(256 * KIB)
            await readers[disk]!.read(pool.disks.get(disk)!.segmentsAt + segment * 2 * MIB + slice * 256 * KIB, bytes)
            return bytes
          }),
        )
        if (!copies[0]!.equals(copies[1]!)) count++
      }
    }
  }
  return count
}

/** The pieces that were written before the crash, as they read now. */
const dirtyPieces = async (lun: { size: number; read(offset: number, into: Uint8Array): Promise<void> }): Promise<Buffer[]> =>
  Promise.all(DIRTY.map(slice => readAll(lun, slice * MIB, 256 * KIB)))

async function openSlices(disks: readonly SimulatedDisk[]): Promise<number> {
  let count = 0
  for (const { open } of (await expectConsistent(disks)).stores.values()) for (let bits = open; bits !== 0; bits &= bits - 1) count++
  return count
}

/** Counts bytes of user data written from here on; at `stopAt` of them the disks stop answering, as if the process was killed. */
function countCopies(disks: readonly SimulatedDisk[], stopAt = Infinity): { bytes: number; killed: Promise<void> } {
  let kill: () => void = () => undefined
  const count = { bytes: 0, killed: new Promise<void>(resolve => (kill = resolve)) }
  for (const disk of disks) {
    disk.plan = ({ kind, offset, length }) => {
      if (count.bytes >= stopAt) {
        kill()
        return { delay: new Promise(() => undefined) }
      }
      if (kind === 'write' && offset >= DATA_FROM) count.bytes += length
      return undefined
    }
  }
  return count
}

/** Crash states of the writes, the later the more of them were under way. */
function crashesOf(tape: Tape, random: Random): { cuts: number[]; crashes: (readonly SimulatedDisk[])[] } {
  const explorer = new CrashExplorer(tape)
  const cuts = Array.from({ length: 10 }, () => random.between(tape.length >> 1, tape.length)).sort((a, b) => a - b)
  return { cuts, crashes: cuts.map(cut => explorer.at(cut).state(random).disks) }
}

describe('F23 copies that differ after a crash', async () => {
  const tape = await recorded('raid1', 4)
  const { cuts, crashes } = crashesOf(tape, new Random(SEED))

  test(`reads never alternate, before, during and after resync (seed ${SEED})`, { timeout: 60_000 }, async () => {
    let differed = 0
    for (const [i, crashed] of crashes.entries()) {
      await withSeed(`${SEED}, cut ${cuts[i]}`, async () => {
        const disks = clones(crashed)
        differed += await differingSlices(disks)
        const { luns } = await openBare(clones(disks))
        const seen = await dirtyPieces(luns.find('a'))
        for (let turn = 0; turn < 3; turn++) expect((await dirtyPieces(luns.find('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
        for (const [n, piece] of seen.entries()) {
          const at = (DIRTY[n]! % 4) * PIECE
          const old = before.subarray((DIRTY[n]! % 8) * MIB, (DIRTY[n]! % 8) * MIB + 256 * KIB)
          const young = after[n]!
          for (let byte = 0; byte < PIECE; byte += 512) {
            const found = piece.subarray(at + byte, at + byte + 512)
            expect(found.equals(old.subarray(at + byte, at + byte + 512)) || found.equals(young.subarray(byte, byte + 512))).toBe(true)
          }
        }
        const open = await openSim(disks)
        expect((await dirtyPieces(open.lun('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
        await open.settled()
        expect((await dirtyPieces(open.lun('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
        await open.close()
        await expectSound(disks)
      })
    }
    expect(differed).toBeGreaterThan(crashes.length)
  })

  test('resync copies the open slices and nothing else', async () => {
    for (const crashed of crashes.slice(-4)) {
      const disks = clones(crashed)
      const open = await openSlices(disks)
      expect(open).toBeGreaterThan(0)
      const copies = countCopies(disks)
      const pool = await openSim(disks)
      await pool.settled()
      expect(copies.bytes).toBe(open * MIB)
      await pool.close()
    }
  })

  test('a killed resync goes on: it repeats one step at most, and reads stay as they were', async () => {
    const disks = clones(crashes.at(-1)!)
    const total = (await openSlices(disks)) * MIB
    const { luns } = await openBare(clones(disks))
    const seen = await dirtyPieces(luns.find('a'))
    let now = disks
    let copied = 0
    let kills = 0
    for (let share = 1; share <= 5; share++) {
      const copies = countCopies(now, (total * share) / 10)
      const open = await openSim(now)
      await Promise.race([copies.killed, open.settled()])
      copied += copies.bytes
      kills++
      now = clones(now)
      const again = await openBare(clones(now))
      expect((await dirtyPieces(again.luns.find('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
    }
    const copies = countCopies(now)
    const open = await openSim(now)
    await open.settled()
    copied += copies.bytes
    expect((await dirtyPieces(open.lun('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
    await open.close()
    await expectSound(now)
    expect(copied).toBeGreaterThanOrEqual(total)
    expect(copied).toBeLessThanOrEqual(total + kills * 16 * MIB)
  })
})

describe('F23 parity that differs from its columns after a crash', async () => {
  const { cuts, crashes } = crashesOf(await recorded('raid5', 5), new Random(SEED))

  test(`what was read once reads the same without any one disk, then and after resync (seed ${SEED})`, { timeout: 120_000 }, async () => {
    for (const [i, crashed] of crashes.slice(-5).entries()) {
      await withSeed(`${SEED}, cut ${cuts.at(i - 5)}`, async () => {
        for (let victim = i % 2; victim < 5; victim += 2) {
          const disks = clones(crashed)
          const bare = await openBare(disks)
          const seen = await dirtyPieces(bare.luns.find('a'))
          await bare.pool.failDisk(bare.pool.disk(victim), ioError(`disk ${victim} is gone`))
          for (let turn = 0; turn < 2; turn++) expect((await dirtyPieces(bare.luns.find('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
        }
        const disks = clones(crashed)
        const bare = await openBare(clones(crashed))
        const seen = await dirtyPieces(bare.luns.find('a'))
        const open = await openSim(disks)
        await open.settled()
        expect((await dirtyPieces(open.lun('a'))).every((piece, n) => piece.equals(seen[n]!))).toBe(true)
        await open.close()
        await expectSound(disks)
      })
    }
  })

  test('resync writes parity of open slices and nothing else, and a killed one goes on', { timeout: 60_000 }, async () => {
    const crashed = crashes.at(-1)!
    const open = await openSlices(clones(crashed))
    expect(open).toBeGreaterThan(0)
    let now = clones(crashed)
    for (let kill = 0; kill < 3; kill++) {
      const copies = countCopies(now, 64 * KIB * (kill + 1))
      await Promise.race([copies.killed, openSim(now).then(sim => sim.settled())]) // it may come while the log is replayed, in opening
      now = clones(now)
    }
    const copies = countCopies(now)
    const sim = await openSim(now)
    await sim.settled()
    // Each slice's parity, and what the log holds of it: a piece and its parity.
    expect(copies.bytes).toBeLessThanOrEqual(open * (256 * KIB + 2 * PIECE))
    await sim.close()
    await expectSound(now)
    expect(await openSlices(now)).toBe(0)
  })
})
