/** F07: half or more of the metadata holders are missing. */
import { describe, expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { clones, expectConsistent, expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'

const pick = (disks: readonly SimulatedDisk[], numbers: readonly number[]): SimulatedDisk[] => numbers.map(number => disks[number]!)
const subsetsOf = (count: number): number[][] =>
  Array.from({ length: 2 ** count }, (_, mask) => Array.from({ length: count }, (_disk, i) => i).filter(i => mask & (1 << i)))
const broken = new LunarError('ERR_IO', 'broken')

describe('F07 which disks open a pool', () => {
  test.each([
    { name: 'one disk', disks: 1, witnesses: 0, quorum: [0] },
    { name: 'two disks', disks: 2, witnesses: 0, quorum: [0, 1] },
    { name: 'two disks and a witness', disks: 2, witnesses: 1, quorum: [0, 1, 2] },
    { name: 'three disks', disks: 3, witnesses: 0, quorum: [0, 1, 2] },
    { name: 'four disks', disks: 4, witnesses: 0, quorum: [0, 1, 2] },
    { name: 'five disks', disks: 5, witnesses: 0, quorum: [0, 1, 2, 3, 4] },
  ])('$name: more than half of the quorum, in every combination', async ({ disks: count, witnesses, quorum }) => {
    const base = await makeSim({ disks: count, witnesses })
    const first = await openSim(base)
    expect(first.pool.metadata.memberIds).toHaveLength(quorum.length)
    await first.engine.call('pool.set', { settings: { comment: 'here' } })
    await first.close()
    for (const present of subsetsOf(count + witnesses)) {
      if (present.length === 0) continue
      const held = quorum.filter(number => present.includes(number)).length
      const disks = clones(pick(base, present))
      const attempt = openSim(disks)
      if (held * 2 > quorum.length) {
        const open = await attempt
        expect(open.pool.record.comment).toBe('here')
        await open.close()
        await expectConsistent(disks)
      } else {
        await expect(attempt, `disks ${present.join()}`).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST', exitCode: 5 })
      }
    }
  })
})

describe('F07 what is left, by force', () => {
  const contents = stamped(4 * MIB, 1)

  /** Two mirrored disks; the first was opened alone, by force, and written. */
  async function forced(): Promise<SimulatedDisk[]> {
    const disks = await makeSim({ disks: 2 })
    const open = await openSim(disks)
    const lun = await open.create('a', 'raid1', 4 * MIB)
    await lun.write(0, stamped(4 * MIB, 2))
    await open.close()
    const alone = await openSim(pick(disks, [0]), { force: true })
    expect(alone.pool.metadata.memberIds).toHaveLength(1)
    await alone.lun('a').write(0, contents)
    await alone.lun('a').flush()
    await alone.close()
    return disks
  }

  test('commits a new epoch: the absent half is later known to be stale, and brought up to date', async () => {
    const disks = await forced()
    const both = await openSim(disks)
    expect(await both.count('quorum.stale', 'disk 1')).toBeLessThanOrEqual(1)
    for (let turn = 0; turn < 4; turn++) expect((await readAll(both.lun('a'))).equals(contents)).toBe(true)
    await both.settled()
    expect(both.pool.disk(1).state).toBe('normal')
    expect(both.pool.metadata.memberIds).toHaveLength(2)
    await both.close()
    await expectSound(disks)
  })

  test('no force is needed the next time, and the absent half alone still opens by force only', async () => {
    const disks = await forced()
    const again = await openSim(clones(pick(disks, [0])))
    expect((await readAll(again.lun('a'))).equals(contents)).toBe(true)
    await expect(openSim(clones(pick(disks, [1])))).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
  })

  test('looking needs no quorum and writes nothing', async () => {
    const [disk] = clones(await forced())
    const { writes, durables } = { ...disk!.counters }
    const open = await openSim([disk!], { readOnly: true })
    expect(open.luns.all.map(lun => lun.name)).toEqual(['a'])
    await open.close()
    expect([disk!.counters.writes, disk!.counters.durables]).toEqual([writes, durables])
  })
})

describe('F07 a running owner', () => {
  test.each([2, 3, 4, 5])('of %d disks goes on with one copy of its metadata, and that copy opens alone', async count => {
    const disks = await makeSim({ disks: count })
    const open = await openSim(disks)
    for (let failed = 0; failed < count - 1; failed++) {
      disks[failed]!.plan = ({ kind }) => (kind === 'read' ? undefined : broken)
      await open.engine.call('pool.set', { settings: { comment: `without ${failed}` } })
      expect(open.pool.record.comment).toBe(`without ${failed}`)
      await open.pool.maintain() // other disks take over what it held
    }
    expect(open.pool.metadata.memberIds).toEqual([open.pool.disk(count - 1).id])
    const crashed = [disks.at(-1)!.clone()]
    const alone = await openSim(crashed)
    expect(alone.pool.record.comment).toBe(`without ${count - 2}`)
    await alone.close()
    await expectConsistent(crashed)
    // Those that were voted out cannot open without the ones that went on.
    const outvoted = clones(disks.slice(0, -1))
    for (const disk of outvoted) disk.plan = undefined
    await expect(openSim(outvoted)).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
  })

  test('whose last quorum disk fails refuses every change, and what was acknowledged is there after opening again', async () => {
    const disks = await makeSim({ disks: 1 })
    const open = await openSim(disks)
    await open.engine.call('pool.set', { settings: { comment: 'kept' } })
    disks[0]!.plan = ({ kind }) => (kind === 'durable' ? broken : undefined)
    for (const comment of ['lost', 'too']) {
      await expect(open.engine.call('pool.set', { settings: { comment } })).rejects.toMatchObject({ code: 'ERR_QUORUM_LOST' })
    }
    const crashed = clones(disks)
    const again = await openSim(crashed)
    expect(['kept', 'lost']).toContain(again.pool.record.comment)
    await again.close()
    await expectSound(crashed)
  })
})
