import { describe, expect, test } from 'vitest'
import type { Clock } from '../../../../src/core/base/clock.ts'
import { BlockLayer, fastOf } from '../../../../src/core/block/device.ts'
import { MemoryDevice } from '../../../../src/core/block/memory.ts'
import { FairQueue } from '../../../../src/core/block/qos/fair-queue.ts'
import { Limiter } from '../../../../src/core/block/qos/limiter.ts'
import { noQuality, type Quality } from '../../../../src/core/block/qos/quality.ts'
import { QualityLayer, VolumeQuality, type QualityHost } from '../../../../src/core/block/qos/quality-layer.ts'
import { blockDeviceSuite } from '../../../conformance/block-device.ts'

const size = 4 * 1024 * 1024

/** Time that the test moves: whoever sleeps is woken when it is over. */
class TestClock implements Clock {
  private now = 0
  private readonly sleepers = new Set<{ readonly until: number; readonly wake: () => void }>()
  wallMs = (): number => this.now
  monotonicMs = (): number => this.now
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const sleeper = { until: this.now + ms, wake: resolve }
      this.sleepers.add(sleeper)
      signal?.addEventListener('abort', () => {
        this.sleepers.delete(sleeper)
        resolve()
      })
    })
  }
  get asleep(): number {
    return this.sleepers.size
  }
  /** Goes on, from one waking to the next. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms
    for (;;) {
      const next = [...this.sleepers].sort((a, b) => a.until - b.until)[0]
      if (!next || next.until > end) break
      this.now = next.until
      this.sleepers.delete(next)
      next.wake()
      await settled()
    }
    this.now = end
    await settled()
  }
}

const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Memory that also takes requests at once, and says what was asked of it. */
class Below extends BlockLayer {
  readonly asked: string[] = []
  atOnce = true
  constructor() {
    super(new MemoryDevice(size))
  }
  tryRead(): boolean {
    if (this.atOnce) this.asked.push('tryRead')
    return this.atOnce
  }
  tryWrite(): boolean {
    if (this.atOnce) this.asked.push('tryWrite')
    return this.atOnce
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    this.asked.push(`write ${offset}`)
    return super.write(offset, data)
  }
}

class Stand implements QualityHost {
  readonly clock = new TestClock()
  readonly below = new Below()
  readonly volume = new VolumeQuality(new Limiter(() => 'LUN "db"'))
  readonly hostLimiter = new Limiter(() => 'host web1')
  readonly open = new Set<QualityLayer>()
  queue: FairQueue | undefined
  closed = (layer: QualityLayer): void => void this.open.delete(layer)

  layer(): QualityLayer {
    const layer = new QualityLayer(this.below, this.volume, this.hostLimiter, this)
    this.open.add(layer)
    return layer
  }
  set(limiter: Limiter, quality: Partial<Quality>): void {
    limiter.set({ ...noQuality, ...quality }, this.clock.monotonicMs())
    for (const layer of this.open) layer.refresh(limiter)
  }
}

const block = new Uint8Array(512)
const writes = (layer: QualityLayer, count: number, data = block): number[] => {
  const ended: number[] = []
  for (let i = 0; i < count; i++) void layer.write(i * data.length, data).then(() => ended.push(i))
  return ended
}

for (const quality of [{}, { iops: 1_000_000, iopsBurst: 1_000_000 }])
  blockDeviceSuite(`QualityLayer ${JSON.stringify(quality)}`, async () => {
    const stand = new Stand()
    if (Object.keys(quality).length > 0) stand.queue = new FairQueue(2)
    stand.set(stand.volume.limiter, quality)
    const device = stand.layer()
    return { device, dispose: () => device.close() }
  })

describe('a layer of limits', () => {
  test('lets a burst go, then the rate, in order, and counts what waited', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { iops: 10, iopsBurst: 2 })
    const layer = stand.layer()
    const ended = writes(layer, 5)
    await settled()
    expect(ended).toEqual([0, 1])
    await stand.clock.advance(99)
    expect(ended).toEqual([0, 1])
    await stand.clock.advance(1)
    expect(ended).toEqual([0, 1, 2])
    await stand.clock.advance(200)
    expect(ended).toEqual([0, 1, 2, 3, 4])
    expect(layer.throttled).toMatchObject({ requests: 3, milliseconds: 600 })
    expect(stand.volume.limiter.held.requests).toBe(3)
    expect(stand.hostLimiter.held.requests).toBe(0)
    expect(stand.clock.asleep).toBe(0)
  })

  test('counts bytes of reads and writes, and holds to the tighter of volume and host', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { bps: 10_240, bpsBurst: 1024 })
    stand.set(stand.hostLimiter, { iops: 100, iopsBurst: 1 })
    const layer = stand.layer()
    const ended = writes(layer, 3, new Uint8Array(1024))
    await stand.clock.advance(199)
    expect(ended).toEqual([0, 1])
    await stand.clock.advance(1)
    expect(ended).toEqual([0, 1, 2])
    // Zeroing and trimming carry no bytes.
    let done = 0
    for (const request of [layer.zero(0, size), layer.trim(0, size)]) void request.then(() => done++)
    await stand.clock.advance(20)
    expect(done).toBe(2)
    expect([stand.volume.limiter.held.requests, stand.hostLimiter.held.requests]).toEqual([2, 1])
  })

  test('two ways in share the limits of the volume; a flush waits for nothing', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { iops: 10, iopsBurst: 1 })
    const [a, b] = [stand.layer(), stand.layer()]
    const ended = [writes(a, 2), writes(b, 2)]
    await stand.clock.advance(250)
    expect(ended.flat()).toHaveLength(3)
    expect(ended.map(list => list.length).sort()).toEqual([1, 2])
    await a.flush()
  })

  test('a request that fits goes at once and is paid once; one that does not, or that has others before it, goes the usual way', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { iops: 10, iopsBurst: 3 })
    const layer = stand.layer()
    const fast = fastOf(layer)!
    stand.below.atOnce = false
    expect([fast.tryWrite(0, block), fast.tryRead(0, block)]).toEqual([false, false]) // costs nothing: nothing was done
    stand.below.atOnce = true
    expect([fast.tryWrite(0, block), fast.tryRead(0, block), fast.tryWrite(0, block), fast.tryWrite(0, block)]).toEqual([true, true, true, false])
    const ended = writes(layer, 2)
    await stand.clock.advance(100)
    expect([ended, fast.tryRead(0, block)]).toEqual([[0], false])
    stand.set(stand.volume.limiter, {})
    await settled()
    expect([ended, fast.tryRead(0, block)]).toEqual([[0, 1], true])
  })

  test('a limit that is changed counts for those who wait', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { iops: 1, iopsBurst: 1 })
    const layer = stand.layer()
    const ended = writes(layer, 5)
    await stand.clock.advance(10)
    expect(ended).toEqual([0])
    stand.set(stand.volume.limiter, { iops: 100, iopsBurst: 2 })
    await settled()
    expect(ended).toEqual([0, 1, 2])
    await stand.clock.advance(20)
    expect(ended).toEqual([0, 1, 2, 3, 4])
  })

  test('nobody waits for a client that is gone', async () => {
    const stand = new Stand()
    stand.set(stand.volume.limiter, { iops: 1, iopsBurst: 1 })
    const layer = stand.layer()
    const ended = writes(layer, 4)
    layer.hurry()
    ended.push(...writes(layer, 1))
    await settled()
    expect(ended).toHaveLength(4)
    expect(stand.clock.asleep).toBe(0)
    await layer.close()
    expect(stand.open.size).toBe(0)
  })

  test('in a saturated pool requests wait for a slot, also those that could be made at once', async () => {
    const stand = new Stand()
    stand.queue = new FairQueue(1)
    const layer = stand.layer()
    let end: () => void = () => undefined
    stand.below.write = () => new Promise(resolve => (end = resolve))
    const slow = layer.write(0, block)
    let read = false
    void layer.read(0, block).then(() => (read = true))
    await stand.clock.advance(30)
    expect([read, fastOf(layer)!.tryRead(0, block)]).toEqual([false, false])
    end()
    await slow
    await settled()
    expect([read, fastOf(layer)!.tryRead(0, block)]).toEqual([true, true])
    expect([layer.queued, stand.volume.queued]).toMatchObject([
      { requests: 1, milliseconds: 30 },
      { requests: 1, milliseconds: 30 },
    ])
  })
})
