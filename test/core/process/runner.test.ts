import { expect, test } from 'vitest'
import type { Clock } from '../../../src/core/base/clock.ts'
import { RunningProcess } from '../../../src/core/process/runner.ts'

/** What a process of two steps with a pace of 20 ms does, in order. */
async function lifeOf(resumed?: { done: number }): Promise<string[]> {
  const seen: string[] = []
  const clock: Clock = {
    wallMs: () => 1,
    monotonicMs: () => 0,
    pause: ms => {
      seen.push(`pause ${ms}`)
      return Promise.resolve()
    },
  }
  const body = {
    step: () => {
      seen.push('step')
      return Promise.resolve({ moved: 1, finished: seen.filter(what => what === 'step').length === 2 })
    },
    remaining: () => 0,
    pace: () => 20,
  }
  const process = new RunningProcess(1, 'completeImage', 1, 'DcsSnap1', body, { save: () => Promise.resolve() }, clock, 1)
  await process.run(resumed)
  expect(process.progress()).toMatchObject({ state: 'done', done: 2 + (resumed?.done ?? 0) })
  return seen
}

test('a process begins at once, and waits for its pace between steps', async () => {
  expect(await lifeOf()).toEqual(['step', 'pause 20', 'step'])
})

test('one that is resumed waits for its pace first, and has done what it had', async () => {
  expect(await lifeOf({ done: 5 })).toEqual(['pause 20', 'step', 'pause 20', 'step'])
})
