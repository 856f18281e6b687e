/** One life of a pool: opened, worked on by several clients at once, and ended by a crash or a close. All of it is on a tape. */
import { isCode, LunarError } from '../../src/core/base/errors.ts'
import type { Random } from '../../src/core/base/random.ts'
import { SECTOR } from '../../src/core/base/units.ts'
import { Scheduler, type Fault, type SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { SparsePages } from '../../src/core/block/sparse-pages.ts'
import { Tape, type TapeEvent } from '../../src/core/block/tape.ts'
import { activity, disksFrom, finish, openPool, pass, type Running, type Shape, type Sources } from './machine.ts'
import { between, isRedundant, type Change, type LunModel, type Moment, type PoolModel } from './model.ts'
import { foundRelation, leftBy, leftIn, upstream } from './relation-model.ts'
import { SnapshotModel } from './snapshot-model.ts'
import { versionsIn } from './stamps.ts'
import { textOf } from './text.ts'

/** A tape that tells who listens of every event. */
class WatchedTape extends Tape {
  onEvent: () => void = () => undefined

  override record(event: TapeEvent): number {
    const position = super.record(event)
    this.onEvent()
    return position
  }
}

/** What a disk does with what is asked of it. */
export type DiskMood = 'well' | 'no-writes' | 'no-flush' | 'dead' | 'no-space' | 'hung'

/** The membership of the quorum, and whether all disks were whole, from an event of the tape on. */
export interface Health {
  readonly position: number
  readonly members: string
  /** Every disk is normal and serves, and every mirror is known to be equal. */
  readonly whole: boolean
}

/** What hosts are told of images that are not what they should be. */
const refusals = ['ERR_IMAGE_INCOMPLETE', 'ERR_IMAGE_INVALID', 'ERR_SNAPSHOT_DROPPED'] as const

/** Numbers that go on through all lives of a machine, so that no stamp is used twice. */
export class Counters {
  version = 0
  lun = 0
}

export class Life {
  readonly scheduler: Scheduler
  readonly disks: readonly SimulatedDisk[]
  readonly tape: WatchedTape
  readonly health: Health[] = []
  readonly log: string[] = []
  running!: Running
  /** A disk failed in this life: LUNs without redundancy may refuse from then on. */
  faulted = false
  /** The same, or a disk is away: the event of the tape it began with. */
  private troubledAt = Infinity
  /** A disk's host was full: the event it began with. */
  private fullAt = Infinity
  private ticks = 0
  private readonly moods: DiskMood[]
  private readonly inFlight = new Map<Promise<void>, string>()
  private failure: { error: unknown } | undefined
  private ending = false

  constructor(
    readonly random: Random,
    contents: readonly SparsePages[],
    readonly names: readonly string[],
    readonly model: PoolModel,
    readonly counters: Counters,
    readonly sources: Sources,
    schedule: Random,
    readonly shape: Shape,
  ) {
    this.scheduler = new Scheduler(schedule)
    // Small transfers wait for their turn in some lives; in others half of them or most are made at once, as those of files are.
    const quickness = schedule.below(3)
    this.disks = disksFrom(contents, names, { scheduler: this.scheduler, atOnce: () => quickness > 0 && schedule.below(8) < (quickness === 1 ? 4 : 7) })
    this.moods = this.disks.map(() => 'well')
    this.disks.forEach((disk, i) => {
      disk.plan = ({ kind }) => this.fault(i, kind)
    })
    this.tape = new WatchedTape(this.disks)
  }

  // ---- time

  now(): Moment {
    return { tick: ++this.ticks, position: this.tape.length }
  }

  /** Opens the pool; what the tape has before it returned is recovery. */
  async open(): Promise<void> {
    const opening = this.finish(openPool(this.disks, this.sources), 'opening')
    this.running = await opening
    this.tape.onEvent = () => {
      this.watch()
    }
    this.watch()
  }

  /** Closes the pool cleanly and opens it again, on the same tape. */
  async reopen(): Promise<void> {
    await this.settle()
    const begun = this.now()
    await this.finish(this.running.engine.close(), 'closing')
    this.model.closed(begun, this.now(), this.faulted)
    await this.open()
  }

  private watch(): void {
    const { pool } = this.running.parts
    const members = pool.metadata.memberIds.join()
    const whole = this.isWhole
    const last = this.health.at(-1)
    // What is found away when the pool has been opened was away while it was.
    if (this.troubledAt === Infinity && [...pool.disks.values()].some(disk => !disk.inService)) this.troubledAt = last ? this.tape.length : 0
    if (last?.members !== members || last.whole !== whole) this.health.push({ position: this.tape.length, members, whole })
  }

  get isWhole(): boolean {
    const { pool } = this.running.parts
    for (const disk of pool.disks.values()) if (!disk.device || disk.state !== 'normal') return false
    for (const stores of pool.stores.values()) if (stores.unsyncedSlices.length > 0 || stores.staleStores.length > 0) return false
    return this.moods.every(mood => mood === 'well')
  }

  // ---- disks

  private fault(index: number, kind: string): Fault {
    const mood = this.moods[index]!
    const error = (): LunarError => new LunarError('ERR_IO', `Cannot use ${this.names[index]}`, { why: `the simulation refuses its ${kind}` })
    switch (mood) {
      case 'well':
        return undefined
      case 'hung':
        return { delay: new Promise(() => undefined) }
      case 'dead':
        return error()
      case 'no-writes':
        return kind === 'write' || kind === 'durable' ? error() : undefined
      case 'no-flush':
        return kind === 'flush' ? error() : undefined
      case 'no-space':
        return kind === 'reserve' ? new LunarError('ERR_HOST_FULL', `Cannot reserve on ${this.names[index]}`) : undefined
    }
  }

  mood(index: number): DiskMood {
    return this.moods[index]!
  }

  setMood(index: number, mood: DiskMood): void {
    this.note(`${this.names[index]} is ${mood}`)
    if (mood !== 'well' && mood !== 'no-space') {
      this.faulted = true
      this.troubledAt = Math.min(this.troubledAt, this.tape.length)
    }
    if (mood === 'no-space') this.fullAt = Math.min(this.fullAt, this.tape.length)
    this.moods[index] = mood
    if (this.running) this.watch()
  }

  // ---- work

  note(text: string): void {
    this.log.push(`${this.tape.length}: ${text}`)
  }

  /** Starts an operation and does not wait for it. What it throws fails the run. */
  start(what: string, run: () => Promise<void>): void {
    this.note(what)
    const work = run().catch((error: unknown) => {
      this.failure ??= { error: new Error(`${what}: ${textOf(error)}`, { cause: error }) }
    })
    this.inFlight.set(work, what)
    void work.then(() => this.inFlight.delete(work))
  }

  get flying(): number {
    return this.inFlight.size
  }

  /** @throws what an operation threw that it may not throw */
  check(): void {
    if (this.failure) throw this.failure.error
  }

  /** Waits until nothing is in flight. */
  async settle(): Promise<void> {
    await this.finish(Promise.all(this.inFlight.keys()), 'settling')
    this.check()
  }

  finish<T>(work: Promise<T>, what: string): Promise<T> {
    return finish(
      work,
      () => this.tape.length + this.ticks + activity(this.disks),
      () => `${what}, in flight: ${[...this.inFlight.values()].join('; ')}`,
    )
  }

  /** A change of a LUN's contents: on record before it is asked for, and when it has returned. */
  async change(lun: LunModel, what: string, range: { from: number; to: number; version: number }, run: () => Promise<void>): Promise<void> {
    const change: Change = { what, ...range, begun: this.now() }
    lun.changes.push(change)
    lun.users++
    try {
      await run()
      change.done = true
    } catch (error) {
      this.refused(error, lun)
    } finally {
      lun.users--
      change.ended = this.now()
    }
  }

  async flush(lun: LunModel): Promise<void> {
    lun.users++
    try {
      const begun = this.now()
      const device = await this.running.engine.openLun(lun.name, { mixed: true })
      await device.flush().finally(() => device.close())
      lun.flushed(begun, this.now())
    } catch (error) {
      this.refused(error, lun)
    } finally {
      lun.users--
    }
  }

  async read(lun: LunModel, from: number, to: number): Promise<void> {
    lun.users++
    const begun = this.now()
    try {
      const device = await this.running.engine.openLun(lun.name, { mixed: true, readOnly: lun.isFrozen })
      const data = new Uint8Array((to - from) * SECTOR)
      await device.read(from * SECTOR, data).finally(() => device.close())
      const view = between(begun, this.now())
      const left = leftIn(this.model, lun, this.running.parts.relationships.all.map(foundRelation))
      lun.check(versionsIn(data, from, lun.raid === 'raid5'), from, lun.allowed(from, to, view, left), view, { before: this.faulted })
    } catch (error) {
      this.refused(error, lun)
    } finally {
      lun.users--
    }
  }

  /** The same for an operation on several LUNs: one of them may be the reason. */
  refusedBy(error: unknown, luns: readonly LunModel[]): void {
    for (const [i, lun] of luns.entries()) {
      try {
        this.refused(error, lun)
        return
      } catch (thrown) {
        if (i === luns.length - 1) throw thrown
      }
    }
  }

  /** @throws the error unless it is one that the operation may meet */
  refused(error: unknown, lun?: LunModel): void {
    if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
    if (isCode(error, 'ERR_POOL_FULL') || isCode(error, 'ERR_METADATA_FULL')) return
    if (isCode(error, 'ERR_HOST_FULL') && this.faultsOfHost) return
    const disksFault = isCode(error, 'ERR_DATA_LOST') || isCode(error, 'ERR_SUSPENDED') || isCode(error, 'ERR_IO')
    if (disksFault && this.faulted && !(lun && isRedundant(lun.raid))) return
    if (lun && disksFault && this.mayLose(lun)) return
    if (lun && refusals.some(code => isCode(error, code)) && this.mayRefuse(lun)) return
    throw error as LunarError
  }

  /** It is an image whose relationship is not enabled, or was given up, or reads through one; or calls under way change that. */
  private mayRefuse(lun: LunModel): boolean {
    if (lun instanceof SnapshotModel && lun.dropped) return true
    const above = upstream(this.model, lun)
    return [...this.model.relations.values()].some(relation => above.has(relation.image) && relation.exists)
  }

  private get faultsOfHost(): boolean {
    return this.hostWasFull || this.moods.includes('no-space')
  }
  hostWasFull = false

  // ---- the end

  /**
   * Ends by a crash: some disks stop first while the others go on for a while, as power that fails unevenly (fault F15), then all do.
   * Every event until then is on the tape.
   */
  async crash(early: number): Promise<void> {
    this.ending = true
    const order = this.random.shuffle(this.disks.map((_, i) => i))
    for (const [count, index] of order.entries()) {
      if (count < early) await pass(this.random.below(40))
      this.setMood(index, 'hung')
    }
    for (let last = -1; last !== this.tape.length + activity(this.disks);) {
      last = this.tape.length + activity(this.disks)
      await pass(50)
    }
    this.tape.stop()
    this.check()
  }

  /** Ends by a clean close. */
  async close(): Promise<void> {
    await this.settle()
    const begun = this.now()
    await this.finish(this.running.engine.close(), 'closing')
    this.model.closed(begun, this.now(), this.faulted)
    this.tape.stop()
  }

  get isEnding(): boolean {
    return this.ending
  }

  // ---- relationships

  /** What an update that failed or was stopped has left in its volume: on record before its relationship is changed. */
  noteMixed(): void {
    for (const found of this.running.parts.relationships.all.map(foundRelation)) {
      const relation = this.model.relations.get(found.number)
      const update = relation?.updateAt(Infinity)
      if (!found.mixed || update?.kind !== found.mixed || update.noted || !update.ended) continue
      update.noted = true
      relation!.targetOf(update.kind).changes.push(leftBy(update, this.now()))
    }
  }

  /** Something that a LUN's bytes go through may fail. */
  mayLose(lun: LunModel): boolean {
    return this.troubledAt < Infinity && [...upstream(this.model, lun)].some(({ raid }) => raid === 'raid0')
  }

  // ---- afterwards

  /** A disk failed or was away before a cut. */
  troubledUntil(cut: number): boolean {
    return this.troubledAt <= cut
  }

  /** A host had no room for a disk before a cut. */
  fullUntil(cut: number): boolean {
    return this.fullAt <= cut
  }

  /** The memberships that may be in force at a cut: the one in memory then, and the one before it. */
  membersAt(cut: number): string[][] {
    const until = this.health.filter(({ position }) => position <= cut).map(({ members }) => members)
    const distinct = until.filter((members, i) => members !== until[i - 1]).slice(-2)
    return distinct.map(members => members.split(','))
  }

  /** All disks were whole at every moment from the opening to a cut. */
  wholeUntil(cut: number): boolean {
    const until = this.health.filter(({ position }) => position <= cut)
    return until.length > 0 && until.every(({ whole }) => whole)
  }
}
