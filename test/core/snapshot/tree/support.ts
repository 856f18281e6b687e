/** What tests of snapshots share: a pool on simulated disks, whose volumes are read and written by name, a chunk at a time. */
import { expect } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import { problems as problemsOf } from '../../../support/problems.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

export const CHUNK = 4 * KIB
/** Of a LUN. */
export const SIZE = 4 * MIB

/** Whoever imports them has those of the last `make` and `reopen`. */
export let disks: SimulatedDisk[]
export let pool: OpenPool

/** A new pool with LUNs that nothing was written to. */
export async function make(...luns: readonly string[]): Promise<void> {
  disks = simulatedDisks(4)
  await createSimulated(disks)
  pool = await openSimulated(disks)
  for (const name of luns) await pool.luns.create({ name, size: SIZE, raid: 'raid1', reserve: false })
}

export async function reopen(): Promise<void> {
  await pool.relationships.drain()
  await pool.pool.close()
  pool = await openSimulated(disks)
}

/** Of a LUN, or of a snapshot: `db@s1`. */
export const volume = (name: string, { trees, relationships, luns } = pool): BlockDevice =>
  name.includes('@') ? trees.volume(trees.find(name)) : relationships.volume(luns.find(name).number)

export const put = (name: string, chunk: number, value: number, length = CHUNK): Promise<void> =>
  volume(name).write(chunk * CHUNK, new Uint8Array(length).fill(value))

/** The byte that all of a part of a chunk has. */
export async function get(name: string, chunk: number, at = 0, length = 512): Promise<number> {
  const into = new Uint8Array(length)
  await volume(name).read(chunk * CHUNK + at, into)
  expect(new Set(into).size).toBe(1)
  return into[0]!
}

export const problems = (): Promise<string[]> => problemsOf(pool.pool)
export const remove = (...names: string[]) => pool.trees.delete(names.map(name => pool.trees.find(name)))
