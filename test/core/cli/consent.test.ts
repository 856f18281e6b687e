import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { consent, consentByName, type Question } from '../../../src/core/cli/prompts.ts'
import { lunDetail } from './objects.ts'
import { lunar, Stage } from './surroundings.ts'

const MIB = 1024 * 1024
const gone = { name: 'tank', disks: ['d1.img', 'd2.img'], luns: ['db'], files: [] }
const answers = {
  'lun.show': () => lunDetail('db', 64 * MIB),
  'volume.show': () => ({ name: 'db', size: 64 * MIB, bound: 0 }),
  'lun.delete': () => ({ name: 'db', freed: 4 * MIB, task: 3 }),
  'lun.zero': () => ({ zeroed: MIB }),
  'lun.trim': () => ({ trimmed: MIB }),
}
const front = { destroyPool: () => Promise.resolve({ generation: 8, data: gone, warnings: [] }) }

describe('without a terminal', () => {
  test.each(['lun delete tank/db', 'lun zero tank/db', 'lun trim tank/db --offset 1MiB'])('%s is refused, and done with --yes', async line => {
    const refused = await lunar(line.split(' '), { answers })
    expect(refused.status).toBe(2)
    expect(refused.err).toContain('[ERR_CONFIRM_NEEDED]')
    expect(refused.calls.map(call => call.verb)).toEqual([line.includes('delete') ? 'lun.show' : 'volume.show'])
    expect(refused.closed).toBe(1)
    const done = await lunar([...line.split(' '), '--yes'], { answers })
    expect(done.status).toBe(0)
    expect(done.calls.at(-1)).toMatchObject({ params: { lun: 'db', dryRun: false } })
  })

  test('pool destroy only looks before consent', async () => {
    const refused = await lunar(['pool', 'destroy', 'tank', '--json'], { front })
    expect(refused.status).toBe(2)
    expect(JSON.parse(refused.out)).toMatchObject({ error: { code: 'ERR_CONFIRM_NEEDED' } })
    expect(refused.calls).toEqual([{ verb: 'destroyPool', params: { name: 'tank', force: false, command: 'lunar pool destroy tank --json', dryRun: true } }])
    const done = await lunar(['pool', 'destroy', 'tank', '--yes'], { front })
    expect(done.calls).toMatchObject([{ params: { dryRun: false } }])
    expect(done.out).toBe('Destroyed pool "tank": 2 disks, LUNs: db\n')
  })

  test('--dry-run needs no consent and goes the same way', async () => {
    const outcome = await lunar(['lun', 'delete', 'tank/db', '--dry-run'], { answers })
    expect(outcome.status).toBe(0)
    expect(outcome.out).toMatch(/^Would delete/)
    expect(outcome.calls).toEqual([{ verb: 'lun.delete', params: { lun: 'db', dryRun: true } }])
  })
})

describe('on a terminal', () => {
  const terminal = new Stage({ columns: 80, stdin: Object.assign(new PassThrough(), { isTTY: true }) }).around
  const { signal } = new AbortController()
  const answering = (yes: boolean, name = ''): Question => ({ confirm: () => Promise.resolve(yes), retype: () => Promise.resolve(name) })

  test('yes goes on, no stops', async () => {
    await expect(consent(terminal, signal, false, 'Delete it', answering(true))).resolves.toBeUndefined()
    await expect(consent(terminal, signal, false, 'Delete it', answering(false))).rejects.toMatchObject({
      code: 'ERR_CONFIRM_NEEDED',
      message: 'Did not delete it',
    })
  })

  test('a pool wants its own name', async () => {
    await expect(consentByName(terminal, signal, false, 'Destroy', 'tank', answering(true, ' tank '))).resolves.toBeUndefined()
    await expect(consentByName(terminal, signal, false, 'Destroy', 'tank', answering(true, 'yes'))).rejects.toMatchObject({ code: 'ERR_CONFIRM_NEEDED' })
  })

  test('--yes asks nothing', async () => {
    const never: Question = { confirm: () => Promise.reject(new Error('asked')), retype: () => Promise.reject(new Error('asked')) }
    await expect(consent(terminal, signal, true, 'Delete it', never)).resolves.toBeUndefined()
  })

  test('the questions go to stderr and take a real answer', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined })
    const stage = new Stage({ columns: 80, stdin, answers, env: { NO_COLOR: '1' } })
    const outcome = stage.run(['lun', 'delete', 'tank/db'])
    await untilText(stage, 'Delete LUN "db"')
    stdin.write('y\r')
    expect(await outcome).toMatchObject({ status: 0, out: 'Deleted LUN "db", which frees 4 MiB (task 3)\n' })
  })
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s takes the question back', async name => {
  const stage = new Stage({
    columns: 80,
    stdin: Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined }),
    answers,
    env: { NO_COLOR: '1' },
  })
  const outcome = stage.run(['lun', 'delete', 'tank/db'])
  await untilText(stage, 'Delete LUN "db"')
  stage.stop(name)
  expect(await outcome).toMatchObject({ status: 130, out: '', closed: 1 })
  expect(stage.calls.map(call => call.verb)).toEqual(['lun.show'])
})

/** Resolves when stderr holds `text`. */
async function untilText(stage: Stage, text: string): Promise<void> {
  while (!stage.stderr.text.includes(text)) await new Promise(resolve => setImmediate(resolve))
}
