/** Crashes of a LUN with a write-back cache: each sector is as the last completed flush had it, or as something written since. */
import { expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash } from '../../../src/core/block/crash-states.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import type { Redundancy } from '../../../src/core/raid/geometry.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'
import { problems } from '../../support/problems.ts'

const SECTOR = 512
const SIZE = 4 * MIB
const SECTORS = SIZE / SECTOR
const STATES = Number(process.env['STATES'] ?? 25)

/** What each sector may hold after a crash, and holds now. */
class Expected {
  constructor(
    readonly durable: Uint32Array = new Uint32Array(SECTORS),
    readonly since: Map<number, number[]> = new Map<number, number[]>(),
  ) {}

  copy(): Expected {
    return new Expected(this.durable.slice(), new Map([...this.since].map(([sector, values]) => [sector, [...values]])))
  }
  add(sector: number, value: number): void {
    const values = this.since.get(sector)
    if (values) values.push(value)
    else this.since.set(sector, [value])
  }
  allows(sector: number, value: number): boolean {
    return this.durable[sector] === value || this.since.get(sector)?.includes(value) === true
  }
}

interface Step {
  readonly what: string
  readonly from: number
  readonly to: number
  /** What a crash during the step may leave. */
  readonly expected: Expected
}

interface Change {
  readonly what: string
  readonly from: number
  readonly count: number
  /** Of each sector. */
  readonly values: readonly number[]
  run(lun: Lun): Promise<unknown>
}

class Life {
  readonly steps: Step[] = []
  private expected = new Expected()
  private readonly now = new Uint32Array(SECTORS)
  private stamp = 1

  constructor(
    private readonly random: Random,
    private readonly lun: Lun,
    private readonly tape: Tape,
  ) {}

  private change(): Change {
    const { random } = this
    const dice = random.below(100)
    const count = random.pick([1, 4, 8, 8, 16, 100, dice < 20 ? 700 : 40])
    const from = random.below(SECTORS - count)
    if (dice < 80) {
      const values = Array.from({ length: count }, () => this.stamp++)
      const bytes = Buffer.alloc(count * SECTOR)
      values.forEach((value, i) => bytes.writeUInt32LE(value, i * SECTOR))
      return { what: `write ${from}+${count}`, from, count, values, run: lun => lun.cache!.write(from * SECTOR, bytes) }
    }
    // A trim is of what it likes: whole slices of 1 MiB here.
    const whole = dice < 90 ? { from, count } : { from: 2048 * random.below(3), count: 2048 }
    const values = new Array<number>(whole.count).fill(0)
    const range = [whole.from * SECTOR, whole.count * SECTOR] as const
    if (dice < 95) return { what: `zero ${whole.from}+${whole.count}`, ...whole, values, run: lun => lun.cache!.zero(...range) }
    if (dice < 98) return { what: `trim ${whole.from}+${whole.count}`, ...whole, values, run: lun => lun.cache!.trim(...range) }
    return { what: `unbind ${whole.from}+${whole.count}`, ...whole, values, run: lun => lun.unbind(whole.from / 2048, whole.from / 2048 + 1) }
  }

  /** Several changes at once, and beside them a flush or a write-back, which may cover some of them. */
  async burst(): Promise<void> {
    const { random, lun, tape } = this
    const changes = Array.from({ length: random.between(1, 6) }, () => this.change())
    const beside = random.pick(['', '', 'flush', 'write back'] as const)
    const before = this.now.slice()
    for (const { from, values } of changes)
      values.forEach((value, i) => {
        this.expected.add(from + i, value)
      })
    const from = tape.length
    const during = this.expected.copy()
    const running = changes.map(({ run }) => run(lun))
    if (beside === 'flush') running.push(lun.cache!.flush())
    if (beside === 'write back') running.push(lun.cache!.drain())
    await Promise.all(running)
    this.steps.push({ what: `${changes.map(({ what }) => what).join(', ')} ${beside}`, from, to: tape.length, expected: during })
    await this.look(changes)
    if (beside === 'flush') this.flushed(before, changes)
    if (random.chance(0.3)) await this.flush()
  }

  private async flush(): Promise<void> {
    const from = this.tape.length
    const expected = this.expected.copy()
    await this.lun.cache!.flush()
    this.steps.push({ what: 'flush', from, to: this.tape.length, expected })
    this.flushed(this.now, [])
  }

  /** @param beside changes that were under way when the flush began */
  private flushed(values: Uint32Array, beside: readonly Change[]): void {
    this.expected = new Expected(values.slice())
    for (const { from, values } of beside)
      values.forEach((value, i) => {
        this.expected.add(from + i, value)
      })
  }

  /** Changes at the same time end in any order: what there is now is one of their values. */
  private async look(changes: readonly Change[]): Promise<void> {
    const found = Buffer.alloc(SIZE)
    await this.lun.cache!.read(0, found)
    const may = new Map<number, number[]>()
    for (const { from, values } of changes)
      values.forEach((value, i) => {
        may.set(from + i, [...(may.get(from + i) ?? []), value])
      })
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = found.readUInt32LE(sector * SECTOR)
      const allowed = may.get(sector) ?? [this.now[sector]!]
      if (!allowed.includes(value)) throw new Error(`sector ${sector} reads ${value}, not ${allowed.join(' or ')}`)
      this.now[sector] = value
    }
  }
}

async function live(seed: number, raid: Redundancy): Promise<number> {
  const random = new Random(seed)
  const disks = simulatedDisks(5)
  await createSimulated(disks)
  const first = await openSimulated(disks)
  const made = await first.luns.create({ name: 'a', size: SIZE, raid, reserve: false })
  await first.luns.set(made, { cacheBytes: MIB }, 'cache=1MiB')
  await first.pool.close()
  const tape = new Tape(disks)
  const { luns } = await openSimulated(disks)
  const begun = tape.length
  const life = new Life(random, luns.find('a'), tape)
  for (let i = 0; i < 40; i++) await life.burst()
  tape.stop()
  const explorer = new CrashExplorer(tape)
  const seen = new Set<number>()
  for (const cut of Array.from({ length: STATES }, () => random.between(begun, tape.length)).sort((x, y) => x - y)) {
    const state = explorer.at(cut).state(random)
    const steps = life.steps.filter(({ from, to }) => from <= cut && cut <= to)
    if (seen.has(state.hash) || steps.length === 0) continue
    seen.add(state.hash)
    const { pool, luns } = await openSimulated(state.disks)
    const found = Buffer.alloc(SIZE)
    await luns.find('a').read(0, found)
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = found.readUInt32LE(sector * SECTOR)
      if (!steps.some(({ expected }) => expected.allows(sector, value)))
        throw new Error(`cut ${cut} in ${steps.map(({ what }) => what).join(' | ')}: sector ${sector} has ${value}\n${describeCrash(state).slice(0, 1000)}`)
    }
    expect(await problems(pool)).toEqual([])
    await pool.close()
  }
  return seen.size
}

const from = Number(process.env['SEED'] ?? 1)
const seeds = Number(process.env['SEEDS'] ?? 3)
for (let seed = from; seed < from + seeds; seed++) {
  const raid = (['raid0', 'raid1', 'raid5'] as const)[seed % 3]!
  test(`seed ${seed}: ${raid}`, { timeout: 60_000 }, async () => {
    expect(await live(seed, raid)).toBeGreaterThan(STATES / 3)
  })
}
