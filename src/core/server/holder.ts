import { isoTime } from '../base/clock.ts'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { errnoOf } from '../base/errors.ts'
import type { LockHolder } from './api.ts'

/** Who holds a pool, for messages: "process 123 on alpha (lunar lun import db x.img)". */
export const describeRecord = (record: LockRecord): string => `process ${record.pid} on ${record.host} (${record.command})`

export function holderView(record: LockRecord): LockHolder {
  const { pid, version, host, command, socket, kind } = record
  return { pid, version, host, command, socket, since: isoTime(record.sinceMs), kind }
}

/** Whether the process was stopped by a signal or a debugger, as far as this host lets us see it. */
export const isStopped = (record: LockRecord): boolean => record.host === hostname() && /^[Tt]$/.test(stateOf(record.pid) ?? '')

/** Whether a process of this host has ended, also when its parent has not asked for its status yet. */
export const hasEnded = (pid: number): boolean => /^[ZX]$/.test(stateOf(pid) ?? 'X')

/** The state of a process as one letter (proc(5)); undefined when it has ended, or is not for our eyes. */
function stateOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return undefined
  }
}
