import { bytesOf } from '../base/bytes.ts'
import { systemClock } from '../base/clock.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { Latencies } from '../base/latency.ts'
import { Traffic } from '../base/traffic.ts'
import { MIB } from '../base/units.ts'
import type { Disk } from '../block/device.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { DISK_LEAVING, DISK_OFFLINE, DISK_WITNESS, type DiskRecord, type DiskStateName } from '../../metadata/records.ts'

/** Unflushed bytes of a disk: from here on a flush is started, and at twice this writers wait for it (hazard 8). */
const DIRTY_FLUSH_FROM = 32 * MIB

/**
 * A disk of an open pool: its record, its device when it is attached, and what was written to it since its last flush.
 * Flushes of different callers share rounds; only a disk that was written since its last flush is flushed (hazard 62).
 */
export class PoolDisk {
  state: DiskStateName
  errors = 0
  /** What went wrong last, for status. */
  fault: string | null = null
  /** What was asked of it, but for the metadata. */
  readonly traffic = new Traffic()
  readonly flushTimes = new Latencies()
  /** Bytes of writes that have ended, well or not, since the last flush began. */
  private dirtyBytes = 0
  /** Bytes of writes under way: a flush that begins now does not cover them. */
  private writingBytes = 0
  private flushing: Promise<void> | undefined
  private nextFlush: Promise<void> | undefined
  /** Set when a flush failed: what it covered is unknown for good (fault F11). */
  private flushFailure: unknown
  /** Called when a flush fails, before anybody who waits for it hears of it. */
  onFlushFailed: ((disk: PoolDisk, error: unknown) => void) | undefined

  constructor(
    readonly number: number,
    public record: DiskRecord,
    state: DiskStateName,
    /** The device, or undefined while the disk is away. */
    public device: Disk | undefined,
  ) {
    this.state = state
  }

  get id(): string {
    return this.record.diskId
  }
  get isWitness(): boolean {
    return (this.record.flags & DISK_WITNESS) !== 0
  }
  get isOffline(): boolean {
    return (this.record.flags & DISK_OFFLINE) !== 0
  }
  /** It is to leave the pool, for good. */
  get isLeaving(): boolean {
    return (this.record.flags & DISK_LEAVING) !== 0
  }
  /** In the words of features.md A10: one that leaves is replacing; regenerating, when what it held is made anew from others. */
  get shownState(): DiskStateName {
    if (!this.isLeaving) return this.state
    return this.inService ? 'replacing' : 'regenerating'
  }
  get domain(): string {
    return this.record.domain
  }
  /** New segments may be taken from it. */
  get allocatable(): boolean {
    return this.state === 'normal' && this.device !== undefined && !this.isWitness && !this.isLeaving
  }
  /** Writes of redundant stores go to it, and what is not stale on it may be believed. */
  get inService(): boolean {
    return this.device !== undefined && (this.state === 'normal' || this.state === 'merging')
  }
  get label(): string {
    return this.device?.name ?? `disk ${this.number}`
  }

  offsetOf(segment: number, at: number): number {
    return this.record.segmentsAt + segment * SEGMENT + at
  }

  async read(segment: number, at: number, pieces: readonly Uint8Array[]): Promise<void> {
    const device = this.attached()
    if (this.flushFailure !== undefined) throw this.suspended()
    const offset = this.offsetOf(segment, at)
    this.traffic.read(bytesOf(pieces))
    try {
      if (pieces.length === 1) await device.read(offset, pieces[0]!)
      else await device.readv(offset, pieces)
    } catch (error) {
      this.count(error)
      throw error
    }
  }

  /** Reads at once. @returns false when that cannot be: `read` does it, or says why not */
  tryRead(segment: number, at: number, into: Uint8Array): boolean {
    if (this.flushFailure !== undefined || this.device?.tryRead?.(this.offsetOf(segment, at), into) !== true) return false
    this.traffic.read(into.length)
    return true
  }

  /** Writes at once. @returns false when that cannot be, and then some of it may be written: `write` does it again, or says why not */
  tryWrite(segment: number, at: number, data: Uint8Array): boolean {
    const device = this.device
    if (!device?.tryWrite || this.flushFailure !== undefined || this.dirtyBytes + this.writingBytes > 2 * DIRTY_FLUSH_FROM) return false
    const written = device.tryWrite(this.offsetOf(segment, at), data)
    if (written) this.traffic.wrote(data.length)
    this.dirtyBytes += data.length
    this.flushAhead()
    return written
  }

  async write(segment: number, at: number, pieces: readonly Uint8Array[], length: number): Promise<void> {
    const device = this.attached()
    if (this.flushFailure !== undefined) throw this.suspended()
    if (this.dirtyBytes + this.writingBytes > 2 * DIRTY_FLUSH_FROM) await this.flush()
    const offset = this.offsetOf(segment, at)
    this.writingBytes += length
    this.traffic.wrote(length)
    try {
      if (pieces.length === 1) await device.write(offset, pieces[0]!)
      else await device.writev(offset, pieces)
    } catch (error) {
      this.count(error)
      throw error
    } finally {
      this.writingBytes -= length
      this.dirtyBytes += length
    }
    this.flushAhead()
  }

  /** Started ahead so that writers need not wait; whoever waits for durability sees its failure again. */
  private flushAhead(): void {
    if (this.dirtyBytes <= DIRTY_FLUSH_FROM || this.flushing) return
    this.flush().catch((error: unknown) => {
      this.fault = error instanceof Error ? error.message : String(error)
    })
  }

  /** Durable when it resolves, without a flush of anything else. */
  async writeDurable(segment: number, at: number, bytes: Uint8Array): Promise<void> {
    const device = this.attached()
    if (this.flushFailure !== undefined) throw this.suspended()
    this.traffic.wrote(bytes.length)
    try {
      await device.writeDurable(this.offsetOf(segment, at), bytes)
    } catch (error) {
      this.count(error)
      throw error
    }
  }

  /** Makes the range of a segment read as zeros; durable after `flush`. */
  async punch(segment: number, at: number, length: number): Promise<void> {
    this.traffic.discarded(length)
    await this.attached().punch(this.offsetOf(segment, at), length)
    this.dirtyBytes += 1
  }

  async reserve(segment: number, at: number, length: number): Promise<void> {
    await this.attached().reserve(this.offsetOf(segment, at), length)
  }

  /** All writes that resolved before are durable. @throws the failure of the first flush that failed, for ever after */
  flush(): Promise<void> {
    if (this.flushFailure !== undefined) return Promise.reject(this.suspended())
    if (this.flushing) {
      // The running flush may have started before the caller's last write: one more, shared by all who wait.
      this.nextFlush ??= this.flushing.then(
        () => this.startFlush(),
        () => this.startFlush(),
      )
      return this.nextFlush
    }
    return this.startFlush()
  }

  /** Makes durable what the host holds of the disk, also what an earlier owner wrote. */
  async flushDevice(): Promise<void> {
    this.dirtyBytes += 1
    await this.flush()
  }

  /**
   * The device as it was opened anew. What an earlier handle had not flushed may be gone: slices that it was in are stale, or their LUN
   * has lost it for good (`LunStores.lostSinceFlush`).
   */
  attach(device: Disk): void {
    if (this.device === device) return
    this.device = device
    this.flushFailure = undefined
    // What an earlier handle wrote may be held back by the host: the next flush covers it.
    this.dirtyBytes = 1
  }

  /** What it held before the flush that failed is unknown until it is opened anew. */
  get hasFailedFlush(): boolean {
    return this.flushFailure !== undefined
  }

  private startFlush(): Promise<void> {
    this.nextFlush = undefined
    if (this.flushFailure !== undefined) return Promise.reject(this.suspended())
    if (this.dirtyBytes === 0) return Promise.resolve()
    const covered = this.dirtyBytes
    const begun = systemClock.monotonicMs()
    this.traffic.flushes++
    const run = this.attached()
      .flush()
      .then(
        () => {
          this.flushTimes.add((systemClock.monotonicMs() - begun) * 1000)
          this.dirtyBytes -= covered
        },
        (error: unknown) => {
          this.count(error)
          this.flushFailure = error ?? new Error('flush failed')
          this.onFlushFailed?.(this, error)
          throw this.suspended()
        },
      )
      .finally(() => {
        this.flushing = undefined
      })
    this.flushing = run
    return run
  }

  private suspended(): LunarError {
    return new LunarError('ERR_SUSPENDED', `Cannot use ${this.label}`, {
      why: 'a flush of it failed, so what was written before may be gone',
      cause: this.flushFailure,
    })
  }

  private attached(): Disk {
    if (!this.device) throw new LunarError('ERR_IO', `Cannot reach disk ${this.number}`, { why: 'it is missing', fix: 'lunar disk list' })
    return this.device
  }

  private count(error: unknown): void {
    if (!isCode(error, 'ERR_IO')) return
    this.errors++
    this.fault = error.message
  }
}
