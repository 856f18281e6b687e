/** F08: the host's file system is full: the writer gets ENOSPC, the mapping stays, no disk is blamed, and writes go on when there is space. */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { MIB } from '../../src/core/base/units.ts'
import { expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'

describe('F08 a reservation that the host refuses', () => {
  test.each(['raid0', 'raid1'] as const)('%s: ENOSPC to the writer, everything else as before, and no restart needed', async raid => {
    const disks = await makeSim()
    const open = await openSim(disks)
    const lun = await open.create('a', raid, 16 * MIB)
    await lun.write(0, stamped(MIB, 1))
    const before = await open.engine.call('lun.map', { lun: 'a' })
    for (const disk of disks) disk.plan = ({ kind }) => (kind === 'reserve' ? new LunarError('ERR_HOST_FULL', 'no space') : undefined)
    for (const at of [MIB, 9 * MIB, 9 * MIB]) await expect(lun.write(at, stamped(MIB, 2))).rejects.toMatchObject({ code: 'ERR_HOST_FULL', exitCode: 6 })
    expect((await open.engine.call('lun.map', { lun: 'a' })).data).toEqual(before.data)
    expect([...open.pool.disks.values()].map(disk => [disk.state, disk.errors])).toEqual(disks.map(() => ['normal', 0]))

    // What is bound goes on, and so does everything administrative.
    await lun.write(0, stamped(MIB, 3))
    await lun.flush()
    await open.engine.call('lun.rename', { lun: 'a', name: 'b' })
    for (const disk of disks) disk.plan = undefined
    await lun.write(9 * MIB, stamped(MIB, 4))
    await lun.flush()
    expect((await readAll(lun, 9 * MIB, MIB)).equals(stamped(MIB, 4))).toBe(true)
    expect((await readAll(lun, MIB, 8 * MIB)).every(byte => byte === 0)).toBe(true)
    await open.close()
    const pool = await expectSound(disks)
    expect((await pool.lunBytes('b')).subarray(0, MIB).equals(stamped(MIB, 3))).toBe(true)
  })

  test('a reservation that fails on one of the disks only leaves nothing bound', async () => {
    for (let victim = 0; victim < 4; victim++) {
      const disks = await makeSim()
      const open = await openSim(disks)
      const lun = await open.create('a', 'raid1', 16 * MIB)
      disks[victim]!.plan = ({ kind }) => (kind === 'reserve' ? new LunarError('ERR_HOST_FULL', 'no space') : undefined)
      await expect(lun.write(0, stamped(MIB, 1))).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
      expect(lun.record.boundSlices).toBe(0)
      await open.close()
      await expectSound(disks)
    }
  })

  test('a reserved LUN that does not fit on the host is not left behind', async () => {
    const disks = await makeSim()
    const open = await openSim(disks)
    let reserves = 0
    for (const disk of disks) disk.plan = ({ kind }) => (kind === 'reserve' && ++reserves > 20 ? new LunarError('ERR_HOST_FULL', 'no space') : undefined)
    await expect(open.luns.create({ name: 'a', size: 32 * MIB, raid: 'raid1', reserve: true })).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
    expect(open.luns.all).toEqual([])
    for (const disk of disks) disk.plan = undefined
    await open.parts.processes.look()
    await open.settled()
    await open.close()
    const pool = await expectSound(disks)
    expect(pool.stores.size).toBe(0)
  })
})

const mounted: string[] = []

/** Mounts a file system of that size over a folder. Only root can. */
const mountSmall = (folder: string, mib: number): boolean => {
  const done = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder]).status === 0
  if (done) mounted.push(folder)
  return done
}

/** Takes all of the space that is left. */
function fill(path: string): void {
  const fd = openSync(path, 'w')
  try {
    for (const size of [MIB, 4096]) for (const block = Buffer.alloc(size, 1); write(fd, block););
  } finally {
    closeSync(fd)
  }
}

function write(fd: number, block: Buffer): boolean {
  try {
    return writeSync(fd, block) === block.length
  } catch {
    return false
  }
}

describe('F08 a full file system', () => {
  const lunar = useProgram()
  afterEach(() => {
    for (const folder of mounted.splice(0)) spawnSync('umount', [folder])
  })

  test.runIf(process.getuid?.() === 0)('an import stops with ENOSPC, the pool stays whole, and goes on when there is space', { timeout: 120_000 }, async () => {
    expect(mountSmall(lunar.folder, 112)).toBe(true)
    const disks = lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/kept', '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/kept', lunar.write('kept.bin', stamped(2 * MIB, 1)), '--yes')
    lunar.ok('lun', 'create', 'tank/big', '--size', '32MiB', '--raid', 'raid1')
    const big = stamped(20 * MIB, 2)
    fill(lunar.path('filler'))

    const refused = lunar.runWith({ input: big }, 'lun', 'import', 'tank/big', '-', '--yes')
    expect(refused).toMatchObject({ status: 6, stdout: '', stderr: expect.stringMatching(/error: .*\[ERR_HOST_FULL\]\n {2}why: .*\n {2}fix: .*\n$/) as string })
    expect(lunar.json<{ name: string; state: string }[]>('lun', 'list').map(({ name, state }) => [name, state])).toEqual([
      ['kept', 'ready'],
      ['big', expect.stringContaining('incomplete')],
    ])
    expect(lunar.json<{ state: string; errors: number }[]>('disk', 'list').map(({ state, errors }) => [state, errors])).toEqual(disks.map(() => ['normal', 0]))

    // Everything that binds nothing works on a host without one free block.
    lunar.runWith({ input: stamped(MIB, 3) }, 'lun', 'write', 'tank/kept', '--offset', '1MiB')
    for (let i = 0; i < 5; i++) lunar.ok('lun', 'create', `tank/thin${i}`, '--size', '1GiB', '--raid', 'raid0')
    lunar.ok('pool', 'set', 'tank', 'comment=full')
    lunar.ok('lun', 'delete', 'tank/thin0', '--yes')
    lunar.ok('metadata', 'check', 'tank')
    await expectSoundFiles(disks)
    const kept = await lunOnFiles(disks, 'kept')
    expect([kept.subarray(0, MIB).equals(stamped(2 * MIB, 1).subarray(0, MIB)), kept.subarray(MIB, 2 * MIB).equals(stamped(MIB, 3))]).toEqual([true, true])

    rmSync(lunar.path('filler'))
    expect(lunar.runWith({ input: big }, 'lun', 'import', 'tank/big', '-', '--yes', '--verify')).toMatchObject({ status: 0 })
    expect(lunar.runWith({}, 'lun', 'read', 'tank/big', '--length', '20MiB').out.equals(big)).toBe(true)
    await expectSoundFiles(disks)
  })

  test.runIf(process.getuid?.() === 0)(
    'a pool with a disk away still opens on a full host, although no other disk can take its copy of the journal',
    { timeout: 60_000 },
    async () => {
      expect(mountSmall(lunar.folder, 90)).toBe(true)
      const disks = lunar.makeTank(4)
      lunar.ok('lun', 'create', 'tank/kept', '--size', '4MiB', '--raid', 'raid1')
      lunar.ok('lun', 'import', 'tank/kept', lunar.write('kept.bin', stamped(2 * MIB, 1)), '--yes')
      lunar.ok('disk', 'offline', '0', '--pool', 'tank', '--force=redundancy')
      fill(lunar.path('filler'))
      expect(lunar.runWith({ input: stamped(MIB, 3) }, 'lun', 'write', 'tank/kept')).toMatchObject({ stderr: '', status: 0 })
      expect(lunar.run('pool', 'status', '--check', 'tank').status).toBe(9)
      rmSync(lunar.path('filler'))
      lunar.ok('disk', 'online', '0', '--pool', 'tank')
      await expectConsistentFiles(disks)
      expect((await lunOnFiles(disks, 'kept')).subarray(0, MIB).equals(stamped(MIB, 3))).toBe(true)
    },
  )
})
