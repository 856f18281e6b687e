/** One fixed piece of work on a redundant and a striped LUN, run again and again with a fault at another place each time. */
import { expect } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { Fault, SimulatedDisk, SimulatedKind } from '../../src/core/block/simulated.ts'
import { openSim, readAll, stamped, type SimPool } from './sim.ts'

const SIZE = 4 * MIB

/** What the redundant LUN is, the disks it takes, and which of them fail in tests that cannot take all. */
export interface Shape {
  readonly raid: 'raid1' | 'raid5'
  readonly disks: number
  readonly victims: readonly number[]
}

export const shapes: readonly Shape[] = [
  { raid: 'raid1', disks: 4, victims: [0, 3] },
  { raid: 'raid5', disks: 5, victims: [0, 4] },
]

/** What a LUN must hold: bytes are known, or may be any since a write or flush of them failed. */
export class Expected {
  readonly bytes = Buffer.alloc(SIZE)
  private readonly unknown: { at: number; length: number }[] = []

  wrote(at: number, bytes: Buffer): void {
    bytes.copy(this.bytes, at)
  }

  failed(at: number, length: number): void {
    this.unknown.push({ at, length })
  }

  get hasUnknown(): boolean {
    return this.unknown.length > 0
  }

  /** Bytes that must be equal are equal. */
  check(found: Buffer, what: string): void {
    const [want, have] = [Buffer.from(this.bytes), Buffer.from(found)]
    for (const { at, length } of this.unknown) {
      want.fill(0, at, at + length)
      have.fill(0, at, at + length)
    }
    if (want.equals(have)) return
    const at = want.findIndex((byte, i) => byte !== have[i])
    throw new Error(`${what}: byte ${at} is wrong`)
  }
}

export interface WorkResult {
  readonly redundant: Expected
  readonly stripe: Expected
  /** Calls on the redundant LUN that failed: none may while all disks but one work. */
  readonly redundantFailures: unknown[]
  readonly stripeFailures: unknown[]
  readonly adminFailures: unknown[]
}

/** Makes both LUNs in an open pool, with something in them that is flushed. */
export async function prepareWork(open: SimPool, raid: Shape['raid']): Promise<void> {
  for (const [name, type] of [
    ['redundant', raid],
    ['stripe', 'raid0'],
  ] as const) {
    const lun = await open.create(name, type, SIZE)
    await lun.write(0, stamped(MIB, 1))
    await lun.flush()
  }
}

const writes: readonly { at: number; length: number; tag: number }[] = [
  { at: 0, length: 256 * KIB, tag: 2 },
  { at: 128 * KIB, length: 64 * KIB, tag: 3 },
  { at: 2 * MIB, length: MIB, tag: 4 },
  { at: 3 * MIB + 4096, length: 512, tag: 5 },
  { at: 2 * MIB + 512, length: 8 * KIB, tag: 6 },
]

/** Writes, overwrites and flushes both LUNs with a commit and a checkpoint in between. Failures are kept, and what they leave unknown. */
export async function work(open: SimPool): Promise<WorkResult> {
  const result: WorkResult = { redundant: new Expected(), stripe: new Expected(), redundantFailures: [], stripeFailures: [], adminFailures: [] }
  for (const expected of [result.redundant, result.stripe]) expected.wrote(0, stamped(MIB, 1))
  const luns = [
    { lun: open.lun('redundant'), expected: result.redundant, failures: result.redundantFailures },
    { lun: open.lun('stripe'), expected: result.stripe, failures: result.stripeFailures },
  ]
  for (const { at, length, tag } of writes) {
    for (const { lun, expected, failures } of luns) {
      const bytes = stamped(length, tag)
      try {
        await lun.write(at, bytes)
        expected.wrote(at, bytes)
        await lun.flush()
      } catch (error) {
        failures.push(error)
        // Everything since the last flush that succeeded: here that is just this write, whatever came before it in place.
        expected.failed(at, length)
      }
    }
    if (tag === 4) {
      try {
        await open.engine.call('pool.set', { settings: { comment: 'half way' } })
        await open.pool.metadata.checkpoint()
      } catch (error) {
        result.adminFailures.push(error)
      }
    }
  }
  return result
}

/** Runs `plan` for operations of the given kinds, counting only those. */
export function planNth(disk: SimulatedDisk, kinds: readonly SimulatedKind[], fault: (nth: number) => Fault): { count: number } {
  const counter = { count: 0 }
  disk.plan = ({ kind }) => (kinds.includes(kind) ? fault(counter.count++) : undefined)
  return counter
}

export const ioError = (what: string): LunarError => new LunarError('ERR_IO', what)

/** How many operations of these kinds the work has on a disk when nothing fails. */
export async function countWork(make: () => Promise<SimulatedDisk[]>, number: number, kinds: readonly SimulatedKind[]): Promise<number> {
  const disks = await make()
  const open = await openSim(disks)
  const counter = planNth(disks[number]!, kinds, () => undefined)
  const result = await work(open)
  expect([...result.redundantFailures, ...result.stripeFailures, ...result.adminFailures]).toEqual([])
  const { count } = counter
  await open.close()
  return count
}

export async function checkContents(open: SimPool, result: WorkResult, luns: readonly ('redundant' | 'stripe')[] = ['redundant', 'stripe']): Promise<void> {
  for (const name of luns) {
    for (let turn = 0; turn < 2; turn++) result[name].check(await readAll(open.lun(name)), name)
  }
}

/** Power loss of everything: whatever was not flushed is gone. The owner that had the disks is left behind. */
export function powerLoss(disks: readonly SimulatedDisk[]): SimulatedDisk[] {
  for (const disk of disks) {
    disk.dropUnflushed()
    disk.plan = undefined
  }
  return disks.map(disk => disk.clone())
}
