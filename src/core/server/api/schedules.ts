/** What is said of schedules of snapshots. */
import type { RotatedSnapshot, RotationSpan } from './snapshots.ts'

/** Of the last run of a schedule: `unrotated` took its snapshots, or had none to take, and rotation was refused. */
export type ScheduleResult = 'taken' | 'unchanged' | 'missed' | 'failed' | 'unrotated'

/** When snapshots are taken of some LUNs, and which are kept. */
export interface ScheduleSummary {
  readonly number: number
  readonly name: string
  readonly luns: string[]
  readonly cron: string
  readonly zone: string
  readonly paused: boolean
  /** A server has the pool: only that runs schedules. */
  readonly served: boolean
  /** RFC 3339; null when it is paused, or not served. */
  readonly next: string | null
  readonly last: { readonly time: string; readonly result: ScheduleResult; readonly reason: string | null; readonly deleted: number } | null
  /** Runs that did not go well, since the last that did. */
  readonly failures: number
  /** Why its times cannot be told, if so. */
  readonly problem: string | null
}

export interface ScheduleDetail extends ScheduleSummary {
  readonly id: string
  readonly created: string
  readonly prefix: string
  readonly readOnly: boolean
  readonly catchUp: boolean
  readonly skipUnchanged: boolean
  readonly keep: Partial<Record<RotationSpan, number>>
  /** null: only the newest is never deleted. */
  readonly keepLast: number | null
  readonly olderThanMs: number | null
  /** When it last took snapshots. */
  readonly taken: string | null
  /** The next times of the expression, whether or not somebody runs it then. */
  readonly upcoming: string[]
  /** The first run that was missed and is not settled. */
  readonly missed: string | null
}

/** What a run did, or in a dry run would do. */
export interface ScheduleRun {
  readonly name: string
  readonly result: 'taken' | 'unchanged'
  /** Names of what was taken. */
  readonly taken: string[]
  /** What rotation made of the snapshots of the schedule. */
  readonly snapshots: RotatedSnapshot[]
  readonly deleted: number
  readonly kept: number
  readonly refused: RotationRefusal | null
  readonly task: number | null
}

/** Why a rotation was refused. */
export interface RotationRefusal {
  readonly code: string
  readonly message: string
  readonly fix: string
}
