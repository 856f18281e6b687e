/** Each command calls its verb with what was typed, and shows the reply. */
import { describe, expect, test } from 'vitest'
import type { LockView, RstoreCheck, RstoreDetail } from '../../src/core/server/api.ts'
import { disk, lun, lunDetail, pool, status, task } from '../core/cli/objects.ts'
import { lunar, type Options } from '../core/cli/surroundings.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const settled = { settings: [], changed: ['a', 'b'] }
const store: RstoreDetail = {
  lun: 'db',
  number: 0,
  raid: 'raid1',
  bound: 1,
  state: 'healthy',
  disks: [0, 1],
  parity: null,
  astride: false,
  members: [{ member: 0, role: 'copy', column: 0, disk: 1, segment: 4, offset: 8 * MIB, state: 'normal', staleSlices: 0 }],
  slices: [{ slice: 0, address: 0, open: false }],
}
const checked: RstoreCheck = {
  lun: 'db',
  store: null,
  compared: MIB,
  unchecked: { noRedundancy: 0, memberAway: 0, resyncPending: 0 },
  differs: 0,
  unreadable: 0,
  lost: 0,
  repaired: 0,
  ranges: [],
  unlisted: 0,
}
const lock: LockView = {
  pool: 'tank',
  held: true,
  holder: { pid: 42, version: '0.1.0', host: 'here', command: 'lunar lun import', socket: '/run/s', since: '2026-11-21T06:00:00.000Z', kind: 'command' },
  disks: [{ disk: 0, path: 'd0.img', locked: true }],
}
const reply = <T>(data: T) => Promise.resolve({ generation: 1, data, warnings: [] })

const cases: readonly { line: string; verb: string; params: unknown; mode?: 'view' | 'owner'; out: string | RegExp; options: Options }[] = [
  {
    line: 'disk add d5.img d6.img --size 1GiB --domain r1 --domain d6.img=r2',
    verb: 'disk.add',
    mode: 'owner',
    params: {
      disks: [
        { path: 'd5.img', size: GIB, domain: 'r1' },
        { path: 'd6.img', size: GIB, domain: 'r2' },
      ],
      witness: false,
      overwrite: false,
      dryRun: false,
    },
    out: 'Added disk 4 (/pools/d4.img)\n',
    options: { answers: { 'disk.add': () => [disk(4)] } },
  },
  {
    line: 'disk add w.img --witness --force=overwrite --dry-run',
    verb: 'disk.add',
    params: { disks: [{ path: 'w.img', size: 64 * MIB }], witness: true, overwrite: true, dryRun: true },
    out: /^Would add disk 4/,
    options: { answers: { 'disk.add': () => [disk(4)] } },
  },
  {
    line: 'disk list -H -o disk,state',
    verb: 'disk.list',
    mode: 'view',
    params: {},
    out: '0\tnormal\n',
    options: { answers: { 'disk.list': () => [disk(0)] } },
  },
  {
    line: 'disk label tank/2 --domain rack1',
    verb: 'disk.label',
    mode: 'owner',
    params: { disk: '2', domain: 'rack1', dryRun: false },
    out: 'Set the failure domain of disk 2: rack1\n',
    options: { answers: { 'disk.label': () => disk(2, { domain: 'rack1' }) } },
  },
  {
    line: 'disk label 2 --no-domain',
    verb: 'disk.label',
    params: { disk: '2', domain: null, dryRun: false },
    out: /its own\n$/,
    options: { answers: { 'disk.label': () => disk(2) } },
  },
  {
    line: 'disk offline 1 --force=redundancy',
    verb: 'disk.offline',
    mode: 'owner',
    params: { disk: '1', force: true, dryRun: false },
    out: 'Disk 1 is missing\n',
    options: { answers: { 'disk.offline': () => disk(1, { state: 'missing' }) } },
  },
  {
    line: 'disk online 1 --path other/d1.img',
    verb: 'disk.online',
    mode: 'owner',
    params: { disk: '1', path: 'other/d1.img', dryRun: false },
    out: /^Disk 1 is merging; task 3 .*lunar task wait 3/,
    options: { answers: { 'disk.online': () => ({ ...disk(1, { state: 'merging' }), task: 3 }) } },
  },
  {
    line: 'disk remove 1 --yes',
    verb: 'disk.remove',
    mode: 'owner',
    params: { disk: '1', dryRun: false },
    out: /^Disk 1 leaves the pool; task 3 .*lunar task wait 3/,
    options: { answers: { 'disk.remove': () => ({ ...disk(1, { state: 'replacing' }), moves: [], task: 3, changed: true }) } },
  },
  {
    line: 'disk replace tank/1 d5.img --size 64MiB --domain rack2 --force=overwrite --dry-run',
    verb: 'disk.replace',
    mode: 'owner',
    params: { disk: '1', with: { path: 'd5.img', size: 64 * MIB, domain: 'rack2' }, overwrite: true, dryRun: true },
    out: /^Would add disk 4 .* move 2 MiB: 2 MiB of LUN db\n/,
    options: {
      answers: {
        'disk.replace': () => ({ old: { ...disk(1), moves: [{ lun: 'db', segments: 1, bytes: 2 * MIB }], task: null, changed: true }, new: disk(4) }),
      },
    },
  },
  {
    line: 'lock show tank',
    verb: 'lock.show',
    mode: 'view',
    params: {},
    out: /^pool: +tank\nheld: +yes\npid: +42\n/,
    options: { answers: { 'lock.show': () => lock } },
  },
  {
    line: 'lun create tank/db --size 10G --raid raid1 --reserve',
    verb: 'lun.create',
    mode: 'owner',
    params: { name: 'db', size: 10 * GIB, raid: 'raid1', reserve: true, dryRun: false },
    out: 'Created LUN "db": 64 MiB, raid1, thin\n',
    options: { answers: { 'lun.create': () => lunDetail('db', 64 * MIB) } },
  },
  {
    line: 'lun create db --size 50%FREE --raid raid1',
    verb: 'lun.create',
    params: { name: 'db', size: 1000 * MIB, raid: 'raid1', reserve: false, dryRun: false },
    out: /^Created/,
    options: { answers: { 'pool.show': () => pool(), 'lun.create': () => lunDetail('db', 64 * MIB) } },
  },
  {
    line: 'lun create db --size 4GiB --raid raid5 --stripe 2',
    verb: 'lun.create',
    mode: 'owner',
    params: { name: 'db', size: 4 * GIB, raid: 'raid5', stripe: 2, reserve: false, dryRun: false },
    out: /^Created/,
    options: { answers: { 'lun.create': () => lunDetail('db', 4 * GIB) } },
  },
  {
    line: 'lun create db --size 4GiB --range 0-1GiB:raid1,1GiB-:raid5:stripe=4',
    verb: 'lun.create',
    mode: 'owner',
    params: {
      name: 'db',
      size: 4 * GIB,
      ranges: [
        { offset: 0, length: GIB, raid: 'raid1', stripe: 1 },
        { offset: GIB, length: null, raid: 'raid5', stripe: 4 },
      ],
      reserve: false,
      dryRun: false,
    },
    out: 'Created LUN "db": 4 GiB, raid1+raid5, thin\n',
    options: { answers: { 'lun.create': () => lunDetail('db', 4 * GIB, { raid: 'raid1+raid5' }) } },
  },
  {
    line: 'lun show db',
    verb: 'lun.show',
    mode: 'view',
    params: { lun: 'db' },
    out: /raid: +raid1\+raid5\n[\s\S]*ranges[^\n]*\n[^\n]*offset +length +raid +stripe[^\n]*\n[\s\S]*1 GiB +- +raid5 +4\n/i,
    options: {
      answers: {
        'lun.show': () =>
          lunDetail('db', 4 * GIB, {
            raid: 'raid1+raid5',
            ranges: [
              { offset: 0, length: GIB, raid: 'raid1' },
              { offset: GIB, length: null, raid: 'raid5', stripe: 4 },
            ],
          }),
      },
    },
  },
  {
    line: 'lun show db --bytes',
    verb: 'lun.show',
    mode: 'view',
    params: { lun: 'db' },
    out: /^name: +db\n[\s\S]*size: +67108864\n/,
    options: { answers: { 'lun.show': () => lunDetail('db', 64 * MIB) } },
  },
  {
    line: 'lun map --lost db -H --bytes',
    verb: 'lun.map',
    mode: 'view',
    params: { lun: 'db', lost: true },
    out: '1048576\t2097152\tlost\t1\t0,2\traid0\n',
    options: { answers: { 'lun.map': () => [{ offset: MIB, length: 2 * MIB, state: 'lost', raid: 'raid0', store: 1, disks: [0, 2] }] } },
  },
  {
    line: 'lun resize db --size 2GiB --force=lost-data',
    verb: 'lun.resize',
    mode: 'owner',
    params: { lun: 'db', size: 2 * GIB, force: true, disconnect: false, dryRun: false },
    out: 'Resized LUN "db" from 4 GiB to 2 GiB\n',
    options: { answers: { 'lun.resize': () => ({ ...lunDetail('db', 2 * GIB), was: 4 * GIB }) } },
  },
  {
    line: 'lun rename tank/db new',
    verb: 'lun.rename',
    mode: 'owner',
    params: { lun: 'db', name: 'new', dryRun: false },
    out: 'Renamed LUN "db" to "new"\n',
    options: { answers: { 'lun.rename': () => lunDetail('new', MIB) } },
  },
  {
    line: 'lun zero db --offset 1MiB --length 2MiB --yes',
    verb: 'lun.zero',
    mode: 'owner',
    params: { lun: 'db', offset: MIB, length: 2 * MIB, dryRun: false },
    out: 'Zeroed 2 MiB of LUN "db"\n',
    options: { answers: { 'volume.show': () => ({ name: 'db', size: 64 * MIB, bound: 0 }), 'lun.zero': () => ({ zeroed: 2 * MIB }) } },
  },
  {
    line: 'lun trim db --yes',
    verb: 'lun.trim',
    mode: 'owner',
    params: { lun: 'db', offset: 0, length: 64 * MIB, dryRun: false },
    out: 'Trimmed 63 MiB of LUN "db"\n',
    options: { answers: { 'volume.show': () => ({ name: 'db', size: 64 * MIB, bound: 0 }), 'lun.trim': () => ({ trimmed: 63 * MIB }) } },
  },
  {
    line: 'metadata dump tank',
    verb: 'metadata.dump',
    mode: 'view',
    params: {},
    out: 'pool tank\nlun db\n',
    options: { answers: { 'metadata.dump': () => ({ text: 'pool tank\nlun db\n' }) } },
  },
  {
    line: 'pool show tank',
    verb: 'pool.show',
    mode: 'view',
    params: {},
    out: /^name: +tank\nhealth: +healthy\n/,
    options: { answers: { 'pool.show': () => pool() } },
  },
  {
    line: 'pool status',
    verb: 'pool.status',
    mode: 'view',
    params: {},
    out: /note: +disk 0 is missing\n[\s\S]*disks:\n/,
    options: { answers: { 'pool.status': () => status({ health: 'degraded', messages: ['disk 0 is missing'] }) } },
  },
  {
    line: 'pool set tank a=1 b=',
    verb: 'pool.set',
    mode: 'owner',
    params: { settings: { a: '1', b: '' }, dryRun: false },
    out: 'Set a, b\n',
    options: { answers: { 'pool.set': () => settled } },
  },
  {
    line: 'host set tank/web1 iops=5 bps=none',
    verb: 'host.set',
    mode: 'owner',
    params: { host: 'web1', settings: { iops: '5', bps: 'none' }, dryRun: false },
    out: 'Set iops\n',
    options: { answers: { 'host.set': () => ({ settings: [], changed: ['iops'] }) } },
  },
  {
    line: 'pool events tank --limit 3 --after 9 -H',
    verb: 'pool.events',
    mode: 'view',
    params: { limit: 3, after: 9 },
    out: '10\t2026-11-21T06:00:00.000Z\tdisk.failed\tdisk 0\tgone\n',
    options: { answers: { 'pool.events': () => [{ number: 10, time: '2026-11-21T06:00:00.000Z', event: 'disk.failed', object: 'disk 0', message: 'gone' }] } },
  },
  {
    line: 'rstore list tank/db -H',
    verb: 'rstore.list',
    mode: 'view',
    params: { lun: 'db' },
    out: 'db\t0\traid1\t1\thealthy\t0,1\t-\tno\n',
    options: { answers: { 'rstore.list': () => [store] } },
  },
  { line: 'rstore list -H', verb: 'rstore.list', params: {}, out: /^db/, options: { answers: { 'rstore.list': () => [store] } } },
  {
    line: 'rstore show tank/db 0',
    verb: 'rstore.show',
    mode: 'view',
    params: { lun: 'db', store: 0 },
    out: /members:\n +MEMBER|members:\n +member/,
    options: { answers: { 'rstore.show': () => store } },
  },
  {
    line: 'rstore verify tank/db',
    verb: 'rstore.verify',
    mode: 'owner',
    params: { lun: 'db' },
    out: /^LUN: +db\ncompared: +1 MiB\n[\s\S]*lost: +0 B\n$/,
    options: { answers: { 'rstore.verify': () => checked } },
  },
  {
    line: 'rstore verify db/3 --pool tank --json',
    verb: 'rstore.verify',
    params: { lun: 'db', store: 3 },
    out: /"schema": ?"rstore.verify\/1"/,
    options: { answers: { 'rstore.verify': () => checked } },
  },
  {
    line: 'rstore repair tank/db/3 --dry-run',
    verb: 'rstore.repair',
    mode: 'owner',
    params: { lun: 'db', store: 3, dryRun: true },
    out: 'Would repair 0 B of LUN "db": 0 B differed, 0 B could not be read on one member\n',
    options: { answers: { 'rstore.repair': () => checked } },
  },
  {
    line: 'task list -H -o task,state,percent',
    verb: 'task.list',
    mode: 'view',
    params: {},
    out: '4\tdone\t100%\n',
    options: { answers: { 'task.list': () => [task(4)] } },
  },
  {
    line: 'task show tank/4',
    verb: 'task.show',
    mode: 'view',
    params: { task: 4 },
    out: /^task: +4\nkind: +resync\n/,
    options: { answers: { 'task.show': () => task(4) } },
  },
  {
    line: 'task wait 4',
    verb: 'task.wait',
    mode: 'owner',
    params: { task: 4 },
    out: 'Task 4 (resync of disk 0) is done\n',
    options: { answers: { 'task.wait': () => task(4) } },
  },
  {
    line: 'pool list -H -o name,free --bytes',
    verb: 'listPools',
    params: undefined,
    out: `tank\t${4056 * MIB}\n`,
    options: { front: { listPools: () => reply([{ ...pool(), problem: null }]) } },
  },
  {
    line: 'pool create tank a.img b.img --size 1GiB --witness w.img --force=overwrite --force=nonlocal',
    verb: 'createPool',
    params: {
      name: 'tank',
      disks: [
        { path: 'a.img', size: GIB },
        { path: 'b.img', size: GIB },
      ],
      witness: [{ path: 'w.img', size: 64 * MIB }],
      overwrite: true,
      forceNonlocal: true,
      dryRun: false,
      command: 'lunar pool create tank a.img b.img --size 1GiB --witness w.img --force=overwrite --force=nonlocal',
    },
    out: 'Created pool "tank" on 4 disks\n',
    options: { front: { createPool: () => reply(pool()) } },
  },
  {
    line: 'pool import dir other --name tank --read-only --choose d1.img --force=quorum --dry-run -H -o name,missing',
    verb: 'importPools',
    params: {
      paths: ['dir', 'other'],
      name: 'tank',
      choose: 'd1.img',
      readOnly: true,
      forceQuorum: true,
      forceHost: false,
      dryRun: true,
      command: 'lunar pool import dir other --name tank --read-only --choose d1.img --force=quorum --dry-run -H -o name,missing',
    },
    out: 'tank\t1\n',
    options: { front: { importPools: () => reply([{ ...pool(), paths: ['dir/d1.img'], missing: 1, problem: null }]) } },
  },
  {
    line: 'pool export --pool tank',
    verb: 'exportPool',
    params: { name: 'tank', dryRun: false, command: 'lunar pool export --pool tank' },
    out: 'Exported pool "tank": 2 disks\n',
    options: { front: { exportPool: () => reply({ name: 'tank', disks: ['a', 'b'] }) } },
  },
]

describe.each(cases)('$line', ({ line, verb, params, mode, out, options }) => {
  test('as text', async () => {
    const outcome = await lunar(line.split(' '), options)
    expect(outcome).toMatchObject({ status: 0, err: '' })
    expect(outcome.calls.at(-1)).toEqual({ verb, params })
    if (typeof out === 'string') expect(outcome.out).toBe(out)
    else expect(outcome.out).toMatch(out)
    if (mode) expect(outcome.opened.map(opened => opened.mode)).toEqual([mode])
    expect(outcome.closed).toBe(outcome.opened.length)
  })

  test('with --json', async () => {
    const outcome = await lunar([...line.split(' '), '--json'], options)
    expect(outcome).toMatchObject({ status: 0, err: '' })
    const envelope = JSON.parse(outcome.out) as { schema: string; data: unknown }
    expect(envelope.schema).toBe(`${line.split(' ').slice(0, 2).join('.')}/1`)
    expect(envelope.data).toBeTypeOf('object')
    expect(envelope.data).not.toBeNull()
  })
})

test('an unknown pool exits with 3', async () => {
  const outcome = await lunar(['lun', 'list', '--pool', 'nowhere'])
  expect(outcome.status).toBe(3)
  expect(outcome.err).toContain('[ERR_POOL_NOT_FOUND]')
})

test('task wait shows how far the task is, and fails as it fails', async () => {
  let looks = 0
  const answers = {
    'task.show': () => task(4, { state: 'running', done: ++looks * MIB, ended: null }),
    'task.wait': () =>
      new Promise<ReturnType<typeof task>>(resolve => {
        const watch = setInterval(() => {
          if (looks < 2) return
          clearInterval(watch)
          resolve(task(4))
        }, 5)
      }),
  }
  const outcome = await lunar(['task', 'wait', '4', '--progress=json'], { answers })
  expect(outcome.status).toBe(0)
  expect(outcome.err.split('\n')[0]).toBe(JSON.stringify({ progress: 'task 4', done: MIB, total: 10 * MIB, rate: 0, eta: null }))
})

test('lists of LUNs keep what the engine says about each', async () => {
  const outcome = await lunar(['lun', 'list', '-H', '-o', 'name,state'], { answers: { 'lun.list': () => [lun('db', MIB, { state: 'thin, degraded' })] } })
  expect(outcome.out).toBe('db\tthin, degraded\n')
})
