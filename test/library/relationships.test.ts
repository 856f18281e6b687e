/** Relationships through the library. */
import { expect, test } from 'vitest'
import { openPool, type Pool } from '../../src/index.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { refused, stamps, useTank } from './support/tank.ts'

const tank = useTank()

/** Pool "tank" with LUNs db (written) and copies of its size. */
async function openWith(...images: string[]): Promise<Pool> {
  await tank.make()
  const pool = await openPool('tank')
  for (const name of ['db', ...images]) await pool.luns.create({ name, size: 4 * MIB, raid: 'raid1' })
  await put(pool, 'db', 0, stamps(4 * MIB, 1))
  return pool
}

async function put(pool: Pool, lun: string, offset: number, data: Uint8Array): Promise<void> {
  await using device = await pool.luns.open(lun)
  await device.write(offset, data)
  await device.flush()
}

async function holds(pool: Pool, lun: string, data: Uint8Array): Promise<boolean> {
  await using device = await pool.luns.open(lun, { readOnly: true })
  return Buffer.compare(await device.readBytes(0, data.length), data) === 0
}

const bits = (map: Uint8Array): number[] => [...map].flatMap((byte, at) => [0, 1, 2, 3, 4, 5, 6, 7].flatMap(bit => (byte & (1 << bit) ? [at * 8 + bit] : [])))

test('configure, enable, look, complete, update, disable, unconfigure', async () => {
  await using pool = await openWith('test')
  expect(await pool.relationships.configure({ source: 'db', image: 'test', chunkBytes: 64 * KIB, name: 'nightly' })).toMatchObject({
    number: 1,
    name: 'nightly',
  })
  const nightly = pool.relationship('nightly')
  for (const ref of [1, '1', 'DcsSnap1', 'dcssnap1', 'tank/1', 'tank/nightly']) expect((await pool.relationship(ref).config()).number).toBe(1)
  await refused('ERR_USAGE', () => pool.relationship('pond/1'))
  await refused('ERR_RELATIONSHIP_NOT_FOUND', () => pool.relationship(2).status())
  await refused('ERR_RELATIONSHIP_STATE', () => nightly.activeConfig())
  expect(await nightly.enable()).toMatchObject({ state: 'enabled', lost: [], changed: true })
  await put(pool, 'db', 128 * KIB, stamps(64 * KIB, 2))
  const maps = await nightly.maps()
  expect({ chunks: maps.chunks, bytes: maps.migrated.length, migrated: bits(maps.migrated), delta: bits(maps.delta) }).toEqual({
    chunks: 64,
    bytes: 8,
    migrated: [2],
    delta: [2],
  })
  expect(await nightly.status()).toMatchObject({ chunks: { total: 64, migrated: 1, different: 1 }, state: 'enabled' })
  expect(await nightly.activeConfig()).toMatchObject({ chunkBytes: 64 * KIB, delaysMs: { imageUpdate: 0 } })
  expect(await holds(pool, 'test', stamps(4 * MIB, 1))).toBe(true)

  expect(await nightly.setDelay('completeImage', 0)).toMatchObject({ delayMs: 0, was: 20 })
  expect(await nightly.start('completeImage', { wait: true })).toMatchObject({ changed: true, outcome: { state: 'done', kind: 'completeImage' } })
  expect(await nightly.status()).toMatchObject({ completePercent: 100 })
  expect(await nightly.start('imageUpdate', { wait: true })).toMatchObject({ outcome: { state: 'done' } })
  expect(await holds(pool, 'test', await whole(pool, 'db'))).toBe(true)
  expect(await nightly.stop('imageUpdate')).toMatchObject({ changed: false, left: 0 })
  await refused('ERR_RELATIONSHIP_STATE', () => pool.relationships.unconfigure('nightly'))
  expect(await nightly.disable()).toMatchObject({ complete: true, state: 'disabled' })
  expect(await pool.relationships.unconfigure('nightly', { dryRun: true })).toMatchObject({ number: 1 })
  await pool.relationships.unconfigure('nightly')
  expect(await pool.relationships.list()).toEqual([])
})

async function whole(pool: Pool, lun: string): Promise<Uint8Array> {
  await using device = await pool.luns.open(lun, { readOnly: true })
  return device.readBytes(0, device.size)
}

test('several are enabled at one instant', async () => {
  await using pool = await openWith('a', 'b')
  await pool.relationships.configure({ source: 'db', image: 'a' })
  await pool.relationships.configure({ source: 'db', image: 'b' })
  const [a, b] = await pool.relationships.enable([1, 2])
  expect(a!.asOf).toBe(b!.asOf)
  await put(pool, 'db', 0, stamps(MIB, 7))
  expect(await holds(pool, 'a', stamps(4 * MIB, 1))).toBe(true)
  expect(await holds(pool, 'b', stamps(4 * MIB, 1))).toBe(true)
  expect((await pool.relationships.disable([1, 2])).map(({ state }) => state)).toEqual(['disabled', 'disabled'])
})

test('what was lost while disabled is given up only by name', async () => {
  await using pool = await openWith('test')
  await pool.relationships.configure({ source: 'db', image: 'test' })
  const relationship = pool.relationship(1)
  await relationship.enable()
  await relationship.disable()
  await put(pool, 'db', 0, stamps(32 * KIB, 5))
  await refused('ERR_LOST_PART', () => relationship.enable())
  await refused('ERR_LOST_PART', () => relationship.enable({ force: 'mixed' }))
  expect(await relationship.enable({ force: ['lost-part', 'mixed'] })).toMatchObject({ lost: [{ offset: 0, length: 32 * KIB }] })
  await relationship.disable()
  expect(await relationship.enable({ fresh: true })).toMatchObject({ lost: [] })
})

test('a waiter is told when the process is stopped', async () => {
  await using pool = await openWith('test')
  await pool.relationships.configure({ source: 'db', image: 'test' })
  const relationship = pool.relationship(1)
  await relationship.enable()
  await relationship.setDelay('completeImage', 3_600_000)
  const { task } = await relationship.start('completeImage')
  const waiting = pool.tasks.wait(task!)
  const refusal = refused('ERR_TASK_STOPPED', () => waiting)
  expect(await relationship.stop('completeImage')).toMatchObject({ changed: true })
  await refusal
})
