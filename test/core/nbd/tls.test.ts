/** TLS: nothing is told without it, and the certificate says who the client is (protocol: FORCEDTLS). */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MIB } from '../../../src/core/base/units.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { listenTcp, type NbdListener } from '../../../src/core/nbd/listen.ts'
import { NbdServer } from '../../../src/core/nbd/server.ts'
import { Authority, type Credentials } from './support/certificates.ts'
import { Client, CMD, OPT, REP, sized, u16be } from './support/client.ts'
import { TestExports } from './support/served.ts'

let own: Credentials
let db1: Credentials
let nameless: Credentials
let twofold: Credentials
let stranger: Credentials
let exports: TestExports
let server: NbdServer
let listener: NbdListener
let reports: string[]
const sockets: Socket[] = []

beforeAll(() => {
  const folder = mkdtempSync(join(tmpdir(), 'lunar-tls-'))
  const other = mkdtempSync(join(tmpdir(), 'lunar-tls-'))
  const authority = new Authority(folder)
  own = authority.sign('server', '/CN=localhost')
  db1 = authority.sign('client', '/CN=db1')
  nameless = authority.sign('nameless', '/O=nobody')
  twofold = authority.sign('twofold', '/CN=db1/CN=db2')
  stranger = new Authority(other, 'another').sign('client', '/CN=db1')
  rmSync(folder, { recursive: true })
  rmSync(other, { recursive: true })
})

beforeEach(async () => {
  exports = new TestExports()
  exports.offered.set('disk', { device: new MemoryDevice(4 * MIB) })
  reports = []
  server = new NbdServer(exports, { awakeUs: 0, handshakeMsMax: 2000, connectionsPerPeerMax: 3 }, { report: (_, why) => reports.push(why) })
  listener = await listenTcp(server, { host: '127.0.0.1', port: 0 }, own)
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await listener.close()
  await server.close()
})

async function plain(): Promise<Client> {
  const socket = connect(Number(listener.address.split(':')[1]), '127.0.0.1')
  sockets.push(socket)
  const client = Client.over(socket)
  await client.greet()
  return client
}

/** Changes to TLS as `who`. */
async function secure(client: Client, who: Credentials | undefined, options: ConnectionOptions = {}): Promise<TLSSocket> {
  expect((await client.option(OPT.starttls)).at(-1)!.type).toBe(REP.ack)
  client.socket.removeAllListeners('data')
  client.socket.removeAllListeners('close')
  const shown = who ? { key: who.key, cert: who.cert } : {}
  const tls = connectTls({ socket: client.socket, ca: own.ca, servername: 'localhost', ...shown, ...options })
  sockets.push(tls)
  client.attach(tls)
  return tls
}

test('before TLS every option but STARTTLS and ABORT is told to use it; EXPORT_NAME ends the connection', async () => {
  const client = await plain()
  for (const code of [OPT.list, OPT.structured, OPT.extended, OPT.listContexts, 99]) expect((await client.option(code)).at(-1)!.type).toBe(REP.tlsRequired)
  for (const code of [OPT.info, OPT.go]) {
    expect((await client.option(code, Buffer.concat([sized('disk'), u16be(0)]))).map(({ type }) => type)).toEqual([REP.tlsRequired])
  }
  expect((await client.option(OPT.starttls, Buffer.from([1]))).at(-1)!.type).toBe(REP.invalid)
  expect(exports.peers).toEqual([])
  const other = await plain()
  other.sendOption(OPT.exportName, Buffer.from('disk'))
  await other.ended()
  expect((await client.option(OPT.abort)).at(-1)!.type).toBe(REP.ack)
})

test('with a certificate of the authority the client is the host that it names', async () => {
  const client = await plain()
  await secure(client, db1)
  expect((await client.option(OPT.starttls)).at(-1)!.type).toBe(REP.invalid)
  await client.agree('structured')
  await client.info(OPT.go, 'disk')
  expect(exports.peers.at(-1)).toMatchObject({ transport: 'tls', host: 'db1' })
  const data = Buffer.alloc(2 * MIB, 3)
  await client.call({ type: CMD.write, offset: 512, payload: data })
  expect((await client.call({ type: CMD.read, offset: 512, length: data.length })).data!.equals(data)).toBe(true)
  expect(server.connections()[0]!.peer.host).toBe('db1')
})

test.each([
  ['no certificate', () => undefined],
  ['one of another authority', () => stranger],
  ['one without a name', () => nameless],
  ['one with two names', () => twofold],
])('a client with %s is turned away', async (_, who) => {
  const client = await plain()
  await secure(client, who())
  client.sendOption(OPT.list)
  await client.ended()
  expect(exports.peers).toEqual([])
  await expect.poll(() => reports.length).toBe(1)
  await expect.poll(() => server.connections()).toEqual([])
})

test('TLS 1.1 is refused', async () => {
  const client = await plain()
  await secure(client, db1, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' })
  await client.ended()
  expect(exports.peers).toEqual([])
})

test('what was said before TLS does not count after it', async () => {
  const client = await plain()
  // Injected behind STARTTLS by somebody in between: it must not be read as if it had come over TLS.
  client.send(Buffer.from('IHAVEOPT'), Buffer.from([0, 0, 0, OPT.starttls, 0, 0, 0, 0]), Buffer.from('IHAVEOPT'), Buffer.from([0, 0, 0, OPT.list, 0, 0, 0, 0]))
  await client.ended()
  expect(reports).toEqual(['bytes that came before TLS'])
})

test('a client that begins TLS and falls silent is let go', async () => {
  const client = await plain()
  expect((await client.option(OPT.starttls)).at(-1)!.type).toBe(REP.ack)
  client.send(Buffer.from([22, 3, 1]))
  await client.ended()
  await expect.poll(() => server.connections()).toEqual([])
})

test('connections of one host are counted wherever they come from', async () => {
  const clients: Client[] = []
  for (let i = 0; i < 3; i++) {
    const client = await plain()
    await secure(client, db1)
    await client.info(OPT.go, 'disk')
    clients.push(client)
  }
  const more = await plain()
  const tls = await secure(more, db1)
  await once(tls, 'close')
  expect(reports).toEqual(['there are too many connections'])
  expect(clients).toHaveLength(3)
})
