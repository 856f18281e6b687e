/** Writes that are acknowledged before they may go down (engine.md section 1): bounded, and found by whoever reads their range. */
import { deferred, type Deferred } from '../base/deferred.ts'
import { invariant } from '../base/errors.ts'
import { MIB } from '../base/units.ts'

/** A bound on bytes that several may share. Who comes first is served first, so that a large request is not passed for ever. */
export class ByteBudget {
  private used = 0
  private readonly waiting: { readonly bytes: number; readonly admit: () => void }[] = []

  /** @param limit bytes, above 0 */
  constructor(readonly limit: number) {}

  /** Bytes taken now: at most `limit`, but for a single larger request that is alone. */
  get taken(): number {
    return this.used
  }

  /** Takes the bytes when there is room and nobody waits. */
  tryAdmit(bytes: number): boolean {
    if (this.waiting.length > 0 || !this.fits(bytes)) return false
    this.used += bytes
    return true
  }

  /** Resolves when the bytes are taken. A request above the limit gets its turn when nothing else is taken. */
  admit(bytes: number): Promise<void> {
    if (this.tryAdmit(bytes)) return Promise.resolve()
    const turn = deferred()
    this.wait(bytes, turn.resolve)
    return turn.promise
  }

  /** Waits for its turn, after `tryAdmit` said no. `admit` is called when the bytes are taken. @returns what gives the turn up; afterwards harmless */
  wait(bytes: number, admit: () => void): () => void {
    const request = { bytes, admit }
    this.waiting.push(request)
    return () => {
      const at = this.waiting.indexOf(request)
      if (at < 0) return
      this.waiting.splice(at, 1)
      this.admitNext()
    }
  }

  release(bytes: number): void {
    this.used -= bytes
    invariant(this.used >= 0, 'bytes are released once')
    this.admitNext()
  }

  private admitNext(): void {
    for (let next = this.waiting[0]; next && this.fits(next.bytes); next = this.waiting[0]) {
      this.waiting.shift()
      this.used += next.bytes
      next.admit()
    }
  }

  private fits(bytes: number): boolean {
    return this.used === 0 || this.used + bytes <= this.limit
  }
}

class Held {
  private waiting: Deferred<void> | undefined

  constructor(
    readonly offset: number,
    readonly end: number,
  ) {}

  /** Resolves when the write has ended, well or not. */
  get settled(): Promise<void> {
    this.waiting ??= deferred()
    return this.waiting.promise
  }

  ended(): void {
    this.waiting?.resolve()
  }
}

/** Ranges are found by the 1 MiB slices they touch. */
const SLICE = MIB
/** So many ranges of writes that failed are told apart; with more, all from the first to the last is one. */
const LOST_MAX = 1024

/**
 * The held writes of one device. A writer is admitted, acknowledged, and hands over the promise of its write with `hold`;
 * the bytes are free again when that has ended. A held write that fails was acknowledged already: from then on `drain`,
 * and with it every flush, fails, and `lostIn` says which bytes are not what they were said to be (hazard 2).
 */
export class WriteBackHold {
  private readonly slices = new Map<number, Set<Held>>()
  private readonly all = new Set<Held>()
  private failed: { readonly error: unknown } | undefined
  private lost: { readonly offset: number; readonly end: number }[] = []
  readonly budget: ByteBudget

  /** @param budget a limit in bytes (64 MiB when left out), or a budget shared with other holds */
  constructor(budget: number | ByteBudget = 64 * MIB) {
    this.budget = typeof budget === 'number' ? new ByteBudget(budget) : budget
  }

  /** How many writes are held. */
  get count(): number {
    return this.all.size
  }

  /** Waits for room; whoever is admitted must `hold` or `cancel` the same number of bytes. */
  admit(bytes: number): Promise<void> {
    return this.budget.admit(bytes)
  }

  /** As `admit`, when that needs no waiting. */
  tryAdmit(bytes: number): boolean {
    return this.budget.tryAdmit(bytes)
  }

  /** Gives back what was admitted and is not held after all. */
  cancel(bytes: number): void {
    this.budget.release(bytes)
  }

  /**
   * Holds an admitted write of `length` bytes, above 0, until `written` settles.
   * @param admitted bytes that were admitted for it, when that was more
   */
  hold(offset: number, length: number, written: Promise<void>, admitted = length): void {
    const end = this.begin(offset, length, admitted)
    written.then(
      () => {
        end()
      },
      (error: unknown) => {
        end({ error })
      },
    )
  }

  /**
   * Holds an admitted write until what this returns is called, once, with its failure when it failed.
   * @param admitted bytes that were admitted for it
   */
  begin(offset: number, length: number, admitted: number): (failure?: { readonly error: unknown }) => void {
    const held = new Held(offset, offset + length)
    this.all.add(held)
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < held.end; slice++) {
      const found = this.slices.get(slice)
      if (found) found.add(held)
      else this.slices.set(slice, new Set([held]))
    }
    return failure => {
      if (failure) this.fail(held, failure)
      this.remove(held)
      this.budget.release(admitted)
      held.ended()
    }
  }

  /** Whether something held touches the range. */
  touches(offset: number, length: number): boolean {
    if (this.all.size === 0) return false
    const end = offset + length
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < end; slice++) {
      const found = this.slices.get(slice)
      if (found) for (const held of found) if (held.offset < end && offset < held.end) return true
    }
    return false
  }

  /** Undefined when nothing held touches the range; else resolves when all that does now has ended, well or not. */
  overlapping(offset: number, length: number): Promise<void> | undefined {
    if (!this.touches(offset, length)) return undefined
    const end = offset + length
    const found = new Set<Promise<void>>()
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < end; slice++) {
      for (const held of this.slices.get(slice) ?? []) if (held.offset < end && offset < held.end) found.add(held.settled)
    }
    return Promise.all(found).then(() => undefined)
  }

  /** Resolves when everything held at this call has ended. @throws the error of the first held write that ever failed */
  async drain(): Promise<void> {
    await Promise.all([...this.all].map(held => held.settled))
    if (this.failed) throw this.failed.error
  }

  /** How the first held write failed, when one that touched the range did. */
  lostIn(offset: number, length: number): { readonly error: unknown } | undefined {
    if (!this.failed) return undefined
    return this.lost.some(lost => lost.offset < offset + length && offset < lost.end) ? this.failed : undefined
  }

  private fail({ offset, end }: Held, failure: { readonly error: unknown }): void {
    this.failed ??= failure
    this.lost.push({ offset, end })
    if (this.lost.length <= LOST_MAX) return
    this.lost = [this.lost.reduce((all, one) => ({ offset: Math.min(all.offset, one.offset), end: Math.max(all.end, one.end) }))]
  }

  private remove(held: Held): void {
    this.all.delete(held)
    for (let slice = Math.floor(held.offset / SLICE); slice * SLICE < held.end; slice++) {
      const found = this.slices.get(slice)
      found?.delete(held)
      if (found?.size === 0) this.slices.delete(slice)
    }
  }
}
