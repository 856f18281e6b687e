import { invariant } from '../../base/errors.ts'
import type { Batch } from '../../../metadata/batch.ts'
import { hiOf } from '../../../metadata/key.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { decodeEntry, encodeEntry, TREE_EPOCHS } from '../../../metadata/records.ts'
import type { ChunkRun } from '../chunks.ts'
import type { MapMemory } from './map-memory.ts'

/** Chunks in a page: an entry's chunk and epoch are one whole number below 2^30 there. */
const PAGE_CHUNKS = 1024
/** What a look-up says where there is no entry. */
export const NONE = -1

export interface MapEntry {
  readonly chunk: number
  readonly epoch: number
  /** Slot + 1; 0: the chunk reads as zeros. */
  readonly entry: number
}

/** The entries of 1,024 chunks, sorted. */
class Page {
  /** Chunk in the page times 2^20 plus epoch. */
  private keys = new Uint32Array(4)
  private entries = new Float64Array(4)
  private count = 0
  /** One bit a chunk: it has an entry under `coveredFrom` or later. */
  private readonly covered = new Uint8Array(PAGE_CHUNKS / 8)
  private coveredFrom = 0

  get bytes(): number {
    return 256 + this.covered.length + this.keys.length * 12
  }

  /** The first place whose key is not below. */
  private lowerBound(key: number): number {
    let from = 0
    let to = this.count
    while (from < to) {
      const middle = (from + to) >> 1
      if (this.keys[middle]! < key) from = middle + 1
      else to = middle
    }
    return from
  }

  get(local: number, epoch: number): number {
    const at = this.lowerBound(local * TREE_EPOCHS + epoch)
    return at < this.count && this.keys[at] === local * TREE_EPOCHS + epoch ? this.entries[at]! : NONE
  }

  first(local: number, epoch: number): number {
    const at = this.lowerBound(local * TREE_EPOCHS + epoch)
    return at < this.count && Math.floor(this.keys[at]! / TREE_EPOCHS) === local ? this.entries[at]! : NONE
  }

  covers(local: number, epoch: number): boolean {
    if (this.coveredFrom !== epoch) this.cover(epoch)
    return (this.covered[local >> 3]! & (1 << (local & 7))) !== 0
  }

  private cover(epoch: number): void {
    this.covered.fill(0)
    this.coveredFrom = epoch
    for (let i = 0; i < this.count; i++) this.mark(this.keys[i]!)
  }

  private mark(key: number): void {
    const local = Math.floor(key / TREE_EPOCHS)
    if (key % TREE_EPOCHS >= this.coveredFrom) this.covered[local >> 3]! |= 1 << (local & 7)
  }

  put(local: number, epoch: number, entry: number): void {
    const key = local * TREE_EPOCHS + epoch
    const at = this.lowerBound(key)
    if (at === this.count || this.keys[at] !== key) {
      if (this.count === this.keys.length) this.grow()
      this.keys.copyWithin(at + 1, at, this.count)
      this.entries.copyWithin(at + 1, at, this.count)
      this.keys[at] = key
      this.count++
    }
    this.entries[at] = entry
    this.mark(key)
  }

  delete(local: number, epoch: number): void {
    const key = local * TREE_EPOCHS + epoch
    const at = this.lowerBound(key)
    if (at === this.count || this.keys[at] !== key) return
    this.keys.copyWithin(at, at + 1, this.count)
    this.entries.copyWithin(at, at + 1, this.count)
    this.count--
    // Counted anew when it is asked for.
    this.coveredFrom = 0
  }

  private grow(): void {
    const keys = new Uint32Array(this.keys.length * 2)
    const entries = new Float64Array(keys.length)
    keys.set(this.keys)
    entries.set(this.entries)
    this.keys = keys
    this.entries = entries
  }
}

/**
 * An ordered map (chunk, epoch) to slot: of a sharing tree, or of a writable snapshot, where the epoch is the era of its leaf. One metadata
 * record an entry, loaded by page. What `put` has recorded is durable when its batch is, and known to look-ups after `remember`: whoever
 * changes a chunk has it locked from one to the other.
 */
export class TreeMap {
  private readonly pages = new Map<number, Page>()
  /** Pages on their way; one that is changed meanwhile is read again. */
  private readonly loading = new Map<number, { done: Promise<void>; stale: boolean }>()
  private readonly hi: number
  /** The highest epoch of an entry that is known to have been there. */
  private highest = 0
  /** No entry of this epoch or later was there when the map was walked. */
  private noneFrom = Infinity

  constructor(
    private readonly metadata: Metadata,
    kind: 'treeMap' | 'leafMap',
    object: number,
    private readonly memory: MapMemory,
  ) {
    this.hi = hiOf(kind, object)
  }

  /** Undefined when every page of the run is in memory: look-ups that follow at once find them. */
  load({ from, to }: ChunkRun): Promise<void> | undefined {
    for (let page = pageOf(from); page * PAGE_CHUNKS < to; page++) if (!this.pages.has(page)) return this.loadPages(page, pageOf(to - 1))
    return undefined
  }

  private async loadPages(first: number, last: number): Promise<void> {
    for (let number = first; number <= last; number++) {
      if (this.pages.has(number)) continue
      let running = this.loading.get(number)
      if (!running) {
        running = { done: Promise.resolve(), stale: false }
        this.loading.set(number, running)
        running.done = this.loadPage(number, running)
      }
      await running.done
    }
  }

  private async loadPage(number: number, running: { stale: boolean }): Promise<void> {
    try {
      let page: Page
      do {
        running.stale = false
        page = new Page()
        const from = number * PAGE_CHUNKS
        for await (const { chunk, epoch, entry } of this.walk(from, from + PAGE_CHUNKS)) page.put(chunk - from, epoch, entry)
      } while (running.stale)
      this.pages.set(number, page)
      this.memory.add(page, () => this.pages.delete(number))
    } finally {
      this.loading.delete(number)
    }
  }

  private page(chunk: number): Page {
    const page = this.pages.get(pageOf(chunk))
    invariant(page, `chunk ${chunk} is looked up before its page is loaded`)
    this.memory.use(page)
    return page
  }

  /** Slot + 1 of the first entry of a chunk from this epoch on, 0 when that says zeros, `NONE` when there is none. Its page is loaded. */
  first(chunk: number, epoch: number): number {
    return this.page(chunk).first(chunk % PAGE_CHUNKS, epoch)
  }

  /** The entry of this very epoch, or `NONE`. Its page is loaded. */
  get(chunk: number, epoch: number): number {
    return this.page(chunk).get(chunk % PAGE_CHUNKS, epoch)
  }

  /** Whether a chunk has an entry from this epoch on: one bit, as long as the epoch asked for stays the same. Its page is loaded. */
  covers(chunk: number, epoch: number): boolean {
    return this.page(chunk).covers(chunk % PAGE_CHUNKS, epoch)
  }

  put({ chunk, epoch, entry }: MapEntry, batch: Batch): void {
    if (epoch > this.highest) this.highest = epoch
    batch.put(this.keyOf(chunk, epoch), encodeEntry(entry))
  }

  /** What a durable batch recorded becomes visible. */
  remember({ chunk, epoch, entry }: MapEntry): void {
    this.change(chunk, page => {
      page.put(chunk % PAGE_CHUNKS, epoch, entry)
    })
  }

  delete({ chunk, epoch }: MapEntry, batch: Batch): void {
    batch.delete(this.keyOf(chunk, epoch))
  }

  /** What a durable batch deleted is gone. */
  forget({ chunk, epoch }: MapEntry): void {
    this.change(chunk, page => {
      page.delete(chunk % PAGE_CHUNKS, epoch)
    })
  }

  private change(chunk: number, change: (page: Page) => void): void {
    const page = this.pages.get(pageOf(chunk))
    if (page) {
      const before = page.bytes
      change(page)
      this.memory.grew(page.bytes - before)
    }
    const running = this.loading.get(pageOf(chunk))
    if (running) running.stale = true
  }

  /** Entries in order of chunk, then epoch, straight from the metadata. */
  async *walk(from = 0, to = Infinity): AsyncGenerator<MapEntry> {
    const end = to === Infinity ? Number.MAX_SAFE_INTEGER : to * TREE_EPOCHS - 1
    for await (const { lo, value } of this.metadata.range(this.hi, from * TREE_EPOCHS, end))
      yield { chunk: Math.floor(lo / TREE_EPOCHS), epoch: lo % TREE_EPOCHS, entry: decodeEntry(value) }
  }

  /** Whether any chunk has an entry from an epoch on. The map is walked once at most as long as there is none; what is put since then is known. */
  async hasFrom(epoch: number): Promise<boolean> {
    if (this.highest < epoch && this.noneFrom > epoch) {
      for await (const entry of this.walk()) {
        if (entry.epoch < epoch) continue
        this.highest = Math.max(this.highest, entry.epoch)
        return true
      }
      this.noneFrom = epoch
    }
    return this.highest >= epoch
  }

  private keyOf(chunk: number, epoch: number): { hi: number; lo: number } {
    return { hi: this.hi, lo: chunk * TREE_EPOCHS + epoch }
  }
}

const pageOf = (chunk: number): number => Math.floor(chunk / PAGE_CHUNKS)
