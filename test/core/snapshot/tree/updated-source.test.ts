/** Snapshots of a volume that an update is writing: they hold what it reads as, whatever is copied already. */
import { beforeEach, describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import type { Relationship, UpdateKind } from '../../../../src/core/snapshot/relationship.ts'
import { CHUNK, make, pool, problems, put, reopen, get as part } from './support.ts'

const relationship = (): Relationship => pool.relationships.all[0]!
const get = (name: string, page: number): Promise<number> => part(name, page, 0, CHUNK)
/** Pages 0 to 2, which are of one chunk of 16 KiB, and two others. */
const gets = (name: string): Promise<number[]> => Promise.all([0, 1, 2, 40, 300].map(page => get(name, page)))
const copyAll = async (kind: UpdateKind): Promise<void> => {
  const process = await pool.relationships.process(relationship(), kind)
  while (process && !(await process.step()).finished);
}

/** What the source held at the instant of the relationship, and holds now: pages 0, 40 and 300 differ. */
const THEN = [10, 11, 12, 0, 60]
const NOW = [20, 11, 12, 50, 61]

async function prepare(chunkBytes: number): Promise<void> {
  for (const [page, value] of [
    [0, 10],
    [1, 11],
    [2, 12],
    [300, 60],
  ] as const)
    await put('db', page, value)
  await pool.relationships.configure({ source: 'db', image: 'image', chunkBytes })
  await pool.relationships.enable([relationship()], { fresh: true, forceLostPart: false, forceMixed: false })
  await put('db', 0, 20)
  await put('db', 40, 50)
  await put('db', 300, 61)
}

beforeEach(async () => {
  await make('db', 'image')
})

describe.each([
  { chunk: CHUNK, treeChunk: 16 * KIB },
  { chunk: 32 * KIB, treeChunk: CHUNK },
])('with chunks of $chunk bytes, and snapshots of $treeChunk', ({ chunk, treeChunk }) => {
  beforeEach(() => prepare(chunk))

  test.each(['sourceUpdate', 'imageUpdate'] as const)('a snapshot during a %s reads as the volume does', async kind => {
    const [name, before, after] = kind === 'sourceUpdate' ? ['db', NOW, THEN] : ['image', THEN, NOW]
    const other = kind === 'sourceUpdate' ? 'image' : 'db'
    await pool.trees.create({ names: [`${name}@old`], chunkBytes: treeChunk })
    await pool.relationships.startUpdate(relationship(), kind)
    await pool.trees.create({ names: [`${name}@s1`, `${other}@other`] })
    const all: Record<string, number[]> = { [name]: after, [`${name}@old`]: before, [`${name}@s1`]: after, [`${other}@other`]: after }
    const expectAll = async (): Promise<void> => {
      for (const [one, values] of Object.entries(all)) expect([one, await gets(one)]).toEqual([one, values])
    }
    // The snapshots first: reading them copies nothing.
    for (const one of [`${name}@s1`, `${name}@old`]) expect(await gets(one)).toEqual(all[one])
    expect(await relationship().frozen.count()).toBeGreaterThan(0)
    const differs = async (from: string, to: string): Promise<number[]> => (await pool.trees.diff(from, to)).extents.map(({ offset }) => offset)
    expect(await differs(`${name}@old`, `${name}@s1`)).toEqual(await differs(`${name}@old`, name))
    expect(await differs(`${name}@old`, name)).toEqual(
      [0, 40 * CHUNK, 300 * CHUNK].map(at => Math.floor(at / Math.max(chunk, treeChunk)) * Math.max(chunk, treeChunk)),
    )
    expect(await differs(`${name}@s1`, name)).toEqual([])
    // A page beside one that is still to be copied, in one chunk of the snapshots with it.
    await put(name, 1, 31)
    all[name] = after.with(1, 31)
    await put(other, 40, 70)
    all[other] = after.with(3, 70)
    await pool.trees.create({ names: [`${name}@s2`] })
    all[`${name}@s2`] = all[name]
    await put(`${name}@s2`, 300, 90)
    all[`${name}@s2`] = all[name].with(4, 90)
    await reopen()
    await expectAll()
    await copyAll(kind)
    await reopen()
    await expectAll()
    expect(relationship().update).toBeUndefined()
    expect(await differs(`${name}@old`, `${name}@s1`)).toHaveLength(3)
    expect(await problems()).toEqual([])
    await pool.trees.delete(pool.trees.list())
    while (await pool.trees.tidy());
    expect(await pool.trees.stores.slots(pool.trees.stores.all[0]!).usedBytes()).toBe(0)
  })
})

describe('an update', () => {
  beforeEach(() => prepare(32 * KIB))

  test('copies nothing for snapshots that were taken during it, and is not stopped under them', async () => {
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    await pool.trees.create({ names: ['db@s1'], readOnly: true })
    await expect(pool.relationships.stopUpdate(relationship(), 'it was stopped')).rejects.toMatchObject({ code: 'ERR_HAS_SNAPSHOTS', blockers: ['db@s1'] })
    await copyAll('sourceUpdate')
    expect([await gets('db'), await gets('db@s1')]).toEqual([THEN, THEN])
    expect(await pool.trees.stores.slots(pool.trees.stores.all[0]!).usedBytes()).toBe(0)
    // The next one is another.
    await put('db', 0, 80)
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    expect(await pool.relationships.stopUpdate(relationship(), 'it was stopped')).toBeGreaterThan(0)
  })

  test('changes its volume since a snapshot of before, and not since one that was taken during it', async () => {
    await pool.trees.create({ names: ['db@old'] })
    const unchanged = (name: string): Promise<boolean> => pool.trees.isUnchangedSince(pool.trees.find(name))
    expect(await unchanged('db@old')).toBe(true)
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    expect(await unchanged('db@old')).toBe(false)
    await pool.trees.create({ names: ['db@s1'] })
    expect([await unchanged('db@old'), await unchanged('db@s1')]).toEqual([false, true])
    await copyAll('sourceUpdate')
    expect([await unchanged('db@old'), await unchanged('db@s1')]).toEqual([false, true])
    await put('db', 0, 80)
    expect(await unchanged('db@s1')).toBe(false)
  })

  test('may be stopped when they are deleted', async () => {
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    await pool.trees.create({ names: ['db@s1'] })
    await pool.trees.delete([pool.trees.find('db@s1')])
    expect(await pool.relationships.stopUpdate(relationship(), 'it was stopped')).toBeGreaterThan(0)
  })

  test('is cloned as it reads, and is not stopped before the clone is whole', async () => {
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    await pool.trees.clones.clone({ source: 'db', name: 'copy' })
    expect(await gets('copy')).toEqual(THEN)
    await expect(pool.relationships.stopUpdate(relationship(), 'it was stopped')).rejects.toMatchObject({ blockers: ['copy'] })
    const process = await pool.trees.clones.process(pool.relationships.clones[0]!)
    while (!(await process.step()).finished);
    expect(await gets('copy')).toEqual(THEN)
    expect(await pool.relationships.stopUpdate(relationship(), 'it was stopped')).toBeGreaterThan(0)
    expect(await gets('copy')).toEqual(THEN)
  })

  test('that loses its image loses the snapshots that were taken during it, and says so; those of before stay', async () => {
    await pool.trees.create({ names: ['db@old'] })
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    await pool.trees.create({ names: ['db@s1'] })
    await pool.trees.create({ names: ['db@s1@own'] })
    await pool.relationships.invalidate(relationship(), new Error('its disk is gone'))
    for (const name of ['db@s1', 'db@s1@own']) await expect(get(name, 0)).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_DROPPED' })
    await reopen()
    await expect(get('db@s1', 0)).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_DROPPED' })
    expect(await gets('db@old')).toEqual(NOW)
    expect(await problems()).toEqual([])
  })

  test('uses no space that is reserved for a snapshot taken during it', async () => {
    await pool.trees.create({ names: ['db@old'] })
    await pool.relationships.startUpdate(relationship(), 'sourceUpdate')
    await pool.trees.create({ names: ['db@s1'], reserve: true })
    await copyAll('sourceUpdate')
    const slots = pool.trees.stores.slots(pool.trees.stores.all[0]!)
    const { reserve } = pool.trees.find('db@s1')
    // What is kept for the older one lies elsewhere: every slot that the newer one may need is free.
    const inside: number[] = []
    for await (const { entry } of pool.trees.treeOf(pool.luns.find('db'))!.map.walk()) inside.push(Math.floor(((entry - 1) * CHUNK) / MIB))
    expect(inside.length).toBeGreaterThan(0)
    expect(inside.filter(slice => slice >= reserve!.from && slice < reserve!.from + reserve!.count)).toEqual([])
    expect(await slots.usedBytes()).toBeGreaterThan(0)
    expect(await gets('db@old')).toEqual(NOW)
  })
})
