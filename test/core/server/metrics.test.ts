/** What is counted is what was done, and it is written as Prometheus reads it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Latencies } from '../../../src/core/base/latency.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { Exposition } from '../../../src/core/server/exposition.ts'
import { readExposition, type Page } from '../../support/exposition.ts'
import { makeSim, openSim, stamped } from '../../support/sim.ts'

test('what took at most so long is in a bucket that says so, and in none below', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.integer({ min: 1, max: 9 }), (us, times) => {
      const latencies = new Latencies()
      latencies.add(us, times)
      for (const { bound, count } of latencies.cumulative()) expect(count).toBe(us / 1e6 <= bound ? times : 0)
      expect(latencies.sum).toBeCloseTo((us * times) / 1e6)
    }),
  )
})

test('names come out as they are, whatever is in them', () => {
  const into = new Exposition()
  into.gauge('disk_info', 'Where.', { path: 'a "b"\\c\nd' }, 1)
  into.summary('delay_seconds', 'How late.', {}, new Map([[0.5, 0.25]]), 2, 8)
  expect(into.text()).toBe(
    [
      '# HELP lunar_disk_info Where.',
      '# TYPE lunar_disk_info gauge',
      'lunar_disk_info{path="a \\"b\\"\\\\c\\nd"} 1',
      '# HELP lunar_delay_seconds How late.',
      '# TYPE lunar_delay_seconds summary',
      'lunar_delay_seconds{quantile="0.5"} 0.25',
      'lunar_delay_seconds_sum 2',
      'lunar_delay_seconds_count 8',
      '',
    ].join('\n'),
  )
  readExposition(into.text())
})

test('a pool counts what is done to its volumes, disks and journal, and tells the state of each disk', async () => {
  const disks = await makeSim({ disks: 3 })
  const sim = await openSim(disks)
  const page = async (): Promise<Page> => {
    const into = new Exposition()
    await sim.engine.measure(into)
    return readExposition(into.text())
  }
  await sim.create('db', 'raid1')
  await sim.create('idle', 'raid0')
  const device = await sim.engine.openLun('db')
  await device.write(0, stamped(2 * MIB, 1))
  await device.writev(2 * MIB, [stamped(4 * KIB, 2), stamped(4 * KIB, 3)])
  await device.flush()
  await device.read(0, Buffer.alloc(8 * KIB))
  await device.trim(4 * MIB, MIB)
  const db = { pool: 'tank', volume: 'db', kind: 'lun' }
  const before = await page()
  expect(['reads', 'writes', 'flushes', 'discards'].map(what => before.sum(`lunar_volume_${what}_total`, db))).toEqual([1, 2, 1, 1])
  expect(before.sum('lunar_volume_written_bytes_total', db)).toBe(2 * MIB + 8 * KIB)
  expect(before.sum('lunar_volume_read_bytes_total', db)).toBe(8 * KIB)
  expect(before.sum('lunar_lun_bound_bytes', { volume: 'db' })).toBe(3 * MIB)
  expect(() => before.sum('lunar_volume_reads_total', { volume: 'idle' })).toThrow()
  // Each of two copies.
  expect(before.sum('lunar_disk_written_bytes_total')).toBe(2 * (2 * MIB + 8 * KIB))
  expect(before.sum('lunar_disk_flush_seconds_count')).toBeGreaterThanOrEqual(2)
  expect(before.sum('lunar_pool_healthy')).toBe(1)
  expect(before.sum('lunar_disk_state', { state: 'normal' })).toBe(3)

  const commits = before.sum('lunar_journal_commit_seconds_count')
  await sim.engine.call('snap.create', { snapshots: ['db@monday'], readOnly: true })
  await device.write(0, stamped(4 * KIB, 9))
  await device.flush()
  const snapshot = await sim.engine.openLun('db@monday', { readOnly: true })
  await snapshot.read(0, Buffer.alloc(512))
  const after = await page()
  expect(after.sum('lunar_journal_commit_seconds_count')).toBeGreaterThan(commits)
  expect(after.sum('lunar_first_write_copied_bytes_total')).toBe(4 * KIB)
  expect(after.sum('lunar_first_writes_total')).toBe(1)
  expect(after.sum('lunar_first_write_round_seconds_count')).toBe(1)
  expect(after.sum('lunar_volume_read_bytes_total', { volume: 'db@monday', kind: 'snapshot' })).toBe(512)
  expect(after.sum('lunar_snapshots')).toBe(1)

  await sim.engine.call('disk.offline', { disk: '0', force: true })
  await device.write(0, stamped(MIB, 10))
  await device.flush()
  const degraded = await page()
  expect(degraded.sum('lunar_disk_state', { disk: '0', state: 'missing' })).toBe(1)
  expect(degraded.sum('lunar_disk_state', { disk: '0', state: 'normal' })).toBe(0)
  expect(degraded.sum('lunar_pool_healthy')).toBe(0)
  await Promise.all([snapshot.close(), device.close()])
  await sim.close()
})
