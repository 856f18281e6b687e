import { invariant, isCode, LunarError } from '../core/base/errors.ts'
import { isNode, type Pointer } from './node.ts'
import { BLOCK, SEGMENT } from './layout.ts'
import type { MetadataDisk } from './quorum-disk.ts'
import { STORES_MAX, type Place, type StoreEntry } from './root.ts'

/** An address is the number of the metadata store times this, plus the block in it. */
const STORE_UNIT = 2 ** 24
const BLOCKS_PER_SEGMENT = SEGMENT / BLOCK
/** Neighbouring blocks are written in one request up to this many. */
const RUN_MAX = 256

export interface SpaceEvents {
  /** A copy of a block failed its checksum or could not be read; it was rewritten from another copy, or not (`repaired`). */
  copyDamaged(disk: MetadataDisk, address: number, repaired: boolean): void
  /** A copy could not be written: the disk no longer has what the next root points to. */
  copyFailed(disk: MetadataDisk, error: unknown): void
  /** In how many failure domains the places of a store are in service. */
  coverage(places: readonly Place[]): number
}

interface Store {
  readonly entry: StoreEntry
  /** 1: used by the tree, or by a tree that a durable root still points to. */
  readonly used: Uint8Array
  cursor: number
}

/** The blocks of the metadata tree on disk: which are free, where their copies lie, reading any copy, writing all. */
export class MetadataSpace {
  private readonly stores = new Map<number, Store>()
  private released: number[] = []
  private freeCount = 0

  constructor(
    private readonly poolId: string,
    entries: readonly StoreEntry[],
    /** Disks in service, by number. */
    private readonly disks: ReadonlyMap<number, MetadataDisk>,
    private readonly events: SpaceEvents,
    private readonly readOnly: boolean,
  ) {
    for (const entry of entries) this.addStore(entry)
  }

  get entries(): StoreEntry[] {
    return [...this.stores.values()].map(store => store.entry)
  }

  /** Blocks that a checkpoint may write to. */
  get free(): number {
    return this.freeCount
  }

  get capacity(): number {
    let blocks = 0
    for (const store of this.stores.values()) blocks += store.used.length
    return blocks
  }

  get isFull(): boolean {
    return this.stores.size >= STORES_MAX
  }

  addStore(entry: StoreEntry): void {
    const blocks = entry.segments * BLOCKS_PER_SEGMENT
    this.stores.set(entry.id, { entry, used: new Uint8Array(blocks), cursor: 0 })
    this.freeCount += blocks
  }

  /** Notes that a block belongs to the tree that was opened. @throws LunarError `ERR_METADATA_DAMAGED` for an address outside, or one used twice */
  markUsed(address: number): void {
    const store = this.stores.get(Math.floor(address / STORE_UNIT))
    const block = address % STORE_UNIT
    if (!store || block >= store.used.length)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use metadata block ${address}`, { why: 'it lies outside of the metadata stores' })
    if (store.used[block] === 1)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use metadata block ${address}`, { why: 'two places of the tree point to it' })
    store.used[block] = 1
    this.freeCount--
  }

  /** Takes a free block; stores that cover the most failure domains come first. */
  take(): number {
    const ordered = [...this.stores.values()].sort((a, b) => this.events.coverage(b.entry.places) - this.events.coverage(a.entry.places))
    for (const store of ordered) {
      for (let tried = 0; tried < store.used.length; tried++) {
        const block = store.cursor
        store.cursor = (store.cursor + 1) % store.used.length
        if (store.used[block] === 0) {
          store.used[block] = 1
          this.freeCount--
          return store.entry.id * STORE_UNIT + block
        }
      }
    }
    throw new LunarError('ERR_BUG', 'Invariant broken: a checkpoint found no free metadata block')
  }

  /** A block the tree no longer uses; free once the next root is durable. */
  release(address: number): void {
    this.released.push(address)
  }

  /** The root that no longer points to the released blocks is durable. */
  commitReleased(): void {
    for (const address of this.released) {
      const store = this.stores.get(Math.floor(address / STORE_UNIT))
      invariant(store && store.used[address % STORE_UNIT] === 1, 'a metadata block is freed twice')
      store.used[address % STORE_UNIT] = 0
      this.freeCount++
    }
    this.released = []
  }

  /** @throws LunarError `ERR_METADATA_DAMAGED` when no copy is right; a wrong copy beside a right one is rewritten */
  async read(pointer: Pointer): Promise<Uint8Array> {
    const store = this.stores.get(Math.floor(pointer.address / STORE_UNIT))
    const index = pointer.address % STORE_UNIT
    if (!store || index >= store.used.length)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot read metadata block ${pointer.address}`, { why: 'it lies outside of the metadata stores' })
    const damaged: { disk: MetadataDisk; at: number }[] = []
    let absent = 0
    for (const place of store.entry.places) {
      const disk = this.disks.get(place.disk)
      if (!disk) {
        absent++
        continue
      }
      const at = disk.segmentsAt + place.segment * SEGMENT + index * BLOCK
      const block = new Uint8Array(BLOCK)
      try {
        await disk.disk.read(at, block)
      } catch (error) {
        if (!isCode(error, 'ERR_IO')) throw error
        damaged.push({ disk, at })
        continue
      }
      if (isNode(block, this.poolId, pointer)) {
        await this.repair(pointer.address, block, damaged)
        return block
      }
      damaged.push({ disk, at })
    }
    for (const { disk } of damaged) this.events.copyDamaged(disk, pointer.address, false)
    throw new LunarError('ERR_METADATA_DAMAGED', `Cannot read metadata block ${pointer.address}`, {
      why: `${damaged.length} of its copies ${damaged.length === 1 ? 'is' : 'are'} damaged, ${absent} on disks that are away`,
    })
  }

  /**
   * Compares every copy in service, or those on the disks `missed`, with what the pointer says, and rewrites wrong ones.
   * What a disk missed while it was away is no damage.
   * @returns how many were wrong
   */
  async verifyCopies(pointer: Pointer, missed?: ReadonlySet<number>): Promise<number> {
    const store = this.stores.get(Math.floor(pointer.address / STORE_UNIT))
    invariant(store, 'a pointer outside of the metadata stores')
    const index = pointer.address % STORE_UNIT
    const wrong: { disk: MetadataDisk; at: number }[] = []
    let right: Uint8Array | undefined
    for (const place of store.entry.places) {
      const disk = this.disks.get(place.disk)
      if (!disk || (missed && !missed.has(place.disk))) continue
      const at = disk.segmentsAt + place.segment * SEGMENT + index * BLOCK
      const block = new Uint8Array(BLOCK)
      try {
        await disk.disk.read(at, block)
      } catch (error) {
        if (!isCode(error, 'ERR_IO')) throw error
      }
      if (isNode(block, this.poolId, pointer)) right = block
      else wrong.push({ disk, at })
    }
    if (wrong.length === 0) return 0
    const good = right ?? (await this.read(pointer))
    if (missed) for (const copy of wrong) await this.rewrite(good, copy)
    else await this.repair(pointer.address, good, wrong)
    return wrong.length
  }

  /** Stores in service in fewer failure domains than `least`, which the tree should leave. */
  thinStores(least: number): StoreEntry[] {
    return this.entries.filter(entry => this.events.coverage(entry.places) < least)
  }

  /** Free blocks in stores in service in at least `least` failure domains. */
  freeIn(least: number): number {
    let free = 0
    for (const store of this.stores.values()) if (this.events.coverage(store.entry.places) >= least) free += store.used.reduce((sum, used) => sum + 1 - used, 0)
    return free
  }

  /** Takes stores that no block of the tree uses out of the list. */
  dropUnused(entries: readonly StoreEntry[]): StoreEntry[] {
    const dropped: StoreEntry[] = []
    for (const entry of entries) {
      const store = this.stores.get(entry.id)
      if (!store?.used.every(used => used === 0)) continue
      this.stores.delete(entry.id)
      this.freeCount -= store.used.length
      dropped.push(entry)
    }
    return dropped
  }

  /**
   * Writes blocks to all copies in service, durable when it resolves.
   * @throws LunarError `ERR_IO` when a block could not be written to any copy; host errors that are no disk's fault as they come
   */
  async write(blocks: readonly { address: number; bytes: Uint8Array }[]): Promise<void> {
    const sorted = [...blocks].sort((a, b) => a.address - b.address)
    const written = new Map<number, number>()
    const writes: Promise<void>[] = []
    for (let from = 0; from < sorted.length;) {
      let to = from + 1
      while (to < sorted.length && to - from < RUN_MAX && sorted[to]!.address === sorted[to - 1]!.address + 1) to++
      const run = sorted.slice(from, to)
      const bytes = run.length === 1 ? run[0]!.bytes : Buffer.concat(run.map(block => block.bytes))
      const address = run[0]!.address
      const store = this.stores.get(Math.floor(address / STORE_UNIT))
      invariant(store, 'a block outside of the metadata stores')
      for (const place of store.entry.places) {
        const disk = this.disks.get(place.disk)
        if (!disk) continue
        const at = disk.segmentsAt + place.segment * SEGMENT + (address % STORE_UNIT) * BLOCK
        writes.push(
          disk.disk.writeDurable(at, bytes).then(
            () => {
              for (const block of run) written.set(block.address, (written.get(block.address) ?? 0) + 1)
            },
            error => {
              if (!isCode(error, 'ERR_IO')) throw error
              this.events.copyFailed(disk, error)
            },
          ),
        )
      }
      from = to
    }
    const results = await Promise.allSettled(writes)
    for (const result of results) if (result.status === 'rejected') throw result.reason
    const lost = sorted.filter(block => !written.has(block.address))
    if (lost.length > 0)
      throw new LunarError('ERR_IO', `Cannot write ${lost.length} metadata blocks`, { why: 'every disk with a copy of them failed or is away' })
  }

  private async repair(address: number, good: Uint8Array, damaged: readonly { disk: MetadataDisk; at: number }[]): Promise<void> {
    for (const { disk, at } of damaged) {
      if (this.readOnly) {
        this.events.copyDamaged(disk, address, false)
        continue
      }
      if (await this.rewrite(good, { disk, at })) this.events.copyDamaged(disk, address, true)
    }
  }

  /** @returns whether the copy is right now */
  private async rewrite(good: Uint8Array, { disk, at }: { disk: MetadataDisk; at: number }): Promise<boolean> {
    try {
      await disk.disk.writeDurable(at, good)
      return true
    } catch (error) {
      if (!isCode(error, 'ERR_IO')) throw error
      this.events.copyFailed(disk, error)
      return false
    }
  }
}
