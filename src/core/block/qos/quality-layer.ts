/** The layer that holds requests to the limits of their volume and their host, and in the queue of their pool (features.md B13). */
import { bytesOf } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import { BlockLayer, fastOf, type BlockDevice, type FastDevice } from '../device.ts'
import type { Layered, ShownLayer } from '../layers.ts'
import { Member, type FairQueue } from './fair-queue.ts'
import { HeldBack, type Limiter } from './limiter.ts'
import { describeQuality } from './quality.ts'

/** So many bytes cost as much as one operation in the queue. */
const COST_BYTES = 64 * 1024

/** A request that its limits hold back. */
interface Throttled {
  readonly bytes: number
  readonly since: number
  /** When each of the limiters lets it go. */
  readonly at: number[]
  readonly go: () => void
}

/** What layers of one pool share. */
export interface QualityHost {
  readonly clock: Clock
  /** Undefined while no volume of the pool has a priority or a guaranteed minimum. */
  readonly queue: FairQueue | undefined
  closed(layer: QualityLayer): void
}

/** A volume, for those who share it. */
export class VolumeQuality {
  readonly member = new Member()
  /** What was held back in the queue, since the pool was opened. */
  readonly queued = new HeldBack()

  constructor(readonly limiter: Limiter) {}
}

/**
 * One way in to a volume. Reads, writes, zeroing and trims are operations; bytes are those that are read and written. A flush waits for
 * nothing. Without limits, and without a queue, it costs one branch. A request that was held back is done in its order.
 */
export class QualityLayer extends BlockLayer implements FastDevice, Layered {
  /** What this way in was held back by limits, and by the queue. */
  readonly throttled = new HeldBack()
  readonly queued = new HeldBack()
  private readonly fast: FastDevice | undefined
  private off = true
  private readonly limiters: readonly Limiter[]
  private readonly waiting: Throttled[] = []
  private sleeping: AbortController | undefined
  /** It is being closed: nothing is held back any more. */
  private hurried = false

  constructor(
    next: BlockDevice,
    private readonly volume: VolumeQuality,
    /** That of the host that came in here; the volume's is shown where all who share it are. */
    private readonly own: Limiter | undefined,
    private readonly host: QualityHost,
  ) {
    super(next)
    this.fast = fastOf(next)
    this.limiters = own ? [volume.limiter, own] : [volume.limiter]
    this.refresh()
  }

  /** The one that a device goes through. */
  static of(device: BlockDevice): QualityLayer | undefined {
    for (let at: (BlockDevice & Partial<Layered>) | undefined = device; at; at = at.below) if (at instanceof QualityLayer) return at
    return undefined
  }

  get shown(): ShownLayer | undefined {
    const about = this.own && describeQuality(this.own.quality)
    return about ? { layer: 'quality-of-service', about: `${this.own!.name()}: ${about}` } : undefined
  }
  get below(): BlockDevice {
    return this.next
  }

  /** @param changed the limiter whose limits are others now: who waits does so for those. Whether there is a queue is looked at, too */
  refresh(changed?: Limiter): void {
    this.off = this.host.queue === undefined && (this.hurried || !this.limiters.some(({ isOn }) => isOn))
    const index = changed ? this.limiters.indexOf(changed) : -1
    if (!changed || index < 0) return
    const now = this.host.clock.monotonicMs()
    for (const { at, bytes } of this.waiting) at[index] = now + changed.take(bytes, now)
    this.wake()
  }

  /** Lets all go that is held back by limits, and what comes: nobody waits for a request of a client that is gone. */
  hurry(): void {
    this.hurried = true
    for (const { at } of this.waiting) at.fill(0)
    this.wake()
    this.refresh()
  }

  // ---- at once

  tryRead(offset: number, into: Uint8Array): boolean {
    if (this.off) return this.fast?.tryRead(offset, into) === true
    return this.atOnce(into.length, fast => fast.tryRead(offset, into))
  }
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (this.off) return this.fast?.tryWrite(offset, data) === true
    return this.atOnce(data.length, fast => fast.tryWrite(offset, data))
  }

  private atOnce(bytes: number, make: (fast: FastDevice) => boolean): boolean {
    const { queue, clock } = this.host
    if (!this.fast || this.waiting.length > 0 || queue?.hasRoom(this.volume.member) === false) return false
    const now = clock.monotonicMs()
    if (!this.hurried) for (const limiter of this.limiters) if (!limiter.has(bytes, now)) return false
    if (!make(this.fast)) return false
    for (const limiter of this.limiters) limiter.take(bytes, now)
    return true
  }

  // ---- with waiting

  override read(offset: number, into: Uint8Array): Promise<void> {
    return this.off ? super.read(offset, into) : this.run(into.length, () => super.read(offset, into))
  }
  override readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.off ? super.readv(offset, parts) : this.run(bytesOf(parts), () => super.readv(offset, parts))
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    return this.off ? super.write(offset, data) : this.run(data.length, () => super.write(offset, data))
  }
  override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.off ? super.writev(offset, parts) : this.run(bytesOf(parts), () => super.writev(offset, parts))
  }
  override trim(offset: number, length: number): Promise<void> {
    return this.off ? super.trim(offset, length) : this.run(0, () => super.trim(offset, length))
  }
  override zero(offset: number, length: number): Promise<void> {
    return this.off ? super.zero(offset, length) : this.run(0, () => super.zero(offset, length))
  }

  private async run(bytes: number, operation: () => Promise<void>): Promise<void> {
    const held = this.limited(bytes)
    if (held) await held
    const { queue, clock } = this.host
    if (!queue) return operation()
    const { member, queued } = this.volume
    const since = clock.monotonicMs()
    if (!queue.tryEnter(member, since)) {
      await new Promise<void>(resolve => {
        queue.wait(member, 1 + Math.floor(bytes / COST_BYTES), resolve)
      })
      const waited = clock.monotonicMs() - since
      this.queued.add(waited)
      queued.add(waited)
    }
    try {
      await operation()
    } finally {
      queue.leave(member, clock.monotonicMs())
    }
  }

  /** Undefined when no limit holds the request back; else resolves when it may go. */
  private limited(bytes: number): Promise<void> | undefined {
    if (this.hurried) return undefined
    const now = this.host.clock.monotonicMs()
    const at = this.limiters.map(limiter => now + limiter.take(bytes, now))
    if (this.waiting.length === 0 && Math.max(...at) <= now) return undefined
    return new Promise(resolve => {
      this.waiting.push({ bytes, since: now, at, go: resolve })
      if (this.waiting.length === 1) this.wake()
    })
  }

  /** Lets go who may, and sleeps until the next one may. */
  private wake(): void {
    this.sleeping?.abort()
    this.sleeping = undefined
    const { clock } = this.host
    for (let first = this.waiting[0]; first; first = this.waiting[0]) {
      const now = clock.monotonicMs()
      const at = Math.max(...first.at)
      if (at > now) return this.sleep(at - now)
      this.waiting.shift()
      const waited = now - first.since
      this.throttled.add(waited)
      this.limiters[first.at.indexOf(at)]!.held.add(waited)
      first.go()
    }
  }

  private sleep(ms: number): void {
    const sleeping = (this.sleeping = new AbortController())
    void this.host.clock.pause(ms, sleeping.signal).then(() => {
      if (!sleeping.signal.aborted) this.wake()
    })
  }

  override close(): Promise<void> {
    this.hurry()
    this.host.closed(this)
    return super.close()
  }
}
