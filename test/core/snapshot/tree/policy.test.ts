/** No space for a chunk that snapshots need: the policy of the source says who loses, durably, and never is a snapshot of two instants (F19; hazard 23). */
import { beforeEach, describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import { CrashExplorer, describeCrash } from '../../../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import { deferred } from '../../../../src/core/base/deferred.ts'
import { LunarError } from '../../../../src/core/base/errors.ts'
import { Random } from '../../../../src/core/base/random.ts'
import { Tape } from '../../../../src/core/block/tape.ts'
import type { SnapshotPolicy } from '../../../../src/core/snapshot/tree/policy.ts'
import { problems as problemsOf } from '../../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

const CHUNK = 4 * KIB
const SIZE = 4 * MIB

let disks: SimulatedDisk[]
let open: OpenPool
/** Bytes of slots of the other LUN's snapshot. */
let others = 0

const device = (name: string, pool = open): BlockDevice =>
  name.includes('@') ? pool.trees.volume(pool.trees.find(name)) : pool.relationships.volume(pool.luns.find(name).number)
const put = (name: string, chunk: number, value: number, length = CHUNK): Promise<void> => device(name).write(chunk * CHUNK, new Uint8Array(length).fill(value))
const get = async (name: string, chunk: number, pool = open): Promise<number> => {
  const into = new Uint8Array(CHUNK)
  await device(name, pool).read(chunk * CHUNK, into)
  expect(new Set(into).size).toBe(1)
  return into[0]!
}
const create = async (...names: string[]): Promise<void> => void (await open.trees.create({ names, readOnly: true }))
const states = (pool = open): Record<string, string> =>
  Object.fromEntries(
    pool.trees
      .list()
      .filter(({ name }) => name !== 'web@x')
      .map(one => [one.name, one.isDropped ? 'dropped' : one.isHidden ? 'hidden' : 'kept']),
  )
const policy = (name: SnapshotPolicy): Promise<void> => open.trees.setPolicy(open.luns.find('db'), name)
const problems = (pool = open): Promise<string[]> => problemsOf(pool.pool)
const slots = (): ReturnType<OpenPool['trees']['stores']['slots']> => open.trees.stores.slots(open.trees.stores.all[0]!)
/** Slots for chunks that can still be taken. */
const room = async (): Promise<number> => {
  const taken: number[] = []
  for (;;) {
    const some = await slots()
      .take(12, 1)
      .catch(() => [])
    if (some.length === 0) break
    taken.push(...some)
  }
  slots().drop(taken, 12)
  return taken.length
}
/** Takes all of the pool: what is left are the slots that the store has bound. */
const fill = async (): Promise<void> => {
  await open.luns.create({ name: 'filler', size: open.pool.largest('raid0'), raid: 'raid0', reserve: true })
  expect(open.pool.largest('raid0')).toBe(0)
}
/** Uses up the slots, for a snapshot of another LUN. @returns a chunk of db that was not written */
const exhaust = async (): Promise<number> => {
  const left = await room()
  others = left * CHUNK
  await device('web').write(0, new Uint8Array(others).fill(9))
  expect(await room()).toBe(0)
  return 500
}
const reopen = async (): Promise<void> => {
  await open.relationships.drain()
  await open.pool.close()
  open = await openSimulated(disks)
}
const dropped = { code: 'ERR_SNAPSHOT_DROPPED' }

beforeEach(async () => {
  disks = simulatedDisks(3)
  await createSimulated(disks)
  open = await openSimulated(disks)
  await open.luns.create({ name: 'db', size: SIZE, raid: 'raid0', reserve: false })
  await device('db').write(0, new Uint8Array(SIZE).fill(1))
  await device('db').flush()
  await open.luns.create({ name: 'web', size: 16 * MIB, raid: 'raid0', reserve: false })
  await device('web').write(0, new Uint8Array(16 * MIB).fill(1))
  await open.trees.create({ names: ['web@x'], readOnly: true })
})

describe('drop', () => {
  test('gives up those that need the chunk, and no others', async () => {
    await create('db@old')
    await put('db', 0, 2)
    await put('db', 1, 2)
    await create('db@new')
    await put('db', 1, 3)
    await device('db').flush()
    await fill()
    const next = await exhaust()
    await policy('drop')
    // Chunk 0 is kept for the old one already; only the new one needs it.
    await put('db', 0, 3)
    expect(states()).toEqual({ 'db@old': 'kept', 'db@new': 'dropped' })
    expect([await get('db', 0), await get('db@old', 0), await get('db@old', 1)]).toEqual([3, 1, 1])
    await expect(get('db@new', 7)).rejects.toMatchObject(dropped)
    // What nobody needs any more is given back, so the next first write has space.
    await put('db', next, 4)
    expect([await get('db', next), await get('db@old', next)]).toEqual([4, 1])
    await reopen()
    expect(states()).toEqual({ 'db@old': 'kept', 'db@new': 'dropped' })
    expect([await get('db@old', 0), await get('db@old', next), await get('db@old', 501)]).toEqual([1, 1, 1])
    await expect(get('db@new', 0)).rejects.toMatchObject(dropped)
    expect(await problems()).toEqual([])
  })

  test('says so in the events, refuses every use, and is deleted like any other', async () => {
    await open.trees.create({ names: ['db@s'] })
    await put('db@s', 3, 9)
    await open.trees.create({ names: ['db@s@own'], readOnly: true })
    await fill()
    const next = await exhaust()
    await policy('drop')
    await put('db', next, 4)
    // What is made of it goes with it.
    expect(states()).toEqual({ 'db@s': 'dropped', 'db@s@own': 'dropped' })
    for (const attempt of [
      () => get('db@s', 3),
      () => get('db@s@own', 3),
      () => put('db@s', 3, 8),
      () => device('db@s').extents(0, CHUNK),
      () => open.trees.refresh(open.trees.find('db@s')),
      () => open.trees.diff('db@s', 'db'),
      () => open.trees.create({ names: ['db@s@more'] }),
    ])
      await expect(attempt()).rejects.toMatchObject(dropped)
    await open.trees.delete([open.trees.find('db@s'), open.trees.find('db@s@own')])
    while (await open.trees.tidy());
    expect(open.trees.list({ hidden: true }).map(({ name }) => name)).toEqual(['web@x'])
    expect(await slots().usedBytes()).toBe(others)
    expect(await problems()).toEqual([])
  })

  test('keeps what is hidden for something that is made of it: then the write fails', async () => {
    await create('db@base')
    await open.trees.create({ names: ['db@view'], of: 'db@base' })
    await open.trees.delete([open.trees.find('db@base')])
    await fill()
    const next = await exhaust()
    await policy('drop')
    await expect(put('db', next, 4)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect([await get('db', next), await get('db@view', next)]).toEqual([1, 1])
  })

  test.each([1, 40])('many writes at once and a long one end in one state, with %i writers', async writers => {
    await create('db@a')
    await put('db', 0, 2)
    await create('db@b')
    await fill()
    const next = await exhaust()
    await policy('drop')
    const writes = Array.from({ length: writers }, (_, i) => put('db', next + i, 50))
    await Promise.all([...writes, put('db', 900, 60, 64 * CHUNK), device('db').zero(980 * CHUNK, 8 * CHUNK)])
    await device('db').flush()
    expect(Object.values(states())).toContain('dropped')
    expect([await get('db', next), await get('db', 900), await get('db', 985)]).toEqual([50, 60, 0])
    for (const [name, state] of Object.entries(states())) {
      if (state === 'dropped') await expect(get(name, next)).rejects.toMatchObject(dropped)
      else for (const chunk of [0, next, 900, 963, 985]) expect([name, chunk, await get(name, chunk)]).toEqual([name, chunk, 1])
    }
    expect(await problems()).toEqual([])
  })
})

describe('drop-oldest', () => {
  test('gives up the oldest until there is space', async () => {
    await create('db@a')
    for (let chunk = 0; chunk < 8; chunk++) await put('db', chunk, 2)
    await create('db@b')
    await put('db', 0, 3)
    await create('db@c')
    await fill()
    const next = await exhaust()
    await policy('drop-oldest')
    for (let i = 0; i < 7; i++) await put('db', next + i, 60)
    // Chunks 1 to 7 were kept for it alone.
    expect(states()).toEqual({ 'db@a': 'dropped', 'db@b': 'kept', 'db@c': 'kept' })
    expect([await get('db@b', 0), await get('db@c', 0), await get('db@b', next), await get('db@c', next + 6)]).toEqual([2, 3, 1, 1])
    await reopen()
    expect([await get('db@b', 0), await get('db@c', 0), await get('db@b', next), await get('db@c', next + 6)]).toEqual([2, 3, 1, 1])
    expect(await problems()).toEqual([])
  })

  test('passes over what somebody has open or something rests on; the last one may go, too', async () => {
    await create('db@a')
    await put('db', 0, 2)
    await create('db@b')
    await open.trees.create({ names: ['db@view'], of: 'db@b' })
    await put('db', 1, 2)
    await create('db@c')
    await fill()
    const next = await exhaust()
    await policy('drop-oldest')
    open.trees.find('db@a').users.push('backup')
    await expect(put('db', next, 60)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect(states()).toEqual({ 'db@a': 'kept', 'db@b': 'kept', 'db@view': 'kept', 'db@c': 'dropped' })
    open.trees.find('db@a').users.length = 0
    // The oldest one holds chunk 0 alone.
    await put('db', next, 60)
    expect(states()).toMatchObject({ 'db@a': 'dropped', 'db@b': 'kept' })
    expect([await get('db@view', next), await get('db@view', 0)]).toEqual([1, 2])
  })
})

describe('space that is on its way back', () => {
  test('comes before any policy: of deleted snapshots', async () => {
    await create('db@a')
    for (let chunk = 0; chunk < 4; chunk++) await put('db', chunk, 2)
    await create('db@b')
    await fill()
    const next = await exhaust()
    await open.trees.delete([open.trees.find('db@a')])
    for (const name of ['fail-writes', 'drop', 'drop-oldest'] as const) {
      await policy(name)
      await put('db', next + name.length, 60)
    }
    expect(states()).toEqual({ 'db@b': 'kept' })
    expect(await get('db@b', next + 4)).toBe(1)
    while (await open.trees.tidy());
    expect(await problems()).toEqual([])
  })

  test('comes before any policy: of deleted LUNs', async () => {
    await create('db@a')
    await fill()
    const next = await exhaust()
    await policy('drop')
    await open.luns.delete(open.luns.find('filler'))
    await put('db', next, 60)
    expect(states()).toEqual({ 'db@a': 'kept' })
  })
})

describe('the policy', () => {
  test('is of the LUN, is kept, and fails writes when nothing is said', async () => {
    await create('db@a')
    await fill()
    const next = await exhaust()
    await expect(put('db', next, 60)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect(states()).toEqual({ 'db@a': 'kept' })
    await open.trees.create({ names: ['db@b'], onFull: 'drop' })
    await reopen()
    expect(open.trees.policyOf(open.trees.find('db@b').tree)).toBe('drop')
    await expect(open.trees.create({ names: ['db@c'], onFull: 'nothing' as never })).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })
})

test('nothing of the source changes before the drop is durable, and when that fails nothing is dropped', async () => {
  await create('db@a')
  await fill()
  const next = await exhaust()
  await policy('drop')
  const { metadata } = open.pool
  const commit = metadata.commit.bind(metadata)
  const reached = deferred<void>()
  const gate = deferred<void>()
  metadata.commit = async (batch, stream, urgent) => {
    if (stream !== 'admin') return commit(batch, stream, urgent)
    reached.resolve()
    await gate.promise
    return commit(batch, stream, urgent)
  }
  const raw = async (chunk: number): Promise<number> => {
    const into = new Uint8Array(512)
    await open.luns.find('db').read(chunk * CHUNK, into)
    return into[0]!
  }
  // One that drops, and others that come while it does.
  const writes = [0, 1, 2].map(i => put('db', next + i, 60))
  await reached.promise
  for (let i = 0; i < 5; i++) expect([await raw(next), await raw(next + 1), await raw(next + 2), await get('db@a', next + 5)]).toEqual([1, 1, 1, 1])
  gate.reject(new LunarError('ERR_IO', 'no'))
  expect((await Promise.allSettled(writes)).every(({ status }) => status === 'rejected')).toBe(true)
  metadata.commit = commit
  expect([states(), await raw(next), await get('db@a', next)]).toEqual([{ 'db@a': 'kept' }, 1, 1])
  await put('db', next, 60)
  expect([states(), await raw(next)]).toEqual([{ 'db@a': 'dropped' }, 60])
})

/** Crashes at any moment of a write that drops: the snapshot is whole, or it is refused. Never is it of two instants. */
test.each(['drop', 'drop-oldest'] as const)('a crash while %s is under way leaves every snapshot whole or refused', { timeout: 120_000 }, async name => {
  await create('db@a')
  for (let chunk = 0; chunk < 3; chunk++) await put('db', chunk, 2)
  await create('db@b')
  await fill()
  const next = await exhaust()
  await policy(name)
  await device('db').flush()
  await reopen()
  const tape = new Tape(disks)
  const random = new Random(7)
  const begun = tape.length
  // The newer one alone needs what is written first.
  await put('db', 0, 60, 512)
  for (let i = 0; i < 5; i++) {
    await put('db', next + i, 70 + i, 512)
    if (i % 2 === 1) await device('db').flush()
  }
  await device('db').flush()
  tape.stop()
  expect(Object.values(states())).toContain('dropped')
  let looked = 0
  let refused = 0
  const explorer = new CrashExplorer(tape)
  const seen = new Set<number>()
  for (let cut = begun; cut <= tape.length; cut++) {
    explorer.at(cut)
    for (let i = 0; i < 6; i++) {
      const crash = explorer.state(random)
      if (seen.has(crash.hash)) continue
      seen.add(crash.hash)
      const pool = await openSimulated(crash.disks)
      const where = describeCrash(crash)
      expect(await problems(pool), where).toEqual([])
      for (const [snapshot, state] of Object.entries(states(pool))) {
        if (state === 'dropped') {
          refused++
          await expect(get(snapshot, next, pool), where).rejects.toMatchObject(dropped)
          continue
        }
        for (let chunk = 0; chunk < 3; chunk++)
          expect([snapshot, chunk, await get(snapshot, chunk, pool)], where).toEqual([snapshot, chunk, snapshot === 'db@a' ? 1 : 2])
        for (let i = 0; i < 5; i++) expect([snapshot, next + i, await get(snapshot, next + i, pool)], where).toEqual([snapshot, next + i, 1])
      }
      looked++
      await pool.pool.close()
    }
  }
  expect([looked > 20, refused > 0]).toEqual([true, true])
})

describe('a reserve', () => {
  const reserve = async (...names: string[]): Promise<void> => void (await open.trees.create({ names, readOnly: true, reserve: true }))

  test('is bound before success, and keeps every chunk of its snapshot when nothing else has space', async () => {
    await create('db@before')
    await put('db', 0, 2)
    const store = open.trees.stores.all[0]!
    const bound = store.record.boundSlices
    await reserve('db@r')
    expect(store.record.boundSlices).toBe(bound + SIZE / MIB)
    await fill()
    await exhaust()
    // Only what the demanding one needs besides has none: chunk 0 is preserved for neither, chunks that the reserved one has are not in its reserve.
    await create('db@after')
    for (let chunk = 0; chunk < SIZE / CHUNK; chunk += 3) await put('db', chunk, 3)
    await device('db').write(0, new Uint8Array(SIZE).fill(4))
    await device('db').flush()
    for (const [name, values] of [
      ['db@before', [1, 1, 1]],
      ['db@r', [2, 1, 1]],
      ['db@after', [2, 1, 1]],
    ] as const)
      for (const [i, chunk] of [0, 3, 700].entries()) expect([name, chunk, await get(name, chunk)]).toEqual([name, chunk, values[i]])
    await create('db@later')
    await expect(put('db', 5, 6)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    await policy('drop-oldest')
    await put('db', 5, 6)
    await policy('drop')
    await put('db', 6, 6)
    expect(states()['db@r']).toBe('kept')
    await reopen()
    expect([await get('db@r', 5), await get('db@r', 6), await get('db@r', 0), await get('db', 6)]).toEqual([1, 1, 2, 6])
    expect(await problems()).toEqual([])
  })

  test('is still there after a crash and a reopening, and comes back when it is over', async () => {
    await reserve('db@r')
    const store = open.trees.stores.all[0]!
    const bound = store.record.boundSlices
    await open.relationships.drain()
    // Not closed: as after a crash.
    open = await openSimulated(disks.map(disk => disk.clone()))
    while (await open.trees.tidy());
    const again = open.trees.stores.all[0]!
    expect(again.record.boundSlices).toBe(bound)
    await fill()
    await exhaust()
    await device('db').write(0, new Uint8Array(SIZE).fill(4))
    await device('db').flush()
    expect([await get('db@r', 0), await get('db@r', 1023)]).toEqual([1, 1])
    await open.trees.delete([open.trees.find('db@r')])
    while (await open.trees.tidy());
    expect([await slots().usedBytes(), again.record.boundSlices]).toEqual([others, others / MIB])
    expect(await problems()).toEqual([])
  })

  test('of several: each has its own, and the older one is enough when the newer one goes', async () => {
    await reserve('db@r1')
    await put('db', 0, 2)
    await reserve('db@r2')
    await put('db', 1, 2)
    await fill()
    await exhaust()
    await open.trees.delete([open.trees.find('db@r2')])
    while (await open.trees.tidy());
    await device('db').write(0, new Uint8Array(SIZE).fill(4))
    await device('db').flush()
    for (const chunk of [0, 1, 2, 1023]) expect(await get('db@r1', chunk)).toBe(1)
    expect(await problems()).toEqual([])
  })

  test('that does not fit is refused, and leaves nothing bound', async () => {
    const store = open.trees.stores.all[0]!
    const bound = store.record.boundSlices
    await open.luns.create({ name: 'large', size: 1024 * MIB, raid: 'raid0', reserve: false })
    await expect(reserve('large@r')).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    // It seems to fit, and two together do not.
    await open.luns.resize(open.luns.find('large'), Math.floor(open.pool.largest('raid0') / MIB / 8) * 8 * MIB, { force: false, dryRun: false })
    await expect(reserve('large@r', 'db@r', 'web@r')).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect([store.record.boundSlices, open.trees.list().map(({ name }) => name)]).toEqual([bound, ['web@x']])
  })
})
