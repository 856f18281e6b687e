/** The record of an event: what is written comes back, fits, and is shown whole. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { VALUE_MAX } from '../../src/metadata/batch.ts'
import { dumpRecord } from '../../src/metadata/dump.ts'
import { decodeEvent, encodeEvent } from '../../src/metadata/event.ts'
import { keyOf } from '../../src/metadata/key.ts'

const entry = { timeMs: 1_790_000_000_123, event: 'disk.readError', object: 'disk 3', message: 'first line\nsecond line\nthird' }

test('what was encoded comes back, with all lines of the message, also in a dump', () => {
  const value = encodeEvent(entry)
  expect(decodeEvent(value)).toEqual(entry)
  expect(dumpRecord({ ...keyOf('event', 0, 7), value })).toBe(`event 0 7 ${JSON.stringify(entry)}`)
})

test('what is long is cut between characters, and always fits into a record', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'ü', '€', '😀', '\n'), maxLength: 1000 }), message => {
      const value = encodeEvent({ ...entry, message })
      expect(value.length).toBeLessThanOrEqual(VALUE_MAX)
      const back = decodeEvent(value)
      expect(back).toMatchObject({ timeMs: entry.timeMs, event: entry.event, object: entry.object })
      expect(message.startsWith(back.message)).toBe(true)
    }),
  )
  const long = decodeEvent(encodeEvent({ ...entry, message: 'ü'.repeat(600) }))
  expect(long.message).toBe('ü'.repeat(Math.floor((700 - `${entry.event}\n${entry.object}\n`.length) / 2)))
})

test('a record that is too short, or of a time beyond 2^53, is damage', () => {
  const damaged = (why: string): unknown => expect.objectContaining({ code: 'ERR_METADATA_DAMAGED', why })
  expect(() => decodeEvent(new Uint8Array(7))).toThrow(damaged('it is too short'))
  expect(() => decodeEvent(new Uint8Array(8).fill(0xff))).toThrow(damaged('its value is above 2^53'))
})
