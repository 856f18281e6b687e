/** F05: a mirror that was away comes back: what was written without it is never read from it, and only that is copied. */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { LunarError } from '../../src/core/base/errors.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { clones, expectConsistent, expectSound, makeSim, openBare, openSim, readAll, stamped, type SimPool } from '../support/sim.ts'

const AWAY = 2
const size = 16 * MIB
const without = (disks: readonly SimulatedDisk[], number: number): SimulatedDisk[] => disks.filter((_, i) => i !== number)

interface Case {
  readonly disks: SimulatedDisk[]
  readonly contents: Buffer
}

/** Everything written, then parts of it again while one disk is away. */
async function wroteWithout(write: (open: SimPool, contents: Buffer) => Promise<void>): Promise<Case> {
  const disks = await makeSim()
  const first = await openSim(disks)
  const lun = await first.create('a', 'raid1', size)
  const contents = stamped(size, 1)
  await lun.write(0, contents)
  await lun.flush()
  await first.close()
  const second = await openSim(without(disks, AWAY))
  expect(second.pool.disk(AWAY).state).toBe('missing')
  await write(second, contents)
  return { disks, contents }
}

const put = async (open: SimPool, contents: Buffer, at: number, bytes: Buffer): Promise<void> => {
  bytes.copy(contents, at)
  await open.lun('a').write(at, bytes)
}

const some = async (open: SimPool, contents: Buffer): Promise<void> => {
  await put(open, contents, MIB, stamped(64 * KIB, 2))
  await put(open, contents, 5 * MIB - 4 * KIB, stamped(8 * KIB, 3))
  await open.lun('a').flush()
}

/** Bytes that the records say the disk lacks. */
async function staleBytes(disks: readonly SimulatedDisk[]): Promise<number> {
  const pool = await expectConsistent(disks)
  let bytes = 0
  for (const store of pool.stores.values()) {
    for (const [member, { disk }] of store.members.entries()) {
      if (disk === AWAY) for (let slice = 0; slice < 8; slice++) if ((store.stale[member]! & (1 << slice)) !== 0) bytes += 256 * KIB
    }
  }
  return bytes
}

/** Counts plain writes from here on: user data. Metadata is written durably. */
function countWrites(disk: SimulatedDisk): { bytes: number } {
  const count = { bytes: 0 }
  disk.plan = operation => {
    if (operation.kind === 'write' && operation.offset >= 17 * MIB) count.bytes += operation.length
    return undefined
  }
  return count
}

describe('F05 stale mirror', () => {
  for (const ended of ['closed', 'crashed'] as const) {
    test(`is not read before it is up to date, and only what it missed is copied (${ended})`, async () => {
      const made = await wroteWithout(async (open, contents) => {
        await some(open, contents)
        if (ended === 'closed') await open.close()
      })
      const disks = clones(made.disks)
      const { luns } = await openBare(clones(disks))
      for (let turn = 0; turn < 4; turn++) expect((await readAll(luns.find('a'))).equals(made.contents)).toBe(true)

      const missed = await staleBytes(disks)
      expect(missed).toBeGreaterThan(0)
      expect(missed).toBeLessThan(size / 2)
      const copied = countWrites(disks[AWAY]!)
      const open = await openSim(disks)
      await open.settled()
      expect(open.pool.disk(AWAY).state).toBe('normal')
      if (ended === 'closed') expect(copied.bytes).toBe(missed)
      await open.close()
      await expectSound(disks)

      for (const gone of [0, 1, 3]) {
        const alone = await openSim(without(clones(disks), gone))
        expect((await readAll(alone.lun('a'))).equals(made.contents)).toBe(true)
        await alone.close()
      }
    })
  }

  test('a second absence before the first is made up for adds to it', async () => {
    const { disks, contents } = await wroteWithout(async (open, bytes) => {
      await some(open, bytes)
      await open.close()
    })
    const second = await openSim(without(disks, AWAY))
    await put(second, contents, 9 * MIB, stamped(4 * KIB, 7))
    await second.close()
    const third = await openSim(disks)
    await third.settled()
    await third.close()
    await expectSound(disks)
    const alone = await openSim(without(disks, 0))
    expect((await readAll(alone.lun('a'))).equals(contents)).toBe(true)
  })

  test('is the last copy left: what it missed is refused, the rest is served', async () => {
    const { disks, contents } = await wroteWithout(async (open, bytes) => {
      await some(open, bytes)
      await open.close()
    })
    const others = [0, 1, 3]
    for (const gone of others) {
      const present = without(clones(disks), gone)
      const { luns } = await openBare(present)
      let refused = 0
      for (let at = 0; at < size; at += 64 * KIB) {
        try {
          expect((await readAll(luns.find('a'), at, 64 * KIB)).equals(contents.subarray(at, at + 64 * KIB))).toBe(true)
        } catch (error) {
          if (!(error instanceof LunarError) || error.code !== 'ERR_DATA_LOST') throw error
          refused++
        }
      }
      expect(refused).toBeLessThan(size / (64 * KIB) / 2)
    }
  })

  test('space that was given back and taken again while it was away is clean when it comes back', async () => {
    const { disks } = await wroteWithout(async open => {
      await open.luns.delete(open.lun('a'))
      await open.engine.call('lun.list', {})
      await open.parts.processes.look()
      await open.settled()
      const next = await open.create('b', 'raid1', size)
      await next.write(0, stamped(4 * MIB, 4))
      await next.flush()
      await next.trim(MIB, MIB)
      await open.close()
    })
    const open = await openSim(disks)
    await open.settled()
    const lun = await open.create('c', 'raid1', 8 * MIB)
    for (let slice = 0; slice < 8; slice++) await lun.write(slice * MIB, Buffer.alloc(512, 1))
    const bytes = await readAll(lun)
    for (let slice = 0; slice < 8; slice++) bytes.fill(0, slice * MIB, slice * MIB + 512)
    expect(bytes.every(byte => byte === 0)).toBe(true)
    await open.close()
    await expectSound(disks)
  })

  test('a disk that failed in service stays out until the operator brings it back; then it is brought up to date', async () => {
    const disks = await makeSim()
    const open = await openSim(disks)
    const lun = await open.create('a', 'raid1', size)
    const contents = stamped(size, 1)
    await lun.write(0, contents)
    await lun.flush()
    disks[AWAY]!.plan = ({ kind }) => (kind === 'write' ? new LunarError('ERR_IO', 'broken') : undefined)
    await put(open, contents, 0, stamped(MIB, 5))
    await lun.flush()
    expect(open.pool.disk(AWAY).state).toBe('failed')
    disks[AWAY]!.plan = undefined
    await open.close()

    const again = await openSim(disks)
    await again.settled()
    expect(again.pool.disk(AWAY).state).toBe('failed')
    for (let turn = 0; turn < 4; turn++) expect((await readAll(again.lun('a'))).equals(contents)).toBe(true)
    await again.engine.call('disk.online', { disk: String(AWAY) })
    for (let turn = 0; turn < 4; turn++) expect((await readAll(again.lun('a'))).equals(contents)).toBe(true)
    await again.settled()
    expect(again.pool.disk(AWAY).state).toBe('normal')
    await again.close()
    await expectSound(disks)
  })
})
