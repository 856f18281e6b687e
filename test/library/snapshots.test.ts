/** Snapshots through the library. */
import { expect, test } from 'vitest'
import { openPool } from '../../src/index.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { refused, stamps, useTank } from './support/tank.ts'

const tank = useTank()

test('create, read, write, compare, refresh, show and delete', async () => {
  await tank.make()
  await using pool = await openPool('tank')
  const { snapshots } = pool
  for (const name of ['db', 'web']) await pool.luns.create({ name, size: 4 * MIB, raid: 'raid1' })
  const put = async (name: string, offset: number, data: Uint8Array): Promise<void> => {
    await using device = await pool.luns.open(name)
    await device.write(offset, data)
    await device.flush()
  }
  const read = async (name: string, offset: number, length: number): Promise<Buffer> => {
    await using device = await pool.luns.open(name, { readOnly: true })
    return Buffer.from(await device.readBytes(offset, length))
  }
  const before = stamps(64 * KIB, 1)
  await put('db', 0, before)
  expect(await snapshots.create(['db@s1', 'web@s1'], { readOnly: true }, { dryRun: true })).toHaveLength(2)
  expect(await snapshots.list()).toEqual([])
  await snapshots.create(['db@s1', 'web@s1'], { readOnly: true })
  await put('db', 4096, stamps(4096, 2))
  expect((await read('db@s1', 0, 64 * KIB)).equals(before)).toBe(true)
  expect(await snapshots.create('db@rw', { of: 'db@s1' })).toMatchObject([{ name: 'db@rw', of: 'db@s1', writable: true, store: 'snapshots-raid1' }])
  await put('db@rw', 0, stamps(4096, 3))
  expect((await snapshots.diff('db@rw', 'db')).extents).toEqual([{ offset: 0, length: 8192 }])
  {
    await using device = await pool.luns.open('db@rw')
    expect(device.size).toBe(4 * MIB)
    await refused('ERR_BUSY', () => snapshots.refresh('db@rw'))
    await refused('ERR_BUSY', () => snapshots.delete('db@rw'))
  }
  await refused('ERR_READ_ONLY', () => pool.luns.open('db@s1'))
  expect(await snapshots.show('db@rw')).toMatchObject({ state: 'writable', exclusive: 4096, tree: { shared: 4096, total: 8192 } })
  await snapshots.refresh('db@rw')
  expect((await read('db@rw', 0, 64 * KIB)).equals(before)).toBe(true)
  expect((await snapshots.delete('db@s1')).deleted).toEqual([{ name: 'db@s1', hidden: true }])
  expect((await snapshots.list({ volume: 'db', hidden: true })).map(({ name, state }) => [name, state])).toEqual([
    ['db@s1', 'hidden'],
    ['db@rw', 'writable'],
  ])
  await snapshots.delete(['db@rw', 'web@s1'])
  // Given back by tasks, of which one may be ending just now.
  await expect.poll(async () => (await snapshots.stores.show('snapshots-raid1')).trees, { timeout: 10_000 }).toEqual([])
  await snapshots.stores.delete('snapshots-raid1')
  await snapshots.stores.create({ name: 'kept', raid: 'raid1', size: 64 * MIB })
  expect((await snapshots.stores.list()).map(({ name, size }) => [name, size])).toEqual([['kept', 64 * MIB]])
  expect(await pool.metadata.check()).toMatchObject({ ok: true })
})

test('restore and clone', async () => {
  await tank.make()
  await using pool = await openPool('tank')
  const { snapshots } = pool
  await pool.luns.create({ name: 'db', size: 4 * MIB, raid: 'raid1' })
  const put = async (name: string, data: Uint8Array): Promise<void> => {
    await using device = await pool.luns.open(name)
    await device.write(0, data)
    await device.flush()
  }
  const read = async (name: string): Promise<Buffer> => {
    await using device = await pool.luns.open(name, { readOnly: true })
    return Buffer.from(await device.readBytes(0, 64 * KIB))
  }
  const [before, after] = [stamps(64 * KIB, 1), stamps(64 * KIB, 2)]
  await put('db', before)
  await snapshots.create('db@s1')
  await put('db', after)
  {
    await using device = await pool.luns.open('db')
    expect(device.size).toBe(4 * MIB)
    await refused('ERR_BUSY', () => snapshots.restore('db@s1'))
  }
  expect(await snapshots.restore('db@s1', {}, { dryRun: true })).toMatchObject([{ before: 'db@before-restore-1', task: null }])
  expect((await read('db')).equals(after)).toBe(true)
  const [restored] = await snapshots.restore('db@s1')
  expect(restored).toMatchObject({ snapshot: 'db@s1', volume: 'db', before: 'db@before-restore-1', changed: true })
  expect([(await read('db')).equals(before), (await read('db@before-restore-1')).equals(after)]).toEqual([true, true])
  const { task } = await snapshots.clone('db@before-restore-1', 'copy', { raid: 'raid0' })
  expect((await read('copy')).equals(after)).toBe(true)
  for (const number of [restored!.task!, task!]) expect(await pool.tasks.wait(number)).toMatchObject({ state: 'done' })
  expect([(await read('db')).equals(before), (await read('copy')).equals(after)]).toEqual([true, true])
  expect(await pool.metadata.check()).toMatchObject({ ok: true })
})
