import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { errnoOf, LunarError } from '../../../src/core/base/errors.ts'
import { NextOwner, setOwnerProgram } from '../../../src/core/server/handover.ts'

const before = process.env.LUNAR_HOME
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lunar-handover-'))
  process.env.LUNAR_HOME = folder
})
afterEach(() => {
  setOwnerProgram(undefined)
  if (before === undefined) delete process.env.LUNAR_HOME
  else process.env.LUNAR_HOME = before
  rmSync(folder, { recursive: true })
})

const order = {
  poolId: 'f5319f55-3ac5-4f02-90e1-e03b32f9e0a8',
  poolName: 'tank',
  command: 'test',
  forceNonlocal: false,
  paths: [],
  missing: [],
  instance: crypto.randomUUID(),
}

test('a next owner that never answers is ended, and what to read is told', async () => {
  setOwnerProgram(['-e', 'setInterval(() => undefined, 1000)'])
  const next = await NextOwner.start(order.poolId, [])
  await expect(next.takeOver(order, 200)).rejects.toMatchObject({
    code: 'ERR_FAILED',
    why: 'it did not answer within 0.2 s and was ended',
    fix: `read ${join(folder, 'owner-f5319f55.log')}`,
  })
})

test('only errors of the host and of Node have an errno', () => {
  const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' })
  expect(errnoOf(missing)).toBe('ENOENT')
  expect(errnoOf(new LunarError('ERR_IO', 'Cannot read', { cause: missing }))).toBeUndefined()
})
