/** F13: real processes killed with SIGKILL at their n-th call that changes a file, again and again on one pool. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { PoolService } from '../../src/core/server/api.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram, type Program } from '../support/program.ts'
import { readAll, stamped, withSeed } from '../support/sim.ts'

const hook = join(import.meta.dirname, '..', 'support', 'kill-at.cjs')
const kept = stamped(3 * MIB, 1)

/** How many calls a command makes that can be interrupted. It really runs. */
function countCalls(lunar: Program, args: readonly string[], input?: Buffer): number {
  const file = lunar.path('count')
  const result = lunar.runWith({ node: ['--require', hook], env: { LUNAR_KILL_COUNT: file }, ...(input ? { input } : {}) }, ...args)
  expect(result.status, result.stderr).toBe(0)
  return Number(readFileSync(file, 'utf8'))
}

/** @returns false when the command came to its end before its n-th call */
function killedAt(lunar: Program, n: number, args: readonly string[], input?: Buffer): boolean {
  const result = lunar.runWith({ node: ['--require', hook], env: { LUNAR_KILL_AT: String(n) }, ...(input ? { input } : {}) }, ...args)
  if (result.signal === 'SIGKILL') return true
  expect(result.status, result.stderr).toBe(0)
  return false
}

async function expectKept(service: PoolService): Promise<void> {
  const device = await service.openLun('kept')
  expect((await readAll(device, 0, kept.length)).equals(kept)).toBe(true)
  await device.close()
}

const spread = (count: number, wanted: number): number[] => [...new Set(Array.from({ length: wanted }, (_, i) => 1 + Math.floor((i * count) / wanted)))]

function prepared(lunar: Program): string[] {
  const disks = lunar.makeTank(3)
  lunar.ok('lun', 'create', 'tank/kept', '--size', '4MiB', '--raid', 'raid1')
  lunar.ok('lun', 'import', 'tank/kept', lunar.write('kept.bin', kept), '--yes')
  return disks
}

describe('F13 killed', () => {
  const lunar = useProgram()

  test('an import, killed at sixteen places and started again each time', { timeout: 120_000 }, async () => {
    const disks = prepared(lunar)
    const source = stamped(6 * MIB, 2)
    const args = ['lun', 'import', 'tank/new', '-', '--size', '8MiB', '--yes']
    const count = countCalls(lunar, args, source)
    expect(count).toBeGreaterThan(20)
    let kills = 0
    for (const [i, n] of spread(count, 16).entries()) {
      const tagged = stamped(6 * MIB, 10 + i)
      await withSeed(`call ${n} of ${count}`, async () => {
        const killed = killedAt(lunar, n, args, tagged)
        kills += Number(killed)
        await expectConsistentFiles(disks)
        await lunar.reopened(async service => {
          await expectKept(service)
          const lun = (await service.call('lun.list', {})).data.find(({ name }) => name === 'new')
          // Whole and marked whole, or marked incomplete and refused: never half and served.
          if (lun?.state.includes('incomplete')) await expect(service.openLun('new')).rejects.toMatchObject({ code: 'ERR_INCOMPLETE' })
          else {
            const found = await readAll(await service.openLun('new'), 0, tagged.length)
            expect([tagged, source, stamped(6 * MIB, 9 + i)].some(bytes => bytes.equals(found))).toBe(true)
          }
        })
        await expectSoundFiles(disks)
      })
    }
    expect(kills).toBeGreaterThan(12)
    expect(lunar.runWith({ input: source }, 'lun', 'import', 'tank/new', '-', '--yes', '--verify').status).toBe(0)
    expect((await lunOnFiles(disks, 'new')).subarray(0, source.length).equals(source)).toBe(true)
    expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
  })

  test('a LUN that is created, resized, renamed, deleted, killed in each: before or after, never between', { timeout: 120_000 }, async () => {
    const disks = prepared(lunar)
    const names = (): Promise<string[]> =>
      lunar.reopened(async service => (await service.call('lun.list', {})).data.map(({ name, size, state }) => `${name} ${size / MIB} ${state}`))
    const steps: { args: string[]; before: string; after: string | null }[] = [
      { args: ['lun', 'create', 'tank/x', '--size', '16MiB', '--raid', 'raid1', '--reserve'], before: '', after: 'x 16 ready' },
      { args: ['lun', 'resize', 'tank/x', '--size', '24MiB'], before: 'x 16 ready', after: 'x 24 ready' },
      { args: ['lun', 'rename', 'tank/x', 'y'], before: 'x 24 ready', after: 'y 24 ready' },
      { args: ['lun', 'delete', 'tank/y', '--yes'], before: 'y 24 ready', after: '' },
    ]
    for (const { args, before, after } of steps) {
      for (let n = 2; ; n += 5) {
        const killed = killedAt(lunar, n, args)
        await expectConsistentFiles(disks)
        const found = (await names()).filter(name => name !== 'kept 4 ready').join()
        expect([before, after], `${args.join(' ')} killed at call ${n}`).toContain(found)
        await expectSoundFiles(disks)
        if (!killed || found === after) break
      }
    }
    await lunar.reopened(expectKept)
  })

  test('making a pool: there is none, or it is whole', { timeout: 120_000 }, async () => {
    const images = ['a.img', 'b.img']
    const create = ['pool', 'create', 'tank', ...images, '--size', '64MiB']
    const count = countCalls(lunar, create)
    lunar.ok('pool', 'destroy', 'tank', '--yes')
    for (const n of spread(count, 8)) {
      for (const image of images) rmSync(lunar.path(image), { force: true })
      rmSync(lunar.path('home'), { recursive: true, force: true })
      killedAt(lunar, n, create)
      const there = lunar.paths(...images).filter(path => existsSync(path))
      const found = there.length === 0 ? undefined : lunar.run('pool', 'import', ...there)
      if (found?.status === 0) {
        expect(lunar.ok('pool', 'status', '--check', 'tank'), `call ${n}`).toContain('healthy')
        // The first owner writes a copy of a label again that is missing.
        lunar.ok('pool', 'set', 'tank', 'comment=made')
        await expectSoundFiles(lunar.paths(...images))
        lunar.ok('pool', 'destroy', 'tank', '--yes')
      } else {
        expect([undefined, 3, 5, 8], `call ${n}: ${found?.stderr}`).toContain(found?.status)
        lunar.ok(...create, '--force=overwrite')
        await expectSoundFiles(lunar.paths(...images))
        lunar.ok('pool', 'destroy', 'tank', '--yes')
      }
    }
  })
})
