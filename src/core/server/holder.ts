import type { LockRecord } from '../../metadata/lock-record.ts'
import type { LockHolder } from './api.ts'

/** Who holds a pool, for messages: "process 123 on alpha (lunar lun import db x.img)". */
export const describeRecord = (record: LockRecord): string => `process ${record.pid} on ${record.host} (${record.command})`

export function holderView(record: LockRecord): LockHolder {
  const { pid, version, host, command, socket, kind } = record
  return { pid, version, host, command, socket, since: new Date(record.sinceMs).toISOString(), kind }
}
