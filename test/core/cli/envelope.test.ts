import { expect, test } from 'vitest'
import { errorTable } from '../../../src/core/base/error-table.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { lun, pool, status } from './objects.ts'
import { lunar, type Outcome } from './surroundings.ts'

const MIB = 1024 * 1024
const answers = { 'lun.list': () => [lun('db', 64 * MIB)] }
const envelope = (outcome: Outcome): Record<string, unknown> => JSON.parse(outcome.out) as Record<string, unknown>

test('a result comes in one envelope on one line, and stderr stays empty', async () => {
  const outcome = await lunar(['lun', 'list', '--pool', 'tank', '--json'], { answers, warnings: ['disk 3 is slow'] })
  expect(outcome.status).toBe(0)
  expect(outcome.err).toBe('')
  expect(outcome.out.trimEnd()).not.toContain('\n')
  expect(envelope(outcome)).toEqual({ schema: 'lun.list/1', generation: 7, data: [lun('db', 64 * MIB)], warnings: ['disk 3 is slow'] })
})

test('an empty list is data, too', async () => {
  const outcome = await lunar(['lun', 'list', '--json'], { answers: { 'lun.list': () => [] } })
  expect(envelope(outcome)).toMatchObject({ schema: 'lun.list/1', data: [] })
})

test('--json after -- is an argument, not a flag', async () => {
  const outcome = await lunar(['lun', 'show', '--', '--json'], {
    answers: { 'lun.show': () => Promise.reject(new LunarError('ERR_LUN_NOT_FOUND', 'Cannot find LUN "--json"')) },
  })
  expect(outcome.out).toBe('')
  expect(outcome.status).toBe(3)
})

test('without --json warnings go to stderr', async () => {
  const outcome = await lunar(['lun', 'list'], { answers, warnings: ['disk 3 is slow'] })
  expect(outcome.err).toBe('warning: disk 3 is slow\n')
  expect(outcome.out).toContain('db')
})

const failing = new LunarError('ERR_BUSY', 'Cannot delete LUN "db"', { why: 'it is presented', fix: 'lunar unpresent db', blockers: ['host db1', 'task 4'] })

test('an error has the same exit status with and without --json, and no stack', async () => {
  const answersThatFail = { 'lun.list': () => Promise.reject(failing) }
  const text = await lunar(['lun', 'list'], { answers: answersThatFail })
  const json = await lunar(['lun', 'list', '--json'], { answers: answersThatFail })
  expect([text.status, json.status]).toEqual([5, 5])
  expect(text.out).toBe('')
  expect(text.err).toBe('error: Cannot delete LUN "db" [ERR_BUSY]\n  why: it is presented (in the way: host db1, task 4)\n  fix: lunar unpresent db\n')
  expect(json.err).toBe('')
  expect(envelope(json)).toEqual({
    schema: 'lun.list/1',
    generation: null,
    data: null,
    warnings: [],
    error: { code: 'ERR_BUSY', message: 'Cannot delete LUN "db"', cause: 'it is presented', fix: 'lunar unpresent db', blockers: ['host db1', 'task 4'] },
  })
})

test.each(Object.entries(errorTable))('%s exits as the table says, in both modes', async (code, { exit }) => {
  const fail = { 'lun.list': () => Promise.reject(LunarError.fromWire({ code, message: 'm', cause: 'c', fix: 'f' })) }
  expect((await lunar(['lun', 'list'], { answers: fail })).status).toBe(exit)
  expect((await lunar(['lun', 'list', '--json'], { answers: fail })).status).toBe(exit)
})

test('LUNAR_DEBUG adds the stack', async () => {
  const outcome = await lunar(['lun', 'list'], { answers: { 'lun.list': () => Promise.reject(failing) }, env: { LUNAR_DEBUG: '1' } })
  expect(outcome.err).toMatch(/\n {4}at /)
})

test.each([
  { thrown: Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' }), exit: 3, code: 'ERR_FILE_NOT_FOUND' },
  { thrown: Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' }), exit: 6, code: 'ERR_HOST_FULL' },
  { thrown: new TypeError('x is not a function'), exit: 1, code: 'ERR_BUG' },
  { thrown: new Error('something else'), exit: 1, code: 'ERR_FAILED' },
  { thrown: new AggregateError([failing, new Error('second')]), exit: 5, code: 'ERR_BUSY' },
])('$code for $thrown', async ({ thrown, exit, code }) => {
  const outcome = await lunar(['lun', 'list', '--json'], { answers: { 'lun.list': () => Promise.reject(thrown) } })
  expect(outcome.status).toBe(exit)
  expect(envelope(outcome)).toMatchObject({ error: { code } })
})

test('pool status --check tells health by exit status and still shows it', async () => {
  const check = async (health: 'healthy' | 'degraded' | 'critical', ...flags: string[]) =>
    (await lunar(['pool', 'status', 'tank', ...flags], { answers: { 'pool.status': () => status({ health }) } })).status
  expect([
    await check('healthy', '--check'),
    await check('degraded', '--check'),
    await check('critical', '--check', '--json'),
    await check('critical'),
  ]).toEqual([0, 9, 10, 0])
})

test('metadata check exits with 8 when there are problems', async () => {
  const checked = { blocks: 1, records: 1, luns: 1, stores: 1, segments: 1 }
  const outcome = await lunar(['metadata', 'check'], {
    answers: {
      'metadata.check': () => ({ ok: false, generation: 7, checked, problems: [{ code: 'DOUBLE_USE', object: 'segment 4', message: 'used twice' }] }),
    },
  })
  expect(outcome.status).toBe(8)
  expect(outcome.out).toContain('DOUBLE_USE')
})

test('the pool is closed after success and after failure', async () => {
  expect((await lunar(['pool', 'show'], { answers: { 'pool.show': () => pool() } })).closed).toBe(1)
  expect((await lunar(['pool', 'show'], { answers: { 'pool.show': () => Promise.reject(failing) } })).closed).toBe(1)
})

test('a pool is told what was typed, quoted as a shell would need it', async () => {
  const outcome = await lunar(['lun', 'rename', 'tank/db', 'a b'], { answers: { 'lun.rename': () => Promise.reject(failing) } })
  expect(outcome.opened).toEqual([{ mode: 'owner', command: `lunar lun rename tank/db 'a b'` }])
})

test('reading commands ask for a view', async () => {
  expect((await lunar(['lun', 'list'], { answers })).opened[0]?.mode).toBe('view')
})
