import { invariant, isCode, isDisksFault } from '../base/errors.ts'
import type { Release } from '../block/range-lock.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { LMAP_SLICES, lunRecord, raidName, typeAt, type LunRecord } from '../../metadata/records.ts'
import { SLICE_ON_MEMBER, SLICES, survivesOf, type Redundancy } from '../raid/geometry.ts'
import type { LunStores } from '../pool/lun-stores.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { Member } from '../pool/store-table.ts'
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
 * The space of a LUN: slices are bound to redundant stores when they are first written, and given back (features.md A7). Whoever calls keeps
 * the map pages in memory meanwhile.
 */
export class SliceSpace {
  /** Groups of eight slices whose binding is under way. */
  private readonly running = new Map<number, Binding>()
  /** Stores whose unbound slices are being cleaned. */
  private readonly cleaning = new Map<number, Promise<void>>()
  private readonly freeStores: number[] = []
  /** Stores with slices that were given back and not made clean since. */
  private readonly unclean = new Set<number>()

  constructor(
    private readonly lun: SlicedLun,
    private readonly pool: Pool,
  ) {}

  /** The binding under way of a group of eight slices: a place in the map counts for writing only when that has ended. */
  binding(group: number): Binding | undefined {
    return this.running.get(group)
  }

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
        const bits = freed.reduce((mask, slice) => mask | (1 << slice), 0)
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
  private retire(store: number): void {
    if (this.lun.types.length === 1) this.freeStores.push(store)
  }

  /** Makes unbound slices of a store that still hold old bytes read as zeros again; who needs it meanwhile shares it. */
  private async cleanStore(store: number): Promise<void> {
    const cleaning = this.cleaning.get(store) ?? this.cleanNow(store).finally(() => this.cleaning.delete(store))
    this.cleaning.set(store, cleaning)
    return cleaning
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

  // ---- binding

  /**
   * Binds the unbound slices from `first` to `last`, all of one group; durable when it resolves. Whoever needs slices of the group
   * in the same turn shares the commit. @throws `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`
   */
  async bind(first: number, last: number): Promise<void> {
    const group = Math.floor(first / SLICES)
    const running = this.running.get(group)
    if (running) return this.join(running, first, last)
    const binding: Binding = { joined: new Set(), begun: false, done: this.bindTogether(group, first, last) }
    this.running.set(group, binding)
    try {
      await binding.done
    } finally {
      this.running.delete(group)
    }
  }

  /** Waits for a binding, and takes part in it while it has not begun. Whoever waits looks again; how it ended is the other's business. */
  async join(binding: Binding, first: number, last: number): Promise<void> {
    if (!binding.begun) for (let slice = first; slice <= last; slice++) binding.joined.add(slice)
    await binding.done.catch(() => undefined)
  }

  private async bindTogether(group: number, first: number, last: number): Promise<void> {
    // Everybody who comes in this turn joins.
    await Promise.resolve()
    const binding = this.running.get(group)
    invariant(binding, 'a binding begins after it is announced')
    binding.begun = true
    const own = Array.from({ length: last - first + 1 }, (_, i) => first + i)
    const all = [...new Set([...own, ...binding.joined])]
    if (all.length === own.length) return this.bindNow(group, own)
    // Where there is no room for all there may be for one: nobody fails for what others asked for.
    await this.bindNow(group, all).catch(() => this.bindNow(group, own))
  }

  private async bindNow(group: number, slices: readonly number[]): Promise<void> {
    const unbound = slices.filter(slice => this.lun.map.place(slice) < 0)
    if (unbound.length === 0) return
    // A store has one type; whoever needs slices of several looks again and binds the others.
    const raid = this.raidAt(unbound[0]!)
    const wanted = unbound.filter(slice => this.raidAt(slice) === raid)
    const home = await this.homeStore(group, raid, wanted)
    if (home !== undefined) {
      const usable = wanted.filter(slice => this.isFree(home, slice % SLICES))
      if (usable.length > 0) return this.bindTo(home, usable, undefined)
    }
    let members: Member[]
    try {
      members = await this.pool.takeMembers(raid, this.lun.number + this.lun.record.nextGeneration)
    } catch (error) {
      if (!isCode(error, 'ERR_POOL_FULL')) throw error
      const spare = await this.anyFreeSlice(raid)
      if (!spare) throw error
      return this.bindTo(spare.store, [wanted[0]!], undefined, spare.slice)
    }
    const store = this.freeStores.pop() ?? this.lun.record.nextStore
    if (store === this.lun.record.nextStore) this.lun.record = { ...this.lun.record, nextStore: store + 1 }
    await this.lun.stores.table.load(store)
    return this.bindTo(store, wanted, { group, raid, members })
  }

  private raidAt(slice: number): Redundancy {
    return raidName(typeAt(this.lun.record, slice))
  }

  private isFree(store: number, slice: number): boolean {
    return ((this.lun.stores.table.boundMask(store) | this.lun.stores.table.dirtyMask(store)) & (1 << slice)) === 0
  }

  /** The store of a type that was made for a group, found through a neighbour that is bound to it; its slices cleaned where they are needed. */
  private async homeStore(group: number, raid: Redundancy, wanted: readonly number[]): Promise<number | undefined> {
    for (let slice = group * SLICES; slice < (group + 1) * SLICES; slice++) {
      const place = this.lun.map.place(slice)
      if (place < 0) continue
      const store = storeOf(place)
      await this.lun.stores.table.load(store)
      if (this.lun.stores.table.home(store) !== group || this.lun.stores.table.raid(store) !== raid) continue
      if (wanted.some(other => (this.lun.stores.table.dirtyMask(store) & (1 << (other % SLICES))) !== 0)) await this.cleanStore(store)
      return store
    }
    return undefined
  }

  /** Before "no space": a free slice of any store of this LUN and type (features.md A7). */
  private async anyFreeSlice(raid: Redundancy): Promise<{ store: number; slice: number } | undefined> {
    for (let store = 0; store < this.lun.record.nextStore; store++) {
      await this.lun.stores.table.load(store)
      if (!this.lun.stores.table.exists(store) || this.lun.stores.table.raid(store) !== raid) continue
      if (this.lun.stores.table.dirtyMask(store) !== 0) await this.cleanStore(store)
      for (let slice = 0; slice < SLICES; slice++) if (this.isFree(store, slice)) return { store, slice }
    }
    return undefined
  }

  /**
   * Binds slices to a store: host blocks first, then one durable commit. Data may be written only after it, so that space
   * that counts as clean is never dirty.
   *
   * @param fresh the members of a store that this binding makes
   * @param into slice of the store, when it is not the LUN slice's own place in its group
   */
  private async bindTo(
    store: number,
    slices: readonly number[],
    fresh: { group: number; raid: Redundancy; members: Member[] } | undefined,
    into?: number,
  ): Promise<void> {
    const { table } = this.lun.stores
    const members = fresh?.members ?? table.membersOf(store)
    const isRedundant = survivesOf[fresh?.raid ?? table.raid(store)] > 0
    const inStore = slices.map(slice => into ?? slice % SLICES)
    const failed = await this.reserveOnHost(members, inStore, isRedundant)
    if (failed) {
      if (fresh) {
        this.pool.releaseMembers(fresh.members)
        this.freeStores.push(store)
      }
      if (!isRedundant || !isCode(failed.error, 'ERR_IO')) throw failed.error
      // The disk's fault, not the writer's: without it the binding is tried anew.
      return this.pool.failDisk(failed.disk, failed.error)
    }
    // From here to the commit nothing waits: memory and journal change in the same order.
    const bits = inStore.reduce((mask, slice) => mask | (1 << slice), 0)
    if (!fresh && (!table.exists(store) || inStore.some(slice => !this.isFree(store, slice)))) return
    const batch = new Batch()
    if (fresh) {
      this.pool.bindMembers(fresh.members, batch)
      const generation = this.lun.record.nextGeneration || 1
      this.lun.record = { ...this.lun.record, nextGeneration: generation + 1 }
      table.add(store, { raid: fresh.raid, home: fresh.group, generation, members: fresh.members }, bits, batch)
    } else table.setMasks(store, table.boundMask(store) | bits, table.dirtyMask(store), batch)
    slices.forEach((slice, i) => {
      this.lun.map.set(slice, store * SLICES + inStore[i]!, batch)
    })
    this.lun.stores.openWith(store, inStore, batch)
    this.lun.record = { ...this.lun.record, boundSlices: this.lun.record.boundSlices + slices.length, storeCount: this.lun.record.storeCount + (fresh ? 1 : 0) }
    this.patchCounters(batch)
    try {
      await this.pool.metadata.commit(batch, 'data')
    } catch (error) {
      this.undoBinding(store, slices, inStore, fresh)
      throw error
    }
  }

  /** A binding that the metadata refused never happened; memory goes back, so that the next commits of shared bytes are right. */
  private undoBinding(store: number, slices: readonly number[], inStore: readonly number[], fresh: { members: Member[] } | undefined): void {
    const batch = new Batch()
    const bits = inStore.reduce((mask, slice) => mask | (1 << slice), 0)
    for (const slice of slices) this.lun.map.set(slice, -1, batch)
    this.lun.stores.forget(store, inStore, batch)
    this.lun.record = { ...this.lun.record, boundSlices: this.lun.record.boundSlices - slices.length, storeCount: this.lun.record.storeCount - (fresh ? 1 : 0) }
    if (fresh) {
      this.lun.stores.table.remove(store, batch)
      this.pool.unbindMembers(fresh.members, batch)
      this.retire(store)
    } else this.lun.stores.table.setMasks(store, this.lun.stores.table.boundMask(store) & ~bits, this.lun.stores.table.dirtyMask(store), batch)
  }

  /** Takes the host's blocks for slices of a store on every member that is written. @returns the first failure, once all calls have ended */
  private async reserveOnHost(
    members: readonly Member[],
    slices: readonly number[],
    isRedundant: boolean,
  ): Promise<{ disk: PoolDisk; error: unknown } | undefined> {
    const sorted = [...slices].sort((a, b) => a - b)
    const runs: { from: number; count: number }[] = []
    for (const slice of sorted) {
      const last = runs.at(-1)
      if (last && last.from + last.count === slice) last.count++
      else runs.push({ from: slice, count: 1 })
    }
    let failed: { disk: PoolDisk; error: unknown } | undefined
    const calls: Promise<void>[] = []
    for (const { disk: number, segment } of members) {
      const disk = this.pool.disk(number)
      if (isRedundant ? !disk.inService : !disk.device) continue
      for (const { from, count } of runs) {
        calls.push(
          disk.reserve(segment, from * SLICE_ON_MEMBER, count * SLICE_ON_MEMBER).catch((error: unknown) => {
            failed ??= { disk, error }
          }),
        )
      }
    }
    await Promise.all(calls)
    return failed
  }

  /** Binds the slices [from, to). @throws as `bind` */
  async bindAll(from: number, to: number): Promise<void> {
    for (let slice = from; slice < to;) {
      const last = Math.min(to, (Math.floor(slice / SLICES) + 1) * SLICES) - 1
      await this.lun.map.load(slice)
      for (let i = slice; i <= last; i++) {
        if (this.lun.map.place(i) < 0) {
          await this.bind(slice, last)
          i = slice - 1
        }
      }
      slice = last + 1
    }
  }

  private patchCounters(batch: Batch): void {
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

/** A binding of slices of one group, by whoever came first for all who came before it began. */
export interface Binding {
  /** Slices that others need. */
  readonly joined: Set<number>
  begun: boolean
  readonly done: Promise<void>
}

const placesOf = (members: readonly Member[]): string => members.map(({ disk, segment }) => `${disk}.${segment}`).join()

invariant(LMAP_SLICES % SLICES === 0, 'a group of slices never crosses an LMAP record')
