import { isDisksFault } from '../base/errors.ts'
import type { Release } from '../block/range-lock.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { lunRecord, type LunRecord } from '../../metadata/records.ts'
import { SLICE_ON_MEMBER, SLICES, type Redundancy } from '../raid/geometry.ts'
import { maskOf } from '../raid/slices.ts'
import type { LunStores } from '../pool/lun-stores.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import { placesOf, type Member } from '../pool/store-table.ts'
import { sliceOf, storeOf, type SliceMap } from './slice-map.ts'

/** Slices given back in one commit. */
const UNBIND_BATCH = 64

/** The LUN whose slices these are. */
export interface SlicedLun {
  readonly number: number
  /** Replaced as a whole when its counters change. */
  record: LunRecord
  readonly map: SliceMap
  readonly stores: LunStores
  readonly types: readonly Redundancy[]
}

/**
 * The space of a LUN: slices that were bound to redundant stores (slice-binding.ts) are given back, and made clean (features.md A7). Whoever calls
 * keeps the map pages in memory meanwhile.
 */
export class SliceSpace {
  /** Stores whose unbound slices are being cleaned. */
  private readonly cleaning = new Map<number, Promise<void>>()
  /** Stores of which members are being moved: nothing of them is cleaned. */
  private readonly moving = new Map<number, Promise<void>>()
  private readonly freeStores: number[] = []
  /** Stores with slices that were given back and not made clean since. */
  private readonly unclean = new Set<number>()

  constructor(
    private readonly lun: SlicedLun,
    private readonly pool: Pool,
  ) {}

  // ---- giving back

  /** Unbinds the slices [from, to). @returns how many were bound */
  async unbind(from: number, to: number): Promise<number> {
    let count = 0
    let group: number[] = []
    for await (const { slice } of this.lun.map.bound(from, to)) {
      group.push(slice)
      if (group.length === UNBIND_BATCH) {
        count += await this.unbindSlices(group)
        group = []
      }
    }
    if (group.length > 0) count += await this.unbindSlices(group)
    return count
  }

  private async unbindSlices(slices: readonly number[]): Promise<number> {
    for (const slice of slices) await this.lun.map.load(slice)
    const placed = slices.map(slice => ({ slice, place: this.lun.map.place(slice) })).filter(({ place }) => place >= 0)
    // In one order, so that two that lock several slices never wait for each other.
    placed.sort((a, b) => a.place - b.place)
    const releases: Release[] = []
    try {
      for (const { place } of placed) {
        await this.lun.stores.table.load(storeOf(place))
        releases.push(await this.lun.stores.lockSlice(storeOf(place), sliceOf(place), 'exclusive'))
      }
      const batch = new Batch()
      const byStore = new Map<number, number[]>()
      let count = 0
      for (const { slice, place } of placed) {
        if (this.lun.map.place(slice) !== place) continue
        this.lun.map.set(slice, -1, batch)
        byStore.set(storeOf(place), [...(byStore.get(storeOf(place)) ?? []), sliceOf(place)])
        count++
      }
      if (count === 0) return 0
      for (const [store, freed] of byStore) {
        const bits = maskOf(freed)
        this.lun.stores.forget(store, freed, batch)
        const bound = this.lun.stores.table.boundMask(store) & ~bits
        if (bound === 0) this.removeStore(store, batch)
        else {
          this.lun.stores.table.setMasks(store, bound, this.lun.stores.table.dirtyMask(store) | bits, batch)
          this.unclean.add(store)
        }
      }
      this.lun.record = { ...this.lun.record, boundSlices: this.lun.record.boundSlices - count }
      this.patchCounters(batch)
      await this.pool.metadata.commit(batch, 'data', true)
      return count
    } finally {
      for (const release of releases) release()
    }
  }

  /** Drops a store whose slices are all unbound; its segments are freed. */
  private removeStore(store: number, batch: Batch): void {
    this.pool.freeMembers(this.lun.stores.table.membersOf(store), batch)
    this.lun.stores.forgetStore(store, batch)
    this.lun.stores.table.remove(store, batch)
    this.lun.record = { ...this.lun.record, storeCount: this.lun.record.storeCount - 1 }
    this.retire(store)
  }

  /**
   * The number of a store that is gone is given out again only where all stores have one type: whoever waits for a lock of the old one chose
   * the addresses to lock, and what to do then, by its type.
   */
  retire(store: number): void {
    if (this.lun.types.length === 1) this.freeStores.push(store)
  }

  /** Makes unbound slices of a store that still hold old bytes read as zeros again; who needs it meanwhile shares it. */
  async cleanStore(store: number): Promise<void> {
    for (let moving = this.moving.get(store); moving; moving = this.moving.get(store)) await moving
    const cleaning = this.cleaning.get(store) ?? this.cleanNow(store).finally(() => this.cleaning.delete(store))
    this.cleaning.set(store, cleaning)
    return cleaning
  }

  /** Moves members of a store; cleaning it, which knows where they are, is over before and waits. @throws what `move` throws */
  async moveStore<T>(store: number, move: () => Promise<T>): Promise<T> {
    for (;;) {
      const busy = this.moving.get(store) ?? this.cleaning.get(store)?.catch(() => undefined)
      if (!busy) break
      await busy
    }
    const moved = move()
    const over = moved.then(
      () => undefined,
      () => undefined,
    )
    this.moving.set(store, over)
    try {
      return await moved
    } finally {
      this.moving.delete(store)
    }
  }

  private async cleanNow(store: number): Promise<void> {
    const { table } = this.lun.stores
    const dirty = table.dirtyMask(store)
    const members = table.membersOf(store)
    const isRedundant = this.lun.stores.members.isRedundant(store)
    // A column nobody can clean now stays dirty, and what is dirty is not bound.
    if (!this.lun.stores.members.canWriteAll(store)) return
    const slices = Array.from({ length: SLICES }, (_, slice) => slice).filter(slice => (dirty & (1 << slice)) !== 0)
    await this.lun.stores.voidLogged(store, slices)
    const cleaned = new Set<Member>()
    const uncleaned = (): Member[] =>
      members.filter(member => {
        const disk = this.pool.disk(member.disk)
        return !cleaned.has(member) && (isRedundant ? disk.inService : disk.device !== undefined)
      })
    // A disk that comes into service meanwhile is cleaned, too: it is not marked as one that missed it.
    for (let due = uncleaned(); due.length > 0; due = uncleaned()) {
      const failed = await this.cleanMembers(due, slices)
      if (failed) return this.cannotClean(failed.disk, failed.error)
      for (const member of due) cleaned.add(member)
    }
    // Its last slice may have been unbound meanwhile: then it is gone, or another store has its number.
    if (!table.exists(store) || placesOf(table.membersOf(store)) !== placesOf(members)) return
    const batch = new Batch()
    this.lun.stores.markMissed(store, dirty, batch)
    table.setMasks(store, table.boundMask(store), table.dirtyMask(store) & ~dirty, batch)
    await this.pool.metadata.commit(batch, 'data', true)
  }

  /** Makes slices of members read as zeros, durably. @returns the disk that cannot, if any */
  private async cleanMembers(members: readonly Member[], slices: readonly number[]): Promise<{ disk: PoolDisk; error: unknown } | undefined> {
    const touched = new Set<PoolDisk>()
    for (const { disk: number, segment } of members) {
      const disk = this.pool.disk(number)
      try {
        for (const slice of slices) await disk.punch(segment, slice * SLICE_ON_MEMBER, SLICE_ON_MEMBER)
      } catch (error) {
        return { disk, error }
      }
      touched.add(disk)
    }
    const flushed = await Promise.all(
      [...touched].map(disk =>
        disk.flush().then(
          () => undefined,
          (error: unknown) => ({ disk, error }),
        ),
      ),
    )
    return flushed.find(failure => failure !== undefined)
  }

  /** Stores of which slices were given back since the pool was opened, and are not clean: their space is still taken on the disks. */
  get uncleanCount(): number {
    return this.unclean.size
  }

  /** Gives the space of slices that were given back to the disks, of some stores. What is bound again meanwhile cleans itself. */
  async cleanSome(storesMax: number): Promise<void> {
    const { table } = this.lun.stores
    for (const store of [...this.unclean].slice(0, storesMax)) {
      this.unclean.delete(store)
      await table.load(store)
      if (!table.exists(store) || table.dirtyMask(store) === 0) continue
      try {
        await this.cleanStore(store)
      } catch (error) {
        // It stays to be cleaned when it is bound again: nobody waits for the space of a disk that fails.
        if (!isDisksFault(error)) throw error
      }
    }
  }

  /** A redundant store goes on without the disk, and what is dirty stays so: other space is bound. */
  private async cannotClean(disk: PoolDisk, error: unknown): Promise<void> {
    if (!this.lun.stores.redundant || !isDisksFault(error)) throw error
    await this.pool.failDisk(disk, error)
  }

  /** A number for a store that is about to be made. */
  takeNumber(): number {
    const free = this.freeStores.pop()
    if (free !== undefined) return free
    const store = this.lun.record.nextStore
    this.lun.record = { ...this.lun.record, nextStore: store + 1 }
    return store
  }

  /** The store was not made after all. */
  giveBackNumber(store: number): void {
    this.freeStores.push(store)
  }

  /** Puts the counters of the LUN's record into a batch. */
  patchCounters(batch: Batch): void {
    const bytes = new Uint8Array(12)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, this.lun.record.nextStore, true)
    view.setUint32(4, this.lun.record.boundSlices, true)
    view.setUint32(8, this.lun.record.storeCount, true)
    batch.patch(keyOf('lun', this.lun.number), lunRecord.fields.nextStore.offset, bytes, lunRecord.size)
    const generation = new Uint8Array(4)
    new DataView(generation.buffer).setUint32(0, this.lun.record.nextGeneration, true)
    batch.patch(keyOf('lun', this.lun.number), lunRecord.fields.nextGeneration.offset, generation, lunRecord.size)
  }
}
