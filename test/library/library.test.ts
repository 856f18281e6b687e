/** The library does what the commands do: pools, disks, LUNs, tasks, relationships. */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { destroyPool, explainError, exportPool, importPools, isCode, listPools, LunarError, openPool, openPools } from '../../src/index.ts'
import { MIB } from '../../src/core/base/units.ts'
import { refused, stamps, useTank } from './support/tank.ts'

const tank = useTank()

test('a pool is opened, looked at and closed', async () => {
  const paths = await tank.make()
  const pool = await openPool('tank')
  expect(openPools()).toEqual([pool])
  expect(await pool.status()).toMatchObject({ name: 'tank', health: 'healthy', owner: { pid: process.pid }, messages: [] })
  expect(await pool.show()).toMatchObject({ name: 'tank', id: pool.id, disks: 3, luns: 0 })
  expect((await pool.lock()).holder?.pid).toBe(process.pid)
  expect((await pool.disks.list()).map(({ path }) => path)).toEqual(paths)
  expect(await pool.disks.show(paths[1]!)).toMatchObject({ number: (await pool.disks.list())[1]!.number })
  expect((await pool.set({ comment: 'mine' })).changed).toEqual(['comment'])
  expect((await pool.set({ comment: 'not mine' }, { dryRun: true })).settings).toContainEqual({ key: 'comment', value: 'mine', from: 'pool' })
  expect((await pool.events()).at(-1)).toMatchObject({ event: 'pool.set', message: 'comment=mine' })
  expect(await pool.events({ after: (await pool.events()).at(-1)!.number })).toEqual([])
  expect(await pool.metadata.check()).toMatchObject({ ok: true, problems: [] })
  expect(await pool.metadata.dump()).toContain('comment')
  expect((await pool.call('pool.list', {})).generation).toBeGreaterThan(0)
  await pool.close()
  await pool.close()
  expect({ closed: pool.isClosed, open: openPools() }).toEqual({ closed: true, open: [] })
  await refused('ERR_FAILED', () => pool.status())
})

test('pools are made, found, forgotten and ended', async () => {
  const paths = await tank.make('one', 1)
  await tank.make('two', 1)
  expect((await listPools()).data.map(({ name, problem }) => ({ name, problem }))).toEqual([
    { name: 'one', problem: null },
    { name: 'two', problem: null },
  ])
  await refused('ERR_POOL_AMBIGUOUS', () => openPool())
  await refused('ERR_POOL_NOT_FOUND', () => openPool('three'))
  expect((await exportPool('one')).data.disks).toEqual(paths)
  await refused('ERR_POOL_NOT_FOUND', () => openPool('one'))
  expect((await importPools(paths)).data).toMatchObject([{ name: 'one', missing: 0, problem: null }])
  {
    await using pool = await openPool('two')
    expect(pool.name).toBe('two')
    await refused('ERR_BUSY', () => destroyPool('two'))
  }
  expect((await destroyPool('two', { dryRun: true })).data).toMatchObject({ name: 'two', luns: [] })
  await destroyPool('two')
  await using only = await openPool()
  expect(only.name).toBe('one')
})

test('a pool is opened at paths that nobody remembers', async () => {
  const paths = await tank.make('one', 2)
  await tank.make('two', 1)
  rmSync(tank.path('home'), { recursive: true })
  await refused('ERR_POOL_NOT_FOUND', () => openPool('one'))
  await refused('ERR_POOL_AMBIGUOUS', () => openPool(undefined, { paths: [tank.folder] }))
  {
    await using view = await openPool(undefined, { paths, mode: 'view' })
    expect(await view.show()).toMatchObject({ name: 'one', disks: 2 })
    await refused('ERR_READ_ONLY', () => view.luns.create({ name: 'db', size: MIB, raid: 'raid0' }))
  }
  expect((await listPools()).data).toEqual([]) // looking remembers nothing
  await using pool = await openPool('one', { paths: [tank.folder] })
  await pool.luns.create({ name: 'db', size: MIB, raid: 'raid1' })
  mkdirSync(tank.path('more'))
  await pool.disks.add([{ path: tank.path('more/later.img'), size: 128 * MIB }])
  await pool.close()
  // Who gives the old paths again finds the disk that joined elsewhere.
  await using again = await openPool('one', { paths })
  expect((await again.disks.list()).map(({ state }) => state)).toEqual(['normal', 'normal', 'normal'])
  expect((await again.luns.list()).map(({ name }) => name)).toEqual(['db'])
})

test('a copy of a pool is refused while the pool is where it was', async () => {
  const paths = await tank.make('one', 1)
  copyFileSync(paths[0]!, tank.path('copy.img'))
  await refused('ERR_DUPLICATE_DISK', () => openPool(undefined, { paths: [tank.path('copy.img')] }))
})

test('disks join, leave and come back', async () => {
  await tank.make()
  await using pool = await openPool('tank')
  const dry = await pool.disks.add([{ path: tank.path('new.img'), size: 128 * MIB }], { dryRun: true })
  expect(dry).toMatchObject([{ path: tank.path('new.img') }])
  const [added] = await pool.disks.add([{ path: tank.path('new.img'), size: 128 * MIB }])
  expect(await pool.disks.list()).toHaveLength(4)
  expect(await pool.disks.label(added!.number, 'rack-2')).toMatchObject({ domain: 'rack-2' })
  expect(await pool.disks.offline(added!.number)).toMatchObject({ state: 'missing' })
  const online = await pool.disks.online(added!.number)
  if (online.task !== null) await pool.tasks.wait(online.task)
  expect(await pool.disks.show(added!.number)).toMatchObject({ state: 'normal', domain: 'rack-2' })
  await refused('ERR_DISK_NOT_FOUND', () => pool.disks.show(99))
})

test('LUNs live their life', async () => {
  await tank.make()
  await using pool = await openPool('tank')
  expect(await pool.luns.create({ name: 'no', size: MIB, raid: 'raid1' }, { dryRun: true })).toMatchObject({ name: 'no' })
  await pool.luns.create({ name: 'db', size: 8 * MIB, raid: 'raid1' })
  await pool.luns.create({ name: 'web', size: 8 * MIB, raid: 'raid0', reserve: true })
  const data = stamps(3 * MIB, 1)
  {
    await using device = await pool.luns.open('db')
    expect(device).toMatchObject({ name: 'db', size: 8 * MIB })
    await device.write(MIB, data)
    await device.flush()
    expect(Buffer.compare(await device.readBytes(MIB, data.length), data)).toBe(0)
    await refused('ERR_OUT_OF_RANGE', () => device.readBytes(8 * MIB, 512))
    await refused('ERR_OUT_OF_RANGE', () => device.write(1, data))
    await refused('ERR_BUSY', () => pool.luns.delete('db'))
  }
  const shut = await pool.luns.open('db', { readOnly: true })
  await refused('ERR_READ_ONLY', () => shut.write(0, data))
  await shut.close()
  await shut.close()
  await refused('ERR_BAD_HANDLE', () => shut.flush())

  expect((await pool.luns.map('db')).filter(({ state }) => state === 'bound').reduce((sum, { length }) => sum + length, 0)).toBe(3 * MIB)
  expect(await pool.luns.map('db', { lost: true })).toEqual([])
  const [store] = await pool.rstores.list('db')
  expect((await pool.rstores.show('db', store!.number)).members.length).toBeGreaterThan(0)
  expect((await pool.rstores.list()).length).toBeGreaterThan((await pool.rstores.list('db')).length)
  expect(await pool.luns.resize('db', 16 * MIB)).toMatchObject({ size: 16 * MIB, was: 8 * MIB })
  await refused('ERR_WOULD_LOSE_DATA', () => pool.luns.resize('db', MIB))
  expect(await pool.luns.protect('db', true)).toMatchObject({ changed: true })
  await refused('ERR_PROTECTED', () => pool.luns.delete('db'))
  await pool.luns.protect('db', false)
  await pool.luns.rename('web', 'www')
  await pool.luns.swap('db', 'www')
  expect(await pool.luns.show('www')).toMatchObject({ size: 16 * MIB, raid: 'raid1' })
  expect(await pool.luns.trim('www', { offset: MIB, length: MIB })).toEqual({ trimmed: MIB })
  expect(await pool.luns.zero('www', { offset: 2 * MIB })).toEqual({ zeroed: 14 * MIB })
  {
    await using device = await pool.luns.open('www', { readOnly: true })
    expect((await device.readBytes(0, 16 * MIB)).every(byte => byte === 0)).toBe(true)
  }
  const { task } = await pool.luns.delete('www')
  if (task !== null) await pool.tasks.wait(task)
  await refused('ERR_LUN_NOT_FOUND', () => pool.luns.show('www'))
  expect((await pool.tasks.list()).map(({ kind }) => kind)).toContain('reclaim')
  await refused('ERR_TASK_NOT_FOUND', () => pool.tasks.show(9999))
})

test('LUNs are copied from and to files and streams', async () => {
  await tank.make()
  await using pool = await openPool('tank')
  const data = stamps(2 * MIB + 4096, 3)
  writeFileSync(tank.path('in.img'), data)
  const seen: number[] = []
  expect(await pool.luns.import('vm', tank.path('in.img'), { verify: true, onProgress: ({ done }) => seen.push(done) })).toMatchObject({
    created: true,
    verified: true,
  })
  expect(seen.at(-1)).toBe(data.length)
  expect(await pool.luns.show('vm')).toMatchObject({ size: 3 * MIB, raid: 'raid1' })
  await refused('ERR_WOULD_LOSE_DATA', () => pool.luns.import('vm', tank.path('in.img')))
  await pool.luns.import('vm', Readable.from([stamps(MIB, 4)]), { overwrite: true })
  await pool.luns.export('vm', tank.path('out.img'))
  expect(Buffer.compare(readFileSync(tank.path('out.img')).subarray(0, MIB), stamps(MIB, 4))).toBe(0)
  await refused('ERR_NOT_EMPTY', () => pool.luns.export('vm', tank.path('out.img')))
  const stream = new PassThrough({ highWaterMark: 8 * MIB })
  await pool.luns.export('vm', stream, { offset: MIB, length: MIB })
  expect(Buffer.compare(stream.read() as Buffer, data.subarray(MIB, 2 * MIB))).toBe(0)
  await refused('ERR_USAGE', () => pool.luns.export('vm', stream, { verify: true }))
  await refused('ERR_USAGE', () => pool.luns.import('pipe', Readable.from([data])))
  await refused('ERR_FILE_NOT_FOUND', () => pool.luns.import('vm', tank.path('nothing')))
  const stopped = AbortSignal.abort()
  await refused('ERR_INTERRUPTED_IMPORT', () => pool.luns.import('late', tank.path('in.img'), { signal: stopped }))
})

test('a second opener in the same process asks the first, and goes on without it', async () => {
  await tank.make()
  const first = await openPool('tank')
  const second = await openPool('tank')
  await first.luns.create({ name: 'db', size: 8 * MIB, raid: 'raid1' })
  const device = await second.luns.open('db')
  await device.write(0, stamps(MIB, 9))
  await device.flush()
  expect((await second.status()).owner?.pid).toBe(process.pid)
  await first.close()
  expect(Buffer.compare(await device.readBytes(0, MIB), stamps(MIB, 9))).toBe(0)
  await second.close()
  await refused('ERR_BAD_HANDLE', () => device.flush())
})

test('closing with a call under way gives the call up, and owns nothing afterwards', async () => {
  await tank.make()
  const first = await openPool('tank')
  for (const name of ['db', 'test']) await first.luns.create({ name, size: MIB, raid: 'raid0' })
  await first.relationships.configure({ source: 'db', image: 'test' })
  const relationship = first.relationship(1)
  await relationship.enable()
  await relationship.setDelay('completeImage', 3_600_000)
  const { task } = await relationship.start('completeImage')
  const second = await openPool('tank')
  const given = refused('ERR_FAILED', () => second.tasks.wait(task!))
  await second.status() // the wait was sent before it
  const looking = second.show().then(
    () => 'answered',
    (error: unknown) => (error as { code: string }).code,
  )
  await Promise.all([second.close(), given])
  expect(['answered', 'ERR_FAILED']).toContain(await looking)
  await relationship.stop('completeImage')
  await first.close()
  await using view = await openPool('tank', { mode: 'view' })
  expect(await view.lock()).toMatchObject({ held: false, holder: null })
})

test('each warning is told once', async () => {
  const paths = await tank.make()
  rmSync(paths[2]!)
  const told: string[] = []
  await using pool = await openPool('tank', { onWarning: warning => told.push(warning) })
  await pool.status()
  await pool.show()
  expect(told.filter(warning => warning.includes(paths[2]!))).toHaveLength(1)
})

test('errors carry code, reason and a way on', async () => {
  const error = await openPool('nowhere').then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(LunarError)
  expect(isCode(error, 'ERR_POOL_NOT_FOUND')).toBe(true)
  expect(error).toMatchObject({ exitCode: 3, why: 'no pool is known here', fix: explainError('ERR_POOL_NOT_FOUND').fix })
})
