import { expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { compareCells, formatCell, formatSeconds } from '../../../src/core/cli/cells.ts'
import { diskSpecs } from '../../../src/core/cli/disk-specs.ts'
import { nearest } from '../../../src/core/cli/nearest.ts'
import { paintState, plainPaint } from '../../../src/core/cli/paint.ts'
import { barText, progressFor, RateMeter } from '../../../src/core/cli/progress.ts'
import { resolveRange } from '../../../src/core/cli/ranges.ts'
import { diskReference, parseReference } from '../../../src/core/cli/references.ts'
import { errorLines } from '../../../src/core/cli/report.ts'
import { parseSettings } from '../../../src/core/cli/settings.ts'
import { parseSizeSpec, resolveSize } from '../../../src/core/cli/sizes.ts'
import { quoteWord } from '../../../src/core/cli/typed.ts'
import { pool } from './objects.ts'
import { Stage } from './surroundings.ts'

const MIB = 1024 * 1024

test.each([
  { text: 'db', flag: undefined, want: { pool: undefined, name: 'db' } },
  { text: 'db', flag: 'tank', want: { pool: 'tank', name: 'db' } },
  { text: 'tank/db', flag: undefined, want: { pool: 'tank', name: 'db' } },
  { text: 'tank/db', flag: 'tank', want: { pool: 'tank', name: 'db' } },
])('$text with --pool $flag', ({ text, flag, want }) => expect(parseReference(text, flag, 'lun')).toEqual(want))

test.each(['', '/', 'a/', '/a', 'a//b', 'a/b/c'])('%j names nothing', text => {
  expect(() => parseReference(text, undefined, 'lun')).toThrow(LunarError)
})

test('disks are named by paths, too', () => {
  expect(diskReference('tank/3', undefined)).toEqual({ pool: 'tank', name: '3' })
  expect(diskReference('/dev/sdb', 'tank')).toEqual({ pool: 'tank', name: '/dev/sdb' })
  expect(diskReference('images/d1.img', undefined)).toEqual({ pool: undefined, name: 'images/d1.img' })
})

test.each([
  { text: '10GiB', want: { bytes: 10 * 1024 * MIB } },
  { text: '50%FREE', want: { percentFree: 50 } },
  { text: '12.5%free', want: { percentFree: 12.5 } },
])('$text', ({ text, want }) => expect(parseSizeSpec(text)).toEqual(want))

test('a share is one of the largest LUN of its type, in whole MiB', () => {
  expect(resolveSize({ percentFree: 50 }, 'raid1', pool())).toBe(1000 * MIB)
  expect(resolveSize({ percentFree: 33.33 }, 'raid0', pool())).toBe(1333 * MIB)
  expect(resolveSize({ bytes: 5 }, 'raid0', pool())).toBe(5)
  expect(() => resolveSize({ percentFree: 50 }, 'raid1', pool({ largest: [] }))).toThrow('Cannot use 50%FREE')
})

test('ranges end with the LUN', () => {
  const lun = { name: 'db', size: 100 }
  expect(resolveRange(lun, undefined, undefined)).toEqual({ offset: 0, length: 100 })
  expect(resolveRange(lun, 40, undefined)).toEqual({ offset: 40, length: 60 })
  expect(resolveRange(lun, 40, 60)).toEqual({ offset: 40, length: 60 })
  for (const [offset, length] of [
    [100, undefined],
    [0, 0],
    [40, 61],
    [101, 1],
  ] as const)
    expect(() => resolveRange(lun, offset, length)).toThrow('Cannot use')
})

test('failure domains of all disks and of one', () => {
  const disks = [
    { path: 'a', size: 5 },
    { path: 'b', size: undefined },
  ]
  expect(diskSpecs(disks, ['rack1', 'b=rack2'])).toEqual([
    { path: 'a', size: 5, domain: 'rack1' },
    { path: 'b', domain: 'rack2' },
  ])
  expect(() => diskSpecs(disks, ['c=rack2'])).toThrow('"c"')
})

test('settings, with the object in front or without', () => {
  expect(parseSettings(['tank', 'a=1', 'b=x=y'])).toEqual({ object: 'tank', settings: { a: '1', b: 'x=y' } })
  expect(parseSettings(['a='])).toEqual({ object: undefined, settings: { a: '' } })
})

test.each([
  { value: 1536, kind: 'size', bytes: false, want: '1.50 KiB' },
  { value: 1536, kind: 'size', bytes: true, want: '1536' },
  { value: 1536, kind: 'rate', bytes: false, want: '1.50 KiB/s' },
  { value: 99.9, kind: 'percent', bytes: false, want: '99%' },
  { value: null, kind: 'size', bytes: false, want: '-' },
  { value: true, kind: 'text', bytes: false, want: 'yes' },
  { value: [1, 2], kind: 'text', bytes: false, want: '1,2' },
  { value: [], kind: 'text', bytes: false, want: '-' },
] as const)('$value as $kind', ({ value, kind, bytes, want }) => expect(formatCell(value, kind, bytes)).toBe(want))

test.each([
  [0.44, '0.4s'],
  [9.96, '10s'],
  [59.6, '1m00s'],
  [185, '3m05s'],
  [7620, '2h07m'],
  [352_800, '4d02h'],
])('%d seconds', (seconds, want) => expect(formatSeconds(seconds)).toBe(want))

test('nothing sorts before everything', () => {
  expect([3, null, 1].sort(compareCells)).toEqual([null, 1, 3])
  expect(['d10', 'd9'].sort(compareCells)).toEqual(['d9', 'd10'])
})

test('an error is three lines whatever is in it', () => {
  const lines = errorLines(new LunarError('ERR_BUSY', 'a\nb', { why: 'c\nd', fix: 'e' }))
  expect(lines).toEqual(['a b [ERR_BUSY]', 'c d', 'e'])
})

test('each word of a state is painted by itself', () => {
  const paint = { ...plainPaint, good: (text: string) => `<${text}>`, warn: (text: string) => `(${text})` }
  expect(paintState(paint, 'healthy, odd, incomplete')).toBe('<healthy>, odd, (incomplete)')
})

test('quoting', () => expect(['a-b/c=1', 'a b', "it's", ''].map(quoteWord)).toEqual(['a-b/c=1', "'a b'", `'it'\\''s'`, "''"]))

test('the nearest word, unless all are far', () => {
  expect(nearest('lunar lun lst', ['lunar lun show', 'lunar lun list'])).toBe('lunar lun list')
  expect(nearest('xxxxxxxx', ['lunar lun list'])).toBeUndefined()
})

test('rate and time left come from the last seconds', () => {
  const meter = new RateMeter()
  meter.add(0, 1000, 0)
  expect(meter.add(100, 1000, 1000)).toEqual({ done: 100, total: 1000, rate: 100, eta: 9 })
  meter.add(200, 1000, 4000)
  expect(meter.add(800, 1000, 9000)).toMatchObject({ rate: 120 })
})

test('the bar fits its line', () => {
  const state = { done: 50 * MIB, total: 100 * MIB, rate: 10 * MIB, eta: 5 }
  expect(barText('import db', state, 120)).toBe('import db ████████████░░░░░░░░░░░░ 50% 50 MiB of 100 MiB 10 MiB/s 5s left')
  expect(barText('import db', state, 40)).toHaveLength(39)
  expect(barText('import db', { ...state, total: null, eta: null }, 80)).toBe('import db 50 MiB 10 MiB/s')
})

test('a bar is drawn at most ten times a second, its end always taken away', () => {
  const stage = new Stage({ columns: 80 })
  let now = 0
  const clock = { wallMs: () => now, monotonicMs: () => now, pause: () => Promise.resolve() }
  const progress = progressFor(stage.around, 'auto', false, 'import', clock)
  for (; now < 1000; now++) progress.update(now, 1000)
  expect(stage.stderr.text.split('\r').length - 1).toBe(10)
  progress.end()
  progress.end()
  expect(stage.stderr.text.endsWith('\r\u001b[2K')).toBe(true)
  expect(stage.stdout.text).toBe('')
})

test('progress without a terminal: nothing, or JSON lines when asked, the last one always', () => {
  const quiet = new Stage({})
  progressFor(quiet.around, 'auto', false, 'import').update(1, 2)
  expect(quiet.stderr.text).toBe('')
  const stage = new Stage({})
  let now = 0
  const progress = progressFor(stage.around, 'json', true, 'import', { wallMs: () => now, monotonicMs: () => now, pause: () => Promise.resolve() })
  for (; now <= 2500; now += 100) progress.update(now, 2500)
  progress.end()
  const lines = stage.stderr.text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { done: number })
  expect(lines.map(line => line.done)).toEqual([0, 1000, 2000, 2500])
  expect(lines[1]).toEqual({ progress: 'import', done: 1000, total: 2500, rate: 1000, eta: 2 })
})
