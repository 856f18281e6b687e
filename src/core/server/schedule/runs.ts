/** A run of a schedule: snapshots of one instant, then rotation, and what is recorded of them. */
import { timeStamp } from '../../base/clock.ts'
import { isCode, LunarError } from '../../base/errors.ts'
import { fitting } from '../../../metadata/struct.ts'
import { SCHEDULE_TEXTS, scheduleResults, type ScheduleRecord, type ScheduleResultName } from '../../../metadata/records.ts'
import type { Pool } from '../../pool/pool.ts'
import type { Snapshot } from '../../snapshot/tree/snapshot.ts'
import { matches, type Rotations, type Rotator } from '../../snapshot/tree/rotator.ts'
import type { Trees } from '../../snapshot/tree/trees.ts'
import type { Schedule } from './schedule.ts'
import type { Schedules } from './schedules.ts'

export interface RunOptions {
  readonly dryRun?: boolean
  readonly forceMany?: boolean
  readonly forceClock?: boolean
  /** Why it runs when it does, for the record. */
  readonly note?: string
}

export interface Ran {
  readonly result: 'taken' | 'unchanged'
  /** Names of what was taken. */
  readonly snapshots: readonly string[]
  readonly rotations: readonly Rotations[]
  /** Why nothing was rotated; in a dry run, why nothing would be. */
  readonly refused: LunarError | undefined
}

export class ScheduleRuns {
  constructor(
    private readonly pool: Pool,
    private readonly trees: Trees,
    private readonly rotator: Rotator,
    private readonly schedules: Schedules,
  ) {}

  /**
   * What it takes and that it has run are one commit: after a crash it has done both or neither. What goes wrong is recorded.
   * @throws LunarError as `Trees.create` does; then nothing was taken
   */
  run(schedule: Schedule, options: RunOptions = {}): Promise<Ran> {
    return schedule.turns.run(async () => {
      this.schedules.checkKept(schedule)
      const taken = await this.take(schedule, options)
      return { ...taken, ...(await this.rotate(schedule, taken.result, options)) }
    })
  }

  /** Says of runs that they are settled without any of them having run. */
  settle(schedule: Schedule, result: 'missed' | undefined, reason: string): Promise<void> {
    return schedule.turns.run(async () => {
      const now = this.pool.options.clock.wallMs()
      const last = result ? ended(result, now, reason) : {}
      await this.schedules.commit(schedule, { ...last, settledMs: now }, batch => {
        this.pool.event(batch, result ? 'schedule.missed' : 'schedule.clock', schedule.name, reason)
      })
    })
  }

  private async take(schedule: Schedule, { dryRun = false, note = '' }: RunOptions): Promise<Pick<Ran, 'result' | 'snapshots'>> {
    const now = this.pool.options.clock.wallMs()
    try {
      const luns = this.schedules.lunsOf(schedule).map(({ name }) => name)
      const made = await this.trees.create({
        names: () => this.newNames(schedule, luns, now),
        readOnly: schedule.isReadOnly,
        why: `by schedule ${schedule.name}`,
        dryRun,
        skip: () => (schedule.skipsUnchanged ? this.isUnchanged(schedule, luns) : Promise.resolve(false)),
        together: batch => this.schedules.put(schedule, { ...ended('taken', now, note), takenMs: now, failures: 0 }, batch),
      })
      if (made.length > 0) return { result: 'taken', snapshots: made.map(({ name }) => name) }
      if (!dryRun) await this.noteUnchanged(schedule, now)
      return { result: 'unchanged', snapshots: [] }
    } catch (error) {
      if (!dryRun) await this.noteFailure(schedule, 'failed', now, error)
      throw error
    }
  }

  /** A name has whole seconds: where somebody else has that one, as a line of cron may, it is the next. */
  private newNames({ record: { prefix } }: Schedule, luns: readonly string[], now: number): string[] {
    const taken = new Set(luns.flatMap(lun => this.trees.directOf(lun).map(({ record }) => record.name)))
    let ms = now
    while (taken.has(`${prefix}-${timeStamp(ms)}`)) ms += 1000
    return luns.map(lun => `${lun}@${prefix}-${timeStamp(ms)}`)
  }

  /** Nothing was written to any of the volumes since the schedule last took a snapshot of them. */
  private async isUnchanged(schedule: Schedule, luns: readonly string[]): Promise<boolean> {
    for (const lun of luns) {
      const newest = this.newestOf(schedule, lun)
      if (!newest || !(await this.trees.isUnchangedSince(newest))) return false
    }
    return true
  }

  private newestOf(schedule: Schedule, lun: string): Snapshot | undefined {
    return this.trees.directOf(lun).findLast(({ record }) => record.base === 0 && matches(record.name, [schedule.pattern]))
  }

  /** An event only for the first of some: nothing happens, and it would push out what does. */
  private async noteUnchanged(schedule: Schedule, now: number): Promise<void> {
    const isFirst = schedule.result !== 'unchanged'
    await this.schedules.commit(schedule, { ...ended('unchanged', now, 'nothing was written since the last one'), failures: 0 }, batch => {
      if (isFirst) this.pool.event(batch, 'schedule.unchanged', schedule.name, 'nothing was written since its last snapshot')
    })
  }

  private async rotate(schedule: Schedule, result: Ran['result'], options: RunOptions): Promise<Pick<Ran, 'rotations' | 'refused'>> {
    const { dryRun = false, forceMany = false, forceClock = false } = options
    const rotation = { rules: schedule.rules, only: [schedule.pattern], unchanged: result === 'unchanged', why: `rotation by schedule ${schedule.name}` }
    const luns = this.schedules.lunsOf(schedule).map(({ name }) => name)
    try {
      const done = await this.rotator.rotate(luns, { ...rotation, dryRun, forceMany, forceClock })
      const deleted = done.rotations.reduce((sum, { verdicts }) => sum + verdicts.filter(({ keep }) => !keep).length, 0)
      if (deleted > 0 && !dryRun) await this.schedules.commit(schedule, { deleted })
      return { refused: done.refused, rotations: done.rotations.map(rotation => ownOf(schedule, rotation)) }
    } catch (error) {
      if (dryRun) throw error
      await this.noteFailure(schedule, 'unrotated', schedule.record.lastMs, error)
      if (!(error instanceof LunarError) || isCode(error, 'ERR_BUG')) throw error
      return { rotations: [], refused: error }
    }
  }

  private async noteFailure(schedule: Schedule, result: 'failed' | 'unrotated', now: number, error: unknown): Promise<void> {
    const reason = failureText(error)
    const failures = schedule.record.failures + 1
    await this.schedules.commit(schedule, { ...ended(result, now, reason), failures }, batch => {
      this.pool.event(batch, result === 'failed' ? 'schedule.failed' : 'schedule.unrotated', schedule.name, reason)
    })
  }
}

/** Without snapshots that are not of the schedule. */
const ownOf = (schedule: Schedule, { volume, verdicts }: Rotations): Rotations => ({
  volume,
  verdicts: verdicts.filter(({ snapshot }) => matches(snapshot.one.record.name, [schedule.pattern])),
})

/** What a record says of a run. */
const ended = (result: ScheduleResultName, now: number, reason: string): Partial<ScheduleRecord> => ({
  result: scheduleResults.indexOf(result),
  settledMs: now,
  lastMs: now,
  deleted: 0,
  reason: fitting(reason, SCHEDULE_TEXTS.reason),
})

/** `ERR_POOL_FULL: Cannot …: why`. */
export function failureText(error: unknown): string {
  if (!(error instanceof LunarError)) return String(error)
  return [error.code, error.message, error.why].filter(part => part !== '').join(': ')
}
