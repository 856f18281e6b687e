/** Random lives of snapshots against a model of what every volume must hold: trees on LUNs and on snapshots, beside relationships of the same source. */
import { expect, test } from 'vitest'
import { Random } from '../../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import type { CompleteImage, Update } from '../../../../src/core/snapshot/updates.ts'
import type { Relationship } from '../../../../src/core/snapshot/relationship.ts'
import type { RestoreProcess } from '../../../../src/core/snapshot/tree/restore-process.ts'
import type { Tree } from '../../../../src/core/snapshot/tree/tree.ts'
import { problems } from '../../../support/problems.ts'
import { cacheSome, closeSimulated, createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

const SECTOR = 512
const SIZE = 2 * MIB
const chunkSizes = [4 * KIB, 4 * KIB, 16 * KIB, 64 * KIB]

class Life {
  readonly contents = new Map<string, Buffer>()
  /** What snapshots held when they were made. */
  readonly frozen = new Map<string, Buffer>()
  readonly log: string[] = []
  /** What copies back to volumes that are being restored, by name. */
  readonly copiers = new Map<string, RestoreProcess>()
  /** What fills clones, by name. */
  readonly fillers = new Map<string, CompleteImage>()
  /** What updates a or c. */
  updater: CompleteImage | Update | undefined
  private stamp = 1

  constructor(
    readonly random: Random,
    public pool: OpenPool,
    readonly disks: readonly SimulatedDisk[],
  ) {}

  treeOf(name: string): Tree | undefined {
    const { trees, luns } = this.pool
    return name.includes('@') ? trees.volume(trees.find(name)).tree : trees.treeOf(luns.find(name))
  }

  restoring(name: string): string | undefined {
    return this.treeOf(name)?.restoring?.snapshot.name
  }

  /** Some steps of copying back to a volume. @returns whether it was under way */
  async copyBack(name: string, steps: number): Promise<boolean> {
    const { trees } = this.pool
    const copier = this.copiers.get(name) ?? (this.restoring(name) === undefined ? undefined : await trees.restores.process(this.treeOf(name)!))
    if (!copier) return false
    this.copiers.set(name, copier)
    for (let i = 0; i < steps; i++) {
      if (!(await copier.step()).finished) continue
      this.copiers.delete(name)
      return true
    }
    return true
  }

  /** Some steps of filling a clone. @returns whether it was under way */
  async fill(lun: string, steps: number): Promise<boolean> {
    const { trees, relationships, luns } = this.pool
    const clone = relationships.cloneOf(luns.find(lun))
    const filler = this.fillers.get(lun) ?? (clone && (await trees.clones.process(clone)))
    if (!filler) return false
    this.fillers.set(lun, filler)
    for (let i = 0; i < steps; i++) {
      if (!(await filler.step()).finished) continue
      this.fillers.delete(lun)
      return true
    }
    return true
  }

  get relationship(): Relationship {
    return this.pool.relationships.all[0]!
  }

  /** Some steps of an update. @returns whether it is under way */
  async update(steps: number): Promise<boolean> {
    const { relationships } = this.pool
    const kind = this.relationship.update
    if (!kind) return false
    this.updater ??= await relationships.process(this.relationship, kind)
    for (let i = 0; i < steps; i++)
      if ((await this.updater!.step()).finished) {
        this.updater = undefined
        break
      }
    return this.updater !== undefined
  }

  async stopCopying(): Promise<void> {
    for (const body of [...this.copiers.values(), ...this.fillers.values(), ...(this.updater ? [this.updater] : [])]) await body.end()
    this.updater = undefined
    this.copiers.clear()
    this.fillers.clear()
  }

  get luns(): string[] {
    return this.names.filter(name => !name.includes('@'))
  }

  volume(name: string): BlockDevice {
    const { trees, relationships, luns } = this.pool
    return name.includes('@') ? trees.volume(trees.find(name)) : relationships.volume(luns.find(name).number)
  }

  isWritable(name: string): boolean {
    return !name.includes('@') || this.pool.trees.find(name).isWritable
  }

  get names(): string[] {
    return [...this.contents.keys()]
  }

  async write(name: string): Promise<void> {
    const { random } = this
    const sectors = random.chance(0.1) ? random.between(1, 1500) : random.between(1, 40)
    const from = random.below(SIZE / SECTOR - sectors)
    const bytes = Buffer.alloc(sectors * SECTOR)
    const content = this.contents.get(name)!
    if (random.chance(0.1)) {
      content.fill(0, from * SECTOR, (from + sectors) * SECTOR)
      return this.volume(name).zero(from * SECTOR, sectors * SECTOR)
    }
    const stamp = random.chance(0.9)
    if (stamp) for (let at = 0; at < bytes.length; at += SECTOR) bytes.writeUInt32LE(this.stamp++, at)
    bytes.copy(content, from * SECTOR)
    return this.volume(name).write(from * SECTOR, bytes)
  }

  async expect(name: string, offset = 0, length = SIZE): Promise<void> {
    const into = Buffer.alloc(length)
    await this.volume(name).read(offset, into)
    const wanted = this.contents.get(name)!
    for (let at = 0; at < length; at += SECTOR)
      if (into.compare(wanted, offset + at, offset + at + SECTOR, at, at + SECTOR) !== 0)
        throw new Error(`${name} at ${offset + at}: ${into.readUInt32LE(at)} instead of ${wanted.readUInt32LE(offset + at)}`)
  }

  async expectAll(): Promise<void> {
    for (const name of this.names) await this.expect(name)
  }

  /** What differs of two snapshots of a volume, or of one and its volume, is said. */
  async expectDiff(): Promise<void> {
    const snapshots = this.names.filter(name => name.includes('@'))
    if (snapshots.length === 0) return
    const one = this.random.pick(snapshots)
    const source = one.slice(0, one.lastIndexOf('@'))
    const other = this.random.pick([
      ...snapshots.filter(name => name.slice(0, name.lastIndexOf('@')) === source),
      ...(this.contents.has(source) ? [source] : []),
    ])
    await this.pool.relationships.drain()
    const { extents } = await this.pool.trees.diff(one, other)
    const same = Buffer.alloc(SIZE / SECTOR, 1)
    for (const { offset, length } of extents) same.fill(0, offset / SECTOR, (offset + length) / SECTOR)
    for (let sector = 0; sector < SIZE / SECTOR; sector++) {
      const [from, to] = [sector * SECTOR, (sector + 1) * SECTOR]
      if (same[sector] === 1 && this.contents.get(one)!.compare(this.contents.get(other)!, from, to, from, to) !== 0)
        throw new Error(`${one} and ${other} differ at ${from}, which is not said`)
    }
  }

  /** What extents call a hole reads as zeros. */
  async expectHoles(name: string): Promise<void> {
    for (const { offset, length, kind } of await this.volume(name).extents(0, SIZE))
      if (kind === 'hole')
        expect(
          this.contents
            .get(name)!
            .subarray(offset, offset + length)
            .every(byte => byte === 0),
        ).toBe(true)
  }
}

const sourceOf = (name: string): string => name.slice(0, name.lastIndexOf('@'))

async function operate(life: Life, counter: number): Promise<void> {
  const { random, pool, contents, log } = life
  const { trees } = pool
  const dice = random.below(100)
  const snapshots = life.names.filter(name => name.includes('@'))
  if (dice < 16 && snapshots.length < 14) {
    const sources = random.shuffle(life.names.filter(name => life.isWritable(name))).slice(0, random.chance(0.2) ? 2 : 1)
    const readOnly = random.chance(0.4)
    const chunkBytes = random.pick(chunkSizes)
    const fixed = sources.some(name => name.includes('@') || trees.treeOf(pool.luns.find(name)))
    const names = sources.map(name => `${name}@s${counter}`)
    log.push(`create ${names.join()} ${readOnly ? 'read-only' : ''}`)
    const before = sources.map(name => Buffer.from(contents.get(name)!))
    await trees.create({ names, readOnly, ...(fixed ? {} : { chunkBytes }) })
    names.forEach((name, i) => {
      contents.set(name, before[i]!)
      life.frozen.set(name, Buffer.from(before[i]!))
    })
  } else if (dice < 24) {
    const bases = snapshots.filter(name => !life.isWritable(name) && life.names.includes(name.slice(0, name.lastIndexOf('@'))))
    if (bases.length === 0) return
    const base = random.pick(bases)
    const name = `${base.slice(0, base.lastIndexOf('@'))}@v${counter}`
    log.push(`create ${name} --of ${base}`)
    await trees.create({ names: [name], of: base })
    contents.set(name, Buffer.from(contents.get(base)!))
    life.frozen.set(name, Buffer.from(contents.get(base)!))
  } else if (dice < 34 && snapshots.length > 0) {
    const names = random.shuffle(snapshots).slice(0, random.between(1, 3))
    log.push(`delete ${names.join()}`)
    await trees.delete(names.map(name => trees.find(name)))
    for (const name of names) {
      contents.delete(name)
      await life.copiers.get(name)?.end()
      life.copiers.delete(name)
    }
  } else if (dice < 40) {
    log.push('tidy')
    for (let i = random.between(1, 4); i > 0; i--) await trees.tidy()
  } else if (dice < 43) {
    const some = snapshots.filter(
      name =>
        life.isWritable(name) &&
        trees.restsOn(trees.find(name)).length === 0 &&
        !life.names.some(other => life.isWritable(other) && life.restoring(other) === name),
    )
    if (some.length === 0) return
    const name = random.pick(some)
    log.push(`refresh ${name}`)
    await trees.refresh(trees.find(name))
    contents.set(name, Buffer.from(life.frozen.get(name)!))
  } else if (dice < 46) {
    log.push('diff')
    await life.expectDiff()
  } else if (dice < 50) {
    log.push('reopen')
    await life.expectAll()
    await life.stopCopying()
    await closeSimulated(pool)
    life.pool = await openSimulated(life.disks)
  } else if (dice < 53) {
    const clones = life.luns.filter(name => name.startsWith('k'))
    const idle = clones.filter(name => !snapshots.some(other => other.startsWith(`${name}@`)))
    if (clones.length < 3) {
      const source = random.pick(life.names)
      log.push(`clone ${source} k${counter}`)
      const held = Buffer.from(contents.get(source)!)
      await trees.clones.clone({ source, name: `k${counter}`, raid: 'raid0' })
      contents.set(`k${counter}`, held)
    } else if (idle.length > 0) {
      const name = random.pick(idle)
      const lun = pool.luns.find(name)
      try {
        trees.checkNone(lun, 'delete')
      } catch {
        return
      }
      log.push(`delete ${name}`)
      await life.fillers.get(name)?.end()
      life.fillers.delete(name)
      await trees.clones.abandon(lun)
      await pool.luns.delete(lun)
      contents.delete(name)
    }
  } else if (dice < 58) {
    // What is itself being restored, or restored to, waits.
    const some = snapshots.filter(name => {
      const source = sourceOf(name)
      if (life.relationship.update && ['a', 'c'].includes(source)) return false
      if (!life.names.includes(source) || life.restoring(source) !== undefined || life.restoring(name) !== undefined) return false
      return !source.includes('@') || trees.find(source).tree.restoring?.snapshot !== trees.find(source)
    })
    if (some.length === 0) return
    const nested = some.filter(name => sourceOf(name).includes('@'))
    const names = [random.pick(nested.length > 0 && random.chance(0.5) ? nested : some)]
    const other = some.find(name => name.split('@')[0] !== names[0]!.split('@')[0])
    if (other !== undefined && random.chance(0.3)) names.push(other)
    log.push(`restore ${names.join()}`)
    for (const { snapshot, volume, before } of await trees.restores.restore({ names })) {
      contents.set(before, contents.get(volume)!)
      life.frozen.set(before, Buffer.from(contents.get(volume)!))
      contents.set(volume, Buffer.from(contents.get(snapshot.name)!))
    }
  } else if (dice < 62) {
    if (life.relationship.update) {
      log.push('update')
      await life.update(random.between(1, 4))
      return
    }
    if (['a', 'c'].some(name => life.restoring(name) !== undefined)) return
    const [from, to, kind] = random.chance(0.5) ? (['c', 'a', 'sourceUpdate'] as const) : (['a', 'c', 'imageUpdate'] as const)
    log.push(`${kind}`)
    await pool.relationships.startUpdate(life.relationship, kind)
    contents.set(to, Buffer.from(contents.get(from)!))
  } else {
    const updating = life.relationship.update !== undefined && random.chance(0.4)
    const restored = life.names.filter(name => life.isWritable(name) && (life.restoring(name) !== undefined || life.copiers.has(name)))
    const copying = restored.filter(() => random.chance(0.3))
    const filling = life.luns.filter(name => (life.fillers.has(name) || pool.relationships.cloneOf(pool.luns.find(name))) && random.chance(0.3))
    // Hosts write and read at the same time.
    const writers = random.shuffle(life.names.filter(name => life.isWritable(name))).slice(0, 4)
    log.push(`write ${writers.join()}${copying.length > 0 ? `, copy back ${copying.join()}` : ''}${filling.length > 0 ? `, fill ${filling.join()}` : ''}`)
    const readers = life.names.filter(name => !writers.includes(name))
    await Promise.all([
      ...(updating ? [life.update(random.between(1, 3))] : []),
      ...copying.map(name => life.copyBack(name, random.between(1, 6))),
      ...writers.map(name => life.write(name)),
      ...readers.slice(0, 4).map(name => life.expect(name, 0, SIZE)),
    ])
    if (random.chance(0.2)) await life.volume(random.pick(life.names)).flush()
  }
}

async function live(seed: number, operations: number): Promise<void> {
  const random = new Random(seed)
  const disks = simulatedDisks(4)
  await createSimulated(disks)
  const pool = await openSimulated(disks)
  const life = new Life(random, pool, disks)
  for (const name of ['a', 'b', 'c']) {
    await pool.luns.create({ name, size: SIZE, raid: random.chance(0.5) ? 'raid0' : 'raid1', reserve: false })
    await cacheSome(pool.luns, seed)
    life.contents.set(name, Buffer.alloc(SIZE))
    await life.write(name)
  }
  // c is an image of a: what is written to a is preserved for both, and c is a source of snapshots that reads through.
  const { relationship } = await pool.relationships.configure({ source: 'a', image: 'c', chunkBytes: 32 * KIB })
  await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
  life.contents.set('c', Buffer.from(life.contents.get('a')!))
  try {
    for (let i = 0; i < operations; i++) {
      await operate(life, i)
      if (i % 10 === 9) await life.expectAll()
    }
    await life.expectAll()
    for (const name of life.names) await life.expectHoles(name)
    for (const name of life.names) while (await life.copyBack(name, 10));
    while (await life.update(10));
    // Volumes that are deleted meanwhile are kept until they are restored.
    for (const tree of life.pool.trees.all) {
      const copier = await life.pool.trees.restores.process(tree)
      while (copier && !(await copier.step()).finished);
    }
    for (const name of life.luns) while (await life.fill(name, 10));
    await life.expectAll()
    await life.pool.relationships.drain()
    while (await life.pool.trees.tidy());
    await life.expectAll()
    expect(await problems(life.pool.pool)).toEqual([])
    await life.pool.trees.delete(life.pool.trees.list())
    while (await life.pool.trees.tidy());
    for (const store of life.pool.trees.stores.all) {
      expect(await life.pool.trees.stores.slots(store).usedBytes()).toBe(0)
      expect(store.record.boundSlices).toBe(0)
    }
    await life.pool.pool.close()
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}\n${life.log.slice(-40).join('\n')}`)
  }
}

const first = Number(process.env['SEED'] ?? 1)
const count = Number(process.env['SEEDS'] ?? 8)
for (let seed = first; seed < first + count; seed++) test(`seed ${seed}`, { timeout: 60_000 }, () => live(seed, 120))
