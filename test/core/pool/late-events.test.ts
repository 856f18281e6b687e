import { expect, test } from 'vitest'
import { hiOf } from '../../../src/metadata/key.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

test('events that wait for a commit are bounded, all of them are written, and how many were left out is told', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool } = await openSimulated(disks)
  for (let i = 0; i < 700; i++) pool.readRepaired(pool.disk(0), new Error(`read ${i}`))
  await pool.flushLateEvents()
  const texts: string[] = []
  for await (const { value } of pool.metadata.range(hiOf('event'))) texts.push(Buffer.from(value.subarray(8)).toString('utf8'))
  expect(texts.filter(text => text.startsWith('disk.readError'))).toHaveLength(500)
  expect(texts.filter(text => text.includes('200 more events'))).toHaveLength(1)
  await pool.close()
})
