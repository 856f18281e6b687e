/** Which snapshots rotation keeps: the calendar, the order of rules, and the guards against a clock that lies. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  checkClock,
  checkMany,
  checkRules,
  decideRotation,
  longestMs,
  spanKeys,
  spanNames,
  type Rotated,
  type RotationRules,
  type Verdict,
} from '../../../../src/core/snapshot/tree/rotation.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const rules = (some: Partial<RotationRules>): RotationRules => ({ keep: {}, last: 1, lastIsRule: false, olderThanMs: undefined, zone: 'UTC', ...some })
/** Snapshots at these times, numbered in this order. */
const at = (...times: (string | number)[]): Rotated[] => times.map((time, i) => ({ name: `db@s${i}`, number: i + 1, createdMs: new Date(time).getTime() }))
const kept = (verdicts: readonly Verdict[]): string[] => verdicts.filter(({ keep }) => keep).map(({ snapshot }) => snapshot.name)
const now = Date.parse('2026-11-21T17:30:00Z')
const hours = (count: number): Rotated[] => at(...Array.from({ length: count }, (_, i) => now - (count - 1 - i) * HOUR))

describe('keep-rules', () => {
  test('keep the last of each span, the newest spans first, and say why', () => {
    const all = at('2026-11-19T08:00Z', '2026-11-19T20:00Z', '2026-11-20T09:00Z', '2026-11-20T21:00Z', '2026-11-21T16:10Z', '2026-11-21T16:50Z')
    expect(decideRotation(all, rules({ keep: { hourly: 2, daily: 3 } }), now).map(({ snapshot, keep, reasons }) => [snapshot.name, keep, reasons])).toEqual([
      ['db@s5', true, ['last 1 of 1', 'hourly 1 of 2', 'daily 1 of 3']],
      ['db@s4', false, ['no rule keeps it']],
      ['db@s3', true, ['hourly 2 of 2', 'daily 2 of 3']],
      ['db@s2', false, ['no rule keeps it']],
      ['db@s1', true, ['daily 3 of 3']],
      ['db@s0', false, ['no rule keeps it']],
    ])
  })

  test('of hours, days and weeks keep what such a rotation is known for', () => {
    // Half a year, every hour: 24 of the last day, 7 days, 4 weeks, some of which are one snapshot.
    const verdicts = decideRotation(
      hours(24 * 180),
      rules({ keep: { hourly: 24, daily: 7, weekly: 4 }, last: 3, lastIsRule: true, olderThanMs: 90 * DAY }),
      now,
    )
    const ages = verdicts.filter(({ keep }) => keep).map(({ snapshot }) => (now - snapshot.createdMs) / HOUR)
    // It is Saturday: the last of Friday is within the hours, and that of last Sunday is the day's and the week's.
    expect(ages).toEqual([...Array.from({ length: 24 }, (_, i) => i), 42, 66, 90, 114, 138, 306, 474])
  })

  test('time that passes without new snapshots deletes nothing', () => {
    const all = hours(10)
    const rule = rules({ keep: { hourly: 10, daily: 2 } })
    expect(kept(decideRotation(all, rule, now + 5000 * DAY))).toEqual(kept(decideRotation(all, rule, now)))
  })

  test('an age deletes what is older, whichever span would keep it, but never the last ones', () => {
    const all = at('2026-01-01T00:00Z', '2026-02-01T00:00Z', '2026-03-01T00:00Z', '2026-11-20T00:00Z')
    expect(kept(decideRotation(all, rules({ keep: { monthly: 12 }, olderThanMs: 90 * DAY }), now))).toEqual(['db@s3'])
    expect(kept(decideRotation(all, rules({ olderThanMs: 90 * DAY, last: 2 }), now))).toEqual(['db@s3', 'db@s2'])
    expect(kept(decideRotation(all.slice(0, 3), rules({ olderThanMs: DAY }), now))).toEqual(['db@s2'])
    const [first, last] = decideRotation(all, rules({ olderThanMs: 300 * DAY }), now).map(({ reasons }) => reasons)
    expect([first, last]).toEqual([['last 1 of 1'], ['not older than 300d']])
    expect(decideRotation(all, rules({ olderThanMs: 90 * DAY }), now).at(-1)!.reasons).toEqual(['older than 90d'])
    // Exactly as old as the limit is not older.
    expect(kept(decideRotation(at(now - 2 * HOUR, now - HOUR, now), rules({ olderThanMs: HOUR }), now))).toEqual(['db@s2', 'db@s1'])
  })

  test('without a span or an age keep the last ones', () => {
    expect(kept(decideRotation(hours(5), rules({ last: 2, lastIsRule: true }), now))).toEqual(['db@s4', 'db@s3'])
  })

  test('what is not rotation’s stays and is not counted; what must stay is counted', () => {
    const all = hours(5).map((one, i): Rotated => ({
      ...one,
      ...(i === 4 ? { apart: 'left out of rotation' } : {}),
      ...(i === 0 ? { held: 'nbd has it open' } : {}),
    }))
    const verdicts = decideRotation(all, rules({ keep: { hourly: 2 } }), now)
    expect(kept(verdicts)).toEqual(['db@s4', 'db@s3', 'db@s2', 'db@s0'])
    expect(verdicts[0]!.reasons).toEqual(['left out of rotation'])
    expect(verdicts[4]!.reasons).toEqual(['nbd has it open'])
  })

  test('what claims to be of the future stays and takes nobody’s place', () => {
    const verdicts = decideRotation(at(now - HOUR, now - 1000, now + 10 * 365 * DAY), rules({ keep: { hourly: 1 } }), now)
    expect(kept(verdicts)).toEqual(['db@s2', 'db@s1'])
    expect(verdicts[0]!.reasons).toEqual(['its time is in the future'])
  })

  test.each([
    [{}, /no rule/],
    [{ last: 0, lastIsRule: true }, /keep-last 0/],
    [{ last: 1.5, lastIsRule: true }, /keep-last 1.5/],
    [{ keep: { hourly: 0 } }, /hourly=0/],
    [{ keep: { fortnightly: 3 } as never }, /fortnightly/],
    [{ olderThanMs: 0 }, /age/],
    [{ lastIsRule: true, zone: 'Mars/Olympus' }, /Mars/],
  ])('%j are refused', (some, why) => {
    expect(() => checkRules(rules(some))).toThrow(expect.objectContaining({ code: 'ERR_USAGE', why: expect.stringMatching(why) as string }) as Error)
  })
})

describe('the calendar', () => {
  const distinct = (span: 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly', zone: string, ...times: string[]): number =>
    new Set(times.map(time => spanKeys(span, zone)(Date.parse(time)))).size

  test('days begin in the time zone of the rules', () => {
    const times = ['2026-07-01T22:30Z', '2026-07-01T21:30Z'] as const
    expect([distinct('daily', 'UTC', ...times), distinct('daily', 'Europe/Berlin', ...times)]).toEqual([1, 2])
  })

  test('the hour that comes twice in autumn is two, and the one that spring leaves out is none', () => {
    // Berlin goes from 03:00 back to 02:00 at 01:00 UTC, and in spring from 02:00 to 03:00.
    expect(distinct('hourly', 'Europe/Berlin', '2026-10-25T00:30Z', '2026-10-25T01:30Z')).toBe(2)
    expect(distinct('hourly', 'Europe/Berlin', '2026-03-29T00:30Z', '2026-03-29T01:30Z')).toBe(2)
    // Lord Howe goes back by half an hour.
    expect(distinct('hourly', 'Australia/Lord_Howe', '2026-04-04T14:45Z', '2026-04-04T15:00Z')).toBe(2)
  })

  test('a day of 25 hours and one of 23 are one day each', () => {
    for (const [from, count] of [
      [Date.parse('2026-10-24T22:00Z'), 25],
      [Date.parse('2026-03-28T23:00Z'), 23],
    ] as const) {
      const times = Array.from({ length: count }, (_, i) => new Date(from + i * HOUR + 60_000).toISOString())
      expect(distinct('daily', 'Europe/Berlin', ...times)).toBe(1)
      expect(distinct('hourly', 'Europe/Berlin', ...times)).toBe(count)
      expect(distinct('daily', 'Europe/Berlin', ...times, new Date(from - 60_000).toISOString(), new Date(from + count * HOUR).toISOString())).toBe(3)
    }
  })

  test('an hourly snapshot a day long keeps its 24 over the change of clocks', () => {
    const noon = Date.parse('2026-10-25T12:00Z')
    const all = at(...Array.from({ length: 48 }, (_, i) => noon - (47 - i) * HOUR))
    expect(kept(decideRotation(all, rules({ keep: { hourly: 24 }, zone: 'Europe/Berlin' }), noon))).toHaveLength(24)
  })

  test('weeks begin on Monday, and one may lie in two years', () => {
    expect(distinct('weekly', 'UTC', '2026-11-15T23:59Z', '2026-11-16T00:00Z')).toBe(2)
    expect(distinct('weekly', 'UTC', '2026-12-28T00:00Z', '2027-01-03T23:59Z')).toBe(1)
    expect(distinct('yearly', 'UTC', '2026-12-31T23:59Z', '2027-01-01T00:00Z')).toBe(2)
    expect(distinct('monthly', 'UTC', '2026-02-28T23:59Z', '2026-03-01T00:00Z')).toBe(2)
  })
})

describe('any rotation', () => {
  const snapshots = fc
    .array(fc.integer({ min: 0, max: 3 * 365 * 24 * 60 }), { maxLength: 60 })
    .map(minutes => at(...minutes.sort((a, b) => b - a).map(ago => now - ago * 60_000)))
  const anyRules = fc
    .record({
      keep: fc.dictionary(fc.constantFrom(...spanNames), fc.integer({ min: 1, max: 12 })),
      last: fc.integer({ min: 1, max: 6 }),
      lastIsRule: fc.boolean(),
      olderThanMs: fc.option(
        fc.integer({ min: 1, max: 400 }).map(days => days * DAY),
        { nil: undefined },
      ),
      zone: fc.constantFrom('UTC', 'Europe/Berlin', 'America/St_Johns', 'Asia/Kathmandu'),
    })
    .filter(one => one.lastIsRule || one.olderThanMs !== undefined || Object.keys(one.keep).length > 0) as fc.Arbitrary<RotationRules>

  test('keeps the newest, keeps no more than its counts, and a second one at once deletes nothing', () => {
    fc.assert(
      fc.property(snapshots, anyRules, (all, some) => {
        const verdicts = decideRotation(all, some, now)
        expect(verdicts).toHaveLength(all.length)
        expect(verdicts.every(({ reasons }) => reasons.length > 0)).toBe(true)
        const left = verdicts.filter(({ keep }) => keep).map(({ snapshot }) => snapshot)
        expect(verdicts.slice(0, some.last).every(({ keep }) => keep)).toBe(true)
        const most = some.last + Object.values(some.keep).reduce((sum, count) => sum + count, 0)
        if (Object.keys(some.keep).length > 0 || some.lastIsRule) expect(left.length).toBeLessThanOrEqual(most)
        if (some.olderThanMs !== undefined) for (const one of left.slice(some.last)) expect(now - one.createdMs).toBeLessThanOrEqual(some.olderThanMs)
        expect(decideRotation(left, some, now).every(({ keep }) => keep)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('run after every new snapshot comes to the same as run once at the end, for spans', () => {
    fc.assert(
      fc.property(snapshots, fc.dictionary(fc.constantFrom(...spanNames), fc.integer({ min: 1, max: 8 }), { minKeys: 1 }), (all, keep) => {
        const some = rules({ keep })
        let left: Rotated[] = []
        for (const one of all)
          left = decideRotation([...left, one], some, one.createdMs)
            .filter(verdict => verdict.keep)
            .map(({ snapshot }) => snapshot)
        const once = all.length === 0 ? [] : kept(decideRotation(all, some, now))
        expect(left.map(({ name }) => name).sort()).toEqual(once.sort())
      }),
      { numRuns: 200 },
    )
  })
})

describe('guards', () => {
  const seen = { beforeMs: now - HOUR, openedMs: now, expectedMs: now }
  const daily = rules({ keep: { daily: 7 }, olderThanMs: 90 * DAY })
  const check = (all: Rotated[], ms: number, some = daily, times = seen): void => checkClock('db', all, some, ms, times)
  const refused = (why: RegExp): Error => expect.objectContaining({ code: 'ERR_CLOCK', why: expect.stringMatching(why) as string }) as Error

  test('a clock that shows what it should passes', () => {
    expect(() => check(hours(5), now)).not.toThrow()
    // The network sets clocks back by seconds.
    expect(() => check(hours(5), now - 5000)).not.toThrow()
  })
  test('one that is before the newest snapshot, or the last write of the pool, is refused', () => {
    expect(() => check(hours(5), now - 2 * HOUR)).toThrow(refused(/"db@s4" was made at/))
    expect(() => check(at(now - 5 * HOUR), now - 2 * HOUR, daily, { beforeMs: now, openedMs: now - 2 * HOUR, expectedMs: now - 2 * HOUR })).toThrow(
      refused(/the pool was written/),
    )
    expect(() => check(at(now - 5 * HOUR), now - 2 * HOUR, daily, { beforeMs: now - 4 * HOUR, openedMs: now - 4 * HOUR, expectedMs: now })).toThrow(
      refused(/since the pool was opened/),
    )
  })
  test('one that is further ahead than the longest rule looks back is refused', () => {
    const ahead = now + 10 * 365 * DAY
    expect(longestMs(daily)).toBe(90 * DAY)
    expect(() => check(hours(5), ahead, daily, { beforeMs: ahead, openedMs: ahead, expectedMs: ahead })).toThrow(refused(/longer ago than any rule/))
    expect(() => check(at(ahead - 1000), ahead, daily, { beforeMs: now, openedMs: ahead, expectedMs: ahead })).toThrow(refused(/last written/))
    expect(() => check(at(ahead - 1000), ahead, daily, { beforeMs: now, openedMs: now, expectedMs: now })).toThrow(refused(/since the pool was opened/))
    expect(() => check(hours(5), now + 89 * DAY, daily, { beforeMs: now, openedMs: now, expectedMs: now + 89 * DAY })).not.toThrow()
  })
  test('a rule that only counts does not care how far it is ahead', () => {
    const ahead = now + 10 * 365 * DAY
    expect(() => check(hours(5), ahead, rules({ last: 3, lastIsRule: true }), { beforeMs: now, openedMs: ahead, expectedMs: now })).not.toThrow()
  })
  test('more than half is refused, half is not, and what is left alone does not count', () => {
    const verdicts = decideRotation(hours(4), rules({ last: 2, lastIsRule: true }), now)
    expect(() => checkMany('db', verdicts)).not.toThrow()
    expect(() => checkMany('db', decideRotation(hours(5), rules({ last: 2, lastIsRule: true }), now))).toThrow(
      expect.objectContaining({ code: 'ERR_TOO_MANY', blockers: ['db@s2', 'db@s1', 'db@s0'] }) as Error,
    )
    const apart = hours(9).map((one, i) => (i < 5 ? { ...one, apart: 'left out of rotation' } : one))
    expect(() => checkMany('db', decideRotation(apart, rules({ last: 1, lastIsRule: true }), now))).toThrow(/db/)
  })
})
