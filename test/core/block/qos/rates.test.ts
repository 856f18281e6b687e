/** Limits and the queue as pure decisions: time passes by counting. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FairQueue, Member } from '../../../../src/core/block/qos/fair-queue.ts'
import { noQuality, withSettings, lunQualityKeys, type Priority } from '../../../../src/core/block/qos/quality.ts'
import { TokenBucket } from '../../../../src/core/block/qos/token-bucket.ts'

describe('a token bucket', () => {
  test('over any time lets go at most the burst, what came meanwhile, and one request; and no less while somebody waits', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 500 }),
        fc.array(fc.record({ pause: fc.integer({ min: 0, max: 300 }), amount: fc.integer({ min: 1, max: 800 }) }), { minLength: 2, maxLength: 40 }),
        (rate, burst, requests) => {
          const bucket = new TokenBucket(rate, burst, 0)
          let now = 0
          const gone = requests.map(({ pause, amount }) => {
            now += pause
            return { at: now + bucket.take(amount, now), amount }
          })
          for (let i = 0; i < gone.length; i++) {
            let taken = 0
            for (let k = i; k < gone.length; k++) {
              expect(gone[k]!.at).toBeGreaterThanOrEqual(gone[Math.max(i, k - 1)]!.at) // in order
              const before = burst + ((gone[k]!.at - gone[i]!.at) * rate) / 1000
              expect(taken + Math.min(gone[k]!.amount, burst)).toBeLessThanOrEqual(before + 1e-6)
              taken += gone[k]!.amount
            }
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  test('of somebody who always wants more gives exactly the rate', () => {
    const bucket = new TokenBucket(50, 5, 0)
    let now = 0
    for (let i = 0; i < 205; i++) now += bucket.take(1, now)
    expect(now).toBeCloseTo(4000, 5) // 5 at once, then 200 at 50 a second
  })

  test('is full again after a pause, and no more than that', () => {
    const bucket = new TokenBucket(10, 3, 0)
    for (let i = 0; i < 3; i++) expect(bucket.take(1, 0)).toBe(0)
    expect([bucket.has(1, 99), bucket.has(1, 100)]).toEqual([false, true])
    for (let i = 0; i < 3; i++) expect(bucket.take(1, 60_000)).toBe(0)
    expect(bucket.take(1, 60_000)).toBeCloseTo(100)
    expect(bucket.has(1, 59_000)).toBe(false) // time that went back counts for nothing
  })
})

interface Volume {
  readonly member: Member
  /** Operations that it always has waiting or under way. */
  readonly depth: number
  done: number
}

/** A pool that does one operation in 10 ms on each of its slots, for so long. Volumes ask anew as soon as they are answered. */
class Pool {
  readonly queue: FairQueue
  private readonly volumes: Volume[] = []
  private now = 0
  private readonly ends: { readonly at: number; readonly volume: Volume }[] = []

  constructor(slots: number, volumeSlots = slots) {
    this.queue = new FairQueue(slots, volumeSlots)
  }

  volume(depth: number, priority: Priority = 'normal', minIops = 0): Volume {
    const volume = { member: new Member(), depth, done: 0 }
    this.queue.set(volume.member, priority, minIops, this.now)
    this.volumes.push(volume)
    for (let i = 0; i < depth; i++) this.ask(volume)
    return volume
  }

  private ask(volume: Volume): void {
    const go = (): void => void this.ends.push({ at: this.now + 10, volume })
    if (this.queue.tryEnter(volume.member, this.now)) go()
    else this.queue.wait(volume.member, 1, go)
  }

  /** @returns operations a second of each volume */
  run(seconds: number): number[] {
    const end = this.now + seconds * 1000
    for (const volume of this.volumes) volume.done = 0
    while (this.ends.length > 0 && this.ends[0]!.at <= end) {
      const { at, volume } = this.ends.shift()!
      this.now = at
      volume.done++
      this.queue.leave(volume.member, at)
      this.ask(volume)
    }
    this.now = end
    return this.volumes.map(({ done }) => Math.round(done / seconds))
  }
}

const near = (found: number, wanted: number): void => {
  expect(Math.abs(found - wanted) / wanted, `${found}, not ${wanted}`).toBeLessThan(0.05)
}

describe('the queue of a pool', () => {
  test('that is not saturated lets everybody in', () => {
    const pool = new Pool(8)
    pool.volume(4, 'low')
    pool.volume(3, 'high')
    expect(pool.run(10)).toEqual([400, 300])
  })

  test('that is saturated is shared 16 to 4 to 1 by classes, and evenly in a class', () => {
    const pool = new Pool(8)
    for (const priority of ['low', 'normal', 'high', 'high'] as const) pool.volume(16, priority)
    const [low, normal, high, other] = pool.run(60)
    near(low!, 800 / 21)
    near(normal!, (800 * 4) / 21)
    near(high!, (800 * 8) / 21)
    near(other!, (800 * 8) / 21)
  })

  test('gives a guaranteed minimum first, and what is left by priority', () => {
    const pool = new Pool(8)
    pool.volume(16, 'low', 200)
    pool.volume(16, 'high')
    const [low, high] = pool.run(60)
    expect(low).toBeGreaterThanOrEqual(200)
    expect(low).toBeLessThan(260)
    expect(low! + high!).toBe(800)
  })

  test('two guarantees that are more than there is starve neither', () => {
    const pool = new Pool(4)
    pool.volume(16, 'normal', 1000)
    pool.volume(16, 'low', 1000)
    const [first, second] = pool.run(30)
    near(first!, 200)
    near(second!, 200)
  })

  test('keeps nothing for who wanted nothing', () => {
    const pool = new Pool(4)
    pool.volume(8, 'low')
    expect(pool.run(100)).toEqual([400])
    pool.volume(8, 'low') // has as much as the other from now on, not all of it until it is level
    const [first, second] = pool.run(10)
    near(first!, 200)
    near(second!, 200)
  })

  test('one volume does not take all slots', () => {
    const pool = new Pool(8, 6)
    pool.volume(64)
    expect(pool.run(10)).toEqual([600])
    pool.volume(2, 'low')
    expect(pool.run(10)).toEqual([600, 200])
  })

  test('goes by bytes as well as by operations, and in order for each volume', () => {
    const queue = new FairQueue(1)
    const [busy, long, short] = [new Member(), new Member(), new Member()]
    const gone: string[] = []
    expect(queue.tryEnter(busy, 0)).toBe(true)
    for (let i = 0; i < 4; i++) queue.wait(long, 3, () => gone.push(`long ${i}`))
    for (let i = 0; i < 6; i++) queue.wait(short, 1, () => gone.push(`short ${i}`))
    queue.leave(busy, 0)
    for (let i = 0; i < 9; i++) queue.leave(gone.at(-1)!.startsWith('long') ? long : short, 0)
    expect(gone.filter(name => name.startsWith('long'))).toEqual(['long 0', 'long 1', 'long 2', 'long 3'])
    expect(gone.filter(name => name.startsWith('short'))).toEqual([0, 1, 2, 3, 4, 5].map(i => `short ${i}`))
    expect(gone.slice(0, 8).filter(name => name.startsWith('long'))).toHaveLength(2)
  })

  test('that is not used any more lets all go, and a change of priority counts for those who wait', () => {
    const queue = new FairQueue(1)
    const [busy, a, b] = [new Member(), new Member(), new Member()]
    const gone: string[] = []
    queue.tryEnter(busy, 0)
    for (const [name, member] of Object.entries({ a, b })) for (let i = 0; i < 2; i++) queue.wait(member, 1, () => gone.push(name))
    queue.set(b, 'high', 0, 0)
    queue.leave(busy, 0)
    expect(gone).toEqual(['b'])
    queue.open(0)
    expect(gone.sort()).toEqual(['a', 'a', 'b', 'b'])
    for (const member of [a, a, b, b]) queue.leave(member, 0)
    expect(queue.hasRoom(a)).toBe(true)
  })
})

describe('settings', () => {
  const set = (settings: Record<string, string>, before = noQuality) => withSettings(before, settings, lunQualityKeys)

  test('are read as they are written, and taken away with none', () => {
    const quality = set({ iops: '5000', bps: '100MiB', 'iops-burst': '10000', priority: 'high', 'min-iops': '500' })
    expect(quality).toEqual({ iops: 5000, iopsBurst: 10_000, bps: 104_857_600, bpsBurst: 0, minIops: 500, priority: 'high' })
    expect(set({ iops: 'none', 'iops-burst': 'none', priority: 'normal' }, quality)).toEqual({ ...noQuality, bps: 104_857_600, minIops: 500 })
  })

  test.each([{ iops: '1.5' }, { iops: '-1' }, { iops: '5k' }, { iops: '4294967296' }, { priority: 'urgent' }, { 'iops-burst': '5' }, { 'bps-burst': '5' }])(
    '%j is refused',
    settings => expect(() => set(settings as Record<string, string>)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }) as Error),
  )

  test('a minimum above the limit is refused, whichever comes second', () => {
    expect(() => set({ 'min-iops': '11', iops: '10' })).toThrow('Cannot set "min-iops"')
    expect(() => set({ iops: '10' }, set({ 'min-iops': '11' }))).toThrow('Cannot set "min-iops"')
  })
})
