/** Sharing trees: what snapshots read, what first writes copy, what deleting gives back. */
import { beforeEach, describe, expect, test } from 'vitest'
import { deferred } from '../../../../src/core/base/deferred.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { openSimulated } from '../../../support/simulated-pool.ts'
import { CHUNK, disks, get, make, pool, problems, put, remove, reopen, SIZE, volume } from './support.ts'

const tidy = async (): Promise<void> => {
  while (await pool.trees.tidy());
}
const used = (): Promise<number> => pool.trees.stores.slots(pool.trees.stores.all[0]!).usedBytes()

beforeEach(async () => {
  await make('db', 'web')
  for (let chunk = 0; chunk < 8; chunk++) await put('db', chunk, 10 + chunk)
})

describe('a snapshot', () => {
  test('keeps what its source held, also over a reopening', async () => {
    await pool.trees.create({ names: ['db@s1'], readOnly: true })
    await put('db', 1, 99, 512)
    await put('db', 2, 98)
    expect([await get('db', 1), await get('db', 1, 512), await get('db', 2)]).toEqual([99, 11, 98])
    expect([await get('db@s1', 1), await get('db@s1', 2), await get('db@s1', 3), await get('db@s1', 100)]).toEqual([11, 12, 13, 0])
    await reopen()
    expect([await get('db@s1', 1), await get('db@s1', 2), await get('db@s1', 3), await get('db@s1', 100)]).toEqual([11, 12, 13, 0])
    expect(await used()).toBe(2 * CHUNK)
    expect(await problems()).toEqual([])
  })

  test('of unbound or zero chunks takes no slot', async () => {
    await pool.trees.create({ names: ['db@s1'] })
    await put('db', 900, 5)
    await put('db', 20, 6)
    expect([await get('db@s1', 900), await get('db@s1', 20), await get('db', 900)]).toEqual([0, 0, 5])
    await pool.relationships.drain()
    expect(await used()).toBe(0)
  })

  test('is not changed by a trim of its source, and is by no zeroing', async () => {
    await pool.trees.create({ names: ['db@s1'] })
    await volume('db').trim(0, MIB)
    expect(await get('db', 3)).toBe(13)
    await volume('db').zero(0, MIB)
    expect([await get('db', 3), await get('db@s1', 3)]).toEqual([0, 13])
  })

  test('that is writable is written on its own, and read-only ones refuse', async () => {
    await pool.trees.create({ names: ['db@w'] })
    await pool.trees.create({ names: ['db@r'], readOnly: true })
    await put('db@w', 1, 77, 512)
    await put('db@w', 300, 76)
    await volume('db@w').zero(2 * CHUNK, CHUNK)
    await expect(put('db@r', 1, 1)).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
    await put('db', 1, 55)
    expect([await get('db@w', 1), await get('db@w', 1, 512), await get('db@w', 300), await get('db@w', 2)]).toEqual([77, 11, 76, 0])
    expect([await get('db', 1), await get('db', 300), await get('db', 2)]).toEqual([55, 0, 12])
    expect([await get('db@r', 1), await get('db@r', 300), await get('db@r', 2)]).toEqual([11, 0, 12])
    await put('db@w', 1, 78, 1024)
    await reopen()
    expect([await get('db@w', 1), await get('db@w', 1, 1024), await get('db@w', 300), await get('db@w', 2)]).toEqual([78, 11, 76, 0])
    expect(await problems()).toEqual([])
  })

  test('of a writable snapshot roots a tree there', async () => {
    await pool.trees.create({ names: ['db@w'] })
    await put('db@w', 1, 20)
    await pool.trees.create({ names: ['db@w@x'] })
    await put('db@w', 1, 21)
    await put('db@w', 2, 22)
    await put('db', 3, 33)
    await put('db@w@x', 4, 44)
    await pool.trees.create({ names: ['db@w@x@y'], readOnly: true })
    await put('db@w@x', 4, 45)
    expect([await get('db@w@x', 1), await get('db@w@x', 2), await get('db@w@x', 3), await get('db@w@x', 4)]).toEqual([20, 12, 13, 45])
    expect([await get('db@w@x@y', 1), await get('db@w@x@y', 3), await get('db@w@x@y', 4)]).toEqual([20, 13, 44])
    expect([await get('db@w', 1), await get('db@w', 2), await get('db@w', 3)]).toEqual([21, 22, 13])
    await reopen()
    expect([await get('db@w@x', 1), await get('db@w@x@y', 4), await get('db@w', 3)]).toEqual([20, 44, 13])
    await remove('db@w')
    await expect(async () => pool.trees.find('db@w')).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_NOT_FOUND' })
    await tidy()
    expect(await get('db@w@x', 1)).toBe(20)
    expect(pool.trees.list({ hidden: true }).map(({ name, isHidden }) => [name, isHidden])).toEqual([
      ['db@w', true],
      ['db@w@x', false],
      ['db@w@x@y', false],
    ])
    await remove('db@w@x', 'db@w@x@y')
    expect(pool.trees.list({ hidden: true })).toEqual([])
    await tidy()
    expect(await used()).toBe(0)
    expect(pool.trees.all).toEqual([])
    expect(await problems()).toEqual([])
  })
})

describe('deleting', () => {
  test('in the middle, and at the ends, leaves the others as they are and gives back what nobody needs', async () => {
    for (let i = 1; i <= 4; i++) {
      await pool.trees.create({ names: [`db@s${i}`], readOnly: true })
      await put('db', 0, 100 + i)
      if (i % 2 === 0) await put('db', 1, 110 + i)
    }
    await pool.relationships.drain()
    expect(await used()).toBe(6 * CHUNK)
    await remove('db@s2')
    await tidy()
    expect(await used()).toBe(5 * CHUNK)
    expect([await get('db@s1', 0), await get('db@s3', 0), await get('db@s4', 0), await get('db@s1', 1), await get('db@s3', 1)]).toEqual([10, 102, 103, 11, 112])
    await remove('db@s4')
    await put('db', 2, 50)
    expect([await get('db@s3', 0), await get('db@s3', 2), await get('db@s1', 2)]).toEqual([102, 12, 12])
    await tidy()
    await remove('db@s1')
    await tidy()
    expect([await get('db@s3', 0), await get('db@s3', 1), await get('db@s3', 2)]).toEqual([102, 112, 12])
    expect(await problems()).toEqual([])
    await remove('db@s3')
    await tidy()
    expect(await used()).toBe(0)
    expect(pool.trees.stores.all[0]!.record.boundSlices).toBe(0)
    await reopen()
    expect(pool.trees.all).toEqual([])
    expect(await problems()).toEqual([])
  })

  test('one that writable views rest on stays hidden until they are gone', async () => {
    await pool.trees.create({ names: ['db@f'], readOnly: true })
    await put('db', 1, 50)
    await pool.trees.create({ names: ['db@rw1'], of: 'db@f' })
    await pool.trees.create({ names: ['db@rw2'], of: 'db@f' })
    await put('db@rw1', 1, 61)
    await put('db@rw2', 2, 62)
    expect([await get('db@f', 1), await get('db@rw1', 1), await get('db@rw2', 1), await get('db@rw2', 2), await get('db', 1)]).toEqual([11, 61, 11, 62, 50])
    await remove('db@f')
    await tidy()
    expect([await get('db@rw1', 1), await get('db@rw2', 1)]).toEqual([61, 11])
    await remove('db@rw1')
    await tidy()
    expect(pool.trees.list({ hidden: true }).map(({ name }) => name)).toEqual(['db@f', 'db@rw2'])
    await remove('db@rw2')
    await tidy()
    expect(await used()).toBe(0)
    expect(await problems()).toEqual([])
  })

  test('goes on after a reopening, and its name can be used again', async () => {
    await pool.trees.create({ names: ['db@s1'] })
    await put('db', 1, 50)
    await put('db@s1', 2, 51)
    await remove('db@s1')
    await pool.trees.create({ names: ['db@s1'] })
    await reopen()
    expect(pool.trees.needsTidying).toBe(true)
    await tidy()
    expect([await get('db@s1', 1), await get('db@s1', 2)]).toEqual([50, 12])
    expect(await used()).toBe(0)
    expect(await problems()).toEqual([])
  })

  test('is refused while it is open', async () => {
    await pool.trees.create({ names: ['db@s1'] })
    pool.trees.find('db@s1').users.push('somebody')
    await expect(remove('db@s1')).rejects.toMatchObject({ code: 'ERR_BUSY' })
  })
})

describe('stores', () => {
  test('are shared by the trees of several sources, with slots of different sizes in slices of their own', async () => {
    for (let chunk = 0; chunk < 8; chunk++) await put('web', chunk, 30 + chunk)
    await pool.trees.create({ names: ['db@s1'] })
    await pool.trees.create({ names: ['web@s1'], chunkBytes: 64 * KIB, store: 'snapshots-raid1' })
    await put('db', 0, 1)
    await put('web', 0, 2)
    await put('db', 1, 3)
    expect([await get('db@s1', 0), await get('db@s1', 1), await get('web@s1', 0), await get('web@s1', 7)]).toEqual([10, 11, 30, 37])
    expect(pool.trees.stores.all).toHaveLength(1)
    expect(await used()).toBe(2 * CHUNK + 64 * KIB)
    expect(await problems()).toEqual([])
    await remove('db@s1')
    await tidy()
    expect(await used()).toBe(64 * KIB)
    await expect(pool.trees.stores.delete(pool.trees.stores.find('snapshots-raid1'), { dryRun: false })).rejects.toMatchObject({ code: 'ERR_HAS_SNAPSHOTS' })
    await remove('web@s1')
    await tidy()
    await pool.trees.stores.delete(pool.trees.stores.find('snapshots-raid1'), { dryRun: false })
    expect(pool.trees.stores.all).toEqual([])
  })

  test('that are less redundant than the source are refused, unless forced', async () => {
    await pool.trees.stores.create({ name: 'cheap', raid: 'raid0' })
    await expect(pool.trees.create({ names: ['db@s1'], store: 'cheap' })).rejects.toMatchObject({ code: 'ERR_REDUNDANCY' })
    await pool.trees.create({ names: ['db@s1'], store: 'cheap', forceRedundancy: true })
    await expect(pool.trees.create({ names: ['db@s2'], chunkBytes: 8 * KIB })).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })
})

test('several snapshots are of one instant', async () => {
  await put('web', 0, 1)
  const writes: Promise<void>[] = []
  for (let i = 0; i < 20; i++) writes.push(put('db', 0, 100 + i).then(() => put('web', 0, 100 + i)))
  const created = pool.trees.create({ names: ['db@g', 'web@g'], readOnly: true })
  await Promise.all([...writes, created])
  const [db, web] = [await get('db@g', 0), await get('web@g', 0)]
  // web is written after db is: what it holds, db held before.
  expect(db >= 100 || web === 1).toBe(true)
  expect(await problems()).toEqual([])
})

test('a snapshot is of one instant: what is under way when it is taken is in it or not, for good', async () => {
  for (let i = 0; i < 40; i++) {
    // The chunk has what the last snapshot needs, so that the write goes straight down.
    const writing = put('db', 0, 100 + i, 2 * CHUNK)
    for (let tick = 0; tick < i; tick++) await Promise.resolve()
    const creating = pool.trees.create({ names: [`db@s${i}`], readOnly: true })
    await creating
    const seen = [await get(`db@s${i}`, 0), await get(`db@s${i}`, 1)]
    await writing
    expect([await get(`db@s${i}`, 0), await get(`db@s${i}`, 1)]).toEqual(seen)
    expect(seen[0]).toBe(i === 0 && seen[0] === 10 ? 10 : seen[1])
    await put('db', 0, 60, 2 * CHUNK)
    expect([await get(`db@s${i}`, 0), await get(`db@s${i}`, 1)]).toEqual(seen)
    await put('db', 0, 61, 2 * CHUNK)
  }
})

test('when the last snapshot is deleted, what is acknowledged and not written yet is read, and later writes come after it', async () => {
  await pool.trees.create({ names: ['db@s1'] })
  const db = pool.relationships.volume(pool.luns.find('db').number)
  for (const chunk of [0, 1]) await put('db', chunk, 1 + chunk)
  const deleting = remove('db@s1')
  while (pool.trees.list().length > 0) await Promise.resolve()
  const written = put('db', 1, 3)
  expect(await get('db', 0)).toBe(1)
  await Promise.all([deleting, written])
  await db.flush()
  expect([await get('db', 0), await get('db', 1)]).toEqual([1, 3])
})

test('a snapshot waits for writes that are under way, and has them', async () => {
  await pool.trees.create({ names: ['db@s0'] })
  await put('db', 0, 1)
  await pool.relationships.drain()
  const gate = deferred()
  for (const disk of disks) {
    const { write } = disk
    disk.write = async (offset, data) => {
      if (data.length === CHUNK) await gate.promise
      return write.call(disk, offset, data)
    }
  }
  // What db@s0 needs of this chunk it has, so the write goes straight down.
  const writing = put('db', 0, 2)
  let created = false
  const creating = pool.trees.create({ names: ['db@s1'], readOnly: true }).then(() => (created = true))
  for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve))
  expect(created).toBe(false)
  gate.resolve()
  await Promise.all([writing, creating])
  await put('db', 0, 3)
  expect([await get('db@s0', 0), await get('db@s1', 0), await get('db', 0)]).toEqual([10, 2, 3])
})

describe('comparing', () => {
  const diff = async (from: string, to: string): Promise<number[][]> =>
    (await pool.trees.diff(from, to)).extents.map(({ offset, length }) => [offset / CHUNK, length / CHUNK])

  test('two snapshots, or one and its volume, names the chunks written between them, and those written to them', async () => {
    await pool.trees.create({ names: ['db@s1'] })
    await put('db', 1, 1)
    await put('db', 2, 1)
    await pool.trees.create({ names: ['db@s2'], readOnly: true })
    await put('db', 2, 2)
    await put('db', 5, 2)
    await pool.trees.create({ names: ['db@s3'], readOnly: true })
    await put('db', 7, 3)
    await pool.relationships.drain()
    expect(await diff('db@s1', 'db@s2')).toEqual([[1, 2]])
    expect(await diff('db@s2', 'db@s3')).toEqual([
      [2, 1],
      [5, 1],
    ])
    expect(await diff('db@s3', 'db@s1')).toEqual([
      [1, 2],
      [5, 1],
    ])
    expect(await diff('db@s3', 'db')).toEqual([[7, 1]])
    expect(await diff('db@s1', 'db@s1')).toEqual([])
    await put('db@s1', 20, 9)
    expect(await diff('db@s1', 'db@s2')).toEqual([
      [1, 2],
      [20, 1],
    ])
    await remove('db@s2')
    await tidy()
    expect(await diff('db', 'db@s3')).toEqual([[7, 1]])
    expect(await diff('db@s1', 'db@s3')).toEqual([
      [1, 2],
      [5, 1],
      [20, 1],
    ])
    await pool.trees.create({ names: ['db@s1@x'] })
    await put('db@s1', 30, 9)
    expect(await diff('db@s1@x', 'db@s1')).toEqual([[30, 1]])
    await expect(diff('db@s1', 'web')).rejects.toMatchObject({ code: 'ERR_USAGE' })
    await expect(diff('db@s1@x', 'db@s3')).rejects.toMatchObject({ code: 'ERR_USAGE' })
    await expect(diff('db', 'web')).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })
})

describe('refreshing', () => {
  test('drops what was written to a writable snapshot, and gives it back', async () => {
    await pool.trees.create({ names: ['db@f'], readOnly: true })
    await pool.trees.create({ names: ['db@rw'], of: 'db@f' })
    await put('db', 1, 50)
    for (const chunk of [1, 2, 30]) await put('db@rw', chunk, 70)
    await pool.trees.refresh(pool.trees.find('db@rw'), { dryRun: true })
    expect(await get('db@rw', 1)).toBe(70)
    await pool.trees.refresh(pool.trees.find('db@rw'))
    expect([await get('db@rw', 1), await get('db@rw', 2), await get('db@rw', 30), await get('db@f', 1)]).toEqual([11, 12, 0, 11])
    await put('db@rw', 2, 71)
    await reopen()
    expect(pool.trees.needsTidying).toBe(true)
    await tidy()
    expect([await get('db@rw', 1), await get('db@rw', 2), await get('db@rw', 30)]).toEqual([11, 71, 0])
    expect(await used()).toBe(2 * CHUNK)
    expect(await problems()).toEqual([])
    await reopen()
    expect(pool.trees.needsTidying).toBe(false)
    await expect(pool.trees.refresh(pool.trees.find('db@f'))).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
    await pool.trees.create({ names: ['db@rw@x'] })
    await expect(pool.trees.refresh(pool.trees.find('db@rw'))).rejects.toMatchObject({ code: 'ERR_HAS_SNAPSHOTS' })
  })
})

test('a dry run changes nothing', async () => {
  const before = pool.pool.metadata.generation
  const [made] = await pool.trees.create({ names: ['db@s1'], dryRun: true })
  expect(made).toMatchObject({ name: 'db@s1', size: SIZE, isWritable: true, chunkBytes: CHUNK, store: 'snapshots-raid1' })
  expect(pool.pool.metadata.generation).toBe(before)
  expect(pool.trees.list()).toEqual([])
})

describe('what deleting gives back', () => {
  const freed = (...names: string[]): Promise<number> => pool.trees.freed(names.map(name => pool.trees.find(name)))

  test('is said exactly, for every set of snapshots', async () => {
    // Chunks needed by one, by neighbours, by all; a view, written on its own; and what is on its way back already.
    await pool.trees.create({ names: ['db@a'], readOnly: true })
    await put('db', 0, 50)
    await pool.trees.create({ names: ['db@b'] })
    await put('db', 1, 51)
    await put('db', 0, 52)
    await pool.trees.create({ names: ['db@c'] })
    await put('db@b', 5, 60)
    await pool.trees.create({ names: ['db@view'], of: 'db@a' })
    await put('db@view', 6, 61)
    await pool.trees.create({ names: ['db@old'] })
    await put('db', 2, 53)
    await remove('db@old')
    const names = ['db@a', 'db@b', 'db@c', 'db@view']
    await reopen()
    for (let set = 0; set < 2 ** names.length; set++) {
      const some = names.filter((_, i) => (set & (1 << i)) !== 0)
      // On a copy of the disks, so that each set is deleted from the same state.
      const copy = await openSimulated(disks.map(disk => disk.clone()))
      while (await copy.trees.tidy());
      const store = copy.trees.stores.slots(copy.trees.stores.all[0]!)
      const before = await store.usedBytes()
      await copy.trees.delete(some.map(name => copy.trees.find(name)))
      while (await copy.trees.tidy());
      expect([some, await freed(...some)]).toEqual([some, before - (await store.usedBytes())])
    }
    expect(await freed(...names)).toBe(6 * CHUNK)
    await remove('db@a')
    expect(pool.trees.list({ hidden: true }).some(({ isHidden }) => isHidden)).toBe(true)
    // The view takes the hidden one with it.
    expect(await freed('db@view')).toBe(2 * CHUNK)
  })
})
