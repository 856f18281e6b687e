import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { deferred } from '../../../src/core/base/deferred.ts'
import { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { CrashExplorer } from '../../../src/core/block/crash-states.ts'
import { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import { ParityLog, type LogTicket } from '../../../src/core/pool/parity-log.ts'
import { describeDisk } from '../../../src/core/pool/disk-record.ts'
import { PoolDisk } from '../../../src/core/pool/pool-disk.ts'
import { withoutVoided, type LogKey, type LogPiece } from '../../../src/metadata/parity-group.ts'
import { WINDOWS_LENGTH } from '../../../src/metadata/parity-window.ts'

const poolId = '01234567-89ab-4cde-8f01-23456789abcd'
const place = { segment: 3, segments: 2 }
const key: LogKey = { lun: 1, store: 2, generation: 3 }
const KIB = 1024

function poolDisk(device: SimulatedDisk, number = 0): PoolDisk {
  const diskId = `00000000-0000-4000-8000-00000000000${number}`
  const { record } = describeDisk({ disk: device, witness: false, domain: '' }, { poolId, poolName: 'tank', number, diskId, nowMs: 0, place: undefined })
  return new PoolDisk(number, record, 'normal', device)
}

const host = { poolId, flush: (disks: readonly PoolDisk[]) => Promise.all(disks.map(disk => disk.flush())).then(() => undefined) }
const newDisk = (): SimulatedDisk => new SimulatedDisk(64 * MIB)
/** A disk with an empty log. */
async function logDisk(): Promise<SimulatedDisk> {
  const device = newDisk()
  await ParityLog.create(poolDisk(device), place, poolId)
  device.resetCounters()
  return device
}
const openLog = (device: SimulatedDisk, number = 0): Promise<ParityLog> => ParityLog.open(poolDisk(device, number), place, host)
const ringAt = (device: SimulatedDisk): number => poolDisk(device).offsetOf(place.segment, WINDOWS_LENGTH)

const stamped = (length: number, stamp: number): Buffer => {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i += 4) bytes.writeUInt32LE(stamp, i)
  return bytes
}
/** New bytes of a column and the parity, which has other bytes. */
const piecesAt = (at: number, length: number, stamp: number, member = 1): LogPiece[] => [
  { member, at, bytes: stamped(length, stamp) },
  { member: 4, at, bytes: stamped(length, stamp + 0x8000_0000) },
]

interface Entry extends LogKey {
  readonly slice: number
  readonly pieces: readonly LogPiece[]
}
/** Entries as text: which bytes would be written where, by sectors. */
const textOf = ({ lun, store, generation, slice, pieces }: Entry): string =>
  `${lun}.${store}.${generation} slice ${slice}: ${pieces.map(({ member, at, bytes }) => `${member}@${at}+${bytes.length}=${Buffer.from(bytes).toString('hex', 0, 4)}${sameWords(bytes) ? '' : '!'}`).join(' ')}`
const sameWords = (bytes: Uint8Array): boolean => Buffer.compare(bytes.subarray(4), bytes.subarray(0, bytes.length - 4)) === 0

async function replay(log: ParityLog): Promise<string[]> {
  const found: string[] = []
  for await (const entry of log.replayable()) found.push(textOf(entry))
  return found
}
const afterCrash = async (device: SimulatedDisk): Promise<string[]> => replay(await openLog(device.clone()))
const idOf = ({ lun, store, generation }: LogKey): string => `${lun}.${store}.${generation}`
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const ioError = (): LunarError => new LunarError('ERR_IO', 'Cannot write to the disk', { why: 'the test says so' })

describe('a parity log', () => {
  test('gives back what was appended, in order and to the byte', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    expect(await replay(log)).toEqual([])
    const wanted: Entry[] = []
    for (let i = 0; i < 20; i++) {
      const entry = { lun: 1 + (i % 2), store: i, generation: 3, slice: i % 8, pieces: piecesAt(i * 512, 512 * (1 + (i % 9)), i + 1, i % 4) }
      wanted.push(entry)
      await log.append(entry, entry.slice, entry.pieces, [])
    }
    expect(await afterCrash(device)).toEqual(wanted.map(textOf))
  })

  test('appends that wait share a durable write', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const gate = deferred()
    device.plan = ({ kind }) => (kind === 'durable' ? { delay: gate.promise } : undefined)
    const first = log.append(key, 0, piecesAt(0, 4 * KIB, 1), [])
    await turn()
    const others = Array.from({ length: 20 }, (_, i) => log.append(key, 0, piecesAt((i + 1) * 4 * KIB, 4 * KIB, i + 2), []))
    gate.resolve()
    await Promise.all([first, ...others])
    expect(device.counters, 'two groups, and the window').toMatchObject({ durables: 3, writes: 0, flushes: 0 })
    expect(await afterCrash(device)).toHaveLength(21)
    device.plan = undefined
    const before = device.counters.durables
    await Promise.all([1, 2, 3].map(i => log.append(key, 1, piecesAt(i * MIB, 512 * KIB, i), [])))
    expect(device.counters.durables - before, 'a group is bounded, and each needs a wider window').toBe(6)
  })

  test('goes around many times, and flushes seldom', async () => {
    const device = await logDisk()
    const data = newDisk()
    const log = await openLog(device)
    const member = poolDisk(data, 1)
    const wanted: string[] = []
    for (let i = 0; i < 2500; i++) {
      const pieces = piecesAt((i % 400) * 4 * KIB, 4 * KIB, i + 1)
      const ticket = await log.append(key, 0, pieces, [member])
      wanted.push(textOf({ ...key, slice: 0, pieces }))
      await member.write(0, 0, [stamped(512, i)], 512)
      log.written(ticket)
    }
    expect(device.counters.bytesWritten).toBeGreaterThan(7 * 4 * MIB)
    expect(data.counters.flushes).toBeGreaterThan(7)
    expect(data.counters.flushes).toBeLessThan(60)
    const found = await afterCrash(device)
    expect(found.length).toBeGreaterThan(50)
    expect(found.length).toBeLessThan(350)
    expect(found).toEqual(wanted.slice(-found.length))
  })

  test('waits for room until the oldest is in place and flushed', async () => {
    const device = await logDisk()
    const data = newDisk()
    const log = await openLog(device)
    const member = poolDisk(data, 1)
    const tickets: LogTicket[] = []
    const wanted: string[] = []
    let ended = 0
    const appends: Promise<void>[] = []
    for (let i = 0; i < 12; i++) {
      const pieces = piecesAt(0, 256 * KIB, i + 1)
      wanted.push(textOf({ ...key, slice: 0, pieces }))
      appends.push(
        log.append(key, 0, pieces, [member]).then(ticket => {
          tickets.push(ticket)
          ended++
        }),
      )
      for (let turns = 0; turns < 5; turns++) await turn()
    }
    const fitted = ended
    expect(fitted).toBeGreaterThan(4)
    expect(fitted).toBeLessThan(8)
    expect(await afterCrash(device)).toEqual(wanted.slice(0, fitted))
    // Later ones are in place, the oldest is not: there is no room yet.
    for (const ticket of tickets.slice(1)) log.written(ticket)
    for (let turns = 0; turns < 5; turns++) await turn()
    expect(ended).toBe(fitted)
    const gate = deferred()
    data.plan = ({ kind }) => (kind === 'flush' ? { delay: gate.promise } : undefined)
    await member.write(0, 0, [stamped(512, 1)], 512)
    log.written(tickets[0]!)
    for (let turns = 0; turns < 5; turns++) await turn()
    expect(ended, 'the flush is under way').toBe(fitted)
    gate.resolve()
    await Promise.all(appends)
    const found = await afterCrash(device)
    expect(found).toEqual(wanted.slice(-found.length))
    expect(found.length).toBeLessThan(12)
  })

  test('many small entries that wait for room do not stop it', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const random = new Random(5)
    const open: LogTicket[] = []
    const done: Promise<void>[] = []
    for (let i = 0; i < 400; i++) {
      const length = 512 * random.between(1, 400)
      done.push(
        log.append(key, 0, piecesAt(0, length, i), []).then(ticket => {
          open.push(ticket)
        }),
      )
      if (random.chance(0.3)) await turn()
      while (open.length > 0 && random.chance(0.9)) log.written(open.shift()!)
    }
    for (let left = 400; left > 0; left--) {
      await turn()
      for (const ticket of open.splice(0)) log.written(ticket)
    }
    await Promise.all(done)
    expect(device.counters.bytesWritten).toBeGreaterThan(2 * 4 * MIB)
  })

  test('voided addresses do not come back, the rest of an entry does', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const old = piecesAt(4 * KIB, 8 * KIB, 1)
    await log.append(key, 0, old, [])
    expect(log.coversAny(key, 0, 4 * KIB)).toBe(false)
    expect(log.coversAny(key, 0, 4 * KIB + 512)).toBe(true)
    expect(log.coversAny({ ...key, generation: 4 }, 0, MIB)).toBe(false)
    expect(log.coversAny({ ...key, store: 1 }, 0, MIB)).toBe(false)
    await log.void(key, 6 * KIB, 8 * KIB)
    expect(log.coversAny(key, 6 * KIB, 8 * KIB)).toBe(false)
    expect(log.coversAny(key, 0, 6 * KIB)).toBe(true)
    expect(log.coversAny(key, 8 * KIB, MIB)).toBe(true)
    const left = withoutVoided(old, [{ from: 6 * KIB, to: 8 * KIB }])
    expect(left.map(({ at, bytes }) => [at, bytes.length])).toEqual([
      [4 * KIB, 2 * KIB],
      [8 * KIB, 4 * KIB],
      [4 * KIB, 2 * KIB],
      [8 * KIB, 4 * KIB],
    ])
    const later = piecesAt(6 * KIB, 512, 2)
    await log.append(key, 0, later, [])
    expect(await afterCrash(device)).toEqual([left, later].map(pieces => textOf({ ...key, slice: 0, pieces })))
    const before = device.counters.durables
    await log.void({ ...key, generation: 9 }, 0, MIB)
    expect(device.counters.durables, 'nothing to void').toBe(before)
    await log.void(key, 0, MIB)
    expect(await afterCrash(device)).toEqual([])
  })

  test('reset makes what was left not count; until then nothing is appended', async () => {
    const device = await logDisk()
    await (await openLog(device)).append(key, 0, piecesAt(0, 512, 1), [])
    const second = await openLog(device)
    expect(() => second.append(key, 0, piecesAt(0, 512, 2), [])).toThrow('before it is reset')
    expect(device.counters.durables).toBe(1)
    await second.reset()
    expect(await afterCrash(device)).toEqual([])
    const pieces = piecesAt(0, 512, 3)
    await second.append(key, 0, pieces, [])
    expect(await afterCrash(device)).toEqual([textOf({ ...key, slice: 0, pieces })])
  })

  test('what is left is made durable before it is replayed', async () => {
    const device = await logDisk()
    await (await openLog(device)).append(key, 0, piecesAt(0, 512, 1), [])
    const again = await openLog(device)
    expect(device.counters.flushes).toBe(0)
    await replay(again)
    expect(device.counters.flushes).toBe(1)
  })

  test('drained, it holds nothing', async () => {
    const device = await logDisk()
    const data = newDisk()
    const log = await openLog(device)
    const member = poolDisk(data, 1)
    await log.drain()
    expect(device.counters.durables).toBe(0)
    const ticket = await log.append(key, 0, piecesAt(0, 512, 1), [member])
    let drained = false
    const draining = log.drain().then(() => {
      drained = true
    })
    await turn()
    expect(drained).toBe(false)
    await member.write(0, 0, [stamped(512, 1)], 512)
    log.written(ticket)
    await draining
    expect(data.counters.flushes).toBe(1)
    expect(log.coversAny(key, 0, MIB)).toBe(false)
    expect(await afterCrash(device)).toEqual([])
  })

  test('draining does not drop what an earlier owner left', async () => {
    const device = await logDisk()
    const pieces = piecesAt(0, 512, 1)
    await (await openLog(device)).append(key, 0, pieces, [])
    await (await openLog(device)).drain()
    expect(await afterCrash(device)).toEqual([textOf({ ...key, slice: 0, pieces })])
  })

  test('a durable write that fails ends it: who waits is refused, and what was durable stays', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const pieces = piecesAt(0, 512, 1)
    await log.append(key, 0, pieces, [])
    const gate = deferred()
    device.plan = ({ kind }) => (kind === 'durable' ? { delay: gate.promise, error: ioError() } : undefined)
    const waiting = [log.append(key, 0, piecesAt(512, 512, 2), []), turn().then(() => log.append(key, 0, piecesAt(1024, 512, 3), []))]
    const results = Promise.allSettled(waiting)
    await turn()
    await turn()
    gate.resolve()
    for (const result of await results) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_IO' } })
    device.plan = undefined
    expect(log.isDead).toBe(true)
    await expect(log.append(key, 0, pieces, [])).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(await afterCrash(device)).toEqual([textOf({ ...key, slice: 0, pieces })])
  })

  test('a host that refuses memory ends one append, not the log', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    device.plan = ({ kind }) => (kind === 'durable' ? new LunarError('ERR_HOST_LIMIT', 'Cannot write', { why: 'no descriptor is left' }) : undefined)
    await expect(log.append(key, 0, piecesAt(0, 512, 1), [])).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    device.plan = undefined
    const pieces = piecesAt(512, 512, 2)
    await log.append(key, 0, pieces, [])
    expect(await afterCrash(device)).toEqual([textOf({ ...key, slice: 0, pieces })])
  })
})

describe('opening a parity log', () => {
  /** Bytes that opening reads of the ring, and what is in it. */
  async function opened(device: SimulatedDisk): Promise<{ bytes: number; found: string[] }> {
    const copy = device.clone()
    copy.resetCounters()
    const log = await openLog(copy)
    return { bytes: copy.counters.bytesRead - WINDOWS_LENGTH, found: await replay(log) }
  }

  test('reads little when little counts, and when nothing does', async () => {
    const device = await logDisk()
    expect(await opened(device)).toEqual({ bytes: 64 * KIB, found: [] })
    const log = await openLog(device)
    const member = poolDisk(newDisk(), 1)
    let last: LogTicket | undefined
    for (let i = 0; i < 700; i++) {
      if (last && i % 100 > 0) log.written(last)
      const kept = i % 100 === 99
      last = await log.append(key, 0, piecesAt((i % 400) * 4 * KIB, 4 * KIB, i + 1), [member])
      if (kept) log.written(last)
      if (i % 50 === 0) {
        const { bytes, found } = await opened(device)
        // Each entry is a group of three blocks, which is read to be found, to be judged and to be replayed (twice).
        const looked = bytes - found.length * 12 * KIB * 3
        expect(looked).toBeLessThanOrEqual(i <= 150 ? found.length * 12 * KIB * 2 + 64 * KIB : 3 * MIB)
      }
    }
    expect(device.counters.bytesWritten, 'it goes around').toBeGreaterThan(2 * 4 * MIB)
    await log.drain()
    const { bytes, found } = await opened(device)
    expect(found).toEqual([])
    expect(bytes).toBeLessThanOrEqual(128 * KIB)
  })

  test('reads all of it when a window is torn, and loses nothing', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const texts: string[] = []
    const append = async (i: number): Promise<void> => {
      const pieces = piecesAt(i * 8 * KIB, 8 * KIB, i + 1)
      texts.push(textOf({ ...key, slice: 0, pieces }))
      await log.append(key, 0, pieces, [])
    }
    for (let i = 0; i < 60; i++) await append(i)
    const at = ringAt(device) - WINDOWS_LENGTH
    for (const copies of [[0], [1], [0, 1]]) {
      const torn = device.clone()
      for (const copy of copies) await torn.write(at + copy * 4 * KIB, Buffer.alloc(512, 7))
      const { bytes, found } = await opened(torn)
      expect(found).toEqual(texts)
      expect(bytes).toBeGreaterThan(4 * MIB - WINDOWS_LENGTH)
      // Who empties it writes the window anew.
      const again = await openLog(torn)
      await again.reset()
      again.written(await again.append(key, 0, piecesAt(0, 512, 1), []))
      await again.drain()
      expect(await opened(torn)).toMatchObject({ found: [] })
    }
  })

  test('a window that cannot be written is written before anything else', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const refuse = new LunarError('ERR_HOST_LIMIT', 'Cannot write', { why: 'no descriptor is left' })
    const large = piecesAt(0, 40 * KIB, 1)
    device.plan = ({ kind, length }) => (kind === 'durable' && length === 4 * KIB ? refuse : undefined)
    await expect(log.append(key, 0, large, [])).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    const small = piecesAt(0, 512, 1)
    await expect(log.append(key, 0, small, [])).rejects.toMatchObject({ code: 'ERR_HOST_LIMIT' })
    device.plan = undefined
    await log.append(key, 0, small, [])
    expect(await afterCrash(device)).toEqual([textOf({ ...key, slice: 0, pieces: small })])
  })
})

describe('what a crash leaves of a parity log', () => {
  /** Two durable entries, and the bytes that a third one changed. */
  async function threeEntries(): Promise<{ before: SimulatedDisk; after: Buffer; old: Buffer; texts: string[]; at: number }> {
    const device = await logDisk()
    const log = await openLog(device)
    const texts: string[] = []
    let before = device.clone()
    for (let i = 0; i < 3; i++) {
      before = device.clone()
      const pieces = piecesAt(i * 4 * KIB, 4 * KIB, i + 1)
      texts.push(textOf({ ...key, slice: 0, pieces }))
      await log.append(key, 0, pieces, [])
    }
    const at = ringAt(device) + 2 * 12 * KIB
    const after = Buffer.alloc(12 * KIB)
    await device.read(at, after)
    const old = Buffer.alloc(12 * KIB)
    for (let i = 0; i < old.length; i++) old[i] = i * 31
    await before.write(at, old)
    return { before, after, old, texts, at }
  }

  test('a group that is torn at any sector, or lacks any, was not written', async () => {
    const { before, after, old, texts, at } = await threeEntries()
    const random = new Random(11)
    const masks = Array.from({ length: 24 }, (_, i) => i).flatMap(edge => [
      Array.from({ length: 24 }, (_, i) => i < edge),
      Array.from({ length: 24 }, (_, i) => i >= edge),
      Array.from({ length: 24 }, (_, i) => i !== edge),
    ])
    for (let i = 0; i < 50; i++) masks.push(Array.from({ length: 24 }, () => random.chance(0.5)))
    for (const mask of masks) {
      const torn = before.clone()
      const bytes = Buffer.from(old)
      mask.forEach((there, i) => there && after.copy(bytes, i * 512, i * 512, (i + 1) * 512))
      await torn.write(at, bytes)
      expect(await replay(await openLog(torn)), mask.map(Number).join('')).toEqual(mask.every(Boolean) ? texts : texts.slice(0, 2))
    }
  })

  test('a damaged group that should count hides what lies before it', async () => {
    const { before, texts, at } = await threeEntries()
    await before.write(at - 24 * KIB, Buffer.alloc(512))
    const log = await openLog(before)
    expect(log.damaged).toBe(true)
    expect(await replay(log)).toEqual(texts.slice(1, 2))
    await log.reset()
    const again = await openLog(before)
    expect({ damaged: again.damaged, left: await replay(again) }).toEqual({ damaged: false, left: [] })
  })

  test('groups in the data, of another disk, or in another place are none', async () => {
    const device = await logDisk()
    const log = await openLog(device)
    const texts: string[] = []
    const append = async (pieces: LogPiece[]): Promise<void> => {
      texts.push(textOf({ ...key, slice: 0, pieces }))
      await log.append(key, 0, pieces, [])
    }
    for (let i = 0; i < 5; i++) await append(piecesAt(0, 4 * KIB, i))
    const copy = Buffer.alloc(12 * KIB)
    await device.read(ringAt(device) + 48 * KIB, copy)
    await append([{ member: 0, at: 0, bytes: copy }])
    await device.write(ringAt(device) + MIB, copy)
    expect(await afterCrash(device)).toEqual(texts)
    expect(await replay(await openLog(device.clone(), 1))).toEqual([])
  })

  test.each(Array.from({ length: 8 }, (_, i) => i + 1))('random lives, seed %i: what a list says', async seed => {
    const random = new Random(seed)
    let device = await logDisk()
    const data = newDisk()
    const member = poolDisk(data, 1)
    let stamp = 0
    for (let life = 0; life < 4; life++) {
      device = device.clone()
      const tape = new Tape([device])
      const log = await openLog(device)
      await log.reset()
      /** Entries and voids in their order; `written` says whether the tail may have passed it. */
      const list: { key: LogKey; pieces: LogPiece[]; voids?: { from: number; to: number }; ticket: LogTicket | undefined; written: boolean }[] = []
      const write = (entry: (typeof list)[number]): void => {
        if (entry.ticket && !entry.written) log.written(entry.ticket)
        entry.written = true
      }
      const randomKey = (): LogKey => ({ lun: random.between(1, 2), store: random.below(2), generation: random.between(1, 2) })
      const randomPieces = (): LogPiece[] => piecesAt(512 * random.below(64), 512 * random.between(1, random.chance(0.2) ? 500 : 8), ++stamp, random.below(4))
      const count = random.pick([0, 5, 40, 100])
      for (let i = 0; i < count; i++) {
        if (random.chance(0.25)) {
          const voided = randomKey()
          const from = 512 * random.below(64)
          const to = from + 512 * random.between(1, 20)
          const covered = log.coversAny(voided, from, to)
          await log.void(voided, from, to)
          expect(log.coversAny(voided, from, to)).toBe(false)
          if (covered) list.push({ key: voided, pieces: [], voids: { from, to }, ticket: undefined, written: true })
        } else {
          const group = Array.from({ length: random.pick([1, 1, 4]) }, () => ({ key: randomKey(), pieces: randomPieces() }))
          // What is not in place yet fits into less than half of the ring.
          for (const entry of list.slice(0, Math.max(0, list.length - 2))) write(entry)
          const tickets = await Promise.all(group.map(entry => log.append(entry.key, 0, entry.pieces, [member])))
          group.forEach((entry, g) => list.push({ ...entry, ticket: tickets[g], written: false }))
        }
        const oldest = list.find(entry => !entry.written)
        if (oldest && random.chance(0.8)) write(oldest)
      }
      const covered = (where: LogKey, sector: number): boolean => log.coversAny(where, sector * 512, sector * 512 + 512)
      const live = new Set<string>()
      for (const lun of [1, 2])
        for (const store of [0, 1])
          for (const generation of [1, 2])
            for (let sector = 0; sector < 600; sector++)
              if (covered({ lun, store, generation }, sector)) live.add(`${idOf({ lun, store, generation })}.${sector}`)
      // Some are under way when the crash comes.
      const inFlight = random.pick([0, 0, 1, 3])
      device.plan = ({ kind }) => (kind === 'durable' ? { delay: deferred().promise } : undefined)
      for (let i = 0; i < inFlight; i++) {
        const entry = { key: randomKey(), pieces: randomPieces() }
        void log.append(entry.key, 0, entry.pieces, [member])
        list.push({ ...entry, ticket: undefined, written: false })
      }
      await turn()
      tape.stop()
      const acknowledged = list.length - inFlight
      device = new CrashExplorer(tape).at(tape.length).state(random).disks[0]!
      const after = await openLog(device)
      const found: string[] = []
      const replayed = new Set<string>()
      for await (const entry of after.replayable()) {
        found.push(textOf(entry))
        for (const { at, bytes } of entry.pieces)
          for (let sector = at / 512; sector < (at + bytes.length) / 512; sector++) replayed.add(`${idOf(entry)}.${sector}`)
      }
      /** What is left of each entry when so many are durable; the tail says from which one on they replay. */
      const leftOf = (end: number): string[] =>
        list.slice(0, end).map(({ key: of, pieces }, i) => {
          const voids = list.slice(i + 1, end).flatMap(other => (other.voids && idOf(other.key) === idOf(of) ? [other.voids] : []))
          const left = withoutVoided(pieces, voids)
          return left.length > 0 ? textOf({ ...of, slice: 0, pieces: left }) : ''
        })
      const unwritten = list.findIndex(entry => !entry.written)
      const possible = [acknowledged, list.length].some(end => {
        const left = leftOf(end)
        // Everything that is not known to be in place, and as much of what lies before it as the tail has not passed.
        const must = left.slice(unwritten < 0 ? list.length : unwritten).filter(text => text !== '')
        const may = left.filter(text => text !== '')
        return found.length >= must.length && found.join('\n') === may.slice(may.length - found.length).join('\n')
      })
      expect(possible, `${found.length} entries came back`).toBe(true)
      if (inFlight === 0) expect([...replayed].sort()).toEqual([...live].sort())
      else for (const address of live) expect(replayed).toContain(address)
    }
  })
})
