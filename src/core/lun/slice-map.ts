import { invariant } from '../base/errors.ts'
import type { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { LMAP_SLICES, LMAP_VALUE } from '../../metadata/records.ts'
import { SLICES } from '../raid/geometry.ts'

/** Slices in a page: 2 GiB of addresses, 8 KiB of memory (Compaq, paragraph 0065; engine.md section 3). */
export const PAGE_SLICES = 2048

/**
 * The LMAP of a LUN: for each 1 MiB slice where it is bound, as typed arrays loaded by page. The array of pages is the
 * L2MAP. An entry is 0 when unbound, else 1 + store * 8 + slice of the store.
 */
export class SliceMap {
  private readonly pages = new Map<number, Uint32Array>()

  constructor(
    private readonly lun: number,
    private readonly metadata: Metadata,
    /** Told of every page that was loaded. */
    private readonly onLoad: () => void,
  ) {}

  isLoaded(slice: number): boolean {
    return this.pages.has(Math.floor(slice / PAGE_SLICES))
  }

  async load(slice: number): Promise<void> {
    const number = Math.floor(slice / PAGE_SLICES)
    if (this.pages.has(number)) return
    const page = new Uint32Array(PAGE_SLICES)
    const from = (number * PAGE_SLICES) / LMAP_SLICES
    for await (const { lo, value } of this.metadata.range(keyOf('lmap', this.lun).hi, from, from + PAGE_SLICES / LMAP_SLICES - 1)) {
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
      for (let i = 0; i < LMAP_SLICES; i++) page[(lo - from) * LMAP_SLICES + i] = view.getUint32(i * 4, true)
    }
    if (this.pages.has(number)) return
    this.pages.set(number, page)
    this.onLoad()
  }

  /** Where a slice is bound: store * 8 + slice of the store, or -1. Its page is loaded. */
  place(slice: number): number {
    return this.page(slice)[slice % PAGE_SLICES]! - 1
  }

  set(slice: number, place: number, batch: Batch): void {
    this.page(slice)[slice % PAGE_SLICES] = place + 1
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, place + 1, true)
    batch.patch(keyOf('lmap', this.lun, Math.floor(slice / LMAP_SLICES)), (slice % LMAP_SLICES) * 4, bytes, LMAP_VALUE)
  }

  /** Slices bound in [from, to), in order, straight from the metadata: for walks that would load every page. */
  async *bound(from: number, to: number): AsyncGenerator<{ slice: number; place: number }> {
    for await (const { lo, value } of this.metadata.range(keyOf('lmap', this.lun).hi, Math.floor(from / LMAP_SLICES), Math.floor((to - 1) / LMAP_SLICES))) {
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
      for (let i = 0; i < LMAP_SLICES; i++) {
        const slice = lo * LMAP_SLICES + i
        const entry = view.getUint32(i * 4, true)
        if (entry !== 0 && slice >= from && slice < to) yield { slice, place: entry - 1 }
      }
    }
  }

  get loadedBytes(): number {
    return this.pages.size * PAGE_SLICES * 4
  }

  forgetPages(): void {
    this.pages.clear()
  }

  private page(slice: number): Uint32Array {
    const page = this.pages.get(Math.floor(slice / PAGE_SLICES))
    invariant(page, `slice ${slice} is used before its page is loaded`)
    return page
  }
}

export const storeOf = (place: number): number => Math.floor(place / SLICES)
export const sliceOf = (place: number): number => place % SLICES
