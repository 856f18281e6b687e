/** Redundant stores through the installed program: what lies behind the pool's back is found, and mended. */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { CheckedRange, DiskSummary, EventView, RstoreCheck, RstoreDetail, RstoreSummary } from '../../src/core/server/api.ts'
import { useProgram, type Program } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

const lunar = useProgram()
const DATA = stamped(10 * MIB, 1)

function makeLun(program: Program, raid: string): void {
  program.makeTank(5)
  program.ok('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', raid)
  program.ok('lun', 'write', 'tank/db', program.write('data', DATA))
}

/** Changes a byte of a member's disk image while nobody has the pool open. @returns where the slice that it belongs to lies in the LUN */
function spoil(program: Program, store: number, member: number, at: number): number {
  const { members, slices } = program.json<RstoreDetail>('rstore', 'show', 'tank/db', String(store))
  const { disk, offset } = members[member]!
  const { path } = program.json<DiskSummary[]>('disk', 'list', '--pool', 'tank').find(({ number }) => number === disk)!
  const fd = openSync(path!, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset + at)
  byte[0]! ^= 0xff
  writeSync(fd, byte, 0, 1, offset + at)
  closeSync(fd)
  return slices[Math.floor(at / (256 * KIB))]!.address!
}

const verify = (...args: string[]): { status: number | null; check: RstoreCheck } => {
  const { status, stdout } = lunar.run('rstore', 'verify', ...args, '--json')
  return { status, check: (JSON.parse(stdout) as { data: RstoreCheck }).data }
}
const placesOf = (ranges: readonly CheckedRange[]): unknown[] => ranges.map(({ offset, length, store, members }) => [offset, length, store, members])

describe('rstore', () => {
  test('raid1: a second copy that differs is found at its offset, a dry run leaves it, repair takes the first copy', { timeout: 60_000 }, () => {
    makeLun(lunar, 'raid1')
    expect(verify('tank/db')).toMatchObject({ status: 0, check: { compared: 10 * MIB, differs: 0, ranges: [], store: null } })
    // Copy of column 2: second slice, byte 44 KiB of the slice's 256 KiB.
    const offset = spoil(lunar, 0, 4 + 2, 300 * KIB) + 2 * 64 * KIB + 44 * KIB
    const other = spoil(lunar, 1, 4, 0)
    const found = verify('tank/db')
    expect([found.status, found.check.differs]).toEqual([8, 1024])
    const both = [
      [offset, 512, 0, [2, 6]],
      [other, 512, 1, [0, 4]],
    ]
    expect(placesOf(found.check.ranges)).toEqual(both.sort((a, b) => Number(a[0]) - Number(b[0])))
    const text = lunar.run('rstore', 'verify', 'tank/db', '--bytes')
    expect(text.status).toBe(8)
    expect(text.stdout).toMatch(new RegExp(`^ +${offset} +512 +differs +0 +2,6`, 'm'))
    expect(placesOf(verify('tank/db/1').check.ranges)).toEqual([[other, 512, 1, [0, 4]]])
    expect(lunar.ok('rstore', 'repair', 'tank/db', '--dry-run')).toContain('Would repair 1 KiB of LUN "db"')
    expect(verify('tank/db').status).toBe(8)
    expect(lunar.ok('rstore', 'repair', 'tank/db/1')).toContain('Repaired 512 B of LUN "db"')
    expect(placesOf(verify('db', '--pool', 'tank').check.ranges)).toEqual([[offset, 512, 0, [2, 6]]])
    expect(lunar.ok('rstore', 'repair', 'tank/db')).toBe(
      'Repaired 512 B of LUN "db": 512 B differed, 0 B could not be read on one member; 512 B written, from the first readable copy or the other members\n',
    )
    expect(verify('tank/db')).toMatchObject({ status: 0, check: { differs: 0, ranges: [] } })
    lunar.ok('lun', 'read', 'tank/db', '--length', String(DATA.length), '--out', lunar.path('back'))
    expect(Buffer.compare(readFileSync(lunar.path('back')), DATA)).toBe(0)
    expect(lunar.json<EventView[]>('pool', 'events', 'tank').filter(({ event }) => event === 'rstore.repaired')).toHaveLength(2)
    lunar.refused('ERR_RSTORE_NOT_FOUND', 'rstore', 'verify', 'tank/db/7')
    lunar.refused('ERR_LUN_NOT_FOUND', 'rstore', 'repair', 'tank/nope')
  })

  test('raid5: parity that does not fit is found in every column of its row, and is made anew', { timeout: 60_000 }, () => {
    makeLun(lunar, 'raid5')
    const slice = spoil(lunar, 0, 4, 65 * KIB)
    const found = verify('tank/db')
    expect(found.status).toBe(8)
    const row = slice + 256 * KIB + KIB
    expect(placesOf(found.check.ranges)).toEqual([0, 1, 2, 3].map(column => [row + column * 64 * KIB, 512, 0, [0, 1, 2, 3, 4]]))
    lunar.ok('rstore', 'repair', 'tank/db/0')
    expect(verify('tank/db')).toMatchObject({ status: 0, check: { differs: 0 } })
    lunar.ok('disk', 'offline', String(found.check.ranges[0]!.disks[0]), '--pool', 'tank')
    expect(verify('tank/db')).toMatchObject({ status: 0, check: { compared: 0, unchecked: { memberAway: 10 * MIB } } })
    lunar.ok('lun', 'read', 'tank/db', '--length', String(DATA.length), '--out', lunar.path('back'))
    expect(Buffer.compare(readFileSync(lunar.path('back')), DATA)).toBe(0)
  })

  test('list and show tell what each member holds', { timeout: 60_000 }, () => {
    makeLun(lunar, 'raid5')
    const detail = lunar.json<RstoreDetail>('rstore', 'show', 'tank/db', '0')
    expect(detail.members.map(({ role, column }) => [role, column])).toEqual([...[0, 1, 2, 3].map(column => ['column', column]), ['parity', null]])
    expect(lunar.ok('rstore', 'show', 'tank/db', '0')).toMatch(/^ +4 +parity +\d/m)
    const [row] = lunar.json<RstoreSummary[]>('rstore', 'list', 'tank/db')
    expect(row).toMatchObject({ raid: 'raid5', parity: detail.members[4]!.disk, astride: false })
    lunar.ok('lun', 'create', 'tank/m', '--size', '8MiB', '--raid', 'raid1')
    lunar.ok('lun', 'write', 'tank/m', lunar.write('one', Buffer.alloc(4096, 1)))
    expect(lunar.json<RstoreDetail>('rstore', 'show', 'tank/m', '0').members.map(({ role, column }) => `${role} ${column}`)).toEqual(
      [0, 1, 2, 3, 0, 1, 2, 3].map(column => `copy ${column}`),
    )
  })
})
