/**
 * Input that nobody would send: mutated conversations, cut at any byte, in both phases (faults.md: hostile input). More of it:
 * LUNAR_FUZZ=200000 SEED=1 npx vitest run test/core/nbd/hostile.test.ts
 */
import { expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { CMD, Client, FLAG, OPT, sized, u16be, u32be, u64be } from './support/client.ts'
import { serve } from './support/served.ts'

const ROUNDS = Number(process.env['LUNAR_FUZZ'] ?? 1500)
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const SIZE = MIB

const optionBytes = (code: number, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from('IHAVEOPT'), u32be(code), u32be(data.length), data])
const requestBytes = (wide: boolean, type: number, flags: number, offset: number | bigint, length: number | bigint, payload = Buffer.alloc(0)): Buffer =>
  Buffer.concat([
    u32be(wide ? 0x21e41c71 : 0x25609513),
    u16be(wide && payload.length > 0 ? flags | FLAG.payload : flags),
    u16be(type),
    u64be(7),
    u64be(offset),
    wide ? u64be(length) : u32be(Number(length)),
    payload,
  ])

const edges = [0, 1, 511, 512, SIZE - 1, SIZE, SIZE + 1, 2 ** 31, 2 ** 32 - 1, 2 ** 53, 2n ** 63n, 2n ** 64n - 1n]

/** A conversation as a client would have it, in the pieces of which it is made. */
function conversation(random: Random): Buffer[] {
  const form = random.below(3)
  const wide = form === 2
  const name = random.pick(['disk', '', 'other', 'x'.repeat(random.below(5000))])
  const pieces = [u32be(random.pick([3, 3, 3, 3, 1, 2, 0, random.u32()]))]
  if (form === 1) pieces.push(optionBytes(OPT.structured))
  if (wide) pieces.push(optionBytes(OPT.extended))
  for (let i = random.below(4); i > 0; i--) {
    const queries = Array.from({ length: random.below(4) }, () => sized(random.pick(['base:allocation', 'base:', 'qemu:dirty-bitmap:x', 'none', ':'])))
    pieces.push(
      random.pick([
        optionBytes(OPT.list),
        optionBytes(random.u32(), Buffer.alloc(random.below(100))),
        optionBytes(OPT.info, Buffer.concat([sized(name), u16be(1), u16be(3)])),
        optionBytes(random.pick([OPT.listContexts, OPT.setContexts]), Buffer.concat([sized('disk'), u32be(queries.length), ...queries])),
        optionBytes(OPT.starttls),
      ]),
    )
  }
  pieces.push(random.chance(0.9) ? optionBytes(OPT.go, Buffer.concat([sized('disk'), u16be(0)])) : optionBytes(OPT.exportName, Buffer.from(name)))
  for (let i = random.below(12); i > 0; i--) {
    const payload = Buffer.alloc(random.pick([1, 512, 4096, 70_000]), random.below(256))
    const offset = random.chance(0.5) ? random.below(SIZE) : random.pick(edges)
    const length = random.chance(0.5) ? random.below(SIZE) : random.pick(edges.filter(edge => wide || edge < 2 ** 32))
    const flags = random.chance(0.8) ? random.pick([0, FLAG.fua, FLAG.df, FLAG.one, FLAG.noHole, FLAG.fastZero]) : random.below(65536) & ~FLAG.payload
    if (random.chance(0.4)) pieces.push(requestBytes(wide, CMD.write, flags, offset, payload.length, payload))
    else
      pieces.push(
        requestBytes(wide, random.pick([CMD.read, CMD.flush, CMD.trim, CMD.cache, CMD.zeroes, CMD.status, random.below(65536)]), flags, offset, length),
      )
  }
  return pieces
}

/** Changes some bytes, drops, doubles or swaps pieces, and cuts the end off. */
function mutated(random: Random, pieces: Buffer[]): Buffer {
  for (let i = random.below(3); i > 0; i--) {
    const at = random.below(pieces.length)
    const what = random.below(3)
    if (what === 0) pieces.splice(at, 1)
    else if (what === 1) pieces.splice(at, 0, pieces[random.below(pieces.length)] ?? Buffer.alloc(0))
    else pieces.push(...pieces.splice(at, 1))
    if (pieces.length === 0) pieces.push(Buffer.alloc(1))
  }
  const bytes = Buffer.concat(pieces)
  for (let i = random.below(4); i > 0; i--) bytes[random.below(bytes.length)] = random.chance(0.5) ? random.below(256) : 0xff
  return random.chance(0.4) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes
}

test(`${ROUNDS} mutated conversations from seed ${SEED}: nobody else is hurt, nothing is left open`, { timeout: 60_000 + ROUNDS * 20 }, async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE), safe: new MemoryDevice(SIZE) })
  const safe = await served.connect()
  await safe.enter('safe')
  await safe.call({ type: CMD.write, offset: 0, payload: Buffer.alloc(SIZE, 5) })
  let memory = 0
  for (let round = 0; round < ROUNDS; round++) {
    const random = new Random(SEED + round)
    const bytes = mutated(random, conversation(random))
    const client = await Client.connect(served.socket)
    client.socket.resume()
    for (let at = 0; at < bytes.length;) {
      const count = random.chance(0.7) ? bytes.length : 1 + random.below(40)
      client.send(bytes.subarray(at, at + count))
      at += count
      if (random.chance(0.3)) await new Promise(resolve => setImmediate(resolve))
    }
    const begun = performance.now()
    if (random.chance(0.5)) {
      client.close()
    } else {
      client.socket.end() // the server answers what it has, then closes too
      await client.ended()
    }
    const where = `SEED=${SEED + round} LUNAR_FUZZ=1`
    expect((await safe.call({ type: CMD.read, offset: 4096, length: 1 })).data, where).toEqual(Buffer.from([5]))
    expect(performance.now() - begun, where).toBeLessThan(5000)
    if (round === Math.floor(ROUNDS / 3)) memory = process.memoryUsage().rss
  }
  await expect.poll(() => served.server.connections().length, { timeout: 5000 }).toBe(1)
  expect(served.exports.opened.get('disk') ?? 0).toBe(0)
  expect((await safe.call({ type: CMD.read, offset: 0, length: SIZE })).data!.equals(Buffer.alloc(SIZE, 5))).toBe(true)
  expect(process.memoryUsage().rss - memory).toBeLessThan(150 * MIB)
})

test('closing after every byte of a conversation leaves the server serving', async () => {
  const served = await serve({ disk: new MemoryDevice(SIZE) })
  const bytes = Buffer.concat([
    u32be(3),
    optionBytes(OPT.structured),
    optionBytes(OPT.setContexts, Buffer.concat([sized('disk'), u32be(1), sized('base:allocation')])),
    optionBytes(OPT.go, Buffer.concat([sized('disk'), u16be(1), u16be(3)])),
    requestBytes(false, CMD.write, FLAG.fua, 0, 600, Buffer.alloc(600, 1)),
    requestBytes(false, CMD.read, 0, 0, 4096),
    requestBytes(false, CMD.status, 0, 0, 4096),
    requestBytes(false, CMD.disc, 0, 0, 0),
  ])
  for (let cut = 0; cut <= bytes.length; cut += cut > 200 && cut < 780 ? 37 : 1) {
    const client = await Client.connect(served.socket)
    client.send(bytes.subarray(0, cut))
    client.socket.end()
    client.socket.resume()
    await client.ended()
  }
  await expect.poll(() => served.server.connections().length).toBe(0)
  expect(served.exports.open_).toBe(0)
  const client = await served.connect()
  await client.enter('disk')
  expect((await client.call({ type: CMD.read, offset: 0, length: 600 })).data).toEqual(Buffer.alloc(600, 1))
})

test('lengths of 2^32 - 1 at every edge are answered', async () => {
  const served = await serve({ disk: new MemoryDevice(6 * 2 ** 30) })
  const client = await served.connect()
  await client.enter('disk', 'structured', ['base:allocation'])
  for (const offset of [0, 1, 511, 512, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 6 * 2 ** 30 - 2 ** 32 + 1, 6 * 2 ** 30 - 2 ** 32 + 2, 6 * 2 ** 30 - 1, 6 * 2 ** 30]) {
    const inside = offset + 2 ** 32 - 1 <= 6 * 2 ** 30
    for (const type of [CMD.status, CMD.trim, CMD.zeroes, CMD.cache]) {
      const { error } = await client.call({ type, offset, length: 2 ** 32 - 1 })
      expect({ type, offset, error }).toEqual({ type, offset, error: inside ? 0 : type === CMD.zeroes ? 28 : 22 })
    }
  }
})
