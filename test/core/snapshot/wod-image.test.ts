/** Images on write-once devices: the order of the reads, and lives against a model. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash, type CrashState } from '../../../src/core/block/crash-states.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import { readImage, type WodImage } from '../../../src/core/snapshot/wod-image.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import { WodImages } from '../../../src/core/snapshot/wod-images.ts'
import { openWods, SimulatedFiles, WodPool, wodKindsAll, type OpenWods } from '../../support/wod-pool.ts'

describe('the order of the reads', () => {
  type Step = () => void

  /** Every order of the steps of several actors, each actor's own in order. */
  function* orders(counts: readonly number[], chosen: readonly number[] = []): Generator<readonly number[]> {
    if (counts.every(count => count === 0)) yield chosen
    for (const [actor, count] of counts.entries())
      if (count > 0)
        yield* orders(
          counts.map((c, i) => (i === actor ? c - 1 : c)),
          [...chosen, actor],
        )
  }

  interface World {
    primary: string
    device: string | undefined
  }

  /** A writer as the volume is one: reads the old block, copies it (being refused is as good), overwrites. */
  const writer = (world: World, data: string): Step[] => {
    let old = ''
    return [
      () => {
        old = world.primary
      },
      () => {
        world.device ??= old
      },
      () => {
        world.primary = data
      },
    ]
  }

  /** What a reader finds in every interleaving with two writers; its two reads in the given order. */
  function found(order: 'primary first' | 'device first'): Set<string> {
    const results = new Set<string>()
    for (const sequence of orders([3, 3, 2])) {
      const world: World = { primary: 'old', device: undefined }
      let primary = ''
      let device: string | undefined
      const reads: Step[] = [
        () => {
          primary = world.primary
        },
        () => {
          device = world.device
        },
      ]
      const actors = [writer(world, 'new 1'), writer(world, 'new 2'), order === 'primary first' ? reads : reads.reverse()]
      const at = [0, 0, 0]
      for (const actor of sequence) actors[actor]![at[actor]!++]!()
      results.add(device ?? primary)
    }
    return results
  }

  test('the primary first: every interleaving with two writers reads the instant', () => {
    expect([...orders([3, 3, 2])]).toHaveLength(560)
    expect([...found('primary first')]).toEqual(['old'])
  })

  test('the device first reads what was written later', () => {
    expect([...found('device first')].sort()).toEqual(['new 1', 'new 2', 'old'])
  })

  test('an image reads the primary, and when that has ended the device', async () => {
    const calls: string[] = []
    const into = new Uint8Array(1)
    const source = async (): Promise<void> => {
      calls.push('primary begins')
      await new Promise(setImmediate)
      calls.push('primary ends')
    }
    const overlay = (): Promise<void> => {
      calls.push('device')
      return Promise.resolve()
    }
    await readImage(0, into, source, { overlay, read: () => Promise.reject(new Error('not asked')) })
    expect(calls).toEqual(['primary begins', 'primary ends', 'device'])
  })
})

const SIZE = 2 * MIB
const BLOCK = 64 * KIB

const fresh = { fresh: true, forceLostPart: false, forceMixed: false, dryRun: false }

/** Runs complete image to its end. @returns bytes copied */
async function complete(images: WodImages, image: WodImage): Promise<number> {
  await images.startComplete(image, { dryRun: false })
  const body = (await images.process(image, 'completeImage'))!
  let copied = 0
  for (;;) {
    const step = await body.step(new AbortController().signal)
    copied += step.moved
    if (step.finished) return copied
  }
}

const imagesOf = (open: OpenWods): WodImages => new WodImages(open.pool, open.luns, open.relationships, open.wods)

/** Sectors that name a generation. */
function filled(length: number, generation: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 512) bytes.writeUInt32LE(generation, at)
  return bytes
}

function someRange(random: Random): { offset: number; length: number } {
  const length = random.chance(0.1) ? random.between(200, 1000) : random.between(1, 40)
  return { offset: random.below(SIZE / 512 - length) * 512, length: length * 512 }
}

async function readBack(images: WodImages, open: OpenWods): Promise<Buffer> {
  const device = await images.open(open.wods.find('w'), { readOnly: true })
  const into = Buffer.alloc(device.size)
  await device.read(0, into)
  await device.close()
  return into
}

/** A pool with a written source "s" and a device "w" that is its image, enabled. */
async function prepared(kind: (typeof wodKindsAll)[number]): Promise<{ pool: WodPool; images: WodImages; contents: Buffer }> {
  const pool = await WodPool.make()
  await pool.create(kind, SIZE, BLOCK)
  const lun = await pool.open.luns.create({ name: 's', size: SIZE, raid: 'raid1', reserve: false })
  const images = imagesOf(pool.open)
  const contents = filled(SIZE, 1)
  await pool.open.relationships.volume(lun.number).write(0, contents)
  const image = await images.configure({ source: 's', image: 'w' })
  await images.enable([image], fresh)
  return { pool, images, contents }
}

const sourceOf = (open: OpenWods) => open.relationships.volume(open.luns.find('s').number)

describe.each(wodKindsAll)('an image on a %s', kind => {
  test('keeps the instant under writes at once, is complete without its source, and is renewed', async () => {
    const random = new Random(7)
    const { pool, images, contents } = await prepared(kind)
    const image = images.named('w')!
    const instant = Buffer.from(contents)
    for (let round = 2; round < 30; round++) {
      // Several writers and readers at once, over each other.
      await Promise.all(
        Array.from({ length: 4 }, async (_, i) => {
          const { offset, length } = someRange(random)
          await sourceOf(pool.open).write(offset, filled(length, round * 10 + i))
        }).concat(readBack(images, pool.open).then(found => expect(found.equals(instant), `round ${round}`).toBe(true))),
      )
    }
    expect((await readBack(images, pool.open)).equals(instant)).toBe(true)
    await complete(images, image)
    expect(await images.isWhole(image)).toBe(true)
    await images.disable([image], { dryRun: false })
    await sourceOf(pool.open).write(0, filled(SIZE, 999))
    expect((await readBack(images, pool.open)).equals(instant)).toBe(true)
    await expect(images.enable([image], { ...fresh, fresh: false })).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
    await images.enable([image], fresh)
    expect((await readBack(images, pool.open)).equals(filled(SIZE, 999))).toBe(true)
    await expect(pool.open.wods.reallocate(image.wod, { offset: 0, length: SIZE })).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
    await expect(pool.open.wods.delete(image.wod, { dryRun: false })).rejects.toMatchObject({ code: 'ERR_IN_RELATIONSHIP' })
  })

  test('a crash while its source is written leaves the instant', { timeout: 60_000 }, async () => {
    const { pool, contents } = await prepared(kind)
    await pool.open.pool.metadata.checkpoint()
    const disks = [...pool.disks, ...pool.files.disks.values()]
    for (const disk of disks) await disk.flush()
    const tape = new Tape(disks)
    const random = new Random(5)
    for (let round = 2; round < 12; round++) {
      await Promise.all(
        Array.from({ length: 3 }, async () => {
          const { offset, length } = someRange(random)
          await sourceOf(pool.open).write(offset, filled(length, round))
        }),
      )
    }
    tape.stop()
    const explorer = new CrashExplorer(tape)
    for (let i = 0; i < 30; i++) {
      const state = explorer.at(Math.floor((tape.length * i) / 30)).state(random)
      try {
        await expectInstant(state, contents)
      } catch (error) {
        throw new Error(describeCrash(state).slice(0, 2000), { cause: error })
      }
    }
  })
})

async function expectInstant(state: CrashState, contents: Buffer): Promise<void> {
  const files = new SimulatedFiles()
  const file = state.disks.find(({ name }) => name === '/w.wod')
  if (file) files.disks.set('/w.wod', file)
  const open = await openWods(
    state.disks.filter(disk => disk !== file),
    files,
  )
  expect((await readBack(imagesOf(open), open)).equals(contents)).toBe(true)
}

test('a device that fails is dropped and its source goes on', async () => {
  const { pool, images } = await prepared('file')
  const image = images.named('w')!
  pool.files.disks.get('/w.wod')!.plan = ({ kind }) => (kind === 'write' ? new LunarError('ERR_IO', 'broken') : undefined)
  await sourceOf(pool.open).write(0, filled(4096, 5))
  expect(image.wod.isInvalid).toBe(true)
  await expect(images.open(image.wod, { readOnly: true })).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' })
  await pool.open.pool.close()
})

test('a device without room fails the write, and the source is as it was', async () => {
  const { pool, images, contents } = await prepared('file')
  pool.files.disks.get('/w.wod')!.plan = ({ kind }) => (kind === 'reserve' ? new LunarError('ERR_HOST_FULL', 'full') : undefined)
  await expect(sourceOf(pool.open).write(0, filled(4096, 5))).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
  const into = Buffer.alloc(SIZE)
  await sourceOf(pool.open).read(0, into)
  expect(into.equals(contents)).toBe(true)
  expect((await readBack(images, pool.open)).equals(contents)).toBe(true)
})

test('what is unbound in the source, or zeros, is recorded and neither read nor copied', async () => {
  const pool = await WodPool.make()
  await pool.create('file', 4 * MIB, BLOCK)
  const lun = await pool.open.luns.create({ name: 's', size: 4 * MIB, raid: 'raid1', reserve: false })
  const images = imagesOf(pool.open)
  const volume = pool.open.relationships.volume(lun.number)
  const contents = Buffer.alloc(4 * MIB)
  contents.set(filled(BLOCK, 1), MIB)
  await volume.write(MIB, contents.subarray(MIB, 2 * MIB))
  const image = await images.configure({ source: 's', image: 'w' })
  await images.enable([image], fresh)
  const written: number[] = []
  pool.files.disks.get('/w.wod')!.plan = ({ kind, length }) => {
    if (kind === 'write') written.push(length)
    return undefined
  }
  await volume.write(MIB - BLOCK, filled(MIB, 2))
  await volume.write(3 * MIB + 512, filled(512, 3))
  expect(written).toEqual([BLOCK])
  expect((await readBack(images, pool.open)).equals(contents)).toBe(true)
  expect(await pool.open.wods.countWritten(image.wod)).toBe(17)
  await pool.open.pool.close()
})

describe('images on a device and on a LUN', () => {
  /** "s" holds generation 1 and both images are of it; then it holds 2. */
  async function both(): Promise<{ pool: WodPool; images: WodImages; relationship: Relationship; image: WodImage }> {
    const pool = await WodPool.make()
    await pool.create('file', SIZE, BLOCK)
    const { luns, relationships } = pool.open
    const source = await luns.create({ name: 's', size: SIZE, raid: 'raid1', reserve: false })
    await luns.create({ name: 'i', size: SIZE, raid: 'raid1', reserve: false })
    const { relationship } = await relationships.configure({ source: 's', image: 'i' })
    const images = imagesOf(pool.open)
    const image = await images.configure({ source: 's', image: 'w' })
    await relationships.volume(source.number).write(0, filled(SIZE, 1))
    await images.enable([image], fresh, [relationship])
    await relationships.volume(source.number).write(0, filled(SIZE, 2))
    return { pool, images, relationship, image }
  }

  const generations = async (open: OpenWods): Promise<number[]> => {
    const lun = Buffer.alloc(SIZE)
    await open.relationships.volume(open.luns.find('i').number).read(0, lun)
    const images = imagesOf(open)
    const image = images.named('w')!
    const wod = image.wod.isEnabled ? await readBack(images, open) : undefined
    for (const bytes of [lun, wod]) if (bytes) expect(bytes.equals(filled(SIZE, bytes.readUInt32LE(0)))).toBe(true)
    return [lun.readUInt32LE(0), wod?.readUInt32LE(0) ?? 0]
  }

  test('take one instant, together with nothing that is refused, and end together', async () => {
    const { pool, images, relationship, image } = await both()
    expect(image.wod.record.asOfMs).toBe(relationship.record.asOfMs)
    expect(await generations(pool.open)).toEqual([1, 1])
    const reader = await images.open(image.wod, { readOnly: true })
    await expect(images.enable([image], fresh, [relationship])).rejects.toMatchObject({ code: 'ERR_BUSY' })
    await reader.close()
    pool.open.luns.find('i').users.push('somebody')
    await expect(images.enable([image], fresh, [relationship])).rejects.toMatchObject({ code: 'ERR_BUSY' })
    await expect(images.disable([image], { dryRun: false }, [relationship])).rejects.toMatchObject({ code: 'ERR_BUSY' })
    pool.open.luns.find('i').users.pop()
    expect((await images.enable([image], { ...fresh, dryRun: true }, [relationship])).changed.size).toBe(1)
    expect(await generations(pool.open)).toEqual([1, 1])
    const { changed, enabled } = await images.enable([image], { ...fresh, fresh: false }, [relationship])
    expect([changed.size, enabled.map(one => one.changed)]).toEqual([0, [false]])
    await images.enable([image], fresh, [relationship])
    expect(await generations(pool.open)).toEqual([2, 2])
    await images.disable([image], { dryRun: false }, [relationship])
    expect([image.wod.isEnabled, relationship.isEnabled]).toEqual([false, false])
    await pool.open.pool.close()
  })

  test('a crash while they are enabled anew leaves both at the old instant or both at the new one', { timeout: 60_000 }, async () => {
    const { pool, images, relationship, image } = await both()
    await pool.open.pool.metadata.checkpoint()
    const disks = [...pool.disks, ...pool.files.disks.values()]
    for (const disk of disks) await disk.flush()
    const tape = new Tape(disks)
    await images.enable([image], fresh, [relationship])
    await sourceOf(pool.open).write(0, filled(SIZE, 3))
    tape.stop()
    const explorer = new CrashExplorer(tape)
    const random = new Random(3)
    const seen = new Set<string>()
    for (let cut = 0; cut <= tape.length; cut++) {
      const state = explorer.at(cut).state(random)
      const files = new SimulatedFiles()
      const file = state.disks.find(({ name }) => name === '/w.wod')!
      files.disks.set('/w.wod', file)
      seen.add(String(await generations(await openWods(state.disks.filter(disk => disk !== file), files)))) // prettier-ignore
    }
    expect([...seen].sort()).toEqual(['1,1', '2,2'])
  })
})

describe('complete image', () => {
  test('goes on where it was, beside writes of the source, and needs the source no more', async () => {
    const { pool, images, contents } = await prepared('vdisk')
    const image = images.named('w')!
    await images.setDelay(image, 'completeImage', 0, { dryRun: false })
    await expect(images.process(image, 'completeImage')).resolves.toBeUndefined()
    expect(await images.startComplete(image, { dryRun: true })).toBe(true)
    expect(await images.startComplete(image, { dryRun: false })).toBe(true)
    expect(await images.startComplete(image, { dryRun: false })).toBe(false)
    await expect(images.enable([image], fresh)).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
    await images.setDelay(image, 'completeImage', 20, { dryRun: false })
    const body = (await images.process(image, 'completeImage'))!
    expect([body.pace?.(), body.remaining()]).toEqual([20, SIZE])
    // With a pace, one block a step.
    expect(await body.step(new AbortController().signal)).toEqual({ moved: BLOCK, finished: false })
    await pool.reopen()
    const after = imagesOf(pool.open)
    const again = after.named('w')!
    expect(again.isCompleting).toBe(true)
    const second = (await after.process(again, 'completeImage'))!
    expect(second.remaining()).toBe(SIZE - BLOCK)
    await sourceOf(pool.open).write(3 * BLOCK + 512, filled(4 * BLOCK, 9))
    for (;;) if ((await second.step(new AbortController().signal)).finished) break
    expect([again.isCompleting, await after.isWhole(again)]).toEqual([false, true])
    await after.disable([again], { dryRun: false })
    await sourceOf(pool.open).write(0, filled(SIZE, 10))
    expect((await readBack(after, pool.open)).equals(contents)).toBe(true)
    await pool.open.pool.close()
  })
})
