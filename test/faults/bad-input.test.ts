/** Bad input (issue 2): images, sizes, names and wishes that are refused by the program with three lines and the right status, with nothing lost and nothing half done. */
import { copyFileSync, existsSync, linkSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ErrorCode } from '../../src/core/base/error-table.ts'
import { MIB } from '../../src/core/base/units.ts'
import { fingerprints, hashes, overwriteFile } from '../support/images.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

const lunar = useProgram()
const data = stamped(2 * MIB, 1)
const read = (): Buffer => lunar.runWith({}, 'lun', 'read', 'tank/a', '--length', '2MiB').out
/** The data is whole on the disks, as the independent checker reads them. */
const expectData = async (disks: readonly string[]): Promise<void> => {
  await expectSoundFiles(disks)
  expect((await lunOnFiles(disks, 'a')).subarray(0, data.length).equals(data)).toBe(true)
}
const END = 64 * MIB - 4096

/** A file x.img of a kind. */
interface BadImage {
  readonly kind: string
  readonly make: (disks: readonly string[]) => void
  /** What importing just it says, making a pool of it, adding it. */
  readonly imported: ErrorCode
  readonly created: ErrorCode
}

const text = Buffer.from('this belongs to somebody else\n'.repeat(2_300_000)).subarray(0, 64 * MIB)
const x = (): string => lunar.path('x.img')

const badImages: readonly BadImage[] = [
  { kind: 'missing', make: () => undefined, imported: 'ERR_FILE_NOT_FOUND', created: 'ERR_FILE_NOT_FOUND' },
  { kind: 'empty', make: () => writeFileSync(x(), ''), imported: 'ERR_NOT_A_DISK', created: 'ERR_DISK_TOO_SMALL' },
  { kind: 'short', make: () => writeFileSync(x(), 'x'), imported: 'ERR_NOT_A_DISK', created: 'ERR_DISK_TOO_SMALL' },
  { kind: 'foreign', make: () => writeFileSync(x(), text), imported: 'ERR_NOT_A_DISK', created: 'ERR_NOT_EMPTY' },
  { kind: 'truncated', make: ([disk]) => (copyFileSync(disk!, x()), truncateSync(x(), 63 * MIB)), imported: 'ERR_TRUNCATED', created: 'ERR_DISK_IN_USE' },
  {
    kind: 'damaged',
    make: ([disk]) => {
      copyFileSync(disk!, x())
      for (const at of [0, END]) overwriteFile(x(), at + 200, Buffer.alloc(8, 255))
    },
    imported: 'ERR_LABEL_DAMAGED',
    created: 'ERR_DISK_IN_USE',
  },
  { kind: 'copied', make: ([disk]) => copyFileSync(disk!, x()), imported: 'ERR_DUPLICATE_DISK', created: 'ERR_DISK_IN_USE' },
]

describe('an image that is', () => {
  let disks: string[] = []
  beforeEach(async () => {
    disks = await lunar.tankWithData()
  })

  for (const { kind, make, imported, created } of badImages) {
    test(`${kind} is refused where it is named, and left as it is`, { timeout: 60_000 }, async () => {
      make(disks)
      const there = existsSync(x())
      const before = fingerprints(there ? [...disks, x()] : disks)
      lunar.refused(imported, 'pool', 'import', 'x.img')
      lunar.refused(created, 'pool', 'create', 'other', 'x.img')
      lunar.refused(created, 'pool', 'create', 'other', 'new.img', 'x.img', ...(kind === 'missing' ? [] : ['--size', kind === 'empty' ? '1MiB' : '64MiB']))
      lunar.refusedJson(created, 'disk', 'add', 'x.img', '--pool', 'tank')
      expect(existsSync(lunar.path('new.img'))).toBe(false)
      if (there) expect(fingerprints([x()])).toEqual(before.slice(-1))
      else expect(existsSync(x())).toBe(false)
      expect(lunar.json<{ name: string }[]>('pool', 'list').map(({ name }) => name)).toEqual(['tank'])
      await expectData(disks)
    })

    if (kind === 'copied') continue
    test(`${kind} in the place of a disk leaves a pool that serves without it`, { timeout: 60_000 }, async () => {
      make([disks[1]!])
      rmSync(disks[1]!)
      if (existsSync(x())) {
        copyFileSync(x(), disks[1]!)
        rmSync(x())
      }
      const before = existsSync(disks[1]!) ? fingerprints([disks[1]!]) : []
      expect(lunar.run('pool', 'status', '--check', 'tank')).toMatchObject({ status: 9, stderr: expect.stringContaining('d1.img') as string })
      expect(read().equals(data)).toBe(true)
      lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid1')
      expect(existsSync(disks[1]!) ? fingerprints([disks[1]!]) : []).toEqual(before)
      await expectConsistentFiles([disks[0]!, disks[2]!])
    })
  }

  test('damaged in one of its labels is used, and mended', async () => {
    overwriteFile(disks[1]!, 100, Buffer.alloc(8, 255))
    lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid1')
    expect(lunar.json<{ event: string }[]>('pool', 'events', 'tank').map(({ event }) => event)).toContain('metadata.damaged')
    await expectSoundFiles(disks)
  })

  test('no file at all: a folder, a device that is none', () => {
    for (const path of [lunar.folder, '/dev/null']) {
      lunar.refused('ERR_NOT_A_DISK', 'pool', 'create', 'other', path)
      lunar.refused('ERR_NOT_A_DISK', 'disk', 'add', path, '--pool', 'tank')
    }
    lunar.refused('ERR_POOL_NOT_FOUND', 'pool', 'import', lunar.path('home'))
    lunar.refused('ERR_FILE_NOT_FOUND', 'pool', 'import', 'nowhere')
    lunar.refused('ERR_FILE_NOT_FOUND', 'pool', 'create', 'other', 'nowhere/new.img', '--size', '64MiB')
  })

  test('not ours is overwritten when that is said, and only then', async () => {
    lunar.write('x.img', text)
    lunar.refused('ERR_NOT_EMPTY', 'disk', 'add', 'x.img', '--pool', 'tank')
    expect(readFileSync(x()).equals(text)).toBe(true)
    lunar.ok('disk', 'add', 'x.img', '--pool', 'tank', '--force=overwrite')
    await expectSoundFiles([...disks, x()])
    lunar.ok('lun', 'create', 'tank/b', '--size', '64MiB', '--raid', 'raid0')
    expect(lunar.runWith({ input: stamped(512, 9) }, 'lun', 'write', 'tank/b', '--offset', '40MiB').status).toBe(0)
    expect(lunar.runWith({}, 'lun', 'read', 'tank/b', '--offset', '41MiB', '--length', '8MiB').out.every(byte => byte === 0)).toBe(true)
    await expectSoundFiles([...disks, x()])
  })
})

describe('a disk given twice', () => {
  test.each([
    ['n.img', 'n.img'],
    ['n.img', './n.img'],
    ['n.img', 'home/../n.img'],
    ['n.img', 'link.img'],
    ['n.img', 'hard.img'],
    ['missing.img', './missing.img'],
  ])('%s and %s', (first, second) => {
    writeFileSync(lunar.path('n.img'), '')
    symlinkSync(lunar.path('n.img'), lunar.path('link.img'))
    linkSync(lunar.path('n.img'), lunar.path('hard.img'))
    lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'create', 'tank', first, second, '--size', '64MiB')
    lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'create', 'tank', first, '--witness', second, '--size', '64MiB')
    expect([statSync(lunar.path('n.img')).size, existsSync(lunar.path('missing.img'))]).toEqual([0, false])
    expect(lunar.json('pool', 'list')).toEqual([])
  })

  test('to a pool that has it', async () => {
    const disks = await lunar.tankWithData()
    lunar.refused('ERR_DISK_IN_USE', 'disk', 'add', 'd0.img', '--pool', 'tank')
    lunar.refused('ERR_DISK_IN_USE', 'disk', 'add', 'd0.img', '--pool', 'tank', '--force=overwrite')
    lunar.refused('ERR_DUPLICATE_DISK', 'disk', 'add', 'n.img', './n.img', '--size', '64MiB', '--pool', 'tank')
    writeFileSync(lunar.path('e.img'), '')
    linkSync(lunar.path('e.img'), lunar.path('hard.img'))
    lunar.refused('ERR_DUPLICATE_DISK', 'disk', 'add', 'e.img', 'hard.img', '--size', '64MiB', '--pool', 'tank')
    expect(statSync(lunar.path('e.img')).size).toBe(0)
    lunar.refused('ERR_NOT_EMPTY', 'disk', 'add', 'n.img', lunar.write('x.img', text), '--size', '64MiB', '--pool', 'tank')
    expect(existsSync(lunar.path('n.img'))).toBe(false)
    await expectData(disks)
  })
})

describe('sizes that are not sizes', () => {
  const wrong = ['', 'x', '-1', '1.2.3', '10QB', '1e9', '9999999PiB', '1GiBB', '0x10', '１０MiB', '10 0', 'NaN', '0.3']

  test('are refused by every flag that takes one', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    const commands = (size: string): string[][] => [
      ['pool', 'create', 'other', 'n.img', `--size=${size}`],
      ['disk', 'add', 'n.img', '--pool', 'tank', `--size=${size}`],
      ['lun', 'create', 'tank/b', '--raid', 'raid1', `--size=${size}`],
      ['lun', 'resize', 'tank/a', `--size=${size}`],
      ['lun', 'read', 'tank/a', `--offset=${size}`],
      ['lun', 'zero', 'tank/a', '--yes', `--length=${size}`],
    ]
    for (const [i, size] of wrong.entries()) lunar.refused('ERR_BAD_SIZE', ...commands(size)[i % 6]!)
    expect(existsSync(lunar.path('n.img'))).toBe(false)
    expect(lunar.json<{ name: string; size: number }[]>('lun', 'list').map(({ name, size: bytes }) => [name, bytes])).toEqual([['a', 8 * MIB]])
    await expectData(disks)
  })

  test('sizes that the object does not allow', async () => {
    const disks = await lunar.tankWithData(2)
    for (const size of ['0', '512K', '3PiB']) lunar.refused('ERR_BAD_SIZE', 'lun', 'create', 'tank/b', '--raid', 'raid1', '--size', size)
    for (const size of ['1536K']) lunar.refused('ERR_BAD_SIZE', 'lun', 'resize', 'tank/a', '--size', size)
    for (const size of ['0%FREE', '101%FREE', '5%']) lunar.refused('ERR_BAD_SIZE', 'lun', 'create', 'tank/b', '--raid', 'raid1', `--size=${size}`)
    for (const [offset, length] of [
      ['1', '512'],
      ['0', '7'],
      ['8MiB', '512'],
      ['7MiB', '2MiB'],
    ]) {
      lunar.refused('ERR_OUT_OF_RANGE', 'lun', 'read', 'tank/a', '--offset', offset!, '--length', length!)
      lunar.refused('ERR_OUT_OF_RANGE', 'lun', 'zero', 'tank/a', '--yes', '--offset', offset!, '--length', length!)
    }
    lunar.refused('ERR_DISK_TOO_SMALL', 'pool', 'create', 'other', 'n.img', '--size', '1MiB')
    lunar.refused('ERR_DISK_TOO_SMALL', 'disk', 'add', 'n.img', '--pool', 'tank', '--size', '63MiB')
    expect(existsSync(lunar.path('n.img'))).toBe(false)
    await expectData(disks)
  })
})

describe('names', () => {
  test('that exist', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    lunar.refused('ERR_EXISTS', 'pool', 'create', 'tank', 'n.img', '--size', '64MiB')
    lunar.refused('ERR_EXISTS', 'lun', 'create', 'tank/a', '--size', '1MiB', '--raid', 'raid0')
    lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0')
    lunar.refused('ERR_EXISTS', 'lun', 'rename', 'tank/b', 'a')
    lunar.refused('ERR_EXISTS', 'lun', 'import', 'tank/a', lunar.write('n.bin', data), '--size', '4MiB')
    expect(existsSync(lunar.path('n.img'))).toBe(false)
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['a', 'b'])
    await expectData(disks)
  })

  test('that are none, or of nothing', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    for (const name of ['a b', 'é', 'x'.repeat(64), 'a\u0007b'])
      lunar.refused('ERR_BAD_NAME', 'lun', 'create', name, '--pool', 'tank', '--size', '1MiB', '--raid', 'raid0')
    for (const name of ['../x', '.x', 'a@b']) lunar.refused('ERR_BAD_NAME', 'pool', 'create', name, 'n.img', '--size', '64MiB')
    lunar.refused('ERR_BAD_NAME', 'lun', 'rename', 'tank/a', 'b c')
    lunar.refused('ERR_LUN_NOT_FOUND', 'lun', 'delete', 'tank/none', '--yes')
    lunar.refused('ERR_POOL_NOT_FOUND', 'lun', 'list', '--pool', 'none')
    lunar.refused('ERR_DISK_NOT_FOUND', 'disk', 'offline', '9', '--pool', 'tank')
    lunar.refused('ERR_TASK_NOT_FOUND', 'task', 'show', '99', '--pool', 'tank')
    lunar.refused('ERR_USAGE', 'lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid9')
    lunar.refused('ERR_USAGE', 'lun', 'nonsense')
    expect(readdirSync(lunar.folder).sort()).toEqual(['d0.img', 'd1.img', 'home'])
    await expectSoundFiles(disks)
  })
})

describe('what would lose data', () => {
  test('a shrink of a written part, unless it is said', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    const stderr = lunar.refused('ERR_WOULD_LOSE_DATA', 'lun', 'resize', 'tank/a', '--size', '1MiB')
    expect(stderr).toContain('--force=lost-data')
    lunar.refused('ERR_WOULD_LOSE_DATA', 'lun', 'resize', 'tank/a', '--size', '1MiB', '--dry-run')
    expect(read().equals(data)).toBe(true)
    lunar.ok('lun', 'resize', 'tank/a', '--size', '2MiB')
    expect(read().equals(data)).toBe(true)
    lunar.ok('lun', 'resize', 'tank/a', '--size', '1MiB', '--force=lost-data')
    lunar.ok('lun', 'resize', 'tank/a', '--size', '8MiB')
    expect(read().equals(Buffer.concat([data.subarray(0, MIB), Buffer.alloc(MIB)]))).toBe(true)
    await expectSoundFiles(disks)
  })

  test('deleting, overwriting and destroying without a terminal and without --yes', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    for (const args of [
      ['lun', 'delete', 'tank/a'],
      ['lun', 'import', 'tank/a', lunar.write('n.bin', data)],
      ['lun', 'zero', 'tank/a'],
      ['pool', 'destroy', 'tank'],
    ])
      lunar.refused('ERR_CONFIRM_NEEDED', ...args)
    lunar.refused('ERR_NOT_EMPTY', 'lun', 'export', 'tank/a', 'n.bin')
    lunar.ok('lun', 'create', 'tank/r', '--size', '1MiB', '--raid', 'raid0')
    expect(lunar.runWith({ input: data.subarray(0, MIB) }, 'lun', 'write', 'tank/r').status).toBe(0)
    expect(lunar.refusedJson('ERR_REDUNDANCY', 'disk', 'offline', '0', '--pool', 'tank').blockers).toEqual(['r'])
    expect(read().equals(data)).toBe(true)
    expect(readFileSync(lunar.path('n.bin')).equals(data)).toBe(true)
    await expectSoundFiles(disks)
  })
})

describe('a pool without quorum', () => {
  test('is refused for every change, can be looked at, and opens by force', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    rmSync(disks[1]!)
    const before = hashes([disks[0]!])
    for (const args of [
      ['lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0'],
      ['lun', 'delete', 'tank/a', '--yes'],
      ['lun', 'read', 'tank/a'],
      ['disk', 'add', 'n.img', '--size', '64MiB', '--pool', 'tank'],
    ]) {
      expect(lunar.refused('ERR_QUORUM_LOST', ...args)).toMatch(/1 of 2/)
    }
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['a'])
    expect(hashes([disks[0]!])).toEqual(before)
    // Finding it is only finding it.
    lunar.ok('pool', 'import', 'd0.img')
    lunar.refused('ERR_QUORUM_LOST', 'lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0')
    lunar.ok('pool', 'import', 'd0.img', '--force=quorum')
    expect(read().equals(data)).toBe(true)
    lunar.ok('lun', 'create', 'tank/b', '--size', '1MiB', '--raid', 'raid0')
    await expectConsistentFiles([disks[0]!])
    expect((await lunOnFiles([disks[0]!], 'a')).subarray(0, 2 * MIB).equals(data)).toBe(true)
  })
})
