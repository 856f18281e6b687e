import { expect, test } from 'vitest'
import { fitting } from '../../src/metadata/struct.ts'

test.each([
  ['plain', 5, 'plain'],
  ['plain', 4, 'plai'],
  ['aé', 2, 'a'],
  ['aé', 3, 'aé'],
  ['a😀b', 4, 'a'],
  ['a😀b', 5, 'a😀'],
  ['', 0, ''],
])('%j in %i bytes is %j', (text, length, expected) => {
  expect(fitting(text, length)).toBe(expected)
})
