/**
 * F22, the write hole: a crash at any point of writes to a parity store, then any one disk lost. Sectors that nobody wrote read back exactly, those
 * that were being written hold what they held or what they were given. Then the disk comes back, and every other one is lost in turn.
 */
import { expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { CrashExplorer, describeCrash } from '../../src/core/block/crash-states.ts'
import { Scheduler, type SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Tape } from '../../src/core/block/tape.ts'
import type { Lun } from '../../src/core/lun/lun.ts'
import { ROW } from '../../src/core/raid/geometry.ts'
import { createSimulated, openSimulated, resync, simulatedDisks } from '../support/simulated-pool.ts'

const SECTOR = 512
const SIZE = 3 * MIB
const SECTORS = SIZE / SECTOR
/** States looked at, over all lives. */
const STATES = Number(process.env['STATES'] ?? 60)
const LIVES = 4

/** What the sectors of the LUN may hold after a crash. */
class Expected {
  durable = new Uint32Array(SECTORS)
  readonly open = new Map<number, Set<number>>()
  /** Sectors in rows that are written as a whole: without a disk they may be neither old nor new. */
  readonly whole = new Set<number>()

  copy(): Expected {
    const copy = new Expected()
    copy.durable = this.durable.slice()
    for (const [sector, values] of this.open) copy.open.set(sector, new Set(values))
    for (const sector of this.whole) copy.whole.add(sector)
    return copy
  }

  write(from: number, values: readonly number[]): void {
    values.forEach((value, i) => {
      const sector = from + i
      const row = Math.floor((sector * SECTOR) / ROW)
      if (from * SECTOR <= row * ROW && (row + 1) * ROW <= (from + values.length) * SECTOR) this.whole.add(sector)
      const found = this.open.get(sector)
      if (found) found.add(value)
      else this.open.set(sector, new Set([value]))
    })
  }

  flushed(now: Uint32Array): void {
    this.durable = now.slice()
    this.open.clear()
    this.whole.clear()
  }
}

interface Step {
  readonly what: string
  readonly from: number
  readonly to: number
  readonly expected: Expected
}

async function live(seed: number, lost: number | undefined): Promise<{ tape: Tape; steps: Step[] }> {
  const random = new Random(seed)
  const disks = simulatedDisks(5)
  await createSimulated(disks)
  const made = await openSimulated(disks)
  const { luns } = made
  const first = await luns.create({ name: 'a', size: SIZE, raid: 'raid5', reserve: false })
  await first.write(0, new Uint8Array(SIZE))
  await first.flush()
  if (lost !== undefined) await made.pool.failDisk(made.pool.disk(lost), new LunarError('ERR_IO', 'gone'))
  await made.pool.close()
  const { pool, luns: again } = await openSimulated(disks)
  const lun = again.find('a')
  const tape = new Tape(disks)
  const scheduler = new Scheduler(random)
  for (const disk of disks) disk.scheduler = scheduler
  const expected = new Expected()
  const now = new Uint32Array(SECTORS)
  const steps: Step[] = []
  let stamp = 1
  for (let i = 0; i < 12; i++) {
    const writes = Array.from({ length: random.between(1, 5) }, () => {
      const row = random.below(SIZE / ROW)
      const whole = random.chance(0.25)
      const from = whole ? (row * ROW) / SECTOR : Math.min(SECTORS - 1, (row * ROW) / SECTOR + random.below(ROW / SECTOR))
      const length = Math.min(
        SECTORS - from,
        whole ? (ROW / SECTOR) * random.between(1, 3) : random.chance(0.3) ? random.between(1, 700) : random.between(1, 20),
      )
      return { from, values: Array.from({ length }, () => stamp++) }
    })
    const flush = random.chance(0.4)
    const before = expected.copy()
    for (const { from, values } of writes) before.write(from, values)
    const begin = tape.length
    // What overlaps is written in order, so that the last of it is known.
    await Promise.all(
      writes.map(({ from, values }) => {
        const bytes = Buffer.alloc(values.length * SECTOR)
        values.forEach((value, at) => {
          bytes.writeUInt32LE(value, at * SECTOR)
        })
        return lun.write(from * SECTOR, bytes)
      }),
    )
    for (const { from, values } of writes) expected.write(from, values)
    if (flush) {
      await lun.flush()
      now.set(await stampsOf(lun))
    }
    steps.push({
      what: `step ${i} of life ${seed}, disk ${String(lost)} away: ${writes.map(({ from, values }) => `${from}+${values.length}`).join(', ')}`,
      from: begin,
      to: tape.length,
      expected: before,
    })
    if (flush) expected.flushed(now)
  }
  await lun.drain()
  await pool.close()
  return { tape, steps }
}

async function stampsOf(lun: Lun): Promise<Uint32Array> {
  const bytes = Buffer.alloc(SIZE)
  await lun.read(0, bytes)
  return Uint32Array.from({ length: SECTORS }, (_, sector) => bytes.readUInt32LE(sector * SECTOR))
}

function check(stamps: Uint32Array, expected: Expected, degraded: boolean): void {
  for (let sector = 0; sector < SECTORS; sector++) {
    const value = stamps[sector]!
    if (value === expected.durable[sector] || expected.open.get(sector)?.has(value) === true) continue
    if (degraded && expected.whole.has(sector)) continue
    throw new Error(`sector ${sector} holds ${value}, not ${[expected.durable[sector], ...(expected.open.get(sector) ?? [])].join(' or ')}`)
  }
}

async function look(disks: readonly SimulatedDisk[], lost: number | undefined, away: number | undefined, expected: Expected, random: Random): Promise<void> {
  const missing = lost ?? away
  const there = disks.filter((_, i) => i !== away)
  const opened = await openSimulated(there)
  const lun = opened.luns.find('a')
  const first = await stampsOf(lun)
  check(first, expected, missing !== undefined)
  // Something is written on, so that the one that is away misses it.
  const at = random.below(SECTORS - 40)
  const bytes = Buffer.alloc(40 * SECTOR)
  for (let i = 0; i < 40; i++) first[at + i] = 0xffff_0000 + i
  for (let i = 0; i < 40; i++) bytes.writeUInt32LE(0xffff_0000 + i, i * SECTOR)
  await lun.write(at * SECTOR, bytes)
  await lun.flush()
  expect(await stampsOf(lun)).toEqual(first)
  // It is closed, or its process is killed: then what the one that is away has logged is older than what was written without it.
  const killed = random.chance(0.5)
  const left = killed ? disks.map(disk => disk.clone()) : disks
  if (!killed) await opened.pool.close()

  const { pool, luns } = await openSimulated(left)
  const back = luns.find('a')
  if (lost !== undefined) await pool.online(pool.disk(lost), undefined)
  expect(await stampsOf(back)).toEqual(first)
  await resync(pool)
  for (const disk of pool.disks.values()) expect(disk.state).toBe('normal')
  for (const victim of random.shuffle([0, 1, 2, 3, 4]).slice(0, 2)) {
    await pool.failDisk(pool.disk(victim), new LunarError('ERR_IO', 'gone'))
    expect(await stampsOf(back)).toEqual(first)
    await pool.online(pool.disk(victim), undefined)
    await resync(pool)
  }
  await pool.close()
}

test.each(Array.from({ length: LIVES }, (_, life) => [life]))('a crash, and any one disk lost: life %i', { timeout: 120_000 }, async life => {
  const random = new Random(1000 + life)
  const lost = life % 2 === 1 ? random.below(5) : undefined
  const { tape, steps } = await live(life, lost)
  const explorer = new CrashExplorer(tape)
  const cuts = Array.from({ length: STATES / LIVES }, () => {
    const step = random.pick(steps)
    return { step, cut: random.between(step.from, step.to) }
  }).sort((a, b) => a.cut - b.cut)
  for (const { step, cut } of cuts) {
    const state = explorer.at(cut).state(random)
    const away = lost === undefined && random.chance(0.8) ? random.below(5) : undefined
    try {
      await look(state.disks, lost, away, step.expected, random)
    } catch (error) {
      throw new Error(`${step.what}\n${describeCrash(state)}\nwithout disk ${String(away)}`, { cause: error })
    }
  }
})
