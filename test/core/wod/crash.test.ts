/** After a crash a block is unwritten or whole, and what was acknowledged is there. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer, describeCrash, type CrashState } from '../../../src/core/block/crash-states.ts'
import { Scheduler } from '../../../src/core/block/simulated.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import type { WodKind } from '../../../src/metadata/records.ts'
import { stamp } from '../../conformance/block-device.ts'
import { problems } from '../../support/problems.ts'
import { openWods, SimulatedFiles, WodPool, wodKindsAll } from '../../support/wod-pool.ts'

const BLOCK = 64 * KIB
const SIZE = 2 * MIB
const PATH = '/w.wod'

/** What happened to a block: written (generation) or given up (0), from one event of the tape to another. */
interface Change {
  readonly block: number
  readonly generation: number
  readonly begun: number
  ended: number
}

interface Life {
  readonly tape: Tape
  readonly changes: readonly Change[]
}

/** Fills, empties and fills again, four writers at once, so that slots are used again and logs are cleaned. */
async function live(kind: WodKind, seed: number): Promise<Life> {
  const pool = await WodPool.make()
  const device = await pool.create(kind, SIZE, BLOCK)
  await pool.open.pool.metadata.checkpoint()
  const disks = [...pool.disks, ...pool.files.disks.values()]
  for (const disk of disks) await disk.flush()
  const scheduler = new Scheduler(new Random(seed))
  for (const disk of disks) disk.scheduler = scheduler
  const random = new Random(seed)
  const tape = new Tape(disks)
  const changes: Change[] = []
  const written = new Map<number, number>()
  const begin = (block: number, generation: number): Change => {
    const change = { block, generation, begun: tape.length, ended: Infinity }
    changes.push(change)
    return change
  }
  for (let generation = 1; generation <= 10; generation++) {
    const free = random.shuffle(Array.from({ length: SIZE / BLOCK }, (_, i) => i).filter(block => !written.has(block)))
    await Promise.all(
      free.slice(0, 12).map(async block => {
        written.set(block, generation)
        const change = begin(block, generation)
        await device.write(block * BLOCK, stamp(block * BLOCK, BLOCK, generation))
        change.ended = tape.length
      }),
    )
    for (const block of random.shuffle([...written.keys()]).slice(0, 5)) {
      written.delete(block)
      const change = begin(block, 0)
      await device.reallocate(block * BLOCK, BLOCK)
      change.ended = tape.length
    }
  }
  tape.stop()
  return { tape, changes }
}

/** What a block may hold after a crash at `cut`: generations, 0 for unwritten. */
function allowed(changes: readonly Change[], block: number, cut: number): Set<number> {
  const may = new Set([0])
  for (const change of changes) {
    if (change.block !== block || change.begun > cut) continue
    if (change.ended <= cut) may.clear()
    may.add(change.generation)
  }
  return may
}

async function expectSound(state: CrashState, { changes }: Life): Promise<number> {
  const files = new SimulatedFiles()
  const file = state.disks.find(({ name }) => name === PATH)
  if (file) files.disks.set(PATH, file)
  const { pool, wods } = await openWods(
    state.disks.filter(disk => disk !== file),
    files,
  )
  expect(await problems(pool)).toEqual([])
  const device = await wods.find('w').device()
  let found = 0
  for (let block = 0; block < SIZE / BLOCK; block++) {
    const may = allowed(changes, block, state.cut)
    const into = new Uint8Array(BLOCK)
    const kind = (await device.extents(block * BLOCK, BLOCK))[0]?.kind
    await device.overlay(block * BLOCK, into)
    const generation = kind === 'hole' ? 0 : new DataView(into.buffer).getUint32(8)
    expect([...may], `block ${block}`).toContain(generation)
    if (generation > 0) expect(Buffer.compare(into, stamp(block * BLOCK, BLOCK, generation)), `block ${block} is torn`).toBe(0)
    found += Number(generation > 0)
  }
  // What was unwritten takes a write, what was written none: nothing is in between.
  const free = (await device.extents(0, SIZE)).find(({ kind }) => kind === 'hole')
  if (free) await device.write(free.offset, stamp(free.offset, BLOCK, 99))
  return found
}

describe.each(wodKindsAll)('a device on a %s', kind => {
  test('any crash leaves each block unwritten or whole', { timeout: 60_000 }, async () => {
    let found = 0
    for (const seed of [1, 2]) {
      const life = await live(kind, seed)
      const explorer = new CrashExplorer(life.tape)
      const random = new Random(seed)
      for (let i = 0; i < 40; i++) {
        const cut = Math.floor((life.tape.length * (i + random.below(1000) / 1000)) / 40)
        const state = explorer.at(cut).state(random)
        try {
          found += await expectSound(state, life)
        } catch (error) {
          throw new Error(`seed ${seed}: ${describeCrash(state).slice(0, 2000)}`, { cause: error })
        }
      }
    }
    expect(found).toBeGreaterThan(200)
  })
})
