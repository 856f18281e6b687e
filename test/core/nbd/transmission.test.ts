/** Every command in every form of replies, with a client that reads replies strictly (protocol: transmission phase). */
import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import type { ErrorCode } from '../../../src/core/base/error-table.ts'
import { Random } from '../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { BlockLayer, type BlockDevice } from '../../../src/core/block/device.ts'
import { FileDisk } from '../../../src/core/block/file.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { SparsePages } from '../../../src/core/block/sparse-pages.ts'
import type { MetaContext } from '../../../src/core/nbd/exports.ts'
import { join } from 'node:path'
import { deferred } from '../../../src/core/base/deferred.ts'
import { CMD, ERR, FLAG, u32be, u64be, type Client } from './support/client.ts'
import { serve, temporaryFolder } from './support/served.ts'

const SIZE = 4 * MIB
const forms = ['simple', 'structured', 'extended'] as const
type Form = (typeof forms)[number]

async function entered(device: BlockDevice, form: Form = 'structured', contexts: string[] = []): Promise<Client> {
  const client = await (await serve({ disk: device })).connect()
  await client.enter('disk', form, form === 'simple' ? [] : contexts)
  return client
}

const filled = (length: number, seed: number): Buffer => {
  const random = new Random(seed)
  return Buffer.from(Uint8Array.from({ length }, () => random.below(256)))
}

describe.each(forms)('%s replies', form => {
  test('what is written is read, at any byte', async () => {
    const client = await entered(new MemoryDevice(SIZE), form)
    const model = Buffer.alloc(SIZE)
    for (const [offset, length] of [
      [0, 512],
      [4096, 4096],
      [1, 1],
      [511, 2],
      [513, 5000],
      [SIZE - 1, 1],
      [MIB - 7, MIB + 14],
      [0, SIZE],
    ] as const) {
      const data = filled(length, offset + length)
      data.copy(model, offset)
      expect((await client.call({ type: CMD.write, offset, payload: data })).error).toBe(0)
      const from = Math.max(0, offset - 3)
      const read = await client.call({ type: CMD.read, offset: from, length: Math.min(SIZE - from, length + 6) })
      expect(read.data!.equals(model.subarray(from, from + Math.min(SIZE - from, length + 6)))).toBe(true)
    }
  })

  test('zeros and trims, at any byte', async () => {
    const client = await entered(new MemoryDevice(SIZE), form)
    await client.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(16 * KIB, 7) })
    for (const [flags, offset, length] of [
      [0, 1000, 3000],
      [FLAG.noHole, 5, 10],
      [FLAG.fua, 8 * KIB, 512],
    ] as const) {
      expect((await client.call({ type: CMD.zeroes, flags, offset, length })).error).toBe(0)
      const { data } = await client.call({ type: CMD.read, offset: offset - 5, length: length + 10 })
      expect(data!.subarray(0, 5).every(byte => byte === 7)).toBe(true)
      expect(data!.subarray(5, 5 + length).every(byte => byte === 0)).toBe(true)
      expect(data!.subarray(5 + length).every(byte => byte === 7)).toBe(true)
    }
    expect((await client.call({ type: CMD.trim, offset: 12 * KIB + 1, length: 1000 })).error).toBe(0)
    const { data } = await client.call({ type: CMD.read, offset: 12 * KIB, length: 1024 })
    expect([data![0], data![1001], data![1023]]).toEqual([7, 7, 7])
  })

  test('CACHE and FLUSH succeed and change nothing', async () => {
    const client = await entered(new MemoryDevice(SIZE), form)
    expect((await client.call({ type: CMD.cache, offset: 3, length: SIZE - 3 })).error).toBe(0)
    expect((await client.call({ type: CMD.flush })).error).toBe(0)
    expect((await client.call({ type: CMD.read, offset: 0, length: SIZE })).data!.equals(Buffer.alloc(SIZE))).toBe(true)
  })

  test('what cannot be carried out is refused as the protocol names it, and the next request is', async () => {
    const client = await entered(new MemoryDevice(SIZE), form)
    const payload = Buffer.alloc(512)
    const refused: [number, Parameters<Client['call']>[0]][] = [
      [ERR.invalid, { type: CMD.read, offset: SIZE, length: 1 }],
      [ERR.invalid, { type: CMD.read, offset: SIZE - 1, length: 2 }],
      [ERR.invalid, { type: CMD.read, offset: 0xffff_ffff_ffff_ffffn, length: 1 }],
      [ERR.invalid, { type: CMD.read, offset: 0, length: 0 }],
      [form === 'simple' ? ERR.invalid : ERR.overflow, { type: CMD.read, offset: 0, length: SIZE }],
      [ERR.noSpace, { type: CMD.write, offset: SIZE, payload }],
      [ERR.noSpace, { type: CMD.write, offset: SIZE - 511, payload }],
      [ERR.noSpace, { type: CMD.write, offset: 2n ** 64n - 512n, payload }],
      [ERR.noSpace, { type: CMD.zeroes, offset: 1, length: SIZE }],
      [ERR.noSpace, { type: CMD.zeroes, offset: 1, length: 0xffff_ffff }],
      [ERR.invalid, { type: CMD.trim, offset: 1, length: 0xffff_ffff }],
      [ERR.invalid, { type: CMD.cache, offset: SIZE, length: 0xffff_ffff }],
      [ERR.invalid, { type: CMD.status, offset: 0, length: 512 }], // no context is selected
      [ERR.invalid, { type: CMD.flush, offset: 1, length: 0 }],
      [ERR.invalid, { type: CMD.flush, offset: 0, length: 1 }],
      [ERR.invalid, { type: 8, offset: 0, length: 512 }],
      [ERR.invalid, { type: 0xffff, offset: 0, length: 512 }],
      [ERR.invalid, { type: CMD.read, flags: FLAG.one, offset: 0, length: 512 }],
      [ERR.invalid, { type: CMD.write, flags: FLAG.df, offset: 0, payload }],
      [ERR.invalid, { type: CMD.read, flags: 0x8000, offset: 0, length: 512 }],
      [ERR.notSupported, { type: CMD.zeroes, flags: FLAG.fastZero, offset: 0, length: 512 }],
    ]
    const limited = await (await serve({ disk: new MemoryDevice(SIZE) }, { payloadMax: MIB })).connect()
    await limited.enter('disk', form)
    for (const [error, request] of refused) {
      const reply = await (request.length === SIZE && request.type === CMD.read ? limited : client).call(request)
      expect({ request, error: reply.error }).toEqual({ request, error })
      if (form !== 'simple') expect(reply.text).not.toBe('')
    }
    expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).data!.equals(payload)).toBe(true)
  })

  test('a long write that is refused is dropped as it arrives', async () => {
    const client = await (await serve({ disk: new MemoryDevice(SIZE) }, { payloadMax: MIB, payloadFatal: 3 * MIB })).connect()
    await client.enter('disk', form)
    expect((await client.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(2 * MIB, 1) })).error).toBe(ERR.invalid)
    expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).data!.equals(Buffer.alloc(512))).toBe(true)
    client.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(3 * MIB + 1) })
    await client.ended()
  })

  test('errors of the device', async () => {
    let code: ErrorCode = 'ERR_IO'
    const failing = (): Promise<never> => Promise.reject(new LunarError(code, 'Cannot do it', { why: `for ${code}` }))
    class Failing extends BlockLayer {
      override read = failing
      override write = failing
      override writev = failing
      override flush = failing
      override zero = failing
      override trim = failing
    }
    const client = await entered(new Failing(new MemoryDevice(SIZE)), form)
    const numbers: [ErrorCode, number][] = [
      ['ERR_IO', ERR.io],
      ['ERR_POOL_FULL', ERR.noSpace],
      ['ERR_HOST_FULL', ERR.noSpace],
      ['ERR_METADATA_FULL', ERR.noSpace],
      ['ERR_READ_ONLY', ERR.perm],
      ['ERR_ALREADY_WRITTEN', ERR.overflow],
      ['ERR_UNWRITTEN', ERR.overflow],
      ['ERR_HOST_LIMIT', ERR.io],
      ['ERR_SUSPENDED', ERR.io],
    ]
    for (const [given, error] of numbers) {
      code = given
      for (const request of [
        { type: CMD.read, offset: 0, length: 512 },
        { type: CMD.read, offset: 0, length: MIB },
        { type: CMD.write, offset: 0, payload: Buffer.alloc(512) },
        { type: CMD.write, offset: 1, payload: Buffer.alloc(7) },
        { type: CMD.flush },
        { type: CMD.zeroes, offset: 0, length: 512 },
        { type: CMD.trim, offset: 0, length: 512 },
        { type: CMD.cache, offset: 0, length: 512 },
      ]) {
        const reply = await client.call(request)
        expect(reply.error).toBe(error)
        if (form !== 'simple') expect(reply.text).toBe(`Cannot do it: for ${given}`)
      }
    }
  })

  test('a read-only export refuses changes and says so', async () => {
    const device = new MemoryDevice(SIZE)
    const client = await (await serve({ disk: { device, readOnly: true } })).connect()
    await client.enter('disk', form)
    expect(client.flags & 2).toBe(2)
    expect(client.flags & (32 | 64 | 2048)).toBe(0)
    for (const request of [
      { type: CMD.write, offset: 0, payload: Buffer.alloc(70_000, 1) },
      { type: CMD.zeroes, offset: 0, length: 512 },
      { type: CMD.trim, offset: 0, length: 512 },
    ])
      expect((await client.call(request)).error).toBe(ERR.perm)
    expect(device.allocated).toBe(0)
    expect((await client.call({ type: CMD.flush })).error).toBe(0)
  })

  test('DISC: what is under way is carried out, nothing after it is', async () => {
    const disk = new SimulatedDisk(SIZE)
    const gate = deferred()
    disk.plan = ({ kind }) => (kind === 'write' ? { delay: gate.promise } : undefined)
    const client = await entered(disk, form)
    client.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(512, 1) })
    client.request({ type: CMD.disc })
    client.request({ type: CMD.write, offset: 512, payload: Buffer.alloc(512, 2) })
    gate.resolve()
    expect((await client.reply()).error).toBe(0)
    expect(await client.ended()).toHaveLength(0)
    expect(disk.counters.writes).toBe(1)
  })
})

test('a request without the magic number ends the connection, and nobody else is hurt', async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const [bad, good] = [await served.connect(), await served.connect()]
  await bad.enter('disk')
  await good.enter('disk')
  bad.send(Buffer.alloc(28, 1))
  await bad.ended()
  expect((await good.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
  await expect.poll(() => served.exports.opened.get('disk')).toBe(1)
})

describe('extended headers', () => {
  test('lengths of more than 32 bits', async () => {
    const client = await entered(new MemoryDevice(2 ** 34), 'extended', ['base:allocation'])
    expect((await client.call({ type: CMD.zeroes, offset: 512, length: 2 ** 34 - 512 })).error).toBe(0)
    expect((await client.call({ type: CMD.trim, offset: 0, length: 2 ** 34 })).error).toBe(0)
    expect((await client.call({ type: CMD.zeroes, offset: 512, length: 2 ** 34 })).error).toBe(ERR.noSpace)
    expect((await client.call({ type: CMD.cache, offset: 0, length: 2n ** 63n })).error).toBe(ERR.invalid)
    const { status } = await client.call({ type: CMD.status, offset: 0, length: 2 ** 34 })
    expect([...status.values()][0]![0]!.length).toBeGreaterThan(2 ** 33)
  })

  test('WRITE needs the payload flag, others are refused with it and their payload dropped', async () => {
    const client = await entered(new MemoryDevice(SIZE), 'extended')
    client.send(u32be(0x21e41c71), Buffer.from([0, 0, 0, CMD.write]), u64be(1), u64be(0), u64be(512))
    expect((await client.bytes(32 + 6)).readUInt32BE(32)).toBe(ERR.invalid)
  })

  test('a READ with a payload is refused, and the payload is not taken for a request', async () => {
    const client = await entered(new MemoryDevice(SIZE), 'extended')
    expect((await client.call({ type: CMD.read, offset: 0, payload: Buffer.alloc(300_000, 0x21) })).error).toBe(ERR.invalid)
    expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
  })

  test('BLOCK_STATUS of some contexts only', async () => {
    const other: MetaContext = { name: 'lunar:changed:x', extents: async (_, length) => [{ length, flags: 1 }] }
    const served = await serve({ disk: { device: new MemoryDevice(SIZE), contexts: [other] } })
    const client = await served.connect()
    const ids = await client.enter('disk', 'extended', ['base:allocation', 'lunar:changed:x'])
    expect(client.flags & 4096).toBe(4096)
    const id = ids.get('lunar:changed:x')!
    const filtered = await client.call({ type: CMD.status, offset: 512, payload: Buffer.concat([u64be(MIB), u32be(id)]) })
    expect([...filtered.status]).toEqual([[id, [{ length: MIB, flags: 1 }]]])
    for (const wrong of [
      [u64be(MIB), u32be(id), u32be(id)],
      [u64be(MIB), u32be(99)],
      [u64be(SIZE), u32be(id)],
      [u64be(0), u32be(id)],
      [u64be(MIB), Buffer.alloc(2)],
      [u32be(1)],
    ])
      expect((await client.call({ type: CMD.status, offset: 512, payload: Buffer.concat(wrong) })).error).toBe(ERR.invalid)
  })
})

describe('BLOCK_STATUS', () => {
  test('holes and data, neighbours in one, cut at the range, one only when wanted', async () => {
    const device = new MemoryDevice(64 * MIB)
    await device.write(MIB, Buffer.alloc(2 * MIB, 1))
    const client = await (await serve({ disk: device })).connect()
    const id = (await client.enter('disk', 'structured', ['base:allocation'])).get('base:allocation')!
    const ask = async (offset: number, length: number, flags = 0) => (await client.call({ type: CMD.status, offset, length, flags })).status.get(id)
    expect(await ask(0, 64 * MIB)).toEqual([
      { length: MIB, flags: 3 },
      { length: 2 * MIB, flags: 0 },
      { length: 61 * MIB, flags: 3 },
    ])
    expect(await ask(MIB - 1, 2)).toEqual([
      { length: 1, flags: 3 },
      { length: 1, flags: 0 },
    ])
    expect(await ask(MIB + 5, 64 * MIB - MIB - 5, FLAG.one)).toEqual([{ length: 2 * MIB - 5, flags: 0 }])
    expect(await ask(4 * MIB, 60 * MIB, FLAG.one)).toEqual([{ length: 60 * MIB, flags: 3 }])
  })

  test('every context that was selected answers, and its answer is cut and joined', async () => {
    const context = (name: string, extents: { length: number; flags: number }[]): MetaContext => ({ name, extents: async () => extents })
    const contexts = [
      context('x-a:long', [{ length: 2 ** 40, flags: 0xffff_ffff }]),
      context('x-a:short', [
        { length: 1, flags: 1 },
        { length: 1, flags: 1 },
      ]),
      context('x-a:none', []),
    ]
    const served = await serve({ disk: { device: new MemoryDevice(SIZE), contexts } })
    const client = await served.connect()
    const ids = await client.enter('disk', 'structured', ['x-a:long', 'x-a:short'])
    const { status } = await client.call({ type: CMD.status, offset: 0, length: 1000 })
    expect(status.get(ids.get('x-a:long')!)).toEqual([{ length: 1000, flags: 0xffff_ffff }])
    expect(status.get(ids.get('x-a:short')!)![0]!.flags).toBe(1)
    const wrong = await served.connect()
    await wrong.enter('disk', 'structured', ['x-a:none'])
    expect((await wrong.call({ type: CMD.status, offset: 0, length: 1000 })).error).toBe(ERR.io)
  })
})

describe('durability', () => {
  test('FLUSH is answered after everything that was answered before is durable; FUA makes its own write durable', async () => {
    const disk = new SimulatedDisk(SIZE)
    const client = await entered(disk)
    await client.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(4096, 1) })
    expect(disk.unflushed).toBe(1)
    await client.call({ type: CMD.flush })
    expect(disk.unflushed).toBe(0)
    for (const request of [
      { type: CMD.write, offset: 0, payload: Buffer.alloc(4096, 2) },
      { type: CMD.write, offset: 5, payload: Buffer.alloc(1, 2) },
      { type: CMD.zeroes, offset: 0, length: 512 },
      { type: CMD.zeroes, offset: 3, length: 5 },
      { type: CMD.trim, offset: 0, length: 4096 },
    ]) {
      await client.call({ ...request, flags: FLAG.fua })
      expect(disk.unflushed).toBe(0)
    }
  })

  test('a flush on one connection covers the writes of all (CAN_MULTI_CONN)', async () => {
    const disk = new SimulatedDisk(SIZE)
    const served = await serve({ disk })
    const [a, b] = [await served.connect(), await served.connect()]
    await a.enter('disk')
    await b.enter('disk')
    expect(a.flags & 256).toBe(256)
    await a.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(4096, 1) })
    expect((await b.call({ type: CMD.read, offset: 0, length: 1 })).data![0]).toBe(1)
    await b.call({ type: CMD.flush })
    expect(disk.unflushed).toBe(0)
  })

  test('a flush that fails is an error, and so is FUA', async () => {
    const disk = new SimulatedDisk(SIZE)
    disk.plan = ({ kind }) => (kind === 'flush' ? new LunarError('ERR_IO', 'Cannot flush', {}) : undefined)
    const client = await entered(disk)
    expect((await client.call({ type: CMD.flush })).error).toBe(ERR.io)
    expect((await client.call({ type: CMD.write, flags: FLAG.fua, offset: 0, payload: Buffer.alloc(512) })).error).toBe(ERR.io)
  })
})

describe('parts of blocks', () => {
  test('writes of different bytes of one block, from several connections, all count', async () => {
    const disk = new SimulatedDisk(SIZE)
    // Reads and writes end in the order of the turns they wait for: a block is read while another is written.
    disk.plan = ({ ordinal }) => ({ delay: new Promise<void>(resolve => void (ordinal % 2 ? setImmediate(resolve) : queueMicrotask(resolve))) })
    const served = await serve({ disk })
    const clients = await Promise.all(Array.from({ length: 4 }, () => served.connect()))
    await Promise.all(clients.map(client => client.enter('disk')))
    for (let byte = 0; byte < 512; byte++) clients[byte % 4]!.request({ type: CMD.write, offset: 1024 + byte, payload: Buffer.from([byte & 255]) })
    // Whole blocks beside them take no part and are not held up; the same block as a whole comes after all that was asked before.
    clients[0]!.request({ type: CMD.write, offset: 1536, payload: Buffer.alloc(512, 9) })
    for (const [index, client] of clients.entries()) for (let i = 0; i < 128 + (index === 0 ? 1 : 0); i++) expect((await client.reply()).error).toBe(0)
    const { data } = await clients[1]!.call({ type: CMD.read, offset: 1024, length: 1024 })
    expect(data!.equals(Buffer.concat([Buffer.from(Uint8Array.from({ length: 512 }, (_, i) => i & 255)), Buffer.alloc(512, 9)]))).toBe(true)
  })

  /** The first read waits; writes may be made at once. */
  class Gated extends BlockLayer {
    readonly gate = deferred()
    reads = 0
    constructor(private readonly memory: SparsePages) {
      super(new MemoryDevice(SIZE))
    }
    override async read(offset: number, into: Uint8Array): Promise<void> {
      this.memory.read(offset, into)
      if (this.reads++ === 0) await this.gate.promise
    }
    override async write(offset: number, data: Uint8Array): Promise<void> {
      this.memory.write(offset, data)
    }
    override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
      return this.write(offset, Buffer.concat(parts))
    }
  }
  class GatedFast extends Gated {
    tryRead(): boolean {
      return false
    }
    tryWrite(offset: number, data: Uint8Array): boolean {
      void this.write(offset, data)
      return true
    }
  }

  test.each([
    ['in the usual way', Gated],
    ['at once', GatedFast],
  ])('a write of the whole block, %s, beside a write of a part of it loses none of its other bytes', async (_, Kind) => {
    const disk = new Kind(new SparsePages(SIZE))
    const client = await entered(disk)
    client.request({ type: CMD.write, offset: 3, payload: Buffer.from([1]) })
    await expect.poll(() => disk.reads).toBe(1)
    client.request({ type: CMD.write, offset: 0, payload: Buffer.alloc(512, 2) })
    // Answered after the server has begun with both, as far as it can.
    const probe = client.request({ type: CMD.read, offset: 4096, length: 512 })
    const replies = [await client.reply()]
    while (replies.at(-1)!.cookie !== probe) replies.push(await client.reply())
    disk.gate.resolve()
    while (replies.length < 3) replies.push(await client.reply())
    const { data } = await client.call({ type: CMD.read, offset: 0, length: 512 })
    expect(data!.filter((_, index) => index !== 3).every(byte => byte === 2)).toBe(true)
  })
})

describe('a file, with requests at once and in the thread pool', () => {
  test.each(forms)('many requests in flight, %s replies: every byte is right', async form => {
    const file = await FileDisk.create(join(temporaryFolder(), 'disk.img'), 8 * MIB)
    try {
      const served = await serve({ disk: file })
      const client = await served.connect()
      await client.enter('disk', form)
      const seed = Math.floor(Math.random() * 2 ** 31)
      const random = new Random(seed)
      const model = Buffer.alloc(8 * MIB)
      for (let round = 0; round < 30; round++) {
        // Writes that do not overlap, then reads of anything, so that the order in which they end does not matter.
        const sent = new Map<bigint, { offset: number; length: number }>()
        const requests: Buffer[] = []
        for (let i = 0; i < 16; i++) {
          const length = random.pick([512, 4096, 4096, 65536, 131072, 1000])
          const offset = i * 524288 + random.below(524288 - length)
          const at = random.chance(0.8) ? offset - (offset % 512) : offset
          const payload = Buffer.alloc(length, random.below(256))
          payload.writeUInt32BE(random.u32())
          payload.copy(model, at)
          requests.push(client.encode({ type: CMD.write, offset: at, payload }))
        }
        client.send(...requests)
        for (let i = 0; i < 16; i++) expect((await client.reply()).error).toBe(0)
        for (let i = 0; i < 16; i++) {
          const length = random.pick([1, 4096, 4096, 65536, 65536, 1048576])
          const any = random.below(8 * MIB - length)
          const offset = random.chance(0.8) ? any - (any % 512) : any
          sent.set(client.request({ type: CMD.read, offset, length }), { offset, length })
        }
        while (sent.size > 0) {
          const reply = await client.reply()
          const { offset, length } = sent.get(reply.cookie)!
          sent.delete(reply.cookie)
          expect(reply.data!.equals(model.subarray(offset, offset + length)), `seed ${seed}, ${length} bytes at ${offset}`).toBe(true)
        }
      }
    } finally {
      await file.close()
    }
  })
})
