/** What a client opened is closed when the client has gone, whatever way it went. */
import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { Session } from '../../../src/core/server/session.ts'

function begin(): { session: Session; closed: number[]; hold(number: number): Promise<number> } {
  const closed: number[] = []
  const session = new Session({ pid: 7, uid: 0, user: 'root', version: '1', command: 'app', readOnly: false }, {
    destroy: () => undefined,
  } as unknown as ServerResponse)
  const hold = (number: number): Promise<number> =>
    session.keep({
      number,
      close: () => {
        closed.push(number)
        return Promise.resolve()
      },
    })
  return { session, closed, hold }
}

test('relationships that a client holds are let go with it', async () => {
  const { session, closed, hold } = begin()
  const first = await hold(1)
  await hold(2)
  expect(session.busy).toBe(true)
  expect(session.describe()).toBe('process 7 (app), which has relationship 1, relationship 2 open')
  await session.release(first)
  await session.release(first)
  expect(closed).toEqual([1])
  await session.end()
  expect(closed).toEqual([1, 2])
  await expect(hold(3)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' })
  expect(closed).toEqual([1, 2, 3])
})

test('one client holds only so many', async () => {
  const { closed, hold } = begin()
  for (let number = 1; number <= 256; number++) await hold(number)
  await expect(hold(257)).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
  expect(closed).toEqual([257])
})
