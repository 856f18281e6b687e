/** Which snapshots of a volume rotation keeps and which it deletes (features.md G4). Pure: no clock, no I/O. */
import { LunarError } from '../../base/errors.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Spans of the calendar that rules count, the shortest first, with the longest that one lasts. Milliseconds. */
export const spans = { minutely: MINUTE, hourly: HOUR, daily: DAY + HOUR, weekly: 7 * DAY + HOUR, monthly: 31 * DAY + HOUR, yearly: 366 * DAY } as const
export type Span = keyof typeof spans
export const spanNames = Object.keys(spans) as Span[]

export interface RotationRules {
  /** Of each of the newest so many hours, days, … that have a snapshot, the last one. */
  readonly keep: Readonly<Partial<Record<Span, number>>>
  /** The newest so many, whatever else is said. At least 1. */
  readonly last: number
  /** `last` is a rule that was given: what no rule keeps goes. Else it only guards what another rule would delete. */
  readonly lastIsRule: boolean
  /** What is older goes, whichever span would keep it. Milliseconds. */
  readonly olderThanMs: number | undefined
  /** IANA name of the time zone in which hours, days, … begin. */
  readonly zone: string
}

/** What rotation looks at of a snapshot. */
export interface Rotated {
  readonly name: string
  /** Grows with each snapshot, whatever clocks say. */
  readonly number: number
  /** Milliseconds since 1970. */
  readonly createdMs: number
  /** It is not rotation's: it stays, and no rule counts it. The reason. */
  readonly apart?: string
  /** It must stay, but rules count it. The reason. */
  readonly held?: string
}

export interface Verdict<T extends Rotated = Rotated> {
  readonly snapshot: T
  readonly keep: boolean
  /** At least one. */
  readonly reasons: readonly string[]
}

/** @throws LunarError `ERR_USAGE` when the rules contradict themselves, or none is given */
export function checkRules({ keep, last, lastIsRule, olderThanMs, zone }: RotationRules): void {
  const fail = (why: string, fix: string): never => {
    throw new LunarError('ERR_USAGE', 'Cannot rotate snapshots', { why, fix })
  }
  const isCount = (count: number): boolean => Number.isSafeInteger(count) && count >= 1 && count <= 1_000_000
  if (!isCount(last)) fail(`--keep-last ${last} is not a whole number from 1 on`, 'the newest snapshot is never deleted: give 1 or more')
  for (const [span, count] of Object.entries(keep)) {
    if (!spanNames.includes(span as Span)) fail(`"${span}" is no span of time`, `the spans are ${spanNames.join(', ')}`)
    if (!isCount(count)) fail(`${span}=${count} is not a whole number from 1 on`, 'leave the span out to keep none for it')
  }
  if (olderThanMs !== undefined && !(Number.isFinite(olderThanMs) && olderThanMs > 0)) fail('the age is not above 0', 'write it like 90d or 12h')
  if (Object.keys(keep).length === 0 && !lastIsRule && olderThanMs === undefined)
    fail('no rule is given', 'lunar snap rotate VOLUME --keep hourly=24,daily=7,weekly=4, or --keep-last N, or --older-than 90d')
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
  } catch {
    fail(`"${zone}" is no time zone`, 'name one like Europe/Berlin, or UTC')
  }
}

/**
 * Decides for each snapshot, the newest first: grandfather, father and son, as `borg prune` and `restic forget` do. Of each span a rule counts
 * the last snapshot; a span without one is not counted, so nothing goes only because time passes without new snapshots. One that no
 * rule keeps is deleted, and what is older than the limit is, too; where the limit is the only rule, the rest is kept.
 */
export function decideRotation<T extends Rotated>(snapshots: readonly T[], rules: RotationRules, nowMs: number): Verdict<T>[] {
  const newest = [...snapshots].sort((a, b) => b.number - a.number)
  const counted = newest.filter(({ apart, createdMs }) => apart === undefined && createdMs <= nowMs)
  const kept = new Map<T, string[]>(counted.map(snapshot => [snapshot, []]))
  for (const span of spanNames) {
    const count = rules.keep[span]
    if (count !== undefined) keepSpans(counted, span, count, rules.zone, kept)
  }
  const onlyAge = Object.keys(rules.keep).length === 0 && !rules.lastIsRule
  return newest.map((snapshot): Verdict<T> => {
    const { apart, held, createdMs } = snapshot
    const always = [
      ...(apart === undefined ? [] : [apart]),
      ...(held === undefined ? [] : [held]),
      ...(createdMs > nowMs ? ['its time is in the future'] : []),
      ...(kept.has(snapshot) && counted.indexOf(snapshot) < rules.last ? [`last ${counted.indexOf(snapshot) + 1} of ${rules.last}`] : []),
    ]
    const isOld = rules.olderThanMs !== undefined && nowMs - createdMs > rules.olderThanMs
    const reasons = [...always, ...(isOld ? [] : (kept.get(snapshot) ?? []))]
    if (reasons.length > 0) return { snapshot, keep: true, reasons }
    if (isOld) return { snapshot, keep: false, reasons: [`older than ${durationText(rules.olderThanMs!)}`] }
    return onlyAge
      ? { snapshot, keep: true, reasons: [`not older than ${durationText(rules.olderThanMs!)}`] }
      : { snapshot, keep: false, reasons: ['no rule keeps it'] }
  })
}

function keepSpans<T extends Rotated>(newest: readonly T[], span: Span, count: number, zone: string, kept: ReadonlyMap<T, string[]>): void {
  const keyOf = spanKeys(span, zone)
  const seen = new Set<string>()
  for (const snapshot of newest) {
    const key = keyOf(snapshot.createdMs)
    if (seen.has(key)) continue
    if (seen.size === count) return
    seen.add(key)
    kept.get(snapshot)!.push(`${span} ${seen.size} of ${count}`)
  }
}

/** Names the span that an instant lies in. Hours are those of the wall clock; the hour that comes twice in autumn is two hours. */
export function spanKeys(span: Span, zone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  return ms => {
    const part = new Map(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]))
    const of = (name: Intl.DateTimeFormatPartTypes): number => part.get(name)!
    const wall = Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'))
    const offset = wall - Math.floor(ms / 1000) * 1000
    const day = Math.floor(wall / DAY)
    switch (span) {
      case 'minutely':
        return `${Math.floor(wall / MINUTE)} ${offset}`
      case 'hourly':
        return `${Math.floor(wall / HOUR)} ${offset}`
      case 'daily':
        return String(day)
      case 'weekly':
        // Weeks begin on Monday; the first day of 1970 was a Thursday.
        return String(Math.floor((day + 3) / 7))
      case 'monthly':
        return `${of('year')}-${of('month')}`
      case 'yearly':
        return String(of('year'))
    }
  }
}

/** The longest time that a rule looks back; undefined when none does. Milliseconds. */
export function longestMs({ keep, olderThanMs }: RotationRules): number | undefined {
  const all = [...Object.entries(keep).map(([span, count]) => spans[span as Span] * count), ...(olderThanMs === undefined ? [] : [olderThanMs])]
  return all.length === 0 ? undefined : Math.max(...all)
}

/** What is known of time without asking the clock. Milliseconds since 1970. */
export interface TimeSeen {
  /** When the pool was last written before it was opened, and what the clock showed then. */
  readonly beforeMs: number
  readonly openedMs: number
  /** What the clock should show: what it showed when the pool was opened, and the time that has passed since by one that never jumps. */
  readonly expectedMs: number
}

/** A clock that is set by the network may be put back a little. Milliseconds. */
const BACK_MAX = MINUTE

/**
 * Ages mean nothing when the clock has jumped, and rotation would delete by them (hazard 24).
 *
 * @throws LunarError `ERR_CLOCK` when it is before the newest snapshot or the last time that the pool was written, or further after them than the
 * longest rule looks back
 * @param unchanged the newest snapshot may be old: nothing was written since
 */
export function checkClock(volume: string, snapshots: readonly Rotated[], rules: RotationRules, nowMs: number, seen: TimeSeen, unchanged = false): void {
  const fail = (why: string, fix = 'set the clock, and repeat it; --force=clock if the clock is right'): never => {
    throw new LunarError('ERR_CLOCK', `Cannot rotate snapshots of "${volume}"`, { why: `${why}, and it is ${timeText(nowMs)} now`, fix })
  }
  const newest = snapshots.reduce<Rotated | undefined>((best, one) => (best === undefined || one.createdMs > best.createdMs ? one : best), undefined)
  if (newest && nowMs < newest.createdMs - BACK_MAX) fail(`"${newest.name}" was made at ${timeText(newest.createdMs)}`)
  for (const { ms, what } of [
    { ms: seen.beforeMs, what: 'the pool was written at' },
    { ms: seen.expectedMs, what: 'by the time that has passed since the pool was opened it should be' },
  ])
    if (nowMs < ms - BACK_MAX) fail(`${what} ${timeText(ms)}`)
  const longest = longestMs(rules)
  if (longest === undefined) return
  const limit = longest + BACK_MAX
  if (newest && !unchanged && nowMs > newest.createdMs + limit)
    fail(
      `the newest snapshot "${newest.name}" is of ${timeText(newest.createdMs)}, longer ago than any rule looks back`,
      'take a new snapshot first, or set the clock; --force=clock if both are right',
    )
  if (seen.openedMs > seen.beforeMs + limit) fail(`the pool was last written at ${timeText(seen.beforeMs)}, longer ago than any rule looks back`)
  if (nowMs > seen.expectedMs + limit) fail(`by the time that has passed since the pool was opened it should be ${timeText(seen.expectedMs)}`)
}

/** @throws LunarError `ERR_TOO_MANY` when more than half of what rules look at would go */
export function checkMany(volume: string, verdicts: readonly Verdict[]): void {
  const looked = verdicts.filter(({ snapshot }) => snapshot.apart === undefined)
  const going = looked.filter(({ keep }) => !keep)
  if (going.length * 2 <= looked.length) return
  throw new LunarError('ERR_TOO_MANY', `Cannot rotate snapshots of "${volume}"`, {
    why: `${going.length} of ${looked.length} would go, more than half`,
    fix: 'look with --dry-run; repeat it with --force=many if that is meant',
    blockers: going.map(({ snapshot }) => snapshot.name),
  })
}

const timeText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

const units = [
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', 1000],
] as const

/** `90d`, `36h`: the largest unit that it is whole in. */
function durationText(ms: number): string {
  const [unit, size] = units.find(([, one]) => ms % one === 0) ?? ['ms', 1]
  return `${ms / size}${unit}`
}
