/** F24: complete image and the updates are cut off at random moments, with somebody writing: they go on, skip nothing, and redo little. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { CrashExplorer } from '../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { changed, CHUNK, contentsOf, expectContents, kinds, prepare, start, updated, type Contents } from '../support/copies.ts'
import { clones, expectConsistent, openSim, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 24
/** Kills of each kind; KILLS=200 and more for a longer run. */
const KILLS = Number(process.env['KILLS'] ?? 60)
/** Chunks that the writer overwrites while the process runs, each with a flush. */
const WRITTEN = [3, 9, 16, 31]
const prepared = await prepare({ disks: 3, seed: SEED })

describe('F24 killed copies', () => {
  test.each(kinds)(
    `%s, killed at ${KILLS} moments beside a writer: resumed to its end without a difference (seed ${SEED})`,
    { timeout: 240_000 },
    async kind => {
      const disks = clones(prepared.disks)
      const open = await openSim(disks)
      const tape = new Tape(disks)
      await start(open, kind)
      const started = updated(prepared.contents, kind)
      const written = await writeBeside(open, started, tape)
      await open.settled()
      const changes = tape.length
      tape.stop()
      const random = new Random(SEED)
      // One at each state change: the start is acknowledged, a write is, the process has ended.
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
          const found = await contentsOf(again)
          expectBetween(found, sure, maybe)
          await again.settled()
          expectContents(await contentsOf(again), found, 'resumed')
          const { data } = await again.engine.call('snap.status', { relationship: '1' })
          expect(data).toMatchObject({
            state: 'enabled',
            process: null,
            chunks: { frozen: 0, ...(kind === 'completeImage' ? { migrated: data.chunks.total } : {}) },
          })
          await again.close()
          await expectConsistent(state.disks)
        })
      }
    },
  )

  test.each(kinds)('%s, killed again and again, never does again what it had done', { timeout: 60_000 }, async kind => {
    let disks: readonly SimulatedDisk[] = prepared.disks
    let last = Infinity
    const random = new Random(SEED + 1)
    for (let i = 0; i < 12; i++) {
      disks = clones(disks)
      const tape = new Tape(disks)
      const open = await openSim(disks)
      if (i === 0) await start(open, kind)
      const { data } = await open.engine.call('snap.status', { relationship: '1' })
      const left = kind === 'completeImage' ? data.chunks.total - data.chunks.migrated : data.chunks.frozen
      expect(left).toBeLessThanOrEqual(last)
      last = left
      await open.settled()
      tape.stop()
      const state = new CrashExplorer(tape).at(random.between(Math.floor(tape.length / 4), Math.floor(tape.length / 2))).state(random)
      disks = state.disks
    }
    const open = await openSim(disks)
    await open.settled()
    expectContents(await contentsOf(open), updated(prepared.contents, kind), 'at last')
    await open.close()
    await expectConsistent(disks)
  })
})

/** Writes to the source and the image while the process runs. @returns from which event of the tape which contents are durable */
async function writeBeside(open: SimPool, started: Contents, tape: Tape): Promise<{ at: number; contents: Contents }[]> {
  let contents = started
  const written = [{ at: tape.length, contents }]
  for (const [i, chunk] of WRITTEN.entries()) {
    const name = i % 2 === 0 ? 'a' : 'b'
    contents = { ...contents, [name]: changed(contents[name], 1000 + 100 * i, [chunk]) }
    const device = await open.engine.openLun(name)
    await device.write(chunk * CHUNK, contents[name].subarray(chunk * CHUNK, (chunk + 1) * CHUNK))
    await device.flush()
    await device.close()
    written.push({ at: tape.length, contents })
  }
  return written
}

/** Every sector is as it surely is, or as what was being written makes it. */
function expectBetween(found: Contents, sure: Contents, maybe: Contents): void {
  for (const name of ['a', 'b'] as const)
    for (let at = 0; at < found[name].length; at += 512) {
      if (found[name].compare(sure[name], at, at + 512, at, at + 512) === 0) continue
      if (found[name].compare(maybe[name], at, at + 512, at, at + 512) !== 0) throw new Error(`LUN ${name} is wrong at byte ${at}`)
    }
}
