import { expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { Batch, decodeBatch, encodeBatch } from '../../src/metadata/batch.ts'
import { EncodedBlock, readTail, StreamRing, type JournalBlock } from '../../src/metadata/journal.ts'
import { BLOCK, journalStreams } from '../../src/metadata/layout.ts'

const poolId = '11111111-2222-4333-8444-555555555555'
const diskId = '22222222-2222-4333-8444-555555555555'
const epoch = '33333333-2222-4333-8444-555555555555'
const otherEpoch = '44444444-2222-4333-8444-555555555555'

const block = (sequence: number, stream: 'admin' | 'data', bytes: number, of = epoch): JournalBlock => ({
  epoch: of,
  sequence,
  generation: sequence,
  stable: sequence - 1,
  timeMs: 0,
  stream,
  members: [diskId],
  batches: [new Batch().put({ hi: 1, lo: sequence }, new Uint8Array(Math.min(bytes, 900)).fill(sequence & 255))],
})

const size = 64 * 1024
const reader =
  (journal: Uint8Array) =>
  (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(journal.slice(offset, offset + length))

/** Writes blocks as the pipeline does and keeps the state of a root that follows some way behind. */
class Writer {
  readonly journal = new Uint8Array(size)
  readonly rings: { admin: StreamRing; data: StreamRing }
  sequence = 0
  start: { sequence: number; adminStart: number; dataStart: number }
  constructor() {
    const streams = journalStreams(size)
    this.rings = {
      admin: new StreamRing(streams.admin.from, streams.admin.to, streams.admin.from),
      data: new StreamRing(streams.data.from, streams.data.to, streams.data.from),
    }
    this.start = { sequence: 0, adminStart: streams.admin.from, dataStart: streams.data.from }
  }
  write(stream: 'admin' | 'data', batches: Batch[], of = epoch): number | undefined {
    const encoded = new EncodedBlock({ ...block(this.sequence + 1, stream, 0, of), batches })
    const address = this.rings[stream].place(encoded.length)
    if (address === undefined) return undefined
    this.sequence++
    this.journal.set(encoded.forDisk(poolId, diskId, address), address)
    return address
  }
  checkpoint(): void {
    const admin = this.rings.admin.mark()
    const data = this.rings.data.mark()
    this.start = { sequence: this.sequence, adminStart: admin.head, dataStart: data.head }
    this.rings.admin.release(admin)
    this.rings.data.release(data)
  }
  tail(journal = this.journal) {
    return readTail(reader(journal), diskId, { poolId, epoch, journalSize: size, ...this.start })
  }
}

test.each(Array.from({ length: 20 }, (_, seed) => seed + 1))('the tail is what was written since the root, through every wrap-around (seed %i)', async seed => {
  const random = new Random(seed)
  const writer = new Writer()
  let since: number[] = []
  for (let step = 0; step < 300; step++) {
    const stream = random.chance(0.4) ? 'admin' : 'data'
    const batches = Array.from({ length: random.between(1, 9) }, (_, i) => new Batch().put({ hi: step, lo: i }, new Uint8Array(random.below(900))))
    let address = writer.write(stream, batches)
    if (address === undefined) {
      writer.checkpoint()
      since = []
      address = writer.write(stream, batches)
    }
    expect(address, 'an empty journal has room').toBeDefined()
    since.push(writer.sequence)
    if (random.chance(0.1)) {
      writer.checkpoint()
      since = []
    }
    expect((await writer.tail()).blocks.map(found => found.sequence)).toEqual(since)
  }
})

test('every torn sector of the last block ends the tail before it (F01)', async () => {
  const writer = new Writer()
  const big = Array.from({ length: 9 }, (_, i) => new Batch().put({ hi: 1, lo: i }, new Uint8Array(900).fill(i + 1)))
  writer.write('data', big)
  const before = writer.journal.slice()
  const address = writer.write('data', big)!
  for (let sector = 0; sector * 512 < 2 * BLOCK + 512; sector++) {
    const torn = before.slice()
    torn.set(writer.journal.subarray(address, address + sector * 512), address)
    expect((await writer.tail(torn)).blocks.map(found => found.sequence)).toEqual([1])
  }
  expect((await writer.tail()).blocks.map(found => found.sequence)).toEqual([1, 2])
})

test('a block whose predecessor in the other stream is missing is not taken', async () => {
  const writer = new Writer()
  const small = [new Batch().put({ hi: 1, lo: 1 }, new Uint8Array(8))]
  writer.write('data', small)
  const lost = writer.write('admin', small)!
  writer.write('data', small)
  writer.journal.fill(0, lost, lost + BLOCK)
  expect((await writer.tail()).blocks.map(found => found.sequence)).toEqual([1])
})

test('leftovers of another epoch are no continuation', async () => {
  const writer = new Writer()
  const small = [new Batch().put({ hi: 1, lo: 1 }, new Uint8Array(8))]
  writer.write('data', small)
  writer.write('data', small, otherEpoch)
  expect((await writer.tail()).blocks.map(found => found.sequence)).toEqual([1])
})

test('a block of another disk, pool or place is not taken (F03)', async () => {
  const small = [new Batch().put({ hi: 1, lo: 1 }, new Uint8Array(8))]
  for (const [pool, disk, shift] of [
    [otherEpoch, diskId, 0],
    [poolId, otherEpoch, 0],
    [poolId, diskId, BLOCK],
  ] as const) {
    const writer = new Writer()
    const address = writer.rings.data.place(BLOCK)!
    writer.journal.set(new EncodedBlock({ ...block(1, 'data', 8), batches: small }).forDisk(pool, disk, address + shift), address)
    expect((await writer.tail()).blocks).toEqual([])
  }
})

test('a batch survives encoding, and a damaged one is refused', () => {
  const batch = new Batch()
    .put({ hi: 2 ** 40 + 1, lo: 2 ** 52 }, Uint8Array.of(1, 2, 3))
    .delete({ hi: 7, lo: 0 })
    .patch({ hi: 8, lo: 9 }, 4, Uint8Array.of(9), 64)
    .merge({ hi: 8, lo: 10 }, 5, 0b1100, 0b0100, 64)
  const bytes = new Uint8Array(batch.size + 10)
  expect(encodeBatch(batch, bytes, 5)).toBe(5 + batch.size)
  expect(decodeBatch(bytes, 5).batch.ops).toEqual(batch.ops)
  for (let i = 5; i < 5 + batch.size; i++) {
    const damaged = bytes.slice()
    damaged[i] = damaged[i]! ^ 0xff
    try {
      decodeBatch(damaged, 5)
    } catch (error) {
      expect((error as { code?: string }).code).toBe('ERR_METADATA_DAMAGED')
    }
  }
  expect(() => decodeBatch(bytes.subarray(0, batch.size), 5)).toThrow('Cannot read a journal record')
})

test('streams of a journal do not overlap', () => {
  const { admin, data } = journalStreams(16 * MIB)
  expect([admin.from, admin.to, data.to]).toEqual([0, data.from, 16 * MIB])
})
