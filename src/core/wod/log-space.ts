import { invariant } from '../base/errors.ts'
import { deferred, type Deferred } from '../base/deferred.ts'
import { Mutex } from '../base/mutex.ts'
import { inSlots, type PlacedBlock, type WriteOnceMap, type WriteOnceSpace } from '../block/write-once.ts'
import type { Backing } from './backing.ts'

/** A segment of the log: what a LUN binds and gives back at a time. Bytes. */
export const LOG_SEGMENT = 1024 * 1024
/** Segments that a log has beyond those its blocks fill: one to clean into, one that is being filled. */
export const LOG_SPARE = 2
/** Segments given back in one step, while who needs room waits. */
const RELEASE_STEP = 64

interface Segment {
  /** Slots that the map names. */
  live: number
  /** Slots taken that the map does not name yet. */
  pending: number
  /** Reads under way. */
  readers: number
  state: 'free' | 'head' | 'full' | 'cleaning'
}

/**
 * Blocks one after the other in a log, wherever they belong: a segment of 1 MiB holds what was written together. A segment whose
 * blocks are all given up is given back; when no segment but the spare one is free, the fullest with something given up is cleaned
 * into it.
 */
export class LogSpace implements WriteOnceSpace {
  private readonly segments: Segment[]
  private readonly perSegment: number
  private head: number | undefined
  private used = 0
  private loaded = false
  /** Free segments from here on may hold what was forgotten. */
  private released: number
  /** Taking slots, cleaning and giving up blocks take turns. */
  private readonly turns = new Mutex()
  private changed: Deferred<void> | undefined

  /** @param size of the backing, bytes, whole segments */
  constructor(
    private readonly backing: Backing,
    private readonly slotBytes: number,
    size: number,
    private readonly map: WriteOnceMap,
    private readonly blocks: number,
    /** Free segments may hold what was forgotten before. */
    stale: boolean,
  ) {
    this.perSegment = LOG_SEGMENT / slotBytes
    this.segments = Array.from({ length: size / LOG_SEGMENT }, () => ({ live: 0, pending: 0, readers: 0, state: 'free' }))
    this.released = stale ? 0 : this.segments.length
  }

  take(blocks: readonly number[]): Promise<number[]> {
    return this.turns.run(async () => {
      await this.load()
      while (!this.hasRoom) await this.makeRoom()
      return blocks.slice(0, this.perSegment - this.used).map(() => this.next())
    })
  }

  /** What was written before goes on to be read; the next block begins a segment of its own. */
  private async load(): Promise<void> {
    if (this.loaded) return
    for (const segment of this.segments) Object.assign(segment, { live: 0, state: 'free' })
    for await (const { slot } of inSlots(this.map.written(0, this.blocks))) {
      const segment = this.segmentOf(slot)
      segment.live++
      segment.state = 'full'
    }
    this.loaded = true
  }

  private get hasRoom(): boolean {
    return this.head !== undefined && this.used < this.perSegment
  }

  private next(): number {
    invariant(this.head !== undefined, 'a log has room when a slot is taken')
    this.segments[this.head]!.pending++
    return this.head * this.perSegment + this.used++
  }

  private async makeRoom(): Promise<void> {
    if (this.head !== undefined) this.leave(this.segments[this.head]!)
    this.head = undefined
    const free = this.segments.filter(({ state }) => state === 'free').length
    if (free > 1) this.begin()
    else await this.clean()
  }

  private firstFree(): number {
    const free = this.segments.findIndex(({ state }) => state === 'free')
    invariant(free >= 0, 'a log keeps a free segment')
    return free
  }

  private begin(head = this.firstFree(), used = 0): void {
    this.head = head
    this.used = used
    this.segments[head]!.state = 'head'
  }

  private leave(segment: Segment): void {
    segment.state = segment.live + segment.pending === 0 ? 'free' : 'full'
  }

  /** Moves what lives in the emptiest segment into the spare one, which then is filled on. */
  private async clean(): Promise<void> {
    const number = this.victim()
    // What could be cleaned otherwise has blocks that are being written.
    if (number === undefined) return this.nextChange()
    const victim = this.segments[number]!
    victim.state = 'cleaning'
    try {
      if (victim.live > 0) await this.move(number, victim)
      while (victim.readers > 0) await this.nextChange()
      await this.backing.trim(number * LOG_SEGMENT, LOG_SEGMENT)
      victim.state = 'free'
    } finally {
      if (victim.state === 'cleaning') victim.state = 'full'
    }
  }

  private async move(number: number, victim: Segment): Promise<void> {
    const live: PlacedBlock[] = []
    for await (const placed of inSlots(this.map.written(0, this.blocks))) if (this.numberOf(placed.slot) === number) live.push(placed)
    const target = this.firstFree()
    const first = target * this.perSegment
    const bytes = new Uint8Array(live.length * this.slotBytes)
    for (const [i, { slot }] of live.entries()) await this.backing.read(slot * this.slotBytes, bytes.subarray(i * this.slotBytes, (i + 1) * this.slotBytes))
    await this.backing.write(first * this.slotBytes, bytes)
    await this.backing.flush()
    // A block that is damaged keeps its checksum, so it is still known to be.
    await this.map.put(live.map((placed, i) => ({ ...placed, slot: first + i })))
    this.begin(target, live.length)
    this.segments[target]!.live = live.length
    victim.live = 0
  }

  private victim(): number | undefined {
    let best: number | undefined
    for (const [i, { state, live, pending }] of this.segments.entries())
      if (state === 'full' && pending === 0 && live < this.perSegment && (best === undefined || live < this.segments[best]!.live)) best = i
    return best
  }

  private nextChange(): Promise<void> {
    this.changed ??= deferred()
    return this.changed.promise
  }

  private tell(): void {
    const { changed } = this
    this.changed = undefined
    changed?.resolve()
  }

  keep(slots: readonly number[]): void {
    for (const slot of slots) {
      const segment = this.segmentOf(slot)
      segment.pending--
      segment.live++
    }
    this.tell()
  }

  drop(slots: readonly number[]): void {
    for (const slot of slots) {
      const segment = this.segmentOf(slot)
      segment.pending--
      if (segment.state === 'full') this.leave(segment)
    }
    this.tell()
  }

  /** In its turn (`alone`). */
  async free(slots: readonly number[]): Promise<void> {
    for (const slot of slots) this.segmentOf(slot).live--
    const empty = [...new Set(slots.map(slot => this.numberOf(slot)))].filter(number => {
      const { state, live, pending } = this.segments[number]!
      return state === 'full' && live + pending === 0
    })
    try {
      await Promise.all(empty.map(number => this.backing.trim(number * LOG_SEGMENT, LOG_SEGMENT).finally(() => (this.segments[number]!.state = 'free'))))
    } finally {
      this.tell()
    }
  }

  forgetAll(change: () => Promise<void>): Promise<void> {
    return this.turns.run(async () => {
      await change()
      this.head = undefined
      this.loaded = false
      this.released = 0
    })
  }

  release(): Promise<boolean> {
    return this.turns.run(async () => {
      await this.load()
      const to = Math.min(this.segments.length, this.released + RELEASE_STEP)
      for (let from = this.released; from < to;) {
        const is = this.segments[from]!.state === 'free'
        let end = from + 1
        while (end < to && (this.segments[end]!.state === 'free') === is) end++
        if (is) await this.backing.trim(from * LOG_SEGMENT, (end - from) * LOG_SEGMENT)
        from = end
      }
      this.released = to
      return to < this.segments.length
    })
  }

  write(slot: number, data: Uint8Array): Promise<void> {
    return this.backing.write(slot * this.slotBytes, data)
  }

  async read(slot: number, into: Uint8Array): Promise<void> {
    const segment = this.segmentOf(slot)
    segment.readers++
    try {
      await this.backing.read(slot * this.slotBytes, into)
    } finally {
      segment.readers--
      if (segment.readers === 0) this.tell()
    }
  }

  flush(): Promise<void> {
    return this.backing.flush()
  }

  alone(change: () => Promise<void>): Promise<void> {
    return this.turns.run(async () => {
      await this.load()
      await change()
    })
  }

  private segmentOf(slot: number): Segment {
    return this.segments[this.numberOf(slot)]!
  }

  private numberOf(slot: number): number {
    return Math.floor(slot / this.perSegment)
  }
}
