interface Sized {
  readonly bytes: number
}

/** Keeps the pages of all maps of trees under a bound: those that nobody used for long go. */
export class MapMemory {
  private readonly pages = new Map<Sized, { drop: () => void; used: boolean }>()
  private bytes = 0

  /** @param limit bytes; a single page may be larger */
  constructor(readonly limit: number) {}

  /** Bytes of all pages. */
  get taken(): number {
    return this.bytes
  }

  /** @param drop lets the page go; whoever needs it loads it again */
  add(page: Sized, drop: () => void): void {
    this.pages.set(page, { drop, used: true })
    this.bytes += page.bytes
    this.trim(page)
  }

  use(page: Sized): void {
    const entry = this.pages.get(page)
    if (entry) entry.used = true
  }

  grew(bytes: number): void {
    this.bytes += bytes
  }

  /** The oldest first; one that was used since it was last looked at stays once more. */
  private trim(keep: Sized): void {
    for (const [page, entry] of this.pages) {
      if (this.bytes <= this.limit) return
      if (page === keep) continue
      this.pages.delete(page)
      if (entry.used) this.pages.set(page, { ...entry, used: false })
      else {
        this.bytes -= page.bytes
        entry.drop()
      }
    }
  }
}
