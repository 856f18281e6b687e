/** Write-once devices through the installed program. */
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { PoolStatus, RelationshipStatus, TaskView, WodDetail, WodSummary } from '../../src/core/server/api.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

describe('wod', () => {
  const lunar = useProgram()

  test('a device on each kind is created, shown and listed, and goes with its file and LUN', { timeout: 60_000 }, async () => {
    const disks = lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/db', '--size', '8MiB', '--raid', 'raid0')
    const made = lunar.json<WodDetail>('wod', 'create', 'tank/a', '--on', 'lun', '--for', 'db')
    expect(made).toMatchObject({ name: 'a', on: 'lun', size: 8 * MIB, blockBytes: 65536, raid: 'raid0', path: null, written: 0, state: 'ready', imageOf: null })
    expect(lunar.ok('wod', 'create', 'tank/b', '--on', 'store', '--size', '4MiB', '--block-size', '4KiB')).toBe(
      'Created write-once device "b" on store: 4 MiB, blocks of 4 KiB\n',
    )
    lunar.ok('wod', 'create', 'tank/c', '--on', 'file', '--path', 'c.wod', '--size', '1MiB')
    lunar.ok('wod', 'create', 'tank/d', '--on', 'vdisk', '--path', 'd.wod', '--size', '1MiB')
    expect(statSync(lunar.path('c.wod')).size).toBe(MIB + 4096)
    expect(lunar.json<WodSummary[]>('wod', 'list', '--pool', 'tank').map(({ name, on, size }) => [name, on, size])).toEqual([
      ['a', 'lun', 8 * MIB],
      ['b', 'store', 4 * MIB],
      ['c', 'file', MIB],
      ['d', 'vdisk', MIB],
    ])
    expect(lunar.json<WodDetail>('wod', 'show', 'tank/c')).toMatchObject({ path: lunar.path('c.wod'), raid: null, used: null, state: 'ready' })
    expect(lunar.ok('wod', 'show', 'tank/b')).toMatch(/^raid: +raid1$/m)
    expect(lunar.ok('wod', 'reallocate', 'tank/b', '--range', '64KiB+128KiB', '--yes')).toBe(
      'Made 128 KiB of write-once device "b" unwritten, of which 0 B were written\n',
    )
    lunar.ok('wod', 'reallocate', 'tank/c', '--yes')
    await expectSoundFiles(disks)
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    expect(lunar.ok('metadata', 'dump', 'tank')).toMatch(/^wod 3 0 \{.*"name":"c"/m)
    for (const name of ['a', 'b', 'c', 'd']) expect(lunar.ok('wod', 'delete', `tank/${name}`, '--yes')).toContain(`Deleted write-once device "${name}"`)
    await lunar.reopened(service => service.call('lun.list', {}).then(({ data }) => expect(data.map(({ name }) => name)).toEqual(['db'])))
    expect([existsSync(lunar.path('c.wod')), existsSync(lunar.path('d.wod'))]).toEqual([false, false])
    expect(lunar.json('wod', 'list', '--pool', 'tank')).toEqual([])
    await expectSoundFiles(disks)
  })

  test('what cannot be is refused, and changes nothing', { timeout: 60_000 }, () => {
    lunar.makeTank(2)
    lunar.ok('lun', 'create', 'tank/db', '--size', '8MiB', '--raid', 'raid0')
    const create = (...args: string[]): string[] => ['wod', 'create', ...args]
    lunar.refused('ERR_USAGE', ...create('tank/a', '--on', 'lun'))
    lunar.refused('ERR_USAGE', ...create('tank/a', '--on', 'lun', '--size', '8MiB', '--for', 'db'))
    lunar.refused('ERR_USAGE', ...create('tank/a', '--on', 'file', '--size', '8MiB'))
    lunar.refused('ERR_USAGE', ...create('tank/a', '--on', 'store', '--size', '8MiB', '--path', 'x'))
    lunar.refused('ERR_BAD_NAME', ...create('tank/DcsSnap3', '--on', 'lun', '--size', '8MiB'))
    lunar.refused('ERR_LUN_NOT_FOUND', ...create('tank/a', '--on', 'lun', '--for', 'nope'))
    lunar.refused('ERR_EXISTS', ...create('tank/db', '--on', 'file', '--path', 'x', '--size', '8MiB'))
    lunar.refused('ERR_BAD_SIZE', ...create('tank/a', '--on', 'file', '--path', 'x', '--size', '1000KiB'))
    lunar.refused('ERR_BAD_SIZE', ...create('tank/a', '--on', 'lun', '--size', '8MiB', '--block-size', '2MiB'))
    lunar.refused('ERR_BAD_SIZE', ...create('tank/a', '--on', 'lun', '--size', '8MiB', '--block-size', '48KiB'))
    writeFileSync(lunar.path('taken'), 'mine')
    lunar.refused('ERR_EXISTS', ...create('tank/a', '--on', 'vdisk', '--path', 'taken', '--size', '8MiB'))
    lunar.refused('ERR_EXISTS', ...create('tank/a', '--on', 'vdisk', '--path', 'taken', '--size', '8MiB', '--dry-run'))
    lunar.refused('ERR_WOD_NOT_FOUND', 'wod', 'show', 'tank/a')
    lunar.ok(...create('tank/a', '--on', 'file', '--path', 'x', '--size', '8MiB', '--dry-run'))
    lunar.ok(...create('tank/a', '--on', 'lun', '--size', '8MiB', '--dry-run'))
    expect(existsSync(lunar.path('x'))).toBe(false)
    expect(lunar.json('wod', 'list', '--pool', 'tank')).toEqual([])
    expect(lunar.json<unknown[]>('lun', 'list', '--pool', 'tank')).toHaveLength(1)
  })

  test('the LUN below is out of reach, ranges are whole blocks, and names are shared with LUNs', { timeout: 60_000 }, () => {
    lunar.makeTank(2)
    lunar.ok('wod', 'create', 'tank/a', '--on', 'lun', '--size', '8MiB')
    lunar.ok('wod', 'create', 'tank/f', '--on', 'file', '--path', 'f.wod', '--size', '8MiB')
    const one = lunar.write('one', Buffer.alloc(4096, 1))
    for (const args of [
      ['lun', 'write', 'tank/a', one],
      ['lun', 'read', 'tank/a'],
      ['lun', 'resize', 'tank/a', '--size', '16MiB'],
      ['lun', 'rename', 'tank/a', 'b'],
      ['lun', 'trim', 'tank/a', '--yes'],
      ['lun', 'zero', 'tank/a', '--yes'],
      ['lun', 'delete', 'tank/a', '--yes'],
      ['lun', 'import', 'tank/a', one, '--yes'],
      ['lun', 'export', 'tank/a', 'out'],
    ])
      lunar.refused('ERR_WRITE_ONCE', ...args)
    lunar.refused('ERR_EXISTS', 'lun', 'create', 'tank/f', '--size', '1MiB', '--raid', 'raid0')
    lunar.refused('ERR_OUT_OF_RANGE', 'wod', 'reallocate', 'tank/a', '--range', '4KiB+64KiB', '--yes')
    lunar.refused('ERR_OUT_OF_RANGE', 'wod', 'reallocate', 'tank/a', '--range', '8MiB+64KiB', '--yes')
    lunar.refused('ERR_USAGE', 'wod', 'reallocate', 'tank/a', '--range', '8MiB', '--yes')
    lunar.refused('ERR_CONFIRM_NEEDED', 'wod', 'reallocate', 'tank/a')
    lunar.refused('ERR_CONFIRM_NEEDED', 'wod', 'delete', 'tank/a')
    expect(lunar.json<{ state: string }[]>('lun', 'list', '--pool', 'tank')[0]!.state).toBe('ready, write-once')
  })

  test('a file that is away or another is told, and is never deleted', { timeout: 60_000 }, async () => {
    lunar.makeTank(1)
    lunar.ok('wod', 'create', 'tank/f', '--on', 'vdisk', '--path', 'f.wod', '--size', '8MiB')
    lunar.ok('wod', 'create', 'tank/g', '--on', 'file', '--path', 'g.wod', '--size', '8MiB')
    const state = (): string => lunar.json<WodDetail>('wod', 'show', 'tank/f').state
    renameSync(lunar.path('f.wod'), lunar.path('kept'))
    expect(state()).toContain('Cannot open')
    renameSync(lunar.path('g.wod'), lunar.path('f.wod'))
    expect(state()).toContain('it belongs to another device')
    lunar.refused('ERR_NOT_A_DISK', 'wod', 'reallocate', 'tank/f', '--yes')
    lunar.ok('wod', 'delete', 'tank/f', '--yes')
    await lunar.reopened(async service => {
      expect((await service.call('wod.list', {})).data.map(({ name }) => name)).toEqual(['g'])
      expect((await service.call('metadata.dump', {})).data.text).not.toMatch(/^wod 1 /m)
    })
    expect(existsSync(lunar.path('f.wod'))).toBe(true)
  })

  test('an image on a device: its source is written, the image stays, and nobody takes either away', { timeout: 90_000 }, async () => {
    const disks = await lunar.tankWithData(3)
    lunar.ok('wod', 'create', 'tank/w', '--on', 'store', '--for', 'a')
    lunar.refused('ERR_WRITE_ONCE', 'lun', 'export', 'tank/w', 'none')
    await lunar.reopened(async service => {
      expect((await service.call('snap.configure', { source: 'a', image: 'w' })).data).toMatchObject({ number: 1, source: 'a', image: 'w', state: 'disabled' })
      await expect(service.openLun('w', { readOnly: true })).rejects.toMatchObject({ code: 'ERR_IMAGE_INCOMPLETE' })
      expect((await service.call('snap.enable', { relationships: ['DcsSnap1'] })).data).toMatchObject([{ state: 'enabled', changed: true, lost: [] }])
      expect((await service.call('snap.enable', { relationships: ['1'] })).data).toMatchObject([{ changed: false }])
      await expect(service.openLun('w')).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
      await expect(service.call('snap.start', { relationship: '1', kind: 'imageUpdate' })).rejects.toMatchObject({
        code: 'ERR_RELATIONSHIP_STATE',
        fix: expect.stringContaining('lunar EnableNewSnap 1') as string,
      })
      await expect(service.call('snap.configure', { source: 'a', image: 'w' })).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
    })
    const before = lunar.runWith({}, 'lun', 'read', 'tank/a').out
    expect(before.subarray(0, 2 * MIB).equals(stamped(2 * MIB, 1))).toBe(true)
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(3 * MIB, 2)), '--offset', '512KiB')
    lunar.ok('lun', 'zero', 'tank/a', '--length', '4KiB', '--yes')
    lunar.ok('lun', 'trim', 'tank/a', '--yes')
    expect(lunar.runWith({}, 'lun', 'read', 'tank/w').out.equals(before)).toBe(true)
    lunar.ok('lun', 'export', 'tank/w', 'image')
    expect(readFileSync(lunar.path('image')).equals(before)).toBe(true)
    expect(
      lunar
        .runWith({}, 'lun', 'read', 'tank/a')
        .out.subarray(512 * 1024, 512 * 1024 + 3 * MIB)
        .equals(stamped(3 * MIB, 2)),
    ).toBe(true)
    expect(lunar.json<WodDetail>('wod', 'show', 'tank/w')).toMatchObject({ imageOf: 'a', relationship: 1, written: 3 * MIB + 65536 })
    lunar.refused('ERR_IN_RELATIONSHIP', 'wod', 'delete', 'tank/w', '--yes')
    lunar.refused('ERR_IN_RELATIONSHIP', 'wod', 'reallocate', 'tank/w', '--yes')
    lunar.refused('ERR_IN_RELATIONSHIP', 'lun', 'delete', 'tank/a', '--yes')
    lunar.refused('ERR_IN_RELATIONSHIP', 'lun', 'resize', 'tank/a', '--size', '4MiB')
    await expectSoundFiles(disks)
    await lunar.reopened(async service => {
      expect((await service.call('snap.list', {})).data).toMatchObject([{ number: 1, cost: 'preserving', completePercent: 38 }])
      const { data: maps } = await service.call('snap.maps', { relationship: '1' })
      expect([...Buffer.from(maps.migrated, 'base64')].reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)).toBe(49)
      expect((await service.call('snap.status', { relationship: 'w' })).data.chunks).toMatchObject({ total: 128, migrated: 49 })
      const { data: started } = await service.call('snap.start', { relationship: '1', kind: 'completeImage' })
      expect(started).toMatchObject({ changed: true, task: expect.any(Number) as number })
      await service.call('snap.setDelay', { relationship: '1', kind: 'completeImage', delay: 0 })
      expect((await service.call('task.wait', { task: started.task! })).data).toMatchObject({ kind: 'completeImage', target: 'DcsSnap1', state: 'done' })
      expect((await service.call('snap.disable', { relationships: ['1'] })).data).toMatchObject([{ complete: true, changed: true }])
    })
    await lunar.reopened(async service => {
      await service.call('lun.create', { name: 'b', size: 8 * MIB, raid: 'raid0' })
      await service.call('snap.configure', { source: 'a', image: 'b', name: 'w' })
      await expect(service.call('snap.status', { relationship: 'w' })).rejects.toMatchObject({ code: 'ERR_USAGE' })
      await expect(service.call('snap.enable', { relationships: ['1', '2'] })).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
      expect((await service.call('snap.list', {})).data.map(({ state }) => state)).toEqual(['disabled', 'disabled'])
      await service.call('snap.unconfigure', { relationship: '2' })
    })
    expect(lunar.runWith({}, 'lun', 'read', 'tank/w').out.equals(before)).toBe(true)
    await lunar.reopened(service => service.call('snap.unconfigure', { relationship: '1' }))
    lunar.ok('wod', 'delete', 'tank/w', '--yes')
    lunar.ok('lun', 'delete', 'tank/a', '--yes')
    await lunar.reopened(() => Promise.resolve())
    await expectSoundFiles(disks)
  })

  /** Pool "tank" with LUN "a", its images "i" (a LUN) and "w" (a device), as 1 and 2. */
  async function imagesOfBothKinds(): Promise<string[]> {
    const disks = await lunar.tankWithData(3)
    lunar.ok('wod', 'create', 'tank/w', '--on', 'vdisk', '--path', 'w.wod', '--for', 'a')
    lunar.ok('lun', 'create', 'tank/i', '--size', '8MiB', '--raid', 'raid0')
    lunar.ok('snap', 'configure', 'tank/a', 'i')
    lunar.ok('snap', 'configure', 'tank/a', 'w')
    return disks
  }

  const read = (name: string): Buffer => lunar.runWith({}, 'lun', 'read', `tank/${name}`).out

  test('images on a LUN and on a device take one instant, and end at one', { timeout: 90_000 }, async () => {
    const disks = await imagesOfBothKinds()
    const enabled = lunar.json<{ image: string; asOf: string; changed: boolean }[]>('EnableSnap', 'tank/2', '1')
    expect(enabled.map(({ image, changed }) => [image, changed])).toEqual([
      ['w', true],
      ['i', true],
    ])
    expect(enabled[0]!.asOf).toBe(enabled[1]!.asOf)
    const before = read('a')
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(3 * MIB, 2)), '--offset', '512KiB')
    expect([read('i').equals(before), read('w').equals(before)]).toEqual([true, true])
    // One that is refused keeps the other as it is.
    lunar.refused('ERR_IN_RELATIONSHIP', 'snap', 'configure', 'tank/i', 'w')
    lunar.ok('EnableNewSnap', 'tank/1', 'w')
    const after = read('a')
    lunar.ok('lun', 'zero', 'tank/a', '--length', '1MiB', '--yes')
    expect([read('i').equals(after), read('w').equals(after)]).toEqual([true, true])
    expect(lunar.json<{ complete: boolean; state: string }[]>('DisableSnap', 'tank/1', '2').map(({ state, complete }) => [state, complete])).toEqual([
      ['disabled', false],
      ['disabled', false],
    ])
    lunar.refused('ERR_RELATIONSHIP_STATE', 'EnableSnap', 'tank/1', '2')
    expect(lunar.json<{ state: string }[]>('snap', 'list', '--pool', 'tank').map(({ state }) => state)).toEqual(['disabled', 'disabled'])
    await expectSoundFiles(disks)
  })

  test('complete image is a task: paced, paused, stopped, resumed when its owner was killed', { timeout: 120_000 }, async () => {
    const disks = await imagesOfBothKinds()
    lunar.ok('EnableSnap', 'tank/2')
    const before = read('a')
    expect(lunar.json<{ was: number }>('SetCompleteImageDelay', '3600000', 'tank/2').was).toBe(20)
    lunar.refused('ERR_RELATIONSHIP_STATE', 'SetImageUpdateDelay', '5', 'tank/2')
    expect(lunar.json('GetSnapConfig', 'tank/2')).toMatchObject({ delaysMs: { completeImage: 3_600_000 } })
    const { task } = lunar.json<{ task: number }>('StartCompleteImage', 'tank/2')
    const status = (): RelationshipStatus => lunar.json('GetSnapStatus', 'tank/2')
    expect(status()).toMatchObject({ process: 'completeImage', progress: { kind: 'completeImage', task, done: 64 * KIB, total: 8 * MIB, delayMs: 3_600_000 } })
    expect(lunar.json<TaskView>('task', 'pause', `tank/${task}`).state).toBe('paused')
    expect(lunar.json<TaskView>('task', 'resume', String(task)).state).toBe('running')
    lunar.refused('ERR_RELATIONSHIP_STATE', 'EnableNewSnap', 'tank/2')
    const { holder } = lunar.json<{ holder: { pid: number } | null }>('lock', 'show', 'tank')
    process.kill(holder!.pid, 'SIGKILL')
    // The source is in use meanwhile, and the image keeps its instant.
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(MIB, 2)), '--offset', '1MiB')
    expect(read('w').equals(before)).toBe(true)
    expect(lunar.json<TaskView>('task', 'show', String(task))).toMatchObject({ kind: 'completeImage', target: 'DcsSnap2', state: 'running' })
    expect(lunar.json('StopCompleteImage', 'tank/2')).toMatchObject({ changed: true, process: null })
    expect(lunar.json<TaskView>('task', 'show', String(task)).state).toBe('stopped')
    expect(lunar.run('StopCompleteImage', 'tank/2', '--fail-if-unchanged').status).toBe(4)
    lunar.ok('SetCompleteImageDelay', '0', 'tank/2')
    lunar.ok('StartCompleteImage', 'tank/2', '--wait')
    expect(status()).toMatchObject({ process: null, completePercent: 100 })
    expect(lunar.json<{ complete: boolean }[]>('DisableSnap', 'tank/2')).toMatchObject([{ complete: true }])
    expect(read('w').equals(before)).toBe(true)
    await expectSoundFiles(disks)
  })

  test(
    'source update is a task: the source is the instant at once, also when the owner was killed, and mixed when it was stopped',
    { timeout: 120_000 },
    async () => {
      const disks = await imagesOfBothKinds()
      lunar.ok('EnableSnap', 'tank/2')
      const before = read('a')
      lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(3 * MIB, 2)), '--offset', '1MiB')
      const after = read('a')
      const status = (): RelationshipStatus => lunar.json('GetSnapStatus', 'tank/2')
      lunar.ok('SetSourceUpdateDelay', '3600000', 'tank/2')
      expect(lunar.json('GetSnapConfig', 'tank/2')).toMatchObject({ delaysMs: { sourceUpdate: 3_600_000 } })
      expect(lunar.json('StartSourceUpdate', 'tank/2', '--keep-before', 'k', '--dry-run')).toMatchObject({ changed: true, process: null })
      const { task } = lunar.json<{ task: number }>('StartSourceUpdate', 'tank/2', '--keep-before', 'k')
      expect(lunar.refused('ERR_RELATIONSHIP_STATE', 'DisableSnap', 'tank/2')).toContain('lunar StopSourceUpdate 2')
      lunar.refused('ERR_RELATIONSHIP_STATE', 'EnableSnap', 'tank/1')
      let now = status()
      while (now.progress === null || now.progress.done === 0) now = status()
      expect(now).toMatchObject({ state: 'updating', process: 'sourceUpdate', chunks: { frozen: 47 }, progress: { task, total: 3 * MIB, delayMs: 3_600_000 } })
      const { holder } = lunar.json<{ holder: { pid: number } | null }>('lock', 'show', 'tank')
      process.kill(holder!.pid, 'SIGKILL')
      expect(lunar.runWith({}, 'lun', 'read', 'tank/a', '--offset', '3MiB').out.equals(before.subarray(3 * MIB))).toBe(true)
      expect(lunar.json<TaskView>('task', 'show', String(task))).toMatchObject({ kind: 'sourceUpdate', target: 'DcsSnap2', state: 'running' })
      expect(lunar.json('StopSourceUpdate', 'tank/2')).toMatchObject({ changed: true, state: 'mixed', process: null })
      expect(lunar.json<TaskView>('task', 'show', String(task)).state).toBe('stopped')
      expect(lunar.refused('ERR_MIXED', 'lun', 'read', 'tank/a')).toContain('lunar StartSourceUpdate 2')
      expect(lunar.json<PoolStatus>('pool', 'status', 'tank')).toMatchObject({ health: 'degraded', relationships: [{ number: 2, trouble: 'mixed' }] })
      lunar.ok('SetSourceUpdateDelay', '0', 'tank/2')
      lunar.ok('StartSourceUpdate', 'tank/2', '--wait')
      expect([read('a').equals(before), read('w').equals(before), read('a@k').equals(after)]).toEqual([true, true, true])
      expect(status()).toMatchObject({ state: 'enabled', process: null, reason: null })
      await expectSoundFiles(disks)
    },
  )

  test('the status of a pool names images that are given up, mixed or lost, and devices whose file is away', { timeout: 120_000 }, async () => {
    await imagesOfBothKinds()
    lunar.ok('EnableSnap', 'tank/1', '2')
    const status = (): PoolStatus => lunar.json('pool', 'status', 'tank')
    expect(status()).toMatchObject({ health: 'healthy', relationships: [], devices: [] })
    // What is lost by choice is named, and is no alarm.
    lunar.ok('DisableSnap', 'tank/1')
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(64 * KIB, 2)))
    expect(status()).toMatchObject({
      health: 'healthy',
      relationships: [{ number: 1, source: 'a', image: 'i', trouble: 'lost', lost: 64 * KIB, reason: null }],
    })
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(0)
    expect(lunar.ok('pool', 'status', 'tank')).toContain('DcsSnap1 (a to i) has lost 64 KiB, written in its source while it was disabled')
    renameSync(lunar.path('w.wod'), lunar.path('kept'))
    expect(status()).toMatchObject({ health: 'degraded', devices: [{ name: 'w', problem: expect.stringContaining('w.wod') as string }] })
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(9)
    expect(lunar.json<{ name: string; health: string }[]>('pool', 'list')).toMatchObject([{ health: 'degraded' }])
    // Its source is never stopped by it: the image is given up.
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(64 * KIB, 3)), '--offset', '4MiB')
    expect(status().relationships.map(({ number, trouble, reason }) => [number, trouble, reason === null])).toEqual([
      [1, 'lost', true],
      [2, 'invalid', false],
    ])
    renameSync(lunar.path('kept'), lunar.path('w.wod'))
    expect(status()).toMatchObject({ health: 'degraded', devices: [] })
    lunar.ok('EnableNewSnap', 'tank/1', '2')
    expect(status()).toMatchObject({ health: 'healthy', relationships: [] })
    lunar.ok('lun', 'write', 'tank/a', lunar.write('new', stamped(2 * MIB, 4)))
    lunar.ok('SetSourceUpdateDelay', '3600000', 'tank/1')
    lunar.ok('StartSourceUpdate', 'tank/1')
    lunar.ok('StopSourceUpdate', 'tank/1')
    expect(status()).toMatchObject({ health: 'degraded', relationships: [{ number: 1, trouble: 'mixed', reason: expect.any(String) as string }] })
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(9)
  })

  test('a pool that is destroyed takes the files of its devices along, and no other', { timeout: 60_000 }, () => {
    lunar.makeTank(2)
    for (const name of ['f', 'g', 'h']) lunar.ok('wod', 'create', `tank/${name}`, '--on', 'file', '--path', `${name}.wod`, '--size', '1MiB')
    writeFileSync(lunar.path('g.wod'), Buffer.alloc(2 * MIB, 7))
    renameSync(lunar.path('h.wod'), lunar.path('kept'))
    const would = lunar.json<{ files: string[] }>('pool', 'destroy', 'tank', '--dry-run')
    expect(would.files).toEqual([lunar.path('f.wod')])
    expect(lunar.ok('pool', 'destroy', 'tank', '--dry-run')).toContain(`files of write-once devices: ${lunar.path('f.wod')}`)
    expect(existsSync(lunar.path('f.wod'))).toBe(true)
    lunar.ok('pool', 'destroy', 'tank', '--yes')
    expect(['f.wod', 'g.wod', 'kept'].map(name => existsSync(lunar.path(name)))).toEqual([false, true, true])
  })
})
