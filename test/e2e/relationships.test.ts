/** Relationships by the commands alone, on image files: every change is proven by the bytes that come out. */
import { readFileSync, rmSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { ProcessName, RelationshipStatus, RelationshipView, TaskView } from '../../src/core/server/api.ts'
import { expectConsistentFiles, expectSoundFiles, useProgram } from '../support/program.ts'
import { stamped } from '../support/sim.ts'

const SIZE = 8 * MIB
const CHUNK = 64 * KIB
/** A pause that no test lives to see the end of: after its first chunk the process waits. */
const FOR_EVER = '3600000'
const first = stamped(SIZE, 1)

/** `first` with something else in four places. */
const second = Buffer.from(first)
for (const at of [0, MIB, 3 * MIB + CHUNK, SIZE - CHUNK]) stamped(CHUNK, 2 + at).copy(second, at)

const lunar = useProgram()

/** Pool "tank": db holds `first`, and as many images of it as named, configured and enabled. @returns the paths of the disks */
async function tank(...images: string[]): Promise<string[]> {
  const disks = await lunar.tankWithData(3)
  await lunar.reopened(async service => {
    for (const name of ['db', ...images]) await service.call('lun.create', { name, size: SIZE, raid: 'raid1' })
    const device = await service.openLun('db')
    await device.write(0, first)
    await device.close()
    for (const image of images) await service.call('snap.configure', { source: 'db', image, chunkBytes: CHUNK })
    if (images.length > 0) await service.call('snap.enable', { relationships: images.map((_, i) => String(i + 1)) })
  })
  return disks
}

function read(lun: string, ...flags: string[]): Buffer {
  rmSync(lunar.path('read.bin'), { force: true })
  lunar.ok('lun', 'read', `tank/${lun}`, '--out', 'read.bin', ...flags)
  return readFileSync(lunar.path('read.bin'))
}
const isFirst = (lun: string): boolean => read(lun).equals(first)
const isSecond = (lun: string): boolean => read(lun).equals(second)
function write(lun: string, bytes: Buffer): void {
  lunar.ok('lun', 'write', `tank/${lun}`, lunar.write('write.bin', bytes))
}

/** What is written is only what differs, run by run. */
function writeChanges(lun: string, from: Buffer, to: Buffer): void {
  const same = (at: number): boolean => from.subarray(at, at + CHUNK).equals(to.subarray(at, at + CHUNK))
  for (let at = 0; at < SIZE; at += CHUNK) {
    if (same(at)) continue
    let end = at + CHUNK
    while (end < SIZE && !same(end)) end += CHUNK
    lunar.ok('lun', 'write', `tank/${lun}`, lunar.write('write.bin', to.subarray(at, end)), '--offset', String(at))
    at = end
  }
}

const status = (relationship = '1'): RelationshipStatus => lunar.json('GetSnapStatus', `tank/${relationship}`)

describe('relationships by commands', () => {
  test('an image stays as it was, is completed, and its source goes back to it', { timeout: 90_000 }, async () => {
    const disks = await tank()
    lunar.ok('lun', 'create', 'tank/copy', '--size', '8MiB', '--raid', 'raid0')
    expect(lunar.run('snap', 'configure', 'tank/db', 'copy', '--chunk-blocks', '128', '--name', 'nightly').stderr).toContain('less redundancy')
    lunar.refused('ERR_RELATIONSHIP_STATE', 'getsnapactiveconfig', 'tank/nightly')
    lunar.ok('enablesnap', 'tank/DCSSNAP1')
    writeChanges('db', first, second)
    expect(isSecond('db')).toBe(true)
    expect(isFirst('copy')).toBe(true)
    expect(
      lunar
        .ok('snap', 'maps', 'nightly', '-H', '--bytes', '-o', 'offset,length,migrated,different')
        .split('\n')
        .filter(row => row.endsWith('yes')),
    ).toEqual([0, MIB, 3 * MIB + CHUNK, SIZE - CHUNK].map(at => `${at}\t${CHUNK}\tyes\tyes`))
    lunar.ok('snap', 'maps', '1', '--out', 'maps.bin')
    expect(readFileSync(lunar.path('maps.bin')).toString('hex')).toBe('01000100000002000000000000000080'.repeat(2))
    expect(lunar.run('snap', 'maps', '1', '--out', 'maps.bin').status).toBe(4)

    lunar.ok('SetCompleteImageDelay', '0', '1')
    const done = lunar.json<{ outcome: TaskView; process: null }>('StartCompleteImage', '1', '--wait')
    expect(done).toMatchObject({ process: null, outcome: { kind: 'completeImage', state: 'done', done: SIZE - 4 * CHUNK } })
    expect(status()).toMatchObject({ completePercent: 100, differentPercent: 3, chunks: { total: 128, migrated: 128, different: 4 } })

    expect(lunar.ok('StartSourceUpdate', 'nightly', '--wait')).toContain('256 KiB copied')
    expect([isFirst('db'), isFirst('copy')]).toEqual([true, true])
    expect(status().differentPercent).toBe(0)
    expect(lunar.ok('disablesnap', '1')).toContain('is a LUN of its own')
    write('copy', second)
    expect([isFirst('db'), isSecond('copy')]).toEqual([true, true])
    lunar.ok('snap', 'unconfigure', '1')
    lunar.refused('ERR_RELATIONSHIP_NOT_FOUND', 'snap', 'show', 'tank/1')
    expect(lunar.json<RelationshipView>('snap', 'configure', 'db', 'copy', '--pool', 'tank').number).toBe(2)
    await expectSoundFiles(disks)
  })

  test('several images of a protected volume are tested on, and return at once', { timeout: 90_000 }, async () => {
    const disks = await tank('t1', 't2')
    lunar.ok('lun', 'protect', 'tank/db')
    lunar.refused('ERR_PROTECTED', 'lun', 'write', 'tank/db', lunar.write('b', first.subarray(0, CHUNK)))
    lunar.refused('ERR_PROTECTED', 'lun', 'import', 'tank/db', lunar.path('b'), '--yes') // and it is not marked as being imported
    expect(lunar.ok('lun', 'list', '-H', '-o', 'name,state', '--sort', 'name')).toBe(
      'a\tready\ndb\tready, source of 2 relationships, protected\nt1\tready, image of DcsSnap1\nt2\tready, image of DcsSnap2\n',
    )
    writeChanges('t1', first, second)
    expect([isFirst('db'), isSecond('t1'), isFirst('t2')]).toEqual([true, true, true])
    expect(lunar.refused('ERR_PROTECTED', 'StartSourceUpdate', '1')).toContain('lunar lun unprotect db')
    lunar.ok('DisableSnap', '1', '2')
    lunar.refused('ERR_IMAGE_INCOMPLETE', 'lun', 'read', 'tank/t1', '--out', 'never.bin')
    expect(lunar.json<unknown[]>('EnableNewSnap', '1', 'tank/2')).toMatchObject([
      { number: 1, changed: true },
      { number: 2, changed: true },
    ])
    const [one, two] = [status('1'), status('2')]
    expect(one.asOf).toBe(two.asOf)
    expect([isFirst('t1'), isFirst('t2')]).toEqual([true, true])
    const blocked = lunar.refusedJson('ERR_IN_RELATIONSHIP', 'lun', 'delete', 'tank/t1', '--yes')
    expect(blocked.blockers).toEqual(['DcsSnap1'])
    await expectSoundFiles(disks)
  })

  test('a source that moved while disabled: refused with the ranges, then read through', { timeout: 90_000 }, async () => {
    await tank('copy')
    lunar.ok('DisableSnap', '1')
    expect(lunar.run('DisableSnap', '1', '--fail-if-unchanged').status).toBe(4)
    writeChanges('db', first, second)
    expect(lunar.refusedJson('ERR_LOST_PART', 'EnableSnap', '1').blockers).toEqual([0, MIB, 3 * MIB + CHUNK, SIZE - CHUNK].map(at => `${at}+${CHUNK}`))
    lunar.refused('ERR_LOST_PART', 'EnableSnap', '1', '--dry-run')
    lunar.ok('EnableSnap', '1', '--force=lost-part')
    expect(isSecond('copy')).toBe(true)
    expect(lunar.ok('EnableSnap', '1')).toContain('is enabled')
  })

  test('a stopped source update leaves a mixed volume, which is opened by force only', { timeout: 90_000 }, async () => {
    const disks = await tank('copy', 'other')
    writeChanges('db', first, second)
    lunar.ok('SetSourceUpdateDelay', FOR_EVER, '1')
    const { task } = lunar.json<{ task: number }>('StartSourceUpdate', '1')
    lunar.refused('ERR_RELATIONSHIP_STATE', 'StartImageUpdate', '2')
    lunar.refused('ERR_RELATIONSHIP_STATE', 'DisableSnap', '1')
    const waiter = lunar.start(['StartSourceUpdate', '1', '--wait', '--progress=json'])
    const ended = new Promise<number | null>(resolve => waiter.once('exit', resolve))
    let said = ''
    waiter.stderr!.on('data', (text: Buffer) => (said += text.toString()))
    await new Promise(resolve => waiter.stderr!.once('data', resolve)) // its first line of progress: it waits
    expect(lunar.json('StopSourceUpdate', '1')).toMatchObject({ changed: true, state: 'mixed' })
    expect(await ended).toBe(1)
    expect(said).toContain('[ERR_TASK_STOPPED]')
    expect(lunar.json<TaskView>('task', 'show', String(task)).state).toBe('stopped')

    expect(lunar.refused('ERR_MIXED', 'lun', 'read', 'tank/db', '--out', 'never.bin')).toContain('lunar StartSourceUpdate 1')
    lunar.refused('ERR_MIXED', 'lun', 'export', 'tank/db', 'never.img')
    lunar.refused('ERR_MIXED', 'lun', 'write', 'tank/db', lunar.write('b', Buffer.alloc(CHUNK)))
    lunar.refused('ERR_MIXED', 'EnableNewSnap', '2')
    const mixed = read('db', '--force=mixed')
    expect([mixed.equals(first), mixed.equals(second)]).toEqual([false, false])
    lunar.ok('SetSourceUpdateDelay', '0', '1')
    lunar.ok('StartSourceUpdate', '1', '--wait')
    expect([isFirst('db'), isFirst('copy'), isFirst('other')]).toEqual([true, true, true])
    await expectSoundFiles(disks)
  })

  test('tasks are paused, resumed and stopped; two LUNs change places', { timeout: 90_000 }, async () => {
    await tank('copy')
    lunar.ok('SetCompleteImageDelay', FOR_EVER, '1')
    const { task } = lunar.json<{ task: number }>('startcompleteimage', 'tank/1')
    expect(lunar.json<TaskView>('task', 'pause', `tank/${task}`).state).toBe('paused')
    expect(lunar.refused('ERR_TASK_STATE', 'StartCompleteImage', '1', '--wait').replace(/^warning.*\n/, '')).toContain(`lunar task resume ${task}`)
    expect(lunar.json<TaskView>('task', 'resume', String(task)).state).toBe('running')
    expect(lunar.json<TaskView>('task', 'stop', String(task)).state).toBe('stopped')
    lunar.refused('ERR_TASK_STATE', 'task', 'stop', String(task))
    expect(lunar.run('StopCompleteImage', '1', '--fail-if-unchanged').status).toBe(4)

    writeChanges('db', first, second)
    lunar.ok('lun', 'swap', 'tank/db', 'copy', '--dry-run')
    expect(isSecond('db')).toBe(true)
    lunar.ok('lun', 'swap', 'tank/db', 'copy')
    expect([isFirst('db'), isSecond('copy')]).toEqual([true, true])
    expect(lunar.json('snap', 'list')).toMatchObject([{ number: 1, source: 'copy', image: 'db' }])
    lunar.refused('ERR_USAGE', 'lun', 'swap', 'tank/db', 'db')
  })

  test('Ctrl-C ends the waiting, not the task', { timeout: 90_000 }, async () => {
    await tank('copy')
    lunar.ok('SetCompleteImageDelay', FOR_EVER, '1')
    const waiter = lunar.start(['StartCompleteImage', 'tank/1', '--wait', '--progress=json'])
    const ended = new Promise<number | null>(resolve => waiter.once('exit', resolve))
    await new Promise(resolve => waiter.stderr!.once('data', resolve)) // its first line of progress: it waits
    waiter.kill('SIGINT')
    expect(await ended).toBe(130)
    expect(status()).toMatchObject({ process: 'completeImage', progress: { kind: 'completeImage' } })
    lunar.ok('StopCompleteImage', 'tank/1') // else an owner would be left behind for it
  })
})

/** `first` with something else in 32 chunks on end, and in the last one. */
const third = Buffer.from(first)
stamped(2 * MIB, 3).copy(third, MIB)
stamped(CHUNK, 4).copy(third, SIZE - CHUNK)

/** What each process makes of db, which is `third`, and its image of `first`. */
const kills: readonly { kind: ProcessName; delay: string; start: string; db: Buffer; copy: Buffer }[] = [
  { kind: 'completeImage', delay: 'SetCompleteImageDelay', start: 'StartCompleteImage', db: third, copy: first },
  { kind: 'sourceUpdate', delay: 'SetSourceUpdateDelay', start: 'StartSourceUpdate', db: first, copy: first },
  { kind: 'imageUpdate', delay: 'SetImageUpdateDelay', start: 'StartImageUpdate', db: third, copy: third },
]

describe.each(kills)('the owner is killed in the middle of $kind', ({ kind, delay, start, db, copy }) => {
  test('the volumes read as they should at once, and the next command finishes it', { timeout: 90_000 }, async () => {
    const disks = await tank('copy')
    writeChanges('db', first, third)
    lunar.ok(delay, FOR_EVER, '1')
    const { task } = lunar.json<{ task: number }>(start, '1')
    for (let round = 0; round < 2; round++) {
      let before = status()
      while (before.progress === null || before.progress.done === 0) before = status()
      const { holder } = lunar.json<{ holder: { pid: number } | null }>('lock', 'show', 'tank')
      process.kill(holder!.pid, 'SIGKILL')
      await expectConsistentFiles(disks)
      // The next command: one chunk of each side is right, long before the process gets there.
      const at = String(SIZE - CHUNK)
      expect(read('db', '--offset', at).equals(db.subarray(SIZE - CHUNK))).toBe(true)
      expect(read('copy', '--offset', at).equals(copy.subarray(SIZE - CHUNK))).toBe(true)
      expect(lunar.json<TaskView>('task', 'show', String(task))).toMatchObject({ kind, state: 'running' })
    }
    lunar.ok(delay, '0', '1')
    lunar.ok(start, '1', '--wait')
    expect(lunar.json<TaskView>('task', 'wait', String(task))).toMatchObject({ kind, state: 'done' })
    expect(read('db').equals(db)).toBe(true)
    expect(read('copy').equals(copy)).toBe(true)
    expect(status()).toMatchObject({ process: null, state: 'enabled', ...(kind === 'completeImage' ? { completePercent: 100 } : { differentPercent: 0 }) })
    await expectSoundFiles(disks)
  })
})
