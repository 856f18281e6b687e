/** An export as a disk: what every disk must do, servers that lie, and connections that end. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { listenTcp, listenUnix } from '../../../src/core/nbd/listen.ts'
import { NbdDisk } from '../../../src/core/nbd/nbd-disk.ts'
import { NbdServer } from '../../../src/core/nbd/server.ts'
import { absoluteUri, exportIdentity, isNbdUri, parseNbdUri } from '../../../src/core/nbd/uri.ts'
import { diskSuite } from '../../conformance/disk.ts'
import { Nbdkit } from '../../support/nbdkit.ts'
import { Authority } from './support/certificates.ts'
import { u16be, u32be, u64be } from './support/client.ts'
import { serve, temporaryFolder, TestExports } from './support/served.ts'

const SIZE = 4 * MIB

const uriOf = (socket: string, name = 'disk'): string => `nbd+unix:///${encodeURIComponent(name)}?socket=${socket}`

describe.each([
  ['memory', () => new MemoryDevice(SIZE)],
  ['a simulated disk', () => new SimulatedDisk(SIZE)],
])('over %s', (_, make) => {
  diskSuite(
    'NbdDisk',
    async () => {
      const exports = new TestExports()
      exports.offered.set('disk', { device: make() })
      const server = new NbdServer(exports, { awakeUs: 0 })
      const path = join(temporaryFolder(), 's')
      const listener = await listenUnix(server, path, null)
      const opened: NbdDisk[] = []
      const again = async (): Promise<NbdDisk> => {
        const disk = await NbdDisk.open(uriOf(path))
        opened.push(disk)
        return disk
      }
      const device = await again()
      const dispose = async (): Promise<void> => {
        await Promise.all(opened.map(disk => disk.close()))
        await listener.close()
        await server.close()
      }
      return { device, again, dispose }
    },
    5,
  )
})

describe('over nbdkit', () => {
  diskSuite(
    'NbdDisk',
    async () => {
      const server = await Nbdkit.start(join(temporaryFolder(), 's'), 'memory', String(SIZE))
      const opened: NbdDisk[] = []
      const again = async (): Promise<NbdDisk> => {
        const disk = await NbdDisk.open(server.uri)
        opened.push(disk)
        return disk
      }
      const device = await again()
      const dispose = async (): Promise<void> => {
        await Promise.all(opened.map(disk => disk.close()))
        await server.kill()
      }
      return { device, again, dispose }
    },
    3,
  )

  test('a connection that is lost says so, one that is closed does not', async () => {
    const server = await Nbdkit.start(join(temporaryFolder(), 's'), 'memory', String(SIZE))
    const [lost, closed] = [await NbdDisk.open(server.uri), await NbdDisk.open(server.uri)]
    await closed.close()
    await server.kill()
    expect((await lost.remote.lost).why).toContain('closed the connection')
    expect([lost.remote.isLost, closed.remote.isLost]).toEqual([true, false])
    await lost.close()
  })

  test('a server that owes an answer and sends nothing is given up', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const server = await Nbdkit.start(join(temporaryFolder(), 's'), 'memory', String(SIZE))
    const disk = await NbdDisk.open(server.uri)
    await disk.read(0, Buffer.alloc(512))
    vi.advanceTimersByTime(100_000)
    expect(disk.remote.isLost, 'it owed nothing').toBe(false)
    server.stop()
    const reading = disk.read(0, Buffer.alloc(512))
    vi.advanceTimersByTime(29_000)
    expect(disk.remote.isLost).toBe(false)
    vi.advanceTimersByTime(2000)
    vi.useRealTimers()
    await expect(reading).rejects.toMatchObject({ code: 'ERR_IO', why: expect.stringContaining('nothing for 30 s') as string })
    await disk.close()
  })
})

test('long transfers are cut, and what the server told of its limits is kept to', async () => {
  const served = await serve({ disk: new MemoryDevice(64 * MIB) }, { payloadMax: 65536, payloadFatal: 65536 })
  const disk = await NbdDisk.open(uriOf(served.socket))
  const data = Buffer.alloc(9 * MIB + 512, 7)
  await disk.writev(512, [data.subarray(0, 1000), data.subarray(1000, 512 * 11), data.subarray(512 * 11)])
  const into = Buffer.alloc(data.length)
  await disk.readv(512, [into.subarray(0, MIB), into.subarray(MIB)])
  expect(into.equals(data)).toBe(true)
  await disk.close()
  await expect.poll(() => served.exports.open_).toBe(0)
})

test('a durable write is durable without a flush of the rest; a flush makes all durable', async () => {
  const device = new SimulatedDisk(SIZE)
  const served = await serve({ disk: device })
  const disk = await NbdDisk.open(uriOf(served.socket))
  await disk.writeDurable(0, Buffer.alloc(512, 1))
  expect(device.unflushed).toBe(0)
  await disk.write(0, Buffer.alloc(512, 2))
  expect(device.unflushed).toBe(1)
  await disk.flush()
  expect(device.unflushed).toBe(0)
  await disk.close()
})

test('reserve takes space for holes and leaves data alone', async () => {
  const device = new MemoryDevice(SIZE)
  const written: number[] = []
  const write = device.write.bind(device)
  device.write = (offset, data) => {
    written.push(offset)
    return write(offset, data)
  }
  const served = await serve({ disk: device })
  const disk = await NbdDisk.open(uriOf(served.socket))
  await disk.write(MIB, Buffer.alloc(MIB, 3))
  written.length = 0
  await disk.reserve(0, 3 * MIB)
  expect(written).toEqual([0, 2 * MIB])
  await disk.close()
})

test('when the server goes everything fails with ERR_IO, at once and from then on', async () => {
  const device = new SimulatedDisk(SIZE)
  const gate = deferred()
  device.plan = ({ kind }) => (kind === 'write' ? { delay: gate.promise } : undefined)
  const served = await serve({ disk: device }, { drainMsMax: 20 })
  const disk = await NbdDisk.open(uriOf(served.socket))
  const writing = disk.write(0, Buffer.alloc(512))
  await expect.poll(() => device.counters.writes).toBe(1)
  const closing = served.server.close()
  await expect(writing).rejects.toMatchObject({ code: 'ERR_IO' })
  await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
  await expect(disk.flush()).rejects.toMatchObject({ code: 'ERR_IO' })
  await disk.close()
  await closing
  gate.resolve()
})

test('what cannot be opened says why', async () => {
  const served = await serve({ disk: { device: new MemoryDevice(SIZE), readOnly: true } })
  await expect(NbdDisk.open(uriOf(served.socket, 'nothing'))).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
  await expect(NbdDisk.open(uriOf(`${served.socket}x`))).rejects.toMatchObject({ code: 'ERR_IO' })
  await expect(NbdDisk.open(uriOf(served.socket))).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
  const disk = await NbdDisk.open(uriOf(served.socket), { readOnly: true })
  await expect(disk.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
  await disk.close()
  await expect.poll(() => served.server.connections()).toEqual([])
})

test('errors of the server keep their kind', async () => {
  const device = new MemoryDevice(SIZE)
  const served = await serve({ disk: device })
  const { LunarError } = await import('../../../src/core/base/errors.ts')
  device.write = () => Promise.reject(new LunarError('ERR_POOL_FULL', 'Cannot write'))
  device.read = () => Promise.reject(new LunarError('ERR_IO', 'Cannot read', { why: 'a scratch' }))
  const disk = await NbdDisk.open(uriOf(served.socket))
  await expect(disk.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
  await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO', why: expect.stringContaining('a scratch') as string })
  await disk.close()
})

describe('TLS', () => {
  test('with certificates of one authority; never without TLS where the URI wants it', async () => {
    const folder = temporaryFolder()
    const authority = new Authority(folder)
    const own = authority.sign('server', '/CN=localhost')
    authority.sign('client', '/CN=db1')
    const exports = new TestExports()
    exports.offered.set('disk', { device: new MemoryDevice(SIZE) })
    const server = new NbdServer(exports, { awakeUs: 0 })
    const secure = await listenTcp(server, { host: '127.0.0.1', port: 0 }, own)
    const plain = await listenTcp(server, { host: '127.0.0.1', port: 0 }, null)
    const port = (address: string): string => address.split(':')[1]!
    const disk = await NbdDisk.open(`nbds://localhost:${port(secure.address)}/disk?tls-certificates=${folder}`)
    await disk.write(0, Buffer.alloc(MIB, 1))
    const into = Buffer.alloc(MIB)
    await disk.read(0, into)
    expect(into.every(byte => byte === 1)).toBe(true)
    expect(exports.peers.at(-1)).toMatchObject({ transport: 'tls', host: 'db1' })
    await disk.close()
    await expect(NbdDisk.open(`nbds://localhost:${port(plain.address)}/disk?tls-certificates=${folder}`)).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    await expect(NbdDisk.open(`nbd://localhost:${port(secure.address)}/disk`)).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    const strangers = temporaryFolder()
    const stranger = new Authority(strangers)
    stranger.sign('client', '/CN=db1')
    const untrusted = `nbds://localhost:${port(secure.address)}/disk?tls-certificates=${strangers}`
    await expect(NbdDisk.open(untrusted), 'a server that is not the one of the authority').rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    const nowhere = `nbds://localhost:${port(secure.address)}/disk?tls-certificates=${folder}/nowhere`
    await expect(NbdDisk.open(nowhere)).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    await secure.close()
    await plain.close()
    await server.close()
  })
})

describe('a server that breaks the protocol', () => {
  let server: Server | undefined
  const sockets: Socket[] = []
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy()
    server?.close()
  })

  const optionReply = (code: number, type: number, data = Buffer.alloc(0)): Buffer =>
    Buffer.concat([u64be(0x3e889045565a9), u32be(code), u32be(type), u32be(data.length), data])
  const hello = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16be(3)])
  const negotiated = [
    optionReply(8, 1),
    Buffer.concat([optionReply(10, 4, Buffer.concat([u32be(1), Buffer.from('base:allocation')])), optionReply(10, 1)]),
    Buffer.concat([optionReply(7, 3, Buffer.concat([u16be(0), u64be(SIZE), u16be(0b101101)])), optionReply(7, 1)]),
  ]

  /** Sends the answers one by one, each after something came. */
  async function lying(answers: readonly Uint8Array[]): Promise<string> {
    const path = join(temporaryFolder(), 's')
    server = createServer(socket => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.write(hello)
      const left = [...answers]
      let flags = true
      socket.on('data', data => {
        if (flags && data.length === 4) {
          flags = false
          return
        }
        flags = false
        const next = left.shift()
        if (next) socket.write(next)
      })
    }).listen(path)
    await once(server, 'listening')
    return uriOf(path)
  }

  test.each([
    ['another option', [optionReply(9, 1)]],
    ['no magic number', [Buffer.alloc(20)]],
    ['too long', [Buffer.concat([u64be(0x3e889045565a9), u32be(8), u32be(1), u32be(0xffffffff)])]],
    ['no size', [optionReply(8, 0x80000001), optionReply(7, 1)]],
  ])('in the negotiation: %s', async (_, answers) => {
    await expect(NbdDisk.open(await lying(answers))).rejects.toMatchObject({ code: 'ERR_IO' })
  })

  const reply = (cookie: number, type: number, flags: number, payload: Buffer): Buffer =>
    Buffer.concat([u32be(0x668e33ef), u16be(flags), u16be(type), u64be(cookie), u32be(payload.length), payload])
  test.each([
    ['no magic number', Buffer.alloc(16)],
    ['another cookie', reply(99, 0, 1, Buffer.alloc(0))],
    ['a simple reply with data', Buffer.concat([u32be(0x67446698), u32be(0), u64be(0), Buffer.alloc(512)])],
    ['nothing', reply(0, 0, 1, Buffer.alloc(0))],
    ['too little', reply(0, 1, 1, Buffer.concat([u64be(0), Buffer.alloc(100)]))],
    ['data elsewhere', reply(0, 1, 1, Buffer.concat([u64be(512), Buffer.alloc(512)]))],
    ['data before the range', reply(0, 1, 1, Buffer.concat([u64be(2n ** 64n - 512n), Buffer.alloc(512)]))],
    ['more data', reply(0, 1, 1, Buffer.concat([u64be(0), Buffer.alloc(513)]))],
    ['a hole that is too long', reply(0, 2, 1, Buffer.concat([u64be(0), u32be(513)]))],
    ['an unknown chunk', reply(0, 77, 1, Buffer.alloc(8))],
    ['an error that contradicts itself', reply(0, 0x8001, 1, Buffer.concat([u32be(5), u16be(100)]))],
    ['a chunk of 4 GiB', Buffer.concat([u32be(0x668e33ef), u16be(1), u16be(5), u64be(0), u32be(0xffffffff)])],
  ])('in answer to a READ: %s', async (_, answer) => {
    const disk = await NbdDisk.open(await lying([...negotiated, answer]))
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
    await disk.close()
  })

  test('chunks and holes in any order are put where they belong', async () => {
    const answer = Buffer.concat([reply(0, 1, 0, Buffer.concat([u64be(256), Buffer.alloc(256, 2)])), reply(0, 2, 1, Buffer.concat([u64be(0), u32be(256)]))])
    const disk = await NbdDisk.open(await lying([...negotiated, answer]))
    const into = Buffer.alloc(512, 9)
    await disk.read(0, into)
    expect(into.equals(Buffer.concat([Buffer.alloc(256), Buffer.alloc(256, 2)]))).toBe(true)
    await disk.close()
  })
})

test('over qemu-nbd: reads, writes, zeros, holes', async () => {
  const folder = temporaryFolder()
  const [image, socket] = [join(folder, 'disk.img'), join(folder, 's')]
  writeFileSync(image, Buffer.alloc(0))
  execFileSync('truncate', ['-s', String(SIZE), image])
  const child = spawn('qemu-nbd', ['-k', socket, '-f', 'raw', '-x', 'disk', '--persistent', '--discard=unmap', image], { stdio: 'ignore' })
  try {
    await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true)
    const disk = await NbdDisk.open(uriOf(socket))
    const data = Buffer.alloc(MIB, 5)
    await disk.write(MIB, data)
    await disk.punch(MIB, 65536)
    await disk.writeDurable(0, data.subarray(0, 4096))
    await disk.flush()
    const into = Buffer.alloc(MIB)
    await disk.read(MIB, into)
    expect(into.equals(Buffer.concat([Buffer.alloc(65536), data.subarray(65536)]))).toBe(true)
    const extents = await disk.extents(0, SIZE)
    expect(extents.at(-1)).toMatchObject({ kind: 'hole' })
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(SIZE)
    await disk.close()
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})

test('URIs', () => {
  expect(isNbdUri('/dev/sda')).toBe(false)
  expect(parseNbdUri('nbd://example.com/a%40b')).toMatchObject({ export: 'a@b', at: { host: 'example.com', port: 10809 }, tls: false })
  expect(parseNbdUri('nbds://[::1]:99')).toMatchObject({ export: '', at: { host: '::1', port: 99 }, tls: true })
  expect(parseNbdUri('nbd+unix:///x?socket=/run/a b')).toMatchObject({ export: 'x', at: { path: '/run/a b' } })
  for (const wrong of ['nbd:///x', 'nbd+unix:///x', 'nbd://h/x?socket=/s', 'nbd://h/%zz', 'nbd://h/x?cache=1', 'http://h/x', `nbd://h/${'x'.repeat(4097)}`]) {
    expect(() => parseNbdUri(wrong), wrong).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }) as Error)
  }
})

test('URIs of one export are known as one, and mean the same wherever they are used', () => {
  const identity = (uri: string): string => exportIdentity(parseNbdUri(uri))
  expect(identity('nbd://Alpha/a%62')).toBe(identity('nbd://alpha:10809/ab'))
  expect(identity('nbd+unix:///a?socket=/s')).not.toBe(identity('nbd+unix:///b?socket=/s'))
  expect(absoluteUri('nbd://alpha/x')).toBe('nbd://alpha/x')
  expect(absoluteUri('nbd+unix:///x?socket=/run/s')).toBe('nbd+unix:///x?socket=/run/s')
  const relative = absoluteUri('nbds+unix:///x?socket=a%20b&tls-certificates=keys')
  expect(parseNbdUri(relative)).toMatchObject({ at: { path: join(process.cwd(), 'a b') }, certificates: join(process.cwd(), 'keys') })
})
