/** What commands show of schedules. */
import { isoTime, isoTimeOrNone, type Clock } from '../../base/clock.ts'
import { LunarError } from '../../base/errors.ts'
import { SCHEDULE_LAST_IS_RULE } from '../../../metadata/records.ts'
import type { ScheduleDetail, ScheduleSummary } from '../api.ts'
import { missedSince, upcoming } from './plan.ts'
import type { Schedule } from './schedule.ts'
import type { Schedules } from './schedules.ts'
import type { RunTimes } from './times.ts'

/** Times that `show` tells of. */
const UPCOMING = 5

export class ScheduleViews {
  constructor(
    private readonly clock: Clock,
    private readonly schedules: Schedules,
    private readonly isServed: () => boolean,
  ) {}

  async summary(schedule: Schedule): Promise<ScheduleSummary> {
    const { times, problem } = await this.read(schedule)
    return this.summaryOf(schedule, times, problem)
  }

  async detail(schedule: Schedule): Promise<ScheduleDetail> {
    const { times, problem } = await this.read(schedule)
    const { record, rules, isPaused } = schedule
    const now = this.clock.wallMs()
    const missed = times && !isPaused ? missedSince({ times, settledMs: record.settledMs, catchesUp: schedule.catchesUp }, now) : undefined
    return {
      ...this.summaryOf(schedule, times, problem),
      id: record.scheduleId,
      created: isoTime(record.createdMs),
      prefix: record.prefix,
      readOnly: schedule.isReadOnly,
      catchUp: schedule.catchesUp,
      skipUnchanged: schedule.skipsUnchanged,
      keep: rules.keep,
      keepLast: (record.flags & SCHEDULE_LAST_IS_RULE) === 0 ? null : record.keepLast,
      olderThanMs: rules.olderThanMs ?? null,
      taken: isoTimeOrNone(record.takenMs),
      upcoming: times && !isPaused ? upcoming(times, Math.max(now, record.settledMs), UPCOMING).map(isoTime) : [],
      missed: missed === undefined ? null : isoTime(missed),
    }
  }

  private summaryOf(schedule: Schedule, times: RunTimes | undefined, problem: string | null): ScheduleSummary {
    const { number, name, record, isPaused, result } = schedule
    const served = this.isServed()
    const next = served && !isPaused ? times?.after(record.settledMs) : undefined
    return {
      number,
      name,
      luns: this.schedules.lunsOf(schedule).map(lun => lun.name),
      cron: record.cron,
      zone: record.zone,
      paused: isPaused,
      served,
      next: next === undefined ? null : isoTime(next),
      last: result === 'none' ? null : { time: isoTime(record.lastMs), result, reason: record.reason === '' ? null : record.reason, deleted: record.deleted },
      failures: record.failures,
      problem,
    }
  }

  private async read(schedule: Schedule): Promise<{ readonly times: RunTimes | undefined; readonly problem: string | null }> {
    try {
      return { times: await this.schedules.times(schedule), problem: null }
    } catch (error) {
      if (!(error instanceof LunarError)) throw error
      return { times: undefined, problem: `${error.message}: ${error.why}` }
    }
  }
}
