/** Schedules held against the LUNs they name. */
import { LUN_DELETED, LUN_STORE, LUN_WRITE_ONCE, scheduleResults, type LunRecord, type ScheduleRecord } from './records.ts'

type Report = (code: string, object: string, message: string) => void

/** Names are unique, what is scheduled is there and may be, and no two take snapshots of one LUN under the same names. */
export function checkSchedules(schedules: ReadonlyMap<number, ScheduleRecord>, luns: ReadonlyMap<number, LunRecord>, problem: Report): void {
  const names = new Map<string, number>()
  const series = new Map<string, number>()
  for (const [number, { name, prefix, result, keepLast, luns: scheduled }] of schedules) {
    const object = `schedule ${number}`
    const other = names.get(name)
    if (other !== undefined) problem('schedule.name', object, `schedule ${other} has the same name "${name}"`)
    names.set(name, number)
    if (scheduled.length === 0) problem('schedule.luns', object, 'it is of no LUN')
    if (keepLast === 0) problem('schedule.rules', object, 'it keeps not even the newest snapshot')
    if (result >= scheduleResults.length) problem('schedule.result', object, `${result} is no result of a run`)
    for (const { lun } of scheduled) {
      const why = cannotBeScheduled(luns.get(lun))
      if (why !== undefined) problem('schedule.luns', object, `LUN ${lun} ${why}`)
      const same = series.get(`${lun} ${prefix}`)
      if (same !== undefined)
        problem('schedule.prefix', object, same === number ? `LUN ${lun} is named twice` : `schedule ${same} names snapshots of LUN ${lun} alike`)
      series.set(`${lun} ${prefix}`, number)
    }
  }
}

function cannotBeScheduled(record: LunRecord | undefined): string | undefined {
  if (!record || (record.flags & LUN_DELETED) !== 0) return 'does not exist'
  if ((record.flags & (LUN_STORE | LUN_WRITE_ONCE)) !== 0) return 'is not for users'
  return undefined
}
