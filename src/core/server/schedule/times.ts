/** When schedules run: cron expressions in a time zone, read by a library that is loaded when the first one is. */
import { LunarError } from '../../base/errors.ts'

export interface RunTimes {
  /** The first run after an instant; undefined when there is none. Milliseconds since 1970. */
  after(ms: number): number | undefined
}

/** @throws LunarError `ERR_USAGE` for what is no expression, no time zone, or never comes */
export type ReadTimes = (cron: string, zone: string) => RunTimes

const nicknames = /^@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)$/

/**
 * What `crontab(5)` understands, and `L`, `W` and `#`. Where a clock is put forward, a time of day that is skipped comes at the end of the
 * gap; where it is put back, a time of day comes once. `*` and steps follow the hours that pass.
 */
export async function loadTimes(): Promise<ReadTimes> {
  const { Cron } = await import('croner')
  return (cron, zone) => {
    const refuse = (why: string): LunarError =>
      new LunarError('ERR_USAGE', `Cannot run a schedule at "${cron}"`, { why, fix: 'write minute, hour, day, month and weekday: --cron "0 * * * *"' })
    if (!nicknames.test(cron) && !/^\S+(?:\s+\S+){4}$/.test(cron)) throw refuse('it has not five fields, and is not like @daily')
    try {
      new Intl.DateTimeFormat('en', { timeZone: zone })
    } catch {
      throw new LunarError('ERR_USAGE', `Cannot run a schedule in time zone "${zone}"`, {
        why: 'there is no such zone',
        fix: 'name one like Europe/Berlin, or UTC',
      })
    }
    const read = (): InstanceType<typeof Cron> => {
      try {
        return new Cron(cron, { timezone: zone, mode: '5-part', fixedTimeRule: 'no-wildcard', paused: true })
      } catch (error) {
        throw refuse(error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error))
      }
    }
    const pattern = read()
    const after = (ms: number): number | undefined => pattern.nextRun(new Date(ms))?.getTime()
    if (after(0) === undefined) throw refuse('no day is like that')
    return { after }
  }
}
