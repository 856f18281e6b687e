import { existsSync, linkSync, copyFileSync, readFileSync, renameSync, statSync, symlinkSync, truncateSync, writeFileSync, rmSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import { createPool, destroyPool, exportPool, importPools, listPools, openService } from '../../../src/core/server/front.ts'
import { Registry } from '../../../src/core/server/registry.ts'
import { hook, makeTank, owner, useHome, view } from './support/home.ts'

const home = useHome()
const lun = { name: 'db', size: 4 * MIB, raid: 'raid0' } as const

describe('createPool', () => {
  it('makes missing files sparse and private, and remembers them', async () => {
    const reply = await createPool({
      name: 'tank',
      disks: [
        { path: home.path('a.img'), size: 64 * MIB },
        { path: home.path('b.img'), size: 80 * MIB },
      ],
      command: 'test',
    })
    expect(reply.data).toMatchObject({ name: 'tank', disks: 2 })
    const stats = statSync(home.path('b.img'))
    expect([stats.mode & 0o777, stats.size]).toEqual([0o600, 80 * MIB])
    expect(stats.blocks * 512).toBeLessThan(4 * MIB)
    expect((await listPools()).data).toMatchObject([{ name: 'tank', problem: null }])
  })

  it('removes the files that it made when it fails', async () => {
    writeFileSync(home.path('full.img'), 'data'.repeat(32 * MIB))
    const disks = [{ path: home.path('a.img'), size: 64 * MIB }, { path: home.path('full.img') }]
    await expect(createPool({ name: 'tank', disks, command: 'test' })).rejects.toMatchObject({ code: 'ERR_NOT_EMPTY' })
    expect(existsSync(home.path('a.img'))).toBe(false)
    expect(statSync(home.path('full.img')).size).toBe(128 * MIB)
  })

  it('leaves nothing behind when the engine fails after formatting', async () => {
    writeFileSync(home.path('empty.img'), '')
    hook({
      onOpen: () => {
        throw new Error('no')
      },
    })
    const disks = [
      { path: home.path('a.img'), size: 64 * MIB },
      { path: home.path('empty.img'), size: 64 * MIB },
    ]
    await expect(createPool({ name: 'tank', disks, command: 'test' })).rejects.toThrow('no')
    expect(existsSync(home.path('a.img'))).toBe(false)
    expect(statSync(home.path('empty.img')).size).toBe(0)
    expect(new Registry().list()).toEqual([])
  })

  it('changes nothing in a dry run, and says what would be', async () => {
    const reply = await createPool({ name: 'tank', disks: [{ path: home.path('a.img'), size: 64 * MIB }], dryRun: true, command: 'test' })
    expect(reply.data).toMatchObject({ name: 'tank', disks: 1 })
    expect(existsSync(home.path('a.img'))).toBe(false)
    expect(new Registry().list()).toEqual([])
  })

  it('takes an empty file and a file that is all hole', async () => {
    writeFileSync(home.path('empty.img'), '')
    writeFileSync(home.path('hole.img'), '')
    truncateSync(home.path('hole.img'), 64 * MIB)
    await createPool({ name: 'tank', disks: [{ path: home.path('empty.img'), size: 96 * MIB }, { path: home.path('hole.img') }], command: 'test' })
    expect(statSync(home.path('empty.img')).size).toBe(96 * MIB)
  })

  it('refuses disks of a pool, and takes them to overwrite', async () => {
    const [disk] = await makeTank(home.folder)
    const again = { name: 'other', disks: [{ path: disk! }], command: 'test' }
    await expect(createPool(again)).rejects.toMatchObject({ code: 'ERR_DISK_IN_USE' })
    await createPool({ ...again, overwrite: true })
  })

  it('leaves the label of a disk that was to be overwritten when it fails before', async () => {
    const disks = await makeTank(home.folder)
    const other = { name: 'other', disks: [{ path: disks[0]! }, { path: home.path('small.img'), size: MIB }], overwrite: true, command: 'test' }
    await expect(createPool(other)).rejects.toMatchObject({ code: 'ERR_DISK_TOO_SMALL' })
    await using looking = await view()
    expect((await looking.call('pool.status', {})).data).toMatchObject({ missing: [] })
  })

  it('refuses a disk given twice, by two paths, by a symlink', async () => {
    const size = 64 * MIB
    writeFileSync(home.path('a.img'), '')
    symlinkSync(home.path('a.img'), home.path('b.img'))
    for (const second of ['a.img', 'b.img', '../' + home.folder.split('/').at(-1) + '/a.img']) {
      const disks = [
        { path: home.path('a.img'), size },
        { path: home.path(second), size },
      ]
      await expect(createPool({ name: 'tank', disks, command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
    }
    const missing = [
      { path: home.path('new.img'), size },
      { path: home.path('./new.img'), size },
    ]
    await expect(createPool({ name: 'tank', disks: missing, command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
    expect(existsSync(home.path('new.img'))).toBe(false)
  })

  it.each([
    ['too small', { size: 63 * MIB }, 'ERR_DISK_TOO_SMALL'],
    ['no size', {}, 'ERR_FILE_NOT_FOUND'],
    ['no folder', { path: 'nowhere/a.img', size: 64 * MIB }, 'ERR_FILE_NOT_FOUND'],
  ])('refuses a disk: %s', async (_, spec, code) => {
    const { path = 'a.img', ...rest } = spec as { path?: string; size?: number }
    await expect(createPool({ name: 'tank', disks: [{ path: home.path(path), ...rest }], command: 'test' })).rejects.toMatchObject({ code })
    expect(existsSync(home.path('a.img'))).toBe(false)
  })

  it('refuses bad names and names that exist, unless that pool is gone', async () => {
    await expect(createPool({ name: '-x', disks: [], command: 'test' })).rejects.toMatchObject({ code: 'ERR_BAD_NAME' })
    const disks = await makeTank(home.folder)
    const second = { name: 'tank', disks: [{ path: home.path('x.img'), size: 64 * MIB }], command: 'test' }
    await expect(createPool(second)).rejects.toMatchObject({ code: 'ERR_EXISTS' })
    for (const disk of disks) rmSync(disk)
    await createPool(second)
    expect(new Registry().list()).toHaveLength(1)
  })
})

describe('openService', () => {
  it('becomes the owner, changes, and leaves the disks free', async () => {
    await makeTank(home.folder)
    for (const name of ['a', 'b']) {
      const service = await owner()
      await service.call('lun.create', { ...lun, name })
      await service.close()
    }
    await using looking = await view()
    expect((await looking.call('lun.list', {})).data).toHaveLength(2)
    expect((await looking.call('lock.show', {})).data).toMatchObject({ held: false, holder: null, disks: [{ locked: false }, { locked: false }] })
  })

  it('asks the owner when there is one, and never cares which it is', async () => {
    await makeTank(home.folder)
    await using first = await owner('tank', 'long import')
    await using second = await owner()
    await second.call('lun.create', lun)
    expect((await first.call('lun.list', {})).data).toMatchObject([{ name: 'db' }])
    await expect(second.call('lun.create', lun)).rejects.toMatchObject({ code: 'ERR_EXISTS', exitCode: 4, blockers: ['the other'] })
    await using looking = await view()
    const status = (await looking.call('pool.status', {})).data
    expect(status.owner).toMatchObject({ pid: process.pid, command: 'long import', kind: 'command' })
    expect((await looking.call('lock.show', {})).data).toMatchObject({ held: true, disks: [{ locked: true }, { locked: true }] })
  })

  it('serves user data to other processes as the owner has it', async () => {
    await makeTank(home.folder)
    await using first = await owner()
    await first.call('lun.create', lun)
    await using second = await owner()
    const device = await second.openLun('db')
    expect([device.size, device.blockSize]).toEqual([4 * MIB, 512])
    const data = Buffer.alloc(3 * MIB, 'abc')
    await device.writev(512, [data.subarray(0, MIB), data.subarray(MIB)])
    await device.flush()
    const back = Buffer.alloc(3 * MIB)
    await (await first.openLun('db')).read(512, back)
    expect(back.equals(data)).toBe(true)
    back.fill(0)
    await device.readv(512, [back.subarray(0, 512), back.subarray(512)])
    expect(back.equals(data)).toBe(true)
    await device.zero(MIB, MIB)
    await device.trim(2 * MIB, MIB)
    await device.read(MIB, back.subarray(0, 2 * MIB))
    expect(back.subarray(0, 2 * MIB).every(byte => byte === 0)).toBe(true)
    expect((await device.extents(0, 4 * MIB)).reduce((sum, extent) => sum + extent.length, 0)).toBe(4 * MIB)
    await expect(device.read(4 * MIB, back.subarray(0, 512))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    await expect(device.write(1, data.subarray(0, 512))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    await device.close()
    await expect(second.openLun('none')).rejects.toMatchObject({ code: 'ERR_LUN_NOT_FOUND' })
  })

  it('goes on at the next owner when the first leaves in the middle', async () => {
    await makeTank(home.folder)
    const first = await owner()
    await first.call('lun.create', lun)
    await using second = await owner()
    const device = await second.openLun('db')
    const waiting = second.call('task.wait', { task: 1 })
    waiting.catch(() => undefined)
    const block = Buffer.alloc(4096, 7)
    let leaving: Promise<void> | undefined
    for (let i = 0; i < 200; i++) {
      await device.write(i * 4096, block)
      if (i === 20) leaving = first.close()
    }
    await leaving
    const back = Buffer.alloc(200 * 4096)
    await device.read(0, back)
    expect(back.every(byte => byte === 7)).toBe(true)
    await using looking = await view()
    expect((await looking.call('pool.status', {})).data.owner).toMatchObject({ command: 'test owner' })
  })

  it('reads again when a writer was faster, and asks the owner in the end', async () => {
    await makeTank(home.folder)
    let reads = 0
    hook({ current: () => ++reads > 2 })
    await using looking = await view()
    expect((await looking.call('lun.list', {})).data).toEqual([])
    expect(reads).toBe(3)
    hook({ current: () => false })
    await using late = await view()
    await expect(late.call('lun.list', {})).rejects.toMatchObject({ code: 'ERR_BUSY' })
    const first = await owner()
    expect((await late.call('lun.list', {})).data).toEqual([])
    await first.close()
  })

  it('finds disks that were renamed and in another order (F17)', async () => {
    const disks = await makeTank(home.folder, 3)
    renameSync(disks[0]!, home.path('tmp'))
    renameSync(disks[2]!, disks[0]!)
    renameSync(home.path('tmp'), home.path('new-name.img'))
    await using looking = await view()
    expect((await looking.call('disk.list', {})).data.map(disk => disk.path)).toEqual([home.path('new-name.img'), disks[1], disks[0]])
    expect((await looking.call('pool.status', {})).data).toMatchObject({ missing: [] })
  })

  it('opens the same pool from every order of its files (F17), and one that has grown (F29)', { timeout: 60_000 }, async () => {
    const disks = await makeTank(home.folder, 4)
    truncateSync(disks[2]!, 96 * MIB)
    const ids = new Map(disks.map(path => [statSync(path).ino, path]))
    for (const order of permutations(disks)) {
      for (const path of disks) renameSync(path, `${path}.tmp`)
      for (const [index, path] of disks.entries()) renameSync(`${path}.tmp`, order[index]!)
      await using looking = await view()
      const paths = (await looking.call('disk.list', {})).data.map(disk => disk.path)
      expect(paths.map(path => ids.get(statSync(path!).ino))).toEqual(disks)
      expect((await looking.call('pool.status', {})).data).toMatchObject({ missing: [] })
    }
  })

  it('lists a missing, a truncated and a replaced disk with the reason (F28)', async () => {
    const disks = await makeTank(home.folder, 4)
    rmSync(disks[1]!)
    truncateSync(disks[2]!, 32 * MIB)
    writeFileSync(disks[3]!, 'something else'.repeat(1000))
    await using looking = await view()
    const { missing } = (await looking.call('pool.status', {})).data as unknown as { missing: { path: string; reason: string; diskId: string }[] }
    expect(missing.map(disk => disk.path)).toEqual(disks.slice(1))
    expect(missing[0]!.reason).toContain('ENOENT')
    expect(missing[1]!.reason).toContain('shorter')
    expect(missing[2]!.reason).toContain('no label')
    expect(missing.every(disk => disk.diskId)).toBe(true)
    expect(statSync(disks[2]!).size).toBe(32 * MIB)
  })

  it('says which pools there are', async () => {
    await expect(openService(undefined, { mode: 'view', command: 'x' })).rejects.toMatchObject({ code: 'ERR_POOL_NOT_FOUND' })
    await makeTank(home.folder)
    await (await openService(undefined, { mode: 'view', command: 'x' })).close()
    await makeTank(home.folder, 1, 'other')
    await expect(openService(undefined, { mode: 'view', command: 'x' })).rejects.toMatchObject({ code: 'ERR_POOL_AMBIGUOUS' })
    await expect(openService('third', { mode: 'view', command: 'x' })).rejects.toMatchObject({ code: 'ERR_POOL_NOT_FOUND', why: 'known are: other, tank' })
  })
})

describe('disks that join and come back', () => {
  it('adds disks through the opener and finds them again', async () => {
    await makeTank(home.folder)
    await using first = await owner()
    await first.call('disk.add', { disks: [{ path: home.path('dry.img'), size: 64 * MIB }], dryRun: true })
    expect(existsSync(home.path('dry.img'))).toBe(false)
    await using second = await owner()
    await second.call('disk.add', { disks: [{ path: home.path('new.img'), size: 64 * MIB }] })
    await using looking = await view()
    expect((await looking.call('lock.show', {})).data.disks).toHaveLength(3)
    expect(new Registry().list()[0]!.disks.every(disk => disk.id)).toBe(true)
    const id = (await looking.call('disk.list', {})).data[0]!.id
    expect((await first.call('disk.online', { disk: id })).data.path).toBe(home.path('d0.img'))
    renameSync(home.path('d0.img'), home.path('moved.img'))
    expect((await first.call('disk.online', { disk: id })).data.path).toBe(home.path('d0.img'))
  })
})

describe('importPools', () => {
  it('finds pools in folders after the registry was lost', async () => {
    await makeTank(home.folder)
    await makeTank(home.folder, 1, 'other')
    rmSync(process.env.LUNAR_HOME!, { recursive: true })
    writeFileSync(home.path('notes.txt'), 'nothing of ours')
    const dry = await importPools({ paths: [home.folder], command: 'test', dryRun: true })
    expect(dry.data.map(pool => [pool.name, pool.missing, pool.problem])).toEqual([
      ['tank', 0, null],
      ['other', 0, null],
    ])
    expect(new Registry().list()).toEqual([])
    await importPools({ paths: [home.folder], name: 'tank', command: 'test' })
    expect((await listPools()).data.map(pool => pool.name)).toEqual(['tank'])
  })

  it('refuses a copied disk by name, by hard link, but not a symlink in the folder (F16)', async () => {
    const [first] = await makeTank(home.folder)
    symlinkSync(first!, home.path('link.img'))
    expect((await importPools({ paths: [home.folder], command: 'test' })).data).toMatchObject([{ problem: null }])
    copyFileSync(first!, home.path('copy.img'))
    await expect(importPools({ paths: [home.folder], command: 'test' })).rejects.toMatchObject({
      code: 'ERR_DUPLICATE_DISK',
      message: expect.stringContaining('copy.img') as string,
    })
    rmSync(home.path('copy.img'))
    linkSync(first!, home.path('hard.img'))
    await expect(importPools({ paths: [home.folder], command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK', why: 'they are one file' })
    await expect(importPools({ paths: [first!, home.path('link.img')], command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
    await expect(importPools({ paths: [first!, first!], command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
  })

  it.each([
    ['missing', () => rmSync(home.path('x.img'), { force: true }), 'ERR_FILE_NOT_FOUND'],
    ['empty', () => writeFileSync(home.path('x.img'), ''), 'ERR_NOT_A_DISK'],
    ['short', () => writeFileSync(home.path('x.img'), 'x'), 'ERR_NOT_A_DISK'],
    ['foreign', () => writeFileSync(home.path('x.img'), 'x'.repeat(100_000)), 'ERR_NOT_A_DISK'],
  ])('refuses a named file that is %s', async (_, make, code) => {
    const [first] = await makeTank(home.folder, 1)
    make()
    await expect(importPools({ paths: [first!, home.path('x.img')], command: 'test' })).rejects.toMatchObject({ code })
    await expect(importPools({ paths: [home.path('x.img')], command: 'test' })).rejects.toMatchObject({ code })
  })

  it('leaves a file of the future as it is (F30)', async () => {
    const { labelFields } = await import('../../../src/metadata/label.ts')
    const { sealBlock } = await import('../../../src/metadata/block.ts')
    const [first] = await makeTank(home.folder, 1)
    const bytes = readFileSync(first!)
    for (const at of [0, bytes.length - 4096]) {
      const block = bytes.subarray(at, at + 4096)
      labelFields.encodeInto(block, 0, { ...labelFields.decode(block), featuresIncompatible: 1 << 20 })
      sealBlock('label', block)
    }
    writeFileSync(first!, bytes)
    for (const attempt of [
      () => importPools({ paths: [first!], command: 'x' }),
      () => owner(),
      () => view(),
      () => createPool({ name: 'new', disks: [{ path: first! }], command: 'x' }),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ exitCode: 5 })
    }
    expect(readFileSync(first!).equals(bytes)).toBe(true)
  })

  it('refuses a pool that is still where it was known: one of the two is a copy', async () => {
    const [first] = await makeTank(home.folder, 1)
    copyFileSync(first!, home.path('copy.img'))
    await expect(importPools({ paths: [home.path('copy.img')], command: 'test' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
    await exportPool({ command: 'test' })
    await importPools({ paths: [home.path('copy.img')], command: 'test' })
  })
})

describe('exportPool and destroyPool', () => {
  it('forgets the pool and leaves its disks whole', async () => {
    const disks = await makeTank(home.folder)
    expect((await exportPool({ dryRun: true, command: 'x' })).data.disks).toEqual(disks)
    expect((await exportPool({ command: 'x' })).data).toEqual({ name: 'tank', disks })
    expect(new Registry().list()).toEqual([])
    await importPools({ paths: disks, command: 'x' })
    await (await owner()).close()
  })

  it('refuses while somebody uses the pool, and names who', async () => {
    await makeTank(home.folder)
    const first = await owner('tank', 'lun import db')
    await expect(exportPool({ command: 'x' })).rejects.toMatchObject({ code: 'ERR_BUSY', blockers: [expect.stringContaining('lun import db')] })
    await expect(destroyPool({ name: 'tank', command: 'x' })).rejects.toMatchObject({ code: 'ERR_BUSY' })
    await first.close()
    await exportPool({ command: 'x' })
  })

  it('exports a pool whose disks are gone', async () => {
    for (const disk of await makeTank(home.folder)) rmSync(disk)
    expect((await exportPool({ name: 'tank', command: 'x' })).data.disks).toEqual([])
    expect(new Registry().list()).toEqual([])
  })

  it('destroys: labels go, the registry forgets, a dry run changes nothing', async () => {
    const disks = await makeTank(home.folder)
    const dry = await destroyPool({ name: 'tank', dryRun: true, command: 'x' })
    await (await owner()).close()
    expect(await destroyPool({ name: 'tank', command: 'x' })).toEqual({ ...dry, generation: 1 })
    await expect(importPools({ paths: disks, command: 'x' })).rejects.toMatchObject({ code: 'ERR_NOT_A_DISK' })
    expect((await listPools()).data).toEqual([])
  })
})

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]]
  return items.flatMap((item, i) => permutations(items.filter((_, j) => j !== i)).map(rest => [item, ...rest]))
}
