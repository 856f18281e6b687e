import { expect, test } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Pool } from '../../../src/core/pool/pool.ts'
import { Batch } from '../../../src/metadata/batch.ts'
import { keyOf } from '../../../src/metadata/key.ts'
import { readLabel } from '../../../src/metadata/label.ts'
import { diskRecord } from '../../../src/metadata/records.ts'
import { problems } from '../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

const places = (pool: Pool): string[] =>
  [...pool.disks.values()].filter(disk => !disk.isWitness).map(({ record }) => `${record.redundancySet}.${record.redundancyIndex}`)

const sizes = (pool: Pool): number[] => {
  const sets = places(pool).map(place => Number(place.split('.')[0]))
  return [...new Set(sets)].sort().map(set => sets.filter(other => other === set).length)
}

async function labels(disks: readonly SimulatedDisk[]): Promise<string[]> {
  const found: string[] = []
  for (const disk of disks) {
    const report = await readLabel(disk)
    if (report.kind === 'label') found.push(`${report.label.redundancySet}.${report.label.redundancyIndex}`)
  }
  return found
}

const joining = (disks: readonly SimulatedDisk[], witness = false): { disk: SimulatedDisk; blank: boolean; witness: boolean; domain: string }[] =>
  disks.map(disk => ({ disk, blank: true, witness, domain: '' }))

async function setPlaces(pool: Pool, place: (number: number) => { redundancySet: number; redundancyIndex: number }): Promise<void> {
  const batch = new Batch()
  for (const disk of pool.disks.values()) batch.put(keyOf('disk', disk.number), diskRecord.encode({ ...disk.record, ...place(disk.number) }))
  await pool.metadata.commit(batch, 'admin')
}

test('a pool makes its sets when it is created, and keeps them', async () => {
  const disks = simulatedDisks(16)
  await createSimulated(disks)
  const { pool } = await openSimulated(disks)
  expect(places(pool)).toEqual([...Array(16).keys()].map(number => `${Math.floor(number / 8)}.${number % 8}`))
  expect(await labels(disks)).toEqual(places(pool))
  expect(await problems(pool)).toEqual([])
  await pool.close()
})

test('a twelfth disk splits the set; stores left in both are counted, also by who opens the pool next', async () => {
  const disks = simulatedDisks(11)
  await createSimulated(disks)
  let { pool, luns } = await openSimulated(disks)
  expect(sizes(pool)).toEqual([11])
  const lun = await luns.create({ name: 'a', size: 32 * MIB, raid: 'raid1', reserve: true })
  const stores = lun.record.storeCount
  expect(await pool.astride()).toBe(0)
  const added = simulatedDisks(1)
  await pool.addDisks(joining(added))
  disks.push(...added)
  expect(sizes(pool)).toEqual([6, 6])
  expect(await labels(disks)).toEqual(places(pool))
  const astride = await pool.astride()
  expect(astride).toBeGreaterThan(0)
  expect(astride).toBeLessThanOrEqual(stores)
  const kept = places(pool)
  await pool.close()
  ;({ pool, luns } = await openSimulated(disks))
  expect(places(pool)).toEqual(kept)
  expect(await pool.astride()).toBe(astride)
  expect(await problems(pool)).toEqual([])
  // A new store stays in one set.
  const b = await luns.create({ name: 'b', size: 8 * MIB, raid: 'raid1', reserve: true })
  expect(new Set(b.stores.table.membersOf(0).map(({ disk }) => pool.disk(disk).record.redundancySet)).size).toBe(1)
  await pool.close()
})

test('a store that no set can hold alone lies in several, and is counted', async () => {
  let all = 0
  // What is left of each set when it holds no store any more depends on the number of segments.
  for (const size of [64, 66, 68, 70]) {
    const disks = simulatedDisks(12, new Array<number>(12).fill(size))
    await createSimulated(disks)
    const { pool, luns } = await openSimulated(disks)
    const lun = await luns.create({ name: 'a', size: pool.largest('raid1'), raid: 'raid1', reserve: true })
    expect(pool.largest('raid1')).toBe(0)
    const inSets = [...Array(lun.record.nextStore).keys()].map(
      store => new Set(lun.stores.table.membersOf(store).map(({ disk }) => pool.disk(disk).record.redundancySet)).size,
    )
    const astride = inSets.filter(sets => sets > 1).length
    expect(await pool.astride()).toBe(astride)
    expect(await problems(pool)).toEqual([])
    await pool.close()
    const again = await openSimulated(disks)
    expect(await again.pool.astride()).toBe(astride)
    await again.pool.close()
    all += astride
  }
  expect(all).toBeGreaterThan(0)
})

test('a witness has no set, and takes no index', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool } = await openSimulated(disks)
  await pool.addDisks(joining(simulatedDisks(1), true))
  await pool.addDisks(joining(simulatedDisks(1)))
  expect(places(pool)).toEqual(['0.0', '0.1', '0.2'])
  expect(await problems(pool)).toEqual([])
  await pool.close()
})

test('a pool from before there were sets is put in order by who opens it for writing', async () => {
  const disks = simulatedDisks(14)
  await createSimulated(disks)
  let { pool } = await openSimulated(disks)
  await setPlaces(pool, number => ({ redundancySet: 0, redundancyIndex: number }))
  expect(await problems(pool)).toEqual([])
  await pool.close()
  ;({ pool } = await openSimulated(disks))
  expect(sizes(pool)).toEqual([8, 6])
  // Those that moved have it in their labels, too.
  expect((await labels(disks)).slice(8)).toEqual(places(pool).slice(8))
  expect(await problems(pool)).toEqual([])
  await pool.close()
})

test('the checker finds disks at one index, sets that are too small or too large, and an index behind the last', async () => {
  const found = async (count: number, place: (number: number) => { redundancySet: number; redundancyIndex: number }): Promise<string[]> => {
    const disks = simulatedDisks(count)
    await createSimulated(disks)
    const { pool } = await openSimulated(disks)
    await setPlaces(pool, place)
    const codes = (await problems(pool)).map(text => text.split(' ')[0]!)
    await pool.close()
    return [...new Set(codes)]
  }
  expect(await found(2, () => ({ redundancySet: 0, redundancyIndex: 1 }))).toEqual(['set.index'])
  expect(await found(2, number => ({ redundancySet: 0, redundancyIndex: 11 + number }))).toEqual(['set.index'])
  expect(await found(7, number => ({ redundancySet: number === 6 ? 1 : 0, redundancyIndex: number % 6 }))).toEqual(['set.size'])
  expect(await found(12, number => ({ redundancySet: 0, redundancyIndex: 11 - number }))).toEqual(['set.size'])
})
