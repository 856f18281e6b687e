import { expect, test } from 'vitest'
import { kinds } from '../../src/metadata/key.ts'
import { Paths } from './paths.ts'
import { shardBounds } from './shard.ts'
import { newReport, simulate } from './simulate.ts'

const SEEDS = [101, 104, 107, 110, 113, 116, 122, 123, 128, 152]
const MORE = [164, 223, 102, 103, 105, 106, 108, 114, 115, 118, 120, 124, 125, 126, 127, 130, 134, 135]

test('simulations go through every part of the engine that a crash may meet', { timeout: 600_000 }, async () => {
  // Write-once devices have crash tests of their own (test/core/wod); hosts, schedules and history are records that nothing in the data path looks at.
  const others = ['wod', 'wodBlocks', 'wodDone', 'host', 'presentation', 'schedule', 'history']
  const expected = Object.keys(kinds).filter(kind => !others.includes(kind))
  const paths = new Paths()
  const report = newReport()
  try {
    // Where the first seeds go changes with every change of the data path; the others are for what they leave out.
    for (const seed of [...SEEDS, ...MORE]) {
      await simulate(seed, { ...shardBounds, cuts: 4, deep: 0, more: 0 }, report)
      if (paths.missing.length === 0 && expected.every(kind => report.kinds.has(kind))) break
    }
  } finally {
    paths.close()
  }
  expect(paths.missing).toEqual([])
  expect([...report.kinds].sort()).toEqual(expected.sort())
})
