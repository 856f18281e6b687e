/** F28: an image that became shorter is a failed disk and stays as short as it is. */
import { statSync, truncateSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { shortTransfer } from '../../src/core/block/host.ts'
import { clones, expectConsistent, openSim, readAll, stamped } from '../support/sim.ts'
import { fingerprints } from '../support/images.ts'
import { expectConsistentFiles, useProgram } from '../support/program.ts'
import { contents, poolWithMirror, resized, tankWithMirror } from '../support/resized.ts'

describe('F28 truncated', async () => {
  const base = await poolWithMirror()

  test.each([64 * MIB - 512, 64 * MIB - 4096, 40 * MIB, 17 * MIB, 20 * 4096, 4096, 512, 0])(
    'to %d bytes: the disk is missing, the others serve, nothing is written to it',
    async size => {
      const disks = clones(base)
      disks[1] = await resized(disks[1]!, size)
      const open = await openSim(disks)
      expect(open.pool.disk(1).state).toBe('missing')
      expect((await readAll(open.lun('a'))).equals(contents)).toBe(true)
      await open.lun('a').write(0, stamped(MIB, 2))
      await open.lun('a').flush()
      expect((await open.engine.call('pool.status', {})).data.health).toBe('degraded')
      expect([disks[1].counters.writes, disks[1].counters.flushes, disks[1].counters.punches]).toEqual([0, 0, 0])
      await open.close()
      await expectConsistent(disks.filter((_, i) => i !== 1))
    },
  )

  test('while it is open: reads behind the end are served by the mirror and counted, never as zeros, and a write votes the disk out', async () => {
    const disks = clones(base)
    const open = await openSim(disks)
    const end = 20 * MIB
    disks[1]!.plan = ({ kind, offset, length }) => (kind !== 'flush' && offset + length > end ? shortTransfer('truncated', end) : undefined)
    for (let at = 0; at < contents.length; at += MIB) expect((await readAll(open.lun('a'), at, MIB)).equals(contents.subarray(at, at + MIB))).toBe(true)
    expect(open.pool.disk(1).errors).toBeGreaterThan(0)
    const bytes = stamped(contents.length, 3)
    await open.lun('a').write(0, bytes)
    await open.lun('a').flush()
    expect(open.pool.disk(1).state).toBe('failed')
    expect((await readAll(open.lun('a'))).equals(bytes)).toBe(true)
    await open.close()
  })
})

describe('F28 on real files', () => {
  const lunar = useProgram()

  test('F28: a truncated image is told with its reason, is never extended or filled, and the pool serves without it', { timeout: 60_000 }, async () => {
    const disks = tankWithMirror(lunar)
    truncateSync(disks[1]!, 30 * MIB)
    const [before] = fingerprints([disks[1]!])
    expect(lunar.run('pool', 'status', '--check', 'tank')).toMatchObject({
      status: 9,
      stderr: expect.stringMatching(/warning: .*d1\.img: it is shorter than the 67108864 bytes/) as string,
    })
    expect(lunar.runWith({}, 'lun', 'read', 'tank/a').out.equals(stamped(4 * MIB, 1))).toBe(true)
    expect(lunar.runWith({ input: stamped(MIB, 2) }, 'lun', 'write', 'tank/a').status).toBe(0)
    lunar.refused('ERR_TRUNCATED', 'disk', 'online', '1', '--path', disks[1]!, '--pool', 'tank')
    expect(fingerprints([disks[1]!])).toEqual([before])
    await expectConsistentFiles([disks[0]!, disks[2]!])
  })

  test('F28: truncated while it is open: read from the mirror, voted out by the next write, and still as short afterwards', { timeout: 60_000 }, async () => {
    const disks = tankWithMirror(lunar)
    await lunar.reopened(async service => {
      const device = await service.openLun('a')
      truncateSync(disks[1]!, 17 * MIB)
      expect((await readAll(device)).equals(stamped(4 * MIB, 1))).toBe(true)
      const status = (await service.call('pool.status', {})).data
      expect(status.messages.join('\n')).toMatch(/d1\.img.*(shorter|truncated)/)
      await device.close()
    })
    expect(statSync(disks[1]!).size).toBeLessThan(64 * MIB)
  })
})
