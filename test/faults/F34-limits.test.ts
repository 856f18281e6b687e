/** F34: too few file descriptors, too small a heap: an error with a name, and nothing lost. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

describe('F34 limits of the host', () => {
  const lunar = useProgram()
  const few = 'ulimit -n 64'

  test('64 descriptors for a pool of 34 disks: named, no disk blamed, and all is there without the limit', { timeout: 120_000 }, async () => {
    const disks = lunar.makeTank(34)
    lunar.ok('lun', 'create', 'tank/a', '--size', '8MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(8 * MIB, 1)), '--yes')
    for (const args of [
      ['lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0'],
      ['lun', 'import', 'tank/a', 'a.bin', '--yes'],
    ]) {
      const refused = lunar.runWith({ shell: few }, ...args)
      expect(refused, args.join(' ')).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/^error: .*\[ERR_HOST_LIMIT\]\n {2}why: .*EMFILE.*\n {2}fix: .*ulimit.*\n$/) as string,
      })
    }
    expect(lunar.json<{ state: string }[]>('disk', 'list').every(({ state }) => state === 'normal')).toBe(true)
    lunar.ok('pool', 'status', '--check', 'tank')
    await expectSoundFiles(disks, { data: false })
    expect((await lunOnFiles(disks, 'a')).equals(stamped(8 * MIB, 1))).toBe(true)
  })

  test('64 descriptors are enough for a small pool', () => {
    lunar.makeTank(4)
    for (const args of [
      ['lun', 'create', 'tank/a', '--size', '4MiB', '--raid', 'raid1'],
      ['lun', 'import', 'tank/a', lunar.write('a.bin', stamped(4 * MIB, 1)), '--yes', '--verify'],
      ['lun', 'list'],
      ['pool', 'status', '--check', 'tank'],
    ]) {
      expect(lunar.runWith({ shell: few }, ...args)).toMatchObject({ status: 0 })
    }
  })

  test('a heap of 24 MiB imports 64 MiB, whatever becomes of it: what was acknowledged is whole', { timeout: 60_000 }, async () => {
    const disks = lunar.makeTank(4)
    lunar.ok('lun', 'create', 'tank/kept', '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/kept', lunar.write('kept.bin', stamped(4 * MIB, 1)), '--yes')
    lunar.write('big.bin', stamped(64 * MIB, 2))
    for (const mib of [4, 8, 24]) {
      const result = lunar.runWith({ node: [`--max-old-space-size=${mib}`] }, 'lun', 'import', 'tank/big', 'big.bin', '--raid', 'raid0', '--yes')
      await expectConsistentFiles(disks)
      const lun = lunar.json<{ name: string; state: string }[]>('lun', 'list').find(({ name }) => name === 'big')
      if (result.status === 0) {
        expect(lun?.state).toBe('ready')
        expect((await lunOnFiles(disks, 'big')).equals(stamped(64 * MIB, 2))).toBe(true)
      } else expect(lun?.state ?? 'incomplete', result.stderr).toContain('incomplete')
      expect((await lunOnFiles(disks, 'kept')).equals(stamped(4 * MIB, 1))).toBe(true)
      if (mib === 24) expect(result.status, result.stderr).toBe(0)
    }
  })
})
