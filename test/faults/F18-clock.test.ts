/** F18: the clock jumps by ten years, before, during and after: no decision changes. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { JOURNAL_AT } from '../../src/metadata/layout.ts'
import { bytesOf, clones, expectSound, makeSim, openSim, overwrite, readAll, SimClock, stamped } from '../support/sim.ts'

const YEARS = 10 * 365.25 * 24 * 3600 * 1000
const AREA = JOURNAL_AT + 16 * MIB

/** Where the clock is when each step begins, in years from the start. */
type Jumps = readonly number[]

interface Outcome {
  readonly contents: Buffer
  readonly luns: string[]
  readonly settings: string
  readonly operations: string[]
  readonly events: string[]
}

/** A life of a pool in five steps: made, written, a crash, a member away, back again. All that is decided, and how often disks were asked. */
async function live(jumps: Jumps): Promise<Outcome> {
  const clock = new SimClock()
  const start = clock.wall
  const step = (number: number): void => {
    clock.wall = start + (jumps[number] ?? 0) * YEARS
  }
  step(0)
  const disks = await makeSim()
  let open = await openSim(disks, { clock })
  const lun = await open.create('a', 'raid1', 8 * MIB)
  step(1)
  await lun.write(0, stamped(3 * MIB, 1))
  await lun.flush()
  await open.engine.call('pool.set', { settings: { comment: 'one' } })
  let now: SimulatedDisk[] = clones(disks)
  step(2)
  open = await openSim(now, { clock })
  await open.settled()
  await open.close()
  const back = now[2]!
  step(3)
  open = await openSim(now.slice(0, 2).concat(now[3]!), { clock })
  await open.lun('a').write(MIB, stamped(MIB, 2))
  await open.lun('a').flush()
  await open.engine.call('pool.set', { settings: { comment: 'two' } })
  await open.close()
  step(4)
  now = [now[0]!, now[1]!, back, now[3]!]
  open = await openSim(now, { clock })
  await open.settled()
  const outcome = {
    contents: await readAll(open.lun('a')),
    luns: open.luns.all.map(({ name, size }) => `${name} ${size}`),
    settings: open.pool.record.comment,
    operations: now.map(({ counters }) => JSON.stringify(counters)),
    events: (await open.events()).map(({ event, object }) => `${event} ${object}`),
  }
  await open.close()
  await expectSound(now)
  return outcome
}

describe('F18 clock jumps', async () => {
  const calm = await live([0, 0, 0, 0, 0])

  test.each<[string, Jumps]>([
    ['forward before', [1, 1, 1, 1, 1]],
    ['back before', [-1, -1, -1, -1, -1]],
    ['forward during', [0, 1, 1, 1, 1]],
    ['back during', [0, -1, -1, -1, -1]],
    ['forward and back again', [0, 1, 0, 1, 0]],
    ['back and forward again', [0, -1, 0, -1, 0]],
    ['back after', [1, 1, 1, 0, -1]],
  ])('ten years %s: the same data, records, events and disk operations', async (_, jumps) => {
    const outcome = await live(jumps)
    expect(outcome.contents.equals(calm.contents)).toBe(true)
    expect({ ...outcome, contents: 0 }).toEqual({ ...calm, contents: 0 })
  })

  test.each([1, -1])('the newest state wins although the stale copy has the later time (%d)', async direction => {
    const clock = new SimClock()
    const disks = await makeSim()
    const open = await openSim(disks, { clock })
    await open.engine.call('pool.set', { settings: { comment: 'old' } })
    await open.pool.metadata.checkpoint()
    const old = clones(disks)
    clock.wall -= direction * YEARS
    await open.engine.call('pool.set', { settings: { comment: 'new' } })
    await open.pool.metadata.checkpoint()
    const now = clones(disks)
    await overwrite(now[0]!, 0, await bytesOf(old[0]!, 0, AREA))
    clock.wall += 2 * direction * YEARS
    const again = await openSim(now, { clock })
    expect(again.pool.record.comment).toBe('new')
    await again.close()
    await expectSound(now)
  })
})
