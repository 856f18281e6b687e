/** Volumes of relationships that are shrunk: what is enabled keeps its size, what is disabled knows what was cut off. */
import { expect, test, vi } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import { WodImages } from '../../../src/core/snapshot/wod-images.ts'
import { stamp } from '../../conformance/block-device.ts'
import { problems } from '../../support/problems.ts'
import { openWods, WodPool } from '../../support/wod-pool.ts'

const SIZE = 4 * MIB
const CHUNK = 64 * KIB
const force = { force: true }
const enable = { fresh: false, forceLostPart: false, forceMixed: false, dryRun: false }

/** Source "s" full of generation 1, its image "i" on a LUN with one of its last chunks preserved, and "w" on a device, unused. */
async function make(): Promise<{ pool: WodPool; images: WodImages; relationship: Relationship }> {
  const pool = await WodPool.make()
  const { luns, relationships } = pool.open
  for (const name of ['s', 'i']) await luns.create({ name, size: SIZE, raid: 'raid0', reserve: false })
  const { relationship } = await relationships.configure({ source: 's', image: 'i', chunkBytes: CHUNK })
  await write(pool, 's', 0, stamp(0, SIZE, 1))
  await relationships.enable([relationship], enable)
  await write(pool, 's', SIZE - CHUNK, stamp(SIZE - CHUNK, CHUNK, 2))
  return { pool, images: new WodImages(pool.open.pool, luns, relationships, pool.open.wods), relationship }
}

const volume = (pool: WodPool, name: string) => pool.open.relationships.volume(pool.open.luns.find(name).number)
const write = async (pool: WodPool, name: string, offset: number, bytes: Uint8Array): Promise<void> => {
  await volume(pool, name).write(offset, bytes)
  await volume(pool, name).flush()
}
const read = async (pool: WodPool, name: string): Promise<Buffer> => {
  const into = Buffer.alloc(volume(pool, name).size)
  await volume(pool, name).read(0, into)
  return into
}

test('an enabled relationship keeps both volumes at the size of its instant', async () => {
  const { pool, images } = await make()
  const { luns } = pool.open
  for (const name of ['s', 'i']) {
    const refused = images.resize(luns.find(name), 2 * MIB, { ...force, dryRun: true })
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_IN_RELATIONSHIP',
      blockers: ['DcsSnap1'],
      fix: expect.stringContaining('DisableSnap 1') as string,
    })
  }
  // What was added since the instant goes again.
  await images.resize(luns.find('s'), 6 * MIB, force)
  await images.resize(luns.find('s'), SIZE, force)
  await expect(images.resize(luns.find('s'), 3 * MIB, force)).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
  await pool.open.pool.close()
})

test('a source is shrunk while its relationship is disabled: what the image lacked is lost, what it owns differs', async () => {
  const { pool, images, relationship } = await make()
  const { luns, relationships } = pool.open
  await relationships.disable([relationship])
  const source = luns.find('s')
  source.users.push('somebody')
  await expect(images.resize(source, 2 * MIB, { ...force, dryRun: true })).rejects.toMatchObject({ code: 'ERR_BUSY' })
  source.users.pop()
  await images.resize(source, 2 * MIB, { ...force, dryRun: true })
  expect([await relationship.lost.count(), source.size]).toEqual([0, SIZE])
  await images.resize(source, 2 * MIB, force)
  expect([await relationship.lost.count(), await relationship.delta.count(), source.size]).toEqual([31, 1, 2 * MIB])
  expect(await problems(pool.open.pool)).toEqual([])
  await expect(relationships.enable([relationship], { ...enable, forceLostPart: true })).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  await luns.reclaim(source, 1000)
  await images.resize(source, SIZE, force)
  await expect(relationships.enable([relationship], enable)).rejects.toMatchObject({ code: 'ERR_LOST_PART', blockers: [`${2 * MIB}+${2 * MIB - CHUNK}`] })
  await relationships.enable([relationship], { ...enable, forceLostPart: true })
  const expected = Buffer.alloc(SIZE)
  expected.set(stamp(0, 2 * MIB, 1))
  expected.set(stamp(SIZE - CHUNK, CHUNK, 1), SIZE - CHUNK)
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  await pool.open.pool.close()
})

test('an image is shrunk when it is a LUN of its own, and a new instant has the size of the source', async () => {
  const { pool, images, relationship } = await make()
  const { luns, relationships } = pool.open
  await relationships.disable([relationship])
  await expect(images.resize(luns.find('i'), 2 * MIB, force)).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
  await relationships.enable([relationship], enable)
  await write(pool, 's', 0, stamp(0, SIZE, 3))
  await relationships.disable([relationship])
  expect(relationship.isComplete).toBe(true)
  await images.resize(luns.find('i'), 2 * MIB, force)
  await luns.reclaim(luns.find('i'), 1000)
  await expect(relationships.enable([relationship], enable)).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  await images.resize(luns.find('i'), SIZE, force)
  await relationships.enable([relationship], enable)
  const expected = Buffer.alloc(SIZE)
  expected.set(stamp(0, 2 * MIB, 1))
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  expect(await relationship.delta.count()).toBe(SIZE / CHUNK)
  await relationships.disable([relationship])
  await images.resize(luns.find('s'), 2 * MIB, force)
  await relationships.enable([relationship], { ...enable, fresh: true })
  expect(relationship.record.size).toBe(2 * MIB)
  expect((await read(pool, 'i')).subarray(0, 2 * MIB).equals(stamp(0, 2 * MIB, 3))).toBe(true)
  expect(await problems(pool.open.pool)).toEqual([])
  await pool.open.pool.close()
})

test('an image on a write-once device holds its source to its size while it is enabled, and no longer', async () => {
  const { pool, images, relationship } = await make()
  const { luns, relationships } = pool.open
  await relationships.disable([relationship])
  await pool.create('file', SIZE, CHUNK)
  const image = await images.configure({ source: 's', image: 'w' })
  await images.enable([image], enable)
  await expect(images.resize(luns.find('s'), 2 * MIB, force)).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP', blockers: ['DcsSnap2'] })
  await images.disable([image], { dryRun: false })
  await images.resize(luns.find('s'), 2 * MIB, force)
  await images.enable([image], { ...enable, fresh: true })
  expect(image.size).toBe(2 * MIB)
  await pool.open.pool.close()
})

test('behind the end of its source a new instant is zeros, at once and when its LUN has been cleared, which others wait for', async () => {
  const { pool, images, relationship } = await make()
  const { luns, relationships } = pool.open
  await relationships.disable([relationship])
  await luns.resize(luns.find('i'), 6 * MIB, force)
  await write(pool, 'i', 5 * MIB, stamp(5 * MIB, CHUNK, 4))
  await images.resize(luns.find('s'), 2 * MIB, force)
  // A failure leaves what the image held.
  const before = await read(pool, 'i')
  vi.spyOn(pool.open.pool.metadata, 'commit').mockRejectedValueOnce(new LunarError('ERR_METADATA_FULL', 'full'))
  await expect(relationships.enable([relationship], { ...enable, fresh: true })).rejects.toMatchObject({ code: 'ERR_METADATA_FULL' })
  expect(relationship.isEnabled).toBe(false)
  expect((await read(pool, 'i')).equals(before)).toBe(true)

  await relationships.enable([relationship], { ...enable, fresh: true })
  const expected = Buffer.alloc(6 * MIB)
  expected.set(stamp(0, 2 * MIB, 1))
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  expect(relationship.record.blankFrom).toBe(2 * MIB)
  const behind = stamp(3 * MIB, CHUNK, 9)
  await volume(pool, 'i').read(3 * MIB, behind)
  expect(behind.every(byte => byte === 0)).toBe(true)
  expect((await volume(pool, 'i').extents(0, 6 * MIB)).map(({ offset, length, kind }) => [offset, length, kind])).toEqual([
    [0, 2 * MIB, 'data'],
    [2 * MIB, 4 * MIB, 'hole'],
  ])
  // Across a crash it is still so.
  const { disks, files } = pool
  const reopened = await openWods(disks, files)
  pool.open = reopened
  const again = pool.open.relationships
  const after = again.all[0]!
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  expect(again.needsTidying).toBe(true)
  // A write behind the end waits until what was there is gone.
  await write(pool, 'i', 3 * MIB, stamp(3 * MIB, CHUNK, 5))
  expected.set(stamp(3 * MIB, CHUNK, 5), 3 * MIB)
  expect([after.record.blankFrom, after.unclearedFrom]).toEqual([0, Infinity])
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  while (await again.tidy());
  expect((await read(pool, 'i')).equals(expected)).toBe(true)
  expect(await problems(pool.open.pool)).toEqual([])
  await pool.open.pool.close()
})

test('what lies behind an instant is cleared in the background, and before the image is a LUN like any other', async () => {
  const { pool, images, relationship } = await make()
  const { luns, relationships } = pool.open
  await relationships.disable([relationship])
  await images.resize(luns.find('s'), 2 * MIB, force)
  await relationships.enable([relationship], { ...enable, fresh: true })
  const bound = async (): Promise<number> => {
    let count = 0
    for await (const _ of luns.find('i').map.bound(2, 4)) count++
    return count
  }
  expect(await bound()).toBe(1)
  while (await relationships.tidy());
  expect([await bound(), relationship.record.blankFrom]).toEqual([0, 0])
  await write(pool, 'i', SIZE - CHUNK, stamp(SIZE - CHUNK, CHUNK, 6))
  await relationships.enable([relationship], { ...enable, fresh: true })
  await write(pool, 's', 0, stamp(0, 2 * MIB, 7))
  await relationships.disable([relationship])
  expect(relationship.isComplete).toBe(true)
  expect((await read(pool, 'i')).subarray(2 * MIB).equals(Buffer.alloc(2 * MIB))).toBe(true)
  await relationships.unconfigure(relationship)
  expect(await bound()).toBe(0)
  expect((await read(pool, 'i')).subarray(2 * MIB).equals(Buffer.alloc(2 * MIB))).toBe(true)
  await pool.open.pool.close()
})
