/**
 * F14, F20 for relationships: power is lost at every moment of preserving, of complete image and of both updates, any of the unflushed
 * writes are there, torn: an image is what it was, an updated volume is as before or as after, and no space is lost.
 */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { CrashExplorer, describeCrash } from '../../src/core/block/crash-states.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { changed, CHUNK, contentsOf, expectContents, kinds, prepare, SIZE, start, updated } from '../support/copies.ts'
import { clones, expectConsistent, openSim, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 14
/** States of each cut, at most. */
const STATES = 1
const prepared = await prepare({ disks: 3, seed: SEED })

/** @throws Error unless each sector is of one of the contents */
function expectMix(found: Buffer, before: Buffer, after: Buffer, what: string): void {
  for (let at = 0; at < SIZE; at += 512)
    if (found.compare(before, at, at + 512, at, at + 512) !== 0 && found.compare(after, at, at + 512, at, at + 512) !== 0)
      throw new Error(`${what}: byte ${at} is of no moment`)
}

/** Opens what crashes leave of some work, some states of every cut. @returns how many */
async function everyCut(work: (open: SimPool, tape: Tape) => Promise<void>, check: (open: SimPool, cut: number) => Promise<void>): Promise<number> {
  const disks = clones(prepared.disks)
  const open = await openSim(disks)
  const tape = new Tape(disks)
  await work(open, tape)
  tape.stop()
  const random = new Random(SEED)
  const explorer = new CrashExplorer(tape)
  const seen = new Set<number>()
  for (let cut = 0; cut <= tape.length; cut++) {
    explorer.at(cut)
    for (let i = 0; i < STATES; i++) {
      const state = explorer.state(random)
      if (seen.has(state.hash)) continue
      seen.add(state.hash)
      await withSeed(`${SEED}, cut ${cut} of ${tape.length}\n${describeCrash(state)}\n`, async () => {
        const again = await openSim(state.disks)
        await check(again, cut)
        await again.settled()
        await check(again, cut)
        await again.close()
        await expectConsistent(state.disks)
      })
    }
  }
  return seen.size
}

describe('F14 F20 power lost while an image is preserved', () => {
  test('the image is what it was, every sector of the source is old or new', { timeout: 120_000 }, async () => {
    const { a, b } = prepared.contents
    const after = changed(a, 300, [2, 4, 5, 6, 22])
    const states = await everyCut(
      async open => {
        const device = await open.engine.openLun('a')
        await Promise.all([2, 4, 22].map(chunk => device.write(chunk * CHUNK, after.subarray(chunk * CHUNK, (chunk + 1) * CHUNK))))
        await device.flush()
        await device.write(5 * CHUNK, after.subarray(5 * CHUNK, 7 * CHUNK))
        await device.close()
      },
      async open => {
        const found = await contentsOf(open)
        expectContents({ a, b: found.b }, { a, b }, 'the image')
        expectMix(found.a, a, after, 'the source')
      },
    )
    expect(states).toBeGreaterThan(25)
  })
})

describe('F14 power lost in copying processes', () => {
  test.each(kinds)('%s: each volume is as before or as after, and goes on to the end', { timeout: 120_000 }, async kind => {
    const before = prepared.contents
    const after = updated(before, kind)
    let acknowledged = Infinity
    const states = await everyCut(
      async (open, tape) => {
        await start(open, kind)
        acknowledged = tape.length
        await open.settled()
      },
      async (open, cut) => {
        const found = await contentsOf(open)
        const asBefore = found.a.equals(before.a) && found.b.equals(before.b)
        expectContents(found, cut < acknowledged && asBefore ? before : after, 'after a crash')
      },
    )
    expect(states).toBeGreaterThan(60)
  })
})
