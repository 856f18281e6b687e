/** Crashes at any moment of the life of relationships: every volume holds what a model allows, and updates go on where they were. */
import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash } from '../../../src/core/block/crash-states.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import type { Relationship, UpdateKind } from '../../../src/core/snapshot/relationship.ts'
import type { Volume } from '../../../src/core/snapshot/volume.ts'
import { problems } from '../../support/problems.ts'
import { cacheSome, createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

const SECTOR = 512
const LUN_SIZE = MIB
const SECTORS = LUN_SIZE / SECTOR
const NAMES = ['a', 'b', 'c', 'd']
const CHUNKS = [4 * KIB, 32 * KIB, 128 * KIB]
/** States looked at in each run, over all of its steps. */
const STATES = Number(process.env['STATES'] ?? 90)

/** What the sectors of a volume may hold after a crash: durable values, and the ones that came after the last flush. */
class Expected {
  durable = new Uint32Array(SECTORS)
  now = new Uint32Array(SECTORS)
  /** By sector, what was written since it was last durable. */
  readonly open = new Map<number, Set<number>>()

  copy(): Expected {
    const copy = new Expected()
    copy.durable = this.durable.slice()
    copy.now = this.now.slice()
    for (const [sector, values] of this.open) copy.open.set(sector, new Set(values))
    return copy
  }

  write(from: number, values: readonly number[]): void {
    values.forEach((value, i) => {
      this.now[from + i] = value
      this.mayBe(from + i, value)
    })
  }

  private mayBe(sector: number, value: number): void {
    const values = this.open.get(sector)
    if (values) values.add(value)
    else this.open.set(sector, new Set([value]))
  }

  flushed(): void {
    this.durable = this.now.slice()
    this.open.clear()
  }

  /** The volume may become another one at once, and is it when that was acknowledged. */
  become(other: Uint32Array, acknowledged: boolean): void {
    if (acknowledged) {
      this.now = other.slice()
      this.flushed()
      return
    }
    for (let sector = 0; sector < SECTORS; sector++) if (other[sector] !== this.durable[sector]) this.mayBe(sector, other[sector]!)
  }

  allows(sector: number, value: number): boolean {
    return value === this.durable[sector] || this.open.get(sector)?.has(value) === true
  }
}

/** What a crash between two events of the tape may leave. */
interface Step {
  readonly what: string
  readonly from: number
  readonly to: number
  readonly expected: ReadonlyMap<string, Expected>
  /** Volumes that could be read before the step and after it. */
  readonly readable: ReadonlySet<string>
}

class Life {
  readonly volumes = new Map<string, Expected>(NAMES.map(name => [name, new Expected()]))
  readonly steps: Step[] = []
  private stamp = 1

  constructor(
    readonly random: Random,
    readonly pool: OpenPool,
    private readonly tape: Tape,
  ) {}

  volume(name: string): Volume {
    return this.pool.relationships.volume(this.pool.luns.find(name).number)
  }

  names({ record }: Relationship): { source: string; image: string } {
    return { source: this.pool.luns.byId(record.source)!.name, image: this.pool.luns.byId(record.image)!.name }
  }

  expected(name: string): Expected {
    return this.volumes.get(name)!
  }

  readable(name: string): boolean {
    return isReadable(this.pool, name)
  }

  /** Runs a step whose crash may leave what `during` adds to what was there before. */
  async step(what: string, during: (expected: ReadonlyMap<string, Expected>) => void, run: () => Promise<void>): Promise<void> {
    const expected = new Map([...this.volumes].map(([name, volume]) => [name, volume.copy()]))
    during(expected)
    const readable = new Set(NAMES.filter(name => this.readable(name)))
    const from = this.tape.length
    await run()
    for (const name of readable) if (!this.readable(name)) readable.delete(name)
    this.steps.push({ what, from, to: this.tape.length, expected, readable })
  }

  /** Several writes at once, now and then with a flush of one volume after them, and something beside them. */
  async burst(beside: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    const { random } = this
    const writes = NAMES.filter(name => this.readable(name) && random.chance(0.5)).map(name => {
      const length = random.chance(0.2) ? random.between(1, 300) : random.between(1, 30)
      const from = random.below(SECTORS - length)
      const values = Array.from({ length }, () => this.stamp++)
      return { name, from, values }
    })
    const flushed = random.chance(0.5) ? random.pick(NAMES) : undefined
    await this.step(
      `write ${writes.map(({ name, from, values }) => `${name} ${from}+${values.length}`).join(', ')}${flushed ? `, flush ${flushed}` : ''}`,
      expected => {
        for (const { name, from, values } of writes) expected.get(name)!.write(from, values)
      },
      async () => {
        const running = beside()
        await Promise.all(
          writes.map(({ name, from, values }) => {
            const bytes = Buffer.alloc(values.length * SECTOR)
            values.forEach((value, i) => bytes.writeUInt32LE(value, i * SECTOR))
            return this.volume(name).write(from * SECTOR, bytes)
          }),
        )
        if (flushed) await this.volume(flushed).flush()
        await running
      },
    )
    for (const { name, from, values } of writes) this.expected(name).write(from, values)
    if (flushed) this.expected(flushed).flushed()
  }

  /** A change of relationships after which some volumes are others; `run` says whether there was anything to change. */
  async become(what: string, changes: () => { from: string; to: string }[], run: () => Promise<boolean>, flushed: readonly string[]): Promise<void> {
    const contents = changes().map(({ from, to }) => ({ to, values: this.expected(from).now.slice() }))
    let changed = false
    await this.step(
      what,
      expected => {
        for (const { to, values } of contents) expected.get(to)!.become(values, false)
      },
      async () => void (changed = await run()),
    )
    if (!changed) return
    for (const name of flushed) this.expected(name).flushed()
    for (const { to, values } of contents) this.expected(to).become(values, true)
  }
}

function isReadable({ relationships, luns }: OpenPool, name: string): boolean {
  try {
    relationships.checkOpen(luns.find(name), { mixed: true })
    return !luns.find(name).isIncomplete
  } catch {
    return false
  }
}

async function operate(life: Life): Promise<void> {
  const { random, pool } = life
  const { relationships } = pool
  const relationship = relationships.all.length > 0 ? random.pick(relationships.all) : undefined
  const dice = random.below(100)
  if (dice < 45 || !relationship) return life.burst()
  const { source, image } = life.names(relationship)
  if (dice < 62) {
    if (relationship.isEnabled && random.chance(0.6)) return life.burst()
    const fresh = !relationship.isUsed || random.chance(0.5)
    const lost = relationship.isUsed && !fresh && (await relationships.lostRanges(relationship)).length > 0
    if (lost) return
    return life.become(
      `enable ${source}>${image}${fresh ? ' anew' : ''}`,
      () => (fresh ? [{ from: source, to: image }] : []),
      async () => (await relationships.enable([relationship], { fresh, forceLostPart: false, forceMixed: true })).some(({ changed }) => changed),
      [source, image],
    )
  }
  if (dice < 68)
    return life.become(
      `disable ${source}>${image}`,
      () => [],
      async () => (await relationships.disable([relationship])).some(({ changed }) => changed),
      [source, image],
    )
  if (dice < 80) {
    await life.step(
      `start complete ${source}>${image}`,
      () => undefined,
      async () => void (await relationships.startComplete(relationship)),
    )
    return finish(life, relationship, 'completeImage', random.chance(0.5))
  }
  const kind: UpdateKind = random.chance(0.5) ? 'imageUpdate' : 'sourceUpdate'
  const [from, to] = kind === 'imageUpdate' ? [source, image] : [image, source]
  await life.become(
    `${kind} ${source}>${image}`,
    () => [{ from, to }],
    () => relationships.startUpdate(relationship, kind),
    [source, image],
  )
  await finish(life, relationship, kind, true)
}

/** Runs a process to its end, with writes beside it. */
async function finish(life: Life, relationship: Relationship, kind: UpdateKind | 'completeImage', toTheEnd: boolean): Promise<void> {
  const body = await life.pool.relationships.process(relationship, kind)
  for (let i = 0; body && (toTheEnd || i < 1); i++) {
    let finished = false
    await life.burst(async () => void ({ finished } = await body.step()))
    if (finished) return
  }
  if (body && kind === 'completeImage')
    await life.step(
      'stop complete',
      () => undefined,
      async () => void (await life.pool.relationships.stopComplete(relationship)),
    )
}

async function check(pool: OpenPool, step: Step): Promise<void> {
  const found = await problems(pool.pool)
  if (found.length > 0) throw new Error(found.join('; '))
  for (const name of NAMES) {
    if (!isReadable(pool, name)) {
      if (step.readable.has(name)) throw new Error(`LUN ${name} cannot be opened`)
      continue
    }
    const bytes = Buffer.alloc(LUN_SIZE)
    await pool.relationships.volume(pool.luns.find(name).number).read(0, bytes)
    const expected = step.expected.get(name)!
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = bytes.readUInt32LE(sector * SECTOR)
      if (!expected.allows(sector, value))
        throw new Error(
          `sector ${sector} of LUN ${name} has ${value}, allowed: ${[expected.durable[sector], ...(expected.open.get(sector) ?? [])].join(', ')}; ${pool.relationships.all.map(one => `${one.label} ${one.state}`).join(', ')}`,
        )
    }
  }
}

/** Opens a state, looks at it, runs what was interrupted to its end, and looks again. */
async function inspect(disks: Parameters<typeof openSimulated>[0], step: Step, deep: boolean): Promise<void> {
  const pool = await openSimulated(disks)
  await check(pool, step)
  for (const relationship of pool.relationships.all) {
    for (const kind of ['completeImage', 'imageUpdate', 'sourceUpdate'] as const) {
      const body = await pool.relationships.process(relationship, kind)
      while (body && !(await body.step()).finished);
    }
  }
  await check(pool, step)
  while (await pool.relationships.tidy());
  await check(pool, step)
  await pool.pool.close()
  if (!deep) return
  const again = await openSimulated(disks)
  await check(again, step)
  await again.pool.close()
}

async function live(seed: number): Promise<number> {
  const random = new Random(seed)
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const first = await openSimulated(disks)
  for (const name of NAMES) await first.luns.create({ name, size: LUN_SIZE, raid: random.chance(0.5) ? 'raid0' : 'raid1', reserve: false })
  await cacheSome(first.luns, seed)
  const pairs = random.pick([
    ['ab', 'ac', 'ad'],
    ['ab', 'bc', 'cd'],
    ['ab', 'bc', 'ad'],
  ])
  for (const pair of pairs) await first.relationships.configure({ source: pair[0]!, image: pair[1]!, chunkBytes: random.pick(CHUNKS) })
  await first.pool.close()
  const tape = new Tape(disks)
  const pool = await openSimulated(disks)
  const life = new Life(random, pool, tape)
  const begun = tape.length
  for (let i = 0; i < 30; i++) {
    try {
      await operate(life)
    } catch (error) {
      if (!(error instanceof LunarError && ['ERR_RELATIONSHIP_STATE', 'ERR_IN_RELATIONSHIP', 'ERR_IMAGE_INCOMPLETE'].includes(error.code))) throw error
    }
  }
  tape.stop()
  const cuts = Array.from({ length: STATES }, () => random.between(begun, tape.length)).sort((x, y) => x - y)
  const explorer = new CrashExplorer(tape)
  const seen = new Set<number>()
  for (const cut of cuts) {
    explorer.at(cut)
    const state = explorer.state(random)
    if (seen.has(state.hash)) continue
    seen.add(state.hash)
    // Between two steps either is right.
    const within = life.steps.filter(({ from, to }) => from <= cut && cut <= to)
    if (within.length === 0) continue
    const step = merged(within)
    try {
      await inspect(state.disks, step, random.chance(0.1))
    } catch (error) {
      const log = life.steps.map(({ what, from, to }) => `${from}-${to} ${what}`)
      throw new Error(
        `seed ${seed}, cut ${cut} in ${step.what}: ${error instanceof Error ? error.message : String(error)}\n${describeCrash(state).slice(0, 1500)}\n${log.join('\n')}`,
        { cause: error },
      )
    }
  }
  return seen.size
}

/** What any of several steps allows. */
function merged(steps: readonly Step[]): Step {
  const [first, ...rest] = steps
  const expected = new Map([...first!.expected].map(([name, one]) => [name, one.copy()]))
  for (const step of rest) {
    for (const [name, other] of step.expected) {
      const mine = expected.get(name)!
      for (let sector = 0; sector < SECTORS; sector++) {
        for (const value of [other.durable[sector]!, ...(other.open.get(sector) ?? [])]) if (!mine.allows(sector, value)) mine.write(sector, [value])
      }
    }
  }
  return {
    ...first!,
    what: steps.map(({ what }) => what).join(' | '),
    expected,
    readable: new Set([...first!.readable].filter(name => rest.every(step => step.readable.has(name)))),
  }
}

const from = Number(process.env['SEED'] ?? 1)
const seeds = Number(process.env['SEEDS'] ?? 6)
for (let seed = from; seed < from + seeds; seed++) {
  test(`seed ${seed}`, { timeout: 120_000 }, async () => {
    expect(await live(seed)).toBeGreaterThan(STATES / 4)
  })
}
