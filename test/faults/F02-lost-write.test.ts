/** F02: writes that one copy of the metadata lost: the newest state with quorum is chosen, the stale copy rewritten, one event. */
import { describe, expect, test } from 'vitest'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { JOURNAL_AT } from '../../src/metadata/layout.ts'
import { bytesOf, clones, expectSound, makeSim, openSim, overwrite, type SimPool } from '../support/sim.ts'

const AREA = JOURNAL_AT + 16 * 1024 * 1024

/** Gives a disk the labels, roots and journal that it had before. */
async function forget(disk: SimulatedDisk, old: SimulatedDisk): Promise<void> {
  await overwrite(disk, 0, await bytesOf(old, 0, AREA))
}

const set = ({ engine }: SimPool, value: number): Promise<unknown> => engine.call('pool.set', { settings: { comment: String(value) } })
const comment = ({ pool }: SimPool): string => pool.record.comment

/** A pool with `generations` commits that `lose` disks did not get, crashed or closed. */
async function staleBy(generations: number, lose: readonly number[], how: { checkpoints: boolean; crash: boolean }): Promise<SimulatedDisk[]> {
  const disks = await makeSim()
  const open = await openSim(disks)
  await set(open, 0)
  const old = clones(disks)
  for (let i = 1; i <= generations; i++) {
    await set(open, i)
    if (how.checkpoints) await open.pool.metadata.checkpoint()
  }
  const now = how.crash ? clones(disks) : disks
  if (!how.crash) await open.close()
  for (const number of lose) await forget(now[number]!, old[number]!)
  return now
}

describe('F02 lost writes', () => {
  for (const generations of [1, 2, 100]) {
    for (const how of [
      { checkpoints: false, crash: true },
      { checkpoints: true, crash: true },
      { checkpoints: true, crash: false },
    ]) {
      test(`a copy that is ${generations} generations behind is brought up to date (${JSON.stringify(how)})`, async () => {
        const disks = await staleBy(generations, [1], how)
        const open = await openSim(disks)
        expect(comment(open)).toBe(String(generations))
        expect(await open.count('quorum.stale')).toBe(1)
        expect(await open.count('quorum.stale', 'disk 1')).toBe(1)
        await open.close()
        await expectSound(disks)
        const again = await openSim(disks)
        expect(await again.count('quorum.stale')).toBe(1)
        await again.close()
      })
    }
  }

  test('each disk of the quorum may be the one that is behind', async () => {
    for (const lost of [0, 1, 2]) {
      const disks = await staleBy(3, [lost], { checkpoints: true, crash: true })
      const open = await openSim(disks)
      expect(comment(open)).toBe('3')
      await open.close()
      await expectSound(disks)
    }
  })

  test('what only one of three has was never acknowledged: the others decide, and it is overwritten', async () => {
    const disks = await staleBy(1, [0, 2], { checkpoints: false, crash: true })
    const open = await openSim(disks)
    expect(comment(open)).toBe('0')
    expect(await open.count('quorum.stale')).toBe(1)
    await open.close()
    await expectSound(disks)
  })

  test('a copy a hundred openings behind is known as stale, although the roots in between are gone', { timeout: 60_000 }, async () => {
    const disks = await makeSim()
    await (await openSim(disks)).close()
    const old = clones(disks)
    for (let i = 1; i <= 100; i++) {
      const open = await openSim(disks)
      await set(open, i)
      await open.close()
    }
    await forget(disks[2]!, old[2]!)
    const open = await openSim(disks)
    expect(comment(open)).toBe('100')
    expect(await open.count('quorum.stale', 'disk 2')).toBe(1)
    await open.close()
    await expectSound(disks)
  })
})
