/** Connections that end, clients that are slow or gone, disks that hang, and a server that stops (faults F32, F33). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, statSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { BlockLayer } from '../../../src/core/block/device.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { listenDescriptor, listenTcp, listenUnix } from '../../../src/core/nbd/listen.ts'
import { NbdServer } from '../../../src/core/nbd/server.ts'
import { Client, CMD, ERR, OPT, REP, u32be } from './support/client.ts'
import { bundle } from '../block/child.ts'
import { serve, temporaryFolder, TestExports } from './support/served.ts'

const SIZE = 4 * MIB

/** Writes and flushes wait until the test lets them go on. */
function gated(): { disk: SimulatedDisk; open: () => void } {
  const disk = new SimulatedDisk(SIZE)
  const gate = deferred()
  disk.plan = ({ kind }) => (kind === 'write' || kind === 'flush' ? { delay: gate.promise } : undefined)
  return { disk, open: gate.resolve }
}

test('a write whose data never arrived whole is not written, and others go on (F32)', async () => {
  const disk = new SimulatedDisk(SIZE)
  const served = await serve({ disk })
  const [gone, other] = [await served.connect(), await served.connect()]
  await gone.enter('disk')
  await other.enter('disk')
  const request = gone.encode({ type: CMD.write, offset: 0, payload: Buffer.alloc(MIB, 1) })
  for (const cut of [28, 29, 28 + 4096, request.length - 1]) {
    const client = await served.connect()
    await client.enter('disk')
    client.send(request.subarray(0, cut))
    await other.call({ type: CMD.read, offset: 0, length: 512 })
    client.close()
  }
  gone.close()
  await expect.poll(() => served.exports.opened.get('disk')).toBe(1)
  expect(disk.counters.writes).toBe(0)
  expect((await other.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
})

test('the export of a client that is gone is released when its last request has ended, not before', async () => {
  const { disk, open } = gated()
  const served = await serve({ disk })
  const client = await served.connect()
  await client.enter('disk')
  client.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(512, 1) })
  await expect.poll(() => disk.counters.writes).toBe(1)
  client.close()
  await expect.poll(() => served.server.connections()[0]?.requestsInFlight).toBe(1)
  await new Promise(resolve => setTimeout(resolve, 20))
  expect(served.exports.opened.get('disk')).toBe(1)
  open()
  await expect.poll(() => served.exports.opened.get('disk')).toBe(0)
  expect(served.server.connections()).toEqual([])
})

test('disconnect carries out what is under way, refuses what comes after, and names whom it lets go', async () => {
  const { disk, open } = gated()
  const served = await serve({ disk, other: new MemoryDevice(SIZE) })
  const [client, spared] = [await served.connect(), await served.connect()]
  await client.enter('disk', 'structured')
  await spared.enter('other')
  client.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(512, 1) })
  await expect.poll(() => disk.counters.writes).toBe(1)
  const done = served.server.disconnect(({ export: name }) => name === 'disk')
  expect(served.server.connections().map(({ export: name, closing, peer }) => [name, closing, peer.host])).toEqual([
    ['disk', true, 'db1'],
    ['other', false, 'db1'],
  ])
  const late = await client.call({ type: CMD.write, offset: 512, payload: Buffer.alloc(512, 2) })
  expect(late.error).toBe(ERR.shutdown)
  expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(ERR.shutdown)
  open()
  expect((await client.reply()).error).toBe(0)
  await done
  await client.ended()
  expect(served.exports.opened.get('disk')).toBe(0)
  expect(disk.counters.writes).toBe(1)
  expect((await spared.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
})

test('closing ends in bounded time though the disk hangs (F33); the export is released when it answers', async () => {
  const { disk, open } = gated()
  const served = await serve({ disk }, { drainMsMax: 50 })
  const client = await served.connect()
  await client.enter('disk')
  client.request({ type: CMD.flush })
  await expect.poll(() => disk.counters.flushes).toBe(1)
  const begun = performance.now()
  await served.server.close()
  expect(performance.now() - begun).toBeLessThan(5000)
  expect(served.server.connections()[0]?.requestsInFlight).toBe(1)
  expect(served.exports.opened.get('disk')).toBe(1)
  open()
  await expect.poll(() => served.exports.opened.get('disk')).toBe(0)
})

test('stopping with 1,000 idle and 100 half-open clients takes bounded time', { timeout: 60_000 }, async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const idle: Client[] = []
  for (let i = 0; i < 1000; i++) {
    const client = await served.connect()
    await client.enter('disk')
    idle.push(client)
  }
  for (let i = 0; i < 100; i++) await (await served.connect()).greet()
  expect(served.server.connections()).toHaveLength(1100)
  const begun = performance.now()
  await served.server.close()
  expect(performance.now() - begun).toBeLessThan(10_000)
  expect(served.server.connections()).toEqual([])
  await Promise.all(idle.map(client => client.ended()))
  expect(served.exports.opened.get('disk')).toBe(0)
})

test('nobody is served any more once the server closes', async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const waiting = await served.connect()
  await waiting.greet()
  await served.server.close()
  await waiting.ended()
  await (await served.connect()).ended()
})

test('a client that comes while the server closes is told so, or let go', async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const opening = deferred()
  const open = served.exports.open.bind(served.exports)
  let asked = false
  served.exports.open = async (name, peer) => {
    asked = true
    await opening.promise
    return open(name, peer)
  }
  const client = await served.connect()
  await client.greet()
  const entering = client.info(OPT.go, 'disk').catch(() => undefined)
  await expect.poll(() => asked).toBe(true)
  const closing = served.server.close()
  opening.resolve()
  await closing
  expect((await entering)?.at(-1)?.type).not.toBe(REP.ack)
  await expect.poll(() => served.exports.opened.get('disk')).toBe(0)
})

test('a client that takes no replies costs bounded memory, and gets all of them when it does', async () => {
  const device = new MemoryDevice(SIZE)
  await device.write(0, Buffer.alloc(SIZE, 7))
  const served = await serve({ disk: device }, { bytesInFlightMax: 2 * MIB })
  const client = await served.connect()
  await client.enter('disk')
  client.socket.pause()
  const count = 64
  for (let i = 0; i < count; i++) client.request({ type: CMD.read, offset: 0, length: MIB })
  const read = (): number => served.server.connections()[0]!.bytesRead
  await expect.poll(read).toBeGreaterThanOrEqual(2 * MIB)
  await new Promise(resolve => setTimeout(resolve, 100))
  expect(read()).toBeLessThanOrEqual(5 * MIB)
  client.socket.resume()
  for (let i = 0; i < count; i++) expect((await client.reply()).data!.every(byte => byte === 7)).toBe(true)
})

test.each([1, 1000])('requests beyond a limit of %i bytes in flight wait and are carried out', async bytesInFlightMax => {
  const served = await serve({ disk: new MemoryDevice(SIZE) }, { bytesInFlightMax, requestsInFlightMax: 2 })
  const client = await served.connect()
  await client.enter('disk')
  const requests = Array.from({ length: 200 }, (_, i) =>
    client.encode(i % 2 ? { type: CMD.read, offset: 0, length: 4096 } : { type: CMD.write, offset: 0, payload: Buffer.alloc(4096) }),
  )
  client.send(...requests)
  for (let i = 0; i < 200; i++) expect((await client.reply()).error).toBe(0)
})

test('a disk that is slow holds nobody else up (F33)', async () => {
  const { disk, open } = gated()
  const served = await serve({ slow: disk, quick: new MemoryDevice(SIZE) })
  const [slow, quick] = [await served.connect(), await served.connect()]
  await slow.enter('slow')
  await quick.enter('quick')
  for (let i = 0; i < 32; i++) slow.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(512) })
  for (let i = 0; i < 100; i++) expect((await quick.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(512) })).error).toBe(0)
  open()
  for (let i = 0; i < 32; i++) expect((await slow.reply()).error).toBe(0)
})

test('a flood of small requests on one connection lets others have their turn', async () => {
  const turns: string[] = []
  class Noted extends BlockLayer {
    constructor(
      next: MemoryDevice,
      private readonly who: string,
    ) {
      super(next)
    }
    tryRead(_offset: number, into: Uint8Array): boolean {
      turns.push(this.who)
      into.fill(0)
      return true
    }
    tryWrite(): boolean {
      return false
    }
  }
  const served = await serve({ flood: new Noted(new MemoryDevice(SIZE), 'f'), other: new Noted(new MemoryDevice(SIZE), 'o') })
  const [flood, other] = [await served.connect(), await served.connect()]
  await flood.enter('flood')
  await other.enter('other')
  flood.send(...Array.from({ length: 4000 }, () => flood.encode({ type: CMD.read, offset: 0, length: 512 })))
  other.request({ type: CMD.read, offset: 0, length: 512 })
  await other.reply()
  for (let i = 0; i < 4000; i++) await flood.reply()
  expect(turns.filter(who => who === 'f')).toHaveLength(4000)
  expect(turns.indexOf('o')).toBeLessThan(1000)
})

test('a release that fails is reported', async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const open = served.exports.open.bind(served.exports)
  served.exports.open = async (name, peer) => ({ ...(await open(name, peer)), release: () => Promise.reject(new Error('stuck')) })
  const client = await served.connect()
  await client.enter('disk')
  client.close()
  await expect.poll(() => served.reports).toEqual(['its export could not be released: stuck'])
  expect(served.server.connections()).toEqual([])
})

test('a unix socket is for its owner alone, replaces a dead one, and respects a living one', async () => {
  const path = join(temporaryFolder(), 's')
  const server = new NbdServer(new TestExports(), { awakeUs: 0 })
  const first = await listenUnix(server, path, null)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await expect(listenUnix(server, path, null)).rejects.toMatchObject({ code: 'ERR_BUSY' })
  await first.close()
  expect(() => statSync(path)).toThrow()
})

test('TCP without TLS, to whoever comes', async () => {
  const exports = new TestExports()
  exports.offered.set('disk', { device: new MemoryDevice(SIZE) })
  const server = new NbdServer(exports, { awakeUs: 0 })
  const listener = await listenTcp(server, { host: '127.0.0.1', port: 0 }, null)
  const client = Client.over(connect(Number(listener.address.split(':')[1]), '127.0.0.1'))
  await client.enter('disk')
  expect(exports.peers[0]).toMatchObject({ transport: 'tcp', host: null })
  expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
  await expect(listenTcp(server, { host: '127.0.0.1', port: Number(listener.address.split(':')[1]) }, null)).rejects.toMatchObject({ code: 'ERR_BUSY' })
  client.send(u32be(0), u32be(0), u32be(0), u32be(0), u32be(0), u32be(0), u32be(0))
  await client.ended()
  await listener.close()
  await server.close()
})

test('a socket that another process bound is served (socket activation)', async () => {
  const program = await bundle(`
    import { MemoryDevice } from './src/core/block/memory.ts'
    import { listenDescriptor } from './src/core/nbd/listen.ts'
    import { NbdServer } from './src/core/nbd/server.ts'
    const release = async () => {}
    const open = async name => ({ name, description: '', device: new MemoryDevice(4096), readOnly: false, contexts: [], release })
    const listener = await listenDescriptor(new NbdServer({ list: async () => [], open }), 3, { transport: 'tcp', tls: null })
    console.log(listener.address)
  `)
  const bound = createServer().listen(0, '127.0.0.1')
  await once(bound, 'listening')
  const { fd } = (bound as unknown as { _handle: { fd: number } })._handle
  const child = spawn(process.execPath, [program.path], { stdio: ['ignore', 'pipe', 'inherit', fd] })
  try {
    const [printed] = (await once(child.stdout!, 'data')) as [Buffer]
    const { port } = bound.address() as AddressInfo
    expect(printed.toString().trim()).toBe(`127.0.0.1:${port}`)
    bound.close()
    const client = Client.over(connect(port, '127.0.0.1'))
    await client.enter('disk')
    expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).data).toEqual(Buffer.alloc(512))
    client.close()
  } finally {
    child.kill('SIGKILL')
    await program.remove()
  }
})

test('a descriptor that is no socket is refused', async () => {
  const server = new NbdServer(new TestExports(), { awakeUs: 0 })
  const fd = openSync('/dev/null', 'r')
  try {
    await expect(listenDescriptor(server, fd, { transport: 'unix', host: null })).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
  } finally {
    closeSync(fd)
  }
})
