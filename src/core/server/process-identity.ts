/** Which process a lock record means, and whether it can still be alive: what a disk without a lock of the kernel is judged by. */
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import type { LockRecord, ProcessIdentity } from '../../metadata/lock-record.ts'
import { errnoOf } from '../base/errors.ts'
import { formatUuid, NIL_UUID } from '../base/uuid.ts'

/** What can be told of the process that a lock record names; `unknown`: it runs on another host, or where this one does not see it. */
export type Life = 'alive' | 'dead' | 'unknown'

export const thisProcess = (): ProcessIdentity => ({
  machineId: idIn('/etc/machine-id'),
  bootId: idIn('/proc/sys/kernel/random/boot_id'),
  pidNamespace: pidNamespace(),
  startTicks: startTicks(process.pid) ?? 0,
})

/** @param here of the asking process */
export function lifeOf(record: Pick<LockRecord, 'pid' | 'host' | 'identity'>, here: ProcessIdentity = thisProcess()): Life {
  const { machineId, bootId, pidNamespace, startTicks: started } = record.identity
  if (bootId !== NIL_UUID && bootId === here.bootId) {
    if (pidNamespace === 0 || pidNamespace !== here.pidNamespace) return 'unknown'
    const ticks = startTicks(record.pid)
    if (ticks === undefined && isHidden(record.pid)) return 'unknown'
    return ticks === started ? 'alive' : 'dead'
  }
  const rebooted = bootId !== NIL_UUID && here.bootId !== NIL_UUID && machineId !== NIL_UUID && machineId === here.machineId
  return rebooted && record.host === hostname() ? 'dead' : 'unknown'
}

/** 32 hex digits, with or without hyphens. */
function idIn(path: string): string {
  const digits = textOf(path)?.trim().replaceAll('-', '') ?? ''
  return /^[0-9a-f]{32}$/.test(digits) ? formatUuid(Buffer.from(digits, 'hex')) : NIL_UUID
}

function pidNamespace(): number {
  try {
    return Number(/\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? 0)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return 0
  }
}

/** Field 22 of proc(5); undefined when the process has ended, also when its parent has not asked for its status yet. */
function startTicks(pid: number): number | undefined {
  const stat = textOf(`/proc/${pid}/stat`)
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  return !fields || /^[ZX]$/.test(fields[0] ?? '') ? undefined : Number(fields[19])
}

/** Whether there is such a process although proc(5) does not show it to us. */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return textOf(`/proc/${pid}/stat`) === undefined
  } catch (error) {
    return errnoOf(error) === 'EPERM' && textOf(`/proc/${pid}/stat`) === undefined
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return undefined
  }
}
