/**
 * Every order in which reads of an image, first writes to its source and second ones can meet: the real volumes over devices that do
 * one thing at a time, when they are told to.
 */
import { expect, test } from 'vitest'
import { Latencies } from '../../../src/core/base/latency.ts'
import { KIB } from '../../../src/core/base/units.ts'
import { ByteBudget } from '../../../src/core/block/hold.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import type { Metadata } from '../../../src/metadata/metadata.ts'
import { RELATIONSHIP_ENABLED, RELATIONSHIP_USED, type RelationshipRecord } from '../../../src/metadata/records.ts'
import { Relationship } from '../../../src/core/snapshot/relationship.ts'
import { Volume } from '../../../src/core/snapshot/volume.ts'
import { SteppedClock } from '../../simulation/clock.ts'

const CHUNK = 8 * KIB
const HALF = CHUNK / 2

interface Step {
  readonly what: string
  readonly go: () => void
}

/** Things that were asked for and have not happened yet. */
class Pending {
  readonly steps: Step[] = []
  readonly done: string[] = []

  /** Resolves when `effect` has happened, which is when its turn comes. */
  step(what: string, effect: () => void = () => undefined): Promise<void> {
    return new Promise(resolve => {
      this.steps.push({
        what,
        go: () => {
          this.done.push(what)
          effect()
          resolve()
        },
      })
    })
  }
}

/** A LUN whose reads and writes happen unit by unit, each when it is told to: with half a chunk as the unit, a chunk can be torn. */
class SteppedLun {
  readonly bytes: Uint8Array
  /** What a crash leaves. */
  durable: Uint8Array
  onWrite: (at: number) => void = () => undefined
  readonly blockSize = 512

  constructor(
    readonly name: string,
    readonly size: number,
    private readonly unit: number,
    private readonly pending: Pending,
    value: number,
  ) {
    this.bytes = new Uint8Array(size).fill(value)
    this.durable = this.bytes.slice()
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length; at += this.unit)
      await this.pending.step(`read ${this.name} at ${offset + at}`, () => {
        into.set(this.bytes.subarray(offset + at, offset + Math.min(at + this.unit, into.length)), at)
      })
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += this.unit)
      await this.pending.step(`write ${this.name} at ${offset + at}`, () => {
        this.onWrite(offset + at)
        this.bytes.set(data.subarray(at, at + this.unit), offset + at)
      })
  }

  flush(): Promise<void> {
    return this.pending.step(`flush ${this.name}`, () => {
      this.durable = this.bytes.slice()
    })
  }

  extents(offset: number, length: number): Promise<{ offset: number; length: number; kind: string }[]> {
    return Promise.resolve([{ offset, length, kind: 'data' }])
  }
  isBound(): boolean {
    return true
  }
  /** Every step is in some order with the others: nothing is done at once. */
  tryRead(): boolean {
    return false
  }
  tryWrite(): boolean {
    return false
  }
  isHole(): Promise<boolean> {
    return Promise.resolve(false)
  }
}

const OLD = 1
const record = (source: number, image: number, size: number): RelationshipRecord => ({
  relationshipId: '00000000-0000-4000-8000-000000000001',
  name: '',
  source,
  image,
  flags: RELATIONSHIP_ENABLED | RELATIONSHIP_USED,
  chunkShift: Math.log2(CHUNK),
  onFull: 0,
  update: 0,
  mixed: 0,
  size,
  createdMs: 0,
  enabledMs: 0,
  asOfMs: 0,
  nextEra: 4,
  migratedEra: 1,
  deltaEra: 2,
  lostEra: 3,
  frozenEra: 0,
  blankFrom: 0,
  completeDelay: 0,
  imageDelay: 0,
  sourceDelay: 0,
  reason: '',
})

/** A source (LUN 1), its image (LUN 2) and, in a chain, the image of that (LUN 3), over devices that wait. */
class World {
  readonly pending = new Pending()
  readonly luns: readonly SteppedLun[]
  private readonly volumes: readonly Volume[]

  constructor(
    readonly chunks: number,
    unit: number,
    chain: boolean,
  ) {
    const size = chunks * CHUNK
    this.luns = [1, 2, 3].map(number => new SteppedLun(`lun${number}`, size, unit, this.pending, number === 1 ? OLD : 0xee))
    const metadata = {
      isRoomy: true,
      get: () => Promise.resolve(undefined),
      commit: () => this.pending.step('commit'),
    } as unknown as Metadata
    const host = {
      metadata,
      readOnly: false,
      budget: new ByteBudget(1 << 20),
      volume: (number: number) => this.volumes[number - 1]!,
      through: (image: Relationship) => this.volumes[image.record.source - 1]!,
      firstWrites: { times: new Latencies(), writes: 0, bytes: 0 },
      invalidate: () => Promise.reject(new Error('nothing fails here')),
      clear: () => Promise.resolve(),
      settle: () => Promise.reject(new Error('nothing is updated here')),
    }
    this.volumes = this.luns.map(lun => new Volume(lun as unknown as Lun, host, new SteppedClock()))
    const [source, image, last] = this.volumes as [Volume, Volume, Volume]
    const first = new Relationship(1, record(1, 2, size), metadata)
    source.asSource = [first]
    image.asImage = first
    if (chain) {
      const second = new Relationship(2, record(2, 3, size), metadata)
      image.asSource = [second]
      last.asImage = second
    }
    // Engine.md section 4: only then may new data go to the source.
    this.luns[0]!.onWrite = at => {
      const chunk = Math.floor(at / CHUNK)
      const copy = this.luns[1]!.durable.subarray(chunk * CHUNK, (chunk + 1) * CHUNK)
      expect(first.migrated.has(chunk), 'the source is overwritten before its chunk is recorded as preserved').toBe(true)
      expect(
        copy.every(byte => byte === OLD),
        'the source is overwritten before the copy is durable',
      ).toBe(true)
    }
  }

  volume(number: number): Volume {
    return this.volumes[number - 1]!
  }
}

type Actor = (world: World) => Promise<void>

/** A read of a whole image, which must find the instant. */
const reader =
  (image: number): Actor =>
  async world => {
    const found = new Uint8Array(world.chunks * CHUNK)
    await world.volume(image).read(0, found)
    const wrong = found.findIndex(byte => byte !== OLD)
    if (wrong >= 0) throw new Error(`byte ${wrong} of image ${image} reads ${found[wrong]}`)
  }

const writer =
  (from: number, to: number, value: number): Actor =>
  world =>
    world.volume(1).write(from, new Uint8Array(to - from).fill(value))

/** Everything that follows from the last step has been asked for: far more promises than any of it awaits. */
async function turn(): Promise<void> {
  for (let i = 0; i < 40; i++) await Promise.resolve()
}

/** Runs what was asked for, in turn, until nothing is left. */
async function drained(world: World, work: Promise<void>): Promise<void> {
  let ended = false
  const end = (): void => {
    ended = true
  }
  work.then(end, end)
  for (await turn(); !ended || world.pending.steps.length > 0; await turn()) world.pending.steps.shift()?.go()
  await work
}

/** One run: at each moment something that was asked for happens, or an actor begins; `choices` says which. @returns how many there were */
async function run(make: () => World, actors: readonly Actor[], choices: readonly number[]): Promise<number[]> {
  const world = make()
  const { steps, done } = world.pending
  const waiting = [...actors]
  const counts: number[] = []
  const begun: Promise<void>[] = []
  try {
    for (;;) {
      await turn()
      const options = steps.length + waiting.length
      if (options === 0) break
      const choice = choices[counts.length] ?? 0
      counts.push(options)
      if (choice < steps.length) steps.splice(choice, 1)[0]!.go()
      else {
        const [actor] = waiting.splice(choice - steps.length, 1)
        done.push(`actor ${actors.indexOf(actor!)} begins`)
        const work = actor!(world)
        // Its failure is told below.
        work.catch(() => undefined)
        begun.push(work)
      }
    }
    await Promise.all(begun)
    await drained(world, world.volume(1).flush())
    await drained(world, reader(2)(world))
  } catch (error) {
    throw new Error(`${String(error)}: ${done.join(', ')}`, { cause: error })
  }
  return counts
}

/** All runs. @returns how many there were */
async function everyOrder(make: () => World, actors: readonly Actor[]): Promise<number> {
  let choices: number[] = []
  for (let runs = 1; ; runs++) {
    const counts = await run(make, actors, choices)
    const taken = counts.map((_, i) => choices[i] ?? 0)
    const last = counts.findLastIndex((count, i) => taken[i]! + 1 < count)
    if (last < 0) return runs
    choices = [...taken.slice(0, last), taken[last]! + 1]
  }
}

interface Case {
  readonly name: string
  readonly chunks: number
  readonly unit: number
  readonly chain: boolean
  readonly actors: readonly Actor[]
  /** How many orders there are, or more. */
  readonly orders: number
}

const one = { chunks: 1, unit: HALF, chain: false }
const cases: readonly Case[] = [
  { ...one, name: 'a write, one of half of it, and a read', actors: [writer(0, CHUNK, 2), reader(2), writer(0, HALF, 3)], orders: 300 },
  { ...one, name: 'a write of half a chunk, and two reads', actors: [writer(0, HALF, 2), reader(2), reader(2)], orders: 300 },
  { ...one, name: 'an image of the image: a write and reads of both', chain: true, actors: [writer(0, HALF, 2), reader(3), reader(2)], orders: 300 },
  {
    ...one,
    name: 'a write across two chunks, one to the first of them, and a read',
    chunks: 2,
    actors: [writer(HALF, CHUNK + HALF, 2), reader(2), writer(0, HALF, 3)],
    orders: 700,
  },
  {
    name: 'a write to each of two chunks, and a read of both',
    chunks: 2,
    unit: HALF,
    chain: false,
    actors: [writer(0, HALF, 2), reader(2), writer(CHUNK, CHUNK + HALF, 3)],
    orders: 400,
  },
]

for (const { name, chunks, unit, chain, actors, orders } of cases)
  test(`${name}: in every order, the image reads the instant`, { timeout: 120_000 }, async () => {
    expect(await everyOrder(() => new World(chunks, unit, chain), actors)).toBeGreaterThan(orders)
  })
