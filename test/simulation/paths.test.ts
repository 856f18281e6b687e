import { expect, test } from 'vitest'
import { kinds } from '../../src/metadata/key.ts'
import { Paths } from './paths.ts'
import { shardBounds } from './shard.ts'
import { newReport, simulate } from './simulate.ts'

test('simulations go through every part of the engine that a crash may meet', { timeout: 600_000 }, async () => {
  const paths = new Paths()
  const report = newReport()
  try {
    for (const seed of [101, 104, 107, 110, 113, 116, 122, 123, 128, 152]) await simulate(seed, { ...shardBounds, cuts: 4, deep: 0, more: 0 }, report)
  } finally {
    paths.close()
  }
  expect(paths.missing).toEqual([])
  // Write-once devices have crash tests of their own (test/core/wod); hosts, schedules and history are records that nothing in the data path looks at.
  const others = ['wod', 'wodBlocks', 'wodDone', 'host', 'presentation', 'schedule', 'history']
  const expected = Object.keys(kinds).filter(kind => !others.includes(kind))
  expect([...report.kinds].sort()).toEqual(expected.sort())
})
