/** Every option of the handshake, with a client that reads replies strictly (protocol: handshake phase). */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import type { MetaContext } from '../../../src/core/nbd/exports.ts'
import { CMD, OPT, REP, sized, u16be, u32be } from './support/client.ts'
import { serve } from './support/served.ts'

const SIZE = 4 * MIB
const disk = (): MemoryDevice => new MemoryDevice(SIZE)
const changed: MetaContext = { name: 'lunar:changed:monday', extents: async (_, length) => [{ length, flags: 1 }] }
const last = <T>(items: readonly T[]): T => items[items.length - 1]!

describe('greeting', () => {
  test('offers fixed newstyle and no zeroes, and nothing else', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    expect(await client.greet()).toBe(3)
  })

  test.each([4, 0x80000003, 0xffffffff])('client flags %i end the connection', async flags => {
    const served = await serve({ disk: disk() })
    const client = await served.connect()
    await client.greet(flags)
    expect(await client.ended()).toHaveLength(0)
    expect(served.reports).toEqual([expect.stringContaining('unknown client flags')])
  })

  test('without fixed newstyle only EXPORT_NAME is to be had', async () => {
    const served = await serve({ disk: disk() })
    const wrong = await served.connect()
    await wrong.greet(0)
    wrong.sendOption(OPT.list)
    await wrong.ended()
    const right = await served.connect()
    await right.greet(0)
    right.sendOption(OPT.exportName, Buffer.from('disk'))
    const reply = await right.bytes(10 + 124)
    expect(Number(reply.readBigUInt64BE(0))).toBe(SIZE)
  })
})

describe('options', () => {
  test('EXPORT_NAME: size and flags, 124 zeros unless the client does without', async () => {
    const served = await serve({ disk: disk() })
    for (const [flags, padding] of [
      [1, 124],
      [3, 0],
    ] as const) {
      const client = await served.connect()
      await client.greet(flags)
      client.sendOption(OPT.exportName, Buffer.from('disk'))
      const reply = await client.bytes(10 + padding)
      expect(Number(reply.readBigUInt64BE(0))).toBe(SIZE)
      expect(reply.readUInt16BE(8)).toBe(0b1101_0110_1101 & ~(1 << 7)) // all but DF, which needs structured replies
      expect(reply.subarray(10).every(byte => byte === 0)).toBe(true)
      client.form = 'simple'
      expect((await client.call({ type: CMD.read, offset: 0, length: 512 })).data).toEqual(Buffer.alloc(512))
    }
  })

  test('EXPORT_NAME of what is not there ends the connection', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    client.sendOption(OPT.exportName, Buffer.from('nothing'))
    expect(await client.ended()).toHaveLength(0)
  })

  test('ABORT is acknowledged, also with data, and ends the connection', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    expect(await client.option(OPT.abort, Buffer.from('bye'))).toEqual([{ type: REP.ack, data: Buffer.alloc(0) }])
    expect(await client.ended()).toHaveLength(0)
  })

  test('LIST names all exports with their descriptions, and takes no data', async () => {
    const served = await serve({ a: disk(), 'lün@mon': disk() })
    const client = await served.connect()
    await client.greet()
    const replies = await client.option(OPT.list)
    expect(replies.map(({ type }) => type)).toEqual([REP.server, REP.server, REP.ack])
    expect(replies[1]!.data).toEqual(Buffer.concat([sized('lün@mon'), Buffer.from('about lün@mon')]))
    expect(last(await client.option(OPT.list, Buffer.from([0]))).type).toBe(REP.invalid)
    expect(served.exports.peers[0]).toEqual({ address: served.socket, transport: 'unix', host: 'db1' })
  })

  test('INFO tells what is asked for, opens nothing for good, and GO tells the same', async () => {
    const served = await serve({ disk: disk() })
    const client = await served.connect()
    await client.greet()
    await client.agree('structured')
    const first = await client.info(OPT.info, 'disk', [1, 2, 3, 77])
    expect(served.exports.open_).toBe(0)
    const items = new Map(first.filter(({ type }) => type === REP.info).map(({ data }) => [data.readUInt16BE(0), data.subarray(2)]))
    expect([...items.keys()]).toEqual([0, 1, 2, 3])
    expect(items.get(1)!.toString()).toBe('disk')
    expect(items.get(2)!.toString()).toBe('about disk')
    expect([0, 4, 8].map(at => items.get(3)!.readUInt32BE(at))).toEqual([1, 4096, 32 * MIB])
    const second = await client.info(OPT.go, 'disk', [1, 2, 3, 77])
    expect(second).toEqual(first)
    expect(client.flags & 128).toBe(128)
    expect(served.exports.open_).toBe(1)
  })

  test.each([OPT.info, OPT.go])('option %i refuses what is not there and what contradicts itself, and goes on', async code => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    expect((await client.info(code, 'nothing')).map(({ type }) => type)).toEqual([REP.unknown])
    const wrong = [
      Buffer.alloc(0),
      Buffer.alloc(5),
      Buffer.concat([u32be(100), Buffer.from('disk'), u16be(0)]), // name longer than the data
      Buffer.concat([u32be(0xffffffff), Buffer.from('disk'), u16be(0)]),
      Buffer.concat([sized('disk'), u16be(2), u16be(1)]), // fewer requests than it says
      Buffer.concat([sized('disk'), u16be(0), u16be(1)]), // more
      Buffer.concat([sized('disk'), u16be(2), u16be(1), u16be(1)]), // one twice
      Buffer.concat([sized('di\0k'), u16be(0)]),
      Buffer.concat([u32be(2), Buffer.from([0xc3, 0x28]), u16be(0)]), // no UTF-8
      Buffer.concat([sized('x'.repeat(4097)), u16be(0)]),
    ]
    for (const data of wrong) expect((await client.option(code, data)).map(({ type }) => type)).toEqual([REP.invalid])
    expect(last(await client.info(OPT.go, 'disk')).type).toBe(REP.ack)
  })

  test('an unknown option is answered and the next one read', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    for (const code of [0, 4, 12, 0xffffffff]) expect(last(await client.option(code, Buffer.alloc(1000))).type).toBe(REP.unsupported)
    expect(last(await client.info(OPT.go, 'disk')).type).toBe(REP.ack)
  })

  test('STARTTLS where there is none is refused by policy', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    expect(last(await client.option(OPT.starttls)).type).toBe(REP.policy)
  })

  test('STRUCTURED_REPLY and EXTENDED_HEADERS take no data; the first does not replace the second', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    expect(last(await client.option(OPT.structured, Buffer.from([1]))).type).toBe(REP.invalid)
    expect(last(await client.option(OPT.extended, Buffer.from([1]))).type).toBe(REP.invalid)
    await client.agree('structured')
    await client.agree('extended')
    expect(last(await client.option(OPT.structured)).type).toBe(REP.extendedRequired)
    client.sendOption(OPT.exportName, Buffer.from('disk'))
    await client.ended()
  })

  test('a refusal of the exports is told with its reason', async () => {
    const served = await serve({ disk: disk() })
    served.exports.list = () => Promise.reject(new Error('no list for you'))
    const client = await served.connect()
    await client.greet()
    const reply = last(await client.option(OPT.list))
    expect([reply.type, reply.data.toString()]).toEqual([REP.policy, 'no list for you'])
  })
})

describe('meta contexts', () => {
  const exported = { device: disk(), contexts: [changed, { ...changed, name: 'qemu:dirty-bitmap:monday' }] }

  test('need structured replies', async () => {
    const client = await (await serve({ disk: exported })).connect()
    await client.greet()
    for (const code of [OPT.listContexts, OPT.setContexts]) {
      expect(last(await client.option(code, Buffer.concat([sized('disk'), u32be(0)]))).type).toBe(REP.invalid)
    }
  })

  test('LIST: all without a query, by name, by namespace, by beginning', async () => {
    const client = await (await serve({ disk: exported })).connect()
    await client.greet()
    await client.agree('structured')
    const list = async (...queries: string[]): Promise<string[]> => [...(await client.contexts(OPT.listContexts, 'disk', queries)).keys()]
    expect(await list()).toEqual(['base:allocation', 'lunar:changed:monday', 'qemu:dirty-bitmap:monday'])
    expect(await list('base:')).toEqual(['base:allocation'])
    expect(await list('base:nothing')).toEqual([])
    expect(await list('other:thing', 'base:allocation')).toEqual(['base:allocation'])
    expect(await list('qemu:dirty-bitmap:')).toEqual(['qemu:dirty-bitmap:monday'])
    expect(await list('lunar:')).toEqual(['lunar:changed:monday'])
  })

  test('SET: exact names only, ids of their own, the last one counts, none without a query', async () => {
    const client = await (await serve({ disk: exported })).connect()
    await client.greet()
    await client.agree('structured')
    const set = (...queries: string[]): Promise<Map<string, number>> => client.contexts(OPT.setContexts, 'disk', queries)
    expect((await set('base:', 'lunar:')).size).toBe(0)
    const ids = await set('qemu:dirty-bitmap:monday', 'base:allocation')
    expect(new Set(ids.values()).size).toBe(2)
    expect((await set()).size).toBe(0)
    await client.info(OPT.go, 'disk')
    expect((await client.call({ type: CMD.status, offset: 0, length: 4096 })).error).toBe(22)
  })

  test('selected for another export they do not count', async () => {
    const client = await (await serve({ disk: exported, other: disk() })).connect()
    await client.greet()
    await client.agree('structured')
    await client.contexts(OPT.setContexts, 'other', ['base:allocation'])
    await client.info(OPT.go, 'disk')
    expect((await client.call({ type: CMD.status, offset: 0, length: 4096 })).error).toBe(22)
  })

  test.each([OPT.listContexts, OPT.setContexts])('option %i that contradicts itself is refused', async code => {
    const client = await (await serve({ disk: exported })).connect()
    await client.greet()
    await client.agree('structured')
    const type = async (...parts: Buffer[]): Promise<number> => last(await client.option(code, Buffer.concat(parts))).type
    expect(await type()).toBe(REP.invalid)
    expect(await type(sized('disk'))).toBe(REP.invalid)
    expect(await type(sized('disk'), u32be(1))).toBe(REP.invalid)
    expect(await type(sized('disk'), u32be(1), u32be(0xffffffff))).toBe(REP.invalid)
    expect(await type(sized('disk'), u32be(1), sized('nocolon'))).toBe(REP.invalid)
    expect(await type(sized('disk'), u32be(0), Buffer.alloc(1))).toBe(REP.invalid)
    expect(await type(sized('disk'), u32be(0xffffffff))).toBe(REP.tooBig)
    expect(await type(sized('nothing'), u32be(0))).toBe(REP.unknown)
  })
})

describe('limits before a client is known', () => {
  test('an option of 4 GiB ends the connection at once', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    client.sendOption(OPT.list, Buffer.alloc(0), 0xffffffff)
    await client.ended()
  })

  test('an option with a wrong magic number ends the connection', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    client.send(Buffer.from('IHAVEOPS'), u32be(OPT.list), u32be(0))
    await client.ended()
  })

  test('32 options and no more', async () => {
    const client = await (await serve({ disk: disk() })).connect()
    await client.greet()
    for (let i = 0; i < 32; i++) await client.option(OPT.list)
    client.sendOption(OPT.list)
    await client.ended()
  })

  test('a client that says nothing is let go when its time is over', async () => {
    const served = await serve({ disk: disk() }, { handshakeMsMax: 50 })
    const silent = await served.connect()
    const slow = await served.connect()
    await slow.greet()
    slow.send(Buffer.from('IHAVE'))
    const busy = await served.connect()
    await busy.enter('disk')
    await silent.ended()
    await slow.ended()
    expect((await busy.call({ type: CMD.read, offset: 0, length: 512 })).error).toBe(0)
    expect(served.server.connections()).toHaveLength(1)
  })

  test('connections of one peer, and of all', async () => {
    const served = await serve({ disk: disk() }, { connectionsPerPeerMax: 2 })
    const first = await served.connect()
    const second = await served.connect()
    await first.greet()
    await second.greet()
    await (await served.connect()).ended()
    first.close()
    await expect.poll(() => served.server.connections().length).toBe(1)
    await (await served.connect()).greet()
  })

  test('what is sent ahead of an answer is bounded', async () => {
    const served = await serve({ disk: disk() })
    served.exports.list = () => new Promise(() => undefined)
    const client = await served.connect()
    await client.greet()
    client.sendOption(OPT.list)
    client.send(Buffer.alloc(1 * MIB))
    await client.ended()
    expect(served.reports).toEqual([expect.stringContaining('more than one option')])
  })
})
