/**
 * F04: bit rot. Every byte of a metadata block is covered: one rotten copy is found and rewritten, the same block rotten in all copies is a
 * refusal with a name while the rest serves. User data has no checksums yet, so what holds for it is less and is said here plainly: a read
 * takes whichever copy it takes, a difference between the copies is found by the independent checker alone, and nobody makes one copy
 * like the other without knowing which is right.
 */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { isSealed, type BlockKind } from '../../src/metadata/block.ts'
import { JOURNAL_AT } from '../../src/metadata/layout.ts'
import { rootAddress, treeTop } from '../support/metadata-work.ts'
import { bytesOf, checkSim, clones, expectConsistent, expectSound, makeSim, openSim, overwrite, readAll, stamped, withSeed } from '../support/sim.ts'

const BLOCK = 4096
const SEGMENT = 2 * MIB

async function flip(disk: SimulatedDisk, at: number, bit: number): Promise<void> {
  const byte = await bytesOf(disk, at - (at % 512), 512)
  byte[at % 512]! ^= 1 << bit
  await overwrite(disk, at - (at % 512), byte)
}

describe('F04 rotten metadata', async () => {
  const base = await makeSim()
  const made = await openSim(base)
  await made.create('a', 'raid1')
  await made.lun('a').write(0, stamped(MIB, 1))
  await made.lun('a').flush()
  const crashed = clones(base)
  await made.close()
  const whole = await expectSound(base)
  const places: readonly [what: string, kind: BlockKind, at: number][] = [
    ['the newest root', 'root', rootAddress(whole.onDisk[1]!.roots[0]!.number)],
    ['an older root', 'root', rootAddress(whole.onDisk[1]!.roots[1]!.number)],
    ['the first label', 'label', 0],
    ['the second label', 'label', base[1]!.size - BLOCK],
    ['the tree', 'node', treeTop(whole, 1)],
  ]

  test.each(places)('%s: every bit of every byte is under its checksum', async (_, kind, at) => {
    const block = await bytesOf(base[1]!, at, BLOCK)
    expect(isSealed(kind, block)).toBe(true)
    const missed: number[] = []
    for (let byte = 0; byte < BLOCK; byte++) {
      const bit = 1 << (byte % 8)
      block[byte]! ^= bit
      if (isSealed(kind, block)) missed.push(byte)
      block[byte]! ^= bit
    }
    expect(missed).toEqual([])
  })

  test.each(places)('%s: wherever one copy is rotten, it is told, and rewritten', { timeout: 60_000 }, async (_, kind, at) => {
    for (let byte = 0; byte < BLOCK; byte = byte < 64 ? byte + 7 : byte + 251) {
      await withSeed(`byte ${byte} of the ${kind}`, async () => {
        const disks = clones(base)
        await flip(disks[1]!, at + byte, byte % 8)
        const open = await openSim(disks)
        expect((await readAll(open.lun('a'), 0, MIB)).equals(stamped(MIB, 1))).toBe(true)
        expect(await open.count('metadata.damaged', 'disk 1')).toBe(1)
        await open.close()
        await expectSound(disks)
      })
    }
  })

  test('the journal of a crashed owner: wherever one copy is rotten, the others are replayed and it is written anew', { timeout: 60_000 }, async () => {
    const { adminStart, dataStart } = (await expectConsistent(crashed)).onDisk[1]!.roots[0] as unknown as { adminStart: number; dataStart: number }
    let stale = 0
    for (const start of [adminStart, dataStart]) {
      for (let byte = 0; byte < 256; byte += 5) {
        await withSeed(`byte ${byte} of the journal block at ${start}`, async () => {
          const disks = clones(crashed)
          await flip(disks[1]!, JOURNAL_AT + start + byte, byte % 8)
          const { problems, damage } = await checkSim(disks)
          expect(problems).toEqual([])
          const open = await openSim(disks)
          expect((await readAll(open.lun('a'), 0, MIB)).equals(stamped(MIB, 1))).toBe(true)
          expect(await open.count('quorum.stale', 'disk 1')).toBe(damage.length > 0 ? 1 : 0)
          if (damage.length > 0) stale++
          await open.settled()
          await open.close()
          await expectSound(disks)
        })
      }
    }
    expect(stale).toBeGreaterThan(50)
  })
})

describe('F04 a block that is rotten in all copies', async () => {
  // Enough LUNs that their maps fill several blocks of the tree.
  const COUNT = 40
  const base = await makeSim({ size: 256 * MIB })
  const made = await openSim(base)
  for (let i = 0; i < COUNT; i++) {
    const lun = await made.create(`lun${i}`, 'raid0', 64 * MIB)
    await lun.write(0, stamped(64 * KIB, i))
    await lun.flush()
  }
  await made.close()
  const contents = (i: number): Buffer => stamped(64 * KIB, i)

  /** Addresses of the tree's blocks, by the words in front of them. */
  async function nodes(disks: readonly SimulatedDisk[]): Promise<{ level: number; firstHi: number; copies: { disk: number; at: number }[] }[]> {
    const pool = await expectSound(disks)
    const { stores } = pool.onDisk[0]!.roots[0]!
    const open = await openSim(clones(disks), { readOnly: true })
    const addresses: { address: number; level: number }[] = []
    await open.pool.metadata.visitBlocks((address, _, level) => addresses.push({ address, level }))
    return Promise.all(
      addresses.map(async ({ address, level }) => {
        const store = stores.find(({ id }) => id === Math.floor(address / 2 ** 24))!
        const copies = store.places.map(({ disk, segment }) => ({
          disk,
          at: pool.disks.get(disk)!.segmentsAt + segment * SEGMENT + (address % 2 ** 24) * BLOCK,
        }))
        const bytes = await bytesOf(disks[copies[0]!.disk]!, copies[0]!.at, BLOCK)
        return { level, firstHi: Math.floor(Number(bytes.readBigUInt64LE(64)) / 2 ** 32), copies }
      }),
    )
  }

  test('is refused by name, and the other LUNs serve', async () => {
    const LMAP = 4
    const leaves = (await nodes(base)).filter(({ level, firstHi }) => level === 0 && firstHi === LMAP)
    expect(leaves.length).toBeGreaterThan(1)
    for (const { copies } of leaves) {
      const disks = clones(base)
      for (const { disk, at } of copies) await flip(disks[disk]!, at + 100, 3)
      const open = await openSim(disks)
      let lost = 0
      for (let i = 0; i < COUNT; i++) {
        try {
          expect((await readAll(open.lun(`lun${i}`), 0, 64 * KIB)).equals(contents(i))).toBe(true)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_METADATA_DAMAGED', exitCode: 8 })
          lost++
        }
      }
      expect(lost).toBeGreaterThan(0)
      expect(lost).toBeLessThan(COUNT)
      await open.close()
      expect((await checkSim(disks)).problems.length).toBeGreaterThan(0)
    }
  })
})

describe('F04 rotten user data', async () => {
  const base = await makeSim()
  const made = await openSim(base)
  const lun = await made.create('a', 'raid1', 4 * MIB)
  const contents = stamped(4 * MIB, 1)
  await lun.write(0, contents)
  await lun.flush()
  await made.close()

  test('is one of the two copies, never a mix of other places, and neither copy is rewritten from the other', async () => {
    const disks = clones(base)
    const store = [...(await expectSound(disks)).stores.values()][0]!
    const { disk, segment } = store.members[0]!
    const { segmentsAt } = (await expectSound(disks)).disks.get(disk)!
    const at = segmentsAt + segment * SEGMENT
    await flip(disks[disk]!, at, 0)
    const rotten = await bytesOf(disks[disk]!, at, 512)
    expect((await checkSim(disks)).problems.length).toBeGreaterThan(0)
    const open = await openSim(disks)
    const found = await readAll(open.lun('a'))
    await open.settled()
    await open.close()
    expect(found.subarray(0, 512).equals(rotten) || found.subarray(0, 512).equals(contents.subarray(0, 512))).toBe(true)
    expect(found.subarray(512).equals(contents.subarray(512))).toBe(true)
    expect((await bytesOf(disks[disk]!, at, 512)).equals(rotten)).toBe(true)
    expect((await checkSim(disks)).problems.length).toBeGreaterThan(0)
  })
})
