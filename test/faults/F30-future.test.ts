/** F30: a version from the future, and the three classes of feature flags. A refusal leaves every file as it was, byte for byte. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { checksum } from '../support/independent/bytes.ts'
import { fileBytes, fingerprints, hashes, overwriteFile } from '../support/images.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

const END = 64 * MIB - 4096
const seed = 0x4c41424c
const VERSION = 16
const COMPATIBLE = 20
const READ_ONLY = 24
const INCOMPATIBLE = 28

/** Changes a field of both labels of an image, as a newer version would have written it. */
function relabel(path: string, at: number, value: number): void {
  for (const place of [0, END]) {
    const block = fileBytes(path, place, 4096)
    block.writeUInt32LE(value, at)
    block.writeUInt32LE(checksum(block.subarray(4), seed), 0)
    overwriteFile(path, place, block)
  }
}

describe('F30 from the future', () => {
  const lunar = useProgram()

  function made(): string[] {
    const disks = lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/a', '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(2 * MIB, 1)), '--yes')
    return disks
  }

  test.each([
    ['a newer format version', VERSION, 2, /format version 2/],
    ['an unknown incompatible feature', INCOMPATIBLE, 0x80100000, /incompatible feature bits 0x80100000/],
  ])('%s is refused by every command, and no byte changes', { timeout: 60_000 }, (_, field, value, why) => {
    const disks = made()
    relabel(disks[1]!, field, value)
    const [before, bytes] = [fingerprints(disks), hashes(disks)]
    for (const args of [
      ['lun', 'list', '--pool', 'tank'],
      ['pool', 'status', 'tank'],
      ['lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0'],
      ['lun', 'read', 'tank/a'],
      ['lun', 'delete', 'tank/a', '--yes'],
      ['pool', 'destroy', 'tank', '--yes'],
      ['pool', 'import', lunar.folder],
      ['pool', 'import', 'd1.img'],
      ['pool', 'import', 'd0.img', 'd1.img', '--read-only'],
    ]) {
      expect(lunar.refused('ERR_FORMAT_NEWER', ...args)).toMatch(why)
      expect(fingerprints(disks), args.join(' ')).toEqual(before)
    }
    lunar.refused('ERR_DISK_IN_USE', 'pool', 'create', 'other', 'd1.img')
    expect([fingerprints(disks), hashes(disks)]).toEqual([before, bytes])
  })

  test('an unknown read-only feature: the pool can be looked at, and every change is refused without a byte written', { timeout: 60_000 }, () => {
    const disks = made()
    for (const disk of disks) relabel(disk, READ_ONLY, 4)
    const [before, bytes] = [fingerprints(disks), hashes(disks)]
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['a'])
    lunar.ok('pool', 'status', 'tank')
    lunar.ok('pool', 'import', lunar.folder, '--read-only')
    for (const args of [
      ['lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0'],
      ['lun', 'delete', 'tank/a', '--yes'],
      ['pool', 'set', 'tank', 'comment=x'],
    ]) {
      expect(lunar.refused('ERR_FORMAT_NEWER', ...args)).toMatch(/read-only feature bits 0x4/)
    }
    expect([fingerprints(disks), hashes(disks)]).toEqual([before, bytes])
  })

  test('an unknown compatible feature is ignored, and kept when the label is written again', { timeout: 60_000 }, async () => {
    const disks = made()
    for (const disk of disks) relabel(disk, COMPATIBLE, 0x80)
    lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0')
    lunar.ok('disk', 'label', '1', '--domain', 'rack1', '--pool', 'tank')
    expect(lunar.runWith({}, 'lun', 'read', 'tank/a', '--length', '2MiB').out.equals(stamped(2 * MIB, 1))).toBe(true)
    for (const place of [0, END]) expect(fileBytes(disks[1]!, place, 4096).readUInt32LE(COMPATIBLE)).toBe(0x80)
    await expectSoundFiles(disks)
  })
})
