/** LUNs that are shrunk under their snapshots: these keep their size and what was cut off, which is kept for them behind it. */
import { beforeEach, expect, test } from 'vitest'
import { MIB } from '../../../../src/core/base/units.ts'
import { Reclaim } from '../../../../src/core/lun/reclaim.ts'
import type { Lun } from '../../../../src/core/lun/lun.ts'
import { CHUNK, get, make, pool, problems, put, remove, reopen, SIZE, volume } from './support.ts'

/** A chunk of each MiB, and the one behind it. */
const CHUNKS = [0, 256, 512, 513, 768, 1023]
const gets = async (name: string): Promise<number[]> => {
  const { size } = volume(name)
  return Promise.all(CHUNKS.filter(chunk => chunk * CHUNK < size).map(chunk => get(name, chunk)))
}
const db = (): Lun => pool.luns.find('db')
const resize = (size: number): Promise<void> =>
  size < db().size ? pool.relationships.shrinkNow(db(), size, { force: true }) : pool.luns.resize(db(), size, { force: true })
const restore = (name: string, more: { keepSize?: boolean; dryRun?: boolean } = {}) => pool.trees.restores.restore({ names: [name], ...more })
const copyBack = async (): Promise<void> => {
  const process = await pool.trees.restores.process(pool.trees.treeOf(db())!)
  while (process && !(await process.step()).finished);
}
/** What the owner does behind it. */
const reclaim = async (): Promise<void> => {
  while (await pool.trees.tidy());
  const body = new Reclaim(pool.pool, pool.luns)
  while (!(await body.step()).finished);
}

beforeEach(async () => {
  await make('db')
  for (const [i, chunk] of CHUNKS.entries()) if (chunk !== 513) await put('db', chunk, 10 + i)
  await pool.trees.create({ names: ['db@s1'], readOnly: true })
  await put('db', 512, 22)
  await pool.trees.create({ names: ['db@s2'] })
  await put('db@s2', 768, 34)
  await volume('db').flush()
})

const S1 = [10, 11, 12, 0, 14, 15]
const S2 = [10, 11, 22, 0, 34, 15]

test('snapshots read what was cut off at once, while it is kept for them, and after it', async () => {
  const { boundSlices } = db().record
  await resize(2 * MIB)
  const all = async (): Promise<void> => expect([await gets('db'), await gets('db@s1'), await gets('db@s2')]).toEqual([[10, 11], S1, S2])
  await all()
  expect(db().record).toMatchObject({ size: 2 * MIB, boundSlices })
  await expect(volume('db').read(2 * MIB, new Uint8Array(512))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await put('db@s2', 1023, 35)
  await put('db@s2', 1023, 15)
  await reopen()
  await all()
  await reclaim()
  expect(db().record).toMatchObject({ boundSlices: 2, reclaimFrom: 0 })
  await all()
  // What it grows by is new: the snapshots need nothing of it.
  await resize(SIZE)
  expect(await gets('db')).toEqual([10, 11, 0, 0, 0, 0])
  for (const chunk of CHUNKS) await put('db', chunk, 90)
  await reopen()
  expect([await gets('db@s1'), await gets('db@s2')]).toEqual([S1, S2])
  expect(await problems()).toEqual([])
  await remove('db@s1', 'db@s2')
  await reclaim()
  expect(pool.trees.all).toEqual([])
  expect(await problems()).toEqual([])
})

test('what is there again is kept for all snapshots that have it, also when newer ones are smaller', async () => {
  await resize(2 * MIB)
  await pool.trees.create({ names: ['db@small'], readOnly: true })
  await resize(SIZE)
  await pool.trees.create({ names: ['db@large'], readOnly: true })
  await remove('db@s1', 'db@s2')
  await reclaim()
  await resize(2 * MIB)
  await reclaim()
  await pool.trees.create({ names: ['db@newest'], readOnly: true })
  await resize(SIZE)
  await reopen()
  for (const chunk of CHUNKS) await put('db', chunk, 90)
  expect([await gets('db@large'), await gets('db@small'), await gets('db@newest')]).toEqual([
    [10, 11, 0, 0, 0, 0],
    [10, 11],
    [10, 11],
  ])
  const { extents } = await pool.trees.diff('db@large', 'db')
  expect(extents).toContainEqual({ offset: 768 * CHUNK, length: CHUNK })
  expect(await problems()).toEqual([])
})

test('a LUN that is restored to a smaller snapshot becomes as small, and as large again by its way back', async () => {
  await resize(6 * MIB)
  await put('db', 1100, 70)
  await restore('db@s1', { dryRun: true })
  expect(db().size).toBe(6 * MIB)
  const restored = await restore('db@s1')
  expect(restored).toMatchObject([{ size: SIZE, was: 6 * MIB, before: 'db@before-restore-1' }])
  const all = async (): Promise<void> => {
    expect([db().size, await gets('db'), await gets('db@s2'), await gets('db@before-restore-1')]).toEqual([SIZE, S1, S2, [10, 11, 22, 0, 14, 15]])
    expect(await get('db@before-restore-1', 1100)).toBe(70)
  }
  await all()
  await expect(resize(MIB)).rejects.toMatchObject({ code: 'ERR_RESTORING' })
  await reopen()
  await all()
  await reclaim()
  await all()
  await copyBack()
  await reopen()
  await all()
  await expect(restore('db@before-restore-1', { keepSize: true })).rejects.toMatchObject({ code: 'ERR_BAD_SIZE' })
  await restore('db@before-restore-1')
  await copyBack()
  expect([db().size, await gets('db'), await get('db', 1100)]).toEqual([6 * MIB, [10, 11, 22, 0, 14, 15], 70])
  expect([volume('db@before-restore-2').size, await gets('db@before-restore-2'), await gets('db@s1')]).toEqual([SIZE, S1, S1])
  expect(await problems()).toEqual([])
})

test('a LUN grows during its restore to a smaller snapshot: what was cut off is kept before', async () => {
  await resize(6 * MIB)
  await put('db', 1100, 70)
  await restore('db@s1')
  await resize(6 * MIB)
  expect(await get('db', 1100)).toBe(0)
  await put('db', 1100, 71)
  await reopen()
  await put('db', 1101, 72)
  await copyBack()
  expect([await gets('db'), await get('db', 1100), await get('db', 1101)]).toEqual([S1, 71, 72])
  expect([await get('db@before-restore-1', 1100), await get('db@before-restore-1', 1101)]).toEqual([70, 0])
  expect(await problems()).toEqual([])
})

test('without room nothing that snapshots read goes; what is deleted comes back first', async () => {
  await resize(24 * MIB)
  for (let at = 0; at < 24 * MIB; at += MIB) await volume('db').write(at, new Uint8Array(MIB).fill(50))
  await pool.trees.create({ names: ['db@full'], readOnly: true })
  await pool.luns.create({ name: 'big', size: pool.pool.largest('raid0'), raid: 'raid0', reserve: true })
  await resize(MIB)
  await expect(reclaim()).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
  const all = async (): Promise<void> => expect([await gets('db'), await gets('db@full'), await gets('db@s1')]).toEqual([[50], CHUNKS.map(() => 50), S1])
  await all()
  await pool.luns.delete(pool.luns.find('big'))
  await reclaim()
  expect(db().record).toMatchObject({ boundSlices: 1, reclaimFrom: 0 })
  await all()
  expect(await problems()).toEqual([])
})
