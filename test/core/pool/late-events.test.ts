import { expect, test } from 'vitest'
import { hiOf } from '../../../src/metadata/key.ts'
import { makeSim, openSim } from '../../support/sim.ts'
import { createSimulated, openSimulated, simulatedDisks } from '../../support/simulated-pool.ts'

test('the first event that waits calls for somebody who commits it; those beside it do not call again', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool } = await openSimulated(disks)
  let calls = 0
  pool.onChange = () => {
    calls++
  }
  for (let i = 0; i < 3; i++) pool.readRepaired(pool.disk(0), new Error(`read ${i}`))
  expect(calls).toBe(1)
  await pool.events.flush()
  pool.readRepaired(pool.disk(0), new Error('one more'))
  expect(calls).toBe(2)
  await pool.close()
})

test('events that wait for a commit are bounded, all of them are written, and how many were left out is told', async () => {
  const disks = simulatedDisks(2)
  await createSimulated(disks)
  const { pool } = await openSimulated(disks)
  for (let i = 0; i < 700; i++) pool.readRepaired(pool.disk(0), new Error(`read ${i}`))
  await pool.events.flush()
  const texts: string[] = []
  for await (const { value } of pool.metadata.range(hiOf('event'))) texts.push(Buffer.from(value.subarray(8)).toString('utf8'))
  expect(texts.filter(text => text.startsWith('disk.readError'))).toHaveLength(500)
  expect(texts.filter(text => text.includes('200 more events'))).toHaveLength(1)
  await pool.close()
})

test('an owner writes them while it is open, not only when it closes', async () => {
  const disks = await makeSim({ disks: 2 })
  const sim = await openSim(disks)
  sim.pool.readRepaired(sim.pool.disk(0), new Error('read 7'))
  await sim.settled()
  expect(await sim.count('disk.readError', 'disk 0')).toBe(1)
  await sim.close()
})
