/** F16: a copied image beside its original, one file under two names: refused by name until the operator says which. */
import { copyFileSync, linkSync, rmSync, symlinkSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { fingerprints } from '../support/images.ts'
import { expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

describe('F16 duplicate disks', () => {
  const lunar = useProgram()

  function prepared(): string[] {
    const disks = lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/a', '--size', '8MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(2 * MIB, 1)), '--yes')
    return disks
  }

  test('a copy that merely lies there is never read, written or taken for the disk', async () => {
    const disks = prepared()
    copyFileSync(disks[1]!, lunar.path('copy.img'))
    const [before] = fingerprints([lunar.path('copy.img')])
    for (let i = 0; i < 4; i++) {
      expect(lunar.runWith({ input: stamped(MIB, 5 + i) }, 'lun', 'write', 'tank/a', '--offset', `${i}MiB`).status).toBe(0)
      expect(lunar.runWith({}, 'lun', 'read', 'tank/a', '--offset', `${i}MiB`, '--length', '1MiB').out.equals(stamped(MIB, 5 + i))).toBe(true)
    }
    expect(fingerprints([lunar.path('copy.img')])).toEqual([before])
    await expectSoundFiles(disks)
  })

  test.each<[string, (disk: string, other: string) => void]>([
    ['a copy', (disk, other) => copyFileSync(disk, other)],
    ['a hard link', (disk, other) => linkSync(disk, other)],
  ])('%s beside the disks: an import of the folder is refused, names both, and changes nothing; naming the right ones works', async (_, make) => {
    const disks = prepared()
    lunar.ok('pool', 'export', 'tank')
    const other = lunar.path('other.img')
    make(disks[1]!, other)
    const all = [...disks, other]
    const before = fingerprints(all)
    const stderr = lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'import', lunar.folder)
    expect(stderr).toContain('d1.img')
    expect(stderr).toContain('other.img')
    expect(lunar.refusedJson('ERR_DUPLICATE_DISK', 'pool', 'import', ...all).message).toContain('other.img')
    expect(fingerprints(all)).toEqual(before)
    lunar.ok('pool', 'import', ...disks)
    expect((await lunOnFiles(disks, 'a')).subarray(0, 2 * MIB).equals(stamped(2 * MIB, 1))).toBe(true)
    lunar.ok('pool', 'status', '--check', 'tank')
  })

  test('one file by two paths: a symbolic link, the same name twice, a way around', () => {
    const disks = prepared()
    lunar.ok('pool', 'export', 'tank')
    symlinkSync(disks[1]!, lunar.path('link.img'))
    for (const second of ['link.img', 'd1.img', './home/../d1.img']) lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'import', 'd0.img', 'd1.img', 'd2.img', second)
    // In a folder a link to a disk that is there anyway is none.
    lunar.ok('pool', 'import', '.')
  })

  test('while the original is known and there, the copy cannot take its place; when the original is gone it can', async () => {
    const disks = prepared()
    copyFileSync(disks[1]!, lunar.path('copy.img'))
    lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'import', 'd0.img', 'copy.img', 'd2.img')
    rmSync(disks[1]!)
    lunar.ok('pool', 'import', 'd0.img', 'copy.img', 'd2.img')
    const now = [disks[0]!, lunar.path('copy.img'), disks[2]!]
    expect(lunar.runWith({}, 'lun', 'read', 'tank/a', '--length', '2MiB').out.equals(stamped(2 * MIB, 1))).toBe(true)
    await expectSoundFiles(now)
  })

  test('the copy of a disk that went on without it is stale, and is made equal, not believed', async () => {
    const disks = prepared()
    copyFileSync(disks[1]!, lunar.path('copy.img'))
    expect(lunar.runWith({ input: stamped(MIB, 9) }, 'lun', 'write', 'tank/a').status).toBe(0)
    lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0')
    rmSync(disks[1]!)
    lunar.ok('pool', 'import', 'd0.img', 'copy.img', 'd2.img')
    const read = lunar.runWith({}, 'lun', 'read', 'tank/a', '--length', '1MiB').out
    expect(read.equals(stamped(MIB, 9))).toBe(true)
  })
})
