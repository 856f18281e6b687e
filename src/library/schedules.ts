import type { Params, Result, ScheduleDetail, ScheduleRun, ScheduleSummary } from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'

/** `cron` and `zone` say when; `keep`, `keepLast` and `olderThanMs` what stays. */
export type NewSchedule = Omit<Params<'schedule.create'>, 'name' | 'luns' | 'dryRun'>

export interface RunScheduleOptions extends ChangeOptions {
  /** Rotates although more than half would go. */
  readonly forceMany?: boolean
  /** The clock is right, although it looks as if it had jumped. */
  readonly forceClock?: boolean
}

/** The schedules of a pool: snapshots that its server takes and rotates. Each call with a name throws LunarError `ERR_SCHEDULE_NOT_FOUND` when there is none. */
export class Schedules {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /**
   * Snapshots of LUNs at one instant, each time the cron expression says.
   *
   * @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_USAGE` for a cron expression, a zone or rules that cannot be used, `ERR_LUN_NOT_FOUND`
   */
  create(name: string, luns: string | readonly string[], spec: NewSchedule, options?: ChangeOptions): Promise<ScheduleDetail> {
    return this.asker.change('schedule.create', { ...spec, name, luns: typeof luns === 'string' ? [luns] : [...luns] }, options)
  }

  list(options?: CallOptions): Promise<ScheduleSummary[]> {
    return this.asker.ask('schedule.list', {}, options)
  }

  show(schedule: string, options?: CallOptions): Promise<ScheduleDetail> {
    return this.asker.ask('schedule.show', { schedule }, options)
  }

  /** Its snapshots stay. */
  delete(schedule: string, options?: ChangeOptions): Promise<Result<'schedule.delete'>> {
    return this.asker.change('schedule.delete', { schedule }, options)
  }

  pause(schedule: string, options?: ChangeOptions): Promise<Result<'schedule.pause'>> {
    return this.asker.change('schedule.pause', { schedule }, options)
  }

  /** What was due meanwhile is not made up for. */
  resume(schedule: string, options?: ChangeOptions): Promise<Result<'schedule.resume'>> {
    return this.asker.change('schedule.resume', { schedule }, options)
  }

  /** Runs it now. `refused` says why its snapshots were not rotated, if so. @throws LunarError as `Snapshots.create` does; then nothing was taken */
  run(schedule: string, options: RunScheduleOptions = {}): Promise<ScheduleRun> {
    const { forceMany = false, forceClock = false, ...rest } = options
    return this.asker.change('schedule.run', { schedule, forceMany, forceClock }, rest)
  }
}
