import { expect, test } from 'vitest'
import { newReport, simulate, type Bounds } from './simulate.ts'

/** What a seed costs: some 1,000 states, 15 seconds of a slow processor. */
export const shardBounds: Bounds = { lives: 6, operations: 40, cuts: 44, states: 4, deep: 0.05, more: 0.01 }

/** Of each shard; eight shards make 20,000. `npm run torture` opens as many as it is told. */
const DISTINCT_MIN = 2500

/**
 * The test of one shard: seed after seed is simulated until so many different crash states after an acknowledged flush were
 * opened. How many a seed has changes with every change of the data path, so there are more seeds than are needed.
 */
export function crashShard(seeds: readonly number[]): void {
  test(`what crashes leave, ${DISTINCT_MIN} different states after an acknowledged flush`, { timeout: 900_000 }, async () => {
    const report = newReport()
    for (const seed of seeds) await simulate(seed, shardBounds, report, DISTINCT_MIN)
    expect(report.distinct.size).toBeGreaterThanOrEqual(DISTINCT_MIN)
  })
}
