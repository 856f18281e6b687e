/** F28 and F29: an image that became shorter is a failed disk and stays as short as it is; one that became longer opens, and what was added is not used. */
import { statSync, truncateSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { shortTransfer } from '../../src/core/block/host.ts'
import { bytesOf, clones, expectConsistent, expectSound, makeSim, openSim, readAll, stamped } from '../support/sim.ts'
import { fingerprints } from '../support/images.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'

const SIZE = 16 * MIB
const contents = stamped(SIZE, 1)

async function prepared(): Promise<SimulatedDisk[]> {
  const disks = await makeSim()
  const open = await openSim(disks)
  const lun = await open.create('a', 'raid1', SIZE)
  await lun.write(0, contents)
  await lun.flush()
  await open.close()
  return disks
}

/** The same disk with its end cut off, or with zeros behind it. */
async function resized(disk: SimulatedDisk, size: number): Promise<SimulatedDisk> {
  const other = new SimulatedDisk(size, { name: disk.name })
  for (let at = 0; at < Math.min(size, disk.size); at += MIB) {
    const bytes = await bytesOf(disk, at, Math.min(MIB, size - at, disk.size - at))
    if (bytes.some(byte => byte !== 0)) await other.writeDurable(at, bytes)
  }
  return other
}

describe('F28 truncated', async () => {
  const base = await prepared()

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
    for (let at = 0; at < SIZE; at += MIB) expect((await readAll(open.lun('a'), at, MIB)).equals(contents.subarray(at, at + MIB))).toBe(true)
    expect(open.pool.disk(1).errors).toBeGreaterThan(0)
    const bytes = stamped(SIZE, 3)
    await open.lun('a').write(0, bytes)
    await open.lun('a').flush()
    expect(open.pool.disk(1).state).toBe('failed')
    expect((await readAll(open.lun('a'))).equals(bytes)).toBe(true)
    await open.close()
  })
})

describe('F29 grown', async () => {
  const base = await prepared()

  test.each([512, 4096, 5 * MIB, 64 * MIB])('by %d bytes: opens, with the second label where it was, and what was added unused', async more => {
    const disks = clones(base)
    disks[2] = await resized(disks[2]!, 64 * MIB + more)
    const open = await openSim(disks)
    expect(open.pool.disk(2).state).toBe('normal')
    expect((await readAll(open.lun('a'))).equals(contents)).toBe(true)
    expect((await open.engine.call('pool.status', {})).data.health).toBe('healthy')
    await open.engine.call('disk.label', { disk: '2', domain: 'rack1' })
    const other = await open.create('b', 'raid0', 128 * MIB)
    for (let at = 0; at + MIB <= 96 * MIB; at += 8 * MIB) await other.write(at, stamped(MIB, 4))
    await open.close()
    await expectSound(disks)
    const behind = await bytesOf(disks[2], 64 * MIB, more)
    expect(behind.every(byte => byte === 0)).toBe(true)
  })
})

describe('F28 F29 on real files', () => {
  const lunar = useProgram()

  function made(): string[] {
    const disks = lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/a', '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(4 * MIB, 1)), '--yes')
    return disks
  }

  test('F28: a truncated image is told with its reason, is never extended or filled, and the pool serves without it', { timeout: 60_000 }, async () => {
    const disks = made()
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
    const disks = made()
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

  test('F29: a grown image serves as before, and a cut back to the recorded size costs nothing', { timeout: 60_000 }, async () => {
    const disks = made()
    truncateSync(disks[1]!, 100 * MIB + 7)
    lunar.ok('pool', 'status', '--check', 'tank')
    expect(lunar.runWith({ input: stamped(MIB, 2) }, 'lun', 'write', 'tank/a').status).toBe(0)
    expect(lunar.json<{ size: number }[]>('disk', 'list').map(({ size }) => size)).toEqual(disks.map(() => 64 * MIB))
    await expectSoundFiles(disks)
    truncateSync(disks[1]!, 64 * MIB)
    lunar.ok('pool', 'status', '--check', 'tank')
    await expectSoundFiles(disks)
    expect((await lunOnFiles(disks, 'a')).subarray(0, MIB).equals(stamped(MIB, 2))).toBe(true)
  })
})
