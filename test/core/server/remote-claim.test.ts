/** Disks that no kernel locks: of all who come exactly one has them, and whoever lost them notices in time. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { NIL_UUID, randomUuid } from '../../../src/core/base/uuid.ts'
import type { RemoteEnd } from '../../../src/core/block/device.ts'
import { newRecord } from '../../../src/core/server/ownership.ts'
import { lifeOf, thisProcess } from '../../../src/core/server/process-identity.ts'
import { claim, ClaimWatch, release, type ClaimAttempt, type Claimed, type ClaimTimes } from '../../../src/core/server/remote-claim.ts'
import { ScratchDisk } from '../../../src/core/server/scratch-disk.ts'
import { readAnyLockRecord, writeLockRecord, type LockRecord } from '../../../src/metadata/lock-record.ts'

const times: ClaimTimes = { quick: 30, settle: 80, lapse: 200, look: 40 }

/** A connection that a test loses, or that is given up. */
class End implements RemoteEnd {
  private readonly loss = deferred<LunarError>()
  isLost = false
  readonly lost = this.loss.promise
  lose(why: string): void {
    this.isLost = true
    this.loss.resolve(new LunarError('ERR_IO', 'Cannot use it', { why }))
  }
}

/** What one host sees of an export: its own connection, with calls that take as long as the test says. */
class Connection extends ScratchDisk {
  readonly remote = new End()
  pause = { before: 0, after: 0 }
  broken = false
  constructor(private readonly server: ScratchDisk) {
    super(server.name, server.size)
  }
  private async via<T>(call: () => Promise<T>): Promise<T> {
    const { before, after } = this.pause
    if (before > 0) await new Promise(resolve => setTimeout(resolve, before))
    if (this.broken) throw new LunarError('ERR_IO', 'Cannot use it', { why: 'a scratch' })
    const result = await call()
    if (after > 0) await new Promise(resolve => setTimeout(resolve, after))
    return result
  }
  override read(offset: number, into: Uint8Array): Promise<void> {
    return this.via(() => this.server.read(offset, into))
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    return this.via(() => this.server.write(offset, data))
  }
}

const server = (): ScratchDisk => new ScratchDisk('export', 1 << 20)
const diskId = randomUuid()
const of = (disk: ScratchDisk): Claimed & { disk: Connection } => ({ disk: new Connection(disk), diskId })
const foreign = (): LockRecord => ({
  ...newRecord({ command: 'lunar serve tank' }),
  host: 'elsewhere',
  identity: { machineId: randomUuid(), bootId: randomUuid(), pidNamespace: 1, startTicks: 1 },
})
const dead = (): LockRecord => ({ ...newRecord({ command: 'lunar lun create' }), pid: spawnSync('true').pid })
const holder = async (disk: ScratchDisk): Promise<string | undefined> => (await readAnyLockRecord(disk))?.record.instance
const timed = async (attempt: Promise<ClaimAttempt>): Promise<{ kind: string; ms: number }> => {
  const begun = performance.now()
  return { kind: (await attempt).kind, ms: performance.now() - begun }
}

describe('a claim', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  test('of a free disk is settled quickly, and given back by nobody but who has it', async () => {
    const disk = server()
    const record = newRecord({ command: 'a' })
    const { kind, ms } = await timed(claim([of(disk)], { record }, times))
    expect([kind, await holder(disk)]).toEqual(['claimed', record.instance])
    expect(ms).toBeLessThan(times.lapse)
    await release([of(disk)], randomUuid())
    expect(await holder(disk)).toBe(record.instance)
    await release([of(disk)], record.instance)
    expect(await holder(disk)).toBeUndefined()
  })

  test('of a disk that somebody alive has writes nothing; a dead one is waited for; of another host it takes force', async () => {
    for (const [record, force, kind] of [
      [newRecord({ command: 'alive' }), false, 'held'],
      [newRecord({ command: 'alive' }), true, 'held'],
      [dead(), false, 'claimed'],
      [foreign(), false, 'held'],
      [foreign(), true, 'claimed'],
    ] as const) {
      const disk = server()
      await writeLockRecord(disk, diskId, record)
      const mine = newRecord({ command: 'mine' })
      const outcome = await timed(claim([of(disk)], { record: mine, force }, times))
      expect([record.command, outcome.kind, await holder(disk)]).toEqual([record.command, kind, kind === 'claimed' ? mine.instance : record.instance])
      if (kind === 'claimed') expect(outcome.ms).toBeGreaterThan(times.lapse - 2)
    }
  })

  test('is handed on without a moment in which nobody has the disk', async () => {
    const disk = server()
    const parent = newRecord({ command: 'parent' })
    await writeLockRecord(disk, diskId, parent)
    const child = newRecord({ command: 'child' })
    const { kind, ms } = await timed(claim([of(disk)], { record: child, predecessor: parent.instance }, times))
    expect([kind, await holder(disk)]).toEqual(['claimed', child.instance])
    expect(ms).toBeLessThan(times.settle)
  })

  test('goes on without a disk that does not answer, and finds out that two are one', async () => {
    const broken = of(server())
    broken.disk.broken = true
    const attempt = await claim([of(server()), broken], { record: newRecord({ command: 'a' }) }, times)
    expect(attempt.kind === 'claimed' && [...attempt.failed.keys()]).toEqual([broken.disk])
    const one = server()
    const twice = [of(one), { ...of(one), diskId: randomUuid() }]
    await expect(claim(twice, { record: newRecord({ command: 'b' }) }, times)).rejects.toMatchObject({ code: 'ERR_DUPLICATE_DISK' })
  })

  test('of many at once is won by one at most, however long their calls take', async () => {
    // Calls take as long as they are said to, also where the processor is busy.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'hrtime'] })
    const random = new Random(1)
    const rounds = Array.from({ length: 60 }, async () => {
      const disks = [server(), server()]
      const all = Array.from({ length: 4 }, async (_, i) => {
        const mine = disks.map(of)
        for (const { disk } of mine) disk.pause = { before: random.below(4), after: random.below(3) ** 4 }
        await new Promise(resolve => setTimeout(resolve, random.below(12)))
        const record = newRecord({ command: `${i}` })
        return { instance: record.instance, attempt: await claim(mine, { record }, times) }
      })
      const winners = (await Promise.all(all)).filter(({ attempt }) => attempt.kind === 'claimed')
      expect(winners.length).toBeLessThanOrEqual(1)
      if (winners[0]) expect(await Promise.all(disks.map(holder))).toEqual(disks.map(() => winners[0]!.instance))
      return winners.length
    })
    const all = Promise.all(rounds)
    await vi.runAllTimersAsync()
    expect((await all).reduce((sum, won) => sum + won, 0)).toBeGreaterThan(20)
  })

  test('that comes late over an owner is not used before the owner has given the disk up', async () => {
    const times: ClaimTimes = { quick: 30, settle: 40, lapse: 500, look: 150 }
    const disk = server()
    const slow = of(disk)
    slow.disk.pause = { before: 0, after: 100 } // it reads that the disk is free, and writes long after
    const late = claim([slow], { record: newRecord({ command: 'late' }) }, times)
    setTimeout(() => (slow.disk.pause.after = 0), 50)
    const owned = of(disk)
    const record = newRecord({ command: 'owner' })
    await new Promise(resolve => setTimeout(resolve, 10))
    expect((await claim([owned], { record }, times)).kind).toBe('claimed')
    const watch = new ClaimWatch(() => [owned], record.instance, times)
    const lost = owned.disk.remote.lost.then(() => 'lost')
    expect(await Promise.race([lost, late.then(() => 'claimed')])).toBe('lost')
    expect((await owned.disk.remote.lost).why).toContain('(late) has taken it')
    expect((await late).kind).toBe('claimed')
    watch.close()
  })
})

describe('a process of a lock record', () => {
  const here = thisProcess()
  const life = (change: Partial<LockRecord['identity']>, pid = process.pid, host = hostname()): string =>
    lifeOf({ pid, host, identity: { ...here, ...change } }, { ...here, machineId: here.machineId === NIL_UUID ? diskId : here.machineId })

  test('is known by when it started', () => {
    expect(here.startTicks).toBe(Number(readFileSync('/proc/self/stat', 'utf8').replace(/.*\) /s, '').split(' ')[19]))
    expect(life({})).toBe('alive')
    expect(life({ startTicks: here.startTicks + 1 }), 'another has its number now').toBe('dead')
    expect(life({}, spawnSync('true').pid)).toBe('dead')
  })

  test('is dead when its host booted again, and unknown on others and in other name spaces', () => {
    const machineId = here.machineId === NIL_UUID ? diskId : here.machineId
    expect(life({ machineId, bootId: randomUuid() })).toBe('dead')
    expect(life({ machineId, bootId: randomUuid() }, 1, 'elsewhere')).toBe('unknown')
    expect(life({ machineId: randomUuid(), bootId: randomUuid() })).toBe('unknown')
    expect(life({ machineId: NIL_UUID, bootId: NIL_UUID })).toBe('unknown')
    expect(life({ pidNamespace: 1 })).toBe('unknown')
  })
})
