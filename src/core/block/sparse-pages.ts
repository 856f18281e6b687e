import { invariant } from '../base/errors.ts'
import { MIB } from '../base/units.ts'
import type { Extent } from './device.ts'

export const PAGE = 4096

/** Zeros, shared by everyone who reads a hole or wrote nothing else. Never written to. */
export const zeroBytes: Uint8Array = new Uint8Array(MIB)
export const zeroPage: Uint8Array = zeroBytes.subarray(0, PAGE)

const HOLE = null
type Page = Uint8Array | typeof HOLE

/** Neighbouring pages that one lookup finds: 256 KiB. */
const GROUP = 64
const GROUP_BYTES = GROUP * PAGE

/**
 * Bytes in memory, by pages of 4 KiB; what was never written is a hole. Contents are shared in two ways, both without
 * copying bytes: a *fork* looks through to its parent, which cannot change any more; a *branch* starts with the same
 * pages, and both sides copy a page before they change it.
 */
export class SparsePages {
  /** What differs from the parent, by groups: pages owned by this one, holes over pages of the parent, undefined for what the parent has. */
  private own = new Map<number, (Page | undefined)[]>()
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

  /** The same contents and the same parent; costs an array entry for each page near one changed since the parent. Both may change. */
  branch(): SparsePages {
    const branch = new SparsePages(this.size, this.parent)
    for (const [at, group] of this.own) branch.own.set(at, group.slice())
    this.mine.clear()
    return branch
  }

  /** The same contents without parents, so that chains of forks do not grow. Both may change. */
  flatten(): SparsePages {
    const flat = new SparsePages(this.size)
    for (const level of this.levels().reverse()) {
      for (const [at, group] of level.own) {
        const under = flat.own.get(at)
        if (under) group.forEach((page, i) => page !== undefined && (under[i] = page ?? undefined))
        else if (group.some(page => page)) flat.own.set(at, level.parent ? group.map(page => page ?? undefined) : group.slice())
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
    const at = Math.floor(index / GROUP)
    const place = index % GROUP
    let page = this.own.get(at)?.[place]
    for (let level = this.parent; level && page === undefined; level = level.parent) page = level.own.get(at)?.[place]
    return page ?? undefined
  }

  /** What the levels have of a group, the nearest first. */
  private groupsAt(at: number): (Page | undefined)[][] {
    const groups: (Page | undefined)[][] = []
    const own = this.own.get(at)
    if (own) groups.push(own)
    for (let level = this.parent; level; level = level.parent) {
      const group = level.own.get(at)
      if (group) groups.push(group)
    }
    return groups
  }

  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const from = offset + done
      const at = Math.floor(from / GROUP_BYTES)
      const length = Math.min((at + 1) * GROUP_BYTES - from, into.length - done)
      const groups = this.groupsAt(at)
      if (groups.length === 0) into.fill(0, done, done + length)
      else readGroups(groups, from - at * GROUP_BYTES, into, done, length)
      done += length
    }
  }

  write(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = (offset + done) % PAGE
      const bytes = Math.min(PAGE - at, data.length - done)
      const page = this.writable(Math.floor((offset + done) / PAGE), bytes === PAGE)
      page.set(bytes === data.length ? data : data.subarray(done, done + bytes), at)
      done += bytes
    }
  }

  /** As `write`, but a page that is the same already stays as it is, and one of zeros takes no memory. */
  writeChanged(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = (offset + done) % PAGE
      const bytes = Math.min(PAGE - at, data.length - done)
      const part = data.subarray(done, done + bytes)
      const index = Math.floor((offset + done) / PAGE)
      const page = this.page(index)
      if (!page && bytes === PAGE && Buffer.compare(part, zeroPage) === 0) this.adopt(index, zeroPage)
      else if (!page || Buffer.compare(at === 0 && bytes === PAGE ? page : page.subarray(at, at + bytes), part) !== 0)
        this.writable(index, bytes === PAGE).set(part, at)
      done += bytes
    }
  }

  /** Takes a whole page as it is, without a copy: whoever gives it never changes it again. */
  adopt(index: number, page: Uint8Array): void {
    this.checkThawed()
    this.mine.delete(index)
    this.set(index, page)
  }

  /** The range reads as zeros; whole pages of it become holes. */
  punch(offset: number, length: number): void {
    const end = offset + length
    this.checkThawed()
    for (let at = offset; at < end;) {
      const index = Math.floor(at / PAGE)
      if (at % GROUP_BYTES === 0 && at + GROUP_BYTES <= end && this.groupsAt(at / GROUP_BYTES).length === 0) {
        at += GROUP_BYTES
        continue
      }
      const bytes = Math.min((index + 1) * PAGE, end) - at
      const page = this.page(index)
      if (page && bytes === PAGE) {
        this.mine.delete(index)
        this.set(index, this.parent?.page(index) ? HOLE : undefined)
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
      while (to < end) {
        if (kind === 'hole' && this.groupsAt(Math.floor(to / GROUP_BYTES)).length === 0) to = Math.min(end, (Math.floor(to / GROUP_BYTES) + 1) * GROUP_BYTES)
        else if ((this.page(Math.floor(to / PAGE)) ? 'data' : 'hole') === kind) to = Math.min(end, (Math.floor(to / PAGE) + 1) * PAGE)
        else break
      }
      extents.push({ offset: at, length: to - at, kind })
      at = to
    }
    return extents
  }

  /** Bytes held in pages, those of parents included. */
  get allocated(): number {
    const seen = new Set<number>()
    for (const level of this.levels()) for (const index of level.changed()) seen.add(index)
    let pages = 0
    for (const index of seen) if (this.page(index)) pages++
    return pages * PAGE
  }

  /** Pages that this one may hold otherwise than its parent. */
  *changed(): Generator<number> {
    for (const [at, group] of this.own) for (let place = 0; place < GROUP; place++) if (group[place] !== undefined) yield at * GROUP + place
  }

  private set(index: number, page: Page | undefined): void {
    const at = Math.floor(index / GROUP)
    let group = this.own.get(at)
    if (!group) this.own.set(at, (group = new Array<Page | undefined>(GROUP).fill(undefined)))
    group[index % GROUP] = page
  }

  /** A page of its own to write to; its old contents matter unless all of it is written. */
  private writable(index: number, whole: boolean): Uint8Array {
    this.checkThawed()
    if (this.mine.has(index)) return this.page(index)!
    const old = whole ? undefined : this.page(index)
    const page = old ? new Uint8Array(old) : new Uint8Array(PAGE) // not slice: a Buffer's is no copy
    this.set(index, page)
    this.mine.add(index)
    return page
  }

  private checkThawed(): void {
    invariant(!this.frozen, 'pages that were forked are never changed')
  }
}

/** Reads `length` bytes from byte `from` of a group on, given what each level has of it, the nearest first, to `into` from `to` on. */
function readGroups(groups: readonly (Page | undefined)[][], from: number, into: Uint8Array, to: number, length: number): void {
  const end = from + length
  for (let at = from; at < end;) {
    const index = Math.floor(at / PAGE)
    const bytes = Math.min((index + 1) * PAGE, end) - at
    let page: Page | undefined
    for (let level = 0; level < groups.length && page === undefined; level++) page = groups[level]![index]
    const place = to + at - from
    if (!page) into.fill(0, place, place + bytes)
    else into.set(bytes === PAGE ? page : page.subarray(at % PAGE, (at % PAGE) + bytes), place)
    at += bytes
  }
}
