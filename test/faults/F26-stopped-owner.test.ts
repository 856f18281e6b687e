/** F26: an owner that does not answer any more is named in bounded time. (A hundred openings with one winner: test/core/server/processes.test.ts.) */
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { RunningImport } from '../support/running-import.ts'
import { stamped } from '../support/sim.ts'

const hook = join(import.meta.dirname, '..', 'support', 'tell-connect.cjs')

describe('F26 an owner that is stopped', () => {
  const lunar = useProgram()

  /** An owner in the middle of an import of 8 MiB, stopped. */
  async function stoppedOwner(): Promise<RunningImport> {
    const owner = new RunningImport(lunar, 'tank/b', '--size', '8MiB')
    owner.write(stamped(5 * MIB, 2))
    await owner.begun()
    owner.child.kill('SIGSTOP')
    return owner
  }

  async function goesOn(owner: RunningImport): Promise<void> {
    owner.child.kill('SIGCONT')
    owner.end()
    expect((await owner.ended()).status).toBe(0)
  }

  const names = (): string[] => lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)

  test('is named, in bounded time, and nothing changes; looking shows what the disks say', { timeout: 120_000 }, async () => {
    const disks = await lunar.tankWithData()
    const owner = await stoppedOwner()
    const begun = performance.now()
    const stderr = lunar.refused('ERR_LOCKED', 'lun', 'create', 'tank/c', '--size', '1MiB', '--raid', 'raid1')
    expect(performance.now() - begun).toBeLessThan(20_000)
    expect(stderr).toMatch(new RegExp(`why: process ${owner.child.pid} .*lun import.* is stopped .*\\n {2}fix: .*kill -CONT ${owner.child.pid}`))
    const looking = performance.now()
    expect(lunar.run('pool', 'status', 'tank')).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(`process ${owner.child.pid}`) as string,
    })
    expect(performance.now() - looking).toBeLessThan(8000)
    await goesOn(owner)
    expect(names()).toEqual(['a', 'b'])
    await expectSoundFiles(disks)
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a command that waits for it', { timeout: 60_000 }, async signal => {
    const disks = await lunar.tankWithData()
    const owner = await stoppedOwner()
    for (const args of [
      ['lun', 'create', 'tank/c', '--size', '1MiB', '--raid', 'raid1'],
      ['pool', 'export', 'tank'],
    ]) {
      const child = lunar.start(args, { node: ['--require', hook] })
      const lines: string[] = []
      for await (const line of createInterface({ input: child.stderr! })) {
        if (line === 'connecting' && lines.length === 0) child.kill(signal)
        lines.push(line)
      }
      if (child.exitCode === null) await once(child, 'exit')
      expect([child.exitCode, lines.filter(line => line === 'connecting').length], lines.join('\n')).toEqual([130, 1])
      expect(lines.join('\n')).toContain('[ERR_INTERRUPTED]')
    }
    await goesOn(owner)
    expect(names()).toEqual(['a', 'b'])
    await expectSoundFiles(disks)
  })

  test('Ctrl-C ends a client whose owner stops in the middle of its work; what it wrote is marked', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData()
    const owner = new RunningImport(lunar, 'tank/b', '--size', '8MiB')
    owner.write(stamped(5 * MIB, 2))
    await owner.begun()
    const client = new RunningImport(lunar, 'tank/c', '--size', '64MiB')
    client.write(stamped(6 * MIB, 3))
    await client.begun()
    owner.child.kill('SIGSTOP')
    client.write(stamped(40 * MIB, 4))
    client.child.kill('SIGINT')
    const begun = performance.now()
    const { status, stderr } = await client.ended()
    expect([status, /\[(\w+)\]/.exec(stderr)?.[1]], stderr).toEqual([130, 'ERR_INTERRUPTED_IMPORT'])
    expect(performance.now() - begun).toBeLessThan(15_000)
    await goesOn(owner)
    expect((await lunOnFiles(disks, 'b')).subarray(0, 5 * MIB).equals(stamped(5 * MIB, 2))).toBe(true)
    lunar.refused('ERR_INCOMPLETE', 'lun', 'read', 'tank/c')
    await expectSoundFiles(disks)
  })
})
