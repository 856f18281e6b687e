/** F26: an owner that does not answer any more is named in bounded time. (A hundred openings with one winner: test/core/server/processes.test.ts.) */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectSoundFiles, useProgram } from '../support/program.ts'
import { RunningImport } from '../support/running-import.ts'
import { stamped } from '../support/sim.ts'

describe('F26 an owner that is stopped', () => {
  const lunar = useProgram()

  test('is named, in bounded time, and nothing changes; looking shows what the disks say', { timeout: 120_000 }, async () => {
    const disks = await lunar.tankWithData()
    const import_ = new RunningImport(lunar, 'tank/b', '--size', '8MiB')
    import_.write(stamped(5 * MIB, 2))
    await import_.begun()
    import_.child.kill('SIGSTOP')
    const begun = performance.now()
    const refused = lunar.run('lun', 'create', 'tank/c', '--size', '1MiB', '--raid', 'raid1')
    expect(performance.now() - begun).toBeLessThan(30_000)
    expect([7, 20], refused.stderr).toContain(refused.status)
    expect(refused.stderr).toContain(`process ${import_.child.pid}`)
    const looking = performance.now()
    expect(lunar.run('pool', 'status', 'tank')).toMatchObject({ status: 0, stderr: expect.stringContaining(`process ${import_.child.pid}`) as string })
    expect(performance.now() - looking).toBeLessThan(10_000)
    import_.child.kill('SIGCONT')
    import_.end()
    expect((await import_.ended()).status).toBe(0)
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['a', 'b'])
    await expectSoundFiles(disks)
  })
})
