/** Source updates from write-once devices: the source reads as updated at once, everybody else keeps what he has, and a crash leaves it startable. */
import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash, type CrashState } from '../../../src/core/block/crash-states.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import type { ProcessBody } from '../../../src/core/process/runner.ts'
import type { Volume } from '../../../src/core/snapshot/volume.ts'
import type { WodImage } from '../../../src/core/snapshot/wod-image.ts'
import { WodImages } from '../../../src/core/snapshot/wod-images.ts'
import { problems } from '../../support/problems.ts'
import { openWods, SimulatedFiles, WodPool, type OpenWods } from '../../support/wod-pool.ts'

const SIZE = 2 * MIB
const BLOCK = 64 * KIB
const SECTOR = 512
const fresh = { fresh: true, forceLostPart: false, forceMixed: false, dryRun: false }
const really = { dryRun: false }
const signal = new AbortController().signal

/** Sectors that name a generation, and their place. */
function filled(offset: number, length: number, generation: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += SECTOR) {
    bytes.writeUInt32LE(generation, at)
    bytes.writeUInt32LE((offset + at) / SECTOR, at + 4)
  }
  return bytes
}

const imagesOf = (open: OpenWods): WodImages => new WodImages(open.pool, open.luns, open.relationships, open.wods)
const volumeOf = (open: OpenWods, name: string): Volume => open.relationships.volume(open.luns.find(name).number)

async function contents(device: { readonly size: number; read(offset: number, into: Uint8Array): Promise<void> }): Promise<Buffer> {
  const into = Buffer.alloc(device.size)
  await device.read(0, into)
  return into
}

async function imageBytes(images: WodImages, open: OpenWods): Promise<Buffer> {
  const device = await images.open(open.wods.find('w'), { readOnly: true })
  try {
    return await contents(device)
  } finally {
    await device.close()
  }
}

async function toTheEnd(body: ProcessBody | undefined): Promise<number> {
  let moved = 0
  for (;;) {
    const step = await body!.step(signal)
    moved += step.moved
    if (step.finished) return moved
  }
}

interface Prepared {
  readonly pool: WodPool
  readonly images: WodImages
  readonly image: WodImage
  readonly source: Volume
  /** What the device keeps, and what the source holds now. */
  readonly then: Buffer
  readonly now: Buffer
}

/**
 * "s" at a first instant on device "w", written at blocks 2, 3 (a part), 8 to 11 and 31 since.
 * @param others the LUN image "i" and snapshot "k" are there, of it as it is now; they lock its chunks, too
 */
async function prepared(kind: 'file' | 'store' = 'file', others = true): Promise<Prepared> {
  const pool = await WodPool.make()
  const { luns, relationships, trees } = pool.open
  await pool.create(kind, SIZE, BLOCK)
  for (const name of ['s', 'i']) await luns.create({ name, size: SIZE, raid: 'raid1', reserve: false })
  const images = imagesOf(pool.open)
  const source = volumeOf(pool.open, 's')
  const then = filled(0, SIZE, 1)
  await source.write(0, then)
  const image = await images.configure({ source: 's', image: 'w' })
  await images.enable([image], fresh)
  const now = Buffer.from(then)
  for (const [offset, length] of [
    [2 * BLOCK, BLOCK + SECTOR],
    [8 * BLOCK, 4 * BLOCK],
    [31 * BLOCK, BLOCK],
  ] as const) {
    filled(offset, length, 2).copy(now, offset)
    await source.write(offset, now.subarray(offset, offset + length))
  }
  if (others) {
    const { relationship } = await relationships.configure({ source: 's', image: 'i', chunkBytes: 32 * KIB })
    await relationships.enable([relationship], fresh)
    await trees.create({ names: ['s@k'], readOnly: true })
  }
  return { pool, images, image, source, then, now }
}

/** The image, the LUN image and the snapshot hold what they are of. */
async function expectOthers(open: OpenWods, images: WodImages, { then, now }: Pick<Prepared, 'then' | 'now'>): Promise<void> {
  expect((await imageBytes(images, open)).equals(then), 'the image on the device').toBe(true)
  expect((await contents(volumeOf(open, 'i'))).equals(now), 'the image on a LUN').toBe(true)
  expect((await contents(open.trees.volume(open.trees.find('s@k')))).equals(now), 'the snapshot').toBe(true)
}

test('the source is the instant at once, goes on under writes, and nobody else changes', async () => {
  const all = await prepared()
  const { pool, images, image, source, then } = all
  await expect(images.process(image, 'sourceUpdate')).resolves.toBeUndefined()
  expect(await images.startUpdate(image, { dryRun: true })).toBe(true)
  expect(image.isUpdating).toBe(false)
  expect(await images.startUpdate(image, really)).toBe(true)
  expect(await images.startUpdate(image, really)).toBe(false)
  expect(await image.frozen.count(32)).toBe(7)
  const body = (await images.process(image, 'sourceUpdate'))!
  expect(body.remaining()).toBe(7 * BLOCK)
  // On demand: only what is read is copied back.
  const piece = Buffer.alloc(SECTOR)
  await source.read(3 * BLOCK, piece)
  expect(piece.equals(then.subarray(3 * BLOCK, 3 * BLOCK + SECTOR))).toBe(true)
  expect(await image.frozen.count(32)).toBe(6)
  // A part of a block that is still to be copied back, one that never differed, and one that is done.
  const expected = Buffer.from(then)
  for (const offset of [9 * BLOCK + SECTOR, 20 * BLOCK, 3 * BLOCK]) {
    filled(offset, SECTOR, 7).copy(expected, offset)
    await source.write(offset, filled(offset, SECTOR, 7))
  }
  expect(await image.frozen.count(32)).toBe(5)
  expect((await contents(source)).equals(expected)).toBe(true)
  await expectOthers(pool.open, images, all)
  await toTheEnd(body)
  expect([image.isUpdating, image.wod.isMixed, image.isActive]).toEqual([false, false, true])
  expect((await contents(source)).equals(expected)).toBe(true)
  await expectOthers(pool.open, images, all)
  expect(await problems(pool.open.pool)).toEqual([])
  // What it had done is deleted behind it.
  expect(pool.open.wods.needsTidying).toBe(true)
  while (await pool.open.wods.tidy());
  expect(await problems(pool.open.pool)).toEqual([])
  await pool.open.pool.close()
})

test('a complete image gives back all of it, and what the source holds already is not written', async () => {
  const { pool, images, image, source, then } = await prepared()
  await images.startComplete(image, really)
  await toTheEnd(await images.process(image, 'completeImage'))
  await images.startUpdate(image, really)
  const { relationships, luns } = pool.open
  const sibling = relationships.of(luns.find('s'))[0]!
  const written: number[] = []
  source.lun.write = async (offset, data) => {
    written.push(offset / BLOCK, data.length / BLOCK)
    return Object.getPrototypeOf(source.lun).write.call(source.lun, offset, data) as Promise<void>
  }
  expect(await toTheEnd(await images.process(image, 'sourceUpdate'))).toBe(SIZE)
  expect(written).toEqual([2, 2, 8, 4, 31, 1])
  expect(await sibling.migrated.count()).toBe(14)
  expect((await contents(source)).equals(then)).toBe(true)
  await pool.open.pool.close()
})

test('a stopped update leaves the source mixed; started again it comes to its end', async () => {
  const all = await prepared()
  const { pool, images, image, source, then } = all
  const { relationships, luns, trees } = pool.open
  const sibling = relationships.of(luns.find('s'))[0]!
  await images.setDelay(image, 'sourceUpdate', 20, really)
  await images.startUpdate(image, really)
  for (const refused of [
    () => images.disable([image], really),
    () => images.enable([image], fresh),
    () => relationships.disable([sibling]),
    () => relationships.startUpdate(sibling, 'sourceUpdate'),
    () => trees.create({ names: ['s@x'] }),
    () => trees.restores.restore({ names: ['s@k'] }),
  ])
    await expect(refused()).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  const body = (await images.process(image, 'sourceUpdate'))!
  expect(await body.step(signal)).toEqual({ moved: BLOCK, finished: false })
  await body.end?.()
  expect(await images.stopUpdate(image, 'it was stopped')).toBe(6 * BLOCK)
  expect([image.isUpdating, image.wod.isMixed]).toEqual([false, true])
  expect(relationships.mixedBy(luns.find('s'))).toMatchObject({ number: image.number, kind: 'sourceUpdate' })
  expect(() => {
    relationships.checkOpen(luns.find('s'), { mixed: false })
  }).toThrow(expect.objectContaining({ code: 'ERR_MIXED', fix: expect.stringContaining(`StartSourceUpdate ${image.number}`) as string }))
  await expect(images.enable([image], fresh)).rejects.toMatchObject({ code: 'ERR_MIXED' })
  expect((await contents(source)).subarray(3 * BLOCK, 12 * BLOCK).equals(all.now.subarray(3 * BLOCK, 12 * BLOCK))).toBe(true)
  await expectOthers(pool.open, images, all)
  await pool.reopen()
  const after = imagesOf(pool.open)
  const again = after.named('w')!
  expect([again.wod.isMixed, again.wod.record.sourceDelay]).toEqual([true, 20])
  await after.startUpdate(again, really)
  await toTheEnd(await after.process(again, 'sourceUpdate'))
  expect([again.wod.isMixed, pool.open.relationships.mixedBy(pool.open.luns.find('s'))]).toEqual([false, undefined])
  expect((await contents(volumeOf(pool.open, 's'))).equals(then)).toBe(true)
  await expectOthers(pool.open, after, all)
  await pool.open.pool.close()
})

test('restoring a snapshot makes a mixed source whole', async () => {
  const { pool, images, image, now } = await prepared()
  await images.startUpdate(image, really)
  await images.stopUpdate(image, 'it was stopped')
  await pool.open.trees.restores.restore({ names: ['s@k'] })
  expect([image.wod.isMixed, image.wod.record.reason]).toEqual([false, ''])
  expect((await contents(volumeOf(pool.open, 's'))).equals(now)).toBe(true)
  await pool.reopen()
  expect(imagesOf(pool.open).named('w')!.wod.isMixed).toBe(false)
  await pool.open.pool.close()
})

test('no snapshot is taken during an update from a device, and differences count what it has still to do', async () => {
  const { pool, images, image } = await prepared()
  const { trees } = pool.open
  const before = trees.find('s@k')
  const differs = async (): Promise<number> => (await trees.diff('s@k', 's')).extents.reduce((sum, { length }) => sum + length, 0)
  expect([await differs(), await trees.isUnchangedSince(before)]).toEqual([0, true])
  await images.startUpdate(image, really)
  expect([await differs(), await trees.isUnchangedSince(before)]).toEqual([7 * BLOCK, false])
  await expect(trees.create({ names: ['s@u'] })).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  await expect(trees.clones.clone({ source: 's', name: 'copy' })).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
  await toTheEnd(await images.process(image, 'sourceUpdate'))
  expect(await differs()).toBe(7 * BLOCK)
  await trees.create({ names: ['s@u'] })
  await pool.open.pool.close()
})

test('a snapshot that is taken during an update from a LUN changes nothing for an image on a device', async () => {
  const all = await prepared()
  const { pool, images, source, now } = all
  const { relationships, trees } = pool.open
  const relationship = relationships.all[0]!
  await source.write(20 * BLOCK, filled(20 * BLOCK, 2 * BLOCK, 5))
  await relationships.startUpdate(relationship, 'sourceUpdate')
  await trees.create({ names: ['s@u'] })
  const expectAll = async (): Promise<void> => {
    expect((await contents(trees.volume(trees.find('s@u')))).equals(now), 'the snapshot of the updated source').toBe(true)
    await expectOthers(pool.open, images, all)
  }
  await expectAll()
  expect(await relationship.frozen.count()).toBeGreaterThan(0)
  await source.write(20 * BLOCK + SECTOR, filled(20 * BLOCK, SECTOR, 6))
  await expectAll()
  const update = (await relationships.process(relationship, 'sourceUpdate'))!
  while (!(await update.step()).finished);
  await expectAll()
  expect(await problems(pool.open.pool)).toEqual([])
  await pool.open.pool.close()
})

test('what is still to be copied back is read from the device where nothing may be written', async () => {
  const all = await prepared()
  await all.images.startUpdate(all.image, really)
  const { pool } = all
  Object.defineProperty(pool.open.relationships, 'readOnly', { get: () => true })
  const expected = Buffer.from(all.then)
  expect((await contents(all.source)).equals(expected)).toBe(true)
  const part = Buffer.alloc(3 * SECTOR)
  await all.source.read(9 * BLOCK - SECTOR, part)
  expect(part.equals(expected.subarray(9 * BLOCK - SECTOR, 9 * BLOCK + 2 * SECTOR))).toBe(true)
  expect(await all.image.frozen.count(32)).toBe(7)
  await pool.open.pool.close()
})

test('of what an update has still to do nothing is said to be a hole', async () => {
  const pool = await WodPool.make()
  const { luns, relationships } = pool.open
  await pool.create('file', 4 * MIB, BLOCK)
  for (const name of ['s', 'i']) await luns.create({ name, size: 4 * MIB, raid: 'raid0', reserve: false })
  const images = imagesOf(pool.open)
  const source = volumeOf(pool.open, 's')
  const { relationship } = await relationships.configure({ source: 's', image: 'i' })
  await relationships.enable([relationship], fresh)
  await volumeOf(pool.open, 'i').write(MIB, filled(0, 64 * KIB, 3))
  await relationships.startUpdate(relationship, 'sourceUpdate')
  const data = { offset: MIB, length: 64 * KIB, kind: 'data' }
  expect(await source.extents(0, 4 * MIB)).toEqual([
    { offset: 0, length: MIB, kind: 'hole' },
    data,
    { offset: MIB + 64 * KIB, length: 3 * MIB - 64 * KIB, kind: 'hole' },
  ])
  expect(await relationship.frozen.count()).toBe(2)
  await relationships.stopUpdate(relationship, 'enough')
  const image = await images.configure({ source: 's', image: 'w' })
  await images.enable([image], { ...fresh, forceMixed: true })
  await source.write(3 * MIB, filled(0, BLOCK, 3))
  await images.startUpdate(image, really)
  // The device says that it is zeros; the source does not.
  expect((await source.extents(3 * MIB, BLOCK)).map(({ kind }) => kind)).toEqual(['data'])
  await toTheEnd(await images.process(image, 'sourceUpdate'))
  expect((await contents(source)).equals(Buffer.alloc(4 * MIB))).toBe(true)
  await pool.open.pool.close()
})

test('a block that the device does not give fails its readers and the update, and the image goes on', async () => {
  const { pool, images, image, source, then, now } = await prepared()
  await images.startUpdate(image, really)
  pool.files.disks.get('/w.wod')!.plan = ({ kind, offset }) => (kind === 'read' && offset === 9 * BLOCK ? new LunarError('ERR_IO', 'broken') : undefined)
  const into = Buffer.alloc(BLOCK)
  await expect(source.read(9 * BLOCK, into)).rejects.toMatchObject({ code: 'ERR_IO' })
  await expect(source.write(9 * BLOCK, filled(0, SECTOR, 7))).rejects.toMatchObject({ code: 'ERR_IO' })
  await source.read(2 * BLOCK, into)
  expect(into.equals(then.subarray(2 * BLOCK, 3 * BLOCK))).toBe(true)
  const body = (await images.process(image, 'sourceUpdate'))!
  await expect(toTheEnd(body)).rejects.toMatchObject({ code: 'ERR_IO' })
  await body.end?.().catch(() => undefined)
  expect(await images.stopUpdate(image, 'broken')).toBeGreaterThan(0)
  await source.read(9 * BLOCK, into)
  expect(into.equals(now.subarray(9 * BLOCK, 10 * BLOCK))).toBe(true)
  await pool.open.pool.close()
})

test('a write waits for a block that a read still copies back when the update has been stopped', async () => {
  const { pool, images, image, source, then } = await prepared('file', false)
  await images.startUpdate(image, really)
  const gate = deferred<void>()
  const reached = deferred<void>()
  pool.files.disks.get('/w.wod')!.plan = ({ kind }) => {
    if (kind !== 'read') return undefined
    reached.resolve()
    return { delay: gate.promise }
  }
  const reading = source.read(8 * BLOCK, Buffer.alloc(BLOCK))
  await reached.promise
  await images.stopUpdate(image, 'it was stopped')
  const writing = source.write(8 * BLOCK, filled(8 * BLOCK, SECTOR, 9))
  gate.resolve()
  await Promise.all([reading, writing])
  const expected = Buffer.from(then.subarray(8 * BLOCK, 9 * BLOCK))
  filled(8 * BLOCK, SECTOR, 9).copy(expected)
  const into = Buffer.alloc(BLOCK)
  await source.read(8 * BLOCK, into)
  expect(into.equals(expected)).toBe(true)
  await pool.open.pool.close()
})

/** What a sector of the source may hold after a crash. */
class Allowed {
  private readonly sectors: Set<number>[]
  constructor(bytes: Buffer) {
    this.sectors = Array.from({ length: SIZE / SECTOR }, (_, i) => new Set([bytes.readUInt32LE(i * SECTOR)]))
  }
  copy(): Allowed {
    const copy = new Allowed(Buffer.alloc(SIZE))
    for (const [i, values] of this.sectors.entries()) copy.sectors[i] = new Set(values)
    return copy
  }
  add(offset: number, length: number, generation: number): void {
    for (let i = offset / SECTOR; i < (offset + length) / SECTOR; i++) this.sectors[i]!.add(generation)
  }
  settled(bytes: Buffer): void {
    for (const [i, values] of this.sectors.entries()) {
      values.clear()
      values.add(bytes.readUInt32LE(i * SECTOR))
    }
  }
  check(found: Buffer): void {
    const wrong = [...this.sectors.entries()].find(([i, values]) => !values.has(found.readUInt32LE(i * SECTOR)) || found.readUInt32LE(i * SECTOR + 4) !== i)
    if (wrong) expect(found.readUInt32LE(wrong[0] * SECTOR), `sector ${wrong[0]}, which may be ${[...wrong[1]].join(', ')}`).toBe(wrong[1])
  }
}

describe.each(['file', 'store'] as const)('from a %s', kind => {
  test('a crash at any moment leaves the source as it was or as updated, with what hosts wrote since', { timeout: 120_000 }, async () => {
    const all = await prepared(kind)
    const { pool, images, image, source, then } = all
    await pool.open.pool.metadata.checkpoint()
    const disks = [...pool.disks, ...pool.files.disks.values()]
    for (const disk of disks) await disk.flush()
    const tape = new Tape(disks)
    const random = new Random(11)
    const steps: { to: number; allowed: Allowed }[] = []
    const allowed = new Allowed(all.now)
    const step = async (run: () => Promise<unknown>): Promise<void> => {
      await run()
      steps.push({ to: tape.length, allowed: allowed.copy() })
    }
    const state = Buffer.from(then)
    for (let i = 0; i < SIZE; i += SECTOR) allowed.add(i, SECTOR, then.readUInt32LE(i))
    await step(() => images.startUpdate(image, really))
    allowed.settled(then)
    await images.setDelay(image, 'sourceUpdate', 1, really) // one block a step
    const body = (await images.process(image, 'sourceUpdate'))!
    for (let round = 10; image.isUpdating; round++) {
      const writes = Array.from({ length: 2 }, () => {
        const length = random.between(1, 200) * SECTOR
        return { offset: random.below((SIZE - length) / SECTOR) * SECTOR, length }
      })
      for (const { offset, length } of writes) allowed.add(offset, length, round)
      await step(() => Promise.all([body.step(signal), ...writes.map(({ offset, length }) => source.write(offset, filled(offset, length, round)))]))
      for (const { offset, length } of writes) filled(offset, length, round).copy(state, offset)
      if (random.chance(0.5)) continue
      await step(() => source.flush())
      allowed.settled(state)
    }
    tape.stop()
    expect((await contents(source)).equals(state)).toBe(true)
    const explorer = new CrashExplorer(tape)
    for (let i = 0; i < 40; i++) {
      const cut = Math.floor((tape.length * i) / 40)
      const crashed = explorer.at(cut).state(random)
      try {
        await expectAfterCrash(crashed, all, steps.find(({ to }) => cut <= to)!.allowed)
      } catch (error) {
        throw new Error(describeCrash(crashed).slice(0, 2000), { cause: error })
      }
    }
  })
})

async function expectAfterCrash(state: CrashState, all: Prepared, allowed: Allowed): Promise<void> {
  const files = new SimulatedFiles()
  const file = state.disks.find(({ name }) => name === '/w.wod')
  if (file) files.disks.set('/w.wod', file)
  const open = await openWods(
    state.disks.filter(disk => disk !== file),
    files,
  )
  expect(await problems(open.pool)).toEqual([])
  const images = imagesOf(open)
  const image = images.named('w')!
  await expectOthers(open, images, all)
  const sectors = Buffer.alloc(BLOCK)
  await volumeOf(open, 's').read(8 * BLOCK, sectors)
  if (image.isUpdating) await toTheEnd(await images.process(image, 'sourceUpdate'))
  const found = await contents(volumeOf(open, 's'))
  allowed.check(found)
  expect(found.subarray(8 * BLOCK, 9 * BLOCK).equals(sectors), 'what was read before the end').toBe(true)
  await expectOthers(open, images, all)
  expect(await problems(open.pool)).toEqual([])
  await open.pool.close()
}
