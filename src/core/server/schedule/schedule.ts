import { Mutex } from '../../base/mutex.ts'
import {
  SCHEDULE_LAST_IS_RULE,
  SCHEDULE_NO_CATCH_UP,
  SCHEDULE_PAUSED,
  SCHEDULE_READ_ONLY,
  SCHEDULE_SKIP_UNCHANGED,
  scheduleResults,
  type ScheduleRecord,
  type ScheduleResultName,
} from '../../../metadata/records.ts'
import { spanNames, type RotationRules, type Span } from '../../snapshot/tree/rotation.ts'

/** A schedule as its record says. */
export class Schedule {
  /** Runs of it come one after the other, and it does not go while one is under way. */
  readonly turns = new Mutex()

  constructor(
    readonly number: number,
    public record: ScheduleRecord,
  ) {}

  get name(): string {
    return this.record.name
  }
  /** Numbers of its LUNs. */
  get luns(): number[] {
    return this.record.luns.map(({ lun }) => lun)
  }
  get isPaused(): boolean {
    return this.has(SCHEDULE_PAUSED)
  }
  get isReadOnly(): boolean {
    return this.has(SCHEDULE_READ_ONLY)
  }
  get catchesUp(): boolean {
    return !this.has(SCHEDULE_NO_CATCH_UP)
  }
  get skipsUnchanged(): boolean {
    return this.has(SCHEDULE_SKIP_UNCHANGED)
  }
  get result(): ScheduleResultName {
    return scheduleResults[this.record.result] ?? 'none'
  }

  get rules(): RotationRules {
    const { keepLast, olderThanMs, zone } = this.record
    const keep: Partial<Record<Span, number>> = {}
    for (const span of spanNames) if (this.record[span] > 0) keep[span] = this.record[span]
    return { keep, last: keepLast, lastIsRule: this.has(SCHEDULE_LAST_IS_RULE), olderThanMs: olderThanMs === 0 ? undefined : olderThanMs, zone }
  }

  /** What its snapshots are called, as a pattern of rotation: prefix, hyphen, time. */
  get pattern(): string {
    return `${this.record.prefix}-????????T??????Z`
  }

  private has(flag: number): boolean {
    return (this.record.flags & flag) !== 0
  }
}
