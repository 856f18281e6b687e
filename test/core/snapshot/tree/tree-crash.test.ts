/** Crashes at any moment of the life of snapshots: every volume holds what a model allows, and what was deleted is given back. */
import { expect, test } from 'vitest'
import { Random } from '../../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash } from '../../../../src/core/block/crash-states.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import { Tape } from '../../../../src/core/block/tape.ts'
import type { CompleteImage, Update } from '../../../../src/core/snapshot/updates.ts'
import type { Relationship } from '../../../../src/core/snapshot/relationship.ts'
import type { RestoreProcess } from '../../../../src/core/snapshot/tree/restore-process.ts'
import type { Tree } from '../../../../src/core/snapshot/tree/tree.ts'
import { problems } from '../../../support/problems.ts'
import { cacheSome, createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

const SECTOR = 512
const SIZE = MIB
const SECTORS = SIZE / SECTOR
/** States looked at in each run, over all of its steps. */
const STATES = Number(process.env['STATES'] ?? 60)

/** What the sectors of a volume may hold after a crash: durable values, and those that were written since the last flush. */
class Expected {
  constructor(
    public durable = new Uint32Array(SECTORS),
    public now = new Uint32Array(SECTORS),
    readonly open = new Map<number, Set<number>>(),
  ) {}

  copy(): Expected {
    return new Expected(this.durable.slice(), this.now.slice(), new Map([...this.open].map(([sector, values]) => [sector, new Set(values)])))
  }

  write(from: number, values: readonly number[]): void {
    values.forEach((value, i) => {
      this.now[from + i] = value
      this.open.set(from + i, (this.open.get(from + i) ?? new Set()).add(value))
    })
  }

  flushed(): void {
    this.durable = this.now.slice()
    this.open.clear()
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
  /** Volumes that must be there. */
  readonly present: ReadonlySet<string>
}

const deviceOf = ({ trees, relationships, luns }: OpenPool, name: string): BlockDevice | undefined => {
  if (!name.includes('@')) {
    const lun = luns.all.find(one => one.name === name)
    // A clone that a crash cut off says so.
    return lun && !lun.isIncomplete ? relationships.volume(lun.number) : undefined
  }
  const snapshot = trees.list().find(one => one.name === name)
  return snapshot && trees.volume(snapshot)
}

class Life {
  readonly volumes = new Map<string, Expected>()
  readonly steps: Step[] = []
  private readonly copiers = new Map<string, RestoreProcess | CompleteImage>()
  private updater: CompleteImage | Update | undefined
  private stamp = 1

  constructor(
    readonly random: Random,
    readonly pool: OpenPool,
    private readonly tape: Tape,
  ) {}

  async step(what: string, during: Map<string, Expected>, run: () => Promise<unknown>): Promise<void> {
    const before = new Set(this.volumes.keys())
    const from = this.tape.length
    await run()
    const present = new Set([...before].filter(name => deviceOf(this.pool, name)))
    this.steps.push({ what, from, to: this.tape.length, expected: during, present })
  }

  private copies(): Map<string, Expected> {
    return new Map([...this.volumes].map(([name, one]) => [name, one.copy()]))
  }

  private isWritable(name: string): boolean {
    return !name.includes('@') || this.pool.trees.find(name).isWritable
  }

  async operate(counter: number): Promise<void> {
    const { random, volumes } = this
    const { trees } = this.pool
    const dice = random.below(100)
    const snapshots = [...volumes.keys()].filter(name => name.includes('@'))
    const writable = [...volumes.keys()].filter(name => this.isWritable(name))
    if (dice < 25 && snapshots.length < 8) {
      const sources = random.shuffle(writable).slice(0, random.chance(0.3) ? 2 : 1)
      const names = sources.map(name => `${name}@s${counter}`)
      const during = this.copies()
      sources.forEach((source, i) => during.set(names[i]!, new Expected(volumes.get(source)!.now.slice(), volumes.get(source)!.now.slice())))
      await this.step(`create ${names.join()}`, during, () => trees.create({ names, readOnly: random.chance(0.3) }))
      sources.forEach((source, i) => {
        volumes.get(source)!.flushed()
        volumes.set(names[i]!, during.get(names[i]!)!.copy())
      })
    } else if (dice < 37 && snapshots.length > 0) {
      const names = random.shuffle(snapshots).slice(0, random.between(1, 2))
      const during = this.copies()
      await this.step(`delete ${names.join()}`, during, () => trees.delete(names.map(name => trees.find(name))))
      for (const name of names) volumes.delete(name)
    } else if (dice < 47) {
      await this.step('tidy', this.copies(), () => trees.tidy())
    } else if (dice < 53) {
      await this.restore(snapshots)
    } else if (dice < 56) {
      await this.clone(`k${counter}`)
    } else if (dice < 66) {
      await this.copyBack()
    } else if (dice < 72) {
      await this.update()
    } else await this.burst(writable)
  }

  private treeOf(name: string): Tree | undefined {
    const { trees, luns } = this.pool
    return name.includes('@') ? trees.volume(trees.find(name)).tree : trees.treeOf(luns.find(name))
  }

  private restoring(name: string): string | undefined {
    return this.treeOf(name)?.restoring?.snapshot.name
  }

  private async restore(snapshots: readonly string[]): Promise<void> {
    const { random, volumes, pool } = this
    const sourceOf = (name: string): string => name.slice(0, name.lastIndexOf('@'))
    // What is itself being restored, or restored to, waits.
    const updating = this.pool.relationships.all[0]!.update !== undefined
    const some = snapshots.filter(name => {
      if (updating && ['a', 'b'].includes(sourceOf(name))) return false
      const source = sourceOf(name)
      if (!volumes.has(source) || this.restoring(source) !== undefined || this.restoring(name) !== undefined) return false
      return !source.includes('@') || pool.trees.find(source).tree.restoring?.snapshot !== pool.trees.find(source)
    })
    if (some.length === 0) return
    const names = [random.pick(some)]
    const other = some.find(name => name.split('@')[0] !== names[0]!.split('@')[0])
    if (other !== undefined && random.chance(0.3)) names.push(other)
    const luns = names.map(sourceOf)
    const during = this.copies()
    for (const [i, name] of names.entries()) {
      const { before } = (await pool.trees.restores.restore({ names: [name], dryRun: true }))[0]!
      during.get(luns[i]!)!.write(0, [...volumes.get(name)!.now])
      during.set(before, new Expected(volumes.get(luns[i]!)!.now.slice(), volumes.get(luns[i]!)!.now.slice()))
    }
    await this.step(`restore ${names.join()}`, during, async () => {
      for (const { snapshot, volume, before } of await pool.trees.restores.restore({ names })) {
        volumes.set(before, during.get(before)!.copy())
        volumes.get(snapshot.name)!.flushed()
        volumes.set(volume, volumes.get(snapshot.name)!.copy())
      }
    })
  }

  /** An update of a or b begins, or goes some steps on. */
  private async update(): Promise<void> {
    const { random, volumes, pool } = this
    const relationship = pool.relationships.all[0]!
    const kind = relationship.update
    if (kind) {
      this.updater ??= await pool.relationships.process(relationship, kind)
      return this.step('update', this.copies(), async () => {
        let finished = false
        for (let i = random.between(1, 3); i > 0 && !finished; i--) ({ finished } = await this.updater!.step())
        if (finished) this.updater = undefined
        else await this.updater!.end()
      })
    }
    if (['a', 'b'].some(name => this.restoring(name) !== undefined)) return
    const [from, to, started] = random.chance(0.5) ? (['b', 'a', 'sourceUpdate'] as const) : (['a', 'b', 'imageUpdate'] as const)
    const during = this.copies()
    during.get(to)!.write(0, [...volumes.get(from)!.now])
    await this.step(started, during, () => pool.relationships.startUpdate(relationship, started))
    volumes.get(from)!.flushed()
    volumes.set(to, volumes.get(from)!.copy())
  }

  private async clone(name: string): Promise<void> {
    const { random, volumes, pool } = this
    if ([...volumes.keys()].filter(one => one.startsWith('k') && !one.includes('@')).length === 2) return
    const source = random.pick([...volumes.keys()])
    const during = this.copies()
    during.set(name, new Expected(volumes.get(source)!.now.slice(), volumes.get(source)!.now.slice()))
    await this.step(`clone ${source} ${name}`, during, () => pool.trees.clones.clone({ source, name }))
    // A read-only one was flushed when it was made.
    volumes.get(source)!.flushed()
    volumes.set(name, during.get(name)!.copy())
  }

  /** Some steps of copying back to a LUN, or of filling a clone. */
  private async copyBack(): Promise<void> {
    const { random, pool } = this
    const { trees, luns, relationships } = pool
    const cloneOf = (name: string): Relationship | undefined => (name.includes('@') ? undefined : relationships.cloneOf(luns.find(name)))
    const some = [...this.volumes.keys()].filter(name => this.restoring(name) !== undefined || cloneOf(name))
    if (some.length === 0) return
    const name = random.pick(some)
    const clone = cloneOf(name)
    const begin = (): Promise<RestoreProcess | CompleteImage | undefined> => (clone ? trees.clones.process(clone) : trees.restores.process(this.treeOf(name)!))
    const copier = this.copiers.get(name) ?? (await begin())!
    this.copiers.set(name, copier)
    await this.step(`copy to ${name}`, this.copies(), async () => {
      let finished = false
      for (let i = random.between(1, 5); i > 0 && !finished; i--) ({ finished } = await copier.step())
      // Nothing is under way when the next operation begins: what it may leave is known.
      if (!finished) await copier.end()
      if (finished) this.copiers.delete(name)
    })
  }

  private async burst(writable: readonly string[]): Promise<void> {
    const { random, volumes } = this
    const writes = random
      .shuffle([...writable])
      .slice(0, 3)
      .map(name => {
        const length = random.chance(0.2) ? random.between(1, 300) : random.between(1, 30)
        return { name, from: random.below(SECTORS - length), values: Array.from({ length }, () => this.stamp++) }
      })
    const flushed = random.chance(0.5) ? random.pick([...writable]) : undefined
    const during = this.copies()
    for (const { name, from, values } of writes) during.get(name)!.write(from, values)
    const run = async (): Promise<void> => {
      await Promise.all(
        writes.map(({ name, from, values }) => {
          const bytes = Buffer.alloc(values.length * SECTOR)
          values.forEach((value, i) => bytes.writeUInt32LE(value, i * SECTOR))
          return deviceOf(this.pool, name)!.write(from * SECTOR, bytes)
        }),
      )
      if (flushed) await deviceOf(this.pool, flushed)!.flush()
    }
    await this.step(`write ${writes.map(({ name, from, values }) => `${name} ${from}+${values.length}`).join(', ')}, flush ${flushed}`, during, run)
    for (const { name, from, values } of writes) volumes.get(name)!.write(from, values)
    if (flushed) volumes.get(flushed)!.flushed()
  }
}

async function check(pool: OpenPool, steps: readonly Step[]): Promise<void> {
  const found = await problems(pool.pool)
  if (found.length > 0) throw new Error(found.join('; '))
  for (const name of new Set(steps.flatMap(({ expected }) => [...expected.keys()]))) {
    const device = deviceOf(pool, name)
    if (!device) {
      if (steps.every(({ present }) => present.has(name))) throw new Error(`${name} is not there`)
      continue
    }
    const bytes = Buffer.alloc(SIZE)
    await device.read(0, bytes)
    const allowed = steps.flatMap(({ expected }) => expected.get(name) ?? [])
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = bytes.readUInt32LE(sector * SECTOR)
      if (!allowed.some(one => one.allows(sector, value)))
        throw new Error(
          `sector ${sector} of ${name} has ${value}, allowed: ${allowed.map(one => [one.durable[sector], ...(one.open.get(sector) ?? [])].join()).join(' or ')}`,
        )
    }
  }
}

/** Opens a state, looks at it, gives back what was deleted, and looks again. */
async function inspect(disks: Parameters<typeof openSimulated>[0], steps: readonly Step[]): Promise<void> {
  const pool = await openSimulated(disks)
  await check(pool, steps)
  for (const tree of pool.trees.all) {
    const process = await pool.trees.restores.process(tree)
    while (process && !(await process.step()).finished);
  }
  for (const clone of pool.relationships.clones) {
    const process = await pool.trees.clones.process(clone)
    while (!(await process.step()).finished);
  }
  for (const relationship of pool.relationships.all) {
    const process = relationship.update && (await pool.relationships.process(relationship, relationship.update))
    while (process && !(await process.step()).finished);
  }
  while (await pool.trees.tidy());
  await check(pool, steps)
  await pool.trees.delete(pool.trees.list())
  while (await pool.trees.tidy());
  for (const store of pool.trees.stores.all) expect([await pool.trees.stores.slots(store).usedBytes(), store.record.boundSlices]).toEqual([0, 0])
  await pool.pool.close()
}

async function live(seed: number): Promise<number> {
  const random = new Random(seed)
  const disks = simulatedDisks(3)
  await createSimulated(disks)
  const first = await openSimulated(disks)
  for (const name of ['a', 'b', 'c']) await first.luns.create({ name, size: SIZE, raid: random.chance(0.5) ? 'raid0' : 'raid1', reserve: false })
  await cacheSome(first.luns, seed)
  const { relationship } = await first.relationships.configure({ source: 'a', image: 'b', chunkBytes: 32 * KIB })
  await first.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
  await first.pool.close()
  const tape = new Tape(disks)
  const life = new Life(random, await openSimulated(disks), tape)
  for (const name of ['a', 'b', 'c']) life.volumes.set(name, new Expected())
  const begun = tape.length
  for (let i = 0; i < 40; i++) await life.operate(i)
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
    const steps = life.steps.filter(({ from, to }) => from <= cut && cut <= to)
    if (steps.length === 0) continue
    try {
      await inspect(state.disks, steps)
    } catch (error) {
      const log = life.steps.map(({ what, from, to }) => `${from}-${to} ${what}`)
      throw new Error(
        `seed ${seed}, cut ${cut} in ${steps.map(({ what }) => what).join(' | ')}: ${error instanceof Error ? error.stack : String(error)}\n${describeCrash(state).slice(0, 1500)}\n${log.join('\n')}`,
        { cause: error },
      )
    }
  }
  return seen.size
}

const from = Number(process.env['SEED'] ?? 1)
const seeds = Number(process.env['SEEDS'] ?? 4)
for (let seed = from; seed < from + seeds; seed++) {
  test(`seed ${seed}`, { timeout: 120_000 }, async () => {
    expect(await live(seed)).toBeGreaterThan(STATES / 4)
  })
}
