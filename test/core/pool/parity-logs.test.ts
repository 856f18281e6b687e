import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { GIB, MIB } from '../../../src/core/base/units.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { LogKey, LogPiece } from '../../../src/metadata/parity-group.ts'
import { Batch } from '../../../src/metadata/batch.ts'
import { keyOf } from '../../../src/metadata/key.ts'
import { diskRecord } from '../../../src/metadata/records.ts'
import { independentCheck } from '../../support/independent-check.ts'
import { problems } from '../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

const key: LogKey = { lun: 1, store: 0, generation: 1 }
const pieces: LogPiece[] = [{ member: 4, at: 512, bytes: new Uint8Array(512).fill(7) }]

async function newPool(count = 3): Promise<SimulatedDisk[]> {
  const disks = simulatedDisks(count)
  await createSimulated(disks)
  return disks
}
const reopen = (disks: readonly SimulatedDisk[]): Promise<OpenPool> => openSimulated(disks.map(disk => disk.clone()))

async function left(pool: OpenPool['pool'], disk: number): Promise<number> {
  let count = 0
  for await (const entry of pool.logs.get(disk)!.replayable()) count += entry.pieces.length
  return count
}
const ioError = (): LunarError => new LunarError('ERR_IO', 'Cannot read the disk', { why: 'the test says so' })

describe('the parity log of a disk', () => {
  test('is made once, in segments that are its own, and found again', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const map = pool.segments.get(1)!
    const clean = map.count('clean')
    const [log, same] = await Promise.all([pool.ensureLog(1), pool.ensureLog(1)])
    expect(same).toBe(log)
    expect(await pool.ensureLog(1)).toBe(log)
    const { logSegment, logSegments } = pool.disk(1).record
    expect(logSegments).toBe(2)
    expect([map.state(logSegment), map.state(logSegment + 1)]).toEqual(['used', 'used'])
    expect(map.count('clean')).toBe(clean - 2)
    await log.append(key, 0, pieces, [pool.disk(2)])
    // A crash here: the disks as they are.
    const { pool: again } = await reopen(disks)
    expect([...again.logs.keys()]).toEqual([1])
    // Opening has done it again.
    expect(await left(again, 1)).toBe(0)
    expect(await problems(again)).toEqual([])
    expect((await independentCheck(disks)).problems).toEqual([])
  })

  test('is larger on a large disk', async () => {
    const disks = [new SimulatedDisk(2 * GIB, { name: 'd0' })]
    await createSimulated(disks)
    const { pool } = await openSimulated(disks)
    await pool.ensureLog(0)
    expect(pool.disk(0).record.logSegments).toBe(8)
  })

  test('is empty after a clean close', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const log = await pool.ensureLog(1)
    log.written(await log.append(key, 0, pieces, [pool.disk(2)]))
    await pool.close()
    expect(await left((await openSimulated(disks)).pool, 1)).toBe(0)
  })

  test('has no room on a full disk', async () => {
    const { pool } = await openSimulated(await newPool())
    const map = pool.segments.get(1)!
    while (map.available > 2) map.take()
    await expect(pool.ensureLog(1)).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
    expect(map.available).toBe(2)
    expect(pool.disk(1).record.logSegments).toBe(0)
  })

  test('on a full host takes nothing', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const map = pool.segments.get(1)!
    const before = map.available
    disks[1]!.plan = ({ kind }) => (kind === 'reserve' ? new LunarError('ERR_HOST_FULL', 'Cannot reserve', { why: 'the test says so' }) : undefined)
    await expect(pool.ensureLog(1)).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
    disks[1]!.plan = undefined
    expect(map.available).toBe(before)
    await pool.ensureLog(1)
  })

  test('is used when the host failed its last step', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const from = pool.disk(1).offsetOf(0, 0)
    const refused = new LunarError('ERR_HOST_LIMIT', 'Cannot write', { why: 'no descriptor is left' })
    disks[1]!.plan = ({ kind, offset }) => (kind === 'durable' && offset >= from ? refused : undefined)
    await expect(pool.ensureLog(1)).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    disks[1]!.plan = undefined
    const log = await pool.ensureLog(1)
    await log.append(key, 0, pieces, [])
    // After a crash all of it is read, and done again.
    expect(await left((await reopen(disks)).pool, 1)).toBe(0)
    expect((await independentCheck(disks)).problems).toEqual([])
  })

  test('goes on when a disk whose flush it needs fails', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const log = await pool.ensureLog(1)
    const member = pool.disk(2)
    const ticket = await log.append(key, 0, pieces, [member])
    await member.write(0, 0, [new Uint8Array(512)], 512)
    log.written(ticket)
    disks[2]!.plan = ({ kind }) => (kind === 'flush' ? ioError() : undefined)
    await log.drain()
    expect(member.state).toBe('failed')
    expect(log.coversAny(key, 0, MIB)).toBe(false)
    // Nothing is dropped before the leaving is durable.
    expect((await reopen(disks)).pool.disk(2).state).toBe('failed')
  })

  test('that cannot be read takes its disk out of service', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    await pool.ensureLog(1)
    const from = pool.disk(1).offsetOf(pool.disk(1).record.logSegment, 0)
    await pool.close()
    disks[1]!.plan = ({ kind, offset }) => (kind === 'read' && offset >= from && offset < from + 4 * MIB ? ioError() : undefined)
    expect((await openSimulated(disks)).pool.disk(1).state).toBe('failed')
  })

  test('is opened anew with a disk that comes back', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    const log = await pool.ensureLog(1)
    await log.append(key, 0, pieces, [])
    await pool.offline(pool.disk(1))
    await pool.online(pool.disk(1), undefined)
    expect(pool.logs.get(1)).not.toBe(log)
    expect(await left(pool, 1)).toBe(0)
  })

  test('that two things own is found by the check', async () => {
    const disks = await newPool()
    const { pool } = await openSimulated(disks)
    await pool.ensureLog(1)
    const disk = pool.disk(1)
    const batch = new Batch()
    disk.record = { ...disk.record, logSegments: 3 }
    batch.put(keyOf('disk', 1), diskRecord.encode(disk.record))
    await pool.metadata.commit(batch, 'admin')
    expect(await problems(pool)).toContainEqual(expect.stringMatching(/^segment\.lost /))
    expect((await independentCheck(disks)).problems).not.toEqual([])
  })
})
