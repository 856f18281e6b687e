/** The commands of relationships: which verb each calls with what was typed, and what it says. */
import { describe, expect, test } from 'vitest'
import type { ProcessName, RelationshipView, Result } from '../../src/core/server/api.ts'
import { lunDetail, task } from '../core/cli/objects.ts'
import { lunar, type Answers, type Options } from '../core/cli/surroundings.ts'

const MIB = 1024 * 1024
const asOf = '2026-11-21T06:00:00.000Z'
const relationship = (number = 3, more: Partial<RelationshipView> = {}): RelationshipView => ({
  number,
  name: null,
  source: 'db',
  image: 'copy',
  state: 'enabled',
  process: null,
  ...more,
})
const config = (): Result<'snap.config'> => ({
  ...relationship(),
  chunkBytes: 32768,
  blockBytes: 512,
  delaysMs: { completeImage: 20, imageUpdate: 0, sourceUpdate: 'adaptive' },
  store: 'copy',
  policy: 'fail-writes',
  created: asOf,
})
const status = (more: Partial<Result<'snap.status'>> = {}): Result<'snap.status'> => ({
  ...relationship(),
  chunks: { total: 100, migrated: 50, different: 1, frozen: 0, lost: 0 },
  differentPercent: 1,
  completePercent: 50,
  asOf,
  enabledAt: asOf,
  progress: null,
  lost: [],
  reason: null,
  ...more,
})
const maps = (): Result<'snap.maps'> => ({
  ...relationship(),
  chunks: 12,
  chunkBlocks: 64,
  chunkBytes: 32768,
  migrated: Buffer.from([0b1111_0000, 0b1]).toString('base64'),
  delta: Buffer.from([0b0011_0000, 0]).toString('base64'),
  generation: 7,
})
const enabled =
  (changed = true): NonNullable<Answers['snap.enable']> =>
  ({ relationships }) =>
    relationships.map((_, i) => ({ ...relationship(3 + i), asOf, lost: [], changed }))

const cases: readonly { line: string; verb: string; params: unknown; mode?: 'view' | 'owner'; out: string | RegExp; answers: Answers }[] = [
  {
    line: 'enablesnap 3',
    verb: 'snap.enable',
    mode: 'owner',
    params: { relationships: ['3'], fresh: false, forceLostPart: false, forceMixed: false, disconnect: false, dryRun: false },
    out: `Enabled DcsSnap3: "copy" is "db" as of ${asOf}\n`,
    answers: { 'snap.enable': enabled() },
  },
  {
    line: 'ENABLESNAP tank/DcsSnap3 nightly --force=lost-part --force=mixed --dry-run',
    verb: 'snap.enable',
    params: { relationships: ['DcsSnap3', 'nightly'], fresh: false, forceLostPart: true, forceMixed: true, disconnect: false, dryRun: true },
    out: /^Would enable DcsSnap3: .*\nWould enable DcsSnap4: .*\n$/,
    answers: { 'snap.enable': enabled() },
  },
  {
    line: 'EnableNewSnap 3 tank/4',
    verb: 'snap.enable',
    mode: 'owner',
    params: { relationships: ['3', '4'], fresh: true, forceLostPart: false, forceMixed: false, disconnect: false, dryRun: false },
    out: /^Enabled DcsSnap3/,
    answers: { 'snap.enable': enabled() },
  },
  {
    line: 'EnableSnap 3 --pool tank --force=lost-part',
    verb: 'snap.enable',
    params: { relationships: ['3'], fresh: false, forceLostPart: true, forceMixed: false, disconnect: false, dryRun: false },
    out: /; 64 KiB of it lost, read from the source\n$/,
    answers: {
      'snap.enable': () => [
        {
          ...relationship(),
          asOf,
          lost: [
            { offset: 0, length: 32768 },
            { offset: 98304, length: 32768 },
          ],
          changed: true,
        },
      ],
    },
  },
  {
    line: 'disablesnap 3 4',
    verb: 'snap.disable',
    mode: 'owner',
    params: { relationships: ['3', '4'], disconnect: false, dryRun: false },
    out: 'Disabled DcsSnap3: "copy" is a LUN of its own\nDisabled DcsSnap4: "copy" is refused until it is enabled\n',
    answers: { 'snap.disable': () => [3, 4].map(number => ({ ...relationship(number), complete: number === 3, changed: true })) },
  },
  {
    line: 'getSnapConfig dcssnap3',
    verb: 'snap.config',
    mode: 'view',
    params: { relationship: 'dcssnap3' },
    out: /^relationship: +DcsSnap3\n[\s\S]*complete image delay: 20 ms\nimage update delay: +0 ms\nsource update delay: +adaptive\n/,
    answers: { 'snap.config': config },
  },
  {
    line: 'GetSnapActiveConfig tank/3',
    verb: 'snap.activeConfig',
    mode: 'view',
    params: { relationship: '3' },
    out: /image is of: +2026-11-21T06:00:00.000Z\n$/,
    answers: { 'snap.activeConfig': () => ({ ...config(), enabledAt: asOf, asOf }) },
  },
  {
    line: 'GETSNAPSTATUS 3',
    verb: 'snap.status',
    mode: 'view',
    params: { relationship: '3' },
    out: /complete: +50%\ndifferent: +1%\n[\s\S]*running:\n +process[\s\S]*image update +9 +1 MiB/,
    answers: { 'snap.status': () => status({ progress: { kind: 'imageUpdate', task: 9, done: MIB, total: 2 * MIB, rate: MIB, eta: 1, delayMs: 0 } }) },
  },
  ...(['completeImage', 'imageUpdate', 'sourceUpdate'] as const).flatMap((kind: ProcessName) => {
    const command = kind.charAt(0).toUpperCase() + kind.slice(1)
    const words = kind.replace(/[A-Z]/, letter => ` ${letter.toLowerCase()}`)
    return [
      {
        line: `Start${command} tank/3`,
        verb: 'snap.start',
        mode: 'owner' as const,
        params: { relationship: '3', kind, disconnect: false, dryRun: false },
        out: `Started the ${words} of DcsSnap3: lunar task wait 9\n`,
        answers: { 'snap.start': () => ({ ...relationship(), task: 9, changed: true }) },
      },
      {
        line: `start${command.toLowerCase()} 3 --wait --dry-run`,
        verb: 'snap.start',
        params: { relationship: '3', kind, disconnect: false, dryRun: true },
        out: `Would start the ${words} of DcsSnap3\n`,
        answers: { 'snap.start': () => ({ ...relationship(), task: null, changed: true }) },
      },
      {
        line: `Stop${command} 3`,
        verb: 'snap.stop',
        mode: 'owner' as const,
        params: { relationship: '3', kind, dryRun: false },
        out: `Stopped the ${words} of DcsSnap3: 1 MiB done, 2 MiB left\n`,
        answers: { 'snap.stop': () => ({ ...relationship(), done: MIB, left: 2 * MIB, changed: true }) },
      },
      {
        line: `Set${command}Delay 5 3`,
        verb: 'snap.setDelay',
        mode: 'owner' as const,
        params: { relationship: '3', kind, delay: 5, dryRun: false },
        out: `Set the ${words} delay of DcsSnap3 to 5 ms (it was adaptive)\n`,
        answers: { 'snap.setDelay': () => ({ ...relationship(), delayMs: 5, was: 'adaptive' as const }) },
      },
      {
        line: `set${command.toLowerCase()}delay adaptive tank/3`,
        verb: 'snap.setDelay',
        params: { relationship: '3', kind, delay: 'adaptive', dryRun: false },
        out: / to adaptive \(it was 0 ms\)\n$/,
        answers: { 'snap.setDelay': () => ({ ...relationship(), delayMs: 'adaptive' as const, was: 0 }) },
      },
    ]
  }),
  {
    line: 'snap configure tank/db copy --chunk-blocks 128 --name nightly --on-full drop',
    verb: 'snap.configure',
    mode: 'owner',
    params: { source: 'db', image: 'copy', chunkBytes: 65536, name: 'nightly', policy: 'drop', dryRun: false },
    out: 'Configured DcsSnap3: "copy" is the image of "db", in chunks of 32 KiB\n',
    answers: { 'snap.configure': config },
  },
  {
    line: 'snap configure db copy --chunk-size 1MiB --dry-run',
    verb: 'snap.configure',
    params: { source: 'db', image: 'copy', chunkBytes: MIB, policy: 'fail-writes', dryRun: true },
    out: /^Would configure/,
    answers: { 'snap.configure': config },
  },
  {
    line: 'snap unconfigure tank/3 --yes',
    verb: 'snap.unconfigure',
    mode: 'owner',
    params: { relationship: '3', dryRun: false },
    out: 'Forgot DcsSnap3: "copy" as the image of "db"\n',
    answers: { 'snap.unconfigure': () => relationship() },
  },
  {
    line: 'snap list -H -o number,source,image,state,complete,different,chunk,less-redundant',
    verb: 'snap.list',
    mode: 'view',
    params: {},
    out: '3\tdb\tcopy\tenabled\t50%\t1%\t32 KiB\tno\n',
    answers: {
      'snap.snapshots': () => [],
      'snap.list': () => [{ ...relationship(), chunkBytes: 32768, completePercent: 50, differentPercent: 1, asOf, cost: 'preserving', lessRedundant: false }],
    },
  },
  {
    line: 'snap show 3',
    verb: 'snap.status',
    mode: 'view',
    params: { relationship: '3' },
    out: /^relationship: +DcsSnap3\n[\s\S]*complete: +50%\n[\s\S]*when full: +fail-writes\n[\s\S]*lost ranges of the image:\n/,
    answers: { 'snap.config': config, 'snap.status': () => status({ lost: [{ offset: 0, length: 4096 }] }) },
  },
  {
    line: 'snap maps 3 -H --bytes',
    verb: 'snap.maps',
    mode: 'view',
    params: { relationship: '3' },
    out: ['0\t4\t0\t131072\tno\tno', '4\t2\t131072\t65536\tyes\tyes', '6\t3\t196608\t98304\tyes\tno', '9\t3\t294912\t98304\tno\tno', ''].join('\n'),
    answers: { 'snap.maps': maps },
  },
  {
    line: 'lun swap tank/db copy',
    verb: 'lun.swap',
    mode: 'owner',
    params: { lun: 'db', with: 'copy', disconnect: false, dryRun: false },
    out: 'Swapped: "db" is the LUN that was "copy", and the other way round\n',
    answers: { 'lun.swap': () => ({ a: lunDetail('copy', MIB), b: lunDetail('db', MIB) }) },
  },
  {
    line: 'lun protect tank/db',
    verb: 'lun.protect',
    mode: 'owner',
    params: { lun: 'db', protect: true, dryRun: false },
    out: 'LUN "db" is protected\n',
    answers: { 'lun.protect': () => ({ ...lunDetail('db', MIB), changed: true }) },
  },
  {
    line: 'lun unprotect db --dry-run',
    verb: 'lun.protect',
    params: { lun: 'db', protect: false, dryRun: true },
    out: 'LUN "db" would be not protected\n',
    answers: { 'lun.protect': () => ({ ...lunDetail('db', MIB), changed: true }) },
  },
  ...(['pause', 'resume', 'stop'] as const).map(verb => ({
    line: `task ${verb} tank/4`,
    verb: `task.${verb}`,
    mode: 'owner' as const,
    params: { task: 4, dryRun: false },
    out: 'Task 4 (resync of disk 0) is paused\n',
    answers: { [`task.${verb}`]: () => task(4, { state: 'paused' }) } as Answers,
  })),
]

/** `Enablesnap` is the command EnableSnap: its schema has the name as it is written. */
const schemaNames = ['EnableSnap', 'EnableNewSnap', 'DisableSnap', 'GetSnapConfig', 'GetSnapActiveConfig', 'GetSnapStatus'].concat(
  ['CompleteImage', 'ImageUpdate', 'SourceUpdate'].flatMap(process => [`Start${process}`, `Stop${process}`, `Set${process}Delay`]),
)
function schemaOf(line: string): string {
  const [first = '', second = ''] = line.split(' ')
  return `${schemaNames.find(name => name.toLowerCase() === first.toLowerCase()) ?? `${first}.${second}`}/1`
}

describe.each(cases)('$line', ({ line, verb, params, mode, out, answers }) => {
  test('as text', async () => {
    const outcome = await lunar(line.split(' '), { answers })
    expect(outcome).toMatchObject({ status: 0, err: '' })
    expect(outcome.calls.at(-1)).toEqual({ verb, params })
    if (typeof out === 'string') expect(outcome.out).toBe(out)
    else expect(outcome.out).toMatch(out)
    if (mode) expect(outcome.opened.map(opened => opened.mode)).toEqual([mode])
    expect(outcome.closed).toBe(outcome.opened.length)
  })

  test('with --json', async () => {
    const outcome = await lunar([...line.split(' '), '--json'], { answers })
    expect(outcome).toMatchObject({ status: 0, err: '' })
    const envelope = JSON.parse(outcome.out) as { schema: string; data: unknown }
    expect(envelope.schema).toBe(schemaOf(line))
    expect(envelope.data).toBeTypeOf('object')
    expect(envelope.data).not.toBeNull()
  })
})

test('what the operator typed is recorded under the name of the command', async () => {
  const outcome = await lunar(['ENABLEsnap', '3'], { answers: { 'snap.enable': enabled() } })
  expect(outcome.opened).toMatchObject([{ command: 'lunar EnableSnap 3' }])
})

test('snap maps --json has both bitmaps as they came', async () => {
  const outcome = await lunar(['snap', 'maps', '3', '--json'], { answers: { 'snap.maps': maps } })
  expect((JSON.parse(outcome.out) as { data: unknown }).data).toEqual(maps())
})

const usage: readonly { line: string; says: RegExp; options?: Options }[] = [
  { line: 'SetCompleteImageDelay 5', says: /relationship/ },
  { line: 'SetCompleteImageDelay 5ms 3', says: /"5ms" as a delay/ },
  { line: 'SetCompleteImageDelay 3600001 3', says: /up to 3600000/ },
  { line: 'SetImageUpdateDelay [5] 3', says: /as a delay/ },
  { line: 'EnableSnap tank/3 other/4', says: /pool "other"/ },
  { line: 'EnableSnap 3 --force=everything', says: /lost-part/ },
  { line: 'DisableSnap', says: /relationships/ },
  { line: 'StartImageUpdate', says: /relationship/ },
  { line: 'snap configure tank/db other/copy', says: /pool "other"/ },
  { line: 'snap configure db copy --chunk-size 32KiB --chunk-blocks 64', says: /two sizes/ },
  { line: 'EnabelSnap 3', says: /the nearest is "lunar EnableSnap"/ },
  { line: 'enablesnp', says: /the nearest is "lunar EnableSnap"/ },
]
test.each(usage)('$line exits with 2', async ({ line, says }) => {
  const outcome = await lunar(line.split(' '))
  expect(outcome).toMatchObject({ status: 2, out: '', calls: [] })
  expect(outcome.err).toMatch(says)
})

const unchanged: readonly { line: string; answers: Answers }[] = [
  { line: 'EnableSnap 3', answers: { 'snap.enable': enabled(false) } },
  { line: 'DisableSnap 3', answers: { 'snap.disable': () => [{ ...relationship(), complete: false, changed: false }] } },
  { line: 'StartCompleteImage 3', answers: { 'snap.start': () => ({ ...relationship(), task: 9, changed: false }) } },
  { line: 'StopSourceUpdate 3', answers: { 'snap.stop': () => ({ ...relationship(), done: 0, left: 0, changed: false }) } },
  { line: 'SetImageUpdateDelay 5 3', answers: { 'snap.setDelay': () => ({ ...relationship(), delayMs: 5, was: 5 }) } },
  { line: 'lun protect db', answers: { 'lun.protect': () => ({ ...lunDetail('db', MIB), changed: false }) } },
]
describe.each(unchanged)('$line, which is so already', ({ line, answers }) => {
  test('warns and exits with 0', async () => {
    const outcome = await lunar(line.split(' '), { answers })
    expect(outcome.status).toBe(0)
    expect(outcome.err).toMatch(/^warning: unchanged: .+\n$/)
    expect((JSON.parse((await lunar([...line.split(' '), '--json'], { answers })).out) as { warnings: string[] }).warnings).toEqual([
      expect.stringMatching(/^unchanged: /),
    ])
  })
  test('exits with 4 with --fail-if-unchanged', async () => {
    const outcome = await lunar([...line.split(' '), '--fail-if-unchanged'], { answers })
    expect(outcome).toMatchObject({ status: 4, out: '' })
    expect(outcome.err).toContain('[ERR_UNCHANGED]')
  })
})

test('of several, one that was so already is a warning, no failure', async () => {
  const answers: Answers = { 'snap.enable': ({ relationships }) => relationships.map((_, i) => ({ ...relationship(3 + i), asOf, lost: [], changed: i > 0 })) }
  const outcome = await lunar(['EnableSnap', '3', '4', '--fail-if-unchanged'], { answers })
  expect(outcome).toMatchObject({ status: 0, err: 'warning: unchanged: DcsSnap3 is enabled already\n' })
})

describe('--wait', () => {
  const started: Answers = { 'snap.start': () => ({ ...relationship(3, { process: 'imageUpdate' }), task: 9, changed: true }), 'snap.config': config }
  const ended = task(9, { kind: 'imageUpdate', target: 'DcsSnap3' })

  test('ends with the task and says what it did', async () => {
    const answers = { ...started, 'task.wait': () => ended }
    expect(await lunar(['StartImageUpdate', '3', '--wait'], { answers })).toMatchObject({
      status: 0,
      err: '',
      out: 'The image update of DcsSnap3 is done: 10 MiB copied\n',
    })
    const json = JSON.parse((await lunar(['StartImageUpdate', '3', '--wait', '--json'], { answers })).out) as { data: unknown }
    expect(json.data).toEqual({ ...relationship(), task: 9, changed: true, outcome: ended })
  })

  test('prints progress as JSON lines, the last of them at the end', async () => {
    const outcome = await lunar(['StartImageUpdate', '3', '--wait', '--progress=json'], { answers: { ...started, 'task.wait': () => ended } })
    expect(JSON.parse(outcome.err)).toMatchObject({ progress: 'image update of DcsSnap3', done: 10 * MIB, total: 10 * MIB })
  })

  test('draws a bar on a terminal', async () => {
    const outcome = await lunar(['StartImageUpdate', '3', '--wait'], { answers: { ...started, 'task.wait': () => ended }, columns: 100 })
    expect(outcome.err).toContain('image update of DcsSnap3 ████████████████████████ 100%')
  })

  test.each([
    { state: 'paused' as const, status: 5, code: 'ERR_TASK_STATE' },
    { state: 'waiting' as const, status: 5, code: 'ERR_TASK_STATE' },
  ])('does not take a task that is $state for done', async ({ state, status, code }) => {
    const outcome = await lunar(['StartImageUpdate', '3', '--wait'], { answers: { ...started, 'task.wait': () => ({ ...ended, state }) } })
    expect(outcome).toMatchObject({ status, out: '' })
    expect(outcome.err).toContain(`[${code}]`)
  })
})

test('what opens a mixed volume says so only with --force=mixed', async () => {
  const opened: unknown[] = []
  const options: Options = {
    answers: { 'lun.show': () => lunDetail('db', MIB), 'volume.show': () => lunDetail('db', MIB) },
    openLun: (name, given) => {
      opened.push([name, given])
      return Promise.reject(new Error('far enough'))
    },
    transfers: { sourceSize: () => Promise.resolve(512) },
  }
  for (const line of ['lun read db --out f', 'lun export db f', 'lun write db f']) {
    await lunar(line.split(' '), options)
    await lunar([...line.split(' '), '--force=mixed'], options)
  }
  expect(opened).toEqual([
    ['db', { readOnly: true }],
    ['db', { readOnly: true, mixed: true }],
    ['db', { readOnly: true }],
    ['db', { readOnly: true, mixed: true }],
    ['db', {}],
    ['db', { mixed: true }],
  ])
})

test('unconfiguring an image that is not complete needs --yes without a terminal', async () => {
  const answers: Answers = { 'snap.unconfigure': () => relationship(3, { state: 'disabled' }), 'snap.status': () => status({ state: 'disabled' }) }
  const outcome = await lunar(['snap', 'unconfigure', '3'], { answers })
  expect(outcome.status).toBe(2)
  expect(outcome.err).toContain('[ERR_CONFIRM_NEEDED]')
  expect(outcome.calls.at(-1)?.verb).toBe('snap.status')
  const complete = await lunar(['snap', 'unconfigure', '3'], { answers: { ...answers, 'snap.status': () => status({ completePercent: 100 }) } })
  expect(complete.status).toBe(0)
})
