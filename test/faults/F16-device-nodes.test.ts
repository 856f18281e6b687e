/** F16 for block devices: two nodes of one device are one disk, in one process and between processes, whatever is forced. Needs root and a loop device. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { RunningImport } from '../support/running-import.ts'
import { stamped } from '../support/sim.ts'

const run = (file: string, ...args: string[]): string => {
  const { status, stdout } = spawnSync(file, args)
  return status === 0 ? stdout.toString().trim() : ''
}

/** Devices are made by the host's root only, and not in every container. */
const canLoop = process.getuid?.() === 0 && run('losetup', '-f') !== ''

describe.runIf(canLoop)('F16 two nodes of one block device', () => {
  const lunar = useProgram()
  const loops: string[] = []
  afterEach(() => {
    for (const loop of loops.splice(0)) run('losetup', '-d', loop)
  })

  /** A loop device over a new file, under its own name and under a second one. */
  function twoNodes(name: string): { file: string; device: string; second: string } {
    const file = lunar.path(`${name}.img`)
    writeFileSync(file, '')
    truncateSync(file, 64 * MIB)
    const device = run('losetup', '-f', '--show', file)
    expect(device).toMatch(/^\/dev\/loop/)
    loops.push(device)
    const { rdev } = statSync(device)
    const second = lunar.path(name)
    run('mknod', second, 'b', String(rdev >> 8), String(rdev & 0xff))
    expect(statSync(second).rdev).toBe(rdev)
    return { file, device, second }
  }

  test('are not taken for two disks', { timeout: 60_000 }, async () => {
    const [a, b] = [twoNodes('a'), twoNodes('b')]
    const force = '--force=overwrite'
    expect(lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'create', 'tank', a.device, a.second, force)).toContain('one device')
    lunar.ok('pool', 'create', 'tank', a.device, force)
    lunar.ok('lun', 'import', 'tank/x', lunar.write('x.bin', stamped(MIB, 1)))
    lunar.refused('ERR_DISK_IN_USE', 'disk', 'add', a.second, '--pool', 'tank', force)
    lunar.refused('ERR_DISK_IN_USE', 'disk', 'add', a.device, '--pool', 'tank', force)
    lunar.refused('ERR_DUPLICATE_DISK', 'disk', 'add', b.device, b.second, '--pool', 'tank', force)
    lunar.refused('ERR_DUPLICATE_DISK', 'disk', 'add', b.device, b.second, '--pool', 'tank', force, '--dry-run')
    lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'import', a.device, a.second)
    lunar.ok('disk', 'add', b.second, '--pool', 'tank', force)
    expect(lunar.json<{ path: string }[]>('disk', 'list').map(({ path }) => path)).toEqual([a.device, b.second])
    expect(lunar.runWith({}, 'lun', 'read', 'tank/x').out.equals(stamped(MIB, 1))).toBe(true)
    await expectSoundFiles([a.file, b.file])
  })

  test('have one owner: who comes by the other node asks it', { timeout: 60_000 }, async () => {
    const { file, device, second } = twoNodes('a')
    lunar.ok('pool', 'create', 'tank', device, '--force=overwrite')
    const owner = new RunningImport(lunar, 'tank/x', '--size', '8MiB')
    owner.write(stamped(5 * MIB, 1))
    await owner.begun()
    mkdirSync(lunar.path('other-home'))
    const elsewhere = { env: { LUNAR_HOME: lunar.path('other-home') } }
    expect(lunar.runWith(elsewhere, 'pool', 'import', second).status).toBe(0)
    expect(lunar.runWith(elsewhere, 'lun', 'create', 'tank/y', '--size', '1MiB', '--raid', 'raid0')).toMatchObject({ status: 0, stderr: '' })
    expect(lunar.runWith(elsewhere, 'lun', 'delete', 'tank/x', '--yes')).toMatchObject({
      status: 5,
      stderr: expect.stringContaining(`process ${owner.child.pid}`) as string,
    })
    owner.end()
    expect((await owner.ended()).status).toBe(0)
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['x', 'y'])
    expect((await lunOnFiles([file], 'x')).subarray(0, 5 * MIB).equals(stamped(5 * MIB, 1))).toBe(true)
    await expectSoundFiles([file])
  })
})
