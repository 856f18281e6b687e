/** F35: an image is unlinked, replaced or made unreadable while it is open: it is served from what is held, status says so, and it is never made again. */
import { chmodSync, copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { BlockDevice } from '../../src/core/block/device.ts'
import { fingerprints } from '../support/images.ts'
import { expectConsistentFiles, useProgram } from '../support/program.ts'
import { readAll, stamped } from '../support/sim.ts'

describe('F35 images that change under an owner', () => {
  const lunar = useProgram()

  test.each<[string, RegExp, (disk: string) => void]>([
    ['unlinked', /d1\.img/, disk => rmSync(disk)],
    [
      'replaced by another file',
      /disk 1 .*d1\.img.*no longer/,
      disk => {
        renameSync(disk, `${disk}.held`)
        writeFileSync(disk, 'something else')
      },
    ],
    ['renamed away', /disk 1 .*d1\.img.*no longer/, disk => renameSync(disk, `${disk}.held`)],
    ['made unreadable', /(permission|mode).*d1\.img|d1\.img.*(permission|mode)/i, disk => chmodSync(disk, 0)],
  ])('%s: served, told, and left alone', { timeout: 60_000 }, async (_, message, change) => {
    const disks = lunar.makeTank(5)
    const disk = disks[1]!
    await lunar.reopened(async service => {
      const luns: BlockDevice[] = []
      for (const raid of ['raid0', 'raid1', 'raid5'] as const) {
        await service.call('lun.create', { name: raid, size: 8 * MIB, raid })
        luns.push(await service.openLun(raid))
      }
      for (const lun of luns) {
        await lun.write(0, stamped(4 * MIB, 1))
        await lun.flush()
      }
      expect((await service.call('pool.status', {})).data.messages).toEqual([])
      change(disk)
      const names = readdirSync(lunar.folder).sort()
      const there = existsSync(disk) ? [statSync(disk).ino, statSync(disk).size] : []

      for (const lun of luns) {
        await lun.write(MIB, stamped(4 * MIB, 2))
        await lun.flush()
        expect((await readAll(lun, MIB, 4 * MIB)).equals(stamped(4 * MIB, 2))).toBe(true)
        expect((await readAll(lun, 0, MIB)).equals(stamped(4 * MIB, 1).subarray(0, MIB))).toBe(true)
      }
      await service.call('lun.create', { name: 'c', size: MIB, raid: 'raid0' })
      const status = (await service.call('pool.status', {})).data
      expect(status.messages.join('\n')).toMatch(message)
      expect(status.disks.map(({ state, errors }) => [state, errors])).toEqual(disks.map(() => ['normal', 0]))
      for (const lun of luns) await lun.close()
      expect([readdirSync(lunar.folder).sort(), existsSync(disk) ? [statSync(disk).ino, statSync(disk).size] : []]).toEqual([names, there])
    })
    const others = disks.filter(other => other !== disk)
    if (existsSync(`${disk}.held`)) await expectConsistentFiles([...others, `${disk}.held`])
    else await expectConsistentFiles(existsSync(disk) ? disks : others)
  })

  test('a copy put in its place meanwhile is not written by the owner, nor taken for the disk it holds', { timeout: 60_000 }, async () => {
    const disks = lunar.makeTank(3)
    const disk = disks[1]!
    let copy: string[] = []
    await lunar.reopened(async service => {
      await service.call('lun.create', { name: 'a', size: 8 * MIB, raid: 'raid1' })
      const device = await service.openLun('a')
      await device.write(0, stamped(4 * MIB, 1))
      await device.flush()
      copyFileSync(disk, lunar.path('copy'))
      rmSync(disk)
      renameSync(lunar.path('copy'), disk)
      copy = fingerprints([disk])
      await device.write(0, stamped(4 * MIB, 2))
      await device.flush()
      expect((await readAll(device, 0, 4 * MIB)).equals(stamped(4 * MIB, 2))).toBe(true)
      await device.close()
    })
    expect(fingerprints([disk])).toEqual(copy)
    // The next owner finds the copy: it is behind, and what it missed is never read from it.
    await lunar.reopened(async service => {
      const device = await service.openLun('a')
      for (let turn = 0; turn < 2; turn++) expect((await readAll(device, 0, 4 * MIB)).equals(stamped(4 * MIB, 2))).toBe(true)
      await device.close()
    })
  })
})
