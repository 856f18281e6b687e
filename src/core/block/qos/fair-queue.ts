/**
 * Who goes next when more is asked of a pool than it does at a time (features.md B13: priority, guaranteed minimum per volume). Pure: it
 * decides and counts, time is given.
 *
 * A pool is *saturated* while `SLOTS` operations are under way. What comes then waits, in order for each volume. A slot that becomes free goes to
 *
 * 1. a volume that has not had its guaranteed minimum, the one that waits longest;
 * 2. else the class (high, normal, low) that had least for its weight, and in it the volume that had least. What a class or a volume did not use while it
 *    wanted nothing is not kept for it (start-time fair queueing; Goyal, Vin, Cheng 1996).
 *
 * One volume has at most `VOLUME_SLOTS`, so that a disk that hangs does not take the slots of volumes on others.
 */
import { invariant } from '../../base/errors.ts'
import type { Priority } from './quality.ts'
import { TokenBucket } from './token-bucket.ts'

/** Operations under way at a time, of all volumes. */
const SLOTS = 32
const VOLUME_SLOTS = 24
const weights: Readonly<Record<Priority, number>> = { high: 16, normal: 4, low: 1 }

interface Waiting {
  readonly cost: number
  /** Among all that ever waited. */
  readonly ticket: number
  readonly go: () => void
}

/** A volume, as the queue sees it. */
export class Member {
  readonly waiting: Waiting[] = []
  inFlight = 0
  /** What it had of its class. */
  used = 0
  priority: Priority = 'normal'
  minIops = 0
  guarantee: TokenBucket | undefined
}

interface Class {
  readonly weight: number
  /** What it had, for its weight. */
  used: number
  /** What the member that went last had before: who begins to wait has had as much. */
  reached: number
  readonly members: Set<Member>
}

export class FairQueue {
  private readonly classes: Record<Priority, Class>
  /** Members that wait. */
  private readonly waiting = new Set<Member>()
  private inFlight = 0
  private tickets = 0
  /** The same of classes. */
  private reached = 0

  constructor(
    private readonly slots = SLOTS,
    private readonly volumeSlots = VOLUME_SLOTS,
  ) {
    const made = (priority: Priority): Class => ({ weight: weights[priority], used: 0, reached: 0, members: new Set() })
    this.classes = { high: made('high'), normal: made('normal'), low: made('low') }
  }

  /** Whether `tryEnter` would succeed. */
  hasRoom(member: Member): boolean {
    return this.inFlight < this.slots && member.inFlight < this.volumeSlots && member.waiting.length === 0
  }

  /** Begins an operation when nothing has to be waited for. Each that has begun ends with `leave`. */
  tryEnter(member: Member, now: number): boolean {
    if (!this.hasRoom(member)) return false
    this.begin(member, now)
    return true
  }

  /** Waits, after `tryEnter` said no: `go` is called when the operation has begun. @param cost at least 1 */
  wait(member: Member, cost: number, go: () => void): void {
    if (member.waiting.length === 0) this.join(member)
    member.waiting.push({ cost, ticket: this.tickets++, go })
  }

  private join(member: Member): void {
    const among = this.classes[member.priority]
    if (among.members.size === 0) among.used = Math.max(among.used, this.reached)
    member.used = Math.max(member.used, among.reached)
    among.members.add(member)
    this.waiting.add(member)
  }

  leave(member: Member, now: number): void {
    member.inFlight--
    this.inFlight--
    invariant(member.inFlight >= 0, 'an operation ends once')
    this.fill(now)
  }

  /** @param minIops operations a second that it has when the pool is saturated, 0: none */
  set(member: Member, priority: Priority, minIops: number, now: number): void {
    if (priority !== member.priority) {
      this.classes[member.priority].members.delete(member)
      member.priority = priority
      member.used = 0
      if (member.waiting.length > 0) this.join(member)
    }
    if (minIops !== member.minIops) {
      member.minIops = minIops
      member.guarantee = minIops === 0 ? undefined : new TokenBucket(minIops, Math.max(1, minIops / 10), now)
    }
    this.fill(now)
  }

  /** Lets all go who wait: the queue is not used any more. What is under way still ends with `leave`. */
  open(now: number): void {
    for (const member of [...this.waiting]) while (member.waiting.length > 0) this.grant(member, now)
  }

  private fill(now: number): void {
    while (this.inFlight < this.slots) {
      const next = this.next(now)
      if (!next) return
      this.grant(next, now)
    }
  }

  private next(now: number): Member | undefined {
    let first: Member | undefined
    let fair: Member | undefined
    for (const member of this.waiting) {
      if (member.inFlight >= this.volumeSlots) continue
      if (member.guarantee?.has(1, now) && (!first || member.waiting[0]!.ticket < first.waiting[0]!.ticket)) first = member
      if (!fair || this.goesBefore(member, fair)) fair = member
    }
    return first ?? fair
  }

  private goesBefore(a: Member, b: Member): boolean {
    const [classA, classB] = [this.classes[a.priority], this.classes[b.priority]]
    if (classA === classB) return a.used < b.used
    return classA.used === classB.used ? classA.weight > classB.weight : classA.used < classB.used
  }

  private grant(member: Member, now: number): void {
    const among = this.classes[member.priority]
    const { cost, go } = member.waiting.shift()!
    this.reached = Math.max(this.reached, among.used)
    among.reached = Math.max(among.reached, member.used)
    among.used += cost / among.weight
    member.used += cost
    if (member.waiting.length === 0) {
      among.members.delete(member)
      this.waiting.delete(member)
    }
    this.begin(member, now)
    go()
  }

  private begin(member: Member, now: number): void {
    if (member.guarantee?.has(1, now)) member.guarantee.take(1, now)
    member.inFlight++
    this.inFlight++
  }
}
