/** The verbs of relationships in an owner: dry runs, task numbers, what a LUN says of its relationships, maps of one instant. */
import { beforeEach, expect, test } from 'vitest'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { PoolService } from '../../../src/core/server/api.ts'
import { useEngine } from '../../../src/core/server/engine-module.ts'
import { makeTank, owner, useHome } from './support/home.ts'

const home = useHome()
beforeEach(() => {
  useEngine(undefined) // the real one
})
const CHUNK = 4 * KIB

/** LUNs "db" and "copy", relationship 1, enabled. */
async function enabled(size = 4 * MIB): Promise<PoolService> {
  await makeTank(home.folder)
  const service = await owner()
  for (const name of ['db', 'copy']) await service.call('lun.create', { name, size, raid: 'raid1' })
  await service.call('snap.configure', { source: 'db', image: 'copy', chunkBytes: CHUNK })
  await service.call('snap.enable', { relationships: ['1'] })
  return service
}

async function writeAt(service: PoolService, name: string, ...offsets: number[]): Promise<void> {
  const device = await service.openLun(name)
  for (const offset of offsets) await device.write(offset, Buffer.alloc(CHUNK, `at ${offset}`))
  await device.close()
}

const relationship = '1'

test('a dry run says what would be, and changes nothing', async () => {
  await using service = await enabled()
  await writeAt(service, 'db', 0)
  const before = (await service.call('metadata.dump', {})).data.text
  expect((await service.call('snap.start', { relationship, kind: 'completeImage', dryRun: true })).data).toMatchObject({ changed: true, task: null })
  expect((await service.call('snap.start', { relationship, kind: 'imageUpdate', dryRun: true })).data).toMatchObject({ changed: true, state: 'enabled' })
  expect((await service.call('snap.stop', { relationship, kind: 'imageUpdate', dryRun: true })).data).toMatchObject({ changed: false, done: 0, left: 0 })
  expect((await service.call('snap.setDelay', { relationship, kind: 'completeImage', delay: 5, dryRun: true })).data).toMatchObject({ delayMs: 5, was: 20 })
  await expect(service.call('snap.setDelay', { relationship, kind: 'completeImage', delay: -1, dryRun: true })).rejects.toMatchObject({ code: 'ERR_USAGE' })
  expect((await service.call('metadata.dump', {})).data.text).toBe(before)

  await service.call('snap.setDelay', { relationship, kind: 'completeImage', delay: 3_600_000 })
  const { task } = (await service.call('snap.start', { relationship, kind: 'completeImage' })).data
  const running = await service.call('task.show', { task: task! })
  for (const verb of ['task.pause', 'task.resume', 'task.stop'] as const)
    expect((await service.call(verb, { task: task!, dryRun: true })).data).toMatchObject({ number: task, state: 'running' })
  expect((await service.call('snap.stop', { relationship, kind: 'completeImage', dryRun: true })).data).toMatchObject({
    changed: true,
    process: 'completeImage',
  })
  expect((await service.call('task.show', { task: task! })).data.state).toBe(running.data.state)
  await service.call('task.stop', { task: task! }) // else an owner would be left behind for it
})

test('a start names its task also when that has ended already, and twenty starts at once are one', async () => {
  await using service = await enabled()
  await service.call('snap.setDelay', { relationship, kind: 'completeImage', delay: 0 })
  const starts = await Promise.all(Array.from({ length: 20 }, () => service.call('snap.start', { relationship, kind: 'completeImage' })))
  const tasks = new Set(starts.map(({ data }) => data.task))
  expect(tasks).not.toContain(null)
  for (const task of tasks) expect((await service.call('task.wait', { task: task! })).data).toMatchObject({ kind: 'completeImage', state: 'done' })
  for (let round = 0; round < 5; round++) {
    await writeAt(service, 'db', round * CHUNK)
    const { task } = (await service.call('snap.start', { relationship, kind: 'imageUpdate' })).data
    expect((await service.call('task.wait', { task: task! })).data).toMatchObject({ kind: 'imageUpdate', state: 'done', percent: 100 })
  }
})

test('a task that has ended is not stopped, and neither is the one after it', async () => {
  await using service = await enabled()
  await writeAt(service, 'db', 0)
  const first = (await service.call('snap.start', { relationship, kind: 'imageUpdate' })).data.task!
  await service.call('task.wait', { task: first })
  await writeAt(service, 'db', ...Array.from({ length: 64 }, (_, i) => i * CHUNK))
  await service.call('snap.setDelay', { relationship, kind: 'imageUpdate', delay: 3_600_000 })
  const second = (await service.call('snap.start', { relationship, kind: 'imageUpdate' })).data.task!
  await expect(service.call('task.stop', { task: first })).rejects.toMatchObject({ code: 'ERR_TASK_STATE', why: 'it is done' })
  expect((await service.call('task.show', { task: second })).data.state).toBe('running')
  expect((await service.call('task.stop', { task: second })).data.state).toBe('stopped')
  expect((await service.call('snap.status', { relationship })).data).toMatchObject({ state: 'mixed', process: null })
})

test('a LUN says what it is in its relationships', async () => {
  await using service = await enabled()
  await service.call('lun.create', { name: 'other', size: 4 * MIB, raid: 'raid0' })
  const plain = (await service.call('lun.show', { lun: 'other' })).data
  expect(plain).toMatchObject({ state: 'ready', protected: false, relationships: [] })
  expect(plain.layers.volume.map(({ layer }) => layer)).toEqual(['lun'])
  const { warnings } = await service.call('snap.configure', { source: 'db', image: 'other', name: 'second' })
  expect(warnings).toEqual([expect.stringContaining('less redundancy')])
  // It is told once.
  expect((await service.call('lun.protect', { lun: 'db', protect: true })).warnings).toEqual([])
  const states = Object.fromEntries((await service.call('lun.list', {})).data.map(({ name, state }) => [name, state]))
  expect(states).toEqual({ db: 'ready, source of 2 relationships, protected', copy: 'ready, image of DcsSnap1', other: 'ready, image of DcsSnap2' })
  const shown = (await service.call('lun.show', { lun: 'db' })).data
  expect(shown.layers.volume).toMatchObject([{ layer: 'snapshot', about: 'copy on first write: source of 2 relationships', below: [{ layer: 'lun' }] }])
  expect(shown).toMatchObject({
    protected: true,
    relationships: [
      { number: 1, name: null, role: 'source', other: 'copy', state: 'enabled' },
      { number: 2, name: 'second', role: 'source', other: 'other', state: 'disabled' },
    ],
  })
  await service.call('snap.unconfigure', { relationship: 'second' })
  expect((await service.call('lun.show', { lun: 'db' })).data.state).toBe('ready, source of DcsSnap1, protected')
  await expect(service.call('lun.swap', { lun: 'db', with: 'db' })).rejects.toMatchObject({ code: 'ERR_USAGE' })
})

test('both maps are of one instant while the source is written', async () => {
  await using service = await enabled(32 * MIB)
  const device = await service.openLun('db')
  let looks = 0
  for (let round = 0; round < 20; round++) {
    const state = { writing: true }
    const writes = Promise.all([0, 1, 2].map(i => device.write((round * 3 + i) * 97 * CHUNK, Buffer.alloc(CHUNK, 'new')))).finally(
      () => (state.writing = false),
    )
    for (; state.writing; looks++) {
      const { migrated, delta } = (await service.call('snap.maps', { relationship })).data
      // A write of the source preserves its chunk and marks it in one commit.
      expect(delta).toBe(migrated)
      await new Promise(setImmediate) // lets the writes go on
    }
    await writes
  }
  // Acknowledged is not yet counted: a flush is the end of what was under way.
  await device.flush()
  await device.close()
  expect(looks).toBeGreaterThan(20)
  expect((await service.call('snap.status', { relationship })).data.chunks).toMatchObject({ migrated: 60, different: 60 })
})

test('what has nothing to tidy starts no task; old maps are tidied once', async () => {
  const kinds = async (service: PoolService): Promise<string[]> => (await service.call('task.list', {})).data.map(({ kind }) => kind)
  await using service = await enabled()
  await service.call('lun.protect', { lun: 'copy', protect: false })
  expect(await kinds(service)).toEqual([])
  await service.close()

  const second = await owner()
  expect(await kinds(second)).toEqual([])
  await writeAt(second, 'db', 0)
  const maps = async (): Promise<number> => (await second.call('metadata.dump', {})).data.text.match(/^chunks /gm)?.length ?? 0
  expect(await maps()).toBe(2) // migrated and delta
  await second.call('snap.enable', { relationships: ['1'], fresh: true })
  await second.call('task.wait', { task: 1 })
  expect(await kinds(second)).toEqual(['reclaim'])
  expect(await maps()).toBe(0)
  await second.close()

  await using third = await owner()
  expect(await kinds(third)).toEqual(['reclaim'])
})

test('a refused disable stops nothing, and a protected image is not replaced', async () => {
  await using service = await enabled()
  await service.call('snap.setDelay', { relationship, kind: 'completeImage', delay: 3_600_000 })
  const { task } = (await service.call('snap.start', { relationship, kind: 'completeImage' })).data
  const device = await service.openLun('copy')
  await expect(service.call('snap.disable', { relationships: ['1'] })).rejects.toMatchObject({ code: 'ERR_BUSY' })
  await device.close()
  expect((await service.call('snap.status', { relationship })).data.progress).toMatchObject({ kind: 'completeImage', task })
  expect((await service.call('snap.disable', { relationships: ['1'] })).data).toMatchObject([{ changed: true, complete: false, process: null }])
  expect((await service.call('task.show', { task: task! })).data.state).toBe('stopped')

  await service.call('lun.protect', { lun: 'copy', protect: true })
  await expect(service.call('snap.enable', { relationships: ['1'], fresh: true })).rejects.toMatchObject({ code: 'ERR_PROTECTED' })
  expect((await service.call('snap.enable', { relationships: ['1'] })).data).toMatchObject([{ changed: true }])
})
