/** F24: copying back of a restore and filling of a clone are cut off at random moments, with somebody writing: they go on, and nothing differs. */
import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { Random } from '../../src/core/base/random.ts'
import { CrashExplorer } from '../../src/core/block/crash-states.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { clones, expectConsistent, makeSim, openSim, readAll, stamped, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 24
/** Kills; KILLS=200 and more for a longer run. */
const KILLS = Number(process.env['KILLS'] ?? 60)
const SIZE = 2 * MIB
const CHUNK = 64 * KIB
/** Chunks that the writer overwrites meanwhile, each with a flush: some pending, some not, of the LUN and of the snapshot it goes to. */
const WRITTEN = [3, 9, 16, 31]
const kinds = ['restore', 'clone'] as const
type Kind = (typeof kinds)[number]
type Contents = ReadonlyMap<string, Buffer>

async function put(open: SimPool, name: string, offset: number, bytes: Buffer): Promise<void> {
  const device = await open.engine.openLun(name)
  await device.write(offset, bytes)
  await device.flush()
  await device.close()
}

/** A LUN with a writable snapshot: both were written since, in some places both. */
async function prepare(): Promise<{ disks: Awaited<ReturnType<typeof makeSim>>; db: Buffer; s1: Buffer }> {
  const disks = await makeSim({ disks: 3, seed: SEED })
  const open = await openSim(disks)
  await open.create('db', 'raid1', SIZE)
  await put(open, 'db', 0, stamped(SIZE / 2, 1))
  await open.engine.call('snap.create', { snapshots: ['db@s1'] })
  const s1 = Buffer.concat([stamped(SIZE / 2, 1), Buffer.alloc(SIZE / 2)])
  const db = Buffer.from(s1)
  for (const [i, chunk] of [0, 1, 3, 8, 9, 17, 20].entries()) {
    stamped(CHUNK, 100 + i).copy(db, chunk * CHUNK)
    await put(open, 'db', chunk * CHUNK, stamped(CHUNK, 100 + i))
  }
  for (const [i, chunk] of [1, 5, 24].entries()) {
    stamped(CHUNK, 200 + i).copy(s1, chunk * CHUNK)
    await put(open, 'db@s1', chunk * CHUNK, stamped(CHUNK, 200 + i))
  }
  await open.close()
  return { disks, db, s1 }
}
const prepared = await prepare()

/** @returns what every volume holds then */
async function start(open: SimPool, kind: Kind): Promise<Contents> {
  const { db, s1 } = prepared
  if (kind === 'restore') {
    await open.engine.call('snap.restore', { snapshots: ['db@s1'] })
    return new Map([
      ['db', s1],
      ['db@s1', s1],
      ['db@before-restore-1', db],
    ])
  }
  await open.engine.call('snap.clone', { source: 'db@s1', name: 'copy' })
  return new Map([
    ['db', db],
    ['db@s1', s1],
    ['copy', s1],
  ])
}

async function writeBeside(open: SimPool, kind: Kind, started: Contents, tape: Tape): Promise<{ at: number; contents: Contents }[]> {
  let contents = started
  const written = [{ at: tape.length, contents }]
  for (const [i, chunk] of WRITTEN.entries()) {
    const name = i % 2 === 0 ? (kind === 'restore' ? 'db' : 'copy') : 'db@s1'
    const after = Buffer.from(contents.get(name)!)
    const bytes = stamped(CHUNK / 2, 1000 + 100 * i)
    bytes.copy(after, chunk * CHUNK)
    contents = new Map([...contents, [name, after]])
    await put(open, name, chunk * CHUNK, bytes)
    written.push({ at: tape.length, contents })
  }
  return written
}

const contentsOf = async (open: SimPool, names: Iterable<string>): Promise<Contents> => {
  const found = new Map<string, Buffer>()
  for (const name of names) {
    const device = await open.engine.openLun(name, { readOnly: true })
    found.set(name, await readAll(device))
    await device.close()
  }
  return found
}

describe('F24 killed restores and clones', () => {
  test.each(kinds)(
    `%s, killed at ${KILLS} moments beside a writer: resumed to its end without a difference (seed ${SEED})`,
    { timeout: 240_000 },
    async kind => {
      const disks = clones(prepared.disks)
      const open = await openSim(disks)
      const tape = new Tape(disks)
      const started = await start(open, kind)
      const written = await writeBeside(open, kind, started, tape)
      await open.settled()
      const changes = tape.length
      tape.stop()
      const random = new Random(SEED)
      const cuts = [...written.map(({ at }) => at), changes, ...Array.from({ length: KILLS }, () => random.between(written[0]!.at, changes))].sort(
        (x, y) => x - y,
      )
      const explorer = new CrashExplorer(tape)
      for (const cut of cuts) {
        const state = explorer.at(cut).state(random)
        await withSeed(`${SEED}, cut ${cut} of ${changes}`, async () => {
          const again = await openSim(state.disks)
          const index = written.findLastIndex(({ at }) => at <= cut)
          const [sure, maybe] = [written[index]!.contents, written[index + 1]?.contents ?? written[index]!.contents]
          const found = await contentsOf(again, started.keys())
          for (const [name, bytes] of found)
            for (let at = 0; at < SIZE; at += 512)
              if (![sure, maybe].some(one => bytes.compare(one.get(name)!, at, at + 512, at, at + 512) === 0)) throw new Error(`${name} is wrong at byte ${at}`)
          await again.settled()
          for (const [name, bytes] of await contentsOf(again, started.keys())) if (!bytes.equals(found.get(name)!)) throw new Error(`${name} changed`)
          const tasks = (await again.engine.call('task.list', {})).data.filter(task => task.kind === kind)
          expect(tasks.map(task => task.state)).toEqual(['done'])
          expect([again.parts.relationships.clones, again.parts.trees.all.filter(({ restoring }) => restoring)]).toEqual([[], []])
          await again.close()
          await expectConsistent(state.disks)
        })
      }
    },
  )
})
