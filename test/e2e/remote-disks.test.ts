/** Pools whose disks are exports of other servers, as operators run them: servers die, owners die, hosts come too late. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import type { DiskSummary, LockView, TaskView } from '../../src/core/server/api.ts'
import { MIB } from '../../src/core/base/units.ts'
import { randomUuid } from '../../src/core/base/uuid.ts'
import { NbdDisk } from '../../src/core/nbd/nbd-disk.ts'
import { newRecord } from '../../src/core/server/ownership.ts'
import { readLabel } from '../../src/metadata/label.ts'
import { writeLockRecordDurably } from '../../src/metadata/lock-record.ts'
import { Authority } from '../core/nbd/support/certificates.ts'
import { Nbdkit } from '../support/nbdkit.ts'
import { useProgram } from '../support/program.ts'
import { client, clientEnv, clientOk, serve } from '../support/server.ts'

const lunar = useProgram()

/** An export of 256 MiB in a folder of its own, as on another machine. */
async function machine(name: string): Promise<Nbdkit> {
  execFileSync('mkdir', [lunar.path(name)])
  execFileSync('truncate', ['-s', '256M', lunar.path(`${name}/disk.img`)])
  return Nbdkit.start(lunar.path(`${name}/s`), 'file', lunar.path(`${name}/disk.img`))
}

async function mirroredTank(): Promise<[Nbdkit, Nbdkit]> {
  const [a, b] = [await machine('a'), await machine('b')]
  lunar.ok('pool', 'create', 'tank', a.uri, b.uri, '--witness', 'w.img', '--domain', `${a.uri}=one`, '--domain', `${b.uri}=two`)
  lunar.ok('lun', 'create', 'tank/db', '--size', '48MiB', '--raid', 'raid1')
  return [a, b]
}

const states = (): string[] => lunar.json<DiskSummary[]>('disk', 'list', '--pool', 'tank').map(({ state }) => state)

/** Fills the volume, then writes blocks of its first 4 MiB in random order until its input ends; every block says which write it is of. */
const writer = `
import json, random, select, sys
BLOCK, BLOCKS, CHANGED = 4096, 12288, 1024
make = lambda block, number: (b"%08d %012d " % (block, number)).ljust(64, b".") * (BLOCK // 64)
for at in range(0, BLOCKS, 256):
    h.pwrite(b"".join(make(block, 1) for block in range(at, at + 256)), at * BLOCK)
h.flush()
print("filled", flush=True)
numbers, number = [1] * BLOCKS, 1
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(20):
        number += 1
        block = random.randrange(CHANGED)
        h.pwrite(make(block, number), block * BLOCK)
        numbers[block] = number
    h.flush()
    print("flushed", flush=True)
json.dump(numbers, open(out, "w"))
`
const reader = `
import json, sys
BLOCK = 4096
make = lambda block, number: (b"%08d %012d " % (block, number)).ljust(64, b".") * (BLOCK // 64)
for block, number in enumerate(json.load(open(out))):
    if h.pread(BLOCK, block * BLOCK) != make(block, number): sys.exit(f"block {block} is not of write {number}")
`

test('one of two servers is killed under writes and brought back: nothing is lost, and only what changed is copied', { timeout: 90_000 }, async () => {
  const [a, b] = await mirroredTank()
  lunar.ok('host', 'add', 'tank/db1')
  lunar.ok('present', 'tank/db', '--host', 'db1')
  const server = await serve(lunar, ['tank', '--socket', `db1=${lunar.path('db1.sock')}`])
  const uri = server.uri('db1', 'db')
  const out = `out = ${JSON.stringify(lunar.path('numbers.json'))}`
  const child = spawn('nbdsh', ['-u', uri, '-c', out, '-c', writer], { stdio: ['pipe', 'pipe', 'inherit'], env: clientEnv })
  lunar.children.push(child)
  const ended = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const read = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) expect(await lines.next()).toMatchObject({ done: false })
  }
  await read(20)
  await b.kill()
  await read(50)
  expect(states()).toEqual(['normal', 'missing', 'normal'])
  expect(lunar.run('pool', 'status', 'tank', '--check').status).toBe(9)
  await b.again()
  await expect.poll(states, { timeout: 30_000, interval: 300 }).toEqual(['normal', 'normal', 'normal'])
  await read(20)
  child.stdin.end()
  for (let line = await lines.next(); !line.done;) line = await lines.next()
  expect((await ended)[0]).toBe(0)
  const [task, another] = lunar.json<TaskView[]>('task', 'list', '--pool', 'tank')
  expect([task, another]).toMatchObject([{ kind: 'resync', target: 'disk 1', state: 'done' }, undefined])
  expect(task!.done).toBeGreaterThan(0)
  expect(task!.done, 'of 48 MiB').toBeLessThanOrEqual(4 * MIB)

  await a.kill() // what is read now lies on the one that was away
  clientOk('nbdsh', '-u', uri, '-c', out, '-c', reader)
  expect(states()[0]).toBe('missing')
  expect(await server.kill('SIGTERM')).toBe(0)
  await a.again()
  lunar.ok('lun', 'set', 'tank/db', 'on-full=fail-writes')
  expect(lunar.json<{ ok: boolean }>('metadata', 'check', '--pool', 'tank').ok).toBe(true)
})

test('commands find the pool again, hand it on, and take it from a process that died; another host is not outwitted', { timeout: 90_000 }, async () => {
  const [a, b] = await mirroredTank()
  lunar.refused('ERR_DUPLICATE_DISK', 'pool', 'create', 'other', a.uri, a.uri)
  lunar.refused('ERR_DISK_IN_USE', 'pool', 'create', 'other', a.uri)
  // The command leaves, its work goes on in a process of its own, and at no moment the records name nobody.
  lunar.ok('lun', 'create', 'tank/image', '--size', '48MiB', '--raid', 'raid1')
  lunar.ok('snap', 'configure', 'tank/db', 'image')
  lunar.ok('EnableSnap', 'tank/1')
  lunar.ok('SetCompleteImageDelay', '50', 'tank/1')
  lunar.ok('StartCompleteImage', 'tank/1')
  const handed = lunar.json<LockView>('lock', 'show', 'tank')
  expect([handed.holder?.kind, handed.disks.map(({ locked }) => locked)]).toEqual(['on-demand', [true, true, true]])
  expect(lunar.json<TaskView[]>('task', 'list', '--pool', 'tank')).toMatchObject([{ kind: 'completeImage', state: 'running' }])
  lunar.ok('StopCompleteImage', 'tank/1')

  const server = await serve(lunar, ['tank'], 0)
  expect(lunar.json<LockView>('lock', 'show', 'tank').disks.map(({ locked }) => locked)).toEqual([true, true, true])
  await server.kill('SIGKILL')
  lunar.ok('lun', 'rename', 'tank/db', 'data')
  expect(lunar.json<LockView>('lock', 'show', 'tank').held).toBe(false)

  const disk = await NbdDisk.open(a.uri)
  const label = await readLabel(disk)
  if (label.kind !== 'label') throw new Error(label.kind)
  const identity = { machineId: randomUuid(), bootId: randomUuid(), pidNamespace: 1, startTicks: 1 }
  await writeLockRecordDurably(disk, label.label.diskId, { ...newRecord({ command: 'lunar serve tank' }), host: 'alpha', identity, poolId: label.label.poolId })
  await disk.close()
  expect(lunar.refused('ERR_LOCKED', 'lun', 'rename', 'tank/data', 'db')).toContain('on alpha (lunar serve tank)')
  lunar.ok('pool', 'import', a.uri, b.uri, 'w.img', '--force=host')
  lunar.ok('lun', 'rename', 'tank/data', 'db')

  lunar.ok('pool', 'export', 'tank')
  lunar.ok('pool', 'import', a.uri, b.uri, 'w.img')
  lunar.ok('pool', 'destroy', 'tank', '--yes')
  lunar.ok('pool', 'create', 'tank', a.uri, b.uri, '--force=overwrite')
})

test('over TLS, beside a file', { timeout: 60_000 }, async () => {
  const authority = new Authority(lunar.path('.'))
  authority.sign('server', '/CN=localhost')
  authority.sign('client', '/CN=pool')
  execFileSync('truncate', ['-s', '128M', lunar.path('disk.img')])
  const remote = await Nbdkit.start(
    lunar.path('s'),
    '--tls=require',
    '--tls-verify-peer',
    `--tls-certificates=${lunar.path('.')}`,
    'file',
    lunar.path('disk.img'),
  )
  const uri = `nbds+unix:///?socket=s&tls-certificates=.`
  lunar.refused('ERR_HOST_LIMIT', 'pool', 'create', 'tank', remote.uri, 'd.img', '--size', '128MiB')
  lunar.ok('pool', 'create', 'tank', uri, 'd.img', '--size', '128MiB')
  lunar.ok('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', 'raid1')
  expect(lunar.json<DiskSummary[]>('disk', 'list', '--pool', 'tank').map(({ path }) => path)).toEqual([
    `nbds+unix:///?socket=${lunar.path('s')}&tls-certificates=${lunar.path('.').replace(/\/\.$/, '')}`,
    lunar.path('d.img'),
  ])
  expect(client('nbdinfo', '--size', remote.uri).status, 'nobody without TLS').not.toBe(0)
})
