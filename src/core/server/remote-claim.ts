/**
 * The lock of a disk that no kernel guards is its lock record (docs/architecture.md, "Disks behind a connection"). Two who come at the same time
 * both write, wait until the slower one's write must have arrived, and read back: whose record stands has it. Whoever owns the disk looks
 * at the record all the time and stops when it is another's, so what is taken from somebody who may live is used only after `lapse`.
 */
import { clearLockRecord, readAnyLockRecord, writeLockRecordDurably, type LockRecord } from '../../metadata/lock-record.ts'
import { systemClock } from '../base/clock.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { settle } from '../base/settle.ts'
import type { Disk, RemoteEnd } from '../block/device.ts'
import { describeRecord } from './holder.ts'
import { lifeOf } from './process-identity.ts'

/** Milliseconds. `settle` is more than twice `quick`, `lapse` more than twice `look`. */
export interface ClaimTimes {
  /** From the beginning of the first read to the end of the write; a slower claim waits for `lapse`. */
  readonly quick: number
  /** From a quick write of a free record until it is read back. */
  readonly settle: number
  /** The same where the record was somebody's, or the write was slow. */
  readonly lapse: number
  /** Between two looks of an owner. */
  readonly look: number
}

export const claimTimes: ClaimTimes = { quick: 250, settle: 600, lapse: 3000, look: 1000 }

export interface Claimed {
  readonly disk: Disk & { readonly remote?: RemoteEnd }
  /** Of the disk, or one of its own while it has no label. */
  readonly diskId: string
}

export interface Claimant {
  readonly record: LockRecord
  /** Instance of the owner that hands the pool on. */
  readonly predecessor?: string
  /** Takes it also from a process of which nobody here can tell whether it lives. */
  readonly force?: boolean
}

export type ClaimAttempt =
  /** `failed`: disks that could not be read or written, which are nobody's. */
  | { readonly kind: 'claimed'; readonly failed: ReadonlyMap<Disk, LunarError> }
  | { readonly kind: 'held'; readonly record: LockRecord | undefined; readonly path: string }

/**
 * Claims all of the disks or none. Nothing is written while somebody has one of them.
 * @throws LunarError `ERR_DUPLICATE_DISK` when two of them, or one that the claimant has already, are one export; `ERR_FORMAT_NEWER`
 */
export async function claim(disks: readonly Claimed[], claimant: Claimant, times: ClaimTimes = claimTimes): Promise<ClaimAttempt> {
  const failed = new Map<Disk, LunarError>()
  const begun = systemClock.monotonicMs()
  const found = await onEach(disks, failed, ({ disk }) => readAnyLockRecord(disk))
  let wait = 0
  for (const [claimed, lock] of found) {
    if (lock?.record.instance === claimant.record.instance) checkSame(claimed, lock.diskId)
    else if (!lock) wait = Math.max(wait, times.settle)
    else if (lock.record.instance !== claimant.predecessor) {
      if (!mayTake(lock.record, claimant)) return { kind: 'held', record: lock.record, path: claimed.disk.name }
      wait = times.lapse
    }
  }
  const present = disks.filter(({ disk }) => !failed.has(disk))
  await onEach(present, failed, ({ disk, diskId }) => writeLockRecordDurably(disk, diskId, claimant.record))
  if (wait > 0 && systemClock.monotonicMs() - begun > times.quick) wait = times.lapse
  if (wait > 0) await systemClock.pause(wait)
  const written = present.filter(({ disk }) => !failed.has(disk))
  for (const [claimed, lock] of await onEach(written, failed, ({ disk }) => readAnyLockRecord(disk))) {
    if (lock?.record.instance === claimant.record.instance) {
      checkSame(claimed, lock.diskId)
      continue
    }
    await release(written, claimant.record.instance)
    return { kind: 'held', record: lock?.record, path: claimed.disk.name }
  }
  return { kind: 'claimed', failed }
}

/** Takes back what this instance has claimed; what another has meanwhile stays. A disk that cannot be reached keeps the record. */
export async function release(disks: readonly Claimed[], instance: string): Promise<void> {
  const failed = new Map<Disk, LunarError>()
  await onEach(disks, failed, async ({ disk }) => {
    if ((await readAnyLockRecord(disk))?.record.instance === instance) await clearLockRecord(disk)
  })
}

const mayTake = (record: LockRecord, { force }: Claimant): boolean => {
  const life = lifeOf(record)
  return life === 'dead' || (life === 'unknown' && force === true)
}

function checkSame({ disk, diskId }: Claimed, found: string): void {
  if (found === diskId) return
  throw new LunarError('ERR_DUPLICATE_DISK', `Cannot use ${disk.name} as a disk`, { why: 'another disk of this pool is the same export under another name' })
}

/** A disk whose call fails is added to `failed` and has no result. */
async function onEach<T>(disks: readonly Claimed[], failed: Map<Disk, LunarError>, call: (claimed: Claimed) => Promise<T>): Promise<[Claimed, T][]> {
  const results = await settle(
    disks.map(async (claimed): Promise<[Claimed, T] | undefined> => {
      try {
        return [claimed, await call(claimed)]
      } catch (error) {
        if (!isCode(error, 'ERR_IO') && !isCode(error, 'ERR_HOST_FULL')) throw error
        failed.set(claimed.disk, error)
        return undefined
      }
    }),
  )
  return results.filter(result => result !== undefined)
}

/** Looks at the records of an owner's disks, and gives up the disk whose record is no longer the owner's. */
export class ClaimWatch {
  private readonly looking = new Set<Disk>()
  private readonly timer: NodeJS.Timeout

  constructor(
    private readonly disks: () => readonly Claimed[],
    private readonly instance: string,
    times: ClaimTimes = claimTimes,
  ) {
    this.timer = setInterval(() => {
      for (const { disk } of this.disks()) if (disk.remote && !disk.remote.isLost && !this.looking.has(disk)) void this.look(disk, disk.remote)
    }, times.look).unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  private async look(disk: Disk, remote: RemoteEnd): Promise<void> {
    this.looking.add(disk)
    try {
      const found = await readAnyLockRecord(disk)
      if (found?.record.instance === this.instance) return
      remote.lose(found ? `${describeRecord(found.record)} has taken it` : 'its lock record is gone')
    } catch (error) {
      // What cannot be read cannot be told to be ours.
      remote.lose(error instanceof Error ? error.message : String(error))
    } finally {
      this.looking.delete(disk)
    }
  }
}
