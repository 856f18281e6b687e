/** Random lives of relationships against a model of what every volume must hold: images of images, several images of one source, updates both ways. */
import { expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { isCode } from '../../../src/core/base/errors.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import type { Relationships } from '../../../src/core/snapshot/relationships.ts'
import { problems } from '../../support/problems.ts'
import { cacheSome, closeSimulated, createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

const SECTOR = 512
const LUN_SIZE = 2 * MIB
const chunkSizes = [4 * KIB, 32 * KIB, 64 * KIB, MIB]

class Life {
  readonly contents = new Map<string, Buffer>()
  private stamp = 1

  constructor(
    private readonly random: Random,
    private readonly pool: OpenPool,
  ) {}

  get relationships(): Relationships {
    return this.pool.relationships
  }

  volume(name: string): ReturnType<Relationships['volume']> {
    return this.relationships.volume(this.pool.luns.find(name).number)
  }

  names(relationship: Relationship): { source: string; image: string } {
    return { source: this.relationships.source(relationship).name, image: this.relationships.image(relationship).name }
  }

  readable(name: string): boolean {
    if (this.pool.luns.find(name).isIncomplete) return false
    try {
      this.relationships.checkOpen(this.pool.luns.find(name), { mixed: true })
      return true
    } catch (error) {
      expect(isCode(error, 'ERR_IMAGE_INCOMPLETE')).toBe(true)
      return false
    }
  }

  range(): { offset: number; length: number } {
    const sectors = LUN_SIZE / SECTOR
    const length = this.random.chance(0.1) ? this.random.between(1, 1200) : this.random.between(1, 40)
    const from = this.random.below(sectors - length)
    return { offset: from * SECTOR, length: length * SECTOR }
  }

  fill(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let at = 0; at < length; at += SECTOR) bytes.writeUInt32LE(this.stamp++, at)
    return bytes
  }

  async write(name: string): Promise<void> {
    const { offset, length } = this.range()
    if (this.random.chance(0.1)) {
      this.contents.get(name)!.fill(0, offset, offset + length)
      await this.volume(name).zero(offset, length)
      return
    }
    const bytes = this.fill(length)
    bytes.copy(this.contents.get(name)!, offset)
    await this.volume(name).write(offset, bytes)
  }

  async expectRange(name: string, offset = 0, length = LUN_SIZE): Promise<void> {
    const into = Buffer.alloc(length)
    await this.volume(name).read(offset, into)
    const wanted = this.contents.get(name)!.subarray(offset, offset + length)
    for (let at = 0; at < length; at += SECTOR) {
      if (into.compare(wanted, at, at + SECTOR, at, at + SECTOR) !== 0)
        throw new Error(`LUN ${name} at ${offset + at}: ${into.readUInt32LE(at)} instead of ${wanted.readUInt32LE(at)}`)
    }
  }

  async expectAll(): Promise<void> {
    for (const name of this.contents.keys()) if (this.readable(name)) await this.expectRange(name)
  }
}

async function finish(life: Life, relationship: Relationship, kind: 'completeImage' | 'imageUpdate' | 'sourceUpdate', steps = Infinity): Promise<boolean> {
  const body = await life.relationships.process(relationship, kind)
  for (let i = 0; body && i < steps; i++) if ((await body.step()).finished) return true
  return body === undefined
}

async function live(seed: number, operations: number): Promise<void> {
  const random = new Random(seed)
  const disks = simulatedDisks(4)
  await createSimulated(disks)
  let pool = await openSimulated(disks)
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) await pool.luns.create({ name, size: LUN_SIZE, raid: random.chance(0.5) ? 'raid0' : 'raid1', reserve: false })
  await cacheSome(pool.luns, seed)
  let life = new Life(random, pool)
  for (const name of names) life.contents.set(name, Buffer.alloc(LUN_SIZE))
  for (let i = 0; i < 6; i++) await life.write(random.pick(names))
  const log: string[] = []
  try {
    for (let operation = 0; operation < operations; operation++) {
      const all = life.relationships.all
      const relationship = all.length > 0 ? random.pick(all) : undefined
      const dice = random.below(100)
      const note = (text: string): void => void log.push(`${operation}: ${text} ${relationship ? Object.values(life.names(relationship)).join(' ') : ''}`)
      try {
        if (dice < 12 || !relationship) {
          const [source, image] = [random.pick(names), random.pick(names)]
          await life.relationships.configure({ source, image, chunkBytes: random.pick(chunkSizes) })
          log.push(`${operation}: configure ${source} ${image}`)
        } else if (dice < 26) {
          const fresh = random.chance(0.3)
          const before = new Map([...life.contents].map(([name, bytes]) => [name, Buffer.from(bytes)]))
          const some = random.chance(0.3) ? random.shuffle([...all]).slice(0, 2) : [relationship]
          const used = new Map(some.map(one => [one, one.isUsed && !fresh]))
          const enabled = await life.relationships.enable(some, { fresh, forceLostPart: true, forceMixed: true })
          note(`enable ${fresh} ${some.map(one => Object.values(life.names(one)).join('>')).join()}`)
          for (const { relationship: one, changed, lost } of enabled) {
            const { source, image } = life.names(one)
            if (!changed) continue
            if (!used.get(one)) before.get(source)!.copy(life.contents.get(image)!, 0, 0, one.record.size)
            for (const { offset, length } of lost) before.get(source)!.copy(life.contents.get(image)!, offset, offset, offset + length)
          }
        } else if (dice < 34) {
          await life.relationships.disable([relationship])
          note('disable')
        } else if (dice < 38) {
          await life.relationships.unconfigure(relationship)
          note('unconfigure')
        } else if (dice < 46) {
          await life.relationships.startComplete(relationship)
          const steps = random.chance(0.4) ? Infinity : random.between(0, 2)
          note(`complete ${steps}`)
          await finish(life, relationship, 'completeImage', steps)
          if (steps < Infinity) await life.relationships.stopComplete(relationship)
        } else if (dice < 62) {
          const kind = random.chance(0.5) ? 'imageUpdate' : 'sourceUpdate'
          const { source, image } = life.names(relationship)
          await life.relationships.startUpdate(relationship, kind)
          note(kind)
          const [from, to] = kind === 'imageUpdate' ? [source, image] : [image, source]
          life.contents.get(from)!.copy(life.contents.get(to)!, 0, 0, relationship.record.size)
          // It reads as updated at once, and is written while it runs.
          const ended = finish(life, relationship, kind)
          for (let i = 0; i < 4; i++) {
            const looked = random.pick(names)
            await Promise.all([
              burst(
                life,
                random,
                names.filter(name => name !== looked),
              ),
              expectSome(life, [looked]),
            ])
          }
          expect(await ended).toBe(true)
        } else if (dice < 66) {
          log.push(`${operation}: reopen`)
          await life.expectAll()
          await closeSimulated(pool)
          pool = await openSimulated(disks)
          const { contents } = life
          life = new Life(random, pool)
          for (const [name, bytes] of contents) life.contents.set(name, bytes)
        } else {
          log.push(`${operation}: burst`)
          await burst(life, random, names)
          await expectSome(life, names)
        }
      } catch (error) {
        if (!['ERR_IN_RELATIONSHIP', 'ERR_RELATIONSHIP_STATE', 'ERR_INCOMPLETE', 'ERR_IMAGE_INCOMPLETE'].some(code => isCode(error, code as 'ERR_INCOMPLETE')))
          throw error
      }
      for (const name of [...life.contents.keys()]) {
        const lun = pool.luns.find(name)
        if (!lun.isIncomplete) continue
        // An image that was let go half way is no LUN any more: a new one takes its place.
        if (life.relationships.of(lun).length > 0) continue
        await pool.luns.delete(lun)
        await pool.luns.create({ name, size: LUN_SIZE, raid: 'raid1', reserve: false })
        life.contents.set(name, Buffer.alloc(LUN_SIZE))
      }
      if (operation % 10 === 0) await life.expectAll()
    }
    await life.expectAll()
    while (await life.relationships.tidy());
    expect(await problems(pool.pool)).toEqual([])
    await pool.pool.close()
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}\n${log.slice(-60).join('\n')}`)
  }
}

async function burst(life: Life, random: Random, names: readonly string[]): Promise<void> {
  const writes: Promise<void>[] = []
  for (const name of names) if (random.chance(0.6) && life.readable(name)) writes.push(life.write(name))
  await Promise.all(writes)
  if (random.chance(0.3)) await life.volume(random.pick(names)).flush()
}

/** A range of each of the volumes, which nobody writes meanwhile. */
async function expectSome(life: Life, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { offset, length } = life.range()
    if (life.readable(name)) await life.expectRange(name, offset, length)
  }
}

const first = Number(process.env['SEED'] ?? 1)
const count = Number(process.env['SEEDS'] ?? 8)
for (let seed = first; seed < first + count; seed++) test(`seed ${seed}`, { timeout: 60_000 }, () => live(seed, 120))
