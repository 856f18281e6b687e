/** What a schedule does now. Pure: no clock, no timer, no I/O. */
import type { RunTimes } from './times.ts'

/** A run that is later than this was missed: nobody waited for it. Milliseconds. */
export const LATE_MAX = 60_000
/** A clock that is set by the network may be put back a little: what ran does not run again. Milliseconds. */
export const BACK_MAX = 60_000

export interface Planned {
  readonly times: RunTimes
  /** Up to this instant everything that was due is settled. Milliseconds since 1970. */
  readonly settledMs: number
  /** One run makes up for all that were missed. */
  readonly catchesUp: boolean
}

export type Decision =
  | { readonly what: 'wait'; readonly untilMs: number | undefined }
  | { readonly what: 'run' }
  /** One run for all that were missed since the one at `sinceMs`. */
  | { readonly what: 'catch-up'; readonly sinceMs: number }
  /** Runs since the one at `sinceMs` were missed, and are given up. */
  | { readonly what: 'give-up'; readonly sinceMs: number }
  /** The clock went back behind what was settled: it goes on from now. */
  | { readonly what: 'clock-back' }

/**
 * A run is due at the first time after what is settled, so a jump of the clock forward, or a time without a server, is one run at most, and
 * nothing runs twice. A clock that went back a little is waited for; one that went back further is believed, or nothing would run until it
 * has come to the same time again.
 *
 * @param nowMs wall time, milliseconds since 1970
 */
export function decide({ times, settledMs, catchesUp }: Planned, nowMs: number): Decision {
  if (nowMs < settledMs - BACK_MAX) return { what: 'clock-back' }
  const first = times.after(settledMs)
  if (first === undefined || first > nowMs) return { what: 'wait', untilMs: first }
  const recent = times.after(Math.max(settledMs, nowMs - LATE_MAX - 1))
  const isOnTime = recent !== undefined && recent <= nowMs
  if (isOnTime && nowMs - first <= LATE_MAX) return { what: 'run' }
  if (catchesUp) return { what: 'catch-up', sinceMs: first }
  return isOnTime ? { what: 'run' } : { what: 'give-up', sinceMs: first }
}

/** Whether runs were missed that a server would make up for, or give up: the first of them. Milliseconds since 1970. */
export function missedSince({ times, settledMs }: Planned, nowMs: number): number | undefined {
  const first = times.after(settledMs)
  return first !== undefined && first <= nowMs ? first : undefined
}

/** The next runs after an instant. Milliseconds since 1970. */
export function upcoming(times: RunTimes, afterMs: number, count: number): number[] {
  const found: number[] = []
  for (let at = times.after(afterMs); at !== undefined && found.length < count; at = times.after(at)) found.push(at)
  return found
}
