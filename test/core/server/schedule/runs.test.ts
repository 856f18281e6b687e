/** Schedules in an engine whose clock only moves when the test says so: runs, catching up, skipping, failures, rotation, crashes. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Random } from '../../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { CrashExplorer } from '../../../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import { Tape } from '../../../../src/core/block/tape.ts'
import type { Params, Result, ScheduleDetail, Verb } from '../../../../src/core/server/api.ts'
import { clones, expectConsistent, makeSim, openSim, SimClock, stamped, type SimPool } from '../../../support/sim.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Whoever pauses for long waits until the test lets time pass. */
class HandClock extends SimClock {
  private waiting: { readonly until: number; readonly wake: () => void }[] = []
  private watchers: (() => void)[] = []

  override pause(ms = 0, signal?: AbortSignal): Promise<void> {
    if (ms < 1000) return super.pause()
    return new Promise(resolve => {
      const one = {
        until: this.monotonic + ms,
        wake: () => {
          this.waiting = this.waiting.filter(other => other !== one)
          resolve()
        },
      }
      if (signal?.aborted) return resolve()
      signal?.addEventListener('abort', one.wake, { once: true })
      this.waiting.push(one)
      for (const watcher of this.watchers.splice(0)) watcher()
    })
  }

  /** Somebody waits for a time to come: all that was due is done. */
  async quiet(): Promise<void> {
    if (this.waiting.length === 0) await new Promise<void>(resolve => this.watchers.push(resolve))
  }

  /** Time passes, a minute at most at once; the wall clock with it. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= MINUTE) {
      const step = Math.min(left, MINUTE)
      this.wall += step
      this.monotonic += step
      for (const { until, wake } of this.waiting) if (until <= this.monotonic) wake()
      await this.quiet()
    }
  }

  /** The wall clock is set. */
  async set(ms: number): Promise<void> {
    this.wall = ms
    await this.pass(MINUTE)
  }
}

let clock: HandClock
let disks: SimulatedDisk[]
let open: SimPool
let log: string[]
const START = Date.UTC(2026, 10, 21, 10, 30)
const at = (hour: number, minute = 0, day = 21): string => new Date(Date.UTC(2026, 10, day, hour, minute)).toISOString()

const call = async <V extends Verb>(verb: V, params: Params<V>): Promise<Result<V>> => (await open.engine.call(verb, params)).data
const names = (): string[] => open.parts.trees.list().map(({ name }) => name)
const show = (schedule = 'auto'): Promise<ScheduleDetail> => call('schedule.show', { schedule })
const create = (more: Partial<Params<'schedule.create'>> = {}): Promise<ScheduleDetail> =>
  call('schedule.create', { name: 'auto', luns: ['db'], cron: '0 * * * *', keep: { hourly: 24 }, ...more })
const write = async (lun: string, tag: number): Promise<void> => {
  const device = await open.engine.openLun(lun)
  await device.write(0, stamped(4 * KIB, tag))
  await device.close()
}
const reopen = async (serve = true): Promise<void> => {
  open = await openSim(disks, { clock })
  if (serve) open.engine.startSchedules(line => log.push(line))
}
/** The server has ended, and one begins after a while. */
const restart = async (afterMs: number): Promise<void> => {
  await open.close()
  clock.wall += afterMs
  clock.monotonic += afterMs
  await reopen()
}

beforeEach(async () => {
  log = []
  clock = new HandClock()
  clock.wall = START
  disks = await makeSim({ disks: 3 })
  await reopen(false)
  for (const name of ['db', 'web']) await open.create(name, 'raid1', 2 * MIB)
  // What was written last was written now.
  await open.close()
  await reopen(false)
})
afterEach(async () => {
  await open.close()
})

test('runs when it is due, in a server only, and says when it runs next', async () => {
  await create({ luns: ['db', 'web'], readOnly: true })
  expect(await show()).toMatchObject({ served: false, next: null, last: null, upcoming: [at(11), at(12), at(13), at(14), at(15)], missed: null })
  expect((await call('pool.status', {})).messages).toEqual([expect.stringContaining('Nobody runs schedule auto')])
  clock.wall += DAY
  clock.monotonic += DAY
  expect(await show()).toMatchObject({ missed: at(11), last: null })
  clock.wall -= DAY
  clock.monotonic -= DAY

  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  expect(await show()).toMatchObject({ served: true, next: at(11) })
  await clock.pass(29 * MINUTE)
  expect(names()).toEqual([])
  await clock.pass(MINUTE)
  expect(names()).toEqual(['db@auto-20261121T110000Z', 'web@auto-20261121T110000Z'])
  const [a, b] = open.parts.trees.list()
  expect([a!.isWritable, a!.record.createdMs === b!.record.createdMs]).toEqual([false, true])
  expect(await show()).toMatchObject({ next: at(12), last: { time: at(11), result: 'taken', reason: null, deleted: 0 }, taken: at(11), failures: 0 })
  await clock.pass(3 * HOUR)
  expect(names()).toHaveLength(8)
  expect((await call('pool.status', {})).messages).toEqual([])
  expect(log[0]).toBe('schedule auto took db@auto-20261121T110000Z, web@auto-20261121T110000Z')
  expect(log).toHaveLength(4)
  expect((await open.events()).find(({ event, object }) => event === 'snapshot.created' && object.startsWith('web@'))?.message).toBe(
    'read-only, by schedule auto',
  )
})

test('rotates its own snapshots only', async () => {
  await call('snap.create', { snapshots: ['db@auto', 'db@auto-by-hand', 'db@auto-x-20261121T090000Z'] })
  await create({ keep: {}, keepLast: 3 })
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  await clock.pass(5 * HOUR)
  expect(names().filter(name => /-\d{8}T/.test(name.slice('db@auto'.length)) && !name.includes('auto-x'))).toEqual([
    'db@auto-20261121T130000Z',
    'db@auto-20261121T140000Z',
    'db@auto-20261121T150000Z',
  ])
  expect(names()).toHaveLength(6)
  expect((await show()).last).toMatchObject({ result: 'taken', deleted: 1 })
  expect((await open.events()).findLast(({ event }) => event === 'snapshot.deleted')).toMatchObject({ message: 'rotation by schedule auto' })
})

test.each([
  { catchUp: true, result: 'taken', count: 1 },
  { catchUp: false, result: 'missed', count: 0 },
] as const)('what was missed without a server is one run, or none ($result)', async ({ catchUp, result, count }) => {
  await create({ catchUp })
  await restart(DAY)
  await clock.quiet()
  expect(names()).toHaveLength(count)
  expect(await show()).toMatchObject({ missed: null, next: at(11, 0, 22), last: { result, reason: expect.stringContaining('2026-11-21T11:00:00Z') as string } })
  expect(await open.count('schedule.missed')).toBe(1 - count)
  await restart(10 * MINUTE)
  await clock.quiet()
  expect(names()).toHaveLength(count)
  await clock.pass(20 * MINUTE)
  expect(names()).toHaveLength(count + 1)
})

test('what it takes and that it ran are one commit: a crash at any moment, and the next server makes up for it once', { timeout: 60_000 }, async () => {
  await create({ luns: ['db', 'web'] })
  await open.close()
  clock.wall += DAY
  const tape = new Tape(disks)
  await reopen()
  await clock.quiet()
  tape.stop()
  await open.close()
  const explorer = new CrashExplorer(tape)
  const random = new Random(7)
  let before = 0
  let after = 0
  for (let i = 1; i <= 16; i++) {
    explorer.at(Math.floor((tape.length * i) / 16))
    disks = [...explorer.state(random).disks]
    await reopen(false)
    const taken = names().length
    const { settledMs } = open.parts.schedules.find('auto').record
    expect([taken, settledMs]).toEqual(taken === 0 ? [0, START] : [2, START + DAY])
    if (taken === 0) before++
    else after++
    open.engine.startSchedules(line => log.push(line))
    await clock.quiet()
    expect(names()).toHaveLength(2)
    await open.close()
    await expectConsistent(disks)
  }
  expect(Math.min(before, after)).toBeGreaterThan(0)
  await reopen(false)
})

test('a clock that jumps: one run forward, none back, and rotation refuses to go by it', async () => {
  await create({ keep: {}, olderThanMs: 2 * HOUR })
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  await clock.pass(2 * HOUR)
  expect(names()).toHaveLength(2)
  await clock.set(clock.wall + 3650 * DAY)
  expect(names()).toHaveLength(3)
  expect(await show()).toMatchObject({ failures: 1, last: { result: 'unrotated', reason: expect.stringContaining('ERR_CLOCK') as string } })
  expect(await call('pool.status', {})).toMatchObject({ health: 'degraded', schedules: [{ name: 'auto' }] })
  expect(log.filter(line => line.includes('ERR'))).toEqual([expect.stringContaining('ERR_CLOCK')])

  // Back where it was: nothing that ran runs again, and nothing waits for ten years.
  await clock.set(START + 2 * HOUR)
  expect(names()).toHaveLength(3)
  expect(await open.count('schedule.clock')).toBe(1)
  await call('snap.delete', { snapshots: [names().at(-1)!] })
  await clock.pass(HOUR)
  expect(names()).toEqual(['db@auto-20261121T110000Z', 'db@auto-20261121T120000Z', 'db@auto-20261121T130000Z'])
  // What a network does to clocks is no jump.
  await clock.set(clock.wall - 90_000)
  await clock.pass(5 * MINUTE)
  expect(await open.count('schedule.clock')).toBe(1)
  expect(names()).toHaveLength(3)
})

test('somebody who says that the clock is right is believed from then on', async () => {
  await create({ keep: {}, olderThanMs: 2 * HOUR })
  await call('schedule.run', { schedule: 'auto' })
  await open.close()
  clock.wall += 100 * DAY
  await reopen()
  await clock.quiet()
  expect((await show()).last).toMatchObject({ result: 'unrotated' })
  await clock.pass(MINUTE)
  expect(await call('schedule.run', { schedule: 'auto', forceClock: true })).toMatchObject({ result: 'taken', deleted: 1, refused: null })
  await clock.pass(HOUR)
  expect(await show()).toMatchObject({ failures: 0, last: { result: 'taken' } })
})

test('skips when nothing was written, which the maps say', async () => {
  await create({ luns: ['db', 'web'], skipUnchanged: true, keep: {}, olderThanMs: 3 * HOUR })
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  await clock.pass(HOUR)
  expect(names()).toHaveLength(2)
  const reads = (): number => disks.reduce((sum, { counters }) => sum + counters.reads, 0)
  const before = reads()
  // Longer than any rule looks back: the snapshots are old because nothing changed, not because the clock jumped.
  await clock.pass(4 * HOUR)
  expect(reads()).toBe(before)
  expect(names()).toHaveLength(2)
  expect(await show()).toMatchObject({ failures: 0, taken: at(11), last: { result: 'unchanged', time: at(15) } })
  expect(await open.count('schedule.unchanged')).toBe(1)

  // One volume of the group changed: all of it is taken, again of one instant. A write that is still held counts.
  await write('web', 1)
  await clock.pass(HOUR)
  expect(names().slice(-2)).toEqual(['db@auto-20261121T160000Z', 'web@auto-20261121T160000Z'])
  await clock.pass(HOUR)
  expect((await show()).last).toMatchObject({ result: 'unchanged' })
  // Also what a newer snapshot of somebody else preserved, after a restart, and a size.
  await call('snap.create', { snapshots: ['db@by-hand'] })
  await write('db', 2)
  await restart(HOUR)
  await clock.quiet()
  expect(await show()).toMatchObject({ last: { result: 'taken', time: at(18, 30) } })
  await restart(HOUR)
  await clock.quiet()
  expect(await show()).toMatchObject({ last: { result: 'unchanged', time: at(19, 30) } })
  await call('lun.resize', { lun: 'db', size: 3 * MIB })
  await clock.pass(30 * MINUTE)
  expect(await show()).toMatchObject({ last: { result: 'taken', time: at(20) } })
  // Its last snapshots are gone: there is nothing to be unchanged since.
  await call('snap.delete', { snapshots: names().filter(name => name.includes('@auto-')) })
  await clock.pass(HOUR)
  expect(await show()).toMatchObject({ last: { result: 'taken', time: at(21) } })
})

test('an error is recorded and told, the schedule goes on, and others too', async () => {
  await create({ luns: ['db'] })
  await create({ name: 'other', luns: ['web'] })
  await call('snap.configure', { source: 'web', image: 'db' })
  await call('snap.enable', { relationships: ['1'] })
  await call('snap.disable', { relationships: ['1'] })
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  await clock.pass(2 * HOUR)
  expect(names()).toHaveLength(2)
  expect(await show()).toMatchObject({
    failures: 2,
    taken: null,
    last: { result: 'failed', time: at(12), reason: expect.stringContaining('ERR_IMAGE_INCOMPLETE') as string },
  })
  expect(await show('other')).toMatchObject({ failures: 0, last: { result: 'taken' } })
  expect(await open.count('schedule.failed', 'auto')).toBe(2)
  expect(log.filter(line => line.includes('ERR_IMAGE_INCOMPLETE'))).toHaveLength(2)
  const status = await call('pool.status', {})
  expect(status).toMatchObject({ health: 'degraded', schedules: [{ name: 'auto', problem: expect.stringContaining('ERR_IMAGE_INCOMPLETE') as string }] })
  expect(status.messages.join()).toContain('lunar snap schedule show auto')
  await call('snap.enable', { relationships: ['1'], fresh: true })
  await clock.pass(HOUR)
  expect(await show()).toMatchObject({ failures: 0, last: { result: 'taken' } })
  expect((await call('pool.status', {})).health).toBe('healthy')
})

test('more than half is not deleted, unless that is meant', async () => {
  await create({ keep: { hourly: 24 } })
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  await clock.pass(6 * HOUR)
  await call('schedule.delete', { schedule: 'auto' })
  await create({ keep: {}, keepLast: 2 })
  await clock.pass(HOUR)
  expect(names()).toHaveLength(7)
  expect((await show()).last).toMatchObject({ result: 'unrotated', reason: expect.stringContaining('ERR_TOO_MANY') as string })
  expect(await call('schedule.run', { schedule: 'auto', forceMany: true, dryRun: true })).toMatchObject({ result: 'taken', deleted: 5, refused: null })
  expect(names()).toHaveLength(7)
  await clock.pass(MINUTE)
  expect(await call('schedule.run', { schedule: 'auto', forceMany: true })).toMatchObject({ deleted: 6 })
  expect(names()).toHaveLength(2)
})

test('a run of it and a rotation beside it delete each snapshot once', async () => {
  await create({ keep: {}, keepLast: 3 })
  for (let i = 0; i < 5; i++) {
    clock.wall += HOUR
    clock.monotonic += HOUR
    await call('snap.create', { snapshots: [`db@auto-2026112${i}T000000Z`] })
  }
  const rotate = { volumes: ['db'], keepLast: 3, only: ['auto-*'] }
  const [ran, first, second] = await Promise.all([call('schedule.run', { schedule: 'auto' }), call('snap.rotate', rotate), call('snap.rotate', rotate)])
  expect(ran.deleted + first.deleted + second.deleted).toBe(3)
  expect(names()).toHaveLength(3)
  expect(names()).toContain(ran.taken[0])
})

test('a name that somebody else has, or that it gave in the same second, is that of the next', async () => {
  await create({ luns: ['db', 'web'], skipUnchanged: true, keep: {}, keepLast: 9 })
  await call('snap.create', { snapshots: ['web@auto-20261121T103000Z'] })
  const run = (): Promise<Result<'schedule.run'>> => call('schedule.run', { schedule: 'auto' })
  expect((await run()).taken).toEqual(['db@auto-20261121T103001Z', 'web@auto-20261121T103001Z'])
  expect(await run()).toMatchObject({ result: 'unchanged', taken: [] })
  await write('db', 1)
  expect((await run()).taken[0]).toBe('db@auto-20261121T103002Z')
})

test('pauses, resumes without making up, and goes while it is asked to run', async () => {
  await create()
  open.engine.startSchedules(line => log.push(line))
  await clock.quiet()
  expect(await call('schedule.pause', { schedule: 'auto', dryRun: true })).toMatchObject({ changed: true, paused: false })
  expect(await call('schedule.pause', { schedule: 'auto' })).toMatchObject({ changed: true, paused: true, next: null })
  expect(await call('schedule.pause', { schedule: 'auto' })).toMatchObject({ changed: false })
  await create({ name: 'other', luns: ['web'] })
  await clock.pass(3 * HOUR)
  expect(names()).toHaveLength(3)
  await call('schedule.resume', { schedule: 'auto' })
  await clock.pass(MINUTE)
  expect(names()).toHaveLength(3)
  await clock.pass(HOUR)
  expect(names()).toHaveLength(5)
  const [ran, gone] = await Promise.all([call('schedule.run', { schedule: 'auto' }), call('schedule.delete', { schedule: 'auto' })])
  expect([ran.result, gone.name]).toEqual(['taken', 'auto'])
  await expect(call('schedule.run', { schedule: 'auto' })).rejects.toMatchObject({ code: 'ERR_SCHEDULE_NOT_FOUND' })
  await clock.pass(HOUR)
  // The hour that it ran twice in keeps one.
  expect(names()).toHaveLength(6)
})

test('follows its LUNs through new names and swaps, and keeps them', async () => {
  await create()
  await call('lun.rename', { lun: 'db', name: 'db2' })
  expect((await show()).luns).toEqual(['db2'])
  await call('lun.swap', { lun: 'db2', with: 'web' })
  expect((await show()).luns).toEqual(['db2'])
  await expect(call('lun.delete', { lun: 'db2' })).rejects.toMatchObject({ code: 'ERR_BUSY', blockers: ['schedule auto'] })
  await call('lun.delete', { lun: 'web' })
  expect(await call('metadata.check', {})).toMatchObject({ ok: true })
  await restart(HOUR)
  await clock.quiet()
  expect(names()).toEqual(['db2@auto-20261121T113000Z'])
  await expectConsistent(clones(disks))
})

test.each<[string, Partial<Params<'schedule.create'>>, string]>([
  ['a name that is taken', {}, 'ERR_EXISTS'],
  ['a bad name', { name: 'a b' }, 'ERR_BAD_NAME'],
  ['a LUN that is not there', { name: 'x', luns: ['nothing'] }, 'ERR_LUN_NOT_FOUND'],
  ['no LUN', { name: 'x', luns: [] }, 'ERR_USAGE'],
  ['a LUN twice', { name: 'x', luns: ['web', 'web'] }, 'ERR_USAGE'],
  ['the names of another one', { name: 'x', luns: ['web', 'db'], prefix: 'auto' }, 'ERR_EXISTS'],
  ['a prefix that is no name', { name: 'x', prefix: '-' }, 'ERR_BAD_NAME'],
  ['a prefix that is too long', { name: 'x', prefix: 'x'.repeat(47) }, 'ERR_USAGE'],
  ['no rule', { name: 'x', keep: {} }, 'ERR_USAGE'],
  ['a rule of nothing', { name: 'x', keepLast: 0 }, 'ERR_USAGE'],
  ['no time', { name: 'x', cron: '0 25 * * *' }, 'ERR_USAGE'],
  ['a long expression', { name: 'x', cron: `${Array.from({ length: 40 }, (_, i) => i).join(',')} * * * *` }, 'ERR_USAGE'],
  ['no zone', { name: 'x', zone: 'Mars/Olympus' }, 'ERR_USAGE'],
])('%s is refused', async (_, more, code) => {
  await create()
  const { generation } = open.pool.metadata
  await expect(create(more)).rejects.toMatchObject({ code })
  expect(open.pool.metadata.generation).toBe(generation)
  expect(await create({ name: 'y', prefix: 'z', dryRun: true })).toMatchObject({ name: 'y', prefix: 'z' })
  expect(await call('schedule.list', {})).toHaveLength(1)
})
