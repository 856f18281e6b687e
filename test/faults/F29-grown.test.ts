/** F29: an image that became longer opens, what was added is not used, and what lies at the end is found by the recorded size. */
import { truncateSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { bytesOf, clones, expectConsistent, expectSound, openSim, overwrite, readAll, stamped } from '../support/sim.ts'
import { expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { contents, poolWithMirror, resized, tankWithMirror } from '../support/resized.ts'

describe('F29 grown', async () => {
  const base = await poolWithMirror()

  test.each([512, 4096, 5 * MIB, 64 * MIB])('by %d bytes: opens, with the second label where it was, and what was added unused', async more => {
    const disks = clones(base)
    disks[2] = await resized(disks[2]!, 64 * MIB + more)
    const open = await openSim(disks)
    expect(open.pool.disk(2).state).toBe('normal')
    expect((await readAll(open.lun('a'))).equals(contents)).toBe(true)
    expect((await open.engine.call('pool.status', {})).data.health).toBe('healthy')
    await open.engine.call('disk.label', { disk: '2', domain: 'rack1' })
    const other = await open.create('b', 'raid0', 128 * MIB)
    for (let at = 0; at + MIB <= 96 * MIB; at += 8 * MIB) await other.write(at, stamped(MIB, 4))
    await open.close()
    await expectSound(disks)
    const behind = await bytesOf(disks[2], 64 * MIB, more)
    expect(behind.every(byte => byte === 0)).toBe(true)
  })

  test('with its first label damaged: the second is not where the disk ends now, so it is left out and left alone; cut back it is mended', async () => {
    const disks = clones(base)
    const grown = await resized(disks[2]!, 80 * MIB)
    await overwrite(grown, 100, Buffer.alloc(8, 255))
    const without = [...disks.slice(0, 2), grown, ...disks.slice(3)]
    grown.resetCounters()
    const open = await openSim(without)
    expect(open.pool.disk(2).state).toBe('missing')
    expect((await readAll(open.lun('a'))).equals(contents)).toBe(true)
    await open.close()
    expect([grown.counters.writes, grown.counters.durables]).toEqual([0, 0])
    await expectConsistent(without.filter(disk => disk !== grown))

    const back = [...disks.slice(0, 2), await resized(grown, 64 * MIB), ...disks.slice(3)]
    const again = await openSim(back)
    await again.settled()
    expect((await readAll(again.lun('a'))).equals(contents)).toBe(true)
    await again.close()
    await expectConsistent(back)
  })
})

describe('F29 on real files', () => {
  const lunar = useProgram()

  test('a grown image serves as before, and a cut back to the recorded size costs nothing', { timeout: 60_000 }, async () => {
    const disks = tankWithMirror(lunar)
    truncateSync(disks[1]!, 100 * MIB + 7)
    lunar.ok('pool', 'status', '--check', 'tank')
    expect(lunar.runWith({ input: stamped(MIB, 2) }, 'lun', 'write', 'tank/a').status).toBe(0)
    expect(lunar.json<{ size: number }[]>('disk', 'list').map(({ size }) => size)).toEqual(disks.map(() => 64 * MIB))
    await expectSoundFiles(disks)
    truncateSync(disks[1]!, 64 * MIB)
    lunar.ok('pool', 'status', '--check', 'tank')
    await expectSoundFiles(disks)
    expect((await lunOnFiles(disks, 'a')).subarray(0, MIB).equals(stamped(MIB, 2))).toBe(true)
  })
})
