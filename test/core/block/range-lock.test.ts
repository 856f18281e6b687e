import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { RangeLock, type LockMode, type Release } from '../../../src/core/block/range-lock.ts'

/** Asks for a lock; `held` tells whether it has it by now. */
function ask(lock: RangeLock, offset: number, length: number, mode: LockMode): { held: boolean; release: Release; granted: Promise<void> } {
  const request = { held: false, release: (): void => undefined, granted: Promise.resolve() }
  request.granted = lock.lock(offset, length, mode).then(release => {
    request.held = true
    request.release = release
  })
  return request
}

/** Everything that can go on without a release has gone on. */
const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

describe('range lock', () => {
  test('exclusive shuts out all that overlaps, shared only exclusive; neighbours never wait', async () => {
    const lock = new RangeLock()
    const first = lock.tryLock(100, 100, 'exclusive')!
    expect(lock.tryLock(199, 1, 'shared')).toBeUndefined()
    expect(lock.tryLock(0, 101, 'exclusive')).toBeUndefined()
    const others = [lock.tryLock(0, 100, 'exclusive'), lock.tryLock(200, 50, 'shared'), lock.tryLock(220, 50, 'shared')]
    expect(others).not.toContain(undefined)
    expect(lock.tryLock(210, 1, 'exclusive')).toBeUndefined()
    first()
    lock.tryLock(150, 10, 'shared')!()
    for (const release of others) release!()
    expect(lock.idle).toBe(true)
  })

  test('who came first is served first: readers do not pass a waiting writer', async () => {
    const lock = new RangeLock()
    const reader = ask(lock, 0, 10, 'shared')
    const writer = ask(lock, 5, 10, 'exclusive')
    const late = ask(lock, 0, 10, 'shared')
    const elsewhere = ask(lock, 100, 10, 'exclusive')
    await settle()
    expect([reader.held, writer.held, late.held, elsewhere.held]).toEqual([true, false, false, true])
    expect(lock.tryLock(0, 1, 'shared')).toBeDefined()
    expect(lock.tryLock(6, 1, 'shared')).toBeUndefined()
    reader.release()
    await writer.granted
    await settle()
    expect(late.held).toBe(false)
    writer.release()
    await late.granted
  })

  test('one wide request waits for all it touches and is then the only one', async () => {
    const lock = new RangeLock()
    const small = [0, 10, 20].map(offset => ask(lock, offset, 10, 'exclusive'))
    const wide = ask(lock, 0, 30, 'exclusive')
    const behind = ask(lock, 12, 1, 'shared')
    await settle()
    small[1]!.release()
    small[0]!.release()
    await settle()
    expect(wide.held).toBe(false)
    small[2]!.release()
    await wide.granted
    expect(behind.held).toBe(false)
    wide.release()
    await behind.granted
    behind.release()
    expect(lock.idle).toBe(true)
  })

  test('releasing twice is a bug', () => {
    const release = new RangeLock().tryLock(0, 1, 'shared')!
    release()
    expect(release).toThrow(expect.objectContaining({ code: 'ERR_BUG' }))
  })

  test('at every moment exactly those hold it that no earlier conflicting request blocks', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async seed => {
        const random = new Random(seed)
        const lock = new RangeLock()
        const open: ({ offset: number; length: number; mode: LockMode } & ReturnType<typeof ask>)[] = []
        for (let step = 0; step < 60; step++) {
          const holders = open.filter(request => request.held)
          if (holders.length > 0 && random.chance(0.5)) {
            const done = random.pick(holders)
            done.release()
            open.splice(open.indexOf(done), 1)
          } else {
            const [offset, length, mode] = [random.below(20), random.between(1, 8), random.pick(['shared', 'exclusive'] as const)]
            open.push(Object.assign(ask(lock, offset, length, mode), { offset, length, mode }))
          }
          await settle()
          const wanted = open.map((request, index) =>
            open
              .slice(0, index)
              .every(
                earlier =>
                  (earlier.mode === 'shared' && request.mode === 'shared') ||
                  earlier.offset >= request.offset + request.length ||
                  request.offset >= earlier.offset + earlier.length,
              ),
          )
          expect(open.map(request => request.held)).toEqual(wanted)
        }
      }),
      { numRuns: 50 },
    )
  })
})
