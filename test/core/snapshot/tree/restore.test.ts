/** Restoring a LUN to a snapshot: it reads as the snapshot at once, nothing newer is lost, and what differs is copied back behind it. */
import { beforeEach, describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { CHUNK, disks, get, make, pool, problems, put, reopen, SIZE, volume } from './support.ts'

const gets = (name: string, chunks: readonly number[] = [0, 1, 2, 3, 4, 300]): Promise<number[]> => Promise.all(chunks.map(chunk => get(name, chunk)))
const raw = async (chunk: number): Promise<number> => {
  const into = new Uint8Array(512)
  await pool.luns.find('db').read(chunk * CHUNK, into)
  return into[0]!
}
const restore = (name: string, more: { keepBefore?: string; keepSize?: boolean; dryRun?: boolean } = {}) =>
  pool.trees.restores.restore({ names: [name], ...more })
/** Copies back to the end. @returns bytes copied */
const copyBack = async (): Promise<number> => {
  let moved = 0
  for (const tree of pool.trees.all) {
    const process = await pool.trees.restores.process(tree)
    for (let finished = !process; !finished;) {
      const step = await process!.step()
      moved += step.moved
      finished = step.finished
    }
  }
  return moved
}
const treeOf = (name = 'db') => pool.trees.treeOf(pool.luns.find(name))!

beforeEach(async () => {
  await make('db', 'web')
  for (let chunk = 0; chunk < 4; chunk++) await put('db', chunk, 10 + chunk)
  await pool.trees.create({ names: ['db@s1'], readOnly: true })
  await put('db', 0, 20)
  await put('db', 1, 21)
  await put('db', 300, 22)
  await pool.trees.create({ names: ['db@s2'] })
  await put('db', 0, 30)
  await put('db', 2, 32)
  await put('db@s2', 3, 33)
})

const S1 = [10, 11, 12, 13, 0, 0]
const S2 = [20, 21, 12, 33, 0, 22]
const NOW = [30, 21, 32, 13, 0, 22]

describe('a restore', () => {
  test('makes the LUN read as the snapshot at once, keeps newer snapshots, and the state before as one', async () => {
    expect(await gets('db')).toEqual(NOW)
    const [restored] = await restore('db@s1')
    expect(restored).toMatchObject({ volume: 'db', before: 'db@before-restore-1', changed: true })
    const all = { db: S1, 'db@s1': S1, 'db@s2': S2, 'db@before-restore-1': NOW }
    for (const [name, values] of Object.entries(all)) expect([name, await gets(name)]).toEqual([name, values])
    // Nothing was copied yet.
    expect(await raw(0)).toBe(30)
    await reopen()
    for (const [name, values] of Object.entries(all)) expect([name, await gets(name)]).toEqual([name, values])
    expect(await copyBack()).toBe(4 * CHUNK)
    expect([await raw(0), await raw(300)]).toEqual([10, 0])
    expect(treeOf().restoring).toBeUndefined()
    for (const [name, values] of Object.entries(all)) expect([name, await gets(name)]).toEqual([name, values])
    await reopen()
    for (const [name, values] of Object.entries(all)) expect([name, await gets(name)]).toEqual([name, values])
    expect(await problems()).toEqual([])
  })

  test('to a writable snapshot has what was written to it, and what is written to it later it has not', async () => {
    await restore('db@s2')
    expect(await gets('db')).toEqual(S2)
    await put('db@s2', 3, 43)
    await put('db@s2', 1, 41)
    await put('db@s2', 5, 45)
    expect(await gets('db')).toEqual(S2)
    expect(await get('db', 5)).toBe(0)
    expect(await gets('db@s2', [1, 3, 5])).toEqual([41, 43, 45])
    await copyBack()
    expect(await gets('db')).toEqual(S2)
    expect(await get('db', 5)).toBe(0)
    expect(await gets('db@before-restore-1')).toEqual(NOW)
    expect(await problems()).toEqual([])
  })

  test('is written to while it is copied back: the chunk is copied first', async () => {
    await restore('db@s1')
    await put('db', 0, 50, 512)
    await put('db', 4, 54, 512)
    await volume('db').zero(2 * CHUNK, CHUNK)
    const now = [50, 11, 0, 13, 54, 0]
    expect(await gets('db')).toEqual(now)
    expect(await get('db', 0, 512)).toBe(10)
    expect(await gets('db@before-restore-1')).toEqual(NOW)
    expect(await gets('db@s1')).toEqual(S1)
    await copyBack()
    expect(await gets('db')).toEqual(now)
    expect(await gets('db@before-restore-1')).toEqual(NOW)
    expect(await gets('db@s2')).toEqual(S2)
    expect(await problems()).toEqual([])
  })

  test('can be snapshotted while it is copied back', async () => {
    await restore('db@s1')
    await put('db', 0, 50)
    await pool.trees.create({ names: ['db@s3'] })
    await put('db', 1, 51)
    await put('db@s3', 2, 62, 512)
    const s3 = [50, 11, 62, 13, 0, 0]
    expect(await gets('db@s3')).toEqual(s3)
    expect(await get('db@s3', 2, 512)).toBe(12)
    expect(await gets('db')).toEqual([50, 51, 12, 13, 0, 0])
    const { extents } = await pool.trees.diff('db@before-restore-1', 'db@s3')
    expect(extents.map(({ offset }) => offset / CHUNK)).toEqual(expect.arrayContaining([0, 300]))
    await reopen()
    expect(await gets('db@s3')).toEqual(s3)
    await copyBack()
    expect(await gets('db@s3')).toEqual(s3)
    expect(await gets('db')).toEqual([50, 51, 12, 13, 0, 0])
    expect(await gets('db@before-restore-1')).toEqual(NOW)
    expect(await problems()).toEqual([])
  })

  test('takes what it goes to and the state before with it when they are deleted', async () => {
    await restore('db@s1')
    const hidden = await pool.trees.delete(['db@s1', 'db@before-restore-1', 'db@s2'].map(name => pool.trees.find(name)))
    expect(hidden.map(({ record }) => record.name)).toEqual(['s1', 'before-restore-1'])
    while (await pool.trees.tidy());
    expect(() => {
      pool.trees.checkNone(pool.luns.find('db'), 'delete')
    }).toThrow(expect.objectContaining({ code: 'ERR_RESTORING' }))
    await reopen()
    expect(await gets('db')).toEqual(S1)
    await copyBack()
    while (await pool.trees.tidy());
    expect(await gets('db')).toEqual(S1)
    expect(pool.trees.all).toEqual([])
    expect(await pool.trees.stores.slots(pool.trees.stores.all[0]!).usedBytes()).toBe(0)
    expect(await problems()).toEqual([])
  })

  test('of several LUNs is one commit, and back again by the state before', async () => {
    await put('web', 0, 70)
    await pool.trees.create({ names: ['web@s1'] })
    await put('web', 0, 71)
    const made = await pool.trees.restores.restore({ names: ['db@s1', 'web@s1'], keepBefore: 'oops' })
    expect(made.map(({ before }) => before)).toEqual(['db@oops', 'web@oops'])
    expect([await gets('db'), await get('web', 0)]).toEqual([S1, 70])
    await copyBack()
    await restore('db@oops')
    expect(await gets('db')).toEqual(NOW)
    expect(await gets('db@before-restore-1')).toEqual(S1)
    await copyBack()
    expect(await gets('db')).toEqual(NOW)
    expect(await gets('db@before-restore-1')).toEqual(S1)
    expect(await problems()).toEqual([])
  })

  test('preserves for relationships, which were enabled before it', async () => {
    await pool.luns.create({ name: 'image', size: SIZE, raid: 'raid0', reserve: false })
    const { relationship } = await pool.relationships.configure({ source: 'db', image: 'image', chunkBytes: 32 * KIB })
    await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
    await restore('db@s1')
    expect([await gets('image'), await gets('db')]).toEqual([NOW, S1])
    await expect(pool.relationships.disable([relationship])).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
    await copyBack()
    expect([await gets('image'), await gets('db')]).toEqual([NOW, S1])
  })

  test('takes back an update that was stopped: the LUN is of one instant again', async () => {
    await pool.luns.create({ name: 'image', size: SIZE, raid: 'raid0', reserve: false })
    const { relationship } = await pool.relationships.configure({ source: 'db', image: 'image', chunkBytes: 32 * KIB })
    await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
    await put('db', 0, 90)
    await pool.trees.create({ names: ['db@before'], readOnly: true })
    await pool.relationships.startUpdate(relationship, 'sourceUpdate')
    await expect(restore('db@before')).rejects.toMatchObject({ code: 'ERR_RELATIONSHIP_STATE' })
    await pool.relationships.stopUpdate(relationship, 'it was stopped')
    const db = pool.luns.find('db')
    expect(() => {
      pool.relationships.checkOpen(db, { mixed: false })
    }).toThrow(expect.objectContaining({ code: 'ERR_MIXED' }))
    await restore('db@before')
    pool.relationships.checkOpen(db, { mixed: false })
    expect(await get('db', 0)).toBe(90)
    await reopen()
    pool.relationships.checkOpen(pool.luns.find('db'), { mixed: false })
  })

  test('of an image restores the image, and its source is not changed', async () => {
    await pool.luns.create({ name: 'image', size: SIZE, raid: 'raid0', reserve: false })
    const { relationship } = await pool.relationships.configure({ source: 'db', image: 'image', chunkBytes: 32 * KIB })
    await pool.relationships.enable([relationship], { fresh: true, forceLostPart: false, forceMixed: false })
    await pool.trees.create({ names: ['image@i1'] })
    await put('image', 0, 80)
    await put('db', 1, 81)
    await restore('image@i1')
    expect(await gets('image')).toEqual(NOW)
    await copyBack()
    await put('db', 2, 82)
    expect(await gets('image')).toEqual(NOW)
    expect(await gets('db')).toEqual([30, 81, 82, 13, 0, 22])
    expect(await get('image@before-restore-1', 0)).toBe(80)
  })

  test('is refused while somebody has the LUN open, while it is protected, or is being restored elsewhere', async () => {
    const db = pool.luns.find('db')
    db.users.push('process 7')
    await expect(restore('db@s1')).rejects.toMatchObject({ code: 'ERR_BUSY' })
    db.users.splice(0)
    await pool.luns.setProtected(db, true)
    await expect(restore('db@s1')).rejects.toMatchObject({ code: 'ERR_PROTECTED' })
    await pool.luns.setProtected(db, false)
    await expect(restore('db@s1', { keepBefore: 's2' })).rejects.toMatchObject({ code: 'ERR_EXISTS' })
    await restore('db@s1', { dryRun: true })
    expect(await gets('db')).toEqual(NOW)
    await restore('db@s1')
    await expect(restore('db@s2')).rejects.toMatchObject({ code: 'ERR_RESTORING' })
    expect((await restore('db@s1'))[0]).toMatchObject({ changed: false, before: 'db@before-restore-1' })
  })

  test('of a LUN that has grown keeps its size when that is asked for, with zeros behind the snapshot', async () => {
    const db = pool.luns.find('db')
    const [S, last] = [SIZE / CHUNK, SIZE / CHUNK + 511]
    await pool.luns.resize(db, SIZE + 2 * MIB, { force: false })
    await put('db', S, 70)
    await put('db', last, 71)
    await restore('db@s1', { keepSize: true })
    const all = async (): Promise<void> => {
      expect([await gets('db'), await gets('db@before-restore-1')]).toEqual([S1, NOW])
      expect(await gets('db', [S, S + 1, last])).toEqual([0, 90, 0])
      expect(await gets('db@before-restore-1', [S, S + 1, last])).toEqual([70, 0, 71])
    }
    expect(await gets('db', [S, S + 1, last])).toEqual([0, 0, 0])
    expect((await volume('db').extents(SIZE, 2 * MIB)).every(({ kind }) => kind === 'hole')).toBe(true)
    // Where it is written it is back; what is added now is no part of it.
    await put('db', S + 1, 90)
    await all()
    await pool.luns.resize(db, SIZE + 3 * MIB, { force: false })
    await put('db', last + 1, 91)
    await pool.trees.create({ names: ['db@s3'], readOnly: true })
    await put('db', last + 1, 92)
    await reopen()
    await all()
    expect([await gets('db', [last + 1]), await gets('db@s3', [S, S + 1, last, last + 1])]).toEqual([[92], [0, 90, 0, 91]])
    await copyBack()
    await reopen()
    await all()
    expect([await gets('db', [last + 1]), await gets('db@s3', [S, S + 1, last, last + 1])]).toEqual([[92], [0, 90, 0, 91]])
    expect(await problems()).toEqual([])
  })

  test('of a writable snapshot to one of its own changes nothing else, and the LUN can be restored to it then', async () => {
    await pool.trees.create({ names: ['db@s2@x'], readOnly: true })
    await put('db@s2', 0, 40)
    await put('db@s2', 4, 44)
    const kept = [40, 21, 12, 33, 44, 22]
    pool.trees.find('db@s2').users.push('process 7')
    await expect(restore('db@s2@x')).rejects.toMatchObject({ code: 'ERR_BUSY' })
    pool.trees.find('db@s2').users.splice(0)
    expect(await restore('db@s2@x')).toMatchObject([{ volume: 'db@s2', before: 'db@s2@before-restore-1', changed: true }])
    const all = { db: NOW, 'db@s1': S1, 'db@s2': S2, 'db@s2@x': S2, 'db@s2@before-restore-1': kept }
    for (const [name, values] of Object.entries(all)) expect([name, await gets(name)]).toEqual([name, values])
    // What is still coming back is nothing to restore to.
    await expect(restore('db@s2')).rejects.toMatchObject({ code: 'ERR_RESTORING' })
    await expect(pool.trees.refresh(pool.trees.find('db@s2'))).rejects.toMatchObject({ code: 'ERR_HAS_SNAPSHOTS' })
    await put('db@s2', 0, 50, 512)
    expect([await get('db@s2', 0), await get('db@s2', 0, 512), await get('db@s2@x', 0)]).toEqual([50, 20, 20])
    await reopen()
    for (const [name, values] of Object.entries({ ...all, 'db@s2': [50, ...S2.slice(1)] })) expect([name, await gets(name)]).toEqual([name, values])
    expect(await copyBack()).toBe(CHUNK)
    expect(await gets('db@s2')).toEqual([50, ...S2.slice(1)])
    await restore('db@s2')
    await expect(restore('db@s2@x')).rejects.toMatchObject({ code: 'ERR_RESTORING' })
    expect(await gets('db')).toEqual([50, ...S2.slice(1)])
    await copyBack()
    expect(await gets('db')).toEqual([50, ...S2.slice(1)])
    expect(await gets('db@s2@before-restore-1')).toEqual(kept)
    expect(await problems()).toEqual([])
    // Deleted, it is kept for what rests on it, and is no volume any more.
    await pool.trees.delete([pool.trees.find('db@s2')])
    await expect(restore('db@s2@x')).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_NOT_FOUND' })
  })

  test('that is stopped goes on reading as the snapshot, and goes on when it is repeated', async () => {
    await restore('db@s1')
    expect(await pool.trees.restores.stop(treeOf())).toBe(true)
    await reopen()
    expect(await pool.trees.restores.process(treeOf())).toBeUndefined()
    expect(await gets('db')).toEqual(S1)
    expect((await restore('db@s1'))[0]).toMatchObject({ changed: true })
    expect(await copyBack()).toBe(4 * CHUNK)
    expect(await gets('db')).toEqual(S1)
  })

  test('costs the same whatever differs', async () => {
    const counts: number[] = []
    await pool.trees.create({ names: ['web@s1'] })
    for (let chunk = 0; chunk < 500; chunk++) await put('web', chunk, 1 + (chunk % 200))
    for (const name of ['db', 'web']) await volume(name).flush()
    for (const name of ['db@s1', 'web@s1']) {
      for (const disk of disks) disk.resetCounters()
      await restore(name)
      counts.push(disks.reduce((sum, { counters }) => sum + counters.writes + counters.durables + counters.flushes, 0))
    }
    expect(counts[1]).toBe(counts[0])
  })
})
