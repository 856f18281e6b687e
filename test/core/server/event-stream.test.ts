/** Events reach who follows them once each, whatever is on its way to the disks when he comes. */
import { expect, test } from 'vitest'
import type { EventLog, PoolEvent } from '../../../src/core/pool/event-log.ts'
import type { EventView } from '../../../src/core/server/api.ts'
import { eventStream } from '../../../src/core/server/event-stream.ts'
import { eventView } from '../../../src/core/server/views.ts'
import { makeSim, openSim } from '../../support/sim.ts'

const event = (number: number): PoolEvent => ({ number, timeMs: 0, event: 'pool.set', object: 'tank', message: String(number) })

/** A log whose events become durable when a test says so. */
class Told {
  private readonly listeners = new Set<(event: PoolEvent) => void>()
  readonly log = {
    listen: (tell: (event: PoolEvent) => void) => {
      this.listeners.add(tell)
      return () => this.listeners.delete(tell)
    },
  } as unknown as EventLog

  durable(...numbers: number[]): void {
    for (const number of numbers) for (const tell of this.listeners) tell(event(number))
  }

  get heard(): number {
    return this.listeners.size
  }
}

const views = (...numbers: number[]): EventView[] => numbers.map(number => eventView(event(number)))

async function take(stream: AsyncIterator<EventView>, count: number): Promise<number[]> {
  const numbers: number[] = []
  while (numbers.length < count) {
    const { done, value } = await stream.next()
    if (done === true) break
    numbers.push((value as EventView).number)
  }
  return numbers
}

test('what is read and told again comes once, and what is late comes late', async () => {
  const told = new Told()
  const stop = new AbortController()
  let read: (rows: EventView[]) => void = () => undefined
  const stream = eventStream(told.log, () => new Promise(resolve => (read = resolve)), stop.signal)
  const first = take(stream, 3)
  told.durable(2) // between listening and reading: it is in what is read, too
  read(views(1, 2, 4)) // 4 is in the map, and not on the disks yet; 3 is in no map
  expect(await first).toEqual([1, 2, 4])
  const next = take(stream, 3)
  told.durable(5, 4, 3)
  told.durable(6)
  expect(await next).toEqual([5, 3, 6])
  const end = stream.next()
  stop.abort()
  expect((await end).done).toBe(true)
  expect(told.heard).toBe(0)
})

test('who is too slow is told to ask again', async () => {
  const told = new Told()
  const stream = eventStream(told.log, () => Promise.resolve(views(1)), new AbortController().signal)
  expect(await take(stream, 1)).toEqual([1])
  told.durable(...Array.from({ length: 2000 }, (_, i) => i + 2))
  const numbers = await take(stream, 2001)
  expect(numbers).toEqual(Array.from({ length: 1000 }, (_, i) => i + 2))
  expect(told.heard).toBe(0)
})

test('an event is told when its change is durable, and not at all when it is not', async () => {
  const disks = await makeSim({ disks: 3 })
  const sim = await openSim(disks)
  const last = (await sim.engine.call('pool.events', {})).data.at(-1)?.number ?? 0
  const stop = new AbortController()
  const stream = sim.engine.followEvents(last, stop.signal)[Symbol.asyncIterator]()
  const heard: string[] = []
  const reading = (async () => {
    for (let next = await stream.next(); next.done !== true; next = await stream.next()) heard.push(next.value.event)
  })()
  await sim.create('db', 'raid1')
  await sim.engine.call('pool.set', { settings: { comment: 'x' }, dryRun: true })
  // The disk that leaves is voted out, and what tells of it goes with the vote.
  await sim.engine.call('disk.offline', { disk: '2', force: true })
  await sim.engine.call('pool.set', { settings: { comment: 'y' } })
  const kept = (await sim.engine.call('pool.events', { after: last })).data.map(row => row.event)
  await expect.poll(() => heard).toEqual(kept)
  expect(kept).toContain('pool.set')
  expect(kept.filter(name => name === 'pool.set').length).toBe(1)
  stop.abort()
  await reading
  await sim.close()
})
