/** The port of the HTTP API: who may ask, what is answered, and the functions of Table 2 as routes. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as plainRequest } from 'node:http'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { Params, RelationshipHold, Verb } from '../../../src/core/server/api.ts'
import { clientOf, readTokens } from '../../../src/core/server/api-tokens.ts'
import { createPool, openService, startServer } from '../../../src/core/server/front.ts'
import type { Table2Function, Table2Params, Table2Result } from '../../../src/core/server/table2-api.ts'
import { Table2Handles } from '../../../src/core/server/table2.ts'
import { DcsPITDeviceCreateHandle, DcsPITDeviceGetStatus, openPool } from '../../../src/index.ts'
import { Authority } from '../nbd/support/certificates.ts'
import { description, expectDescribed } from '../../support/openapi.ts'

const ADMIN = 'a'.repeat(64)
const READER = 'r'.repeat(32)

let folder = ''
let home: string | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lunar-http-'))
  home = process.env.LUNAR_HOME
  process.env.LUNAR_HOME = join(folder, 'home')
})
afterEach(() => {
  if (home === undefined) delete process.env.LUNAR_HOME
  else process.env.LUNAR_HOME = home
  rmSync(folder, { recursive: true, force: true })
})

function tokenFile(text: string, mode = 0o600): string {
  const path = join(folder, 'tokens')
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

test('a token names its client, and a file that others can read, or with a line that is none, is refused', async () => {
  const entries = await readTokens(tokenFile(`# who\n\nops ${ADMIN}\r\nwatch\t${READER}  read-only\n`))
  expect(clientOf(entries, `Bearer ${ADMIN}`)).toMatchObject({ name: 'ops', readOnly: false })
  expect(clientOf(entries, `bearer  ${READER}`)).toMatchObject({ name: 'watch', readOnly: true })
  for (const shown of [undefined, '', 'Bearer', 'Bearer ', ADMIN, `Basic ${ADMIN}`, `Bearer ${ADMIN}a`, `Bearer ${ADMIN.slice(1)}`, `Bearer ${ADMIN} ${ADMIN}`])
    expect(clientOf(entries, shown), shown).toBeUndefined()
  for (const text of ['', '# none\n', 'ops short\n', `${ADMIN}\n`, `ops ${ADMIN} admin\n`, `ops ${ADMIN}\n../x ${READER}\n`])
    await expect(readTokens(tokenFile(text)), text).rejects.toMatchObject({ code: 'ERR_USAGE' })
  for (const mode of [0o640, 0o604, 0o620]) await expect(readTokens(tokenFile(`ops ${ADMIN}\n`, mode))).rejects.toMatchObject({ code: 'ERR_USAGE' })
  await expect(readTokens(join(folder, 'nothing'))).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
})

test('a handle that nobody uses for an hour is let go, and one that is used is kept', async () => {
  const closed: number[] = []
  const hold = (number: number): RelationshipHold => ({ number, close: () => Promise.resolve(void closed.push(number)) })
  let nowMs = 0
  const handles = new Table2Handles(
    error => {
      throw error
    },
    () => nowMs,
  )
  const [idle, used] = [await handles.keep(hold(1), 'a'), await handles.keep(hold(2), 'b')]
  nowMs = 3_599_999
  handles.letLapse()
  expect(handles.use(used)).toBe('DcsSnap2')
  nowMs++
  handles.letLapse()
  expect(closed).toEqual([1])
  expect(() => handles.use(idle)).toThrow(LunarError)
  expect(handles.describe()).toEqual(['b, which has a handle of relationship 2'])
  await handles.close()
  await expect(handles.keep(hold(3), 'c')).rejects.toThrow()
  expect({ closed, size: handles.size }).toEqual({ closed: [1, 2, 3], size: 0 })
})

interface Answer {
  readonly status: number
  readonly body: { readonly code?: string; readonly message?: string; readonly cause?: string; readonly data?: unknown; readonly pools?: unknown }
}

test('clients with a token ask over TLS what the control socket answers, and call every function of Table 2', { timeout: 60_000 }, async () => {
  const authority = new Authority(folder)
  const { cert, key, ca } = authority.sign('server', '/CN=localhost')
  await createPool({ name: 'tank', disks: ['d0', 'd1'].map(name => ({ path: join(folder, name), size: 128 * MIB })), command: 'test' })
  const log: string[] = []
  const tokens = tokenFile(`ops ${ADMIN}\nwatch ${READER} read-only\n`)
  const api = { host: '127.0.0.1', port: 0, tls: { cert, key }, tokenFile: tokens }
  const server = await startServer({ pools: ['tank'], command: 'test', sockets: [], passed: [], api, log: line => log.push(line) })
  const stopped = server.run(new AbortController().signal)
  const { transport, address } = server.status().listeners.at(-1)!
  expect(transport).toBe('https')
  const port = Number(address.split(':')[1])
  const agent = new Agent({ ca, keepAlive: true })

  const send = (method: string, path: string, token: string | undefined, body = ''): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const headers = {
        'user-agent': 'tool/1',
        'content-length': Buffer.byteLength(body),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      }
      const asked = request({ host: 'localhost', port, path, method, agent, headers }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.once('end', () => {
          const isJson = response.headers['content-type'] === 'application/json'
          resolve({ status: response.statusCode!, body: isJson ? (JSON.parse(text) as Answer['body']) : { data: text } })
        })
      })
      asked.once('error', reject)
      asked.end(body)
    })
  const ask = async <V extends Verb>(verb: V, params: Params<V>, token = ADMIN): Promise<Answer> =>
    send('POST', `/pools/tank/v1/call/${verb}`, token, JSON.stringify(params))
  const called = new Set<string>()
  const tryCall = <F extends Table2Function>(name: F, params: Table2Params<F>, token = ADMIN): Promise<Answer> =>
    send('POST', `/pools/tank/v1/table2/${name}`, token, JSON.stringify(params))
  const call = async <F extends Table2Function>(name: F, params: Table2Params<F>): Promise<Table2Result<F>> => {
    expectDescribed(`/v1/table2/${name}`, 'params', params)
    const { status, body } = await tryCall(name, params)
    expect(status, `${name}: ${JSON.stringify(body)}`).toBe(200)
    expectDescribed(`/v1/table2/${name}`, 'reply', body)
    called.add(name)
    return body.data as Table2Result<F>
  }
  const refusedWith = (code: string): unknown => expect.objectContaining({ status: 422, body: expect.objectContaining({ code }) as unknown })

  // Who may ask.
  for (const token of [undefined, `${ADMIN}a`]) {
    for (const path of ['/pools', '/pools/tank/metrics', '/pools/tank/v1/call/lun.list', '/pools/nothing/x', '/'])
      expect(await send('POST', path, token, '{}')).toMatchObject({
        status: 401,
        body: { code: 'ERR_NOT_ALLOWED', message: expect.stringMatching(/127\.0\.0\.1:\d+/) as string },
      })
  }
  expect(log.some(line => /HTTP API: 127\.0\.0\.1:\d+ \(tool\/1\) was refused: it showed no token/.test(line))).toBe(true)
  expect(await send('GET', '/pools', READER)).toEqual({ status: 200, body: { pools: [{ name: 'tank', id: expect.any(String) as string }] } })
  expect(await send('POST', '/pools/nothing/v1/call/lun.list', ADMIN, '{}')).toEqual(refusedWith('ERR_POOL_NOT_FOUND'))
  expect(await send('POST', '/pools/tank/v1/session', ADMIN, '{"pid":1}')).toEqual(refusedWith('ERR_SERVER_VERSION'))
  expect(await send('POST', '/pools/tank/v1/luns/open', ADMIN, '{"name":"db"}')).toEqual(refusedWith('ERR_SERVER_VERSION'))
  await expect(new Promise((_, reject) => plainRequest({ port, path: '/pools' }).once('error', reject).end())).rejects.toThrow()

  // What is answered, and to whom.
  for (const name of ['db', 'copy']) expect(await ask('lun.create', { name, size: 2 * MIB, raid: 'raid1' })).toMatchObject({ status: 200 })
  expect(await ask('lun.show', { lun: 'db' }, READER)).toMatchObject({ status: 200, body: { data: { name: 'db' } } })
  for (const [verb, params] of [
    ['lun.delete', { lun: 'db' }],
    ['pool.close', {}],
    ['server.stop', {}],
  ] as const)
    // prettier-ignore
    expect(await ask(verb, params, READER)).toMatchObject({ status: 422, body: { code: 'ERR_READ_ONLY', cause: expect.stringMatching(/^watch at 127/) as string } })
  expect((await ask('pool.history', { limit: 1 })).body.data).toMatchObject([{ user: 'ops', uid: null, command: 'tool/1', verb: 'lun.create' }])
  expect((await send('GET', '/pools/tank/metrics', READER)).body.data).toMatch(/^lunar_api_refused_total 10$/m)

  // Table 2.
  const pool = await openPool('tank')
  const { number } = await pool.relationships.configure({ source: 'db', image: 'copy', chunkBytes: 64 * KIB, name: 'nightly' })
  const { handle } = await call('DcsPITDeviceCreateHandle', { relationship: 'nightly' })
  expect(await call('DcsPITDeviceGetConfigure', { handle })).toMatchObject({ number, chunkBytes: 64 * KIB })
  expect(await call('DcsPITDeviceDelayImageCompletion', { handle, ms: 3_600_000 })).toEqual({ was: 20 })
  for (const name of ['DcsPITDeviceDelayImageUpdate', 'DcsPITDeviceDelaySourceUpdate'] as const)
    expect(await call(name, { handle, ms: 'adaptive' })).toEqual({ was: 0 })
  expect(await tryCall('DcsPITDeviceGetActiveConfigure', { handle })).toEqual(refusedWith('ERR_RELATIONSHIP_STATE'))
  await using device = await pool.luns.open('db')
  await device.write(0, Buffer.alloc(256 * KIB, 7))
  expect(await call('DcsPITDeviceEnable', { handle })).toMatchObject({ lost: [] })
  await device.write(0, Buffer.alloc(64 * KIB, 8))
  await device.flush()
  await device.close()
  expect(await call('DcsPITDeviceGetActiveConfigure', { handle })).toMatchObject({ number, asOf: expect.any(String) as string })
  const maps = await call('DcsPITDeviceGetActiveMaps', { handle })
  expect({ ...maps, delta: [...Buffer.from(maps.delta, 'base64')] }).toMatchObject({ chunks: 32, chunkBlocks: 128, delta: [1, 0, 0, 0] })
  expect(await call('DcsPITDeviceStartImageCompletion', { handle })).toMatchObject({ state: 'running' })
  expect(await call('DcsPITDeviceGetStatus', { handle })).toMatchObject({ process: 'completeImage' })
  expect(await call('DcsPITDeviceAbortImageCompletion', { handle })).toMatchObject({ done: expect.any(Number) as number })
  expect(await call('DcsPITDeviceStartImageUpdate', { handle, wait: true })).toMatchObject({ state: 'done' })
  expect(await call('DcsPITDeviceAbortImageUpdate', { handle })).toMatchObject({ left: 0 })
  expect(await call('DcsPITDeviceStartSourceUpdate', { handle, wait: true })).toMatchObject({ state: 'done', total: 0 })
  expect(await call('DcsPITDeviceAbortSourceUpdate', { handle })).toMatchObject({ left: 0 })
  // The library has the same of it.
  const mine = await DcsPITDeviceCreateHandle(pool, number)
  expect(await DcsPITDeviceGetStatus(mine)).toEqual(await call('DcsPITDeviceGetStatus', { handle }))
  await call('DcsPITDeviceDisable', { handle })

  const [db] = await pool.luns.list()
  const id = await call('DcsPMGenerateVolumeID', { disk: db!.number, partition: 0 })
  expect(await call('DcsPMListVolumes', {})).toContain(id)
  expect(await call('DcsPMTranslateVolumeID', { id })).toEqual({ pool: pool.id, disk: db!.number, partition: 0 })
  expect(await tryCall('DcsPMGetSDSVolumeID', { disk: db!.number, partition: 0 })).toEqual(refusedWith('ERR_NOT_PRESENTED'))
  expect(await tryCall('DcsPMGenerateVolumeID', { disk: db!.number, partition: 1 })).toEqual(refusedWith('ERR_PARTITION_NOT_FOUND'))
  await ask('host.add', { host: 'db1' })
  await ask('volume.present', { volume: 'db', host: 'db1' })
  expect(await call('DcsPMGetSDSVolumeID', { disk: db!.number, partition: 0 })).toBe('db')

  // What is held is in the way, by name, until it is let go.
  expect(await ask('snap.unconfigure', { relationship: 'nightly' })).toEqual(refusedWith('ERR_BUSY'))
  expect(await ask('pool.close', {})).toMatchObject({
    body: { code: 'ERR_BUSY', cause: expect.stringMatching(/ops at 127\S+ \(tool\/1\), which has a handle of relationship/) as string },
  })
  await pool.close()
  for (let i = 0; i < 2; i++) await call('DcsPITDeviceCloseHandle', { handle })
  expect(await tryCall('DcsPITDeviceGetStatus', { handle })).toEqual(refusedWith('ERR_BAD_HANDLE'))
  expect(await tryCall('DcsPITDeviceGetStatus', {} as { handle: string })).toEqual(refusedWith('ERR_USAGE'))
  expect(await tryCall('DcsPMListVolumes', { disk: 1 } as object)).toEqual(refusedWith('ERR_USAGE'))
  expect(await ask('snap.unconfigure', { relationship: 'nightly' })).toMatchObject({ status: 200 })
  expect([...called].map(name => `/v1/table2/${name}`).sort()).toEqual(Object.keys(description.paths).filter(path => path.startsWith('/v1/table2/')).sort()) // prettier-ignore

  // A token that is removed is good no longer.
  tokenFile(`watch ${READER} read-only\n`)
  expect(await ask('lun.list', {})).toMatchObject({ status: 401 })
  const view = await openService('tank', { mode: 'owner', command: 'test' })
  await view.call('server.stop', {})
  await view.close()
  await stopped
  agent.destroy()
})
