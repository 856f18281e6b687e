/** Ownership between real processes: F26 and hazards 38 to 40. */
import { chmodSync, existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ResourceStack } from '../../../src/core/base/resources.ts'
import { NIL_UUID } from '../../../src/core/base/uuid.ts'
import { FileDisk } from '../../../src/core/block/file.ts'
import type { PoolService } from '../../../src/core/server/api.ts'
import { exportPool, openService } from '../../../src/core/server/front.ts'
import { setWaitMax } from '../../../src/core/server/acquire.ts'
import { readLabel } from '../../../src/metadata/label.ts'
import { writeLockRecord, type LockRecord } from '../../../src/metadata/lock-record.ts'
import { makeTank, owner, useHome, view } from './support/home.ts'
import { Actor, buildActor, removeActor } from './support/processes.ts'

const home = useHome()
let actor = ''
beforeAll(async () => {
  actor = await buildActor()
})
afterAll(() => {
  removeActor(actor)
})
afterEach(() => {
  setWaitMax(10_000)
})

const ownerOf = async (): Promise<{ pid: number; kind: string } | null> => {
  await using looking = await view()
  return (await looking.call('pool.status', {})).data.owner
}

describe('ownership', () => {
  it('has one winner of a hundred, and all the others as its clients (F26)', { timeout: 120_000 }, async () => {
    await makeTank(home.folder)
    const actors = Array.from({ length: 100 }, (_, i) => Actor.start(actor, 'tank', `number ${i}`))
    const said = await Promise.all(actors.map(one => one.says()))
    const winner = said.indexOf('owner')
    expect(said.filter(line => line === 'owner')).toHaveLength(1)
    const expected = `client of ${actors[winner]!.child.pid} (number ${winner})`
    expect(said.filter(line => line !== 'owner' && line !== expected)).toEqual([])
    for (const one of actors) one.tell('close')
    expect(await Promise.all(actors.map(one => one.ended()))).toEqual(actors.map(() => 0))
    expect(await ownerOf()).toBeNull()
  })

  it('dies with the process: a killed owner leaves no lock, its clients are told, the next one opens', async () => {
    await makeTank(home.folder)
    const first = Actor.start(actor, 'tank', 'first')
    expect(await first.says()).toBe('owner')
    const second = Actor.start(actor, 'tank', 'second')
    expect(await second.says()).toContain('client')
    const service = await owner()
    const waiting = service.call('task.wait', { task: 1 })
    const failed = expect(waiting).rejects.toMatchObject({ code: 'ERR_SERVER_UNREACHABLE', exitCode: 20 })
    await new Promise(resolve => setTimeout(resolve, 50))
    first.child.kill('SIGKILL')
    await failed
    let said = await second.ask('lun.create {"name":"a","size":4194304}')
    if (said.startsWith('failed ERR_SERVER_UNREACHABLE')) said = await second.ask('lun.create {"name":"a","size":4194304}') // it had not yet noticed
    expect(said).toContain('"name":"a"')
    second.tell('close')
    expect(await second.ended()).toBe(0)
    await service.close()
  })

  it('names process, command and host when the holder cannot be asked', async () => {
    setWaitMax(300)
    const disks = await makeTank(home.folder, 1)
    await using disk = new ResourceStack()
    const held = disk.use(await FileDisk.open(disks[0]!))
    held.tryLock()
    await expect(owner()).rejects.toMatchObject({ code: 'ERR_LOCKED', exitCode: 7, why: expect.stringContaining('d0.img') })
    const report = await readLabel(held)
    if (report.kind !== 'label') throw new Error('no label')
    const { poolId, diskId } = report.label
    const record: LockRecord = {
      kind: 'command',
      readOnly: false,
      pid: 4711,
      identity: { machineId: NIL_UUID, bootId: NIL_UUID, pidNamespace: 0, startTicks: 0 },
      sinceMs: 1,
      poolId,
      instance: poolId,
      version: '0',
      socket: '/run/lunar/none.sock',
      host: 'elsewhere',
      command: 'lun import',
    }
    await writeLockRecord(held, diskId, record)
    const begun = performance.now()
    await expect(owner()).rejects.toMatchObject({ code: 'ERR_LOCKED', blockers: ['process 4711 on elsewhere (lun import)'] })
    expect(performance.now() - begun).toBeLessThan(1000)
    await using looking = await view()
    const status = await looking.call('pool.status', {})
    expect(status.data.owner).toMatchObject({ pid: 4711, host: 'elsewhere' })
    expect(status.warnings).toEqual([expect.stringContaining('uses the pool')])
  })
})

describe('hosts that do not give everything', () => {
  it('refuses a pool with a disk that may not be read, instead of opening without it (hazard 33)', async () => {
    const disks = await makeTank(home.folder, 3)
    chmodSync(disks[1]!, 0o000)
    openToAll(home.folder)
    const stranger = Actor.startAs(nobody, actor, 'tank', 'stranger')
    expect(await stranger.says()).toMatch(/^failed ERR_HOST_LIMIT .*EACCES/)
    renameSync(disks[1]!, `${disks[1]}.new-name`)
    const again = Actor.startAs(nobody, actor, 'tank', 'stranger')
    expect(await again.says()).toMatch(/^failed ERR_HOST_LIMIT .*EACCES/)
  })

  it('names the lack of descriptors, and leaves the pool as it was (F34)', async () => {
    await makeTank(home.folder, 40)
    const poor = Actor.startLimited(64, actor, 'tank', 'poor')
    expect(await poor.says()).toMatch(/^failed ERR_HOST_LIMIT .*EMFILE/)
    await (await owner()).close()
  })

  it('serves from the held descriptor when the image is unlinked, and never makes it again (F35)', async () => {
    const disks = await makeTank(home.folder)
    const service = await owner()
    await service.call('lun.create', { name: 'db', size: 4194304, raid: 'raid0' })
    const device = await service.openLun('db')
    for (const disk of disks) rmSync(disk)
    await device.write(0, Buffer.alloc(512, 3))
    const back = Buffer.alloc(512)
    await device.read(0, back)
    expect(back[0]).toBe(3)
    await service.close()
    expect(disks.some(disk => existsSync(disk))).toBe(false)
  })
})

const nobody = 65534

/** Lets other users see the disks and the registry, as on a host with shared folders. */
function openToAll(folder: string): void {
  const state = process.env.LUNAR_HOME!
  for (const path of [folder, state, join(state, 'pools')]) chmodSync(path, 0o755)
  for (const name of readdirSync(join(state, 'pools'))) chmodSync(join(state, 'pools', name), 0o644)
  for (const name of readdirSync(folder))
    if (name !== 'state' && !statSync(join(folder, name)).mode.toString(8).endsWith('000')) chmodSync(join(folder, name), 0o666)
}

describe('hand-over', () => {
  /** Tries for the lock all the time. @returns how often it was free */
  function watchLock(path: string): () => Promise<number> {
    let stopped = false
    let free = 0
    const watching = (async () => {
      const disk = await FileDisk.open(path)
      while (!stopped) {
        if (disk.tryLock()) {
          free++
          disk.unlock()
        }
        await new Promise(resolve => setImmediate(resolve))
      }
      await disk.close()
    })()
    return async () => {
      stopped = true
      await watching
      return free
    }
  }

  it('goes to a process in the background without an unlocked moment, which leaves when it is done', { timeout: 30_000 }, async () => {
    const disks = await makeTank(home.folder)
    const first = Actor.start(actor, 'tank', 'lun delete db')
    expect(await first.says()).toBe('owner')
    const unlocked = watchLock(disks[0]!)
    await first.ask('pool.set {"settings":{"work":"30","stepMs":"50"}}')
    first.tell('close')
    expect(await first.says()).toBe('closed')
    expect(await first.ended()).toBe(0)
    const now = await ownerOf()
    expect(now).toMatchObject({ kind: 'on-demand' })
    expect(now!.pid).not.toBe(first.child.pid)
    expect(await unlocked()).toBe(0)
    await using client = await owner()
    expect((await client.call('pool.status', {})).data.owner).toMatchObject({ pid: now!.pid, command: 'lun delete db' })
    await client.close()
    await gone(now!.pid)
    expect(await ownerOf()).toBeNull()
    expect((await (await view()).call('pool.status', {})).data).toMatchObject({ work: 0 })
    const log = readdirSync(process.env.LUNAR_HOME!).find(name => name.startsWith('owner-'))
    expect(readFileSync(join(process.env.LUNAR_HOME!, log!), 'utf8')).toContain('left pool tank')
  })

  it('serves clients that were there before, and closes when asked', { timeout: 30_000 }, async () => {
    await makeTank(home.folder)
    const first = Actor.start(actor, 'tank', 'first')
    expect(await first.says()).toBe('owner')
    const client = (await openService('tank', { mode: 'owner', command: 'client' })) as PoolService
    await client.call('lun.create', { name: 'db', size: 4194304, raid: 'raid0' })
    const device = await client.openLun('db')
    await first.ask('pool.set {"settings":{"work":"1000","stepMs":"50"}}')
    first.tell('close')
    const block = Buffer.alloc(4096, 9)
    let count = 0
    while (first.child.exitCode === null) {
      await device.write((count++ % 1024) * 4096, block)
    }
    await device.flush()
    const now = await ownerOf()
    expect(now).toMatchObject({ kind: 'on-demand' })
    await expect(exportPool({ command: 'x' })).rejects.toMatchObject({ code: 'ERR_BUSY', blockers: [expect.stringContaining('has db open')] })
    await client.close()
    await exportPool({ command: 'x' })
    await gone(now!.pid)
  })

  it('ends cleanly at SIGTERM', { timeout: 30_000 }, async () => {
    await makeTank(home.folder)
    const first = Actor.start(actor, 'tank', 'first')
    await first.says()
    await first.ask('pool.set {"settings":{"work":"1000","stepMs":"20"}}')
    first.tell('close')
    await first.ended()
    const now = await ownerOf()
    process.kill(now!.pid, 'SIGTERM')
    await gone(now!.pid)
    expect(await ownerOf()).toBeNull()
    await using service = await owner()
    expect((await service.call('pool.status', {})).data).not.toMatchObject({ work: 0 })
    await service.call('pool.set', { settings: { work: '0', stepMs: '0' } })
  })
})

async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
