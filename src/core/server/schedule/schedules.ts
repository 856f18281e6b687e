/** The schedules of a pool: the directory, and everything that changes it. */
import { LunarError } from '../../base/errors.ts'
import { Mutex } from '../../base/mutex.ts'
import { checkName } from '../../base/names.ts'
import { orUndo, withoutChange } from '../../base/undo.ts'
import { Batch } from '../../../metadata/batch.ts'
import { hiOf, keyOf } from '../../../metadata/key.ts'
import {
  decodeRecord,
  poolRecord,
  SCHEDULE_LAST_IS_RULE,
  SCHEDULE_LUNS,
  SCHEDULE_NO_CATCH_UP,
  SCHEDULE_PAUSED,
  SCHEDULE_READ_ONLY,
  SCHEDULE_SKIP_UNCHANGED,
  SCHEDULE_TEXTS,
  scheduleRecord,
  type ScheduleRecord,
} from '../../../metadata/records.ts'
import type { Lun } from '../../lun/lun.ts'
import type { Luns } from '../../lun/luns.ts'
import type { Pool } from '../../pool/pool.ts'
import { checkRules, type RotationRules } from '../../snapshot/tree/rotation.ts'
import { Schedule } from './schedule.ts'
import { loadTimes, type ReadTimes, type RunTimes } from './times.ts'

/** Schedules of a pool. */
const SCHEDULES_MAX = 256
/** Characters of a prefix: a hyphen and the time follow, and a name has 63. */
const PREFIX_MAX = 46

export interface NewSchedule {
  readonly name: string
  /** Names; their snapshots are of one instant. */
  readonly luns: readonly string[]
  readonly cron: string
  readonly rules: RotationRules
  readonly prefix: string
  readonly readOnly: boolean
  readonly catchUp: boolean
  readonly skipUnchanged: boolean
  readonly dryRun: boolean
}

export class Schedules {
  /** Somebody waits for the next run of what is changed. */
  onChange: () => void = () => undefined
  private readonly byName = new Map<string, Schedule>()
  /** Changes come one after the other. */
  private readonly changing = new Mutex()
  private reading: Promise<ReadTimes> | undefined

  private constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
  ) {}

  static async load(pool: Pool, luns: Luns): Promise<Schedules> {
    const schedules = new Schedules(pool, luns)
    // A pool that never had one is not searched.
    if (pool.record.nextSchedule === 0) return schedules
    for await (const { hi, value } of pool.metadata.range(hiOf('schedule'), 0, 0, hiOf('schedule', 0xffff_ffff))) {
      const schedule = new Schedule(hi - hiOf('schedule'), decodeRecord(scheduleRecord, value))
      schedules.byName.set(schedule.name, schedule)
    }
    return schedules
  }

  /** In order of number. */
  get all(): Schedule[] {
    return [...this.byName.values()]
  }

  /** @throws LunarError `ERR_SCHEDULE_NOT_FOUND` */
  find(name: string): Schedule {
    const schedule = this.byName.get(name)
    if (!schedule) throw new LunarError('ERR_SCHEDULE_NOT_FOUND', `Cannot find schedule ${JSON.stringify(name)} in pool "${this.pool.record.name}"`)
    return schedule
  }

  /** @throws LunarError `ERR_SCHEDULE_NOT_FOUND` when it was deleted meanwhile */
  checkKept(schedule: Schedule): void {
    if (this.find(schedule.name) !== schedule) throw new LunarError('ERR_SCHEDULE_NOT_FOUND', `Cannot use schedule "${schedule.name}": it was deleted`)
  }

  /** When it runs. @throws LunarError `ERR_USAGE` when what it says cannot be read */
  async times({ record: { cron, zone } }: Schedule): Promise<RunTimes> {
    return (await this.reader())(cron, zone)
  }

  private reader(): Promise<ReadTimes> {
    return (this.reading ??= loadTimes())
  }

  /** In order of the record. */
  lunsOf(schedule: Schedule): Lun[] {
    return schedule.luns.map(number => {
      const lun = this.luns.byId(number)
      if (!lun) throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use schedule "${schedule.name}"`, { why: `the pool has no LUN ${number}` })
      return lun
    })
  }

  /** @throws LunarError `ERR_BUSY` naming the schedules that take snapshots of a LUN */
  checkNone(lun: Lun, what: string): void {
    const names = this.all.filter(({ luns }) => luns.includes(lun.number)).map(({ name }) => name)
    if (names.length === 0) return
    throw new LunarError('ERR_BUSY', `Cannot ${what} LUN "${lun.name}"`, {
      why: `schedule ${names.join(', ')} ${names.length === 1 ? 'takes' : 'take'} snapshots of it`,
      fix: names.map(name => `lunar snap schedule delete ${name}`).join(', '),
      blockers: names.map(name => `schedule ${name}`),
    })
  }

  // ---- changing

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_USAGE`, `ERR_LUN_NOT_FOUND`, and for LUNs that are not for users */
  create(spec: NewSchedule): Promise<Schedule> {
    return this.changing.run(async () => {
      const luns = this.checkNew(spec)
      ;(await this.reader())(spec.cron, spec.rules.zone)
      const number = Math.max(1, this.pool.record.nextSchedule)
      const schedule = new Schedule(number, this.recordOf(spec, luns))
      if (spec.dryRun) return schedule
      this.pool.record = { ...this.pool.record, nextSchedule: number + 1 }
      const batch = new Batch()
      batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
      batch.put(keyOf('schedule', number), scheduleRecord.encode(schedule.record))
      this.pool.event(batch, 'schedule.created', spec.name, `${luns.map(({ name }) => name).join(', ')} at "${spec.cron}" in ${spec.rules.zone}`)
      await this.pool.metadata.commit(batch, 'admin')
      this.byName.set(spec.name, schedule)
      this.onChange()
      return schedule
    })
  }

  private checkNew({ name, luns: names, cron, rules, prefix }: NewSchedule): Lun[] {
    const failed = `Cannot create schedule "${name}"`
    checkName('schedule', name)
    if (this.byName.has(name)) throw new LunarError('ERR_EXISTS', failed, { why: 'there is a schedule of this name' })
    if (this.byName.size >= SCHEDULES_MAX) throw new LunarError('ERR_METADATA_FULL', failed, { why: `a pool has at most ${SCHEDULES_MAX} schedules` })
    checkName('snapshot', prefix)
    const usage = (why: string, fix: string): LunarError => new LunarError('ERR_USAGE', failed, { why, fix })
    if (prefix.length > PREFIX_MAX)
      throw usage(`its snapshots are named PREFIX-TIME, and "${prefix}" has more than ${PREFIX_MAX} characters`, 'give a shorter --prefix')
    checkRules(rules)
    for (const [what, text, max] of [
      ['cron expression', cron, SCHEDULE_TEXTS.cron],
      ['time zone', rules.zone, SCHEDULE_TEXTS.zone],
    ] as const)
      if (Buffer.byteLength(text) > max) throw usage(`the ${what} has more than ${max} bytes`, 'write it shorter')
    const luns = names.map(lun => this.luns.find(lun))
    for (const lun of luns) this.luns.checkOwn(lun, 'take snapshots of')
    if (luns.length === 0 || luns.length > SCHEDULE_LUNS) throw usage(`a schedule has 1 to ${SCHEDULE_LUNS} LUNs`, 'name them with --lun')
    const twice = names.find((lun, i) => names.indexOf(lun) < i)
    if (twice !== undefined) throw usage(`LUN "${twice}" is named twice`, 'name it once')
    for (const other of this.all) {
      const shared = other.record.prefix === prefix ? luns.find(({ number }) => other.luns.includes(number)) : undefined
      if (shared)
        throw new LunarError('ERR_EXISTS', failed, {
          why: `schedule "${other.name}" names its snapshots of LUN "${shared.name}" alike, and each would delete those of the other`,
          fix: 'give another --prefix',
        })
    }
    return luns
  }

  private recordOf({ name, cron, rules, prefix, readOnly, catchUp, skipUnchanged }: NewSchedule, luns: readonly Lun[]): ScheduleRecord {
    const { keep, last, lastIsRule, olderThanMs, zone } = rules
    const now = this.pool.options.clock.wallMs()
    return {
      scheduleId: this.pool.options.uuids(),
      name,
      cron,
      zone,
      prefix,
      flags:
        (readOnly ? SCHEDULE_READ_ONLY : 0) |
        (catchUp ? 0 : SCHEDULE_NO_CATCH_UP) |
        (skipUnchanged ? SCHEDULE_SKIP_UNCHANGED : 0) |
        (lastIsRule ? SCHEDULE_LAST_IS_RULE : 0),
      result: 0,
      lunCount: luns.length,
      keepLast: last,
      minutely: keep.minutely ?? 0,
      hourly: keep.hourly ?? 0,
      daily: keep.daily ?? 0,
      weekly: keep.weekly ?? 0,
      monthly: keep.monthly ?? 0,
      yearly: keep.yearly ?? 0,
      olderThanMs: olderThanMs ?? 0,
      createdMs: now,
      settledMs: now,
      lastMs: 0,
      takenMs: 0,
      failures: 0,
      deleted: 0,
      reason: '',
      luns: luns.map(({ number }) => ({ lun: number })),
    }
  }

  /** Its snapshots stay. Waits for a run that is under way. @throws LunarError `ERR_SCHEDULE_NOT_FOUND` */
  delete(schedule: Schedule, dryRun: boolean): Promise<void> {
    return schedule.turns.run(() =>
      this.changing.run(async () => {
        this.checkKept(schedule)
        if (dryRun) return
        const batch = new Batch()
        batch.delete(keyOf('schedule', schedule.number))
        this.pool.event(batch, 'schedule.deleted', schedule.name, 'its snapshots stay')
        this.byName.delete(schedule.name)
        await orUndo(
          () => this.pool.metadata.commit(batch, 'admin'),
          () => this.byName.set(schedule.name, schedule),
        )
        this.onChange()
      }),
    )
  }

  /** What was due while it was paused is not caught up. @returns whether it was not so already */
  pause(schedule: Schedule, paused: boolean, dryRun: boolean): Promise<boolean> {
    return schedule.turns.run(async () => {
      this.checkKept(schedule)
      if (schedule.isPaused === paused) return false
      if (dryRun) return true
      const { flags } = schedule.record
      const change = paused ? { flags: flags | SCHEDULE_PAUSED } : { flags: flags & ~SCHEDULE_PAUSED, settledMs: this.pool.options.clock.wallMs() }
      await this.commit(schedule, change, batch => {
        this.pool.event(batch, paused ? 'schedule.paused' : 'schedule.resumed', schedule.name, '')
      })
      this.onChange()
      return true
    })
  }

  /**
   * Puts a changed record into a commit that is made at once.
   * @returns takes it back in memory, when that fails
   */
  put(schedule: Schedule, change: Partial<ScheduleRecord>, batch: Batch): () => void {
    const before = schedule.record
    schedule.record = { ...before, ...change }
    batch.put(keyOf('schedule', schedule.number), scheduleRecord.encode(schedule.record))
    return () => {
      schedule.record = withoutChange(schedule.record, before, change)
    }
  }

  /** A commit of its own for it. */
  async commit(schedule: Schedule, change: Partial<ScheduleRecord>, more: (batch: Batch) => void = () => undefined): Promise<void> {
    const batch = new Batch()
    const undo = this.put(schedule, change, batch)
    more(batch)
    await orUndo(() => this.pool.metadata.commit(batch, 'admin'), undo)
  }

  /**
   * Two LUNs change places: schedules go on with what has the name they were made for (features.md B16).
   * @param commit makes the batch durable together with the names
   */
  swap(a: Lun, b: Lun, commit: (fill: (batch: Batch) => void) => Promise<void>): Promise<void> {
    return this.changing.run(async () => {
      const turned = new Map([
        [a.number, b.number],
        [b.number, a.number],
      ])
      const undos: (() => void)[] = []
      try {
        await commit(batch => {
          for (const schedule of this.all)
            if (schedule.luns.some(number => turned.has(number)))
              undos.push(this.put(schedule, { luns: schedule.luns.map(number => ({ lun: turned.get(number) ?? number })) }, batch))
        })
      } catch (error) {
        for (const undo of undos) undo()
        throw error
      }
    })
  }
}
