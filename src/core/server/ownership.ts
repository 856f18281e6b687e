import { readLabel, type Label } from '../../metadata/label.ts'
import { clearLockRecord, readLockRecord, writeLockRecord, type LockRecord } from '../../metadata/lock-record.ts'
import { isCode, LunarError } from '../base/errors.ts'
import type { FileDisk } from '../block/file.ts'
import type { FoundDisk } from './engine-types.ts'
import { describeRecord, isStopped } from './holder.ts'

/** A disk of a pool as its owner holds it. */
export interface OwnedDisk {
  readonly disk: FileDisk
  readonly label: Label
}

export type LockAttempt =
  | { readonly kind: 'taken' }
  /** Somebody else has the lock of one disk; the record may be an old one, or not yet written. */
  | { readonly kind: 'held'; readonly record: LockRecord | undefined; readonly path: string }
  /** A disk is no longer what its label said before the lock was ours. */
  | { readonly kind: 'changed' }

/**
 * Takes the kernel's lock on every disk, in the order of the disk ids, so that exactly one of many wins (hazard 39).
 * Nothing stays locked unless all is. Disks on read-only media have no lock: nobody can write there.
 */
export async function takeLocks(disks: readonly OwnedDisk[]): Promise<LockAttempt> {
  const taken: FileDisk[] = []
  const giveUp = (): void => {
    for (const disk of taken.reverse()) disk.unlock()
  }
  for (const { disk, label } of [...disks].sort((a, b) => (a.label.diskId < b.label.diskId ? -1 : 1))) {
    if (disk.readOnly) continue
    if (!disk.tryLock()) {
      giveUp()
      return { kind: 'held', record: await readLockRecord(disk, label.diskId), path: disk.name }
    }
    taken.push(disk)
  }
  for (const { disk, label } of disks) {
    const report = await readLabel(disk)
    if (report.kind !== 'label' || report.label.diskId !== label.diskId || report.label.poolId !== label.poolId) {
      giveUp()
      return { kind: 'changed' }
    }
  }
  return { kind: 'taken' }
}

/** Writes who owns the pool to every disk that takes it; a disk that fails here is for the engine to judge. */
export async function writeRecords(disks: readonly OwnedDisk[], record: LockRecord): Promise<void> {
  await onEvery(disks, ({ disk, label }) => writeLockRecord(disk, label.diskId, record))
}

export async function clearRecords(disks: readonly OwnedDisk[]): Promise<void> {
  await onEvery(disks, ({ disk }) => clearLockRecord(disk))
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
