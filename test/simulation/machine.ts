/** Simulated disks with a pool on them, and how its engine is opened. */
import { LunarError } from '../../src/core/base/errors.ts'
import { Random } from '../../src/core/base/random.ts'
import { MIB, SECTOR } from '../../src/core/base/units.ts'
import { seededUuids, type UuidSource } from '../../src/core/base/uuid.ts'
import type { Scheduler } from '../../src/core/block/simulated.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { PAGE, SparsePages, zeroPage } from '../../src/core/block/sparse-pages.ts'
import { createPoolOn } from '../../src/core/pool/format.ts'
import { LocalEngine, type EngineParts } from '../../src/core/server/engine.ts'
import type { DiskOpener, FoundDisk } from '../../src/core/server/engine-types.ts'
import { readLabel } from '../../src/metadata/label.ts'
import { BLOCK, JOURNAL_AT, JOURNAL_SMALL, journalStreams, ROOT_COUNT, ROOTS_AT } from '../../src/metadata/layout.ts'
import { decodeRoot, encodeRoot, rootAddress } from '../../src/metadata/root.ts'
import { SteppedClock } from './clock.ts'
import { FOREIGN, stampedData } from './stamps.ts'

const DISK_SIZE = 64 * MIB
const WITNESS_SIZE = 32 * MIB

export interface Sources {
  readonly clock: SteppedClock
  readonly uuids: UuidSource
}

export const newSources = (seed: number): Sources => {
  const random = new Random(seed)
  return { clock: new SteppedClock(), uuids: seededUuids(() => random.u32()) }
}

/** How a machine is built; all of it follows from a seed. */
export interface Shape {
  /** Disks of the pool that hold data, 2 to 6. */
  readonly disks: number
  readonly witness: boolean
  /** Disks were used before: their segments must be cleaned first. */
  readonly used: boolean
  /** The journal's streams and the ring of roots are about to come round. */
  readonly late: boolean
  /** LUNs are put into relationships. */
  readonly related: boolean
  /** Hosts run out of room more often than disks fail. */
  readonly tight: boolean
  /** Snapshots are taken of LUNs. */
  readonly snapped: boolean
}

export const shapeOf = (random: Random, seed: number): Shape => {
  const shape = { disks: random.between(2, 6), witness: random.chance(0.35), used: random.chance(0.15), late: random.chance(0.5) }
  const related = random.chance(0.7)
  // Decided beside the rest, so that lives without snapshots are what they were before there were any.
  return { ...shape, related, tight: related && random.chance(0.3), snapped: related && new Random(seed + 0x5a5a).chance(0.45) }
}

/** A disk's name says whether it is a witness, and whether it was used before. */
const isWitness = (name: string): boolean => name.startsWith('witness')
export const wasUsed = (name: string): boolean => name.endsWith('used')

/** A pool as a command makes it, on disks whose zeros take no memory; two more disks that belong to nobody. */
export async function makePool(seed: number, shape: Shape): Promise<SparsePages[]> {
  const { clock, uuids } = newSources(seed)
  const names = diskNames(shape)
  const own = names.slice(0, -2)
  const disks = own.map(name => blankDisk(name))
  await createPoolOn(
    disks.map(disk => ({ disk, blank: !wasUsed(disk.name), witness: isWitness(disk.name) })),
    'tank',
    clock,
    uuids,
  )
  if (shape.late) for (const disk of disks) await makeLate(disk, new Random(seed))
  return [...disks.map(disk => sparse(disk)), ...names.slice(-2).map(name => blankDisk(name).snapshot())]
}

export function diskNames(shape: Shape): string[] {
  const own = Array.from({ length: shape.disks }, (_, i) => `disk${i}${shape.used ? '-used' : ''}`)
  return [...own, ...(shape.witness ? ['witness'] : []), 'spare0', 'spare1-used']
}

function blankDisk(name: string): SimulatedDisk {
  const size = isWitness(name) ? WITNESS_SIZE : DISK_SIZE
  if (!wasUsed(name)) return new SimulatedDisk(size, { name })
  const pages = new SparsePages(size)
  // Something in each 64 KiB of the part that will hold segments.
  for (let at = 16 * MIB; at < size - MIB; at += 64 * 1024) pages.write(at, stampedData(FOREIGN, at / SECTOR, at / SECTOR + 1, 1))
  return new SimulatedDisk(size, { name, contents: pages })
}

/** The same contents with holes where there were pages of zeros. */
function sparse(disk: SimulatedDisk): SparsePages {
  const from = disk.snapshot()
  const to = new SparsePages(disk.size)
  for (let index = 0; index * PAGE < disk.size; index++) {
    const page = from.page(index)
    if (page && Buffer.compare(page, zeroPage) !== 0) to.write(index * PAGE, page)
  }
  return to
}

/** Moves a fresh pool's only root to the end of the ring, and the heads of its journal near the ends of their streams. */
async function makeLate(disk: SimulatedDisk, random: Random): Promise<void> {
  const report = await readLabel(disk)
  if (report.kind !== 'label') throw new Error(`${disk.name} has no label`)
  const block = new Uint8Array(BLOCK)
  await disk.read(rootAddress(0), block)
  const root = decodeRoot(block, rootAddress(0), report.label.poolId, report.label.diskId)
  if (!root) return
  const streams = journalStreams(JOURNAL_SMALL)
  const number = 10 * ROOT_COUNT - random.between(1, 6)
  const late = { ...root, number, adminStart: streams.admin.to - random.between(0, 20) * BLOCK, dataStart: streams.data.to - random.between(0, 40) * BLOCK }
  await disk.write(ROOTS_AT, new Uint8Array(BLOCK))
  await disk.write(rootAddress(number), encodeRoot(late, report.label.diskId))
  await disk.write(JOURNAL_AT, new Uint8Array(BLOCK))
  await disk.flush()
}

export const disksFrom = (
  contents: readonly SparsePages[],
  names: readonly string[],
  options: { readonly scheduler?: Scheduler; readonly atOnce?: () => boolean; readonly steady?: boolean } = {},
): SimulatedDisk[] => contents.map((pages, i) => new SimulatedDisk(pages.size, { name: names[i]!, contents: pages, ...options }))

/** The disks of the pool among these, with their labels; a disk without one belongs to nobody. */
export async function labelled(disks: readonly SimulatedDisk[]): Promise<FoundDisk[]> {
  const found: FoundDisk[] = []
  for (const disk of disks) {
    const report = await readLabel(disk)
    if (report.kind === 'label') found.push({ disk, label: report.label })
    else if (report.kind === 'truncated' || report.kind === 'newer') throw new Error(`${disk.name}: ${report.kind}`)
  }
  return found
}

export interface Running {
  readonly engine: LocalEngine
  readonly parts: EngineParts
}

/** Opens the pool on these disks; `all` are those that it may find or be given later. */
export async function openPool(
  disks: readonly SimulatedDisk[],
  sources: Sources,
  options: { all?: readonly SimulatedDisk[]; view?: boolean } = {},
): Promise<Running> {
  const all = options.all ?? disks
  const opener: DiskOpener = {
    requireDistinct: () => Promise.resolve(),
    create: spec => {
      const disk = all.find(({ name }) => name === spec.path)
      return disk ? Promise.resolve({ disk, blank: !wasUsed(disk.name) }) : Promise.reject(new LunarError('ERR_DISK_NOT_FOUND', `Cannot open ${spec.path}`))
    },
    find: async diskId => (await labelled(all)).find(({ label }) => label.diskId === diskId),
    release: () => Promise.resolve(),
    remember: () => Promise.resolve(),
  }
  const engine = await LocalEngine.open(await labelled(disks), { mode: options.view ? 'view' : 'owner', opener, command: 'simulation', missing: [] }, sources)
  return { engine, parts: (engine as unknown as { parts: EngineParts }).parts }
}

const immediate = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Lets `turns` completions of disks happen. */
export async function pass(turns: number): Promise<void> {
  for (let i = 0; i < turns; i++) await immediate()
}

/** Waits for `work`, and fails when for long nothing moves on any disk and it still has not ended. */
export async function finish<T>(work: Promise<T>, progress: () => number, what: () => string): Promise<T> {
  let ended = false
  const end = (): void => {
    ended = true
  }
  work.then(end, end)
  let last = progress()
  for (let idle = 0; !ended; idle++) {
    await immediate()
    const now = progress()
    if (now !== last) idle = 0
    last = now
    if (idle > 1000) throw new Error(`stuck: ${what()}`)
  }
  return work
}

/** A number that grows with everything that happens on the disks. */
export const activity = (disks: readonly SimulatedDisk[]): number =>
  disks.reduce(
    (sum, { counters }) =>
      sum + counters.reads + counters.writes + counters.durables + counters.flushes + counters.punches + counters.zeros + counters.reserves,
    0,
  )
