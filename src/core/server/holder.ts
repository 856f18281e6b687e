import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { errnoOf } from '../base/errors.ts'
import type { LockHolder } from './api.ts'

/** Who holds a pool, for messages: "process 123 on alpha (lunar lun import db x.img)". */
export const describeRecord = (record: LockRecord): string => `process ${record.pid} on ${record.host} (${record.command})`

export function holderView(record: LockRecord): LockHolder {
  const { pid, version, host, command, socket, kind } = record
  return { pid, version, host, command, socket, since: new Date(record.sinceMs).toISOString(), kind }
}

/** Whether the process was stopped by a signal or a debugger, as far as this host lets us see it. */
export function isStopped(record: LockRecord): boolean {
  if (record.host !== hostname()) return false
  try {
    const stat = readFileSync(`/proc/${record.pid}/stat`, 'utf8')
    return /^ [Tt] /.test(stat.slice(stat.lastIndexOf(')') + 1))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false // it has ended, or is not for our eyes
  }
}
