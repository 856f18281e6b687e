export type TaskState = 'running' | 'waiting' | 'paused' | 'done' | 'failed' | 'stopped'
export interface TaskView {
  readonly number: number
  /** `resync`, `reclaim`, … */
  readonly kind: string
  readonly target: string
  readonly state: TaskState
  /** Bytes. */
  readonly done: number
  readonly total: number
  readonly percent: number
  /** Bytes a second over the last seconds; 0 when not running. */
  readonly rate: number
  /** Seconds, or null when it cannot be told. */
  readonly eta: number | null
  readonly started: string
  readonly ended: string | null
  readonly reason: string | null
}
