import { invariant } from '../base/errors.ts'
import type { Place, PlacedBlock, WriteOnceMap } from '../block/write-once.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf, type Key } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { decodeWodBlocks, WOD_BLOCKS, WOD_BLOCKS_VALUE, WOD_ENTRY, eraIndex } from '../../metadata/records.ts'

/** Pages of one map that stay in memory. 512 bytes each. */
const PAGES_MAX = 16 * 1024

/** The map of a write-once device in the metadata of a pool: slot and crc32c of each written block, loaded by page. */
export class BlockMap implements WriteOnceMap {
  private currentEra: number
  private readonly pages = new Map<number, Uint8Array>()
  /** Pages on their way; one that is changed meanwhile is read again. */
  private readonly loading = new Map<number, { done: Promise<void>; stale: boolean }>()

  constructor(
    private readonly metadata: Metadata,
    private readonly wod: number,
    /** The era that the device has. */
    private readonly eraNow: () => number,
    /** Gives the device another era, durably. */
    private readonly startEra: () => Promise<void>,
  ) {
    this.currentEra = eraNow()
  }

  load(from: number, to: number): Promise<void> | undefined {
    for (let page = pageOf(from); page < pageOf(to - 1) + 1; page++) if (!this.pages.has(page)) return this.loadPages(pageOf(from), pageOf(to - 1))
    return undefined
  }

  private async loadPages(first: number, last: number): Promise<void> {
    if (this.pages.size + last - first >= PAGES_MAX) this.pages.clear()
    for (let page = first; page <= last; page++) {
      if (this.pages.has(page)) continue
      let running = this.loading.get(page)
      if (!running) {
        running = { done: Promise.resolve(), stale: false }
        this.loading.set(page, running)
        running.done = this.loadPage(page, running)
      }
      await running.done
    }
  }

  private async loadPage(page: number, running: { stale: boolean }): Promise<void> {
    try {
      for (;;) {
        running.stale = false
        const value = await this.metadata.get(this.keyOf(page))
        if (running.stale) continue
        const bytes = new Uint8Array(WOD_BLOCKS_VALUE)
        if (value) bytes.set(value)
        this.pages.set(page, bytes)
        return
      }
    } finally {
      this.loading.delete(page)
    }
  }

  get(block: number): Place | undefined {
    const page = this.pages.get(pageOf(block))
    invariant(page, `block ${block} is asked for before its page is loaded`)
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
    const at = (block % WOD_BLOCKS) * WOD_ENTRY
    const slot = view.getUint32(at, true) - 1
    return slot < 0 ? undefined : { slot, crc: view.getUint32(at + 4, true) }
  }

  async put(blocks: readonly PlacedBlock[]): Promise<void> {
    await this.change(blocks.map(({ block, slot, crc }) => ({ block, entry: entryOf(slot + 1, crc) })))
  }

  async clear(blocks: readonly number[]): Promise<void> {
    await this.change(blocks.map(block => ({ block, entry: entryOf(0, 0) })))
  }

  private async change(entries: readonly { readonly block: number; readonly entry: Uint8Array }[]): Promise<void> {
    const batch = new Batch()
    for (const { block, entry } of entries) batch.patch(this.keyOf(pageOf(block)), (block % WOD_BLOCKS) * WOD_ENTRY, entry, WOD_BLOCKS_VALUE)
    await this.metadata.commit(batch, 'data')
    for (const { block, entry } of entries) {
      this.pages.get(pageOf(block))?.set(entry, (block % WOD_BLOCKS) * WOD_ENTRY)
      const running = this.loading.get(pageOf(block))
      if (running) running.stale = true
    }
  }

  async clearAll(): Promise<void> {
    await this.startEra()
    this.renewed()
  }

  renewed(): void {
    this.currentEra = this.eraNow()
    this.pages.clear()
    for (const running of this.loading.values()) running.stale = true
  }

  async *written(from: number, to: number): AsyncGenerator<PlacedBlock> {
    if (to <= from) return
    const last = eraIndex(this.currentEra, pageOf(to - 1))
    for await (const { lo, value } of this.metadata.range(hiOf('wodBlocks', this.wod), eraIndex(this.currentEra, pageOf(from)), last))
      for (const placed of decodeWodBlocks(value, lo - eraIndex(this.currentEra, 0))) if (placed.block >= from && placed.block < to) yield placed
  }

  private keyOf(page: number): Key {
    return keyOf('wodBlocks', this.wod, eraIndex(this.currentEra, page))
  }
}

const pageOf = (block: number): number => Math.floor(block / WOD_BLOCKS)

function entryOf(slot: number, crc: number): Uint8Array {
  const entry = new Uint8Array(WOD_ENTRY)
  const view = new DataView(entry.buffer)
  view.setUint32(0, slot, true)
  view.setUint32(4, crc, true)
  return entry
}
