import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { Random } from '../../../src/core/base/random.ts'
import { ByteBudget, WriteBackHold } from '../../../src/core/block/hold.ts'

const MIB = 1024 * 1024
const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

describe('byte budget', () => {
  test('never more than the limit, in the order of asking', async () => {
    const budget = new ByteBudget(100)
    const order: string[] = []
    const ask = (name: string, bytes: number): Promise<void> => budget.admit(bytes).then(() => void order.push(name))
    await ask('a', 60)
    const waiting = [ask('b', 50), ask('c', 10), ask('d', 40)]
    await settle()
    expect(order).toEqual(['a'])
    expect(budget.tryAdmit(1)).toBe(false)
    budget.release(60)
    await Promise.all(waiting)
    expect(order).toEqual(['a', 'b', 'c', 'd'])
    expect(budget.taken).toBe(100)
  })

  test('a request above the limit is served alone', async () => {
    const budget = new ByteBudget(100)
    expect(budget.tryAdmit(10)).toBe(true)
    let served = false
    const large = budget.admit(500).then(() => (served = true))
    await settle()
    expect(served).toBe(false)
    budget.release(10)
    await large
    expect(budget.tryAdmit(1)).toBe(false)
    budget.release(500)
    expect(budget.tryAdmit(1)).toBe(true)
  })

  test('who gives up a turn lets the next ones pass', () => {
    const budget = new ByteBudget(100)
    budget.tryAdmit(60)
    const admitted: string[] = []
    const withdraw = budget.wait(50, () => admitted.push('large'))
    const withdrawSmall = budget.wait(40, () => admitted.push('small'))
    expect(admitted).toEqual([])
    withdraw()
    expect(admitted).toEqual(['small'])
    withdraw()
    withdrawSmall()
    expect(budget.taken).toBe(100)
  })

  test('releasing more than was taken is a bug', () => {
    expect(() => new ByteBudget(1).release(1)).toThrow(expect.objectContaining({ code: 'ERR_BUG' }))
  })

  test('stays bounded under any order of asking and releasing, and serves all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async seed => {
        const random = new Random(seed)
        const budget = new ByteBudget(64)
        const held: number[] = []
        let served = 0
        for (let step = 0; step < 100; step++) {
          if (held.length > 0 && random.chance(0.45)) {
            budget.release(held.splice(random.below(held.length), 1)[0]!)
          } else {
            const bytes = random.between(1, 40)
            void budget.admit(bytes).then(() => {
              served++
              held.push(bytes)
            })
          }
          await settle()
          expect(budget.taken).toBe(held.reduce((sum, bytes) => sum + bytes, 0))
          expect(budget.taken).toBeLessThanOrEqual(64)
        }
        while (held.length > 0) {
          budget.release(held.pop()!)
          await settle()
        }
        expect(served).toBeGreaterThan(30)
        expect(budget.taken).toBe(0)
      }),
      { numRuns: 20 },
    )
  })
})

describe('write-back hold', () => {
  test('readers wait for what is held in their range, and for nothing else', async () => {
    const hold = new WriteBackHold()
    const write = deferred()
    await hold.admit(4096)
    hold.hold(MIB - 2048, 4096, write.promise)
    expect(hold.overlapping(0, MIB - 2048)).toBeUndefined()
    expect(hold.overlapping(MIB + 2048, 512)).toBeUndefined()
    const waits = [hold.overlapping(MIB - 2048, 1), hold.overlapping(MIB + 2047, 10), hold.overlapping(0, 64 * MIB)].filter(wait => wait !== undefined)
    expect(waits).toHaveLength(3)
    let passed = false
    const all = Promise.all(waits).then(() => (passed = true))
    await settle()
    expect(passed).toBe(false)
    write.resolve()
    await all
    expect(hold.overlapping(0, 64 * MIB)).toBeUndefined()
    expect([hold.count, hold.budget.taken]).toEqual([0, 0])
  })

  test('a full hold admits nobody until a write has ended', async () => {
    const hold = new WriteBackHold(8192)
    const writes = [deferred(), deferred()]
    for (const [index, write] of writes.entries()) {
      await hold.admit(4096)
      hold.hold(index * 4096, 4096, write.promise)
    }
    let admitted = false
    const third = hold.admit(4096).then(() => (admitted = true))
    await settle()
    expect([admitted, hold.tryAdmit(1)]).toEqual([false, false])
    writes[1]!.resolve()
    await third
    hold.cancel(4096)
    expect(hold.budget.taken).toBe(4096)
    writes[0]!.resolve()
  })

  test('drain waits for all that is held at the call, not for what comes later', async () => {
    const hold = new WriteBackHold()
    const [early, late] = [deferred(), deferred()]
    await hold.admit(512)
    hold.hold(0, 512, early.promise)
    let drained = false
    const drain = hold.drain().then(() => (drained = true))
    await hold.admit(512)
    hold.hold(512, 512, late.promise)
    await settle()
    expect(drained).toBe(false)
    early.resolve()
    await drain
    expect(hold.count).toBe(1)
    late.resolve()
    await hold.drain()
  })

  test('a held write that fails was acknowledged: every drain fails from then on, and what it was to write is known to be lost', async () => {
    const hold = new WriteBackHold()
    const write = deferred()
    await hold.admit(512)
    hold.hold(0, 512, write.promise)
    const reader = hold.overlapping(0, 512)
    const error = new Error('made by the test')
    write.reject(error)
    await reader
    await expect(hold.drain()).rejects.toBe(error)
    await expect(hold.drain()).rejects.toBe(error)
    expect(hold.budget.taken).toBe(0)
    expect([hold.lostIn(0, 512)?.error, hold.lostIn(511, 4096)?.error, hold.lostIn(512, 4096)]).toEqual([error, error, undefined])
    // However many fail, all of them are lost.
    for (let i = 1; i <= 3000; i++) hold.begin(i * 8192, 512, 0)({ error })
    for (let i = 0; i <= 3000; i++) expect(hold.lostIn(i * 8192, 1)?.error).toBe(error)
    expect(hold.lostIn(3001 * 8192, 8192)).toBeUndefined()
  })

  test('holds that share a budget share its bound', async () => {
    const budget = new ByteBudget(4096)
    const [a, b] = [new WriteBackHold(budget), new WriteBackHold(budget)]
    const write = deferred()
    await a.admit(4096)
    a.hold(0, 4096, write.promise)
    expect(b.tryAdmit(512)).toBe(false)
    expect(b.overlapping(0, 4096)).toBeUndefined()
    write.resolve()
    await b.admit(512)
    b.cancel(512)
  })
})
