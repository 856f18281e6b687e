import { test } from 'vitest'
import { shardBounds } from './shard.ts'
import { newReport, simulate, type Bounds } from './simulate.ts'

/**
 * A seed again, as the crash tests run it: `SEED=n npx vitest run test/simulation/replay.test.ts`. Without one, a short life of its own. Bounds may be
 * others: `BOUNDS='{"cuts":4,"deep":0,"more":0}'`.
 */
const seed = Number(process.env['SEED'] ?? 1)
const bounds: Bounds =
  process.env['SEED'] === undefined
    ? { ...shardBounds, lives: 1, cuts: 20, states: 2 }
    : { ...shardBounds, ...(JSON.parse(process.env['BOUNDS'] ?? '{}') as Partial<Bounds>) }

test(`the simulation of seed ${seed}`, { timeout: 600_000 }, async () => {
  await simulate(seed, bounds, newReport())
})
