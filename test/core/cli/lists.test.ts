import { expect, test } from 'vitest'
import { chooseColumns, sortRows, type Column } from '../../../src/core/cli/columns.ts'
import { fitWidths } from '../../../src/core/cli/table.ts'
import { disk, lun } from './objects.ts'
import { lunar, type Options } from './surroundings.ts'

const MIB = 1024 * 1024
const luns = [lun('db', 64 * MIB), lun('web', 1536 * MIB, { raid: 'raid0', state: 'degraded' }), lun('app', 64 * MIB)]
const list = async (flags: string, options: Options = {}): Promise<string> =>
  (await lunar(['lun', 'list', ...flags.split(' ').filter(Boolean)], { answers: { 'lun.list': () => luns }, ...options })).out

test('plain columns without a terminal: no box, no colour', async () => {
  expect(await list('')).toBe(
    [
      'NAME      SIZE  RAID   BOUND   USED  STATE',
      'db      64 MiB  raid1  2 MiB  4 MiB  normal',
      'web   1.50 GiB  raid0  2 MiB  4 MiB  degraded',
      'app     64 MiB  raid1  2 MiB  4 MiB  normal',
      '',
    ].join('\n'),
  )
})

test('-H has tabs and no header, --bytes whole numbers', async () => {
  expect(await list('-H --bytes -o name,size')).toBe('db\t67108864\nweb\t1610612736\napp\t67108864\n')
})

test.each([
  { flags: '-H -o name', want: 'db\nweb\napp\n' },
  { flags: '-H -o raid,name', want: 'raid1\tdb\nraid0\tweb\nraid1\tapp\n' },
  { flags: '-H -o -size,-raid,-bound,-used', want: 'db\tnormal\nweb\tdegraded\napp\tnormal\n' },
  { flags: '-H -o -size,-raid,-bound,-used,-state,+number', want: 'db\t1\nweb\t1\napp\t1\n' },
  { flags: '-H -o name --sort name', want: 'app\ndb\nweb\n' },
  { flags: '-H -o name --sort -size,name', want: 'web\napp\ndb\n' },
  { flags: '-H -o name --sort -size,-name', want: 'web\ndb\napp\n' },
  { flags: '-H -o name --sort size', want: 'db\napp\nweb\n' },
])('$flags', async ({ flags, want }) => {
  expect(await list(flags)).toBe(want)
})

test('-o help lists the columns and opens no pool', async () => {
  const outcome = await lunar(['lun', 'list', '-o', 'help'])
  expect(outcome.out).toMatch(/^COLUMN +SHOWN +ABOUT\nname +yes +name of the LUN\n/)
  expect(outcome.opened).toEqual([])
})

test('--sort orders the envelope, too; -o does not change its keys', async () => {
  const { data } = JSON.parse(await list('--json --sort name -o name')) as { data: object[] }
  expect(data).toEqual([luns[2], luns[0], luns[1]])
})

test('an empty list prints nothing on stdout and a hint on stderr, none with -H', async () => {
  const empty = { answers: { 'lun.list': () => [] } }
  expect(await lunar(['lun', 'list'], empty)).toMatchObject({ status: 0, out: '', err: 'no LUNs\n' })
  expect(await lunar(['lun', 'list', '-H'], empty)).toMatchObject({ status: 0, out: '', err: '' })
})

test('a terminal gets a box that fits, NO_COLOR and TERM=dumb none', async () => {
  const answers = { 'disk.list': () => [disk(0, { path: `/a/very/long/path/${'x'.repeat(200)}.img` })] }
  const fancy = await lunar(['disk', 'list'], { answers, columns: 100 })
  expect(fancy.out).toContain('┌')
  const visible = fancy.out.replace(/\u001b\[[0-9;]*m/g, '') // eslint-disable-line no-control-regex -- colour is what is taken away
  expect(visible.split('\n')[1]).toMatch(/^│ +DISK │ STATE +│ DOMAIN │ SET │ INDEX │ +SIZE │ +USED │ +FREE │ STALE │ ERRORS │ PATH +│$/)
  expect(Math.max(...visible.split('\n').map(line => line.length))).toBeLessThanOrEqual(100)
  for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }]) {
    const plain = await lunar(['disk', 'list'], { answers, columns: 100, env })
    expect(plain.out).not.toMatch(/[┌\u001b]/) // eslint-disable-line no-control-regex -- colour must not be there
  }
})

test('above 200 rows a terminal gets the plain table', async () => {
  const many = (count: number) => ({ answers: { 'lun.list': () => Array.from({ length: count }, (_, i) => lun(`l${i}`, MIB)) }, columns: 120 })
  expect((await lunar(['lun', 'list'], many(200))).out).toContain('┌')
  expect((await lunar(['lun', 'list'], many(201))).out).not.toContain('┌')
})

test('10,000 rows are all there', async () => {
  const rows = Array.from({ length: 10_000 }, (_, i) => lun(`l${i}`, MIB))
  const { out } = await lunar(['lun', 'list', '-H', '-o', 'name'], { answers: { 'lun.list': () => rows } })
  expect(out).toBe(rows.map(row => `${row.name}\n`).join(''))
})

test('a reader that has enough ends a list quietly with 0', async () => {
  const rows = Array.from({ length: 10_000 }, (_, i) => lun(`l${i}`, MIB))
  const outcome = await lunar(['lun', 'list'], { answers: { 'lun.list': () => rows }, readerLeavesAfter: 70_000 })
  expect(outcome).toMatchObject({ status: 0, err: '' })
  expect(outcome.out.length).toBeLessThan(70_000)
})

test('control characters of names and paths never reach the terminal', async () => {
  const answers = { 'disk.list': () => [disk(0, { path: 'a\u001b[2Jb\tc\nd\u0000' })] }
  expect((await lunar(['disk', 'list', '-H', '-o', 'path'], { answers })).out).toBe('a\\x1b[2Jb c d\\x00\n')
})

const columns: readonly Column<{ a: number; b: string }>[] = [
  { key: 'a', kind: 'count', get: row => row.a, about: '' },
  { key: 'b', kind: 'text', get: row => row.b, about: '' },
]

test('sorting counts as people do and keeps the order of equals', () => {
  const rows = [
    { a: 1, b: 'disk10' },
    { a: 2, b: 'disk2' },
    { a: 1, b: 'disk2' },
  ]
  expect(sortRows(rows, columns, 'b')).toEqual([rows[1], rows[2], rows[0]])
  expect(sortRows(rows, columns, '-a')).toEqual([rows[1], rows[0], rows[2]])
})

test('no column left is an error', () => {
  expect(() => chooseColumns(columns, '-a,-b')).toThrow('leaves no column')
})

test('only text gives way, and never below 8 characters', () => {
  expect(fitWidths([10, 100], columns, 60)).toEqual([12, 45])
  expect(fitWidths([10, 100], columns, 10)).toEqual([12, 10])
  expect(fitWidths([10, 20], columns, 80)).toEqual([12, 22])
})
