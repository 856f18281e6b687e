import { invariant } from '../base/errors.ts'

export type LockMode = 'shared' | 'exclusive'
/** Ends a lock; to be called once. */
export type Release = () => void

interface Entry {
  readonly offset: number
  readonly end: number
  readonly exclusive: boolean
  /** Earlier entries that this one has to wait for. */
  blockers: number
  grant: (() => void) | undefined
  previous: Entry | undefined
  next: Entry | undefined
}

const conflict = (a: Entry, b: Entry): boolean => (a.exclusive || b.exclusive) && a.offset < b.end && b.offset < a.end

/**
 * Locks on ranges of bytes. A request waits for every earlier one, held or waiting, that touches its range and is not
 * shared as it is; so nobody starves, and different ranges never wait for each other. Made for few requests at a time:
 * one costs a look at each of them.
 */
export class RangeLock {
  private first: Entry | undefined
  private last: Entry | undefined

  /** @param length bytes, above 0. Resolves when the range is locked */
  lock(offset: number, length: number, mode: LockMode): Promise<Release> {
    const entry = this.entryFor(offset, length, mode)
    for (let earlier = this.first; earlier; earlier = earlier.next) if (conflict(earlier, entry)) entry.blockers++
    this.append(entry)
    const release = this.releaseOf(entry)
    if (entry.blockers === 0) return Promise.resolve(release)
    return new Promise(resolve => {
      entry.grant = () => resolve(release)
    })
  }

  /** The lock when it needs no waiting, else undefined. */
  tryLock(offset: number, length: number, mode: LockMode): Release | undefined {
    const entry = this.entryFor(offset, length, mode)
    for (let earlier = this.first; earlier; earlier = earlier.next) if (conflict(earlier, entry)) return undefined
    this.append(entry)
    return this.releaseOf(entry)
  }

  /** Whether `tryLock` would grant the lock: for what is done before anybody else has a turn. */
  isFree(offset: number, length: number, mode: LockMode): boolean {
    const end = offset + length
    const exclusive = mode === 'exclusive'
    for (let earlier = this.first; earlier; earlier = earlier.next)
      if ((exclusive || earlier.exclusive) && offset < earlier.end && earlier.offset < end) return false
    return true
  }

  /** Nothing is locked and nobody waits. */
  get idle(): boolean {
    return this.first === undefined
  }

  private entryFor(offset: number, length: number, mode: LockMode): Entry {
    return { offset, end: offset + length, exclusive: mode === 'exclusive', blockers: 0, grant: undefined, previous: undefined, next: undefined }
  }

  private append(entry: Entry): void {
    entry.previous = this.last
    if (this.last) this.last.next = entry
    else this.first = entry
    this.last = entry
  }

  private releaseOf(entry: Entry): Release {
    let held = true
    return () => {
      invariant(held, 'a lock is released once')
      held = false
      if (entry.previous) entry.previous.next = entry.next
      else this.first = entry.next
      if (entry.next) entry.next.previous = entry.previous
      else this.last = entry.previous
      for (let later = entry.next; later; later = later.next) {
        if (conflict(entry, later) && --later.blockers === 0) later.grant?.()
      }
    }
  }
}
