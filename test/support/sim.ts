/** Pools on simulated disks: made once, cloned for each case, opened through the engine as an owner does. */
import { expect } from 'vitest'
import type { Clock } from '../../src/core/base/clock.ts'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { seededUuids } from '../../src/core/base/uuid.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { Lun } from '../../src/core/lun/lun.ts'
import { Luns } from '../../src/core/lun/luns.ts'
import { createPoolOn } from '../../src/core/pool/format.ts'
import { Pool } from '../../src/core/pool/pool.ts'
import { LocalEngine, type EngineParts } from '../../src/core/server/engine.ts'
import type { DiskOpener, FoundDisk, MissingDisk } from '../../src/core/server/engine-types.ts'
import { labelError, readLabel } from '../../src/metadata/label.ts'
import { independentCheck, type CheckOptions, type Reader, type Verdict } from './independent-check.ts'

/** Time that only moves when a test says so; pauses end at once. */
export class SimClock implements Clock {
  wall = Date.UTC(2025, 5, 1)
  monotonic = 0
  wallMs(): number {
    return this.wall
  }
  monotonicMs(): number {
    return this.monotonic
  }
  pause(): Promise<void> {
    return new Promise(resolve => setImmediate(resolve))
  }
}

export interface SimSpec {
  readonly disks?: number
  readonly witnesses?: number
  readonly seed?: number
  readonly domains?: readonly string[]
  readonly size?: number
}

/** A new pool "tank". Ids come from the seed. */
export async function makeSim(spec: SimSpec = {}): Promise<SimulatedDisk[]> {
  const { disks = 4, witnesses = 0, seed = 1, domains = [], size = 64 * MIB } = spec
  const made = Array.from({ length: disks + witnesses }, (_, i) => new SimulatedDisk(i < disks ? size : 32 * MIB, { name: `d${i}` }))
  const random = new Random(seed)
  const formats = made.map((disk, i) => ({ disk, blank: true, witness: i >= disks, ...(domains[i] === undefined ? {} : { domain: domains[i] }) }))
  await createPoolOn(
    formats,
    'tank',
    new SimClock(),
    seededUuids(() => random.u32()),
  )
  return made
}

export const clones = (disks: readonly SimulatedDisk[]): SimulatedDisk[] => disks.map(disk => disk.clone())

export interface OpenOptions {
  readonly readOnly?: boolean
  readonly force?: boolean
  readonly choose?: string
  readonly clock?: SimClock
}

export interface Found {
  readonly found: FoundDisk[]
  readonly missing: MissingDisk[]
}

/** What a scan would find on these disks. */
export async function scanSim(disks: readonly SimulatedDisk[]): Promise<Found> {
  const found: FoundDisk[] = []
  const missing: MissingDisk[] = []
  for (const disk of disks) {
    const report = await readLabel(disk)
    if (report.kind === 'label') found.push({ disk, label: report.label })
    else missing.push({ path: disk.name, reason: labelError(disk.name, report).why })
  }
  return { found, missing }
}

/** Disks that come back are looked for among `shelf`. */
const openerOf = (shelf: readonly SimulatedDisk[]): DiskOpener => ({
  requireDistinct: () => Promise.resolve(),
  create: () => Promise.reject(new Error('no disk is made here')),
  find: async diskId => (await scanSim(shelf)).found.find(({ label }) => label.diskId === diskId),
  release: () => Promise.resolve(),
  remember: () => Promise.resolve(),
})

/** An open pool with what tests look at inside. */
export class SimPool {
  readonly pool: Pool
  readonly luns: Luns

  constructor(
    readonly engine: LocalEngine,
    readonly parts: EngineParts,
  ) {
    this.pool = parts.pool
    this.luns = parts.luns
  }

  lun(name: string): Lun {
    return this.luns.find(name)
  }

  create(name: string, raid: 'raid0' | 'raid1' | 'raid5', size = 16 * MIB): Promise<Lun> {
    return this.luns.create({ name, size, raid, reserve: false })
  }

  settled(): Promise<void> {
    return this.engine.settled()
  }

  close(): Promise<void> {
    return this.engine.close()
  }

  async events(): Promise<{ event: string; object: string; message: string }[]> {
    return (await this.engine.call('pool.events', {})).data
  }

  /** How many events of a kind there are, of one object when it is named. */
  async count(event: string, object?: string): Promise<number> {
    return (await this.events()).filter(row => row.event === event && (object === undefined || row.object === object)).length
  }
}

/** One source for all openings of a test file: an epoch's id never comes twice. */
const ids = new Random(77)
const uuids = seededUuids(() => ids.u32())

/** Opens what is found, with background processes, as an owner (or a reader) does. */
export async function openSim(disks: readonly SimulatedDisk[], options: OpenOptions = {}): Promise<SimPool> {
  const { found, missing } = await scanSim(disks)
  const engine = await LocalEngine.open(
    found,
    {
      mode: 'owner',
      readOnly: options.readOnly ?? false,
      forceQuorum: options.force ?? false,
      ...(options.choose === undefined ? {} : { choose: options.choose }),
      command: 'test',
      opener: openerOf(disks),
      missing,
    },
    { clock: options.clock ?? new SimClock(), uuids },
  )
  return new SimPool(engine, (engine as unknown as { parts: EngineParts }).parts)
}

/** Opens the pool and its LUNs without background processes: nothing is resynced. */
export async function openBare(disks: readonly SimulatedDisk[]): Promise<{ pool: Pool; luns: Luns }> {
  const { found } = await scanSim(disks)
  const pool = await Pool.open(found, { clock: new SimClock(), uuids, readOnly: false })
  const luns = await Luns.load(pool)
  await luns.loadBits()
  await pool.settleStates()
  return { pool, luns }
}

/** The disks as the checker reads them: without the faults that a test has planned. */
export const simReaders = (disks: readonly SimulatedDisk[]): Reader[] => disks.map(disk => disk.clone())

export const checkSim = (disks: readonly SimulatedDisk[], options?: CheckOptions): Promise<Verdict> => independentCheck(simReaders(disks), options)

/** Nothing contradicts itself, and every copy is as it should be. */
export async function expectSound(disks: readonly SimulatedDisk[]): Promise<NonNullable<Verdict['pool']>> {
  const { problems, damage, pool } = await checkSim(disks)
  expect({ problems, damage }).toEqual({ problems: [], damage: [] })
  return pool!
}

/** Nothing contradicts itself; copies may be behind. */
export async function expectConsistent(disks: readonly SimulatedDisk[], options?: CheckOptions): Promise<NonNullable<Verdict['pool']>> {
  const { problems, pool } = await checkSim(disks, options)
  expect(problems).toEqual([])
  return pool!
}

/** Bytes that differ from place to place and from tag to tag. */
export function stamped(length: number, tag: number): Buffer {
  const bytes = Buffer.alloc(length)
  const random = new Random(tag)
  const block = Buffer.alloc(Math.min(length, 65536))
  for (let at = 0; at < block.length; at += 4) block.writeUInt32LE(random.u32(), at)
  for (let at = 0; at < length; at += block.length) {
    block.copy(bytes, at)
    bytes.writeUInt32LE(at >>> 9, at)
  }
  return bytes
}

export async function readAll(
  lun: { readonly size: number; read(offset: number, into: Uint8Array): Promise<void> },
  offset = 0,
  length = lun.size,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  await lun.read(offset, bytes)
  return bytes
}

/** Says what a failed case needs to be run again. */
export const withSeed = async (seed: string | number, run: () => Promise<void>): Promise<void> => {
  try {
    await run()
  } catch (error) {
    throw new Error(`case ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

/** Changes bytes behind the back of everybody, as rot and lying disks do. */
export async function overwrite(disk: SimulatedDisk, at: number, bytes: Uint8Array): Promise<void> {
  await disk.writeDurable(at, bytes)
}

export const bytesOf = async (disk: SimulatedDisk, at: number, length: number): Promise<Buffer> => readAll(disk, at, length)
