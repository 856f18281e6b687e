import { systemClock, type Clock } from '../../src/core/base/clock.ts'
import { MIB } from '../../src/core/base/units.ts'
import { randomUuid } from '../../src/core/base/uuid.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Luns } from '../../src/core/lun/luns.ts'
import { createPoolOn } from '../../src/core/pool/format.ts'
import { Pool, type FoundDisk } from '../../src/core/pool/pool.ts'
import { Relationships } from '../../src/core/snapshot/relationships.ts'
import { Trees } from '../../src/core/snapshot/tree/trees.ts'
import { Resync } from '../../src/core/pool/resync.ts'
import { readLabel } from '../../src/metadata/label.ts'

export interface OpenPool {
  readonly pool: Pool
  readonly luns: Luns
  readonly relationships: Relationships
  readonly trees: Trees
}

/** Simulated disks of 64 MiB, or of the given sizes in MiB. */
export const simulatedDisks = (count: number, sizes: readonly number[] = []): SimulatedDisk[] =>
  Array.from({ length: count }, (_, i) => new SimulatedDisk((sizes[i] ?? 64) * MIB, { name: `d${i}` }))

export async function createSimulated(disks: readonly SimulatedDisk[], domains: readonly string[] = []): Promise<void> {
  await createPoolOn(
    disks.map((disk, i) => ({ disk, blank: true, witness: false, domain: domains[i] ?? '' })),
    'tank',
    systemClock,
    randomUuid,
  )
}

export async function findSimulated(disks: readonly SimulatedDisk[]): Promise<FoundDisk[]> {
  const found: FoundDisk[] = []
  for (const disk of disks) {
    const report = await readLabel(disk)
    if (report.kind !== 'label') throw new Error(`${disk.name}: ${report.kind}`)
    found.push({ disk, label: report.label })
  }
  return found
}

/** Opens the pool as its owner does, without background processes. */
export async function openSimulated(disks: readonly SimulatedDisk[], force = false, clock: Clock = systemClock): Promise<OpenPool> {
  const pool = await Pool.open(await findSimulated(disks), { clock, uuids: randomUuid, readOnly: false, force })
  const luns = await Luns.load(pool)
  await luns.loadBits()
  await pool.settleStates()
  await luns.dropUnfinished()
  await pool.maintain()
  const relationships = await Relationships.load(pool, luns)
  return { pool, luns, relationships, trees: await Trees.load(pool, luns, relationships) }
}

/** Closes the pool as its owner does: what was acknowledged is written. */
export async function closeSimulated({ pool, luns, relationships }: OpenPool): Promise<void> {
  await relationships.drain()
  for (const lun of luns.all) await lun.drain()
  await pool.close()
}

/** With an even seed every second LUN gets a write-back cache. */
export async function cacheSome(luns: Luns, seed: number): Promise<void> {
  if (seed % 2 > 0) return
  for (const lun of luns.all) if (lun.number % 2 > 0) await luns.set(lun, { cacheBytes: MIB }, 'cache=1MiB')
}

/** Runs resync to its end. @returns bytes copied */
export async function resync(pool: Pool): Promise<number> {
  const body = new Resync(pool)
  let moved = 0
  for (;;) {
    const step = await body.step(new AbortController().signal)
    moved += step.moved
    if (step.finished) return moved
  }
}
