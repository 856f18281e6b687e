import { invariant } from '../base/errors.ts'
import type { Batch } from '../../metadata/batch.ts'
import { hiOf, type Key } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { CHUNKS_PER_RECORD, CHUNKS_VALUE, eraIndex } from '../../metadata/records.ts'
import type { ChunkRun } from './chunks.ts'

/** Pages of one map that stay in memory when nobody uses it. 512 bytes each. */
const PAGES_MAX = 16 * 1024

/**
 * One bit for each chunk, of one era of one relationship or write-once device, loaded by page. What `put` has recorded is durable when its batch is, and known
 * to `has` after `remember`: whoever changes a bit holds its chunk locked from one to the other.
 */
export class ChunkMap {
  private pages = new Map<number, Uint8Array>()
  private readonly loading = new Map<number, Promise<void>>()
  private counted: number | undefined
  /** Grows with every chunk that becomes set or not: equal numbers, equal maps. */
  changes = 0

  constructor(
    private readonly metadata: Metadata,
    /** Number of the relationship; of a `wodDone` map of the write-once device. */
    private readonly object: number,
    /** 0: a map that is empty for good. */
    readonly era: number,
    private readonly kind: 'chunks' | 'wodDone' = 'chunks',
  ) {}

  /** Undefined when every page of the run is in memory already. */
  load(run: ChunkRun): Promise<void> | undefined {
    if (run.to <= run.from || this.era === 0) return undefined
    const first = Math.floor(run.from / CHUNKS_PER_RECORD)
    const last = Math.floor((run.to - 1) / CHUNKS_PER_RECORD)
    for (let page = first; page <= last; page++) if (!this.pages.has(page)) return this.loadPages(first, last)
    return undefined
  }

  private async loadPages(first: number, last: number): Promise<void> {
    for (let page = first; page <= last; page++) {
      if (this.pages.has(page)) continue
      const running = this.loading.get(page) ?? this.loadPage(page)
      this.loading.set(page, running)
      await running
    }
  }

  private async loadPage(page: number): Promise<void> {
    try {
      const bytes = new Uint8Array(CHUNKS_VALUE)
      const value = await this.metadata.get(this.keyOf(page))
      if (value) bytes.set(value.subarray(0, CHUNKS_VALUE))
      this.pages.set(page, bytes)
    } finally {
      this.loading.delete(page)
    }
  }

  /** Of a chunk whose page is loaded. */
  has(chunk: number): boolean {
    if (this.era === 0) return false
    const page = this.pages.get(Math.floor(chunk / CHUNKS_PER_RECORD))
    invariant(page, `chunk ${chunk} is asked for before its page is loaded`)
    const bit = chunk % CHUNKS_PER_RECORD
    return (page[bit >> 3]! & (1 << (bit & 7))) !== 0
  }

  /** Records runs of chunks as set or not; each is one change a byte, so that batches may be written in any order. Cheapest in order. */
  put(runs: readonly ChunkRun[], value: boolean, batch: Batch): void {
    invariant(this.era !== 0, 'an empty map is changed')
    let byte = -1
    let mask = 0
    const record = (): void => {
      if (mask !== 0) batch.merge(this.keyOf(Math.floor(byte / CHUNKS_VALUE)), byte % CHUNKS_VALUE, mask, value ? mask : 0, CHUNKS_VALUE)
    }
    for (const { from, to } of runs) {
      for (let chunk = from; chunk < to;) {
        const end = Math.min(to, chunk - (chunk % 8) + 8)
        const here = Math.floor(chunk / 8)
        if (here !== byte) {
          record()
          byte = here
          mask = 0
        }
        mask |= byteMask(chunk % 8, end - chunk)
        chunk = end
      }
    }
    record()
  }

  /** What a durable batch recorded becomes visible. */
  remember(runs: readonly ChunkRun[], value: boolean): void {
    for (const { from, to } of runs) {
      for (let chunk = from; chunk < to; chunk++) {
        const page = this.pages.get(Math.floor(chunk / CHUNKS_PER_RECORD))
        invariant(page, `chunk ${chunk} is changed before its page is loaded`)
        const bit = chunk % CHUNKS_PER_RECORD
        const mask = 1 << (bit & 7)
        const was = (page[bit >> 3]! & mask) !== 0
        if (was === value) continue
        page[bit >> 3]! ^= mask
        this.changes++
        if (this.counted !== undefined) this.counted += value ? 1 : -1
      }
    }
  }

  /** How many chunks are set. The first time costs a walk over the records. */
  async count(): Promise<number> {
    if (this.counted !== undefined) return this.counted
    const { changes } = this
    let count = 0
    for await (const { bytes } of this.records(0)) for (const byte of bytes) count += ones[byte]!
    // What changed during the walk may be counted or not: then the next one counts anew.
    if (changes === this.changes) this.counted = count
    return count
  }

  /** The runs of set chunks from `from` on, in order. */
  async *runs(from = 0, to = Number.MAX_SAFE_INTEGER): AsyncGenerator<ChunkRun> {
    let open = -1
    let next = from
    for await (const { page, bytes } of this.records(Math.floor(from / CHUNKS_PER_RECORD))) {
      const base = page * CHUNKS_PER_RECORD
      for (let i = 0; i < CHUNKS_VALUE; i++) {
        const byte = bytes[i]!
        if (byte === 0) {
          if (open >= 0) yield { from: open, to: next }
          open = -1
          continue
        }
        for (let bit = 0; bit < 8; bit++) {
          const chunk = base + i * 8 + bit
          if (chunk < from) continue
          if (chunk >= to) {
            if (open >= 0) yield { from: open, to: next }
            return
          }
          const set = (byte & (1 << bit)) !== 0
          if (open >= 0 && (!set || chunk !== next)) {
            yield { from: open, to: next }
            open = -1
          }
          if (set) {
            if (open < 0) open = chunk
            next = chunk + 1
          }
        }
      }
    }
    if (open >= 0) yield { from: open, to: next }
  }

  /** The first run of chunks that are not set from `from` on, at most `most` long; undefined when there is none below `end`. */
  async nextClear(from: number, end: number, most: number): Promise<ChunkRun | undefined> {
    for (let chunk = from; chunk < end;) {
      for (let loading = this.load({ from: chunk, to: chunk + 1 }); loading; loading = this.load({ from: chunk, to: chunk + 1 })) await loading
      const pageEnd = Math.min(end, (Math.floor(chunk / CHUNKS_PER_RECORD) + 1) * CHUNKS_PER_RECORD)
      while (chunk < pageEnd && this.has(chunk)) chunk++
      if (chunk === pageEnd) continue
      let to = chunk + 1
      while (to < pageEnd && to - chunk < most && !this.has(to)) to++
      return { from: chunk, to }
    }
    return undefined
  }

  private async *records(fromPage: number): AsyncGenerator<{ page: number; bytes: Uint8Array }> {
    if (this.era === 0) return
    const { hi } = this.keyOf(0)
    const base = eraIndex(this.era, 0)
    for await (const { lo, value } of this.metadata.range(hi, eraIndex(this.era, fromPage), eraIndex(this.era + 1, 0) - 1))
      yield { page: lo - base, bytes: this.pages.get(lo - base) ?? value }
  }

  private keyOf(page: number): Key {
    return { hi: hiOf(this.kind, this.object), lo: eraIndex(this.era, page) }
  }

  /** Lets pages go when there are too many. Only while nobody has a chunk locked. */
  trim(): void {
    if (this.pages.size > PAGES_MAX) this.pages = new Map()
  }
}

const byteMask = (first: number, count: number): number => ((1 << count) - 1) << first

const ones = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length)
