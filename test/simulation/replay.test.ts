import { test } from 'vitest'
import { shardBounds } from './shard.ts'
import { newReport, simulate } from './simulate.ts'

/** A seed again, as the crash tests run it: `SEED=n npx vitest run test/simulation/replay.test.ts`. Without one, a short life of its own. */
const seed = Number(process.env['SEED'] ?? 1)
const bounds = process.env['SEED'] === undefined ? { ...shardBounds, lives: 1, cuts: 20, states: 2 } : shardBounds

test(`the simulation of seed ${seed}`, { timeout: 600_000 }, async () => {
  await simulate(seed, bounds, newReport())
})
