/** Snapshots through the installed program. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { LunDetail, Result, SnapshotDetail, SnapshotSummary, StoreDetail, TaskView } from '../../src/core/server/api.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

describe('snapshots', () => {
  const lunar = useProgram()
  const read = (name: string, ...args: string[]): Buffer => lunar.run('lun', 'read', `tank/${name}`, ...args).out

  test('are created at one instant, read, written, listed, shown and deleted', { timeout: 120_000 }, async () => {
    const disks = lunar.makeTank(3)
    for (const name of ['db', 'web']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    const before = stamped(MIB, 1)
    lunar.ok('lun', 'write', 'tank/db', lunar.write('before', before))
    expect(lunar.ok('snap', 'create', 'tank/db@s1', 'web@s1', '--dry-run')).toBe(
      'Would create snapshot "db@s1", writable\nWould create snapshot "web@s1", writable\n',
    )
    expect(lunar.json('snap', 'list', '--pool', 'tank')).toEqual([])
    expect(lunar.ok('snap', 'create', 'tank/db@s1', 'web@s1')).toBe('Created snapshot "db@s1", writable\nCreated snapshot "web@s1", writable\n')
    lunar.ok('snap', 'create', 'tank/db@frozen', '--read-only')
    const after = stamped(MIB, 2)
    lunar.ok('lun', 'write', 'tank/db', lunar.write('after', after))
    const own = stamped(4096, 3)
    lunar.ok('lun', 'write', 'tank/db@s1', lunar.write('own', own), '--offset', '4096')
    expect(read('db', '--length', '1MiB').equals(after)).toBe(true)
    expect(read('db@frozen', '--length', '1MiB').equals(before)).toBe(true)
    expect(read('db@s1', '--length', '1MiB').equals(Buffer.concat([before.subarray(0, 4096), own, before.subarray(8192)]))).toBe(true)
    lunar.ok('lun', 'export', 'tank/db@frozen', 'frozen.img')
    expect(readFileSync(lunar.path('frozen.img')).equals(Buffer.concat([before, Buffer.alloc(7 * MIB)]))).toBe(true)
    lunar.refused('ERR_READ_ONLY', 'lun', 'write', 'tank/db@frozen', lunar.path('own'))
    lunar.ok('snap', 'create', 'tank/db@view', '--of', 'db@frozen')
    lunar.ok('lun', 'import', 'tank/db@view', lunar.path('after'), '--yes')
    expect(read('db@view', '--length', '1MiB').equals(after)).toBe(true)

    const rows = lunar.json<{ name: string; source: string; state: string; size: number }[]>('snap', 'list', '--pool', 'tank')
    expect(rows.map(({ name, source, state, size }) => [name, source, state, size])).toEqual([
      ['db@s1', 'db', 'writable', 8 * MIB],
      ['web@s1', 'web', 'writable', 8 * MIB],
      ['db@frozen', 'db', 'read-only', 8 * MIB],
      ['db@view', 'db', 'writable', 8 * MIB],
    ])
    expect(lunar.ok('snap', 'list', '--pool', 'tank', '-H', '-o', 'name,source,image').split('\n')[0]).toBe('s1\tdb\tdb@s1')
    expect(lunar.json<SnapshotDetail>('snap', 'show', 'tank/db@frozen')).toMatchObject({
      state: 'read-only',
      exclusive: 0,
      restsOn: ['db@view'],
      chunkBytes: 4096,
    })
    expect(lunar.json<SnapshotDetail>('snap', 'show', 'tank/db@s1')).toMatchObject({ exclusive: 4096, tree: { shared: MIB, total: 2 * MIB + 4096, dead: 0 } })
    expect(lunar.json<StoreDetail>('store', 'show', 'tank/snapshots-raid1')).toMatchObject({
      chunks: 2 * MIB + 4096,
      trees: [
        { volume: 'db', snapshots: 3, chunks: 2 * MIB + 4096 },
        { volume: 'web', snapshots: 1, chunks: 0 },
      ],
    })
    expect(lunar.json<LunDetail[]>('lun', 'list', '--pool', 'tank').map(({ name, state }) => [name, state])).toEqual([
      ['db', 'ready, 3 snapshots'],
      ['web', 'ready, 1 snapshot'],
    ])
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    expect(lunar.ok('metadata', 'dump', 'tank')).toMatch(/^snapshot 1 0 \{.*"name":"s1"/m)
    await expectSoundFiles(disks)

    expect(lunar.json('snap', 'diff', 'tank/db@frozen', 'db')).toEqual({
      from: 'db@frozen',
      to: 'db',
      chunkBytes: 4096,
      bytes: MIB,
      extents: [{ offset: 0, length: MIB }],
    })
    expect(lunar.ok('snap', 'diff', 'tank/db@frozen', 'db@s1', '-H', '--bytes')).toBe('4096\t4096\n')
    lunar.refused('ERR_USAGE', 'snap', 'diff', 'tank/db@frozen', 'web')
    lunar.refused('ERR_READ_ONLY', 'snap', 'refresh', 'tank/db@frozen', '--yes')
    lunar.refused('ERR_CONFIRM_NEEDED', 'snap', 'refresh', 'tank/db@s1')
    expect(lunar.ok('snap', 'refresh', 'tank/db@s1', '--yes')).toBe('Dropped what was written to snapshot "db@s1"\n')
    expect(read('db@s1', '--length', '1MiB').equals(before)).toBe(true)

    expect(lunar.ok('snap', 'delete', 'tank/db@frozen', '--yes')).toBe('Deleted snapshot "db@frozen"; it is kept, hidden, for what rests on it\n')
    lunar.refused('ERR_SNAPSHOT_NOT_FOUND', 'snap', 'show', 'tank/db@frozen')
    expect(lunar.ok('snap', 'tree', 'tank/db', '-H', '--all', '-o', 'snapshot,state')).toBe('db@s1\twritable\ndb@frozen\thidden\n  db@view\twritable\n')
    expect(lunar.json<SnapshotSummary[]>('snap', 'tree', '--pool', 'tank')).toHaveLength(3)
    expect(lunar.ok('snap', 'delete', 'tank/db@view', 'db@s1', 'web@s1', '--yes')).toContain('Deleted snapshot "db@view" (task')
    await lunar.reopened(service =>
      service.call('store.show', { store: 'snapshots-raid1' }).then(({ data }) => expect(data).toMatchObject({ chunks: 0, trees: [] })),
    )
    expect(lunar.ok('store', 'compact', 'tank/snapshots-raid1')).toBe('Moved 0 B of chunks of store "snapshots-raid1"; 0 B of the pool came back\n')
    expect(lunar.ok('store', 'resize', 'tank/snapshots-raid1', '--size', '1GiB')).toBe('Resized store "snapshots-raid1" from 16 TiB to 1 GiB\n')
    expect(lunar.json<StoreDetail>('store', 'show', 'tank/snapshots-raid1').size).toBe(1024 * MIB)
    expect(lunar.ok('store', 'delete', 'tank/snapshots-raid1', '--yes')).toBe('Deleted store "snapshots-raid1"\n')
    expect(lunar.json('store', 'list', '--pool', 'tank')).toEqual([])
    await expectSoundFiles(disks)
  })

  test('LUNs are restored to them, and cloned from them', { timeout: 120_000 }, async () => {
    const disks = lunar.makeTank(3)
    for (const name of ['db', 'web']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    const before = stamped(MIB, 1)
    const after = stamped(2 * MIB, 2)
    lunar.ok('lun', 'write', 'tank/db', lunar.write('before', before))
    lunar.ok('snap', 'create', 'tank/db@s1', 'web@s1', '--read-only')
    lunar.ok('lun', 'write', 'tank/db', lunar.write('after', after))
    expect(lunar.ok('snap', 'restore', 'tank/db@s1', '--dry-run')).toBe('Would restore LUN "db" to "db@s1", and keep its state as "db@before-restore-1"\n')
    lunar.refused('ERR_CONFIRM_NEEDED', 'snap', 'restore', 'tank/db@s1')
    lunar.refused('ERR_USAGE', 'snap', 'restore', 'tank/db@s1', '--delay', '1s', '--yes')
    expect(read('db', '--length', '2MiB').equals(after)).toBe(true)
    const restored = lunar.json<Result<'snap.restore'>>('snap', 'restore', 'tank/db@s1', 'web@s1', '--keep-before', 'oops', '--delay', '1000', '--yes')
    expect(restored).toMatchObject([
      { snapshot: 'db@s1', volume: 'db', before: 'db@oops', changed: true },
      { snapshot: 'web@s1', volume: 'web', before: 'web@oops', changed: true },
    ])
    const task = String(restored[0]!.task)
    expect(read('db', '--length', '2MiB').equals(Buffer.concat([before, Buffer.alloc(MIB)]))).toBe(true)
    expect(read('db@oops', '--length', '2MiB').equals(after)).toBe(true)
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').state).toBe('ready, being restored to db@s1, 2 snapshots')
    lunar.refused('ERR_RESTORING', 'snap', 'restore', 'tank/db@oops', '--yes')
    expect(lunar.ok('task', 'pause', `tank/${task}`)).toBe(`Task ${task} (restore of db) is paused\n`)
    expect(lunar.ok('task', 'stop', `tank/${task}`)).toBe(`Task ${task} (restore of db) is stopped\n`)
    expect(read('db', '--length', '1MiB').equals(before)).toBe(true)
    expect(lunar.ok('snap', 'restore', 'tank/db@s1', '--delay', '0', '--wait', '--yes')).toBe(
      'LUN "db" reads as "db@s1"; its state before is "db@oops"; it is copied back\n',
    )
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').state).toBe('ready, 2 snapshots')
    expect(read('db', '--length', '2MiB').equals(Buffer.concat([before, Buffer.alloc(MIB)]))).toBe(true)

    lunar.ok('lun', 'resize', 'tank/db', '--size', '1MiB', '--force=lost-data')
    expect(read('db@oops', '--length', '2MiB').equals(after)).toBe(true)
    expect(lunar.ok('snap', 'restore', 'tank/db@s1', '--dry-run')).toContain('to "db@s1", grow it from 1 MiB to 8 MiB, and keep its state')
    expect(lunar.ok('snap', 'restore', 'tank/db@s1', '--wait', '--yes')).toContain('LUN "db" reads as "db@s1" and has 8 MiB, no longer 1 MiB;')
    lunar.ok('snap', 'delete', 'tank/db@before-restore-1', '--yes')

    expect(lunar.ok('snap', 'clone', 'tank/db@oops', 'copy', '--dry-run')).toBe('Would create LUN "copy", a clone of "db@oops": 8 MiB, raid1, reserved\n')
    expect(lunar.json<Result<'snap.clone'>>('snap', 'clone', 'tank/db@oops', 'copy', '--delay', '1000')).toMatchObject({
      source: 'db@oops',
      name: 'copy',
      size: 8 * MIB,
    })
    lunar.refused('ERR_EXISTS', 'snap', 'clone', 'tank/db', 'copy')
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/copy').state).toBe('ready, clone, being copied')
    expect(lunar.ok('snap', 'delete', 'tank/db@oops', 'web@oops', '--yes')).toContain('Deleted snapshot "db@oops"; it is kept, hidden')
    expect(read('copy', '--length', '2MiB').equals(after)).toBe(true)
    const clone = lunar.json<TaskView[]>('task', 'list', '--pool', 'tank').find(({ kind }) => kind === 'clone')!
    lunar.refused('ERR_TASK_STATE', 'task', 'stop', `tank/${clone.number}`)
    expect(lunar.ok('snap', 'clone', 'tank/copy', 'second', '--raid', 'raid0', '--wait')).toBe(
      'Created LUN "second", a clone of "copy": 8 MiB, raid0, reserved; it is copied\n',
    )
    expect(lunar.ok('lun', 'delete', 'tank/copy', '--yes')).toContain('Deleted LUN "copy"')
    expect(lunar.json<TaskView>('task', 'show', `tank/${clone.number}`).state).toBe('stopped')
    expect(read('second', '--length', '2MiB').equals(after)).toBe(true)
    expect(lunar.json<SnapshotSummary[]>('snap', 'tree', '--pool', 'tank', '--all').map(({ name }) => name)).toEqual(['db@s1', 'web@s1'])
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    await expectSoundFiles(disks)
  })

  test('that there is no space for are dropped, when that is said, and everything says so', { timeout: 120_000 }, () => {
    lunar.makeTank(2)
    lunar.ok('lun', 'create', 'tank/db', '--size', '40MiB', '--raid', 'raid0')
    lunar.ok('lun', 'write', 'tank/db', lunar.write('before', stamped(40 * MIB, 1)))
    lunar.ok('snap', 'create', 'tank/db@s1', '--on-full', 'drop-oldest')
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').settings).toContainEqual({ key: 'on-full', value: 'drop-oldest', from: 'lun' })
    expect(lunar.ok('lun', 'set', 'tank/db', 'on-full=fail-writes')).toBe('Set on-full\n')
    const large = lunar.write('large', stamped(40 * MIB, 2))
    lunar.ok('lun', 'create', 'tank/filler', '--size', '16MiB', '--raid', 'raid0', '--reserve')
    expect(lunar.run('lun', 'write', 'tank/db', large).status).toBe(6)
    expect(lunar.json<SnapshotDetail>('snap', 'show', 'tank/db@s1')).toMatchObject({ state: 'writable', onFull: 'fail-writes' })
    lunar.refused('ERR_USAGE', 'lun', 'set', 'tank/db', 'on-full=sometimes')
    lunar.refused('ERR_USAGE', 'lun', 'set', 'tank/db', 'colour=red')
    expect(lunar.ok('lun', 'set', 'tank/db', 'on-full=drop', '--dry-run')).toBe('Would set on-full\n')
    lunar.ok('lun', 'set', 'tank/db', 'on-full=drop')
    lunar.ok('lun', 'write', 'tank/db', large)
    expect(read('db').equals(stamped(40 * MIB, 2))).toBe(true)
    expect(lunar.ok('snap', 'list', '--pool', 'tank', '-H', '-o', 'name,state,on-full')).toBe('s1\tdropped\tdrop\n')
    lunar.refused('ERR_SNAPSHOT_DROPPED', 'lun', 'read', 'tank/db@s1')
    lunar.refused('ERR_SNAPSHOT_DROPPED', 'lun', 'export', 'tank/db@s1', 'never.img')
    expect(lunar.ok('pool', 'status', 'tank')).toContain('Snapshot db@s1 was dropped')
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(9)
    expect(lunar.ok('pool', 'events', 'tank')).toContain('snapshot.dropped')
    lunar.ok('snap', 'delete', 'tank/db@s1', '--yes')
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(0)
    lunar.refused('ERR_POOL_FULL', 'snap', 'create', 'tank/db@r', '--reserve', '--dry-run')
    lunar.ok('lun', 'delete', 'tank/filler', '--yes')
    lunar.ok('lun', 'create', 'tank/small', '--size', '4MiB', '--raid', 'raid0')
    lunar.ok('snap', 'create', 'tank/small@r', '--reserve')
    expect(lunar.json<SnapshotDetail>('snap', 'show', 'tank/small@r')).toMatchObject({ reserved: 4 * MIB, exclusive: 0 })
    expect(lunar.run('snap', 'create', 'tank/small@x', '--reserve', '--demand').status).toBe(2)
  })

  test('keep what an update overwrites, and are zeroed like LUNs', { timeout: 120_000 }, () => {
    lunar.makeTank(3)
    for (const name of ['db', 'image']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    const [before, after] = [stamped(MIB, 1), stamped(MIB, 2)]
    lunar.ok('lun', 'write', 'tank/db', lunar.write('before', before))
    lunar.ok('snap', 'configure', 'tank/db', 'image')
    lunar.ok('EnableSnap', 'tank/1')
    lunar.ok('lun', 'write', 'tank/db', lunar.write('after', after))
    lunar.ok('StartSourceUpdate', 'tank/1', '--keep-before', 'oops', '--dry-run')
    expect(lunar.json('snap', 'tree', 'tank/db')).toEqual([])
    lunar.ok('StartSourceUpdate', 'tank/1', '--keep-before', 'oops', '--wait')
    lunar.refused('ERR_EXISTS', 'StartSourceUpdate', 'tank/1', '--keep-before', 'oops')
    expect(read('db', '--length', '1MiB').equals(before)).toBe(true)
    expect(read('db@oops', '--length', '1MiB').equals(after)).toBe(true)
    lunar.ok('snap', 'restore', 'tank/db@oops', '--wait', '--yes')
    expect(read('db', '--length', '1MiB').equals(after)).toBe(true)
    // One that is taken while an update copies holds the LUN as updated, and needs that update.
    lunar.ok('SetSourceUpdateDelay', '10000', 'tank/1')
    lunar.ok('StartSourceUpdate', 'tank/1')
    lunar.ok('snap', 'create', 'tank/db@during', '--read-only')
    expect(read('db@during', '--length', '1MiB').equals(before)).toBe(true)
    lunar.refused('ERR_HAS_SNAPSHOTS', 'StopSourceUpdate', 'tank/1', '--dry-run')
    lunar.refused('ERR_HAS_SNAPSHOTS', 'StopSourceUpdate', 'tank/1')
    lunar.ok('SetSourceUpdateDelay', '0', 'tank/1')
    lunar.ok('StartSourceUpdate', 'tank/1', '--wait')
    for (const name of ['db', 'db@during']) expect(read(name, '--length', '1MiB').equals(before)).toBe(true)
    lunar.ok('snap', 'restore', 'tank/db@oops', '--wait', '--yes')
    lunar.ok('StartImageUpdate', 'tank/1', '--keep-before', 'old', '--wait')
    expect(read('image', '--length', '1MiB').equals(after)).toBe(true)
    expect(read('image@old', '--length', '1MiB').equals(before)).toBe(true)

    lunar.refused('ERR_READ_ONLY', 'lun', 'zero', 'tank/db@oops', '--yes')
    lunar.ok('snap', 'create', 'tank/db@rw', '--of', 'db@oops')
    expect(lunar.ok('lun', 'zero', 'tank/db@rw', '--length', '4096', '--yes')).toBe('Zeroed 4 KiB of snapshot "db@rw"\n')
    expect(read('db@rw', '--length', '8192').equals(Buffer.concat([Buffer.alloc(4096), after.subarray(4096, 8192)]))).toBe(true)
    expect(lunar.ok('lun', 'trim', 'tank/db@rw', '--yes')).toBe('Trimmed 0 B of snapshot "db@rw"\n')
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
  })

  test('what cannot be is refused, and changes nothing', { timeout: 120_000 }, () => {
    lunar.makeTank(3)
    for (const name of ['db', 'web']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    lunar.ok('store', 'create', 'tank/kept', '--raid', 'raid0', '--size', '1GiB')
    lunar.refused('ERR_LUN_NOT_FOUND', 'snap', 'create', 'tank/nope@s1')
    lunar.refused('ERR_BAD_NAME', 'snap', 'create', 'tank/db')
    lunar.refused('ERR_BAD_NAME', 'snap', 'create', 'tank/db@a b')
    lunar.refused('ERR_USAGE', 'snap', 'create', 'tank/db@s1', 'db@s1')
    lunar.refused('ERR_BAD_SIZE', 'snap', 'create', 'tank/db@s1', '--chunk-size', '5000')
    lunar.refused('ERR_STORE_NOT_FOUND', 'snap', 'create', 'tank/db@s1', '--store', 'db')
    lunar.refused('ERR_REDUNDANCY', 'snap', 'create', 'tank/db@s1', '--store', 'kept')
    lunar.refused('ERR_SNAPSHOT_NOT_FOUND', 'snap', 'create', 'tank/db@s1', '--of', 'db@nope')
    lunar.refused('ERR_SNAPSHOT_STORE', 'snap', 'create', 'tank/kept@s1')
    lunar.ok('snap', 'create', 'tank/db@s1', '--store', 'kept', '--force=redundancy')
    lunar.refused('ERR_EXISTS', 'snap', 'create', 'tank/db@s1')
    lunar.refused('ERR_USAGE', 'snap', 'create', 'tank/db@s2', '--chunk-size', '8KiB')
    lunar.refused('ERR_USAGE', 'snap', 'create', 'tank/db@s2', '--of', 'db@s1')
    lunar.ok('snap', 'create', 'tank/db@r', '--read-only')
    lunar.refused('ERR_USAGE', 'snap', 'create', 'tank/db@r@x')
    lunar.refused('ERR_USAGE', 'snap', 'create', 'tank/web@v', '--of', 'db@r')
    lunar.refused('ERR_HAS_SNAPSHOTS', 'lun', 'delete', 'tank/db', '--yes')
    lunar.refused('ERR_HAS_SNAPSHOTS', 'store', 'delete', 'tank/kept', '--yes')
    for (const args of [
      ['lun', 'delete', 'tank/kept', '--yes'],
      ['lun', 'rename', 'tank/kept', 'other'],
      ['lun', 'read', 'tank/kept'],
      ['lun', 'resize', 'tank/kept', '--size', '2GiB'],
    ])
      lunar.refused('ERR_SNAPSHOT_STORE', ...args)
    lunar.refused('ERR_CONFIRM_NEEDED', 'snap', 'delete', 'tank/db@s1')
    lunar.refused('ERR_SNAPSHOT_NOT_FOUND', 'snap', 'delete', 'tank/db@s1', 'db@none', '--yes')
    lunar.refused('ERR_SNAPSHOT_NOT_FOUND', 'snap', 'delete', 'tank/db', '--yes')
    expect(lunar.json<unknown[]>('snap', 'list', '--pool', 'tank')).toHaveLength(2)
    // The tree follows its LUN, and a LUN that grows leaves its snapshots as large as they were.
    lunar.ok('lun', 'rename', 'tank/db', 'data')
    lunar.ok('lun', 'resize', 'tank/data', '--size', '16MiB')
    expect(lunar.json<SnapshotSummary[]>('snap', 'tree', 'tank/data').map(({ name, size }) => [name, size])).toEqual([
      ['data@s1', 8 * MIB],
      ['data@r', 8 * MIB],
    ])
    lunar.ok('snap', 'delete', 'tank/data@s1', 'data@r', '--yes')
    lunar.ok('lun', 'delete', 'tank/data', '--yes')
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
  })
})
