import { invariant, isCode, isDisksFault, LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { settle } from '../base/settle.ts'
import { isPageMemory } from '../block/aligned.ts'
import type { BlockDevice, Extent, ExtentKind } from '../block/device.ts'
import { WriteBackHold, type ByteBudget } from '../block/hold.ts'
import { checkRange } from '../block/range.ts'
import type { Release } from '../block/range-lock.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import {
  LMAP_SLICES,
  LUN_INCOMPLETE,
  LUN_PROTECTED,
  LUN_RESERVED,
  LUN_STORE,
  LUN_WRITE_ONCE,
  lunRecord,
  raidName,
  typeAt,
  type LunRecord,
} from '../../metadata/records.ts'
import { COLUMNS, SLICE, SLICE_ON_MEMBER, SLICES, STORE, survivesOf, type Redundancy } from '../raid/geometry.ts'
import { LunStores } from '../pool/lun-stores.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { SliceCheck } from '../pool/slice-check.ts'
import type { BadRange } from '../pool/store-io.ts'
import type { Member } from '../pool/store-table.ts'
import { raidText, rangesOf, typesOf, type RaidText, type TypeRange } from './ranges.ts'
import { sliceOf, SliceMap, storeOf } from './slice-map.ts'

/** A write up to this size may be acknowledged while its barrier round is under way. Bytes. */
const HOLD_WRITE_MAX = 256 * 1024
/** Held writes of a LUN that only wait for the parity log: more would not make its groups larger. */
const HOLD_LOGGED = 256
/** Slices given back in one commit. */
const UNBIND_BATCH = 64

/**
 * A LUN: a thin block device over redundant stores. Space is bound in 1 MiB slices when first written; what is unbound
 * reads as zeros (features.md A7).
 */
export class Lun implements BlockDevice {
  readonly blockSize = 512
  readonly stores: LunStores
  readonly map: SliceMap
  /** Its redundancy types by address. */
  readonly ranges: readonly TypeRange[]
  /** Who has it open, each as often as it is open: what makes it busy. */
  readonly users: string[] = []
  /** Changes of the size and giving back what lies behind the end take turns. */
  readonly sizing = new Mutex()
  /** Grown at the moment: what is bound behind its end is not to be given back. */
  growing = false
  /** Walks under way that need the map pages they loaded to stay. */
  private pins = 0
  private readonly hold: WriteBackHold
  /** Groups of eight slices whose binding is under way. */
  private readonly binding = new Map<number, Binding>()
  /** Stores whose unbound slices are being cleaned. */
  private readonly cleaning = new Map<number, Promise<void>>()
  /** Stores with slices that were given back and not made clean since. */
  private readonly unclean = new Set<number>()
  /** Disks this LUN was ever written to; each knows itself whether it was written since its last flush. */
  private readonly writtenDisks = new Set<PoolDisk>()
  private readonly freeStores: number[] = []

  constructor(
    readonly number: number,
    public record: LunRecord,
    private readonly pool: Pool,
    budget: ByteBudget,
    onLoad: (lun: Lun) => void,
  ) {
    const loaded = (): void => {
      onLoad(this)
    }
    this.ranges = rangesOf(record)
    this.stores = new LunStores(number, typesOf(this.ranges), pool, loaded, () => `LUN "${this.name}"`)
    this.map = new SliceMap(number, pool.metadata, loaded)
    this.hold = new WriteBackHold(budget)
  }

  get name(): string {
    return this.record.name
  }
  get size(): number {
    return this.record.size
  }
  /** Its redundancy types, each once, in the order of addresses. */
  get types(): readonly Redundancy[] {
    return this.stores.raids
  }
  get raid(): RaidText {
    return raidText(this.types)
  }
  get isReserved(): boolean {
    return (this.record.flags & LUN_RESERVED) !== 0
  }
  get isIncomplete(): boolean {
    return (this.record.flags & LUN_INCOMPLETE) !== 0
  }
  get isProtected(): boolean {
    return (this.record.flags & LUN_PROTECTED) !== 0
  }
  /** A write-once device has it for its blocks. */
  get isWriteOnce(): boolean {
    return (this.record.flags & LUN_WRITE_ONCE) !== 0
  }
  /** It holds preserved chunks of snapshots. */
  get isStore(): boolean {
    return (this.record.flags & LUN_STORE) !== 0
  }
  /** Bytes of map pages in memory. */
  get mapBytes(): number {
    return this.map.loadedBytes + this.stores.table.loadedBytes
  }

  /** Lets the map pages go, unless something relies on them: users, walks, or open slices, whose disks a failure must find. */
  releaseMaps(): void {
    if (this.users.length > 0 || this.pins > 0 || this.stores.openCount > 0 || this.stores.staleStores.length > 0) return
    this.map.forgetPages()
    this.stores.table.forgetPages()
  }

  private async pinned<T>(walk: () => Promise<T>): Promise<T> {
    this.pins++
    try {
      return await walk()
    } finally {
      this.pins--
    }
  }

  get sliceCount(): number {
    return Math.ceil(this.size / SLICE)
  }

  // ---- reading

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.pinned(() => this.readRange(offset, into))
  }

  private async readRange(offset: number, into: Uint8Array): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, into.length)
    const end = offset + into.length
    if (Math.floor(offset / STORE) === Math.floor((end - 1) / STORE)) return this.readGroup(offset, into)
    const reads: Promise<void>[] = []
    for (let from = offset; from < end;) {
      const to = Math.min(end, from - (from % STORE) + STORE)
      reads.push(this.readGroup(from, into.subarray(from - offset, to - offset)))
      from = to
    }
    await settle(reads)
  }

  private async readGroup(offset: number, into: Uint8Array): Promise<void> {
    let from = offset
    const end = offset + into.length
    const reads: Promise<void>[] = []
    while (from < end) {
      const slice = Math.floor(from / SLICE)
      if (!this.map.isLoaded(slice)) await this.map.load(slice)
      const place = this.map.place(slice)
      const run = this.runFrom(slice, Math.floor((end - 1) / SLICE))
      const to = Math.min(end, (slice + run) * SLICE)
      const part = into.subarray(from - offset, to - offset)
      if (place < 0) part.fill(0)
      else reads.push(this.readRun(slice, run, place, from, part))
      from = to
    }
    if (reads.length === 1) return reads[0]
    if (reads.length > 1) await settle(reads)
  }

  private async readRun(slice: number, run: number, place: number, offset: number, into: Uint8Array): Promise<void> {
    const store = storeOf(place)
    if (!this.stores.table.isLoaded(store)) await this.stores.table.load(store)
    const at = sliceOf(place) * SLICE + (offset % SLICE)
    const unsettled = this.stores.settleParity(store, at, into.length)
    if (unsettled) await unsettled
    const release = await this.lockRun(slice, run, place, store, at, into.length, 'shared')
    if (!release) return this.readGroup(offset, into)
    let bad: readonly BadRange[] | undefined
    try {
      bad = await this.stores.read(store, at, into)
    } finally {
      release()
    }
    if (bad) await this.stores.repair(bad)
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    const reads: Promise<void>[] = []
    for (const part of parts) {
      reads.push(this.read(at, part))
      at += part.length
    }
    await settle(reads)
  }

  // ---- writing

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.pinned(() => this.writeRange(offset, data))
  }

  private async writeRange(offset: number, data: Uint8Array): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, data.length)
    const end = offset + data.length
    if (Math.floor(offset / STORE) === Math.floor((end - 1) / STORE)) return this.writeGroup(offset, data)
    const writes: Promise<void>[] = []
    for (let from = offset; from < end;) {
      const to = Math.min(end, from - (from % STORE) + STORE)
      writes.push(this.writeGroup(from, data.subarray(from - offset, to - offset)))
      from = to
    }
    await settle(writes)
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, parts.length === 1 ? parts[0]! : Buffer.concat(parts))
  }

  /** A write inside of one aligned 8 MiB. */
  private async writeGroup(offset: number, data: Uint8Array): Promise<void> {
    if (data.length === 0) return
    const first = Math.floor(offset / SLICE)
    const last = Math.floor((offset + data.length - 1) / SLICE)
    if (!this.map.isLoaded(first)) await this.map.load(first)
    // A place in the map counts for writing only when its binding is durable.
    const group = Math.floor(first / SLICES)
    for (let running = this.binding.get(group); running; running = this.binding.get(group)) await this.joinBinding(running, first, last)
    for (let slice = first; slice <= last; slice++) {
      if (this.map.place(slice) < 0) {
        await this.bind(first, last)
        slice = first - 1
      }
    }
    const place = this.map.place(first)
    const run = this.runFrom(first, last)
    if (first + run <= last) {
      const cut = (first + run) * SLICE - offset
      await settle([this.writeGroup(offset, data.subarray(0, cut)), this.writeGroup(offset + cut, data.subarray(cut))])
      return
    }
    const store = storeOf(place)
    if (!this.stores.table.isLoaded(store)) await this.stores.table.load(store)
    const at = sliceOf(place) * SLICE + (offset % SLICE)
    const unsettled = this.stores.settleParity(store, at, data.length)
    if (unsettled) await unsettled
    const mode = this.stores.members.isRedundant(store) || isPageMemory(data) ? 'exclusive' : 'shared'
    const release = await this.lockRun(first, run, place, store, at, data.length, mode)
    if (!release) return this.writeGroup(offset, data)
    if (this.binding.has(group)) {
      release()
      return this.writeGroup(offset, data)
    }
    const refused = this.stores.refusal(store, at, data.length)
    if (refused) {
      release()
      throw refused
    }
    const durable = this.stores.prepareWrite(store, at, data.length)
    this.stores.beginWrite(store, at, data.length)
    const waits = durable !== undefined || (this.stores.isLogged(store, at, data.length) && this.hold.count < HOLD_LOGGED)
    if (waits && data.length <= HOLD_WRITE_MAX && this.hold.budget.tryAdmit(data.length)) {
      // Acknowledged now; reads and overlapping writes wait for the lock that the held write keeps.
      const copy = new Uint8Array(data)
      this.hold.hold(offset, copy.length, this.putAfter(durable, store, at, copy, release))
      return
    }
    await this.putAfter(durable, store, at, data, release)
  }

  private async putAfter(durable: Promise<void> | undefined, store: number, at: number, data: Uint8Array, release: Release): Promise<void> {
    try {
      if (durable) await durable
      for (const disk of this.stores.members.disksOf(store)) this.writtenDisks.add(disk)
      await this.stores.write(store, at, data)
      this.stores.noteWritten(store)
    } finally {
      this.stores.endWrite(store, at, data.length)
      release()
    }
  }

  /** Locks a run of slices in their store. @returns undefined when they moved meanwhile */
  private async lockRun(
    slice: number,
    run: number,
    place: number,
    store: number,
    at: number,
    length: number,
    mode: 'shared' | 'exclusive',
  ): Promise<Release | undefined> {
    const locked = this.stores.lockRange(store, at, length, mode)
    const release = locked instanceof Promise ? await locked : locked
    for (let i = 0; i < run; i++) {
      if (this.map.place(slice + i) !== place + i) {
        release()
        return undefined
      }
    }
    return release
  }

  /** How many slices from `slice` to `last` lie one after the other in one store, or are all unbound. */
  private runFrom(slice: number, last: number): number {
    const place = this.map.place(slice)
    let run = 1
    while (slice + run <= last) {
      const next = this.map.place(slice + run)
      if (place < 0 ? next >= 0 : next !== place + run || storeOf(next) !== storeOf(place)) break
      run++
    }
    return run
  }

  /** Waits for acknowledged writes that are still held; one that failed was told to whoever flushed. */
  async drain(): Promise<void> {
    await this.hold.drain().catch((error: unknown) => this.pool.warnings.push(String(error)))
  }

  /** Everything acknowledged is on stable storage on every member in service. */
  async flush(): Promise<void> {
    await this.hold.drain()
    const round = this.stores.beginFlush()
    const failed: { disk: PoolDisk; error: unknown }[] = []
    await Promise.all(
      [...this.writtenDisks].map(async disk => {
        if (!this.stores.isSingle(disk) && !disk.inService) return this.pool.leaving(disk)
        try {
          await disk.flush()
        } catch (error) {
          failed.push({ disk, error })
        }
        // What other ranges have on it is on other disks; where it holds the only copy its flush is what counts.
        if (this.stores.redundant && !disk.inService) return this.pool.leaving(disk)
      }),
    )
    if (failed.length === 0) return this.flushed(round)
    const noDisksFault = failed.find(({ error }) => !isDisksFault(error))
    if (noDisksFault) throw noDisksFault.error
    // One member lost: the others have everything. More than one, or no redundancy: what was written may be gone.
    if (failed.length > 1 || this.stores.isSingle(failed[0]!.disk)) {
      throw new LunarError('ERR_SUSPENDED', `Cannot flush LUN "${this.name}"`, {
        why: `a flush of ${failed.map(({ disk }) => disk.label).join(', ')} failed`,
        cause: failed[0]?.error,
      })
    }
    await this.pool.failDisk(failed[0]!.disk, failed[0]!.error)
    this.flushed(round)
  }

  /** A disk that left takes nothing with it that its flush would have covered, unless no other member has it (hazard 11). */
  private flushed(round: number): void {
    if (this.stores.lostSinceFlush !== undefined) {
      throw new LunarError('ERR_SUSPENDED', `Cannot flush LUN "${this.name}"`, {
        why: `disks went with writes that no flush had covered: ${String(this.stores.lostSinceFlush)}`,
      })
    }
    this.stores.endFlush(round)
  }

  // ---- giving space back

  /** Gives whole slices back; parts of slices stay as they are (a trim is a hint). */
  async trim(offset: number, length: number): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    if (this.isReserved) return
    this.freed(await this.unbind(Math.ceil(offset / SLICE), Math.floor((offset + length) / SLICE)))
  }

  /** Somebody has to clean what was given back. */
  private freed(slices: number): void {
    if (slices > 0) this.pool.onChange()
  }

  async zero(offset: number, length: number): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    const end = offset + length
    const from = this.isReserved ? end : Math.min(end, Math.ceil(offset / SLICE) * SLICE)
    const to = this.isReserved ? end : Math.max(from, Math.floor(end / SLICE) * SLICE)
    if (to > from) this.freed(await this.unbind(from / SLICE, to / SLICE))
    await this.pinned(() => this.writeZeros(offset, from))
    await this.pinned(() => this.writeZeros(to, end))
  }

  /** Writes zeros to what is bound of a range. */
  private async writeZeros(from: number, to: number): Promise<void> {
    const zeros = new Uint8Array(SLICE)
    for (let at = from; at < to;) {
      const slice = Math.floor(at / SLICE)
      const end = Math.min(to, (slice + 1) * SLICE)
      if (!this.map.isLoaded(slice)) await this.map.load(slice)
      if (this.map.place(slice) >= 0) await this.writeGroup(at, zeros.subarray(0, end - at))
      at = end
    }
  }

  /** Unbinds the slices [from, to). @returns how many were bound */
  unbind(from: number, to: number): Promise<number> {
    return this.pinned(() => this.unbindRange(from, to))
  }

  private async unbindRange(from: number, to: number): Promise<number> {
    let count = 0
    let group: number[] = []
    for await (const { slice } of this.map.bound(from, to)) {
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
    for (const slice of slices) await this.map.load(slice)
    const placed = slices.map(slice => ({ slice, place: this.map.place(slice) })).filter(({ place }) => place >= 0)
    // In one order, so that two that lock several slices never wait for each other.
    placed.sort((a, b) => a.place - b.place)
    const releases: Release[] = []
    try {
      for (const { place } of placed) {
        await this.stores.table.load(storeOf(place))
        releases.push(await this.stores.lockSlice(storeOf(place), sliceOf(place), 'exclusive'))
      }
      const batch = new Batch()
      const byStore = new Map<number, number[]>()
      let count = 0
      for (const { slice, place } of placed) {
        if (this.map.place(slice) !== place) continue
        this.map.set(slice, -1, batch)
        byStore.set(storeOf(place), [...(byStore.get(storeOf(place)) ?? []), sliceOf(place)])
        count++
      }
      if (count === 0) return 0
      for (const [store, freed] of byStore) {
        const bits = freed.reduce((mask, slice) => mask | (1 << slice), 0)
        this.stores.forget(store, freed, batch)
        const bound = this.stores.table.boundMask(store) & ~bits
        if (bound === 0) this.removeStore(store, batch)
        else {
          this.stores.table.setMasks(store, bound, this.stores.table.dirtyMask(store) | bits, batch)
          this.unclean.add(store)
        }
      }
      this.record = { ...this.record, boundSlices: this.record.boundSlices - count }
      this.patchCounters(batch)
      await this.pool.metadata.commit(batch, 'data', true)
      return count
    } finally {
      for (const release of releases) release()
    }
  }

  /** Drops a store whose slices are all unbound; its segments are freed. */
  private removeStore(store: number, batch: Batch): void {
    this.pool.freeMembers(this.stores.table.membersOf(store), batch)
    this.stores.forgetStore(store, batch)
    this.stores.table.remove(store, batch)
    this.record = { ...this.record, storeCount: this.record.storeCount - 1 }
    this.retire(store)
  }

  /**
   * The number of a store that is gone is given out again only where all stores have one type: whoever waits for a lock of the old one chose
   * the addresses to lock, and what to do then, by its type.
   */
  private retire(store: number): void {
    if (this.types.length === 1) this.freeStores.push(store)
  }

  /** Makes unbound slices of a store that still hold old bytes read as zeros again; who needs it meanwhile shares it. */
  private async cleanStore(store: number): Promise<void> {
    const cleaning = this.cleaning.get(store) ?? this.cleanNow(store).finally(() => this.cleaning.delete(store))
    this.cleaning.set(store, cleaning)
    return cleaning
  }

  private async cleanNow(store: number): Promise<void> {
    const { table } = this.stores
    const dirty = table.dirtyMask(store)
    const members = placesOf(table.membersOf(store))
    const touched = new Set<PoolDisk>()
    // A column nobody can clean now stays dirty, and what is dirty is not bound.
    if (!this.stores.members.canWriteAll(store)) return
    const slices = Array.from({ length: SLICES }, (_, slice) => slice).filter(slice => (dirty & (1 << slice)) !== 0)
    await this.stores.voidLogged(store, slices)
    const missed = new Set<number>()
    for (let member = 0; member < table.memberCount(store); member++) {
      const disk = this.pool.disk(table.diskOf(store, member))
      if (!disk.device || (this.stores.members.isRedundant(store) && !disk.inService)) {
        missed.add(member)
        continue
      }
      try {
        for (const slice of slices) await disk.punch(table.segmentOf(store, member), slice * SLICE_ON_MEMBER, SLICE_ON_MEMBER)
      } catch (error) {
        return this.cannotClean(disk, error)
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
    const failed = flushed.find(failure => failure !== undefined)
    if (failed) return this.cannotClean(failed.disk, failed.error)
    // Its last slice may have been unbound meanwhile: then it is gone, or another store has its number.
    if (!table.exists(store) || placesOf(table.membersOf(store)) !== members) return
    const batch = new Batch()
    this.stores.markMissed(store, dirty, missed, batch)
    table.setMasks(store, table.boundMask(store), table.dirtyMask(store) & ~dirty, batch)
    await this.pool.metadata.commit(batch, 'data', true)
  }

  /** Stores of which slices were given back since the pool was opened, and are not clean: their space is still taken on the disks. */
  get uncleanCount(): number {
    return this.unclean.size
  }

  /** Gives the space of slices that were given back to the disks, of some stores. What is bound again meanwhile cleans itself. */
  cleanSome(storesMax: number): Promise<void> {
    return this.pinned(async () => {
      for (const store of [...this.unclean].slice(0, storesMax)) {
        this.unclean.delete(store)
        await this.stores.table.load(store)
        if (this.stores.table.exists(store) && this.stores.table.dirtyMask(store) !== 0) await this.cleanStore(store)
      }
    })
  }

  /** A redundant store goes on without the disk, and what is dirty stays so: other space is bound. */
  private async cannotClean(disk: PoolDisk, error: unknown): Promise<void> {
    if (!this.stores.redundant || !isDisksFault(error)) throw error
    await this.pool.failDisk(disk, error)
  }

  // ---- binding

  /**
   * Binds the unbound slices from `first` to `last`, all of one group; durable when it resolves. Whoever needs slices of the group
   * in the same turn shares the commit. @throws `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`
   */
  private async bind(first: number, last: number): Promise<void> {
    const group = Math.floor(first / SLICES)
    const running = this.binding.get(group)
    if (running) return this.joinBinding(running, first, last)
    const binding: Binding = { joined: new Set(), begun: false, done: this.bindTogether(group, first, last) }
    this.binding.set(group, binding)
    try {
      await binding.done
    } finally {
      this.binding.delete(group)
    }
  }

  /** Waits for a binding, and takes part in it while it has not begun. Whoever waits looks again; how it ended is the other's business. */
  private async joinBinding(binding: Binding, first: number, last: number): Promise<void> {
    if (!binding.begun) for (let slice = first; slice <= last; slice++) binding.joined.add(slice)
    await binding.done.catch(() => undefined)
  }

  private async bindTogether(group: number, first: number, last: number): Promise<void> {
    // Everybody who comes in this turn joins.
    await Promise.resolve()
    const binding = this.binding.get(group)
    invariant(binding, 'a binding begins after it is announced')
    binding.begun = true
    const own = Array.from({ length: last - first + 1 }, (_, i) => first + i)
    const all = [...new Set([...own, ...binding.joined])]
    if (all.length === own.length) return this.bindNow(group, own)
    // Where there is no room for all there may be for one: nobody fails for what others asked for.
    await this.bindNow(group, all).catch(() => this.bindNow(group, own))
  }

  private async bindNow(group: number, slices: readonly number[]): Promise<void> {
    const unbound = slices.filter(slice => this.map.place(slice) < 0)
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
      members = await this.pool.takeMembers(raid, this.number + this.record.nextGeneration)
    } catch (error) {
      if (!isCode(error, 'ERR_POOL_FULL')) throw error
      const spare = await this.anyFreeSlice(raid)
      if (!spare) throw error
      return this.bindTo(spare.store, [wanted[0]!], undefined, spare.slice)
    }
    const store = this.freeStores.pop() ?? this.record.nextStore
    if (store === this.record.nextStore) this.record = { ...this.record, nextStore: store + 1 }
    await this.stores.table.load(store)
    return this.bindTo(store, wanted, { group, raid, members })
  }

  private raidAt(slice: number): Redundancy {
    return raidName(typeAt(this.record, slice))
  }

  private isFree(store: number, slice: number): boolean {
    return ((this.stores.table.boundMask(store) | this.stores.table.dirtyMask(store)) & (1 << slice)) === 0
  }

  /** The store of a type that was made for a group, found through a neighbour that is bound to it; its slices cleaned where they are needed. */
  private async homeStore(group: number, raid: Redundancy, wanted: readonly number[]): Promise<number | undefined> {
    for (let slice = group * SLICES; slice < (group + 1) * SLICES; slice++) {
      const place = this.map.place(slice)
      if (place < 0) continue
      const store = storeOf(place)
      await this.stores.table.load(store)
      if (this.stores.table.home(store) !== group || this.stores.table.raid(store) !== raid) continue
      if (wanted.some(other => (this.stores.table.dirtyMask(store) & (1 << (other % SLICES))) !== 0)) await this.cleanStore(store)
      return store
    }
    return undefined
  }

  /** Before "no space": a free slice of any store of this LUN and type (features.md A7). */
  private async anyFreeSlice(raid: Redundancy): Promise<{ store: number; slice: number } | undefined> {
    for (let store = 0; store < this.record.nextStore; store++) {
      await this.stores.table.load(store)
      if (!this.stores.table.exists(store) || this.stores.table.raid(store) !== raid) continue
      if (this.stores.table.dirtyMask(store) !== 0) await this.cleanStore(store)
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
    const { table } = this.stores
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
      const generation = this.record.nextGeneration || 1
      this.record = { ...this.record, nextGeneration: generation + 1 }
      table.add(store, { raid: fresh.raid, home: fresh.group, generation, members: fresh.members }, bits, batch)
    } else table.setMasks(store, table.boundMask(store) | bits, table.dirtyMask(store), batch)
    slices.forEach((slice, i) => {
      this.map.set(slice, store * SLICES + inStore[i]!, batch)
    })
    this.stores.openWith(store, inStore, batch)
    this.record = { ...this.record, boundSlices: this.record.boundSlices + slices.length, storeCount: this.record.storeCount + (fresh ? 1 : 0) }
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
    for (const slice of slices) this.map.set(slice, -1, batch)
    this.stores.forget(store, inStore, batch)
    this.record = { ...this.record, boundSlices: this.record.boundSlices - slices.length, storeCount: this.record.storeCount - (fresh ? 1 : 0) }
    if (fresh) {
      this.stores.table.remove(store, batch)
      this.pool.unbindMembers(fresh.members, batch)
      this.retire(store)
    } else this.stores.table.setMasks(store, this.stores.table.boundMask(store) & ~bits, this.stores.table.dirtyMask(store), batch)
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

  /** Nothing of a range is bound: it reads as zeros. */
  async isHole(offset: number, length: number): Promise<boolean> {
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < offset + length; slice++) {
      if (!this.map.isLoaded(slice)) await this.map.load(slice)
      if (this.map.place(slice) >= 0) return false
    }
    return true
  }

  /** Every slice of a range is bound, durably. */
  async isBound(offset: number, length: number): Promise<boolean> {
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < offset + length; slice++) {
      if (!this.map.isLoaded(slice)) await this.map.load(slice)
      if (this.map.place(slice) < 0 || this.binding.has(Math.floor(slice / SLICES))) return false
    }
    return true
  }

  /** Binds the slices [from, to): for a fully reserved LUN, and for copies that must not meet a full pool. */
  bindAll(from: number, to: number): Promise<void> {
    return this.pinned(() => this.bindRange(from, to))
  }

  private async bindRange(from: number, to: number): Promise<void> {
    for (let slice = from; slice < to;) {
      const last = Math.min(to, (Math.floor(slice / SLICES) + 1) * SLICES) - 1
      await this.map.load(slice)
      for (let i = slice; i <= last; i++) {
        if (this.map.place(i) < 0) {
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
    view.setUint32(0, this.record.nextStore, true)
    view.setUint32(4, this.record.boundSlices, true)
    view.setUint32(8, this.record.storeCount, true)
    batch.patch(keyOf('lun', this.number), lunRecord.fields.nextStore.offset, bytes, lunRecord.size)
    const generation = new Uint8Array(4)
    new DataView(generation.buffer).setUint32(0, this.record.nextGeneration, true)
    batch.patch(keyOf('lun', this.number), lunRecord.fields.nextGeneration.offset, generation, lunRecord.size)
  }

  // ---- looking

  async extents(offset: number, length: number): Promise<Extent[]> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    const extents: Extent[] = []
    const end = offset + length
    const push = (from: number, to: number, kind: ExtentKind): void => {
      const last = extents.at(-1)
      if (last?.kind === kind) extents[extents.length - 1] = { ...last, length: last.length + to - from }
      else extents.push({ offset: from, length: to - from, kind })
    }
    for (let at = offset; at < end;) {
      const slice = Math.floor(at / SLICE)
      const to = Math.min(end, (slice + 1) * SLICE)
      await this.map.load(slice)
      const place = this.map.place(slice)
      if (place < 0) push(at, to, 'hole')
      else {
        await this.stores.table.load(storeOf(place))
        push(at, to, this.sliceHealth(place) === 'lost' ? 'lost' : 'data')
      }
      at = to
    }
    return extents
  }

  /** Columns of a slice that nothing can serve. The store's page is loaded. */
  lostColumns(place: number): number[] {
    return Array.from({ length: COLUMNS }, (_, column) => column).filter(column => !this.stores.members.isServable(storeOf(place), sliceOf(place), column))
  }

  /** `lost` when some column cannot be read, `degraded` when some member is missing or stale. The store's page is loaded. */
  sliceHealth(place: number): 'bound' | 'degraded' | 'lost' {
    if (!this.stores.members.isWhole(storeOf(place), sliceOf(place))) return 'lost'
    return this.stores.members.notCurrent(storeOf(place), sliceOf(place)).length > 0 ? 'degraded' : 'bound'
  }

  /**
   * Compares what the members of a slice hold, under its lock, and repairs it if told to.
   * @returns undefined when it is not bound, or bound to another store than `only` @throws LunarError of a disk that fails the repair
   */
  verifySlice(slice: number, repair: boolean, only?: number): Promise<(SliceCheck & { readonly place: number }) | undefined> {
    return this.pinned(async () => {
      for (;;) {
        await this.map.load(slice)
        const place = this.map.place(slice)
        const store = storeOf(place)
        if (place < 0 || (only !== undefined && store !== only)) return undefined
        await this.stores.table.load(store)
        const release = await this.lockRun(slice, 1, place, store, sliceOf(place) * SLICE, SLICE, repair ? 'exclusive' : 'shared')
        if (!release) continue
        try {
          return { ...(await this.stores.verifySlice(store, sliceOf(place), repair)), place }
        } finally {
          release()
        }
      }
    })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** A binding of slices of one group, by whoever came first for all who came before it began. */
interface Binding {
  /** Slices that others need. */
  readonly joined: Set<number>
  begun: boolean
  readonly done: Promise<void>
}

const placesOf = (members: readonly Member[]): string => members.map(({ disk, segment }) => `${disk}.${segment}`).join()

invariant(LMAP_SLICES % SLICES === 0, 'a group of slices never crosses an LMAP record')
