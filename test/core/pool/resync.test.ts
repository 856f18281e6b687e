/** What a resync asks of the disks, counted by them. */
import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedOperation } from '../../../src/core/block/simulated.ts'
import { createSimulated, openSimulated, resync, simulatedDisks } from '../../support/simulated-pool.ts'
import { bytesOf } from './parity-twin.ts'

const SIZE = 32 * MIB
const BACK = 2

test.each([
  { raid: 'raid1', share: 0.4, sources: 1 },
  { raid: 'raid5', share: 0.25, sources: 4 },
] as const)(
  'a $raid resync reads and writes 1 MiB at a time, several at once, and flushes what it has written in few rounds',
  async ({ raid, share, sources }) => {
    const disks = simulatedDisks(5)
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: SIZE, raid, reserve: false })
    await lun.write(0, new Uint8Array(SIZE).fill(1))
    await lun.flush()
    await pool.failDisk(pool.disk(BACK), new LunarError('ERR_IO', 'gone'))
    const bytes = bytesOf(SIZE, new Random(1))
    await lun.write(0, bytes)
    await lun.flush()
    await pool.online(pool.disk(BACK), undefined)

    const seen: (SimulatedOperation & { disk: number })[] = []
    let inFlight = 0
    let most = 0
    for (const [disk, device] of disks.entries())
      device.plan = operation => {
        // Metadata lie in blocks of 4 KiB.
        if (operation.kind !== 'flush' && (operation.offset < pool.disk(disk).offsetOf(0, 0) || operation.length <= 4096)) return undefined
        seen.push({ ...operation, disk })
        most = Math.max(most, ++inFlight)
        return { delay: new Promise<void>(resolve => setImmediate(resolve)).then(() => void inFlight--) }
      }
    const moved = await resync(pool)
    const of = (kind: string, at = (disk: number): boolean => disk !== BACK): typeof seen => seen.filter(({ kind: one, disk }) => one === kind && at(disk))
    const isBack = (disk: number): boolean => disk === BACK
    expect(moved).toBeGreaterThan(SIZE * share * 0.7)
    expect(moved).toBeLessThan(SIZE * share * 1.3)
    expect(of('write', isBack).reduce((sum, { length }) => sum + length, 0)).toBe(moved)
    expect(of('write')).toEqual([])
    expect(of('read').reduce((sum, { length }) => sum + length, 0)).toBe(moved * sources)
    expect(of('read', isBack)).toEqual([])
    for (const { length } of [...of('write', isBack), ...of('read')]) expect(length).toBe(MIB)
    expect(most, 'in flight').toBeGreaterThanOrEqual(4 * sources)
    // Stores are recorded as they are done; those that are done at the same time share a flush.
    expect(of('flush', isBack).length).toBeLessThanOrEqual(3)
    expect(of('flush'), 'they have nothing new').toEqual([])
    for (const device of disks) device.plan = undefined

    expect(pool.disk(BACK).state).toBe('normal')
    await pool.failDisk(pool.disk(0), new LunarError('ERR_IO', 'gone'))
    const read = new Uint8Array(SIZE)
    await lun.read(0, read)
    expect(Buffer.compare(read, bytes)).toBe(0)
    await pool.close()
  },
)
