import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { checkRecords } from '../../../src/metadata/check.ts'
import { stamp } from '../../conformance/block-device.ts'
import { writeOnceSuite } from '../../conformance/write-once.ts'
import { WodPool, wodKindsAll } from '../../support/wod-pool.ts'

for (const kind of wodKindsAll) {
  for (const blockBytes of [64 * KIB, 4 * KIB]) {
    writeOnceSuite(
      `a device on a ${kind} with blocks of ${blockBytes}`,
      async () => {
        const pool = await WodPool.make()
        const device = await pool.create(kind, 4 * MIB, blockBytes)
        const dispose = async (): Promise<void> => {
          const { metadata } = pool.open.pool
          const { problems } = await checkRecords(metadata.range(0, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), metadata.stores)
          expect(problems).toEqual([])
          await pool.open.pool.close()
        }
        return { device, reopen: () => pool.reopen(), dispose }
      },
      blockBytes === 4 * KIB ? 1 : 4,
    )
  }
}

test('space that cannot be given back is used again all the same', async () => {
  const pool = await WodPool.make()
  const device = await pool.create('vdisk', 4 * MIB, 64 * KIB)
  const file = pool.files.disks.get('/w.wod')!
  await device.write(0, stamp(0, device.size, 1))
  for (const [offset, length] of [
    [0, device.size],
    [MIB, 2 * MIB],
  ] as const) {
    file.plan = ({ kind }) => (kind === 'punch' ? new LunarError('ERR_IO', 'no punching') : undefined)
    await expect(device.reallocate(offset, length)).rejects.toMatchObject({ code: 'ERR_IO' })
    file.plan = undefined
    await device.write(offset, stamp(offset, length, 2))
  }
  const into = new Uint8Array(device.size)
  await device.read(0, into)
  expect(Buffer.compare(into, stamp(0, device.size, 2))).toBe(0)
  await pool.open.pool.close()
})

test.each(wodKindsAll)('zeros take no space of a %s', async kind => {
  const pool = await WodPool.make()
  const device = await pool.create(kind, 4 * MIB, 64 * KIB)
  const writes: string[] = []
  for (const disk of pool.files.disks.values())
    disk.plan = ({ kind: what }) => {
      if (what === 'write' || what === 'reserve') writes.push(what)
      return undefined
    }
  await device.write(0, new Uint8Array(2 * MIB))
  await device.zero(2 * MIB, 2 * MIB)
  expect(await device.extents(0, 4 * MIB)).toEqual([{ offset: 0, length: 4 * MIB, kind: 'data' }])
  expect([writes, pool.open.luns.all.map(({ record }) => record.boundSlices)]).toEqual([[], pool.open.luns.all.map(() => 0)])
  await pool.open.pool.close()
})
