import { invariant, isCode } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import { raidName, stripeAt, typeAt } from '../../metadata/records.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import { placesOf, type Member } from '../pool/store-table.ts'
import { SLICE_ON_MEMBER, SLICES, survivesOf, type Redundancy } from '../raid/geometry.ts'
import { maskOf, runsOfSlices } from '../raid/slices.ts'
import { homeOf, regionOf, sliceInHome, slicesOfHome } from './homes.ts'
import { storeOf } from './slice-map.ts'
import type { SlicedLun, SliceSpace } from './slice-space.ts'

/** Stores that one commit binds slices to, at most. */
const PARTS_MAX = 16

/** Slices that a binding binds to one store. */
interface Part {
  readonly store: number
  readonly slices: readonly number[]
  /** Their places in the store. */
  readonly inStore: readonly number[]
  /** How the store is made, when this binding makes it. */
  readonly fresh: { readonly home: number; readonly raid: Redundancy; readonly members: readonly Member[] } | undefined
}

/** A binding of slices of one region, by whoever came first for all who came before it began. */
export interface Binding {
  /** The region, as it is numbered among those that are under way. */
  readonly region: number
  /** Slices that others need. */
  readonly joined: Set<number>
  begun: boolean
  readonly done: Promise<void>
}

/**
 * Binds the slices of a LUN to redundant stores of their type when they are first written (features.md A7), each to its home store where that
 * is possible (homes.ts). Whoever calls keeps the map pages in memory meanwhile.
 */
export class SliceBinder {
  /** Regions of slices whose binding is under way. */
  private readonly running = new Map<number, Binding>()

  constructor(
    private readonly lun: SlicedLun,
    private readonly pool: Pool,
    private readonly space: SliceSpace,
  ) {}

  /** The binding under way of a slice's region: a place in the map counts for writing only when that has ended. */
  binding(slice: number): Binding | undefined {
    return this.running.size === 0 ? undefined : this.running.get(this.regionOf(slice))
  }

  /** The first binding under way of the regions of the slices from `first` to `last`. */
  bindingOfAny(first: number, last: number): Binding | undefined {
    if (this.running.size > 0)
      for (let slice = first; slice <= last; slice++) {
        const found = this.binding(slice)
        if (found) return found
      }
    return undefined
  }

  private regionOf(slice: number): number {
    return regionOf(slice, stripeAt(this.lun.record, slice))
  }

  /**
   * Binds the unbound slices from `first` to `last` that are in the region of `first`; durable when it resolves. Whoever needs slices of the
   * region in the same turn shares the commit. Where there is no room for all, some are bound: whoever calls looks again.
   * @throws `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`
   */
  async bind(first: number, last: number): Promise<void> {
    const region = this.regionOf(first)
    const running = this.running.get(region)
    if (running) return this.join(running, first, last)
    const binding: Binding = { region, joined: new Set(), begun: false, done: this.bindTogether(region, first, last) }
    this.running.set(region, binding)
    try {
      await binding.done
    } finally {
      this.running.delete(region)
    }
  }

  /** Waits for a binding, and takes part in it while it has not begun. Whoever waits looks again; how it ended is the other's business. */
  async join(binding: Binding, first: number, last: number): Promise<void> {
    if (!binding.begun) for (const slice of this.slicesIn(binding.region, first, last)) binding.joined.add(slice)
    await binding.done.catch(() => undefined)
  }

  private slicesIn(region: number, first: number, last: number): number[] {
    return Array.from({ length: last - first + 1 }, (_, i) => first + i).filter(slice => this.regionOf(slice) === region)
  }

  /** Binds the slices [from, to). @throws as `bind` */
  async bindAll(from: number, to: number): Promise<void> {
    for (let slice = from; slice < to;) {
      const last = Math.min(to, (Math.floor(slice / SLICES) + 1) * SLICES) - 1
      await this.lun.map.load(slice)
      for (let i = slice; i <= last; i++) {
        if (this.lun.map.place(i) < 0) {
          await this.bind(i, last)
          i = slice - 1
        }
      }
      slice = last + 1
    }
  }

  private async bindTogether(region: number, first: number, last: number): Promise<void> {
    // Everybody who comes in this turn joins.
    await Promise.resolve()
    const binding = this.running.get(region)
    invariant(binding, 'a binding begins after it is announced')
    binding.begun = true
    const own = this.slicesIn(region, first, last)
    const all = [...new Set([...own, ...binding.joined])]
    if (all.length === own.length) return this.bindNow(own)
    // Where there is no room for all there may be for one: nobody fails for what others asked for.
    await this.bindNow(all).catch(() => this.bindNow(own))
  }

  private async bindNow(slices: readonly number[]): Promise<void> {
    const unbound = slices.filter(slice => this.lun.map.place(slice) < 0)
    if (unbound.length === 0) return
    // A store has one type; whoever needs slices of several looks again and binds the others.
    const raid = raidName(typeAt(this.lun.record, unbound[0]!))
    const stripe = stripeAt(this.lun.record, unbound[0]!)
    const byHome = new Map<number, number[]>()
    for (const slice of unbound) {
      if (!this.isOf(slice, raid, stripe)) continue
      const home = homeOf(slice, stripe)
      const wanted = byHome.get(home)
      if (wanted) wanted.push(slice)
      else if (byHome.size < PARTS_MAX) byHome.set(home, [slice])
    }
    const parts: Part[] = []
    try {
      for (const [home, wanted] of byHome) parts.push(await this.partFor(home, wanted, raid, stripe, parts))
    } catch (error) {
      if (!isCode(error, 'ERR_POOL_FULL')) {
        this.giveBack(parts)
        throw error
      }
      if (parts.length === 0) {
        const spare = await this.anyFreeSlice(raid)
        if (!spare) throw error
        parts.push({ store: spare.store, slices: [unbound[0]!], inStore: [spare.slice], fresh: undefined })
      }
    }
    await this.bindTo(parts, raid)
  }

  private isOf(slice: number, raid: Redundancy, stripe: number): boolean {
    return raidName(typeAt(this.lun.record, slice)) === raid && stripeAt(this.lun.record, slice) === stripe
  }

  private isFree(store: number, slice: number): boolean {
    return ((this.lun.stores.table.boundMask(store) | this.lun.stores.table.dirtyMask(store)) & (1 << slice)) === 0
  }

  /** Where slices of one home are bound: in its store, else in one that is made. @param others what is to be bound with them */
  private async partFor(home: number, wanted: readonly number[], raid: Redundancy, stripe: number, others: readonly Part[]): Promise<Part> {
    const store = await this.homeStore(home, wanted, raid, stripe)
    if (store !== undefined) {
      const usable = wanted.filter(slice => this.isFree(store, sliceInHome(slice, stripe)))
      if (usable.length > 0) return { store, slices: usable, inStore: usable.map(slice => sliceInHome(slice, stripe)), fresh: undefined }
    }
    const fresh = others.filter(part => part.fresh)
    const beside = stripe === 1 ? [] : await this.disksOfRegion(home, raid, stripe)
    for (const part of fresh) beside.push(...part.fresh!.members.map(({ disk }) => disk))
    // Its own number: other regions may be bound at the same time, and parity is to go round.
    const made = this.space.takeNumber()
    try {
      const members = await this.pool.takeMembers(raid, this.lun.number + made, beside)
      return { store: made, slices: wanted, inStore: wanted.map(slice => sliceInHome(slice, stripe)), fresh: { home, raid, members } }
    } catch (error) {
      this.space.giveBackNumber(made)
      throw error
    }
  }

  /** The store that was made for a home, found through a neighbour that is bound to it; its slices cleaned where they are needed. */
  private async homeStore(home: number, wanted: readonly number[], raid: Redundancy, stripe: number): Promise<number | undefined> {
    const { table } = this.lun.stores
    for (const slice of slicesOfHome(home, stripe)) {
      await this.lun.map.load(slice)
      const place = this.lun.map.place(slice)
      if (place < 0 || !this.isOf(slice, raid, stripe)) continue
      const store = storeOf(place)
      await table.load(store)
      // Its last slice may have been given back meanwhile.
      if (!table.exists(store) || table.home(store) !== home || table.raid(store) !== raid) continue
      if (wanted.some(other => (table.dirtyMask(store) & (1 << sliceInHome(other, stripe))) !== 0)) await this.space.cleanStore(store)
      return store
    }
    return undefined
  }

  /** The disks of the stores that a home is interleaved with, each as often as it has a member. */
  private async disksOfRegion(home: number, raid: Redundancy, stripe: number): Promise<number[]> {
    const { table } = this.lun.stores
    const region = home - (home % stripe)
    const stores = new Set<number>()
    for (let slice = region * SLICES; slice < (region + stripe) * SLICES; slice++) {
      await this.lun.map.load(slice)
      const place = this.lun.map.place(slice)
      if (place >= 0 && this.isOf(slice, raid, stripe)) stores.add(storeOf(place))
    }
    const disks: number[] = []
    for (const store of stores) {
      await table.load(store)
      if (table.home(store) >= region && table.home(store) < region + stripe) disks.push(...table.membersOf(store).map(({ disk }) => disk))
    }
    return disks
  }

  /** Before "no space": a free slice of any store of this LUN and type (features.md A7). */
  private async anyFreeSlice(raid: Redundancy): Promise<{ store: number; slice: number } | undefined> {
    const { table } = this.lun.stores
    for (let store = 0; store < this.lun.record.nextStore; store++) {
      await table.load(store)
      if (!table.exists(store) || table.raid(store) !== raid) continue
      if (table.dirtyMask(store) !== 0) await this.space.cleanStore(store)
      for (let slice = 0; slice < SLICES; slice++) if (this.isFree(store, slice)) return { store, slice }
    }
    return undefined
  }

  /**
   * Binds slices to stores of one type: host blocks first, then one durable commit. Data may be written only after it, so that space
   * that counts as clean is never dirty.
   */
  private async bindTo(parts: readonly Part[], raid: Redundancy): Promise<void> {
    const { table } = this.lun.stores
    const isRedundant = survivesOf[raid] > 0
    let failed: { disk: PoolDisk; error: unknown } | undefined
    let reserved: string[] = []
    try {
      for (const { store } of parts) await table.load(store)
      reserved = parts.map(({ store, fresh }) => placesOf(fresh?.members ?? table.membersOf(store)))
      failed = await this.reserveOnHost(parts, isRedundant)
    } catch (error) {
      this.giveBack(parts)
      throw error
    }
    if (failed) {
      this.giveBack(parts)
      if (!isRedundant || !isCode(failed.error, 'ERR_IO')) throw failed.error
      // The disk's fault, not the writer's: without it the binding is tried anew.
      return this.pool.failDisk(failed.disk, failed.error)
    }
    // From here to the commit nothing waits: memory and journal change in the same order.
    const due = parts.filter(
      ({ store, inStore, fresh }, i) =>
        fresh ?? (table.exists(store) && placesOf(table.membersOf(store)) === reserved[i] && inStore.every(slice => this.isFree(store, slice))),
    )
    if (due.length === 0) return
    const batch = new Batch()
    for (const part of due) this.putPart(part, batch)
    this.count(due, 1)
    this.space.patchCounters(batch)
    try {
      await this.pool.metadata.commit(batch, 'data')
    } catch (error) {
      this.undoBinding(due)
      throw error
    }
  }

  private putPart({ store, slices, inStore, fresh }: Part, batch: Batch): void {
    const { table } = this.lun.stores
    const bits = maskOf(inStore)
    if (fresh) {
      this.pool.bindMembers(fresh.members, batch)
      const generation = this.lun.record.nextGeneration || 1
      this.lun.record = { ...this.lun.record, nextGeneration: generation + 1 }
      table.add(store, { ...fresh, generation }, bits, batch)
    } else table.setMasks(store, table.boundMask(store) | bits, table.dirtyMask(store), batch)
    slices.forEach((slice, i) => {
      this.lun.map.set(slice, store * SLICES + inStore[i]!, batch)
    })
    this.lun.stores.openWith(store, inStore, batch)
  }

  private count(parts: readonly Part[], sign: 1 | -1): void {
    const { record } = this.lun
    const slices = parts.reduce((sum, part) => sum + part.slices.length, 0)
    const made = parts.filter(part => part.fresh).length
    this.lun.record = { ...record, boundSlices: record.boundSlices + sign * slices, storeCount: record.storeCount + sign * made }
  }

  /** A binding that the metadata refused never happened; memory goes back, so that the next commits of shared bytes are right. */
  private undoBinding(parts: readonly Part[]): void {
    const { table } = this.lun.stores
    const batch = new Batch()
    for (const { store, slices, inStore, fresh } of parts) {
      for (const slice of slices) this.lun.map.set(slice, -1, batch)
      this.lun.stores.forget(store, inStore, batch)
      if (fresh) {
        table.remove(store, batch)
        this.pool.unbindMembers(fresh.members, batch)
        this.space.retire(store)
      } else table.setMasks(store, table.boundMask(store) & ~maskOf(inStore), table.dirtyMask(store), batch)
    }
    this.count(parts, -1)
  }

  /** Stores that were to be made are not. */
  private giveBack(parts: readonly Part[]): void {
    for (const { store, fresh } of parts) {
      if (!fresh) continue
      this.pool.releaseMembers(fresh.members)
      this.space.giveBackNumber(store)
    }
  }

  /** Takes the host's blocks for slices of stores on every member that is written. @returns the first failure, once all calls have ended */
  private async reserveOnHost(parts: readonly Part[], isRedundant: boolean): Promise<{ disk: PoolDisk; error: unknown } | undefined> {
    let failed: { disk: PoolDisk; error: unknown } | undefined
    const calls: Promise<void>[] = []
    for (const { store, inStore, fresh } of parts) {
      const runs = runsOfSlices(inStore.toSorted((a, b) => a - b))
      for (const { disk: number, segment } of fresh?.members ?? this.lun.stores.table.membersOf(store)) {
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
    }
    await Promise.all(calls)
    return failed
  }
}
