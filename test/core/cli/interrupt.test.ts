import { expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { lun, task } from './objects.ts'
import { Stage } from './surroundings.ts'

/** Waits until the signal aborts and fails as fetch or fs would. */
const hang = (called: () => void) => (_params: unknown, signal?: AbortSignal) => {
  called()
  return new Promise<never>((_resolve, reject) => signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))))
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s aborts the call, closes the pool and exits with 130', async signal => {
  const called = deferred()
  const stage = new Stage({ answers: { 'task.wait': hang(called.resolve), 'task.show': () => task(1) } })
  const outcome = stage.run(['task', 'wait', '1'])
  await called.promise
  stage.stop(signal)
  expect(await outcome).toMatchObject({ status: 130, out: '', closed: 1 })
  expect((await outcome).err).toContain('[ERR_INTERRUPTED]')
  expect(stage.abandoned).toBeUndefined()
  expect(stage.stopHandlers.size).toBe(0)
})

test('the same with --json', async () => {
  const called = deferred()
  const stage = new Stage({ answers: { 'lun.list': hang(called.resolve) } })
  const outcome = stage.run(['lun', 'list', '--json'])
  await called.promise
  stage.stop()
  expect(JSON.parse((await outcome).out)).toMatchObject({ schema: 'lun.list/1', error: { code: 'ERR_INTERRUPTED' } })
  expect((await outcome).status).toBe(130)
})

test('what was done before the signal came is reported as done', async () => {
  const called = deferred()
  const answer = deferred<ReturnType<typeof lun>[]>()
  const stage = new Stage({
    answers: {
      'lun.list': () => {
        called.resolve()
        return answer.promise
      },
    },
  })
  const outcome = stage.run(['lun', 'list', '-H', '-o', 'name'])
  await called.promise
  stage.stop()
  answer.resolve([lun('db', 1024)])
  expect(await outcome).toMatchObject({ status: 0, out: 'db\n' })
})

test('a second signal ends the process at once', async () => {
  const called = deferred()
  const stage = new Stage({ answers: { 'lun.list': hang(called.resolve) } })
  const outcome = stage.run(['lun', 'list'])
  await called.promise
  stage.stop()
  stage.stop()
  expect(stage.abandoned).toBe(130)
  await outcome
})
