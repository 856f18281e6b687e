/** LUNs with several redundancy types through the verbs: what they show, import, images and their devices. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import * as transfers from '../../../src/core/lun/transfer.ts'
import type { LunTypeRange, PoolService } from '../../../src/core/server/api.ts'
import { useEngine } from '../../../src/core/server/engine-module.ts'
import { fillLun, planImport } from '../../../src/core/server/lun-import.ts'
import { makeTank, owner, useHome } from './support/home.ts'

const home = useHome()
beforeEach(() => {
  useEngine(undefined) // the real one
})

const ranges: LunTypeRange[] = [
  { offset: 0, length: 3 * MIB, raid: 'raid1' },
  { offset: 3 * MIB, length: null, raid: 'raid0' },
]

async function tank(): Promise<PoolService> {
  await makeTank(home.folder)
  return owner()
}

test('what is shown names the types, by range where it is asked for', async () => {
  await using service = await tank()
  const made = (await service.call('lun.create', { name: 'db', size: 12 * MIB, ranges })).data
  expect(made).toMatchObject({ raid: 'raid1+raid0', ranges, used: 0 })
  expect(made.layers).toMatchObject({
    ways: [],
    volume: [
      {
        layer: 'lun',
        below: [
          { layer: 'range', about: '0 B to 3 MiB', below: [{ layer: 'redundancy', about: expect.stringContaining('mirror (2 copies)') as string }] },
          { layer: 'range', about: '3 MiB to the end', below: [{ layer: 'redundancy', about: expect.stringContaining('no redundancy') as string }] },
        ],
      },
    ],
  })
  const device = await service.openLun('db')
  await device.write(2 * MIB, Buffer.alloc(2 * MIB, 'x'))
  await device.close()
  // A mirror takes eight segments of 2 MiB, a store without redundancy four.
  expect((await service.call('lun.list', {})).data).toMatchObject([{ raid: 'raid1+raid0', ranges, bound: 2 * MIB, used: 24 * MIB }])
  const map = (await service.call('lun.map', { lun: 'db' })).data.map(({ offset, length, state, raid }) => [offset / MIB, length / MIB, state, raid])
  expect(map).toEqual([
    [0, 2, 'unbound', 'raid1'],
    [2, 1, 'bound', 'raid1'],
    [3, 1, 'bound', 'raid0'],
    [4, 8, 'unbound', 'raid0'],
  ])
  expect((await service.call('rstore.list', { lun: 'db' })).data.map(({ raid }) => raid).sort()).toEqual(['raid0', 'raid1'])
  expect((await service.call('metadata.check', {})).data).toMatchObject({ ok: true })
  expect((await service.call('lun.delete', { lun: 'db', dryRun: true })).data.freed).toBe(24 * MIB)
  await service.call('lun.create', { name: 'single', size: 4 * MIB, raid: 'raid1' })
  expect((await service.call('lun.show', { lun: 'single' })).data).toMatchObject({ raid: 'raid1', ranges: [{ offset: 0, length: null, raid: 'raid1' }] })
})

test('ranges that cannot be are refused, and nothing is left', async () => {
  await using service = await tank()
  const lun = { name: 'db', size: 12 * MIB }
  for (const spec of [lun, { ...lun, ranges, raid: 'raid1' as const }, { ...lun, ranges: ranges.slice(1) }, { ...lun, ranges: [] }])
    await expect(service.call('lun.create', spec)).rejects.toMatchObject({ code: 'ERR_USAGE' })
  expect((await service.call('lun.list', {})).data).toEqual([])
})

test('an import makes the LUN with its ranges, and goes into one that has them', async () => {
  await using service = await tank()
  const source = join(home.folder, 'source')
  writeFileSync(source, Buffer.alloc(5 * MIB, 'source'))
  const request = { name: 'db', source, sourceSize: 5 * MIB, size: undefined, raid: undefined }
  const plan = (await planImport(service, { ...request, ranges })).data
  expect(plan).toMatchObject({ create: true, raid: 'raid1+raid0', ranges })
  expect((await fillLun(service, transfers, plan, { verify: true })).data).toMatchObject({ created: true, verified: true })
  expect((await service.call('lun.show', { lun: 'db' })).data).toMatchObject({ ranges, bound: 5 * MIB })
  expect((await planImport(service, { ...request, ranges })).data).toMatchObject({ create: false, raid: 'raid1+raid0' })
  const other: LunTypeRange[] = [{ offset: 0, length: null, raid: 'raid1' }]
  await expect(planImport(service, { ...request, ranges: other })).rejects.toMatchObject({ code: 'ERR_EXISTS' })
  await expect(planImport(service, { ...request, raid: 'raid1' })).rejects.toMatchObject({ code: 'ERR_EXISTS' })
})

test('an image with less redundancy at some address says so; a device for the LUN has its best type', async () => {
  await using service = await tank()
  for (const [name, types] of [
    ['db', { raid: 'raid1' }],
    ['image', { ranges }],
  ] as const)
    await service.call('lun.create', { name, size: 4 * MIB, ...types })
  const { warnings } = await service.call('snap.configure', { source: 'db', image: 'image' })
  expect(warnings).toEqual([expect.stringContaining('"image" (raid1+raid0) has less redundancy')])
  expect((await service.call('snap.list', {})).data).toMatchObject([{ lessRedundant: true }])
  expect((await service.call('wod.create', { name: 'once', on: 'lun', for: 'image' })).data).toMatchObject({ raid: 'raid1' })
})
