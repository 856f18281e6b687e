import type { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { OPEN_STORES, staleKey } from '../../metadata/records.ts'
import { SLICE_ON_MEMBER, SLICES } from '../raid/geometry.ts'
import type { StoreTable } from './store-table.ts'

/** A slice of a store, as one number: store * 8 + slice. */
export type SliceKey = number

/** A slice that may differ between members, because writes since the last flush may be on some only. */
export interface OpenSlice {
  /** Goes up with each write. */
  version: number
  /** Writes under way. */
  writers: number
  /** Round of flushes of the LUN in which it was last written. */
  round: number
}

/**
 * What the metadata says about slices of redundant stores (hazards 10, 33, 37): *open* slices may differ between their members; the bit
 * is durable before the first such write. *Stale* bits say which member missed writes to a slice while it was away. *Unsynced*, in
 * memory, are slices that were open when the pool was opened, until they are resynced. Changes are made in memory and in a batch at once.
 */
export class StoreBits {
  readonly open = new Map<SliceKey, OpenSlice>()
  readonly unsynced = new Set<SliceKey>()
  /** Commits under way that make a bit durable, by a name for the bit. */
  readonly pending = new Map<string, Promise<void>>()
  private readonly openRecords = new Map<number, Uint8Array>()
  private readonly stale = new Map<number, Uint8Array>()

  constructor(
    private readonly lun: number,
    private readonly table: StoreTable,
  ) {}

  /** Reads open and stale records. Slices open now were left so by a crash, or waited for a resync when the pool was closed. */
  async load(metadata: Metadata): Promise<void> {
    for await (const { lo, value } of metadata.range(keyOf('open', this.lun).hi)) {
      const masks = new Uint8Array(OPEN_STORES)
      masks.set(value.subarray(0, OPEN_STORES))
      this.openRecords.set(lo, masks)
      for (let i = 0; i < OPEN_STORES; i++) {
        for (let slice = 0; slice < SLICES; slice++) {
          if ((masks[i]! & (1 << slice)) === 0) continue
          const key = (lo * OPEN_STORES + i) * SLICES + slice
          this.open.set(key, { version: 0, writers: 0, round: 0 })
          this.unsynced.add(key)
        }
      }
    }
    for await (const { lo, value } of metadata.range(staleKey(this.lun, 0).hi)) this.stale.set(lo, new Uint8Array(value))
  }

  // ---- open

  setOpen(key: SliceKey, batch: Batch): void {
    this.open.set(key, { version: 0, writers: 0, round: 0 })
    this.patchOpen(key, true, batch)
  }

  clearOpen(key: SliceKey, batch: Batch): void {
    this.open.delete(key)
    this.patchOpen(key, false, batch)
  }

  private patchOpen(key: SliceKey, on: boolean, batch: Batch): void {
    const store = Math.floor(key / SLICES)
    const group = Math.floor(store / OPEN_STORES)
    let masks = this.openRecords.get(group)
    if (!masks) this.openRecords.set(group, (masks = new Uint8Array(OPEN_STORES)))
    const bit = 1 << (key % SLICES)
    masks[store % OPEN_STORES] = on ? masks[store % OPEN_STORES]! | bit : masks[store % OPEN_STORES]! & ~bit
    if (masks.some(mask => mask !== 0))
      batch.patch(keyOf('open', this.lun, group), store % OPEN_STORES, masks.slice(store % OPEN_STORES, (store % OPEN_STORES) + 1), OPEN_STORES)
    else {
      this.openRecords.delete(group)
      batch.delete(keyOf('open', this.lun, group))
    }
  }

  // ---- stale

  isStale(store: number, slice: number, member: number): boolean {
    const masks = this.stale.get(store)
    return masks !== undefined && (masks[member]! & (1 << slice)) !== 0
  }

  hasStale(store: number): boolean {
    return this.stale.has(store)
  }

  get anyStale(): boolean {
    return this.stale.size > 0
  }

  /** Stores with a stale member. */
  get staleStores(): number[] {
    return [...this.stale.keys()]
  }

  /** Bytes that a disk missed in a store. The store's page is loaded. */
  staleBytes(store: number, disk: number): number {
    const masks = this.stale.get(store)
    if (!masks) return 0
    let bytes = 0
    for (let m = 0; m < masks.length; m++) if (this.table.diskOf(store, m) === disk) bytes += bitCount(masks[m]!) * SLICE_ON_MEMBER
    return bytes
  }

  /** The mark counts from now on; `putStale` puts it into a batch. */
  setStale(store: number, slice: number, member: number): void {
    let masks = this.stale.get(store)
    if (!masks) this.stale.set(store, (masks = new Uint8Array(this.table.memberCount(store))))
    masks[member] = masks[member]! | (1 << slice)
  }

  clearStale(store: number, slice: number, member: number): void {
    const masks = this.stale.get(store)
    if (masks) masks[member] = masks[member]! & ~(1 << slice)
  }

  putStale(store: number, batch: Batch): void {
    const masks = this.stale.get(store)
    if (masks?.some(mask => mask !== 0)) batch.put(staleKey(this.lun, store), masks.slice())
    else {
      this.stale.delete(store)
      batch.delete(staleKey(this.lun, store))
    }
  }

  /** The store is gone: also what members missed of its unbound slices means nothing any more. */
  forgetStore(store: number, batch: Batch): void {
    if (this.stale.delete(store)) batch.delete(staleKey(this.lun, store))
  }

  /** Drops open and stale marks of slices that are unbound in the same batch. */
  forget(store: number, slices: readonly number[], batch: Batch): void {
    for (const slice of slices) {
      const key = store * SLICES + slice
      this.unsynced.delete(key)
      if (this.open.has(key)) this.clearOpen(key, batch)
      const masks = this.stale.get(store)
      if (masks) for (let m = 0; m < masks.length; m++) masks[m]! &= ~(1 << slice)
    }
    if (this.stale.has(store)) this.putStale(store, batch)
  }

  /** What is there for `staleAll` to compare. */
  staleText(store: number): string | undefined {
    return this.stale.get(store)?.join()
  }
}

function bitCount(mask: number): number {
  let count = 0
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++
  return count
}
