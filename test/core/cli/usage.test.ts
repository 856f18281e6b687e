import { expect, test } from 'vitest'
import { lunar } from './surroundings.ts'

const bad: readonly { line: string; code?: string }[] = [
  { line: 'lun list --nope' },
  { line: 'lun create' },
  { line: 'lun create db --size 1GiB' },
  { line: 'lun create db --size 1GiB --raid raid9' },
  { line: 'lun create db --size many --raid raid1', code: 'ERR_BAD_SIZE' },
  { line: 'lun create db --size 1.3 --raid raid1', code: 'ERR_BAD_SIZE' },
  { line: 'lun create db --size 0%FREE --raid raid1', code: 'ERR_BAD_SIZE' },
  { line: 'lun create db --size 101%FREE --raid raid1', code: 'ERR_BAD_SIZE' },
  { line: 'lun create a/b/c --size 1GiB --raid raid1', code: 'ERR_BAD_NAME' },
  { line: 'lun create tank/db --pool other --size 1GiB --raid raid1' },
  { line: 'lun delete db --force=everything' },
  { line: 'lun list surplus' },
  { line: 'lun list -o nothing' },
  { line: 'lun list --sort nothing' },
  { line: 'lun list --sort' },
  { line: 'task show three' },
  { line: 'rstore show db x' },
  { line: 'rstore verify tank/db/x' },
  { line: 'rstore repair tank/db/0/0', code: 'ERR_BAD_NAME' },
  { line: 'pool set' },
  { line: 'pool set tank' },
  { line: 'pool set a=1 b' },
  { line: 'host set iops=1' },
  { line: 'pool set a=1 a=2' },
  { line: 'pool events --limit -3' },
  { line: 'pool show tank --pool other' },
  { line: 'disk label 1' },
  { line: 'disk add d.img --domain other.img=rack1' },
  { line: 'lun lst' },
  { line: 'nonsense' },
  { line: '--pool tank lun list' },
  { line: 'explain' },
  { line: 'lun export db - --verify' },
]

test.each(bad)('$line: exit 2, three lines', async ({ line, code = 'ERR_USAGE' }) => {
  const outcome = await lunar(line.split(' '))
  expect(outcome.status).toBe(2)
  expect(outcome.out).toBe('')
  expect(outcome.err.trimEnd().split('\n')).toHaveLength(3)
  expect(outcome.err).toContain(`[${code}]`)
  expect(outcome.calls).toEqual([])
})

test.each(bad)('$line --json: exit 2, an envelope without the configuration in it', async ({ line, code = 'ERR_USAGE' }) => {
  const outcome = await lunar([...line.split(' '), '--json'])
  expect(outcome.status).toBe(2)
  expect(outcome.err).toBe('')
  const envelope = JSON.parse(outcome.out) as { data: null; error: { code: string; fix: string } }
  expect(Object.keys(envelope)).toEqual(['schema', 'generation', 'data', 'warnings', 'error'])
  expect(envelope.error.code).toBe(code)
  expect(outcome.out.length).toBeLessThan(1000)
})

test('names the nearest command', async () => {
  expect((await lunar(['lun', 'lst'])).err).toContain('fix: lunar lun list --help')
})

test('says what a size may be, in the words of the flag', async () => {
  expect((await lunar(['lun', 'resize', 'db', '--size', '10XB'])).err).toBe(
    'error: Cannot use "10XB" as a size (--size) [ERR_BAD_SIZE]\n  why: "10XB" is not a size\n  fix: write the size like 10GiB or 512MiB\n',
  )
})

test('a missing argument is never read from stdin', async () => {
  const outcome = await lunar(['lun', 'map'])
  expect(outcome.status).toBe(2)
  expect(outcome.err).toContain('lun: the LUN')
})

test('help and version exit with 0', async () => {
  expect((await lunar(['--version'])).out).toMatch(/^lunar\/\d+\.\d+\.\d+ /)
})
