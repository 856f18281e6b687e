import type { ScheduleDetail, ScheduleSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'

const nextOf = ({ paused, served, next, problem }: ScheduleSummary): string | null =>
  problem === null ? (paused ? 'paused' : served ? next : 'no server') : 'cannot be read'

const resultOf = ({ last }: ScheduleSummary): string => last?.result ?? 'none yet'

export const scheduleColumns: readonly Column<ScheduleSummary>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the schedule' },
  { key: 'luns', kind: 'text', get: row => row.luns, about: 'LUNs whose snapshots it takes' },
  { key: 'cron', kind: 'text', get: row => row.cron, about: 'when it runs' },
  { key: 'zone', kind: 'text', get: row => row.zone, about: 'time zone of that' },
  { key: 'next', kind: 'text', get: nextOf, about: 'when the server runs it next; paused; or that no server has the pool' },
  { key: 'last', kind: 'text', get: row => row.last?.time ?? null, about: 'when it ran last' },
  { key: 'result', kind: 'state', get: resultOf, about: 'how that ended: taken, unchanged, missed, failed, or unrotated' },
  { key: 'reason', kind: 'text', get: row => row.last?.reason ?? null, about: 'why', extra: true },
  { key: 'failures', kind: 'count', get: row => row.failures, about: 'runs that did not go well, since the last that did', extra: true },
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the schedule', extra: true },
]

const rulesOf = ({ keep, keepLast, olderThanMs }: ScheduleDetail): string =>
  [
    ...Object.entries(keep).map(([span, count]) => `${span}=${count}`),
    ...(keepLast === null ? [] : [`the last ${keepLast}`]),
    ...(olderThanMs === null ? [] : [`nothing older than ${ageText(olderThanMs)}`]),
  ].join(', ')

const ages = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const

/** `90d`, `36h`. */
function ageText(ms: number): string {
  const [unit, size] = ages.find(([, one]) => ms % one === 0) ?? ['s', 1000]
  return `${ms / size}${unit}`
}

export const scheduleView = (schedule: ScheduleDetail): DetailView => ({
  details: [
    line('name', schedule.name),
    line('LUNs', schedule.luns),
    line('cron', schedule.cron),
    line('zone', schedule.zone),
    line('next', nextOf(schedule)),
    ...(schedule.problem === null ? [] : [line('problem', schedule.problem)]),
    ...(schedule.missed === null
      ? []
      : [line('missed since', `${schedule.missed}; ${schedule.catchUp ? 'one run makes up for it' : 'nothing makes up for it'} when a server has the pool`)]),
    line('keeps', rulesOf(schedule)),
    line('snapshots', `${schedule.prefix}-TIME, ${schedule.readOnly ? 'read-only' : 'writable'}`),
    line('when runs were missed', schedule.catchUp ? 'one run makes up for them' : 'nothing makes up for them'),
    line('when nothing changed', schedule.skipUnchanged ? 'nothing is taken' : 'snapshots are taken'),
    line('last run', schedule.last?.time ?? null),
    line('result', resultOf(schedule), 'state'),
    line('reason', schedule.last?.reason ?? null),
    line('deleted then', schedule.last?.deleted ?? null, 'count'),
    line('last taken', schedule.taken),
    line('failures in a row', schedule.failures, 'count'),
    line('number', schedule.number, 'count'),
    line('id', schedule.id),
    line('created', schedule.created),
  ],
  sections: [section('next times', schedule.upcoming, [{ key: 'time', kind: 'text', get: row => row, about: 'when' }])],
})
