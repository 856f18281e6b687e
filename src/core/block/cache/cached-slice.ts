/** What the cache holds of one slice of addresses: pages with the sectors that were written. Pure but for its memory. */
import { invariant } from '../../base/errors.ts'
import { MIB, SECTOR } from '../../base/units.ts'
import { CACHE_PAGE, type PagePool } from './page-pool.ts'

/** Addresses that are written back together. Bytes. */
export const CACHE_SLICE = MIB

const SECTORS = CACHE_PAGE / SECTOR
const FULL = 2 ** SECTORS - 1

interface Page {
  readonly bytes: Uint8Array
  /** Bit n: sector n holds what was written. */
  mask: number
}

/** Pages that a range lies in. */
export const pagesOf = (at: number, length: number): number => Math.ceil((at + length) / CACHE_PAGE) - Math.floor(at / CACHE_PAGE)

/** The sectors of a page that lie in a range, as bits. Bytes from the start of the slice. */
function sectorsIn(page: number, from: number, to: number): number {
  const first = Math.max(0, Math.floor((from - page * CACHE_PAGE) / SECTOR))
  const last = Math.min(SECTORS, Math.ceil((to - page * CACHE_PAGE) / SECTOR))
  return last > first ? (2 ** last - 1) & ~(2 ** first - 1) : 0
}

/** Runs of set bits, as sectors. */
function* runsOf(mask: number): Generator<{ readonly from: number; readonly to: number }> {
  for (let from = 0; from < SECTORS; from++) {
    if ((mask & (1 << from)) === 0) continue
    let to = from + 1
    while (to < SECTORS && (mask & (1 << to)) !== 0) to++
    yield { from, to }
    from = to
  }
}

/**
 * Pages are *dirty*, or *frozen*: being written back, or about to be overwritten below. Frozen ones do not change; what is written meanwhile is
 * dirty and lies over them. All offsets are bytes from the start of the slice, whole sectors.
 */
export class CachedSlice {
  private dirty = new Map<number, Page>()
  private frozen: Map<number, Page> | undefined
  /** When its oldest dirty page was written, as its cache counts. */
  age = 0

  constructor(private readonly pool: PagePool) {}

  get isDirty(): boolean {
    return this.dirty.size > 0
  }

  /** Pages that `put` would take. */
  missing(at: number, length: number): number {
    let count = 0
    for (let page = Math.floor(at / CACHE_PAGE); page * CACHE_PAGE < at + length; page++) if (!this.dirty.has(page)) count++
    return count
  }

  /** Takes over bytes; the pool has room for what is missing. */
  put(at: number, data: Uint8Array): void {
    const end = at + data.length
    for (let index = Math.floor(at / CACHE_PAGE); index * CACHE_PAGE < end; index++) {
      let page = this.dirty.get(index)
      if (!page) this.dirty.set(index, (page = { bytes: this.pool.take(), mask: 0 }))
      const start = index * CACHE_PAGE
      const from = Math.max(at, start)
      page.bytes.set(data.subarray(from - at, Math.min(end, start + CACHE_PAGE) - at), from - start)
      page.mask |= sectorsIn(index, at, end)
    }
  }

  /** Whether any of a range is held. */
  touches(at: number, length: number): boolean {
    for (let page = Math.floor(at / CACHE_PAGE); page * CACHE_PAGE < at + length; page++)
      if ((this.maskOf(page) & sectorsIn(page, at, at + length)) !== 0) return true
    return false
  }

  /** Whether all of a range is held. */
  covers(at: number, length: number): boolean {
    for (let page = Math.floor(at / CACHE_PAGE); page * CACHE_PAGE < at + length; page++) {
      const wanted = sectorsIn(page, at, at + length)
      if ((this.maskOf(page) & wanted) !== wanted) return false
    }
    return true
  }

  private maskOf(page: number): number {
    return (this.dirty.get(page)?.mask ?? 0) | (this.frozen?.get(page)?.mask ?? 0)
  }

  /** Hands out what is held of a range, older bytes before those that lie over them. The bytes are the cache's. */
  look(at: number, length: number, each: (at: number, bytes: Uint8Array) => void): void {
    for (let page = Math.floor(at / CACHE_PAGE); page * CACHE_PAGE < at + length; page++) {
      const wanted = sectorsIn(page, at, at + length)
      for (const held of [this.frozen?.get(page), this.dirty.get(page)]) {
        if (!held) continue
        for (const { from, to } of runsOf(held.mask & wanted)) each(page * CACHE_PAGE + from * SECTOR, held.bytes.subarray(from * SECTOR, to * SECTOR))
      }
    }
  }

  /** What is dirty does not change any more, until `written` or `thaw`. */
  freeze(): void {
    invariant(this.frozen === undefined, 'a slice is frozen once')
    this.frozen = this.dirty
    this.dirty = new Map()
  }

  /** Gathers what is frozen in a buffer of the size of the slice. @returns its runs, in order, neighbours as one */
  gather(into: Uint8Array): { readonly from: number; readonly to: number }[] {
    const runs: { from: number; to: number }[] = []
    const pages = [...(this.frozen ?? [])].sort(([a], [b]) => a - b)
    for (const [index, { bytes, mask }] of pages) {
      const start = index * CACHE_PAGE
      into.set(bytes, start)
      for (const run of mask === FULL ? [{ from: 0, to: SECTORS }] : runsOf(mask)) {
        const from = start + run.from * SECTOR
        const to = start + run.to * SECTOR
        const last = runs.at(-1)
        if (last?.to === from) last.to = to
        else runs.push({ from, to })
      }
    }
    return runs
  }

  /** A range that was frozen has been written below, or overwritten: it is not held any more. */
  written(from: number, to: number): void {
    for (const [index, page] of this.frozen ?? []) {
      page.mask &= ~sectorsIn(index, from, to)
      if (page.mask !== 0) continue
      this.frozen!.delete(index)
      this.pool.give(page.bytes)
    }
  }

  /** What is still frozen is dirty again, below what was written meanwhile. */
  thaw(): void {
    const { frozen } = this
    this.frozen = undefined
    for (const [index, page] of frozen ?? []) {
      const over = this.dirty.get(index)
      if (!over) {
        this.dirty.set(index, page)
        continue
      }
      for (const { from, to } of runsOf(page.mask & ~over.mask)) over.bytes.set(page.bytes.subarray(from * SECTOR, to * SECTOR), from * SECTOR)
      over.mask |= page.mask
      this.pool.give(page.bytes)
    }
  }
}
