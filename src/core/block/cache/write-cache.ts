/** The write-back cache of a volume (features.md B13): keeps small writes in memory, and writes them down together. */
import { deferred, type Deferred } from '../../base/deferred.ts'
import type { Clock } from '../../base/clock.ts'
import { inLanes } from '../../base/lanes.ts'
import { done, settle } from '../../base/settle.ts'
import { formatSize } from '../../base/units.ts'
import { turn } from '../../base/turn.ts'
import { BlockLayer, YIELD_EVERY, type BlockDevice, type FastDevice } from '../device.ts'
import type { Layered, ShownLayer } from '../layers.ts'
import { isInside } from '../range.ts'
import { RangeLock } from '../range-lock.ts'
import { CACHE_SLICE, CachedSlice, pagesOf } from './cached-slice.ts'
import { PagePool } from './page-pool.ts'

/** Longer writes go straight down. Bytes. */
const WRITE_MAX = 256 * 1024
/** A slice is written back at most two of these after its first write, also when nobody asks. Milliseconds. */
const LINGER_MS = 1000
/** Slices that are written back at a time, and in one go while the cache is more than half full. */
const LANES = 8
const PRESSED_SLICES = 4 * LANES

/** Bytes from the start of the device. */
interface Range {
  readonly at: number
  readonly end: number
}

/** What a cache needs below it. */
export interface CachedDevice extends BlockDevice, FastDevice {
  /** All of a range has its space, durably: a write there never meets a full pool. A promise when it has to be looked up. */
  isBound(offset: number, length: number): boolean | Promise<boolean>
}

/**
 * A device as its contract says, with writes that are volatile until `flush`: then all of them are written, and what lies below is flushed. Writes that
 * are not small, or would take space, are not kept.
 *
 * One slice of 1 MiB is written back at a time by one; whoever has its lock may *freeze* what is held of it. So what is written below in one place is
 * written in the order in which it came.
 *
 * What cannot be written back stays, is read, and is tried again by every flush, which fails while it fails; meanwhile nothing new is kept.
 */
export class WriteCache extends BlockLayer implements FastDevice, Layered {
  /** In the order of their first dirty page. */
  private readonly slices = new Map<number, CachedSlice>()
  /** Of slices. */
  private readonly locks = new RangeLock()
  /** Ranges that lose their space now: what is written there goes straight down, behind it. */
  private readonly leaving = new Set<Range>()
  private readonly pages: PagePool
  /** Slices that could not be written back. */
  private readonly failing = new Set<CachedSlice>()
  /** Where slices are gathered. */
  private readonly buffers: Uint8Array[] = []
  /** Writes below since the event loop had a turn: they may have been made at once. */
  private writes = 0
  /** Nothing is kept any more. */
  private ended = false
  private age = 0
  private working = false
  private sleeping: AbortController | undefined
  /** Who waits for room. */
  private room: Deferred<void> | undefined

  /**
   * @param limit bytes of memory, a multiple of 4 KiB
   * @param failed is told when something could not be written back that could before
   */
  constructor(
    private readonly device: CachedDevice,
    limit: number,
    private readonly clock: Clock,
    private readonly failed: (error: unknown) => void,
  ) {
    super(device)
    this.pages = new PagePool(limit)
  }

  get shown(): ShownLayer {
    const held = this.pages.used === 0 ? '' : `; ${formatSize(this.pages.used)} to be written`
    const failing = this.failing.size === 0 ? '' : ', which fails'
    return { layer: 'cache', about: `write-back, ${formatSize(this.limit)} at most${held}${failing}` }
  }
  get below(): BlockDevice {
    return this.device
  }

  /** Bytes of memory in use, and what may be. */
  get used(): number {
    return this.pages.used
  }
  get limit(): number {
    return this.pages.limit
  }
  set limit(bytes: number) {
    this.pages.limit = bytes
    if (this.isPressed) this.work()
    this.changed()
  }

  // ---- at once

  tryRead(offset: number, into: Uint8Array): boolean {
    if (!this.touches(offset, into.length)) return this.device.tryRead(offset, into)
    if (!isInside(this.size, this.blockSize, offset, into.length)) return false
    if (!this.covers(offset, into.length) && !this.device.tryRead(offset, into)) return false
    this.look(offset, into.length, (at, bytes) => {
      into.set(bytes, at - offset)
    })
    return true
  }

  /** Keeps a write, when there is room for it and it takes no space below. */
  tryWrite(offset: number, data: Uint8Array): boolean {
    const { length } = data
    if (!this.takes(offset, length) || this.device.isBound(offset, length) !== true || !this.pages.hasRoom(this.missing(offset, length))) return false
    this.some(offset, length, (found, at, size, index) => {
      const slice = found ?? new CachedSlice(this.pages)
      if (!found) this.slices.set(index, slice)
      if (!slice.isDirty) slice.age = this.age
      const from = index * CACHE_SLICE + at - offset
      slice.put(at, data.subarray(from, from + size))
      return false
    })
    if (!this.working || this.isPressed) this.work()
    return true
  }

  /** Writes like this are kept now, where their space is bound and there is room. */
  private takes(offset: number, length: number): boolean {
    if (this.ended || this.failing.size > 0 || length === 0 || length > WRITE_MAX || !isInside(this.size, this.blockSize, offset, length)) return false
    for (const range of this.leaving) if (offset < range.end && range.at < offset + length) return false
    return true
  }

  /** Pages that keeping a write would take. */
  private missing(offset: number, length: number): number {
    let pages = 0
    this.some(offset, length, (slice, at, size) => {
      pages += slice ? slice.missing(at, size) : pagesOf(at, size)
      return false
    })
    return pages
  }

  // ---- reading

  override read(offset: number, into: Uint8Array): Promise<void> {
    if (!this.touches(offset, into.length)) return this.device.read(offset, into)
    return this.tryRead(offset, into) ? done : this.readOver(offset, into)
  }

  /** What is held when the read begins is what it finds: by its end it may be below, and may not have been when that was read. */
  private async readOver(offset: number, into: Uint8Array): Promise<void> {
    const held: { readonly at: number; readonly bytes: Uint8Array }[] = []
    this.look(offset, into.length, (at, bytes) => held.push({ at: at - offset, bytes: bytes.slice() }))
    await this.device.read(offset, into)
    for (const { at, bytes } of held) into.set(bytes, at)
  }

  override async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    const reads = parts.map(part => {
      const read = this.read(at, part)
      at += part.length
      return read
    })
    await settle(reads)
  }

  // ---- writing

  override write(offset: number, data: Uint8Array): Promise<void> {
    return this.tryWrite(offset, data) ? done : this.writeLater(offset, data)
  }

  override async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, parts.length === 1 ? parts[0]! : Buffer.concat(parts))
  }

  private async writeLater(offset: number, data: Uint8Array): Promise<void> {
    while (this.takes(offset, data.length) && (await this.device.isBound(offset, data.length))) {
      if (this.tryWrite(offset, data)) return
      // What is in the way may be something else by now; waiting for room is for nothing else.
      if (this.pages.hasRoom(this.missing(offset, data.length))) break
      this.work()
      await (this.room ??= deferred()).promise
    }
    if (!this.some(offset, data.length, slice => slice !== undefined)) return this.device.write(offset, data)
    await this.over(offset, data.length, async held => {
      await this.device.write(offset, data)
      return held
    })
  }

  /** What is held of a range goes where nothing is below any more; elsewhere it reads as what it held. */
  override async trim(offset: number, length: number): Promise<void> {
    await this.losingSpace(offset, length, async frozen => {
      await this.device.trim(offset, length)
      const gone: Range[] = []
      for (const { at, end } of frozen)
        for (const extent of await this.device.extents(at, end - at))
          if (extent.kind === 'hole') gone.push({ at: extent.offset, end: extent.offset + extent.length })
      return gone
    })
  }

  override async zero(offset: number, length: number): Promise<void> {
    await this.losingSpace(offset, length, async frozen => {
      await this.device.zero(offset, length)
      return frozen
    })
  }

  /**
   * Does below what takes the space of a range away. @param act gets the parts of the range of which something is held, and returns those that
   * read otherwise now
   */
  async losingSpace(offset: number, length: number, act: (held: readonly Range[]) => Promise<readonly Range[]>): Promise<void> {
    const range = { at: offset, end: offset + length }
    this.leaving.add(range)
    try {
      await this.over(offset, length, act)
    } finally {
      this.leaving.delete(range)
    }
  }

  /** Does below what overwrites a range, between what was kept before and what is kept afterwards. What is held of it goes when that has succeeded. */
  private async over(offset: number, length: number, act: (held: readonly Range[]) => Promise<readonly Range[]>): Promise<void> {
    if (length === 0) return void (await act([]))
    const first = Math.floor(offset / CACHE_SLICE)
    const last = Math.ceil((offset + length) / CACHE_SLICE)
    const release = await this.locks.lock(first * CACHE_SLICE, (last - first) * CACHE_SLICE, 'exclusive')
    const frozen = this.between(first, last)
    for (const index of frozen) this.slices.get(index)!.freeze()
    try {
      const held = frozen.map(index => ({ at: Math.max(offset, index * CACHE_SLICE), end: Math.min(offset + length, (index + 1) * CACHE_SLICE) }))
      for (const { at, end } of await act(held)) {
        const index = Math.floor(at / CACHE_SLICE)
        this.slices.get(index)!.written(at - index * CACHE_SLICE, end - index * CACHE_SLICE)
      }
    } finally {
      for (const index of frozen) this.settled(index)
      release()
    }
  }

  /** Slices of which something is held, in order. */
  private between(first: number, last: number): number[] {
    if (last - first > this.slices.size) return [...this.slices.keys()].filter(index => index >= first && index < last).sort((a, b) => a - b)
    return Array.from({ length: last - first }, (_, i) => first + i).filter(index => this.slices.has(index))
  }

  // ---- writing back

  /** All that was kept before this call is below, and on stable storage. */
  override async flush(): Promise<void> {
    if (this.slices.size > 0) await this.drain()
    await this.device.flush()
  }

  /** The same without the flush. @throws LunarError of the first write that failed; all were tried, and what failed is kept */
  async drain(): Promise<void> {
    await this.writeBackAll([...this.slices.keys()])
    // What was kept back for what failed goes on.
    if (this.slices.size > 0) this.work()
  }

  /** Keeps nothing any more: everything is below when it resolves. @throws LunarError as `drain`, and then it goes on as before */
  async end(): Promise<void> {
    this.ended = true
    this.changed()
    try {
      while (this.slices.size > 0) await this.drain()
    } catch (error) {
      this.ended = false
      throw error
    }
  }

  private get isPressed(): boolean {
    return this.pages.used > this.limit / 2
  }

  /** Writes back what is due, until nothing is held or something fails. */
  private work(): void {
    if (this.working) {
      if (this.isPressed) this.sleeping?.abort()
      return
    }
    if (this.failing.size > 0 || this.slices.size === 0) return
    this.working = true
    void this.workOff()
  }

  private async workOff(): Promise<void> {
    while (this.slices.size > 0 && this.failing.size === 0) {
      if (!this.isPressed) {
        this.age++
        this.sleeping = new AbortController()
        await this.clock.pause(LINGER_MS, this.sleeping.signal)
        this.sleeping = undefined
      }
      const due = this.isPressed
        ? [...this.slices.keys()].slice(0, PRESSED_SLICES)
        : [...this.slices].filter(([, { age }]) => age < this.age).map(([index]) => index)
      await this.writeBackAll(due).catch(() => undefined) // it was told, and is kept for the next flush
    }
    this.working = false
  }

  private async writeBackAll(indexes: readonly number[]): Promise<void> {
    let first: { readonly error: unknown } | undefined
    await inLanes(indexes, LANES, async index => {
      try {
        await this.writeBack(index)
      } catch (error) {
        first ??= { error }
      }
    })
    if (first) throw first.error
  }

  private async writeBack(index: number): Promise<void> {
    const release = await this.locks.lock(index * CACHE_SLICE, CACHE_SLICE, 'exclusive')
    const slice = this.slices.get(index)
    if (!slice) return release()
    slice.freeze()
    const buffer = this.buffers.pop() ?? new Uint8Array(CACHE_SLICE)
    try {
      if (this.writes > YIELD_EVERY) await this.yield()
      const runs = slice.gather(buffer)
      this.writes += runs.length
      await settle(runs.map(({ from, to }) => this.device.write(index * CACHE_SLICE + from, buffer.subarray(from, to))))
      slice.written(0, CACHE_SLICE)
      this.failing.delete(slice)
    } catch (error) {
      if (this.failing.size === 0) this.failed(error)
      this.failing.add(slice)
      throw error
    } finally {
      this.buffers.push(buffer)
      this.settled(index)
      release()
    }
  }

  private yield(): Promise<void> {
    this.writes = 0
    return turn()
  }

  /** A slice that was frozen is so no longer. */
  private settled(index: number): void {
    const slice = this.slices.get(index)!
    slice.thaw()
    this.slices.delete(index)
    if (slice.isDirty) this.slices.set(index, slice)
    else this.failing.delete(slice)
    if (this.slices.size === 0) {
      this.sleeping?.abort()
      this.buffers.length = Math.min(this.buffers.length, 1)
    }
    this.changed()
  }

  /** Who waits for room looks again. */
  private changed(): void {
    this.room?.resolve()
    this.room = undefined
  }

  // ---- looking

  private touches(offset: number, length: number): boolean {
    return this.slices.size > 0 && this.some(offset, length, (slice, at, size) => slice?.touches(at, size) === true)
  }

  private covers(offset: number, length: number): boolean {
    return !this.some(offset, length, (slice, at, size) => slice?.covers(at, size) !== true)
  }

  private look(offset: number, length: number, each: (offset: number, bytes: Uint8Array) => void): void {
    this.some(offset, length, (slice, at, size, index) => {
      slice?.look(at, size, (from, bytes) => {
        each(index * CACHE_SLICE + from, bytes)
      })
      return false
    })
  }

  /** Whether something is so of the part of a range in some slice. */
  private some(offset: number, length: number, is: (slice: CachedSlice | undefined, at: number, length: number, index: number) => boolean): boolean {
    for (let from = offset; from < offset + length;) {
      const index = Math.floor(from / CACHE_SLICE)
      const to = Math.min(offset + length, (index + 1) * CACHE_SLICE)
      if (is(this.slices.get(index), from - index * CACHE_SLICE, to - from, index)) return true
      from = to
    }
    return false
  }
}
