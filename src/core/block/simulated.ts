/** Disks in memory that forget, tear, fail and hang on command, and count what is asked of them (engine.md section 6, hazard 56). */
import { bytesOf } from '../base/bytes.ts'
import { LunarError, invariant } from '../base/errors.ts'
import type { Random } from '../base/random.ts'
import { SECTOR } from '../base/units.ts'
import type { Disk, Extent } from './device.ts'
import { shortTransfer } from './host.ts'
import { PAGE, SparsePages, zeroBytes } from './sparse-pages.ts'
import { DurableTail, EventCounter, applyChange, type Change, type ChangeKind, type Recordable, type Recorder } from './tape.ts'

export type SimulatedKind = 'read' | 'write' | 'durable' | 'flush' | 'reserve' | 'punch' | 'zero'

export interface SimulatedOperation {
  readonly kind: SimulatedKind
  /** Bytes; 0 for flushes. */
  readonly offset: number
  readonly length: number
  /** Counts the operations of this disk from 0, the rest of a short transfer as one of its own. */
  readonly ordinal: number
}

/** What happens to an operation: it fails; it waits first (rejecting fails it); it moves `short` bytes only and the rest is asked again. */
export type Fault = LunarError | { readonly delay?: Promise<unknown>; readonly short?: number; readonly error?: LunarError } | undefined
export type FaultPlan = (operation: SimulatedOperation) => Fault

/** Operations begun since the disk was made or the counters were reset. */
export interface SimulatedCounters {
  reads: number
  writes: number
  durables: number
  flushes: number
  reserves: number
  punches: number
  zeros: number
  bytesRead: number
  /** By writes and durable writes. */
  bytesWritten: number
}

const newCounters = (): SimulatedCounters => ({
  reads: 0,
  writes: 0,
  durables: 0,
  flushes: 0,
  reserves: 0,
  punches: 0,
  zeros: 0,
  bytesRead: 0,
  bytesWritten: 0,
})

export interface SimulatedOptions {
  readonly name?: string
  /** The name when left out. */
  readonly identity?: string
  readonly plan?: FaultPlan
  /** Without one, each operation completes in the next microtask. */
  readonly scheduler?: Turns
  /** Whether the next small transfer is made at once; without one, none is. */
  readonly atOnce?: () => boolean
  /** What the disk holds at first; it is not changed. */
  readonly contents?: SparsePages
  /** Its power never fails: what may be lost is not kept in mind. It can be on no tape. */
  readonly steady?: boolean
}

const later = setImmediate // the real one, also where a test replaces timers
/** Longer chains of forks are merged when a snapshot is taken, or reading would slow down. */
const depthMax = 3

/** Who decides in which order operations of disks that share it complete. */
export interface Turns {
  /** Resolves when it is the caller's turn. */
  turn(isRead: boolean): Promise<void>
}

/**
 * Completes operations of all disks that share it one at a time, in an order that the seed decides. Between two
 * completions everything runs that can.
 */
export class Scheduler implements Turns {
  private readonly pending: (() => void)[] = []
  private pumping = false

  constructor(private readonly random: Random) {}

  turn(): Promise<void> {
    return new Promise(resolve => {
      this.pending.push(resolve)
      if (this.pumping) return
      this.pumping = true
      later(this.pump)
    })
  }

  private readonly pump = (): void => {
    const index = this.random.below(this.pending.length)
    const chosen = this.pending[index]
    const last = this.pending.pop()
    if (last && index < this.pending.length) this.pending[index] = last
    chosen?.()
    if (this.pending.length > 0) later(this.pump)
    else this.pumping = false
  }
}

/**
 * A write takes effect, and can be read, when it completes; from then on until a flush that was issued later has
 * completed it may be lost. A durable write is certain once it has completed. A failed write may or may not be there after
 * a crash, and after a failed flush nothing that was unflushed then ever becomes certain (fault F11).
 */
export class SimulatedDisk implements Disk, Recordable {
  readonly name: string
  readonly identity: string
  readonly blockSize = SECTOR
  counters: SimulatedCounters = newCounters()
  plan: FaultPlan | undefined
  scheduler: Turns | undefined
  private readonly atOnce: () => boolean
  private readonly steady: boolean

  private pages: SparsePages
  private tail: DurableTail
  private recorder: Recorder = new EventCounter()
  private index = 0
  private ordinal = 0
  private closed = false

  constructor(
    readonly size: number,
    options: SimulatedOptions = {},
  ) {
    this.name = options.name ?? 'simulated'
    this.identity = options.identity ?? this.name
    this.plan = options.plan
    this.scheduler = options.scheduler
    this.atOnce = options.atOnce ?? (() => false)
    this.steady = options.steady === true
    const contents = options.contents ?? new SparsePages(size)
    this.pages = contents.fork()
    this.tail = new DurableTail(contents.fork())
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.readParts(offset, [into], into.length)
  }

  /** A whole read that the plan leaves alone. */
  tryRead(offset: number, into: Uint8Array): boolean {
    if (this.closed || offset + into.length > this.size || !this.atOnce() || this.begin('read', offset, into.length)) return false
    this.counters.reads++
    this.counters.bytesRead += into.length
    this.pages.read(offset, into)
    return true
  }

  /** A whole write that the plan leaves alone. */
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (this.closed || offset + data.length > this.size || !this.atOnce() || this.begin('write', offset, data.length)) return false
    this.count('write')
    if (this.steady) this.put('write', offset, data.length, data)
    else this.complete(this.issue('write', offset, data.length, kept(data)))
    return true
  }

  readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.readParts(offset, parts, bytesOf(parts))
  }

  private async readParts(offset: number, parts: readonly Uint8Array[], length: number): Promise<void> {
    for (let done = 0; done < length;) {
      const fault = this.begin('read', offset + done, length - done)
      this.counters.reads++
      const bytes = this.granted(fault, 'read from', offset + done, length - done)
      await this.turn(fault, true)
      this.counters.bytesRead += bytes
      done += bytes
    }
    let at = offset
    for (const part of parts) {
      this.pages.read(at, part)
      at += part.length
    }
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.change('write', offset, data.length, this.steady ? data : kept(data))
  }

  writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.change('write', offset, bytesOf(parts), parts.length === 1 && this.steady ? parts[0] : Buffer.concat(parts))
  }

  writeDurable(offset: number, data: Uint8Array): Promise<void> {
    return this.change('durable', offset, data.length, this.steady ? data : new Uint8Array(data))
  }

  punch(offset: number, length: number): Promise<void> {
    return this.change('punch', offset, length, undefined)
  }

  zero(offset: number, length: number): Promise<void> {
    return this.change('zero', offset, length, undefined)
  }

  trim(offset: number, length: number): Promise<void> {
    return this.change('punch', offset, length, undefined)
  }

  private async change(kind: ChangeKind, offset: number, length: number, data: Uint8Array | undefined): Promise<void> {
    for (let done = 0; done < length;) {
      const fault = this.begin(kind, offset + done, length - done)
      this.count(kind)
      const bytes = this.granted(fault, 'write to', offset + done, length - done)
      const part = data && data.subarray(done, done + bytes)
      if (this.steady) {
        await this.turn(fault)
        this.put(kind, offset + done, bytes, part)
        done += bytes
        continue
      }
      const change = this.issue(kind, offset + done, bytes, part)
      try {
        await this.turn(fault)
      } catch (error) {
        change.failed = true
        change.endedAt = this.recorder.record({ kind: 'fail', change })
        this.tail.add(change)
        throw error
      }
      this.complete(change)
      done += bytes
    }
  }

  private issue(kind: ChangeKind, offset: number, length: number, data: Uint8Array | undefined): Change {
    const event = { kind: 'issue' as const, change: undefined as unknown as Change }
    const issuedAt = this.recorder.record(event)
    event.change = { kind, disk: this.index, offset, length, data, issuedAt, endedAt: Infinity, failed: false, durableAt: Infinity, droppedAt: Infinity }
    return event.change
  }

  /** A change of a steady disk. Its data is copied now: until it has ended nobody changes it. */
  private put(kind: ChangeKind, offset: number, length: number, data: Uint8Array | undefined): void {
    if (data) this.pages.writeChanged(offset, data)
    else this.pages.punch(offset, length)
    if (kind === 'durable' || kind === 'write') this.counters.bytesWritten += length
  }

  private complete(change: Change): void {
    change.endedAt = this.recorder.record({ kind: 'complete', change })
    applyChange(this.pages, change)
    this.tail.add(change)
    if (change.kind === 'durable') {
      this.counters.bytesWritten += change.length
      change.durableAt = change.endedAt
      this.tail.settle(isDurable)
    } else if (change.kind === 'write') {
      this.counters.bytesWritten += change.length
    }
  }

  async flush(): Promise<void> {
    const fault = this.begin('flush', 0, 0)
    this.counters.flushes++
    this.recorder.record({ kind: 'flush-issue', disk: this.index })
    const waiting = this.tail.changes.filter(change => !change.failed)
    try {
      await this.turn(fault)
    } catch (error) {
      this.recorder.record({ kind: 'flush-fail', disk: this.index })
      for (const change of this.tail.changes) if (change.durableAt === Infinity) change.failed = true
      throw error
    }
    const at = this.recorder.record({ kind: 'flush-complete', disk: this.index })
    for (const change of waiting) if (!change.failed && change.droppedAt === Infinity) change.durableAt = Math.min(change.durableAt, at)
    this.tail.settle(isDurable)
  }

  async reserve(offset: number, length: number): Promise<void> {
    if (length === 0) return
    const fault = this.begin('reserve', offset, length)
    this.counters.reserves++
    await this.turn(fault)
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    this.check(offset, length)
    await this.turn(undefined, true)
    return this.pages.extents(offset, length)
  }

  async close(): Promise<void> {
    this.closed = true
  }

  /** Durable writes and flushes begun: both are a flush in counts (hazard 13). */
  get flushCount(): number {
    return this.counters.durables + this.counters.flushes
  }

  resetCounters(): void {
    this.counters = newCounters()
  }

  /** Changes that a crash now may take back, failed ones included. Those in flight are not counted. */
  get unflushed(): number {
    return this.tail.changes.filter(change => !isDurable(change)).length
  }

  /** Bytes of memory that hold data, as a file's blocks. */
  get allocated(): number {
    return this.pages.allocated
  }

  /** Power loss of this disk alone: it holds what is certain and nothing else (fault F15). What is in flight goes on. @returns how many changes were lost */
  dropUnflushed(): number {
    const at = this.recorder.record({ kind: 'drop', disk: this.index })
    const lost = this.tail.changes.filter(change => !isDurable(change))
    for (const change of lost) change.droppedAt = at
    this.tail.changes = this.tail.changes.filter(isDurable)
    this.tail.settle(isDurable)
    this.pages = this.tail.stable.branch()
    return lost.length
  }

  /** Another disk with the same contents, all of them durable there; its name and identity too unless another name is given. Costs a map entry for each page. */
  clone(options: SimulatedOptions = {}): SimulatedDisk {
    const same = options.name === undefined ? { name: this.name, identity: this.identity } : {}
    return new SimulatedDisk(this.size, { ...same, ...options, contents: this.snapshot() })
  }

  /** Frozen contents as they can be read now. */
  snapshot(): SparsePages {
    const frozen = this.pages.depth > depthMax ? this.pages.flatten() : this.pages
    this.pages = frozen.fork()
    return frozen
  }

  startRecording(recorder: Recorder, index: number): SparsePages {
    invariant(this.unflushed === 0 && !this.steady, 'a tape starts on flushed disks whose power may fail')
    const baseline = this.snapshot()
    this.tail = new DurableTail(baseline.fork())
    this.recorder = recorder
    this.index = index
    return baseline
  }

  stopRecording(counter: EventCounter): void {
    this.recorder = counter
  }

  private begin(kind: SimulatedKind, offset: number, length: number): Fault {
    this.check(offset, length)
    const ordinal = this.ordinal++
    return this.plan?.({ kind, offset, length, ordinal })
  }

  private check(offset: number, length: number): void {
    if (this.closed) throw new LunarError('ERR_FAILED', `Cannot use ${this.name}`, { why: 'it is closed' })
    if (offset + length > this.size) throw shortTransfer(`Cannot reach bytes ${offset} to ${offset + length} of ${this.name}`, this.size)
  }

  private count(kind: ChangeKind): void {
    if (kind === 'write') this.counters.writes++
    else if (kind === 'durable') this.counters.durables++
    else if (kind === 'punch') this.counters.punches++
    else this.counters.zeros++
  }

  /** How many bytes of a transfer the plan lets through. */
  private granted(fault: Fault, verb: string, offset: number, length: number): number {
    if (!fault || fault instanceof LunarError || fault.short === undefined) return length
    if (fault.short <= 0) throw shortTransfer(`Cannot ${verb} ${this.name}`, offset)
    return Math.min(fault.short, length)
  }

  private async turn(fault: Fault, isRead = false): Promise<void> {
    if (fault instanceof LunarError) {
      await this.scheduler?.turn(isRead)
      throw fault
    }
    if (fault?.delay) await fault.delay
    await this.scheduler?.turn(isRead)
    if (fault?.error) throw fault.error
  }
}

/** A copy that nobody changes; zeros, of which a quorum disk gets 16 MiB, are shared. */
function kept(data: Uint8Array): Uint8Array {
  if (data.length < PAGE || data.length > zeroBytes.length || data[0] !== 0) return new Uint8Array(data)
  const same = zeroBytes.subarray(0, data.length)
  return Buffer.compare(same, data) === 0 ? same : new Uint8Array(data)
}

const isDurable = (change: Change): boolean => change.durableAt !== Infinity
