import { expect, test } from 'vitest'
import { Patience } from '../../../src/core/block/patience.ts'

test('waits that are short and rare change nothing', () => {
  const patience = new Patience()
  for (let now = 0; now < 10_000; now += 50) {
    patience.waited(now, 5)
    expect(patience.isOver(now)).toBe(false)
  }
})

test('a disk that holds everybody up again and again has at most an eighth of the time, and 20 ms at once', () => {
  const patience = new Patience()
  let blocked = 0
  let atOnce = 0
  let most = 0
  for (let now = 0; now < 60_000; now += 1) {
    if (patience.isOver(now)) {
      atOnce = 0
      continue
    }
    now += 3
    blocked += 3
    most = Math.max(most, (atOnce += 3))
    patience.waited(now, 3)
  }
  expect(blocked / 60_000).toBeLessThan(0.15)
  expect(most).toBeLessThanOrEqual(24 + 20 / 8)
})

test('after a stall it is left alone for long, and tried again', () => {
  const patience = new Patience()
  patience.waited(2000, 2000)
  expect(patience.isOver(2999)).toBe(true)
  expect(patience.isOver(3000)).toBe(false)
  patience.waited(3030, 30)
  expect(patience.isOver(3629)).toBe(true)
  expect(patience.isOver(3630)).toBe(false)
})
