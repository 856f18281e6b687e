import { expect, test } from 'vitest'
import { newReport, simulate, type Bounds } from './simulate.ts'

/** What a seed costs: some 1,000 states, 15 seconds of a slow processor. */
export const shardBounds: Bounds = { lives: 6, operations: 40, cuts: 44, states: 4, deep: 0.05, more: 0.01 }

/** Of each shard; eight shards make 20,000. */
const DISTINCT_MIN = 2500

/** The tests of one shard: the simulation of each seed, and how many different crash states after an acknowledged flush all of them opened. */
export function crashShard(seeds: readonly number[]): void {
  const report = newReport()
  test.each(seeds)('what a crash leaves, seed %i', { timeout: 600_000 }, seed => simulate(seed, shardBounds, report))
  test(`${DISTINCT_MIN} different states after an acknowledged flush were opened`, () => {
    expect(report.distinct.size).toBeGreaterThanOrEqual(DISTINCT_MIN)
  })
}
