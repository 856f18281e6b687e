/** Schedules as they are run: real servers, one killed in the middle, and the commands beside them. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { PoolStatus, ScheduleDetail, ScheduleSummary } from '../../src/core/server/api.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { serve } from '../support/server.ts'

const HOUR = 3_600_000

describe('schedules', { timeout: 120_000 }, () => {
  const lunar = useProgram()
  const snapshots = (): string[] => lunar.ok('snap', 'list', '--pool', 'tank', '-H', '-o', 'image').trim().split('\n').filter(Boolean)
  const show = (name: string): ScheduleDetail => lunar.json<ScheduleDetail>('snap', 'schedule', 'show', `tank/${name}`)
  /** As if it was typed two hours ago. */
  const before = (...args: string[]): void => {
    const options = { node: ['--require', join(import.meta.dirname, '..', 'support', 'shift-clock.cjs')], env: { LUNAR_CLOCK_SHIFT: String(-2 * HOUR) } }
    const result = lunar.runWith(options, ...args)
    expect(result.status, result.stderr).toBe(0)
  }
  /** Once a year, an hour ago. */
  const anHourAgo = (): string => {
    const at = new Date(Date.now() - HOUR)
    return `${at.getUTCMinutes()} ${at.getUTCHours()} ${at.getUTCDate()} ${at.getUTCMonth() + 1} *`
  }

  test('what was missed is made up for once, however often the server is killed', async () => {
    const disks = ['d1.img', 'd2.img', 'd3.img']
    const cron = anHourAgo()
    before('pool', 'create', 'tank', ...disks, '--size', '64MiB')
    for (const name of ['db', 'web']) before('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid1')
    before('snap', 'schedule', 'create', 'tank/yearly', '--lun', 'db', '--lun', 'web', '--cron', cron, '--tz', 'UTC', '--keep-last', '5', '--read-only')
    expect(lunar.ok('snap', 'schedule', 'list', '--pool', 'tank', '-H', '-o', 'name,luns,cron,next,result')).toBe(
      `yearly\tdb,web\t${cron}\tno server\tnone yet\n`,
    )
    const missed = show('yearly').missed!
    expect(Date.parse(missed)).toBeLessThan(Date.now())
    expect(lunar.json<PoolStatus>('pool', 'status', 'tank').messages.join()).toContain('lunar serve tank')

    // Killed as soon as it serves: in the middle of the run, before it or after it.
    const killed = await serve(lunar, ['tank'], 0)
    expect(await killed.kill('SIGKILL')).toBe('SIGKILL')
    const server = await serve(lunar, ['tank'], 0)
    let now = show('yearly')
    for (let i = 0; i < 50 && now.last === null; i++) now = show('yearly')
    expect(now).toMatchObject({
      served: true,
      missed: null,
      failures: 0,
      last: { result: 'taken', reason: `makes up for what was missed since ${missed.replace('.000', '')}` },
    })
    expect(Date.parse(now.next!) - Date.parse(missed)).toBeGreaterThan(364 * 24 * HOUR)
    const taken = snapshots()
    expect(taken.map(name => name.slice(0, name.indexOf('-')))).toEqual(['db@yearly', 'web@yearly'])
    expect(await server.kill('SIGKILL')).toBe('SIGKILL')

    const last = await serve(lunar, ['tank'], 0)
    expect(show('yearly')).toMatchObject({ served: true, last: now.last, next: now.next })
    lunar.ok('lun', 'write', 'tank/db', lunar.write('bytes', Buffer.alloc(4096, 1)))
    // What is made while the server runs is known to it; a run by hand is its own.
    lunar.ok('snap', 'schedule', 'create', 'tank/other', '--lun', 'db', '--cron', '@yearly', '--keep-last', '1', '--skip-unchanged')
    expect(lunar.json<ScheduleSummary[]>('snap', 'schedule', 'list', '--pool', 'tank').map(({ name, next }) => [name, next === null])).toEqual([
      ['yearly', false],
      ['other', false],
    ])
    expect(lunar.ok('snap', 'schedule', 'run', 'tank/other')).toContain('1 taken, 0 deleted, 1 kept')
    expect(lunar.ok('snap', 'schedule', 'run', 'tank/other')).toContain('0 taken, 0 deleted, 1 kept')
    expect(await last.kill('SIGTERM')).toBe(0)
    expect(last.log()).not.toContain('schedule')
    expect(snapshots().filter(name => name.includes('@yearly'))).toEqual(taken)
    expect(show('yearly').served).toBe(false)
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
    expect(lunar.ok('metadata', 'dump', 'tank')).toMatch(/^schedule 1 0 \{.*"name":"yearly".*"result":"taken","luns":\[1,2\]\}$/m)
    await expectSoundFiles(disks.map(lunar.path))
  })

  test('commands say what they do, and do the same without a server', () => {
    lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/db', '--size', '8MiB', '--raid', 'raid1')
    const create = [
      'snap',
      'schedule',
      'create',
      'tank/hourly',
      '--lun',
      'tank/db',
      '--cron',
      '0 * * * *',
      '--zone',
      'Europe/Berlin',
      '--keep',
      'hourly=24',
      '--older-than',
      '90d',
    ]
    expect(lunar.ok(...create, '--dry-run')).toMatch(/^Would create schedule "hourly" of db, first at .*:00:00.000Z\n$/)
    expect(lunar.json('snap', 'schedule', 'list', '--pool', 'tank')).toEqual([])
    expect(lunar.run(...create).stderr).toContain('lunar serve tank')
    lunar.refused('ERR_EXISTS', ...create)
    lunar.refused('ERR_USAGE', 'snap', 'schedule', 'create', 'tank/x', '--lun', 'db', '--cron', '61 * * * *', '--keep-last', '3')
    lunar.refused('ERR_SCHEDULE_NOT_FOUND', 'snap', 'schedule', 'show', 'tank/x')
    expect(lunar.refused('ERR_BUSY', 'lun', 'delete', 'tank/db', '--yes')).toContain('lunar snap schedule delete hourly')

    expect(lunar.ok('snap', 'schedule', 'run', 'tank/hourly', '--dry-run')).toMatch(/^Would take snapshot "db@hourly-\d{8}T\d{6}Z"\n$/m)
    expect(snapshots()).toEqual([])
    lunar.ok('snap', 'create', ...['20200101T000000Z', '20200102T000000Z', '20200103T000000Z'].map(time => `tank/db@hourly-${time}`))
    // All four are of one hour: three would go.
    const refused = lunar.run('snap', 'schedule', 'run', 'tank/hourly')
    expect([refused.status, refused.stdout]).toEqual([5, expect.stringMatching(/^Took snapshot .*\n1 taken, 0 deleted, 0 kept\n$/)])
    expect(refused.stderr).toContain('ERR_TOO_MANY')
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(9)
    expect(lunar.ok('pool', 'status', 'tank')).toContain('lunar snap schedule run hourly --force=many')
    expect(lunar.ok('snap', 'schedule', 'show', 'tank/hourly')).toMatch(/^result: +unrotated\nreason: +ERR_TOO_MANY/m)

    expect(lunar.ok('snap', 'schedule', 'pause', 'tank/hourly')).toBe('Schedule "hourly" is paused\n')
    lunar.refused('ERR_UNCHANGED', 'snap', 'schedule', 'pause', 'tank/hourly', '--fail-if-unchanged')
    expect(lunar.ok('snap', 'schedule', 'list', '--pool', 'tank', '-H', '-o', 'name,next,result')).toBe('hourly\tpaused\tunrotated\n')
    expect(lunar.ok('snap', 'schedule', 'resume', 'tank/hourly')).toBe('Schedule "hourly" is running\n')
    expect(lunar.ok('snap', 'schedule', 'delete', 'tank/hourly')).toBe('Deleted schedule "hourly"; its snapshots stay\n')
    expect(snapshots()).toHaveLength(4)
    expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(0)
  })
})
