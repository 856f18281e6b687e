/** The flowcharts of the DataCore document and its paragraphs on locks: the bytes of every volume, the number of copies, who waits for whom. */
import { beforeEach, describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import type { ProcessName, Relationships } from '../../../src/core/snapshot/relationships.ts'
import type { Volume } from '../../../src/core/snapshot/volume.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

/** 64 blocks of 512 bytes: Fig. 5. A chunk lies in one stripe unit, so a copy of it is one write of this length. */
const CHUNK = 32 * KIB
const CHUNKS = 8
const SIZE = MIB

let disks: SimulatedDisk[]
let pool: OpenPool
let relationships: Relationships
let source: Volume
let image: Volume
let sibling: Volume
let relationship: Relationship
let copies = 0

const volumeOf = (name: string): Volume => relationships.volume(pool.luns.find(name).number)
const byte = async (volume: Volume, chunk: number): Promise<number> => {
  const into = new Uint8Array(512)
  await volume.read(chunk * CHUNK, into)
  return into[0]!
}
const bytes = async (volume: Volume): Promise<number[]> => Promise.all(Array.from({ length: CHUNKS }, (_, chunk) => byte(volume, chunk)))
/** Writes a block of a chunk, so that the rest of the chunk counts. */
const put = (volume: Volume, chunk: number, value: number): Promise<void> => volume.write(chunk * CHUNK, new Uint8Array(512).fill(value))
const enable = (one: Relationship, fresh = true): Promise<unknown> => relationships.enable([one], { fresh, forceLostPart: false, forceMixed: false })

/** Copies of chunks that `act` made, as the disks saw them. */
async function copiesOf(act: () => Promise<unknown>): Promise<number> {
  copies = 0
  await act()
  await source.flush()
  await image.flush()
  return copies
}

async function run(kind: ProcessName, steps = Infinity): Promise<void> {
  const body = await relationships.process(relationship, kind)
  for (let i = 0; body && i < steps; i++) if ((await body.step()).finished) break
  await body?.end()
}

async function configured(imageName: string): Promise<Relationship> {
  return (await relationships.configure({ source: 's', image: imageName, chunkBytes: CHUNK })).relationship
}

beforeEach(async () => {
  disks = simulatedDisks(4)
  await createSimulated(disks)
  pool = await openSimulated(disks)
  relationships = pool.relationships
  for (const name of ['s', 'i', 'j']) await pool.luns.create({ name, size: SIZE, raid: 'raid0', reserve: false })
  source = volumeOf('s')
  image = volumeOf('i')
  sibling = volumeOf('j')
  for (let chunk = 0; chunk < CHUNKS; chunk++) await source.write(chunk * CHUNK, new Uint8Array(CHUNK).fill(10 + chunk))
  await source.flush()
  relationship = await configured('i')
  await enable(relationship)
  for (const disk of disks)
    disk.plan = ({ kind, length }) => {
      if (kind === 'write' && length === CHUNK) copies++
      return undefined
    }
  return () => pool.pool.close()
})

const before = [10, 11, 12, 13, 14, 15, 16, 17]

describe('Fig. 7, reading and writing', () => {
  test('712-718: enabled, the image reads as the source, and nothing was copied', async () => {
    expect(await copiesOf(() => bytes(image))).toBe(0)
    expect(await bytes(image)).toEqual(before)
    expect(await relationship.migrated.count()).toBe(0)
  })

  test('720-734: the first write to a chunk of the source preserves it once, the next ones nothing', async () => {
    expect(await copiesOf(() => put(source, 2, 90))).toBe(1)
    expect(await copiesOf(() => put(source, 2, 91))).toBe(0)
    expect(await bytes(image)).toEqual(before)
    expect(await bytes(source)).toEqual([10, 11, 91, 13, 14, 15, 16, 17])
    expect([await relationship.migrated.count(), await relationship.delta.count()]).toEqual([1, 1])
  })

  test('740-754: a write to a chunk that the image lacks brings the rest of it, and the source keeps its bytes', async () => {
    await put(image, 3, 80)
    const chunk = new Uint8Array(CHUNK)
    await image.read(3 * CHUNK, chunk)
    expect([chunk[0], chunk[511], chunk[512], chunk[CHUNK - 1]]).toEqual([80, 80, 13, 13])
    expect(await bytes(source)).toEqual(before)
    expect([await relationship.migrated.count(), await relationship.delta.count()]).toEqual([1, 1])
    // A write to the source there copies nothing any more.
    expect(await copiesOf(() => put(source, 3, 70))).toBe(0)
    expect([await byte(source, 3), await byte(image, 3)]).toEqual([70, 80])
  })

  test('a write that covers a chunk of the image needs no bytes of the source', async () => {
    for (const disk of disks) disk.counters.reads = 0
    await image.write(4 * CHUNK, new Uint8Array(CHUNK).fill(60))
    expect(disks.reduce((sum, disk) => sum + disk.counters.reads, 0)).toBe(0)
    expect([await byte(image, 4), await byte(source, 4)]).toEqual([60, 14])
  })

  test('760-768: owned chunks are read from the image, others from the source', async () => {
    await put(source, 0, 99)
    expect(await bytes(image)).toEqual(before)
    // What the image LUN itself holds is the one chunk.
    const raw = new Uint8Array(512)
    await image.lun.read(0, raw)
    expect(raw[0]).toBe(10)
    await image.lun.read(CHUNK, raw)
    expect(raw[0]).toBe(0)
  })
})

describe('Fig. 8, forced migration', () => {
  test('810-850: every chunk is copied once, one a step with a pace, and the image is independent then', async () => {
    await put(source, 0, 90)
    await source.flush()
    await relationships.startComplete(relationship)
    expect(await copiesOf(() => run('completeImage', 1))).toBe(1)
    expect(await relationship.migrated.count()).toBe(2)
    await relationships.setDelay(relationship, 'completeImage', 0)
    await run('completeImage')
    expect(await relationships.isWhole(relationship)).toBe(true)
    expect(await copiesOf(() => put(source, 5, 91))).toBe(0)
    expect(await bytes(image)).toEqual(before)
    // What was only migrated does not differ.
    expect(await relationship.delta.count()).toBe(2)
  })
})

describe('Fig. 9, source update', () => {
  test('910-940: the source becomes the image, what the image wrote itself included; only what differs is copied', async () => {
    await put(source, 1, 90)
    await put(image, 6, 80)
    await relationships.startUpdate(relationship, 'sourceUpdate')
    expect(await copiesOf(() => run('sourceUpdate'))).toBe(2)
    expect(await bytes(source)).toEqual([10, 11, 12, 13, 14, 15, 80, 17])
    expect(await bytes(image)).toEqual(await bytes(source))
    expect([await relationship.delta.count(), relationship.state]).toEqual([0, 'enabled'])
  })

  test('a sibling of the same source keeps its instant', async () => {
    await put(source, 1, 90)
    const other = await configured('j')
    await enable(other)
    await relationships.startUpdate(relationship, 'sourceUpdate')
    await run('sourceUpdate')
    expect(await byte(source, 1)).toBe(11)
    expect(await byte(sibling, 1)).toBe(90)
    expect([await other.migrated.count(), await other.delta.count()]).toEqual([1, 1])
  })
})

describe('Fig. 10, image update', () => {
  test('1010-1040: the image becomes the source of the start; only what differs is copied', async () => {
    await put(source, 1, 90)
    await put(image, 6, 80)
    await relationships.startUpdate(relationship, 'imageUpdate')
    expect(await copiesOf(() => run('imageUpdate'))).toBe(2)
    expect(await bytes(image)).toEqual([10, 90, 12, 13, 14, 15, 16, 17])
    expect(await bytes(source)).toEqual(await bytes(image))
    expect(await relationship.delta.count()).toBe(0)
  })

  test('a complete image stays complete, and is refreshed by what changed alone', async () => {
    await relationships.setDelay(relationship, 'completeImage', 0)
    await relationships.startComplete(relationship)
    await run('completeImage')
    await put(source, 7, 95)
    await relationships.startUpdate(relationship, 'imageUpdate')
    expect(await copiesOf(() => run('imageUpdate'))).toBe(1)
    expect(await byte(image, 7)).toBe(95)
    expect(await relationships.isWhole(relationship)).toBe(true)
  })
})

describe('Fig. 11, modes of use', () => {
  test('1140: both volumes are read and written while the image is completed', async () => {
    await relationships.setDelay(relationship, 'completeImage', 0)
    await relationships.startComplete(relationship)
    await Promise.all([run('completeImage'), put(source, 0, 90), put(image, 7, 80), put(source, 4, 91), bytes(image)])
    expect(await bytes(source)).toEqual([90, 11, 12, 13, 91, 15, 16, 17])
    expect(await bytes(image)).toEqual([10, 11, 12, 13, 14, 15, 16, 80])
  })

  test('a golden volume: disabled and enabled anew, the image is the source again at once', async () => {
    await put(image, 2, 66)
    await relationships.disable([relationship])
    expect(await copiesOf(() => enable(relationship))).toBe(0)
    expect(await bytes(image)).toEqual(before)
  })
})

describe('locks', () => {
  test('driver lock: operations on one chunk take turns, different chunks do not wait for each other', async () => {
    const held = await relationship.lock({ from: 2, to: 3 }, 'exclusive')
    let there = false
    const waiting = put(source, 2, 90).then(() => (there = true))
    await put(source, 3, 91)
    await bytes(source)
    expect(there).toBe(false)
    held()
    await waiting
    expect([await byte(source, 2), await byte(image, 2), await byte(image, 3)]).toEqual([90, 12, 13])
  })

  test('a write whose image has larger chunks waits for every chunk that it has to read for them', async () => {
    const wide = (await relationships.configure({ source: 'i', image: 'j', chunkBytes: MIB })).relationship
    await enable(wide)
    const held = await relationship.lock({ from: 0, to: 1 }, 'exclusive')
    let there = false
    const writing = put(image, 5, 50).then(() => (there = true))
    for (let turn = 0; turn < 300; turn++) await new Promise(setImmediate)
    expect(there).toBe(false)
    held()
    await writing
    expect(await bytes(sibling)).toEqual(before)
    expect(await byte(image, 5)).toBe(50)
  })

  test('decaying locks: whoever meets one moves its chunk to the front, whatever the pace, and only that chunk', async () => {
    for (const chunk of [0, 3, 7]) await put(image, chunk, 70 + chunk)
    await relationships.startUpdate(relationship, 'sourceUpdate')
    // No process runs at all: the owner alone sees to it.
    expect(await copiesOf(() => byte(source, 7))).toBe(1)
    expect(await byte(source, 7)).toBe(77)
    expect(await relationship.frozen.count()).toBe(2)
    expect(await copiesOf(() => put(source, 1, 50))).toBe(1) // preserved for the image, as any write
    expect(await relationship.frozen.count()).toBe(2)
    await run('sourceUpdate')
    expect(await bytes(source)).toEqual([70, 50, 12, 73, 14, 15, 16, 77])
    expect(relationship.state).toBe('enabled')
  })

  test('no change of either volume gets between the start of an update and its copy', async () => {
    await put(source, 5, 90)
    await relationships.startUpdate(relationship, 'imageUpdate')
    await put(source, 5, 91)
    await run('imageUpdate')
    expect([await byte(image, 5), await byte(source, 5)]).toEqual([90, 91])
    expect(await relationship.delta.count()).toBe(1)
  })

  test('a second update of a volume is refused, naming the first', async () => {
    await put(source, 1, 90)
    const other = await configured('j')
    await enable(other)
    await relationships.startUpdate(relationship, 'sourceUpdate')
    await expect(relationships.startUpdate(other, 'sourceUpdate')).rejects.toMatchObject({
      code: 'ERR_RELATIONSHIP_STATE',
      why: 'a source update of DcsSnap1 is under way',
    })
    await expect(relationships.disable([relationship])).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  })
})
