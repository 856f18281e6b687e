/** Snapclones: LUNs that read as a snapshot or another LUN at once, and depend on nothing when they are copied. */
import { beforeEach, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { get, make, pool, problems, put, remove, reopen, SIZE } from './support.ts'

const gets = (name: string, chunks: readonly number[] = [0, 1, 2, 300]): Promise<number[]> => Promise.all(chunks.map(chunk => get(name, chunk)))
const clone = (source: string, name: string, dryRun = false) => pool.trees.clones.clone({ source, name, dryRun })
const finish = async (name: string): Promise<void> => {
  const process = await pool.trees.clones.process(pool.relationships.cloneOf(pool.luns.find(name))!)
  while (!(await process.step()).finished);
}
const tidy = async (): Promise<void> => {
  while (await pool.trees.tidy());
  while (await pool.relationships.tidy());
}

beforeEach(async () => {
  await make('db')
  for (let chunk = 0; chunk < 3; chunk++) await put('db', chunk, 10 + chunk)
})

test('a clone is used at once, over a reopening, and is a LUN like any other when it is copied', async () => {
  const { lun } = await clone('db', 'copy')
  expect([lun.size, lun.raid, lun.isReserved, lun.isIncomplete]).toEqual([SIZE, 'raid1', true, false])
  await put('db', 0, 50, 512)
  await put('copy', 1, 61, 512)
  const expected = async (): Promise<void> => {
    expect([await gets('db'), await gets('copy')]).toEqual([
      [50, 11, 12, 0],
      [10, 61, 12, 0],
    ])
    expect([await get('db', 0, 512), await get('copy', 1, 512)]).toEqual([10, 11])
  }
  await expected()
  await reopen()
  await expected()
  expect(pool.trees.list()).toEqual([])
  expect(pool.trees.list({ hidden: true }).map(({ name }) => name)).toEqual(['db@clone.copy'])
  expect(pool.relationships.all).toEqual([])
  expect(await problems()).toEqual([])
  await finish('copy')
  await expected()
  await tidy()
  await expected()
  expect([pool.relationships.clones, pool.trees.all]).toEqual([[], []])
  await put('db', 2, 52)
  await reopen()
  expect(await gets('copy')).toEqual([10, 61, 12, 0])
  expect(await problems()).toEqual([])
})

test('what a clone is copied from is deleted all the same, and is kept, hidden, until the copy has ended', async () => {
  await pool.trees.create({ names: ['db@frozen'], readOnly: true })
  await put('db', 0, 50)
  await pool.trees.create({ names: ['db@rw'] })
  await put('db@rw', 1, 61)
  await clone('db@frozen', 'a')
  await clone('db@rw', 'b')
  await clone('b', 'c')
  await put('db@rw', 2, 62)
  const hidden = await remove('db@frozen', 'db@rw')
  expect(hidden.map(({ record }) => record.name).sort()).toEqual(['frozen', 'rw'])
  await tidy()
  await reopen()
  const expected = async (): Promise<void> => {
    expect(await gets('a')).toEqual([10, 11, 12, 0])
    for (const name of ['b', 'c']) expect(await gets(name)).toEqual([50, 61, 12, 0])
  }
  await expected()
  for (const name of ['db', 'b'])
    expect(() => {
      pool.trees.checkNone(pool.luns.find(name), 'delete')
    }).toThrow(expect.objectContaining({ code: 'ERR_HAS_SNAPSHOTS' }))
  await put('db', 1, 51)
  for (const name of ['b', 'a', 'c']) {
    await finish(name)
    await tidy()
    await expected()
  }
  expect(pool.trees.all).toEqual([])
  for (const store of pool.trees.stores.all) expect(await pool.trees.stores.slots(store).usedBytes()).toBe(0)
  expect(await problems()).toEqual([])
})

test('a clone is a source of snapshots, clones and relationships at once', async () => {
  await clone('db', 'copy')
  await pool.trees.create({ names: ['copy@s1'] })
  await pool.luns.create({ name: 'image', size: SIZE, raid: 'raid0', reserve: false })
  const { relationship } = await pool.relationships.configure({ source: 'copy', image: 'image', chunkBytes: 32 * KIB })
  await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
  await clone('copy@s1', 'second')
  await put('db', 0, 50)
  await put('copy', 1, 61)
  await put('second', 2, 72)
  const expected = async (): Promise<void> => {
    expect(await Promise.all(['db', 'copy', 'copy@s1', 'image', 'second'].map(name => gets(name)))).toEqual([
      [50, 11, 12, 0],
      [10, 61, 12, 0],
      [10, 11, 12, 0],
      [10, 11, 12, 0],
      [10, 11, 72, 0],
    ])
  }
  await expected()
  await finish('copy')
  await expected()
  await pool.trees.restores.restore({ names: ['copy@s1'] })
  expect(await gets('copy')).toEqual([10, 11, 12, 0])
  await finish('second')
  await tidy()
  expect(await gets('second')).toEqual([10, 11, 72, 0])
  expect(await problems()).toEqual([])
})

test('a clone that is being copied can be restored to a snapshot of its own', async () => {
  await clone('db', 'copy')
  await pool.trees.create({ names: ['copy@s1'] })
  await put('copy', 1, 61)
  await pool.trees.restores.restore({ names: ['copy@s1'] })
  expect(await gets('copy')).toEqual([10, 11, 12, 0])
  await finish('copy')
  const tree = pool.trees.treeOf(pool.luns.find('copy'))!
  const process = (await pool.trees.restores.process(tree))!
  while (!(await process.step()).finished);
  expect(await gets('copy')).toEqual([10, 11, 12, 0])
  expect(await gets('copy@before-restore-1')).toEqual([10, 61, 12, 0])
})

test('a clone of a LUN that is being restored has what that reads', async () => {
  await pool.trees.create({ names: ['db@s1'] })
  await put('db', 0, 50)
  await pool.trees.restores.restore({ names: ['db@s1'] })
  await clone('db', 'copy')
  await put('db', 1, 51)
  expect(await gets('copy')).toEqual([10, 11, 12, 0])
  await finish('copy')
  expect([await gets('copy'), await gets('db')]).toEqual([
    [10, 11, 12, 0],
    [10, 51, 12, 0],
  ])
})

test('a clone whose full size cannot be reserved is refused, and leaves nothing', async () => {
  await pool.luns.create({ name: 'large', size: 512 * MIB, raid: 'raid1', reserve: false })
  await expect(clone('large', 'copy')).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
  await expect(clone('db', 'large')).rejects.toMatchObject({ code: 'ERR_EXISTS' })
  await clone('db', 'copy', true)
  expect(pool.luns.all.filter(({ isStore }) => !isStore).map(({ name }) => name)).toEqual(['db', 'large'])
  expect(pool.trees.all).toEqual([])
})

test('a clone that is given up before its end is of no use any more, and what it needed goes', async () => {
  await clone('db', 'copy')
  await put('db', 0, 50)
  await pool.trees.clones.abandon(pool.luns.find('copy'))
  expect(pool.luns.find('copy').isIncomplete).toBe(true)
  await pool.luns.delete(pool.luns.find('copy'))
  await tidy()
  expect([pool.trees.all, pool.relationships.clones]).toEqual([[], []])
  expect(await problems()).toEqual([])
})

test('its source cannot be made an image of it, and it is not shrunk before its end', async () => {
  await clone('db', 'copy')
  await expect(pool.relationships.configure({ source: 'copy', image: 'db' })).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
  await expect(pool.relationships.configure({ source: 'db', image: 'copy' })).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
  expect(() => {
    pool.trees.checkResize(pool.luns.find('copy'), MIB)
  }).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }))
  await finish('copy')
  await tidy()
  await pool.relationships.configure({ source: 'copy', image: 'db' })
})

test('snapshots that clones rest on cannot be refreshed', async () => {
  await pool.trees.create({ names: ['db@rw'] })
  await put('db@rw', 0, 60)
  await clone('db@rw', 'copy')
  await expect(pool.trees.refresh(pool.trees.find('db@rw'))).rejects.toMatchObject({ code: 'ERR_HAS_SNAPSHOTS' })
  await finish('copy')
  await tidy()
  await pool.trees.refresh(pool.trees.find('db@rw'))
  expect([await get('copy', 0), await get('db@rw', 0)]).toEqual([60, 10])
})
