import { invariant } from '../base/errors.ts'
import { MIB } from '../base/units.ts'
import type { Extent } from './device.ts'

export const PAGE = 4096

/** Zeros, shared by everyone who reads a hole or wrote nothing else. Never written to. */
export const zeroBytes: Uint8Array = new Uint8Array(MIB)
export const zeroPage: Uint8Array = zeroBytes.subarray(0, PAGE)

const HOLE = null
type Page = Uint8Array | typeof HOLE

/**
 * Bytes in memory, by pages of 4 KiB; what was never written is a hole. Contents are shared in two ways, both without
 * copying bytes: a *fork* looks through to its parent, which cannot change any more; a *branch* starts with the same
 * pages, and both sides copy a page before they change it.
 */
export class SparsePages {
  /** What differs from the parent: pages owned by this one, holes over pages of the parent. */
  private own = new Map<number, Page>()
  /** Pages of `own` that nobody else sees, which may be changed in place. */
  private readonly mine = new Set<number>()
  /** Somebody looks through to this one: it never changes again. */
  private frozen = false

  constructor(
    readonly size: number,
    private readonly parent?: SparsePages,
  ) {}

  /** The same contents, at no cost but that of what is changed later. This one is frozen by it. */
  fork(): SparsePages {
    this.frozen = true
    return new SparsePages(this.size, this.parent && this.own.size === 0 ? this.parent : this)
  }

  /** This one while nobody looks through to it, else a branch. */
  thawed(): SparsePages {
    return this.frozen ? this.branch() : this
  }

  /** The same contents and the same parent; costs a map entry for each page changed since the parent. Both may change. */
  branch(): SparsePages {
    const branch = new SparsePages(this.size, this.parent)
    branch.own = new Map(this.own)
    this.mine.clear()
    return branch
  }

  /** The same contents without parents, so that chains of forks do not grow. Both may change. */
  flatten(): SparsePages {
    const flat = new SparsePages(this.size)
    for (const level of this.levels().reverse()) {
      for (const [index, page] of level.own) {
        if (page) flat.own.set(index, page)
        else flat.own.delete(index)
      }
    }
    this.mine.clear()
    return flat
  }

  /** How many forks lie between this one and the first. */
  get depth(): number {
    return this.levels().length - 1
  }

  /** This one and what it looks through to, the nearest first. */
  private levels(): SparsePages[] {
    const levels: SparsePages[] = [this]
    for (let level = this.parent; level; level = level.parent) levels.push(level)
    return levels
  }

  /** The page as it is, for looking only; undefined is a hole. */
  page(index: number): Uint8Array | undefined {
    const page = this.own.get(index)
    if (page !== undefined) return page ?? undefined
    for (let level = this.parent; level; level = level.parent) {
      const above = level.own.get(index)
      if (above !== undefined) return above ?? undefined
    }
    return undefined
  }

  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const at = (offset + done) % PAGE
      const length = Math.min(PAGE - at, into.length - done)
      const page = this.page(Math.floor((offset + done) / PAGE))
      if (page) into.set(length === PAGE ? page : page.subarray(at, at + length), done)
      else into.fill(0, done, done + length)
      done += length
    }
  }

  write(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = (offset + done) % PAGE
      const bytes = Math.min(PAGE - at, data.length - done)
      const page = this.writable(Math.floor((offset + done) / PAGE), bytes === PAGE)
      page.set(data.subarray(done, done + bytes), at)
      done += bytes
    }
  }

  /** Takes a whole page as it is, without a copy: whoever gives it never changes it again. */
  adopt(index: number, page: Uint8Array): void {
    this.checkThawed()
    this.mine.delete(index)
    this.own.set(index, page)
  }

  /** The range reads as zeros; whole pages of it become holes. */
  punch(offset: number, length: number): void {
    const end = offset + length
    this.checkThawed()
    for (let at = offset; at < end;) {
      const index = Math.floor(at / PAGE)
      const bytes = Math.min((index + 1) * PAGE, end) - at
      const page = this.page(index)
      if (page && bytes === PAGE) {
        this.mine.delete(index)
        if (this.parent?.page(index)) this.own.set(index, HOLE)
        else this.own.delete(index)
      } else if (page) {
        this.writable(index, false).fill(0, at % PAGE, (at % PAGE) + bytes)
      }
      at += bytes
    }
  }

  extents(offset: number, length: number): Extent[] {
    const end = offset + length
    const extents: Extent[] = []
    for (let at = offset; at < end;) {
      const kind = this.page(Math.floor(at / PAGE)) ? 'data' : 'hole'
      let to = at
      while (to < end && (this.page(Math.floor(to / PAGE)) ? 'data' : 'hole') === kind) to = Math.min(end, (Math.floor(to / PAGE) + 1) * PAGE)
      extents.push({ offset: at, length: to - at, kind })
      at = to
    }
    return extents
  }

  /** Bytes held in pages, those of parents included. */
  get allocated(): number {
    const seen = new Set<number>()
    for (const level of this.levels()) for (const index of level.own.keys()) seen.add(index)
    let pages = 0
    for (const index of seen) if (this.page(index)) pages++
    return pages * PAGE
  }

  /** Pages that this one may hold otherwise than its parent. */
  changed(): IterableIterator<number> {
    return this.own.keys()
  }

  /** A page of its own to write to; its old contents matter unless all of it is written. */
  private writable(index: number, whole: boolean): Uint8Array {
    this.checkThawed()
    const own = this.own.get(index)
    if (own && this.mine.has(index)) return own
    const old = whole ? undefined : this.page(index)
    const page = old ? new Uint8Array(old) : new Uint8Array(PAGE) // not slice: a Buffer's is no copy
    this.own.set(index, page)
    this.mine.add(index)
    return page
  }

  private checkThawed(): void {
    invariant(!this.frozen, 'pages that were forked are never changed')
  }
}
