import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { planEvacuation } from '../../../src/core/lun/evacuation-plan.ts'
import { Evacuation } from '../../../src/core/lun/evacuation.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { storeOf } from '../../../src/core/lun/slice-map.ts'
import { CrashExplorer, describeCrash } from '../../../src/core/block/crash-states.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import { readLabel } from '../../../src/metadata/label.ts'
import { independentCheck } from '../../support/independent-check.ts'
import { ioError } from '../../support/io-error.ts'
import { problems } from '../../support/problems.ts'
import { createSimulated, openSimulated, resync, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'
import { bytesOf } from '../pool/parity-twin.ts'

const SIZE = 12 * MIB
/** Crashes looked at for each way of leaving. */
const STATES = Number(process.env['STATES'] ?? 6)
const types = ['raid0', 'raid1', 'raid5'] as const

interface World extends OpenPool {
  readonly disks: SimulatedDisk[]
  readonly made: { lun: Lun; bytes: Uint8Array }[]
}

/** Six disks of 128 MiB with a LUN of each type, written in part. */
async function world(raids: readonly (typeof types)[number][] = types): Promise<World> {
  const disks = simulatedDisks(6, Array<number>(6).fill(128))
  await createSimulated(disks)
  const open = await openSimulated(disks)
  const made = []
  for (const [i, raid] of raids.entries()) {
    const lun = await open.luns.create({ name: raid, size: SIZE, raid, reserve: false })
    const bytes = new Uint8Array(SIZE)
    const random = new Random(i + 1)
    for (const at of [0, 3.5 * MIB, 9 * MIB]) {
      const part = bytesOf(MIB + 4096, random)
      bytes.set(part, at)
      await lun.write(at, part)
    }
    await lun.flush()
    made.push({ lun, bytes })
  }
  return { ...open, disks, made }
}

async function evacuate({ pool, luns }: OpenPool, number: number): Promise<void> {
  const disk = pool.disk(number)
  if (!disk.isLeaving) await pool.leave(disk)
  const body = new Evacuation(pool, luns, disk)
  while (!(await body.step(new AbortController().signal)).finished);
}

async function verify({ pool, made }: Pick<World, 'pool' | 'made'>): Promise<void> {
  for (const { lun, bytes } of made) {
    const read = new Uint8Array(SIZE)
    await lun.read(0, read)
    expect(Buffer.compare(read, bytes)).toBe(0)
    for (let slice = 0; slice < lun.sliceCount; slice++) {
      const check = await lun.verifySlice(slice, false)
      if (check && lun.types[0] !== 'raid0') expect(check).toMatchObject({ misfits: [], repaired: 0 })
      if (check) expect(lun.sliceHealth(check.place)).toBe('bound')
    }
  }
  expect(await problems(pool)).toEqual([])
}

/** What is on the disks, read by nothing of the pool's code and by the pool opened anew. */
async function verifyAnew({ pool, made }: World, rest: readonly SimulatedDisk[]): Promise<void> {
  await pool.close()
  const verdict = await independentCheck(rest)
  expect([...verdict.problems, ...verdict.damage]).toEqual([])
  const again = await openSimulated(rest)
  await verify({ pool: again.pool, made: made.map(({ lun, bytes }) => ({ lun: again.luns.find(lun.name), bytes })) })
  await again.pool.close()
}

test.each([0])('disk %i in service leaves: every byte is on the others, as redundant as before at every moment', async number => {
  const open = await world()
  const { pool, disks } = open
  const gone = disks[number]!
  const disk = pool.disk(number)
  expect(pool.heldSegments(disk)).toBeGreaterThan(0)
  await evacuate(open, number)
  expect(pool.disks.has(number)).toBe(false)
  for (const stores of pool.stores.values()) expect(stores.anyStale).toBe(false)
  expect((await readLabel(gone)).kind).toBe('empty')
  expect(pool.metadata.memberIds).toHaveLength(5)
  await verify(open)
  await verifyAnew(
    open,
    disks.filter(other => other !== gone),
  )
})

test('a disk that is gone for good leaves: redundancy is whole again on the others', async () => {
  const open = await world(['raid1', 'raid5'])
  const { pool, disks, made } = open
  disks[1]!.plan = ({ kind }) => ioError(kind)
  await pool.failDisk(pool.disk(1), new LunarError('ERR_IO', 'gone'))
  const part = bytesOf(MIB, new Random(77))
  for (const { lun, bytes } of made) {
    bytes.set(part, 512)
    await lun.write(512, part)
    await lun.flush()
  }
  await evacuate(open, 1)
  expect(pool.disks.has(1)).toBe(false)
  expect(await resync(pool)).toBeGreaterThan(0)
  await verify(open)
  await verifyAnew(
    open,
    disks.filter((_, i) => i !== 1),
  )
})

test('what only the disk that is gone had keeps it in the pool', async () => {
  const open = await world(['raid0'])
  const { pool, disks } = open
  disks[1]!.plan = ({ kind }) => ioError(kind)
  await pool.failDisk(pool.disk(1), new LunarError('ERR_IO', 'gone'))
  await expect(evacuate(open, 1)).rejects.toMatchObject({ code: expect.stringMatching(/ERR_IO|ERR_DATA_LOST/) as string })
  expect(pool.disks.has(1)).toBe(true)
  expect(await problems(pool)).toEqual([])
})

test('a bad place of the disk that leaves is taken from the others', async () => {
  const open = await world(['raid1', 'raid5'])
  const { pool, disks } = open
  disks[2]!.plan = ({ kind }) => (kind === 'read' ? ioError(kind) : undefined)
  await evacuate(open, 2)
  await resync(pool)
  await verify(open)
  await pool.close()
})

test('another disk fails in the middle: what it had taken goes elsewhere, and nothing is lost', async () => {
  for (const after of [0, 3, 9]) {
    const open = await world(['raid1', 'raid5'])
    const { pool, disks } = open
    let left = after
    disks[3]!.plan = ({ kind, length }) => (kind === 'write' && length >= MIB / 4 && left-- <= 0 ? ioError(kind) : undefined)
    await pool.leave(pool.disk(5))
    const error = await evacuate(open, 5).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    for (const { lun, bytes } of open.made) {
      const read = new Uint8Array(SIZE)
      await lun.read(0, read)
      expect(Buffer.compare(read, bytes)).toBe(0)
    }
    // Five disks less one are too few for parity: it waits for the next.
    if (error !== undefined) expect(error).toMatchObject({ code: 'ERR_POOL_FULL' })
    expect(await problems(pool)).toEqual([])
    await pool.close()
  }
})

test('writes, trims and new bindings go on meanwhile', async () => {
  const open = await world()
  const { made, disks } = open
  const random = new Random(5)
  let running = true
  const writers = made.map(async ({ lun, bytes }) => {
    while (running) {
      const slice = random.below(12)
      if (random.chance(0.2)) {
        await lun.trim(slice * MIB, MIB)
        bytes.fill(0, slice * MIB, (slice + 1) * MIB)
        await lun.cleanSome(4)
      } else {
        const part = bytesOf(4096 * random.between(1, 80), random)
        const at = Math.min(SIZE - part.length, slice * MIB + 512 * random.below(2048))
        bytes.set(part, at)
        await lun.write(at, part)
      }
      if (random.chance(0.1)) await lun.flush()
      await new Promise(resolve => setImmediate(resolve))
    }
  })
  await evacuate(open, 0)
  running = false
  await Promise.all(writers)
  for (const { lun } of made) await lun.flush()
  await verify(open)
  await verifyAnew(open, disks.slice(1))
})

test('a member is moved while the bytes that resync gave it are still being flushed: they are made anew in the new place', async () => {
  const open = await world(['raid1'])
  const { pool, disks, made } = open
  await pool.offline(pool.disk(2))
  const part = bytesOf(4 * MIB, new Random(3))
  for (const { lun, bytes } of made) {
    bytes.set(part, 2 * MIB)
    await lun.write(2 * MIB, part)
    await lun.flush()
  }
  await pool.online(pool.disk(2), undefined)
  // The copies are being flushed when the store is moved.
  let flushing: (() => void) | undefined
  const seen = new Promise<void>(resolve => (flushing = resolve))
  let go: (() => void) | undefined
  const held = new Promise<void>(resolve => (go = resolve))
  disks[2]!.plan = ({ kind }) => {
    if (kind !== 'flush') return undefined
    flushing?.()
    return { delay: held }
  }
  const copying = resync(pool)
  await seen
  const store = storeOf(made[0]!.lun.map.place(2))
  await pool.leave(pool.disk(2))
  const moved = made[0]!.lun.moveStore(store, pool.disk(2))
  await moved
  go?.()
  await copying
  await evacuate(open, 2)
  await resync(pool)
  await verify(open)
  await pool.close()
})

test.each([true, false])(
  'a crash at any point leaves a pool from which the disk leaves all the same, with every byte (in service: %s)',
  { timeout: 60_000 },
  async here => {
    const open = await world(here ? ['raid0', 'raid5'] : ['raid1', 'raid5'])
    const { pool, disks, made } = open
    const left = here ? disks : disks.slice(1)
    if (!here) await pool.offline(pool.disk(0))
    await pool.close()
    const again = await openSimulated(left)
    await again.pool.quiesce()
    for (const disk of left) await disk.flush()
    const tape = new Tape(left)
    const done = evacuate(again, 0)
    await done
    await resync(again.pool)
    await again.pool.close()
    tape.stop()
    const explorer = new CrashExplorer(tape)
    const random = new Random(11)
    for (let i = 0; i < STATES; i++) {
      const state = explorer.at(i === 0 ? tape.length : random.below(tape.length)).state(random)
      try {
        const labelled = []
        for (const disk of state.disks) if ((await readLabel(disk)).kind === 'label') labelled.push(disk)
        const after = await openSimulated(labelled)
        if (after.pool.disks.has(0)) await evacuate(after, 0)
        await resync(after.pool)
        await verify({ pool: after.pool, made: made.map(({ lun, bytes }) => ({ lun: after.luns.find(lun.name), bytes })) })
        await after.pool.close()
      } catch (error) {
        throw new Error(describeCrash(state), { cause: error })
      }
    }
  },
)

test('a removal that cannot end well is refused before anything is begun', async () => {
  const { pool, luns, made } = await world(['raid1', 'raid5'])
  const plan = await planEvacuation(pool, luns, pool.disk(2))
  expect(plan.reduce((sum, { segments }) => sum + segments, 0)).toBe(pool.heldSegments(pool.disk(2)) - pool.segments.get(2)!.count('metadata'))
  const others = [...pool.disks.values()].filter(({ number }) => number !== 2)
  const taken = others.map(({ number }) => ({ map: pool.segments.get(number)!, segments: [] as number[] }))
  for (const { map, segments } of taken) for (let segment = map.take(); segment !== undefined; segment = map.take()) segments.push(segment)
  await expect(planEvacuation(pool, luns, pool.disk(2))).rejects.toMatchObject({ code: 'ERR_POOL_FULL' })
  for (const { map, segments } of taken) for (const segment of segments) map.untake(segment)
  await pool.offline(pool.disk(1))
  await expect(planEvacuation(pool, luns, pool.disk(2))).rejects.toMatchObject({ code: 'ERR_TOO_FEW_DISKS' })
  await luns.delete(made[1]!.lun)
  await pool.offline(pool.disk(0))
  await expect(planEvacuation(pool, luns, pool.disk(1))).rejects.toMatchObject({ code: 'ERR_DATA_LOST', blockers: ['raid1'] })
  await pool.close()
})
