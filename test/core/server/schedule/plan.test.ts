/** When schedules run, and what one does at a moment: expressions over changes of the clock, downtime, and clocks that jump. */
import { beforeAll, describe, expect, test } from 'vitest'
import { decide, missedSince, upcoming, type Decision } from '../../../../src/core/server/schedule/plan.ts'
import { loadTimes, type ReadTimes } from '../../../../src/core/server/schedule/times.ts'

const ms = (text: string): number => Date.parse(text)
const iso = (at: number): string => new Date(at).toISOString().slice(0, 16)

let read: ReadTimes
beforeAll(async () => {
  read = await loadTimes()
})

// Berlin: 2026-03-29 02:00 is 03:00, 2026-10-25 03:00 is 02:00 again. Lord Howe changes by half an hour.
test.each<[string, string, string, string[]]>([
  ['0 * * * *', 'UTC', '2026-11-21T10:00:00Z', ['2026-11-21T11:00', '2026-11-21T12:00']],
  ['0 * * * *', 'UTC', '2026-11-21T10:59:59.999Z', ['2026-11-21T11:00', '2026-11-21T12:00']],
  ['@daily', 'Asia/Kolkata', '2026-11-21T10:00:00Z', ['2026-11-21T18:30', '2026-11-22T18:30']],
  ['0 0 29 2 *', 'UTC', '2026-11-21T10:00:00Z', ['2028-02-29T00:00', '2032-02-29T00:00']],
  ['0 22 L * *', 'UTC', '2027-02-01T00:00:00Z', ['2027-02-28T22:00', '2027-03-31T22:00']],
  ['0 9 * * mon-fri', 'UTC', '2026-11-20T10:00:00Z', ['2026-11-23T09:00', '2026-11-24T09:00']],
  // Hours that pass: none is missed in spring, and the one that comes twice in autumn is two.
  ['0 * * * *', 'Europe/Berlin', '2026-03-29T00:30:00Z', ['2026-03-29T01:00', '2026-03-29T02:00']],
  ['0 * * * *', 'Europe/Berlin', '2026-10-24T23:30:00Z', ['2026-10-25T00:00', '2026-10-25T01:00', '2026-10-25T02:00']],
  ['*/30 * * * *', 'Australia/Lord_Howe', '2026-04-04T14:10:00Z', ['2026-04-04T14:30', '2026-04-04T15:00', '2026-04-04T15:30']],
  // Times of day: once each day, after the gap where they are in it.
  ['30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00', '2026-03-30T00:30']],
  ['30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', ['2026-10-25T00:30', '2026-10-26T01:30']],
  ['30 2,14 * * *', 'Europe/Berlin', '2026-03-28T14:00:00Z', ['2026-03-29T01:00', '2026-03-29T12:30']],
])('%s in %s after %s', (cron, zone, after, expected) => {
  expect(upcoming(read(cron, zone), ms(after), expected.length).map(iso)).toEqual(expected)
})

test.each([
  ['', 'UTC', 'five fields'],
  ['* * * *', 'UTC', 'five fields'],
  ['0 0 * * * *', 'UTC', 'five fields'],
  ['2026-01-01T00:00:00', 'UTC', 'five fields'],
  ['@reboot', 'UTC', 'five fields'],
  ['60 * * * *', 'UTC', 'minute'],
  ['a b c d e', 'UTC', 'illegal'],
  ['0 0 30 2 *', 'UTC', 'no day'],
  ['0 * * * *', 'Mars/Olympus', 'no such zone'],
])('"%s" in %s is refused', (cron, zone, why) => {
  expect(() => read(cron, zone)).toThrow(expect.objectContaining({ code: 'ERR_USAGE', why: expect.stringContaining(why) as string }) as Error)
})

describe('what a schedule does', () => {
  const at = (hour: string): number => ms(`2026-11-21T${hour}Z`)
  const wait = (hour: string): Decision => ({ what: 'wait', untilMs: at(hour) })
  const catchUp = (hour: string): Decision => ({ what: 'catch-up', sinceMs: at(hour) })
  const giveUp = (hour: string): Decision => ({ what: 'give-up', sinceMs: at(hour) })

  // Hourly. Settled, now, with and without catching up.
  test.each<[string, string, string, Decision, Decision]>([
    ['is not due', '10:00:00', '10:30:00', wait('11:00:00'), wait('11:00:00')],
    ['is due in a millisecond', '10:00:00', '10:59:59.999', wait('11:00:00'), wait('11:00:00')],
    ['is due', '10:00:00', '11:00:00', { what: 'run' }, { what: 'run' }],
    ['is late by what a timer may be', '10:00:00', '11:01:00', { what: 'run' }, { what: 'run' }],
    ['was missed', '10:00:00', '11:01:00.001', catchUp('11:00:00'), giveUp('11:00:00')],
    ['was missed while the machine slept, or the clock went forward', '10:00:00', '15:20:00', catchUp('11:00:00'), giveUp('11:00:00')],
    ['was missed, and is due now', '10:00:00', '15:00:10', catchUp('11:00:00'), { what: 'run' }],
    ['has run, and the clock is put back a little', '11:00:00', '10:59:30', wait('12:00:00'), wait('12:00:00')],
    ['has run, and the clock is put back by a minute', '11:00:00', '10:59:00', wait('12:00:00'), wait('12:00:00')],
    ['has run, and the clock goes back', '11:00:00', '10:58:59', { what: 'clock-back' }, { what: 'clock-back' }],
    ['has run by hand just before', '10:59:59', '11:00:00', { what: 'run' }, { what: 'run' }],
  ])('%s', (_, settled, now, expected, without) => {
    const times = read('0 * * * *', 'UTC')
    expect(decide({ times, settledMs: at(settled), catchesUp: true }, at(now))).toEqual(expected)
    expect(decide({ times, settledMs: at(settled), catchesUp: false }, at(now))).toEqual(without)
  })

  test('never comes again: waits for nothing', () => {
    const times = { after: () => undefined }
    expect(decide({ times, settledMs: 0, catchesUp: true }, at('10:00:00'))).toEqual({ what: 'wait', untilMs: undefined })
  })

  test('says what was missed', () => {
    const times = read('0 * * * *', 'UTC')
    expect(missedSince({ times, settledMs: at('10:00:00'), catchesUp: true }, at('12:30:00'))).toBe(at('11:00:00'))
    expect(missedSince({ times, settledMs: at('12:00:00'), catchesUp: true }, at('12:30:00'))).toBeUndefined()
  })

  // Whatever the clock does, a run settles what was due: followed step by step, nothing runs twice and nothing stands still.
  test.each<[string, string[], number]>([
    ['minutes of hours', ['10:00:00', '10:30:00', '11:00:00', '11:00:05', '11:59:00', '12:00:00'], 2],
    ['back after a jump forward', ['10:00:00', '11:00:00', '20:00:00', '11:10:00', '12:00:00'], 3],
    ['back and forth over a run', ['10:00:00', '11:00:00', '10:59:30', '11:00:00', '11:00:01', '10:59:30', '11:00:30'], 1],
  ])('over %s', (_, clock, runs) => {
    const times = read('0 * * * *', 'UTC')
    let settledMs = at(clock[0]!)
    let count = 0
    for (const now of clock.map(at)) {
      const { what } = decide({ times, settledMs, catchesUp: true }, now)
      if (what === 'wait') continue
      if (what === 'run' || what === 'catch-up') count++
      settledMs = now
    }
    expect(count).toBe(runs)
  })
})
