import { KIB, MIB } from '../../base/units.ts'

/** What the cache is cut into. Bytes. */
export const CACHE_PAGE = 4 * KIB
/** Pages are cut from larger buffers. Bytes. */
const ARENA = MIB

/** Memory for pages, up to a limit. Nothing is kept while nobody has a page. */
export class PagePool {
  private free: Uint8Array[] = []
  /** Bytes taken. */
  used = 0
  private made = 0

  /** @param limit bytes; it may change: what is taken above it stays until it is given back */
  constructor(public limit: number) {}

  hasRoom(pages: number): boolean {
    return this.used + pages * CACHE_PAGE <= this.limit
  }

  /** A page with any contents. The caller knows that there is room. */
  take(): Uint8Array {
    this.used += CACHE_PAGE
    const page = this.free.pop()
    if (page) return page
    const bytes = Math.min(ARENA, Math.max(CACHE_PAGE, this.limit - this.made))
    const arena = new Uint8Array(bytes - (bytes % CACHE_PAGE))
    this.made += arena.length
    for (let at = arena.length - CACHE_PAGE; at > 0; at -= CACHE_PAGE) this.free.push(arena.subarray(at, at + CACHE_PAGE))
    return arena.subarray(0, CACHE_PAGE)
  }

  give(page: Uint8Array): void {
    this.used -= CACHE_PAGE
    if (this.used > 0) this.free.push(page)
    else {
      this.free = []
      this.made = 0
    }
  }
}
