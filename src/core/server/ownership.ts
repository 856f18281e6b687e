import { hostname } from 'node:os'
import { readLabel, type Label } from '../../metadata/label.ts'
import { clearLockRecord, readLockRecord, writeLockRecord, writeLockRecordDurably, type LockRecord } from '../../metadata/lock-record.ts'
import { isCode, LunarError } from '../base/errors.ts'
import type { ResourceStack } from '../base/resources.ts'
import { NIL_UUID } from '../base/uuid.ts'
import type { FileDisk } from '../block/file.ts'
import { isNbdUri } from '../nbd/uri.ts'
import type { FoundDisk, MissingDisk } from './engine-types.ts'
import { describeRecord, isStopped } from './holder.ts'
import { isFileDisk, type HostDisk } from './host-disk.ts'
import { lifeOf, thisProcess } from './process-identity.ts'
import { claim, release, type Claimant, type Claimed } from './remote-claim.ts'
import { VERSION } from './version.ts'

/** A disk of a pool as its owner holds it. */
export interface OwnedDisk {
  readonly disk: HostDisk
  readonly label: Label
}

export type LockAttempt =
  /** `failed`: disks that could not be locked because they do not answer; they are not ours. */
  | { readonly kind: 'taken'; readonly disks: readonly OwnedDisk[]; readonly failed: readonly MissingDisk[] }
  /** Somebody else has the lock of one disk; the record may be an old one, or not yet written. */
  | { readonly kind: 'held'; readonly record: LockRecord | undefined; readonly path: string }
  /** A disk is no longer what its label said before the lock was ours. */
  | { readonly kind: 'changed' }

/** Who is about to own a pool; its socket is not open yet. */
export const newRecord = (of: Pick<LockRecord, 'command'> & Partial<Pick<LockRecord, 'poolId' | 'kind' | 'readOnly'>>): LockRecord => ({
  kind: 'command',
  readOnly: false,
  poolId: NIL_UUID,
  ...of,
  pid: process.pid,
  identity: thisProcess(),
  sinceMs: Date.now(),
  instance: crypto.randomUUID(),
  version: VERSION,
  host: hostname(),
  socket: '',
})

/**
 * Takes the lock of every disk: the kernel's in the order of the disk ids, so that exactly one of many wins (hazard 39), then the records of
 * disks behind a connection. Nothing stays locked unless all is. Disks on read-only media have no lock: nobody can write there.
 * What was claimed is given back when `open` is closed, unless another owner has it by then.
 */
export async function takeLocks(disks: readonly OwnedDisk[], claimant: Claimant, open: ResourceStack): Promise<LockAttempt> {
  const taken: FileDisk[] = []
  const giveUp = (): void => {
    for (const disk of taken.reverse()) disk.unlock()
  }
  const remote: Claimed[] = []
  for (const { disk, label } of [...disks].sort((a, b) => (a.label.diskId < b.label.diskId ? -1 : 1))) {
    if (disk.readOnly) continue
    if (!isFileDisk(disk)) remote.push({ disk, diskId: label.diskId })
    else if (disk.tryLock()) taken.push(disk)
    else {
      giveUp()
      return { kind: 'held', record: await readLockRecord(disk, label.diskId), path: disk.name }
    }
  }
  const claimed = await claimFor(remote, claimant, open)
  if (claimed.kind === 'held') {
    giveUp()
    return claimed
  }
  const ours = disks.filter(({ disk }) => !claimed.failed.has(disk))
  for (const { disk, label } of ours) {
    const report = await readLabel(disk)
    if (report.kind !== 'label' || report.label.diskId !== label.diskId || report.label.poolId !== label.poolId) {
      giveUp()
      await release(remote, claimant.record.instance)
      return { kind: 'changed' }
    }
  }
  const failed = disks.flatMap(({ disk, label }): MissingDisk[] => {
    const error = claimed.failed.get(disk)
    return error ? [{ path: disk.name, diskId: label.diskId, reason: error.why }] : []
  })
  return { kind: 'taken', disks: ours, failed }
}

/** Locks one disk more. @returns false when somebody else has it @throws LunarError as `claim`; `ERR_IO` when it does not answer */
export async function takeLock(disk: HostDisk, diskId: string, claimant: Claimant, open: ResourceStack): Promise<boolean> {
  if (isFileDisk(disk)) return disk.tryLock()
  const attempt = await claimFor([{ disk, diskId }], claimant, open)
  if (attempt.kind === 'held') return false
  const error = attempt.failed.get(disk)
  if (error) throw error
  return true
}

async function claimFor(disks: readonly Claimed[], claimant: Claimant, open: ResourceStack): ReturnType<typeof claim> {
  if (disks.length === 0) return { kind: 'claimed', failed: new Map() }
  const attempt = await claim(disks, claimant)
  if (attempt.kind === 'claimed') open.defer(() => release(disks, claimant.record.instance))
  return attempt
}

/** Closes a disk that does not become, or stay, one of the pool's; its lock ends with it. */
export async function letGo(disk: HostDisk, instance: string): Promise<void> {
  if (!isFileDisk(disk)) await release([{ disk, diskId: NIL_UUID }], instance)
  await disk.close()
}

/** Writes who owns the pool to every disk that takes it; a disk that fails here is for the engine to judge. */
export async function writeRecords(disks: readonly OwnedDisk[], record: LockRecord): Promise<void> {
  await onEvery(disks, disk => writeRecord(disk, record))
}

export const writeRecord = ({ disk, label }: OwnedDisk, record: LockRecord): Promise<void> =>
  isFileDisk(disk) ? writeLockRecord(disk, label.diskId, record) : writeLockRecordDurably(disk, label.diskId, record)

/** What was claimed behind a connection is given back by whoever claimed it. */
export async function clearRecords(disks: readonly OwnedDisk[]): Promise<void> {
  await onEvery(
    disks.filter(({ disk }) => isFileDisk(disk)),
    ({ disk }) => clearLockRecord(disk),
  )
}

async function onEvery(disks: readonly OwnedDisk[], write: (disk: OwnedDisk) => Promise<void>): Promise<void> {
  const writable = disks.filter(({ disk }) => !disk.readOnly)
  const results = await Promise.allSettled(writable.map(write))
  const failures = results.flatMap(result => (result.status === 'rejected' ? [result.reason as unknown] : []))
  const serious = failures.find(error => !isCode(error, 'ERR_IO') && !isCode(error, 'ERR_HOST_FULL'))
  if (serious) throw serious as Error
  if (failures.length > 0 && failures.length === writable.length) throw failures[0] as Error
}

/** The newest record on any of the disks. */
export async function findRecord(disks: readonly FoundDisk[]): Promise<LockRecord | undefined> {
  const records = await Promise.all(disks.map(({ disk, label }) => readLockRecord(disk, label.diskId)))
  return records.filter(record => record !== undefined).sort((a, b) => b.sinceMs - a.sinceMs)[0]
}

export function lockedError(pool: string, record: LockRecord | undefined, path: string, why?: string): LunarError {
  if (!record) return new LunarError('ERR_LOCKED', `Cannot open pool ${pool}`, { why: `another process holds the lock of ${path} and has not said who it is` })
  const who = describeRecord(record)
  if (isNbdUri(path) && lifeOf(record) === 'unknown') {
    return new LunarError('ERR_LOCKED', `Cannot open pool ${pool}`, {
      why: `${who} has claimed ${path}, and nobody here can tell whether it lives`,
      fix: `end it there; when that host is down for good: lunar pool import URI... --force=host`,
      blockers: [who],
    })
  }
  if (why === undefined && isStopped(record)) {
    return new LunarError('ERR_LOCKED', `Cannot open pool ${pool}`, {
      why: `${who} owns it and is stopped (SIGSTOP)`,
      fix: `let it go on: kill -CONT ${record.pid}`,
      blockers: [who],
    })
  }
  return new LunarError('ERR_LOCKED', `Cannot open pool ${pool}`, {
    why: why === undefined ? `${who} owns it and does not answer` : `${who} owns it; ${why}`,
    fix: `wait for process ${record.pid}, or end it; lunar lock show ${pool} names it`,
    blockers: [who],
  })
}
