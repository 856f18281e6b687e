/** The control socket against clients that do not behave: F32, hazard 40, hostile input. */
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { PoolService } from '../../../src/core/server/api.ts'
import { ControlClient } from '../../../src/core/server/control-client.ts'
import { bindSocket } from '../../../src/core/server/control-socket.ts'
import { privateFolder, SOCKET_PATH_MAX } from '../../../src/core/server/folders.ts'
import { SESSION_HEADER } from '../../../src/core/server/wire.ts'
import { hook, makeTank, owner, useHome } from './support/home.ts'

const home = useHome()
let service: PoolService
let socket = ''
let pool = ''

beforeEach(async () => {
  await makeTank(home.folder)
  service = await owner()
  await service.call('lun.create', { name: 'db', size: 8 * MIB, raid: 'raid0' })
  socket = (await service.call('lock.show', {})).data.holder!.socket
  pool = (await service.call('pool.show', {})).data.id
})
afterEach(() => service.close())

const who = { pid: 1, uid: 0, user: 'root', version: 'x', command: 'test', readOnly: false }
const join_ = async (readOnly = false): Promise<ControlClient> => (await ControlClient.connect(socket, { ...who, readOnly }))!

/** A request as a stranger would send it. */
async function send(
  path: string,
  body: string | Buffer,
  headers: Record<string, string | number> = {},
  method = 'POST',
): Promise<{ status: number; code: string; text: string }> {
  const outgoing = request({ socketPath: socket, path, method, headers: { 'content-length': Buffer.byteLength(body), ...headers } })
  outgoing.on('error', () => undefined)
  outgoing.end(body)
  const [response] = (await once(outgoing, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  let code = ''
  try {
    code = (JSON.parse(text) as { code: string }).code
  } catch {
    code = ''
  }
  return { status: response.statusCode!, code, text }
}

describe('the socket', () => {
  it('is reachable for its user only, from the start', () => {
    expect(statSync(dirname(socket)).mode & 0o777).toBe(0o700)
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    expect(Buffer.byteLength(socket)).toBeLessThanOrEqual(SOCKET_PATH_MAX)
    expect(socket).toContain(pool.replaceAll('-', '').slice(0, 12))
  })

  it('goes with the owner', async () => {
    await service.close()
    expect(() => statSync(socket)).toThrow('ENOENT')
    expect(await ControlClient.connect(socket, who)).toBeUndefined()
  })

  it('replaces what a dead owner left, and takes another name beside a living one', async () => {
    const folder = mkdtempSync(home.path('sock-'))
    writeFileSync(join(folder, `${pool.replaceAll('-', '').slice(0, 12)}.sock`), '')
    const first = createServer()
    const second = createServer()
    const usual = await bindSocket(first, pool, 'aaaaaaaa-1', [folder])
    const other = await bindSocket(second, pool, 'bbbbbbbb-1', [folder])
    expect(usual).toMatch(/\/[0-9a-f]{12}\.sock$/)
    expect(other).toMatch(/-bbbbbbbb\.sock$/)
    first.close()
    second.close()
  })

  it('takes a folder that can be ours, makes it private, and passes over others', () => {
    const base = mkdtempSync(home.path('sock-'))
    const wide = join(base, 'wide')
    mkdirSync(wide, { mode: 0o755 })
    writeFileSync(join(base, 'file'), '')
    const long = join(base, 'x'.repeat(100))
    expect(privateFolder([long, join(base, 'no/such'), join(base, 'file'), wide], 20)).toBe(wide)
    expect(statSync(wide).mode & 0o777).toBe(0o700)
    expect(() => privateFolder([long], 20)).toThrow(expect.objectContaining({ code: 'ERR_HOST_LIMIT' }) as Error)
  })

  it('is not trusted in a folder that others may use', async () => {
    const folder = mkdtempSync(home.path('sock-'))
    const server = createServer()
    const path = join(folder, 'abc.sock')
    server.listen(path)
    await once(server, 'listening')
    const { chmodSync } = await import('node:fs')
    chmodSync(folder, 0o755)
    expect(await ControlClient.connect(path, who)).toBeUndefined()
    server.close()
  })
})

describe('versions', () => {
  it('says so when a verb is not known, and goes on', async () => {
    const client = await join_()
    await expect(client.json('/v1/call/snap.unheard', {})).rejects.toMatchObject({
      code: 'ERR_SERVER_VERSION',
      exitCode: 20,
      message: 'Cannot do snap.unheard',
    })
    await expect(client.json('/v2/call/pool.list', {})).rejects.toMatchObject({ code: 'ERR_SERVER_VERSION' })
    await expect(client.json('/v1/metrics', {})).rejects.toMatchObject({ code: 'ERR_SERVER_VERSION' })
    expect((await client.call('pool.list', {})).data).toHaveLength(1)
    client.close()
  })

  it('tells who answers', async () => {
    const client = await join_()
    expect(client.hello).toMatchObject({ api: 1, pid: process.pid, poolId: pool, poolName: 'tank', readOnly: false })
    client.close()
  })
})

describe('bad requests', () => {
  it.each([
    ['no session', '/v1/luns/open', '{}', {}, 'ERR_USAGE'],
    ['no JSON', '/v1/session', 'nonsense', {}, 'ERR_USAGE'],
    ['a JSON list', '/v1/session', '[]', {}, 'ERR_USAGE'],
    ['an endless body', '/v1/session', '{}', { 'content-length': 1e12 }, 'ERR_USAGE'],
    ['prototype names', '/v1/call/constructor', '{}', { session: 'mine' }, 'ERR_SERVER_VERSION'],
    ['no such device', '/v1/luns/77/read?offset=0&length=512', '', { session: 'mine' }, 'ERR_USAGE'],
    ['a huge read', '/v1/luns/1/read?offset=0&length=9007199254740991', '', { session: 'mine' }, 'ERR_OUT_OF_RANGE'],
    ['a negative offset', '/v1/luns/1/read?offset=-512&length=512', '', { session: 'mine' }, 'ERR_OUT_OF_RANGE'],
    ['an unaligned length', '/v1/luns/1/zero?offset=0&length=5', '', { session: 'mine' }, 'ERR_OUT_OF_RANGE'],
    ['a body that is too long', '/v1/luns/1/write?offset=0', '', { session: 'mine', 'content-length': 17 * MIB }, 'ERR_USAGE'],
    ['an unknown operation', '/v1/luns/1/format', '', { session: 'mine' }, 'ERR_SERVER_VERSION'],
  ])('answers %s and serves on', async (_, path, body, headers, code) => {
    const client = await join_()
    await client.json('/v1/luns/open', { name: 'db' })
    const { session, ...rest } = headers as { session?: string }
    const answer = await send(path, body, { ...rest, ...(session ? { [SESSION_HEADER]: client.hello.session } : {}) })
    expect([answer.status, answer.code]).toEqual([422, code])
    expect((await client.call('pool.list', {})).data).toHaveLength(1)
    client.close()
  })

  it('refuses a body of unknown length for data', async () => {
    const client = await join_()
    await client.json('/v1/luns/open', { name: 'db' })
    const outgoing = request({
      socketPath: socket,
      path: '/v1/luns/1/write?offset=0',
      method: 'POST',
      headers: { 'transfer-encoding': 'chunked', [SESSION_HEADER]: client.hello.session },
    })
    outgoing.write('x'.repeat(512))
    outgoing.end()
    const [response] = (await once(outgoing, 'response')) as [import('node:http').IncomingMessage]
    expect(response.statusCode).toBe(422)
    client.close()
  })

  it('lives through bytes that are no HTTP', async () => {
    for (const bytes of ['\0'.repeat(100_000), 'GET / HTTP/9.9\r\n\r\n', 'POST /v1/session HTTP/1.1\r\n'.repeat(2000)]) {
      const stranger = connect(socket)
      stranger.on('error', () => undefined)
      stranger.write(bytes)
      stranger.resume()
      await once(stranger, 'close')
    }
    expect((await service.call('pool.list', {})).data).toHaveLength(1)
  })

  it('lets a client that only looks change nothing', async () => {
    const client = await join_(true)
    await expect(client.call('lun.create', { name: 'x', size: MIB, raid: 'raid0' })).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
    const { handle } = (await client.json('/v1/luns/open', { name: 'db' })) as { handle: number }
    await expect(client.data({ path: `/v1/luns/${handle}/write?offset=0`, body: [Buffer.alloc(512)] })).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
    client.close()
  })
})

describe('clients that go (F32)', () => {
  it('never writes a partial payload', async () => {
    const device = await service.openLun('db')
    await device.write(0, Buffer.alloc(MIB, 1))
    const client = await join_()
    await client.json('/v1/luns/open', { name: 'db' })
    for (const sent of [0, 1, 512, 65536, MIB - 1]) {
      const stranger = connect(socket)
      const head = `POST /v1/luns/1/write?offset=0 HTTP/1.1\r\nhost: x\r\n${SESSION_HEADER}: ${client.hello.session}\r\ncontent-length: ${MIB}\r\n\r\n`
      stranger.write(head)
      await new Promise(resolve => stranger.write(Buffer.alloc(sent, 2), resolve))
      stranger.end()
      stranger.resume()
      await once(stranger, 'close')
    }
    const back = Buffer.alloc(MIB)
    await device.read(0, back)
    expect(back.every(byte => byte === 1)).toBe(true)
    client.close()
  })

  it('aborts what a client waited for, and closes what it had open', async () => {
    const aborted = deferred<unknown>()
    await service.close()
    hook({
      onCall: (verb, signal) => {
        if (verb === 'task.wait') signal?.addEventListener('abort', () => aborted.resolve(signal.reason))
      },
    })
    service = await owner()
    const client = await join_()
    await client.json('/v1/luns/open', { name: 'db' })
    const waiting = client.call('task.wait', { task: 1 })
    waiting.catch(() => undefined)
    await new Promise(resolve => setTimeout(resolve, 20))
    client.close()
    expect(await aborted.promise).toMatchObject({ code: 'ERR_INTERRUPTED' })
    await expect(waiting).rejects.toThrow()
    expect((await service.call('pool.close', {})).data).toEqual({ closed: true })
  })

  it('gives a request up when its signal says so', async () => {
    const client = await join_()
    const stop = new AbortController()
    const waiting = client.call('task.wait', { task: 1 }, stop.signal)
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_INTERRUPTED', exitCode: 130 })
    client.close()
  })

  it('does not wait for ever for a client that does not leave', { timeout: 15_000 }, async () => {
    const stranger = request({ socketPath: socket, path: '/v1/session', method: 'POST' })
    stranger.end(JSON.stringify(who))
    await once(stranger, 'response')
    const begun = performance.now()
    await service.close()
    expect(performance.now() - begun).toBeLessThan(7000)
  })
})
