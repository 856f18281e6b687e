/** Filesystems on served LUNs, mounted through nbdfuse and a loop device: snapshots under them, fsck, and trim down to the image files. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { TaskView } from '../../src/core/server/api.ts'
import { useProgram } from '../support/program.ts'
import { clientOk, serve } from '../support/server.ts'
import { stamped } from '../support/sim.ts'
import { Mounts } from '../support/mounts.ts'

const isRoot = process.getuid?.() === 0
const canMount = isRoot && existsSync('/dev/fuse') && existsSync('/dev/loop-control')

describe.skipIf(!canMount)('a filesystem on a served LUN (needs root, FUSE and loop devices)', { timeout: 150_000 }, () => {
  const lunar = useProgram()
  const mounts = new Mounts()
  afterEach(() => {
    mounts.closeAll()
  })

  const spaceOf = (paths: readonly string[]): number => paths.reduce((sum, path) => sum + statSync(path).blocks * 512, 0)

  test.each([
    { raid: 'raid5', make: ['mkfs.ext4', '-q'], check: ['fsck.ext4', '-fn'], mount: [] },
    { raid: 'raid1', make: ['mkfs.xfs', '-q'], check: ['xfs_repair', '-n'], mount: ['-o', 'nouuid'] },
    // Two btrfs of one id are never mounted beside each other: the snapshot is checked and read while the volume is away.
    { raid: 'raid0', make: ['mkfs.btrfs', '-q'], check: ['btrfs', 'check'], mount: [] },
  ])('$raid with $make.0', ({ raid, make, check, mount }) =>
    withServer(raid, async (uri, disks) => {
      const beside = make[0] !== 'mkfs.btrfs'
      const device = await mounts.attach(uri('db'), lunar.path('fuse-db'))
      clientOk(make[0]!, ...make.slice(1), device)
      const folder = lunar.path('mnt')
      mkdirSync(folder)
      mounts.mount(device, folder)
      writeFileSync(`${folder}/first`, stamped(32 * MIB, 1))
      clientOk('sync', '-f', folder)

      // The filesystem stays mounted, and is written, while a snapshot is taken.
      lunar.ok('snap', 'create', 'tank/db@s1')
      writeFileSync(`${folder}/second`, stamped(8 * MIB, 2))
      clientOk('rm', `${folder}/first`)
      clientOk('sync', '-f', folder)
      lunar.ok('present', 'tank/db@s1', '--host', 'db1')
      if (!beside) mounts.unmount(folder)
      if (!beside) await mounts.detach(device)
      const old = await mounts.attach(uri('db@s1'), lunar.path('fuse-s1'))
      const oldFolder = lunar.path('mnt-s1')
      mkdirSync(oldFolder)
      mounts.mount(old, oldFolder, ...mount)
      expect(readFileSync(`${oldFolder}/first`).equals(stamped(32 * MIB, 1))).toBe(true)
      expect(existsSync(`${oldFolder}/second`)).toBe(false)
      mounts.unmount(oldFolder)
      clientOk(check[0]!, ...check.slice(1), old)
      await mounts.detach(old)

      const again = beside ? device : await mounts.attach(uri('db'), lunar.path('fuse-again'))
      if (!beside) mounts.mount(again, folder)
      expect(readFileSync(`${folder}/second`).equals(stamped(8 * MIB, 2))).toBe(true)
      // Without snapshots what the filesystem gives back leaves the image files.
      lunar.ok('unpresent', 'tank/db@s1')
      lunar.ok('snap', 'delete', 'tank/db@s1', '--yes')
      reclaimed() // as long as something of the snapshot is there, a trim is not taken
      writeFileSync(`${folder}/large`, stamped(64 * MIB, 3))
      clientOk('sync', '-f', folder)
      const full = spaceOf(disks)
      clientOk('rm', `${folder}/large`)
      clientOk('sync', '-f', folder)
      clientOk('fstrim', folder)
      mounts.unmount(folder)
      clientOk(check[0]!, ...check.slice(1), again)
      await mounts.detach(again)
      reclaimed()
      expect(full - spaceOf(disks)).toBeGreaterThan(48 * MIB)
    }),
  )

  /** Waits for the tasks that give space back. */
  function reclaimed(): void {
    for (const { number, kind } of lunar.json<TaskView[]>('task', 'list', '--pool', 'tank'))
      if (kind === 'reclaim') lunar.ok('task', 'wait', String(number), '--pool', 'tank')
  }

  async function withServer(raid: string, use: (uri: (name: string) => string, disks: readonly string[]) => Promise<void>): Promise<void> {
    const disks = Array.from({ length: 6 }, (_, i) => `d${i}.img`)
    lunar.ok('pool', 'create', 'tank', ...disks, '--size', '512MiB')
    lunar.ok('lun', 'create', 'tank/db', '--size', '384MiB', '--raid', raid)
    lunar.ok('host', 'add', 'tank/db1')
    lunar.ok('present', 'tank/db', '--host', 'db1')
    const server = await serve(lunar, ['tank', '--socket', `db1=${lunar.path('db1.sock')}`])
    try {
      await use(
        name => server.uri('db1', name),
        disks.map(name => lunar.path(name)),
      )
    } finally {
      mounts.closeAll()
      expect(await server.kill('SIGTERM')).toBe(0)
    }
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
  }
})
