/** Table 2 of US 9,087,013: every function by its name, handles, and volume ids. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as lunar from '../../src/index.ts'
import { openPool, type PITDeviceHandle, type Pool } from '../../src/index.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { gptImage, mbrImage } from '../support/partition-tables.ts'
import { refused, stamps, useTank } from './support/tank.ts'

const {
  DcsPITDeviceAbortImageCompletion,
  DcsPITDeviceAbortImageUpdate,
  DcsPITDeviceAbortSourceUpdate,
  DcsPITDeviceCloseHandle,
  DcsPITDeviceCreateHandle,
  DcsPITDeviceDelayImageCompletion,
  DcsPITDeviceDelayImageUpdate,
  DcsPITDeviceDelaySourceUpdate,
  DcsPITDeviceDisable,
  DcsPITDeviceEnable,
  DcsPITDeviceGetActiveConfigure,
  DcsPITDeviceGetActiveMaps,
  DcsPITDeviceGetConfigure,
  DcsPITDeviceGetStatus,
  DcsPITDeviceStartImageCompletion,
  DcsPITDeviceStartImageUpdate,
  DcsPITDeviceStartSourceUpdate,
  DcsPMGenerateVolumeID,
  DcsPMGetSDSVolumeID,
  DcsPMListVolumes,
  DcsPMTranslateVolumeID,
} = lunar

const tank = useTank()

/** Pool "tank" with the relationship 1 of db, which is written, and test. */
async function related(): Promise<Pool> {
  await tank.make()
  const pool = await openPool('tank')
  for (const name of ['db', 'test']) await pool.luns.create({ name, size: 2 * MIB, raid: 'raid1' })
  await put(pool, 'db', 0, stamps(2 * MIB, 1))
  await pool.relationships.configure({ source: 'db', image: 'test', chunkBytes: 64 * KIB })
  return pool
}

async function put(pool: Pool, lun: string, offset: number, data: Uint8Array): Promise<void> {
  await using device = await pool.luns.open(lun)
  await device.write(offset, data)
  await device.flush()
}

async function read(pool: Pool, lun: string): Promise<Uint8Array> {
  await using device = await pool.luns.open(lun, { readOnly: true })
  return device.readBytes(0, device.size)
}

const functions = Object.entries(lunar).filter(([name]) => name.startsWith('Dcs'))
const onHandles = functions.filter(([name]) => name.startsWith('DcsPITDevice') && !/CreateHandle|CloseHandle/.test(name)) as [
  string,
  (handle: PITDeviceHandle, ms: number) => Promise<unknown>,
][]

test('there are 21 functions, and the package says so', () => {
  expect(functions.length).toBe(21)
  expect(functions.every(([, value]) => typeof value === 'function')).toBe(true)
  const source = readFileSync(join(import.meta.dirname, '..', '..', 'src', 'library', 'table2.ts'), 'utf8')
  expect([...source.matchAll(/export async function (\w+)/g)].map(match => match[1]).sort()).toEqual(functions.map(([name]) => name).sort())
})

test('a relationship is driven by its handle', async () => {
  await using pool = await related()
  const handle = await DcsPITDeviceCreateHandle(pool, 'DcsSnap1')
  expect(await DcsPITDeviceGetConfigure(handle)).toMatchObject({ number: 1, chunkBytes: 64 * KIB, source: 'db', image: 'test' })
  await refused('ERR_RELATIONSHIP_STATE', () => DcsPITDeviceGetActiveConfigure(handle))
  expect(await DcsPITDeviceEnable(handle)).toMatchObject({ lost: [] })
  expect(await DcsPITDeviceGetActiveConfigure(handle)).toMatchObject({ state: 'enabled' })
  await put(pool, 'db', 192 * KIB, stamps(64 * KIB, 2))
  const { generation, ...maps } = await DcsPITDeviceGetActiveMaps(handle)
  expect(maps).toEqual({ chunks: 32, chunkBlocks: 128, migrated: new Uint8Array([8, 0, 0, 0]), delta: new Uint8Array([8, 0, 0, 0]) })
  expect(generation).toBeGreaterThan(0)
  expect(await DcsPITDeviceDelayImageCompletion(handle, 0)).toEqual({ was: 20 })
  expect(await DcsPITDeviceDelayImageUpdate(handle, 'adaptive')).toEqual({ was: 0 })
  expect(await DcsPITDeviceDelayImageUpdate(handle, 0)).toEqual({ was: 'adaptive' })
  expect(await DcsPITDeviceDelaySourceUpdate(handle, 5)).toEqual({ was: 0 })
  expect(await DcsPITDeviceStartImageCompletion(handle, { wait: true })).toMatchObject({ kind: 'completeImage', state: 'done' })
  expect(await DcsPITDeviceGetStatus(handle)).toMatchObject({ completePercent: 100, differentPercent: 3 })
  const before = await read(pool, 'test')
  expect(await DcsPITDeviceStartImageUpdate(handle, { wait: true })).toMatchObject({ kind: 'imageUpdate', state: 'done' })
  expect(Buffer.compare(await read(pool, 'test'), before)).not.toBe(0)
  await put(pool, 'test', 0, stamps(64 * KIB, 6))
  expect(await DcsPITDeviceStartSourceUpdate(handle, { wait: true })).toMatchObject({ kind: 'sourceUpdate', state: 'done' })
  expect(Buffer.compare(await read(pool, 'db'), await read(pool, 'test'))).toBe(0)
  await DcsPITDeviceDisable(handle)
  await put(pool, 'db', 0, stamps(4 * KIB, 7))
  expect((await DcsPITDeviceEnable(handle, { fresh: true })).lost).toEqual([])
  await DcsPITDeviceCloseHandle(handle)
})

test('processes are stopped with what is done and left, and waiters are told', async () => {
  await using pool = await related()
  const handle = await DcsPITDeviceCreateHandle(pool, 1)
  await DcsPITDeviceEnable(handle)
  await DcsPITDeviceDelayImageCompletion(handle, 3_600_000)
  expect(await DcsPITDeviceStartImageCompletion(handle)).toMatchObject({ kind: 'completeImage', state: 'running' })
  const { done, left } = await DcsPITDeviceAbortImageCompletion(handle)
  expect(left).toBeGreaterThan(0)
  expect(done + left).toBe(2 * MIB)
  await put(pool, 'db', 0, stamps(MIB, 4))
  await DcsPITDeviceDelayImageUpdate(handle, 3_600_000)
  expect(await DcsPITDeviceStartImageUpdate(handle)).toMatchObject({ kind: 'imageUpdate' })
  expect((await DcsPITDeviceAbortImageUpdate(handle)).left).toBeGreaterThan(0)
  expect(await DcsPITDeviceAbortSourceUpdate(handle)).toMatchObject({ left: 0 })
  expect((await DcsPITDeviceGetStatus(handle)).state).toBe('mixed')
})

test('a closed, forged or orphaned handle is refused by every function', async () => {
  const pool = await related()
  const closed = await DcsPITDeviceCreateHandle(pool, 1)
  const orphaned = await DcsPITDeviceCreateHandle(pool, 1)
  await DcsPITDeviceCloseHandle(closed)
  await DcsPITDeviceCloseHandle(closed)
  await pool.close()
  const forged = [{}, null, undefined, 1, 'DcsSnap1'] as unknown as PITDeviceHandle[]
  expect(onHandles).toHaveLength(15)
  for (const handle of [closed, orphaned, ...forged]) for (const [, call] of onHandles) await refused('ERR_BAD_HANDLE', () => call(handle, 0))
  for (const handle of forged) await refused('ERR_BAD_HANDLE', () => DcsPITDeviceCloseHandle(handle))
  await DcsPITDeviceCloseHandle(orphaned)
  await refused('ERR_FAILED', () => DcsPITDeviceCreateHandle(pool, 1))
})

test('open handles hold off unconfiguring, at the owner and over it, until the last is closed', async () => {
  const owner = await related()
  const client = await openPool('tank')
  const near = await DcsPITDeviceCreateHandle(owner, 1)
  const far = await DcsPITDeviceCreateHandle(client, 1)
  const again = await DcsPITDeviceCreateHandle(client, 1)
  for (const handle of [near, again, far]) {
    for (const pool of [owner, client]) await refused('ERR_BUSY', () => pool.relationships.unconfigure(1))
    await DcsPITDeviceCloseHandle(handle)
  }
  await refused('ERR_RELATIONSHIP_NOT_FOUND', () => DcsPITDeviceCreateHandle(client, 2))
  await DcsPITDeviceCreateHandle(client, 1)
  await client.close() // its handle goes with it
  await owner.relationships.unconfigure(1)
  await refused('ERR_RELATIONSHIP_NOT_FOUND', () => DcsPITDeviceCreateHandle(owner, 1))
})

test('a handle outlives the owner it was made at', async () => {
  const first = await related()
  const second = await openPool('tank')
  const handle = await DcsPITDeviceCreateHandle(second, 1)
  await first.close()
  expect(await DcsPITDeviceGetStatus(handle)).toMatchObject({ number: 1 })
  const third = await openPool('tank')
  await refused('ERR_BUSY', () => third.relationships.unconfigure(1))
  await DcsPITDeviceCloseHandle(handle)
  await third.relationships.unconfigure(1)
})

test('a view has no handles', async () => {
  await (await related()).close()
  await using view = await openPool('tank', { mode: 'view' })
  expect(await view.relationship(1).config()).toMatchObject({ number: 1 })
  await refused('ERR_READ_ONLY', () => DcsPITDeviceCreateHandle(view, 1))
})

test('volume ids and volumes are each other’s inverse', async () => {
  await tank.make('one', 1)
  await tank.make('two', 1)
  await using one = await openPool('one')
  const images = {
    gpt: gptImage(2 * MIB, 512, [{ first: 64, last: 127, name: 'a' }, undefined, { first: 256, last: 511, name: 'b' }]),
    mbr: mbrImage(MIB, [{ type: 0x83, start: 8, count: 64 }]),
    bare: Buffer.alloc(MIB),
  }
  for (const [name, image] of Object.entries(images)) {
    await one.luns.create({ name, size: image.length, raid: 'raid0' })
    await put(one, name, 0, image)
  }
  const luns = await one.luns.list()
  const places = luns.flatMap(({ number, name }) => ({ gpt: [0, 1, 3], mbr: [0, 1], bare: [0] })[name]!.map(partition => ({ disk: number, partition })))
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 9 }), fc.nat({ max: 9 }), async (disk, partition) => {
      const there = places.some(place => place.disk === disk && place.partition === partition)
      const id = await DcsPMGenerateVolumeID(disk, partition).catch((error: unknown) => {
        expect(error).toMatchObject({ code: luns.some(({ number }) => number === disk) ? 'ERR_PARTITION_NOT_FOUND' : 'ERR_LUN_NOT_FOUND' })
        return undefined
      })
      expect(id !== undefined).toBe(there)
      if (id === undefined) return
      expect(await DcsPMTranslateVolumeID(id)).toEqual({ pool: one.id, disk, partition })
      expect(await DcsPMGenerateVolumeID(disk, partition)).toBe(id)
      expect(id).toBe(partition === 0 ? luns.find(({ number }) => number === disk)!.id : `${luns.find(({ number }) => number === disk)!.id}/p${partition}`)
    }),
    { numRuns: 60, examples: places.map(({ disk, partition }) => [disk, partition]) },
  )
  const [first] = luns
  await refused('ERR_NOT_PRESENTED', () => DcsPMGetSDSVolumeID(first!.number, 0))
  await refused('ERR_LUN_NOT_FOUND', () => DcsPMGetSDSVolumeID(99, 0))
  await refused('ERR_PARTITION_NOT_FOUND', () => DcsPMTranslateVolumeID(`${first!.id}/p2`))
  await refused('ERR_LUN_NOT_FOUND', () => DcsPMTranslateVolumeID('00000000-0000-4000-8000-000000000000'))
  for (const id of ['', 'x', `${first!.id}/p0`, `${first!.id}/p`, `${first!.id}/p01`]) await refused('ERR_USAGE', () => DcsPMTranslateVolumeID(id))
  await refused('ERR_USAGE', () => DcsPMGenerateVolumeID(first!.number, -1))
  expect(await DcsPMTranslateVolumeID(first!.id.toUpperCase())).toMatchObject({ disk: first!.number })

  await using two = await openPool('two')
  await using same = await openPool('one')
  await two.luns.create({ name: 'other', size: MIB, raid: 'raid0' })
  const [other] = await two.luns.list()
  expect((await DcsPMListVolumes()).sort()).toEqual([...luns, other!].map(({ id }) => id).sort())
  await refused('ERR_POOL_AMBIGUOUS', () => DcsPMGenerateVolumeID(other!.number, 0))
  for (const pool of [two, two.name, two.id]) expect(await DcsPMGenerateVolumeID(other!.number, 0, pool)).toBe(other!.id)
  expect(await DcsPMTranslateVolumeID(other!.id)).toEqual({ pool: two.id, disk: other!.number, partition: 0 })
  await refused('ERR_POOL_NOT_FOUND', () => DcsPMGenerateVolumeID(1, 0, 'three'))
  await same.luns.swap('bare', 'mbr') // names change places, volumes do not
  expect(await DcsPMTranslateVolumeID(first!.id)).toMatchObject({ disk: first!.number })
})
