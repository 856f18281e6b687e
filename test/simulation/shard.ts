import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { bundleSimulation } from './bundle.mjs'
import type { Bounds } from './simulate.ts'

/** What a seed costs: some 1,000 states, 15 seconds of a slow processor. */
export const shardBounds: Bounds = { lives: 6, operations: 40, cuts: 44, states: 4, deep: 0.05, more: 0.01 }

/** Of each shard; eight shards make 6,400, in the time that `npm test` has. `npm run torture` opens as many as it is told. */
const DISTINCT_MIN = 800

const root = join(import.meta.dirname, '..', '..')

/**
 * The test of one shard: seed after seed is simulated until so many different crash states after an acknowledged flush were
 * opened. How many a seed has changes with every change of the data path, so there are more seeds than are needed.
 * It is a program of its own, as the test runner's way of loading modules nearly doubles what a state costs.
 */
export function crashShard(seeds: readonly number[]): void {
  test(`what crashes leave, ${DISTINCT_MIN} different states after an acknowledged flush`, { timeout: 900_000 }, async () => {
    const folder = join(root, 'node_modules', '.cache', 'simulation')
    mkdirSync(folder, { recursive: true })
    const program = await bundleSimulation(root, folder, { name: `shard-${seeds[0]}-${process.pid}` })
    try {
      const { lives, operations, cuts, states, deep, more } = shardBounds
      const options = { list: seeds.join(), enough: DISTINCT_MIN, seconds: 900, lives, operations, cuts, states, deep: deep * 100, more: more * 100 }
      const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
      const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, program, ...args], { cwd: root }).catch((error: unknown) => {
        throw new Error(String((error as { stdout?: string }).stdout), { cause: error })
      })
      expect(Number(/, (\d+) of them different .*next seed/.exec(stdout)?.[1])).toBeGreaterThanOrEqual(DISTINCT_MIN)
    } finally {
      rmSync(program)
    }
  })
}
