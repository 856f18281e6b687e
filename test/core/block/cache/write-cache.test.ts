import { describe, expect, test } from 'vitest'
import type { Clock } from '../../../../src/core/base/clock.ts'
import { deferred, type Deferred } from '../../../../src/core/base/deferred.ts'
import { Random } from '../../../../src/core/base/random.ts'
import { KIB, MIB } from '../../../../src/core/base/units.ts'
import { WriteCache, type CachedDevice } from '../../../../src/core/block/cache/write-cache.ts'
import type { Extent } from '../../../../src/core/block/device.ts'
import { ioError } from '../../../support/io-error.ts'

const PAGE = 4 * KIB

/** A device of 8 MiB whose slices of 1 MiB are bound by writing them, and that waits or fails when it is told to. */
class Below implements CachedDevice {
  readonly size = 8 * MIB
  readonly blockSize = 512
  readonly bytes = new Uint8Array(this.size)
  readonly bound = new Set<number>()
  /** Of writes, in order: offset and length. */
  readonly written: [number, number][] = []
  flushes = 0
  broken = false
  gate: Deferred<void> | undefined
  turns: (() => Promise<unknown>) | undefined

  isBound(offset: number, length: number): boolean {
    for (let slice = Math.floor(offset / MIB); slice * MIB < offset + length; slice++) if (!this.bound.has(slice)) return false
    return true
  }
  tryRead(): boolean {
    return false
  }
  tryWrite(): boolean {
    return false
  }
  private async passed(): Promise<void> {
    await this.turns?.()
    await this.gate?.promise
    if (this.broken) throw ioError('write')
  }
  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.turns?.()
    into.set(this.bytes.subarray(offset, offset + into.length))
  }
  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) await this.read(offset, part)
  }
  async write(offset: number, data: Uint8Array): Promise<void> {
    this.written.push([offset, data.length])
    await this.passed()
    for (let slice = Math.floor(offset / MIB); slice * MIB < offset + data.length; slice++) this.bound.add(slice)
    this.bytes.set(data, offset)
  }
  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, Buffer.concat(parts))
  }
  flush(): Promise<void> {
    this.flushes++
    return Promise.resolve()
  }
  /** Whole slices go, as those of a LUN do. */
  async trim(offset: number, length: number): Promise<void> {
    await this.passed()
    for (let slice = Math.ceil(offset / MIB); (slice + 1) * MIB <= offset + length; slice++) {
      this.bound.delete(slice)
      this.bytes.fill(0, slice * MIB, (slice + 1) * MIB)
    }
  }
  async zero(offset: number, length: number): Promise<void> {
    await this.trim(offset, length)
    this.bytes.fill(0, offset, offset + length)
  }
  extents(offset: number, length: number): Promise<Extent[]> {
    const extents: Extent[] = []
    for (let at = offset; at < offset + length;) {
      const end = Math.min(offset + length, (Math.floor(at / MIB) + 1) * MIB)
      extents.push({ offset: at, length: end - at, kind: this.bound.has(Math.floor(at / MIB)) ? 'data' : 'hole' })
      at = end
    }
    return Promise.resolve(extents)
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** Time that stands still until a test lets it go on. */
class Pauses implements Clock {
  private readonly sleeping = new Set<() => void>()
  wallMs(): number {
    return 0
  }
  monotonicMs(): number {
    return 0
  }
  pause(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      this.sleeping.add(resolve)
      signal?.addEventListener('abort', () => {
        resolve()
      })
    })
  }
  pass(): void {
    for (const wake of [...this.sleeping]) wake()
    this.sleeping.clear()
  }
}

function made(limit = MIB): { below: Below; cache: WriteCache; clock: Pauses; failures: unknown[] } {
  const below = new Below()
  for (let slice = 0; slice < 8; slice++) below.bound.add(slice)
  const clock = new Pauses()
  const failures: unknown[] = []
  return { below, clock, failures, cache: new WriteCache(below, limit, clock, error => failures.push(error)) }
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

async function readBack(cache: WriteCache, offset: number, length: number): Promise<Uint8Array> {
  const into = filled(length, 0xee)
  await cache.read(offset, into)
  return into
}

describe('a write-back cache', () => {
  test('keeps small writes, reads them, and writes neighbours down as one before it flushes', async () => {
    const { below, cache } = made()
    for (const page of [3, 1, 2, 9]) expect(cache.tryWrite(page * PAGE, filled(PAGE, page))).toBe(true)
    cache.tryWrite(4 * PAGE, filled(512, 4))
    expect(below.written).toEqual([])
    expect(await readBack(cache, PAGE, 3 * PAGE + 1024)).toEqual(
      new Uint8Array([...filled(PAGE, 1), ...filled(PAGE, 2), ...filled(PAGE, 3), ...filled(512, 4), ...filled(512, 0)]),
    )
    await cache.flush()
    expect(below.written).toEqual([
      [PAGE, 3 * PAGE + 512],
      [9 * PAGE, PAGE],
    ])
    expect(below.flushes).toBe(1)
    expect(cache.used).toBe(0)
    await cache.flush()
    expect(below.written).toHaveLength(2)
    expect(below.flushes).toBe(2)
  })

  test('keeps nothing that takes space, nothing long, and nothing behind the end', async () => {
    const { below, cache } = made()
    below.bound.delete(1)
    expect(cache.tryWrite(MIB - PAGE, filled(2 * PAGE, 1))).toBe(false)
    expect(cache.tryWrite(8 * MIB, filled(PAGE, 1))).toBe(false)
    expect(cache.tryWrite(0, filled(257 * KIB, 1))).toBe(false)
    await cache.write(MIB - PAGE, filled(2 * PAGE, 1))
    expect(below.written).toEqual([[MIB - PAGE, 2 * PAGE]])
    expect(cache.tryWrite(MIB, filled(PAGE, 2))).toBe(true)
  })

  test('writes back what nobody asks for after a while, and then needs no time any more', async () => {
    const { below, cache, clock } = made()
    cache.tryWrite(0, filled(PAGE, 1))
    clock.pass()
    await settled()
    expect(below.written).toEqual([[0, PAGE]])
    cache.tryWrite(0, filled(PAGE, 2))
    clock.pass()
    await settled()
    expect(below.bytes[0]).toBe(2)
  })

  test('has never more than its limit: writes wait for room, and are written in the order in which they came', async () => {
    const { below, cache } = made()
    below.gate = deferred()
    const writes = Array.from({ length: 2000 }, (_, i) => cache.write((i % 700) * PAGE, filled(PAGE, i % 251)))
    await settled()
    expect(cache.used).toBe(MIB)
    const last = Promise.all(writes)
    below.gate.resolve()
    below.gate = undefined
    await last
    expect(cache.used).toBeLessThanOrEqual(MIB)
    await cache.flush()
    for (let page = 0; page < 700; page++) expect(below.bytes[page * PAGE]).toBe((page < 600 ? page + 1400 : page + 700) % 251)
  })

  test('a write of what is being written back comes after it, and a flush waits for both', async () => {
    const { below, cache } = made()
    cache.tryWrite(0, filled(PAGE, 1))
    below.gate = deferred()
    const first = cache.flush()
    await settled()
    expect(cache.tryWrite(512, filled(512, 2))).toBe(true)
    const long = cache.write(1024, filled(300 * KIB, 3))
    const second = cache.flush()
    await settled()
    expect(below.written).toEqual([[0, PAGE]])
    expect((await readBack(cache, 0, 1536)).filter((_, i) => i % 512 === 0)).toEqual(new Uint8Array([1, 2, 1]))
    below.gate.resolve()
    await Promise.all([first, long, second])
    expect([0, 512, 1024, 300 * KIB + 512].map(at => below.bytes[at])).toEqual([1, 2, 3, 3])
    expect(cache.used).toBe(0)
  })

  test('what cannot be written back is kept, read, told once, and written by a later flush; nothing new is kept meanwhile', async () => {
    const { below, cache, clock, failures } = made()
    cache.tryWrite(0, filled(PAGE, 1))
    cache.tryWrite(2 * MIB, filled(PAGE, 2))
    below.broken = true
    clock.pass()
    await settled()
    await expect(cache.flush()).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(failures).toHaveLength(1)
    expect(below.flushes).toBe(0)
    expect(cache.shown.about).toContain('which fails')
    expect(cache.tryWrite(4 * MIB, filled(PAGE, 3))).toBe(false)
    await expect(cache.write(512, filled(512, 3))).rejects.toMatchObject({ code: 'ERR_IO' })
    await expect(cache.end()).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(await readBack(cache, 0, PAGE)).toEqual(filled(PAGE, 1))
    below.broken = false
    await cache.write(512, filled(512, 4))
    await cache.flush()
    expect([0, 512, 1024, 2 * MIB].map(at => below.bytes[at])).toEqual([1, 4, 1, 2])
    expect(cache.tryWrite(4 * MIB, filled(PAGE, 3))).toBe(true)
    expect(failures).toHaveLength(1)
  })

  test('what is zeroed goes, also when it is written meanwhile; a trim takes what it took below', async () => {
    const { below, cache } = made()
    for (const slice of [0, 1, 2]) cache.tryWrite(slice * MIB, filled(2 * PAGE, 1))
    below.gate = deferred()
    const zeroing = cache.zero(PAGE, MIB)
    await settled()
    expect(cache.tryWrite(MIB, filled(PAGE, 9))).toBe(false)
    const behind = cache.write(MIB, filled(512, 9))
    const trimming = cache.trim(MIB + PAGE, 2 * MIB)
    below.gate.resolve()
    await Promise.all([zeroing, behind, trimming])
    expect((await readBack(cache, 0, 2 * PAGE)).filter((_, i) => i % PAGE === 0)).toEqual(new Uint8Array([1, 0]))
    expect((await readBack(cache, MIB, 2 * PAGE)).filter((_, i) => i % PAGE === 0)).toEqual(new Uint8Array([9, 1]))
    expect(await readBack(cache, 2 * MIB, 2 * PAGE)).toEqual(filled(2 * PAGE, 0))
    expect(below.bound.has(2)).toBe(false)
    await cache.flush()
    expect(below.bound.has(2)).toBe(false)
    below.broken = true
    cache.tryWrite(0, filled(512, 5))
    await expect(cache.zero(0, MIB)).rejects.toMatchObject({ code: 'ERR_IO' })
    expect((await readBack(cache, 0, 512))[0]).toBe(5)
  })

  test('ends when all is below, and then hands everything on', async () => {
    const { below, cache } = made()
    cache.tryWrite(0, filled(PAGE, 1))
    await cache.end()
    expect(below.bytes[0]).toBe(1)
    expect(cache.tryWrite(0, filled(PAGE, 2))).toBe(false)
    await cache.write(0, filled(PAGE, 2))
    expect(below.written).toHaveLength(2)
  })

  // Each of four has sectors of its own, beside those of the others, and so knows what is there.
  test.each(Array.from({ length: 8 }, (_, i) => i + 1))('any interleaving of requests reads what was written, seed %i', async seed => {
    const random = new Random(seed)
    const { below, cache, clock } = made()
    below.turns = async () => {
      for (let turns = random.below(3); turns > 0; turns--) await settled()
    }
    const OWN = 256

    const shown = new Map<number, number>()
    let stamp = 1
    const sectorOf = (writer: number, i: number): number => (i * 4 + writer) * 7
    const live = async (writer: number): Promise<void> => {
      for (let step = 0; step < 120; step++) {
        const dice = random.below(100)
        const at = sectorOf(writer, random.below(OWN)) * 512
        if (dice < 50) {
          const value = stamp++
          const data = Buffer.alloc(512)
          data.writeUInt32LE(value)
          await cache.write(at, data)
          shown.set(at, value)
        } else if (dice < 60) {
          await cache.zero(at, 512)
          shown.set(at, 0)
        } else if (dice < 63) await cache.flush()
        else if (dice < 66) clock.pass()
        else {
          const found = Buffer.alloc(512)
          await cache.read(at, found)
          expect(found.readUInt32LE(), `sector ${at / 512}`).toBe(shown.get(at) ?? 0)
        }
        if (random.chance(0.3)) await settled()
      }
    }
    await Promise.all([0, 1, 2, 3].map(live))
    await cache.flush()
    for (const [at, value] of shown) expect(Buffer.from(below.bytes.buffer, at, 4).readUInt32LE()).toBe(value)
    expect(cache.used).toBe(0)
  })
})
