/** F06: both halves of a pool were written apart from each other: nobody picks silently, looking harms nothing, choosing discards whole. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { bytesOf, clones, expectConsistent, expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'

const size = 8 * MIB

async function hashOf(disk: SimulatedDisk): Promise<string> {
  const hash = createHash('sha256')
  for (const { offset, length, kind } of await disk.clone().extents(0, disk.size))
    if (kind === 'data') hash.update(`${offset}`).update(await bytesOf(disk, offset, length))
  return hash.digest('hex')
}
const hashes = (disks: readonly SimulatedDisk[]): Promise<string[]> => Promise.all(disks.map(hashOf))

/** What a half writes while it is alone: a slice of its own, one that both write, and a setting. */
async function writeAlone(half: readonly SimulatedDisk[], side: 'left' | 'right', contents: Buffer): Promise<Buffer> {
  const mine = Buffer.from(contents)
  const open = await openSim(half, { force: true })
  for (const at of [side === 'left' ? MIB : 3 * MIB, 5 * MIB]) {
    const bytes = stamped(MIB, side === 'left' ? 11 : 12)
    bytes.copy(mine, at)
    await open.lun('a').write(at, bytes)
  }
  await open.lun('a').flush()
  await open.engine.call('pool.set', { settings: { comment: side } })
  await open.close()
  return mine
}

interface Split {
  readonly disks: SimulatedDisk[]
  readonly contents: { readonly left: Buffer; readonly right: Buffer }
}

/** Halves of a pool, [0, half) and the rest, each written alone. */
async function split(count: number, half: number): Promise<Split> {
  const disks = await makeSim({ disks: count, domains: Array.from({ length: count }, (_, i) => (i < half ? 'left' : 'right')) })
  const open = await openSim(disks)
  const lun = await open.create('a', 'raid1', size)
  const contents = stamped(size, 1)
  await lun.write(0, contents)
  await lun.flush()
  await open.close()
  const left = await writeAlone(disks.slice(0, half), 'left', contents)
  const right = await writeAlone(disks.slice(half), 'right', contents)
  return { disks, contents: { left, right } }
}

describe.each([
  ['two disks', 2, 1],
  ['four disks', 4, 2],
])('F06 split brain of %s', async (_, count, half) => {
  const made = await split(count, half)
  const sides = [
    { side: 'left', disk: 0, others: made.disks.slice(half) },
    { side: 'right', disk: count - 1, others: made.disks.slice(0, half) },
  ] as const

  test('opening is refused, for writing and for looking, with both states in the message and no byte changed', async () => {
    const disks = clones(made.disks)
    const before = await hashes(disks)
    for (const options of [{}, { readOnly: true }, { force: true }]) {
      const refused: unknown = await openSim(disks, options).catch((error: unknown) => error)
      expect(refused).toMatchObject({ code: 'ERR_SPLIT_BRAIN', exitCode: 5 })
      const { why, blockers } = refused as { why: string; blockers: string[] }
      expect(blockers).toHaveLength(2)
      expect(why).toMatch(/side 1: epoch \d+ .*sequence \d+.*; side 2: epoch \d+ .*sequence \d+/)
    }
    expect(await hashes(disks)).toEqual(before)
  })

  for (const { side, disk } of sides) {
    test(`the ${side} half can be looked at, and nothing is written`, async () => {
      const disks = clones(made.disks)
      const before = await hashes(disks)
      const open = await openSim(disks, { readOnly: true, choose: String(disk) })
      expect(open.pool.record.comment).toBe(side)
      expect((await readAll(open.lun('a'))).equals(made.contents[side])).toBe(true)
      await open.close()
      expect(await hashes(disks)).toEqual(before)
    })

    test(`choosing the ${side} half discards all of the other, which is then made equal`, async () => {
      const disks = clones(made.disks)
      const open = await openSim(disks, { choose: String(disk) })
      expect(open.pool.record.comment).toBe(side)
      for (let turn = 0; turn < 4; turn++) expect((await readAll(open.lun('a'))).equals(made.contents[side])).toBe(true)
      await open.settled()
      expect((await readAll(open.lun('a'))).equals(made.contents[side])).toBe(true)
      await open.close()
      await expectSound(disks)
      const again = await openSim(disks)
      expect(again.pool.record.comment).toBe(side)
      await again.close()
      // The half that was discarded now holds the chosen one.
      const rest = side === 'left' ? disks.slice(half) : disks.slice(0, half)
      const alone = await openSim(rest, { force: true })
      expect((await readAll(alone.lun('a'))).equals(made.contents[side])).toBe(true)
      await alone.close()
    })

    test(`a crash after choosing the ${side} half, before the other is made equal, forgets nothing`, async () => {
      const disks = clones(made.disks)
      await openSim(disks, { choose: String(disk) })
      const crashed = clones(disks)
      const open = await openSim(crashed)
      for (let turn = 0; turn < 4; turn++) expect((await readAll(open.lun('a'))).equals(made.contents[side])).toBe(true)
      await open.settled()
      await open.close()
      await expectSound(crashed)
    })
  }

  test('each half alone goes on as it was', async () => {
    for (const { side, others } of sides) {
      const mine = clones(made.disks.filter(candidate => !others.includes(candidate)))
      const open = await openSim(mine)
      expect(open.pool.record.comment).toBe(side)
      expect((await readAll(open.lun('a'))).equals(made.contents[side])).toBe(true)
      await open.close()
      await expectConsistent(mine)
    }
  })
})
