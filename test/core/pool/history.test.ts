/** The history of a pool: every change fits into its record, each has a number of its own, and the oldest make room. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { VALUE_MAX } from '../../../src/metadata/batch.ts'
import { decodeHistory, encodeHistory, HISTORY_KEPT, type HistoryEntry } from '../../../src/metadata/history.ts'
import { expectSound, makeSim, openSim } from '../../support/sim.ts'

const entry = (over: Partial<HistoryEntry> = {}): HistoryEntry => ({
  timeMs: 1_790_000_000_123,
  durationMs: 7,
  uid: 1000,
  user: 'eve',
  result: 'ok',
  verb: 'lun.create',
  command: 'lunar lun create tank/db',
  parameters: '{"name":"db"}',
  ...over,
})

test('what is long is cut, and the rest comes back as it was', () => {
  // Of one to four bytes, and of up to six where JSON escapes it. All characters there are would take ten seconds to make.
  const character = fc.constantFrom('a', '"', '\\', '\n', '\u0000', '\u007f', 'ü', '€', '\u2028', '\uffff', '😀', '\ud800')
  const text = fc.string({ unit: character, maxLength: 2000 })
  fc.assert(
    fc.property(text, text, text, fc.nat(2 ** 32 - 1), (user, command, parameters, uid) => {
      const value = encodeHistory(entry({ user, command, parameters, uid }))
      expect(value.length).toBeLessThanOrEqual(VALUE_MAX)
      const back = decodeHistory(value)
      expect(back).toMatchObject({ timeMs: 1_790_000_000_123, durationMs: 7, uid, result: 'ok', verb: 'lun.create' })
      for (const [was, is] of [
        [user, back.user],
        [command, back.command],
        [parameters, back.parameters],
      ] as const)
        expect(is === was || (is.endsWith('…') && is.length < was.length + 1)).toBe(true)
    }),
  )
  expect(decodeHistory(encodeHistory(entry()))).toEqual(entry())
  expect(() => decodeHistory(new Uint8Array(40))).toThrow(/history/)
})

test('changes that end together have numbers of their own; the newest thousand stay, over openings', async () => {
  const disks = await makeSim({ disks: 3 })
  const sim = await openSim(disks)
  const generation = sim.pool.metadata.generation
  await Promise.all(Array.from({ length: HISTORY_KEPT }, (_, i) => sim.engine.keepHistory(entry({ command: `change ${i + 1}` }))))
  await sim.close()
  const again = await openSim(disks)
  await again.engine.keepHistory(entry({ command: 'one more' }))
  const { data } = await again.engine.call('pool.history', {})
  expect(data.map(({ number }) => number)).toEqual(Array.from({ length: HISTORY_KEPT }, (_, i) => i + 2))
  expect(data.at(-1)).toMatchObject({ command: 'one more', user: 'eve', uid: 1000, duration: 7 })
  expect((await again.engine.call('pool.history', { after: 990, limit: 3 })).data.map(({ number }) => number)).toEqual([999, 1000, 1001])
  for (const verb of ['pool.history', 'pool.events'] as const) expect((await again.engine.call(verb, { limit: 0 })).data).toEqual([])
  // It is no change of the pool.
  expect(again.pool.metadata.generation).toBe(generation)
  await again.close()
  await expectSound(disks)
})
