/** What operators see of a pool from outside: metrics over HTTP, with unmodified clients. */
import { once } from 'node:events'
import { request } from 'node:http'
import { userInfo } from 'node:os'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { deferred } from '../../src/core/base/deferred.ts'
import { MIB } from '../../src/core/base/units.ts'
import type { EventView, HistoryView, LockView } from '../../src/core/server/api.ts'
import { readExposition, type Page } from '../support/exposition.ts'
import { useProgram } from '../support/program.ts'
import { clientOk, serve } from '../support/server.ts'

interface Answer {
  readonly status: number
  readonly type: string
  readonly text: string
}

const ask = (where: string | { readonly socketPath: string; readonly path: string }, method = 'GET'): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const { hostname: host, port, pathname: path } = typeof where === 'string' ? new URL(where) : { hostname: '', port: '', pathname: where.path }
    const place = typeof where === 'string' ? { host, port } : { socketPath: where.socketPath }
    const asked = request({ ...place, path, method }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => {
        resolve({ status: response.statusCode!, type: response.headers['content-type'] ?? '', text })
      })
    })
    asked.once('error', reject)
    asked.end()
  })

describe('observing', { timeout: 60_000 }, () => {
  const lunar = useProgram()

  test('a server counts what its clients did, and tells it on a port and on the control socket', async () => {
    lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', 'raid1')
    lunar.ok('host', 'add', 'tank/db1')
    lunar.ok('present', 'tank/db', '--host', 'db1')
    const server = await serve(lunar, ['tank', '--socket', `db1=${lunar.path('db1.sock')}`, '--metrics-listen', '127.0.0.1:0'], 2)
    const port = server.uri('metrics', '')
    const page = async (): Promise<Page> => {
      const { status, type, text } = await ask(port)
      expect({ status, type }).toEqual({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' })
      return readExposition(text)
    }
    const before = await page()
    expect(before.sum('lunar_nbd_request_seconds_count')).toBe(0)
    clientOk('qemu-io', '-f', 'raw', '-c', 'write -P 7 0 64k', '-c', 'flush', '-c', 'read 0 4k', '-c', 'read 4k 4k', server.uri('db1', 'db'))
    lunar.ok('lun', 'write', 'tank/db', lunar.write('some', Buffer.alloc(4096, 1)), '--offset', '1MiB')
    const after = await page()
    const requests = (command: string): number => after.sum('lunar_nbd_request_seconds_count', { command })
    expect({ read: requests('read') >= 2, write: requests('write'), flush: requests('flush') >= 1 }).toEqual({ read: true, write: 1, flush: true })
    expect(after.sum('lunar_nbd_request_seconds_sum', { command: 'write' })).toBeGreaterThan(0)
    // By way of NBD, and by way of the control socket.
    expect(after.sum('lunar_volume_written_bytes_total', { volume: 'db' })).toBe(64 * 1024 + 4096)
    expect(after.sum('lunar_nbd_accepted_total')).toBe(1)
    expect(after.sum('lunar_event_loop_delay_seconds_count')).toBeGreaterThan(0)

    const { holder } = lunar.json<LockView>('lock', 'show', 'tank')
    const local = await ask({ socketPath: holder!.socket, path: '/metrics' })
    expect(local.status).toBe(200)
    expect([...readExposition(local.text).types]).toEqual([...after.types])
    expect(readExposition(lunar.ok('metrics', 'tank')).sum('lunar_nbd_accepted_total')).toBe(1)
    // Nothing else is there, and nothing is done for who asks.
    expect(
      [await ask(port, 'POST'), await ask(port.replace('/metrics', '/v1/session'), 'POST'), await ask(port.replace('/metrics', '/'))].map(
        ({ status }) => status,
      ),
    ).toEqual([405, 404, 404])
    expect(await server.kill('SIGTERM')).toBe(0)
    // Without an owner there is what the metadata says.
    const alone = readExposition(lunar.ok('metrics', 'tank'))
    expect(alone.sum('lunar_pool_healthy')).toBe(1)
    expect(alone.types.has('lunar_nbd_accepted_total')).toBe(false)
  })

  test('events are followed past servers, commands and nobody, each once', async () => {
    lunar.makeTank(3)
    const child = lunar.start(['pool', 'events', 'tank', '--follow', '--json'])
    const events: EventView[] = []
    let heard = deferred()
    let stderr = ''
    child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    createInterface({ input: child.stdout! }).on('line', line => {
      events.push(JSON.parse(line) as EventView)
      heard.resolve()
    })
    const until = async (event: string, object: string): Promise<void> => {
      while (!events.some(row => row.event === event && row.object === object)) {
        await heard.promise
        heard = deferred()
      }
    }
    // Nobody owns the pool, and who follows does not either.
    lunar.ok('lun', 'create', 'tank/one', '--size', '4MiB', '--raid', 'raid1')
    await until('lun.created', 'one')
    expect(lunar.json<LockView>('lock', 'show', 'tank').held).toBe(false)
    const server = await serve(lunar, ['tank', '--metrics-listen', '127.0.0.1:0'], 1)
    lunar.ok('lun', 'create', 'tank/two', '--size', '4MiB', '--raid', 'raid1')
    await until('lun.created', 'two')
    expect(await server.kill('SIGKILL')).toBe('SIGKILL')
    lunar.ok('lun', 'create', 'tank/three', '--size', '4MiB', '--raid', 'raid1')
    await until('lun.created', 'three')
    const again = await serve(lunar, ['tank', '--metrics-listen', '127.0.0.1:0'], 1)
    lunar.ok('lun', 'delete', 'tank/one', '--yes')
    await until('lun.deleted', 'one')
    expect(await again.kill('SIGTERM')).toBe(0)
    expect(events).toEqual(lunar.json<EventView[]>('pool', 'events', 'tank').slice(0, events.length))
    const ended = once(child, 'exit')
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(stderr).toBe('')
    // As a list, and from a number on.
    const list = lunar.start(['pool', 'events', 'tank', '--follow', '--limit', '2', '-H', '-o', 'number,event'])
    const [rows] = (await once(createInterface({ input: list.stdout! }), 'line')) as [string]
    const all = lunar.json<EventView[]>('pool', 'events', 'tank')
    expect(rows).toBe(`${all.at(-2)!.number}\t${all.at(-2)!.event}`)
    list.kill('SIGINT')
  })

  test('each change is in the history: who, what, and how it ended, with a server and without', async () => {
    lunar.makeTank(3)
    lunar.ok('lun', 'create', 'tank/db', '--size', '4MiB', '--raid', 'raid1')
    expect(lunar.run('lun', 'create', 'tank/db', '--size', '4MiB', '--raid', 'raid1').status).toBe(4)
    lunar.ok('lun', 'create', 'tank/dry', '--size', '4MiB', '--raid', 'raid1', '--dry-run')
    lunar.ok('lun', 'list')
    const server = await serve(lunar, ['tank', '--metrics-listen', '127.0.0.1:0'], 1)
    lunar.ok('pool', 'set', 'tank', "comment=it's ours")
    const history = (): HistoryView[] => lunar.json<HistoryView[]>('pool', 'history', 'tank')
    const known = history()
    const { username, uid } = userInfo()
    expect(known.map(({ verb, result }) => `${verb} ${result}`)).toEqual(['pool.create ok', 'lun.create ok', 'lun.create ERR_EXISTS', 'pool.set ok'])
    expect(new Set(known.map(row => `${row.user} ${row.uid}`))).toEqual(new Set([`${username} ${uid}`]))
    expect(known[1]!.command).toBe('lunar lun create tank/db --size 4MiB --raid raid1')
    expect(JSON.parse(known[1]!.parameters)).toMatchObject({ name: 'db', size: 4 * MIB, raid: 'raid1' })
    expect(known[3]!.command).toBe(`lunar pool set tank 'comment=it'\\''s ours'`)
    expect(await server.kill('SIGKILL')).toBe('SIGKILL')
    expect(history()).toEqual(known)
    expect(lunar.ok('pool', 'history', 'tank', '-H', '-o', 'number,verb', '--sort', '-number', '--limit', '2')).toBe('4\tpool.set\n3\tlun.create\n')
  })
})
