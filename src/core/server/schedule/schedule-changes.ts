/** The verbs of schedules. */
import type { Params, Result } from '../api.ts'
import type { EngineParts } from '../engine.ts'
import { rotationView } from '../rotation-view.ts'

export const scheduleVerbs = {
  'schedule.create': async ({ schedules, scheduleViews }: EngineParts, params: Params<'schedule.create'>): Promise<Result<'schedule.create'>> => {
    const { name, luns, cron, zone, keep, keepLast, olderThanMs, prefix, readOnly, catchUp, skipUnchanged, dryRun } = params
    const schedule = await schedules.create({
      name,
      luns,
      cron,
      rules: { keep: keep ?? {}, last: keepLast ?? 1, lastIsRule: keepLast !== undefined, olderThanMs, zone: zone ?? 'UTC' },
      prefix: prefix ?? name,
      readOnly: readOnly === true,
      catchUp: catchUp !== false,
      skipUnchanged: skipUnchanged === true,
      dryRun: dryRun === true,
    })
    return scheduleViews.detail(schedule)
  },

  'schedule.list': ({ schedules, scheduleViews }: EngineParts): Promise<Result<'schedule.list'>> =>
    Promise.all(schedules.all.map(schedule => scheduleViews.summary(schedule))),

  'schedule.show': ({ schedules, scheduleViews }: EngineParts, { schedule }: Params<'schedule.show'>): Promise<Result<'schedule.show'>> =>
    scheduleViews.detail(schedules.find(schedule)),

  'schedule.delete': async ({ schedules }: EngineParts, { schedule: name, dryRun }: Params<'schedule.delete'>): Promise<Result<'schedule.delete'>> => {
    await schedules.delete(schedules.find(name), dryRun === true)
    return { name }
  },

  'schedule.pause': async (
    { schedules, scheduleViews }: EngineParts,
    { schedule: name, dryRun }: Params<'schedule.pause'>,
  ): Promise<Result<'schedule.pause'>> => {
    const schedule = schedules.find(name)
    const changed = await schedules.pause(schedule, true, dryRun === true)
    return { ...(await scheduleViews.summary(schedule)), changed }
  },

  'schedule.resume': async (
    { schedules, scheduleViews }: EngineParts,
    { schedule: name, dryRun }: Params<'schedule.resume'>,
  ): Promise<Result<'schedule.resume'>> => {
    const schedule = schedules.find(name)
    const changed = await schedules.pause(schedule, false, dryRun === true)
    return { ...(await scheduleViews.summary(schedule)), changed }
  },

  'schedule.run': async (
    { schedules, scheduleRuns, processes }: EngineParts,
    { schedule: name, dryRun, forceMany, forceClock }: Params<'schedule.run'>,
  ): Promise<Result<'schedule.run'>> => {
    const { result, snapshots, rotations, refused } = await scheduleRuns.run(schedules.find(name), {
      dryRun: dryRun === true,
      forceMany: forceMany === true,
      forceClock: forceClock === true,
    })
    const view = rotationView(rotations, refused)
    if (!dryRun && view.deleted > 0) await processes.look()
    return { name, result, taken: [...snapshots], ...view, task: processes.numberOf('reclaim') }
  },
}
