/** Hosts and presentations through the installed program. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { HostDetail, LunDetail, LunSummary, SnapshotSummary } from '../../src/core/server/api.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

describe('hosts', () => {
  const lunar = useProgram()
  const state = (name: string): string => lunar.json<LunDetail>('lun', 'show', `tank/${name}`).state

  test('are added, presented to, shown and removed', { timeout: 120_000 }, async () => {
    const disks = lunar.makeTank(3)
    for (const name of ['db', 'web']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    lunar.ok('snap', 'create', 'tank/db@frozen', '--read-only')
    lunar.ok('wod', 'create', 'tank/once', '--on', 'lun', '--size', '4MiB')

    expect(lunar.ok('host', 'add', 'tank/db1', '--dry-run')).toBe('Would add host "db1"\n')
    expect(lunar.json('host', 'list', '--pool', 'tank')).toEqual([])
    expect(lunar.ok('host', 'add', 'tank/db1')).toBe('Added host "db1"\n')
    lunar.ok('host', 'add', 'tank/db2')
    lunar.refused('ERR_EXISTS', 'host', 'add', 'tank/db1')
    lunar.refused('ERR_BAD_NAME', 'host', 'add', 'a b', '--pool', 'tank')
    lunar.refused('ERR_BAD_NAME', 'host', 'add', 'x'.repeat(64), '--pool', 'tank')

    expect(lunar.ok('present', 'tank/db', '--host', 'db1', '--dry-run')).toBe('db would be presented to db1\n')
    expect(state('db')).not.toContain('presented')
    expect(lunar.ok('present', 'tank/db', '--host', 'db1')).toBe('db is presented to db1\n')
    expect(lunar.run('present', 'tank/db', '--host', 'db1').stderr).toContain('unchanged')
    lunar.refused('ERR_UNCHANGED', 'present', 'tank/db', '--host', 'db1', '--fail-if-unchanged')
    lunar.refused('ERR_HOST_NOT_FOUND', 'present', 'tank/db', '--host', 'db9')
    lunar.refused('ERR_LUN_NOT_FOUND', 'present', 'tank/nothing', '--host', 'db1')
    lunar.refused('ERR_SNAPSHOT_STORE', 'present', 'tank/snapshots-raid1', '--host', 'db1')
    expect(state('db')).toBe('ready, 1 snapshot, presented to db1')
    expect(lunar.json<LunSummary[]>('lun', 'list', '--pool', 'tank').map(({ name, presentedTo }) => [name, presentedTo])).toContainEqual(['db', ['db1']])

    // One writer, unless all of them share it.
    expect(lunar.refused('ERR_PRESENTED', 'present', 'tank/db', '--host', 'db2')).toContain('db1')
    lunar.refused('ERR_PRESENTED', 'present', 'tank/db', '--host', 'db2', '--shared')
    lunar.ok('present', 'tank/db', '--host', 'db2', '--read-only')
    lunar.ok('present', 'tank/db', '--host', 'db1', '--shared')
    lunar.ok('present', 'tank/db', '--host', 'db2', '--shared')
    expect(state('db')).toContain('presented to db1 and db2')
    lunar.refused('ERR_PRESENTED', 'present', 'tank/db', '--host', 'db1')

    lunar.refused('ERR_READ_ONLY', 'present', 'tank/db@frozen', '--host', 'db2')
    lunar.ok('present', 'tank/db@frozen', '--host', 'db2', '--read-only')
    lunar.ok('present', 'tank/once', '--host', 'db2')
    lunar.ok('lun', 'protect', 'tank/web')
    lunar.refused('ERR_PROTECTED', 'present', 'tank/web', '--host', 'db2')
    lunar.ok('present', 'tank/web', '--host', 'db2', '--read-only')
    lunar.ok('lun', 'unprotect', 'tank/web')
    expect(
      lunar.json<HostDetail>('host', 'show', 'tank/db2').presentations.map(({ volume, kind, readOnly, shared }) => [volume, kind, readOnly, shared]),
    ).toEqual([
      ['db', 'lun', false, true],
      ['db@frozen', 'snapshot', true, false],
      ['once', 'wod', false, false],
      ['web', 'lun', true, false],
    ])
    expect(lunar.ok('host', 'show', 'tank/db2')).toMatch(/^ +db +read-write, shared/m)
    expect(lunar.ok('host', 'list', '--pool', 'tank', '-H', '-o', 'name,volumes')).toBe('db1\t1\ndb2\t4\n')
    expect(lunar.json<SnapshotSummary[]>('snap', 'list', '--pool', 'tank')[0]).toMatchObject({ name: 'db@frozen', presentedTo: ['db2'] })

    // What is presented stays, and says to whom.
    lunar.ok('lun', 'rename', 'tank/web', 'www')
    for (const command of [
      ['lun', 'delete', 'tank/www', '--yes'],
      ['snap', 'delete', 'tank/db@frozen'],
      ['wod', 'delete', 'tank/once', '--yes'],
    ])
      expect(lunar.refused('ERR_PRESENTED', ...command)).toContain('db2')
    expect(lunar.refused('ERR_PRESENTED', 'host', 'remove', 'tank/db2')).toContain('www')
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    expect(lunar.ok('metadata', 'dump', 'tank')).toMatch(/^presentation 2 \d+ \{"kind":"snapshot"/m)
    await expectSoundFiles(disks)

    expect(lunar.ok('unpresent', 'tank/db', '--host', 'db2', '--dry-run')).toBe('db would no longer be presented to db2\n')
    for (const volume of ['db', 'db@frozen', 'once', 'www']) lunar.ok('unpresent', `tank/${volume}`)
    lunar.refused('ERR_UNCHANGED', 'unpresent', 'tank/db', '--fail-if-unchanged')
    expect(lunar.ok('host', 'remove', 'tank/db2')).toBe('Removed host "db2"\n')
    lunar.ok('lun', 'delete', 'tank/www', '--yes')
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    await expectSoundFiles(disks)
  })

  test('keep the name when two LUNs change places', { timeout: 60_000 }, () => {
    lunar.makeTank(3)
    for (const name of ['db', 'copy']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('lun', 'write', 'tank/copy', lunar.write('copy', stamped(MIB, 7)))
    lunar.ok('host', 'add', 'tank/db1')
    lunar.ok('present', 'tank/db', '--host', 'db1')
    lunar.ok('lun', 'swap', 'tank/db', 'copy')
    expect(state('db')).toContain('presented to db1')
    expect(state('copy')).not.toContain('presented')
    expect(lunar.run('lun', 'read', 'tank/db', '--length', '1MiB').out.equals(stamped(MIB, 7))).toBe(true)
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
  })
})
