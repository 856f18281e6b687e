import { invariant, isDisksFault, LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { done, settle } from '../base/settle.ts'
import { Traffic } from '../base/traffic.ts'
import { formatSize } from '../base/units.ts'
import { zeroPart } from '../base/zeros.ts'
import { isPageMemory } from '../block/aligned.ts'
import { WriteCache } from '../block/cache/write-cache.ts'
import type { BlockDevice, Extent, ExtentKind, FastDevice } from '../block/device.ts'
import { WriteBackHold, type ByteBudget } from '../block/hold.ts'
import type { Layered, LayerView, ShownLayer } from '../block/layers.ts'
import { checkRange, isInside } from '../block/range.ts'
import type { Release } from '../block/range-lock.ts'
import { LUN_DELETED, LUN_INCOMPLETE, LUN_PROTECTED, LUN_RESERVED, LUN_STORE, LUN_WRITE_ONCE, type LunRecord } from '../../metadata/records.ts'
import { COLUMNS, SLICE, STORE, UNIT, type Redundancy } from '../raid/geometry.ts'
import { LunStores } from '../pool/lun-stores.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { SliceCheck } from '../pool/slice-check.ts'
import type { BadRange } from '../pool/store-io.ts'
import { moveMembers } from '../pool/member-move.ts'
import { partsOf } from './lun-layers.ts'
import type { OpenLun } from './open-lun.ts'
import { raidText, rangesOf, typesOf, type RaidText, type TypeRange } from './ranges.ts'
import { SliceBinder } from './slice-binding.ts'
import { sliceOf, SliceMap, storeOf } from './slice-map.ts'
import { SliceSpace } from './slice-space.ts'

/** A write up to this size may be acknowledged while its barrier round is under way. Bytes. */
const HOLD_WRITE_MAX = 256 * 1024
/** Room in the pool, in redundant stores, that allows for binding what is only likely to be needed. */
const AHEAD_STORES = 64
/** Held writes of a LUN that only wait for the parity log: more would not make its groups larger. */
const HOLD_LOGGED = 256
/**
 * A LUN: a thin block device over redundant stores. Space is bound in 1 MiB slices when first written; what is unbound
 * reads as zeros (features.md A7).
 */
export class Lun implements BlockDevice, FastDevice, Layered {
  readonly blockSize = 512
  readonly stores: LunStores
  readonly map: SliceMap
  /** Its redundancy types by address. */
  readonly ranges: readonly TypeRange[]
  /** Who has it open, each as often as it is open: what makes it busy. */
  readonly users: string[] = []
  /** What hosts and commands asked of it. */
  readonly traffic = new Traffic()
  readonly ways = new Set<OpenLun>()
  /** Changes of the size and giving back what lies behind the end take turns. */
  readonly sizing = new Mutex()
  /** Grown at the moment: what is bound behind its end is not to be given back. */
  growing = false
  /** What whoever uses the LUN's bytes goes through, when there is one. */
  cache: WriteCache | undefined
  /** Walks under way that need the map pages they loaded to stay. */
  private pins = 0
  private readonly hold: WriteBackHold
  private readonly space: SliceSpace
  private readonly binder: SliceBinder

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
    this.stores = new LunStores(number, typesOf(this.ranges), pool, loaded, () => this.label)
    this.map = new SliceMap(number, pool.metadata, loaded)
    this.space = new SliceSpace(this, pool)
    this.binder = new SliceBinder(this, pool, this.space)
    this.hold = new WriteBackHold(budget)
    this.applyCache()
  }

  get name(): string {
    return this.record.name
  }
  get label(): string {
    return `LUN "${this.name}"`
  }
  get size(): number {
    return this.record.size
  }
  get shown(): ShownLayer {
    return { layer: 'lun', about: `thin, slices of 1 MiB; write-back hold of ${formatSize(this.hold.budget.limit)} at most` }
  }
  get consistsOf(): readonly LayerView[] {
    return partsOf(this.ranges)
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
  /** Only what it holds is still to be given back. */
  get isDeleted(): boolean {
    return (this.record.flags & LUN_DELETED) !== 0
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

  /** Its cache is as its record says from now on; where that says none, `endCache` went before. */
  applyCache(): void {
    const { cacheBytes } = this.record
    if (this.cache && cacheBytes > 0) this.cache.limit = cacheBytes
    else
      this.cache =
        cacheBytes === 0
          ? undefined
          : new WriteCache(this, cacheBytes, this.pool.options.clock, error =>
              this.pool.noteLater('lun.cacheFailed', this.name, `its cache cannot be written back: ${String(error)}`),
            )
  }

  /** @throws LunarError when what the cache holds cannot be written: then it stays */
  async endCache(): Promise<void> {
    await this.cache?.end()
    this.cache = undefined
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

  // ---- at once

  /** What is inside of one unit and bound, or known to be zeros, read from what the host has in memory (`FastDevice`). */
  tryRead(offset: number, into: Uint8Array): boolean {
    if (!this.isSimple(offset, into.length)) return false
    const slice = Math.floor(offset / SLICE)
    if (!this.map.isLoaded(slice)) return false
    const place = this.map.place(slice)
    if (place < 0) {
      into.fill(0)
      return true
    }
    const store = storeOf(place)
    return this.stores.table.isLoaded(store) && this.stores.tryRead(store, sliceOf(place) * SLICE + (offset % SLICE), into)
  }

  /** What is inside of one unit of a slice that is bound, and open where it is redundant (`FastDevice`). */
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (!this.isSimple(offset, data.length)) return false
    const slice = Math.floor(offset / SLICE)
    if (!this.map.isLoaded(slice) || this.binder.binding(slice)) return false
    const place = this.map.place(slice)
    const store = storeOf(place)
    if (place < 0 || !this.stores.table.isLoaded(store)) return false
    const at = sliceOf(place) * SLICE + (offset % SLICE)
    if (this.stores.members.hasParity(store)) return this.tryLogged(offset, store, at, data)
    if (!this.stores.redundant) return this.stores.tryWrite(store, at, data, isPageMemory(data), this.stores.writtenDisks) === 'written'
    // Room for the case that only some copies can be written at once.
    if (!this.hold.tryAdmit(data.length)) return false
    const outcome = this.stores.tryWrite(store, at, data, isPageMemory(data), this.stores.writtenDisks)
    if (outcome !== 'partly') {
      this.hold.cancel(data.length)
      return outcome === 'written'
    }
    // The others follow; until then it is a write that was acknowledged ahead, of a slice that stays open.
    const copy = new Uint8Array(data)
    const locked = this.stores.lockRange(store, at, copy.length, 'exclusive')
    invariant(!(locked instanceof Promise), 'a range that is written at once is not locked')
    this.hold.hold(offset, copy.length, this.putAfter(undefined, store, at, copy, locked))
    return true
  }

  /** A small write to parity waits for the log; it is acknowledged ahead, as long as few wait so. */
  private tryLogged(offset: number, store: number, at: number, data: Uint8Array): boolean {
    if (this.hold.count >= HOLD_LOGGED || !this.hold.tryAdmit(data.length)) return false
    const write = this.stores.tryLog(store, at, data, this.stores.writtenDisks)
    if (write) write.onEnd = this.hold.begin(offset, data.length, data.length)
    else this.hold.cancel(data.length)
    return write !== undefined
  }

  /** Whole blocks inside of one unit of the LUN. */
  private isSimple(offset: number, length: number): boolean {
    return length > 0 && (offset % UNIT) + length <= UNIT && isInside(this.size, this.blockSize, offset, length)
  }

  // ---- reading

  read(offset: number, into: Uint8Array): Promise<void> {
    if (this.tryRead(offset, into)) return done
    return this.pinned(() => this.readRange(offset, into))
  }

  /** `read`, also behind the end: what a shrink has cut off and is not given back yet, and zeros where there is nothing. */
  readKept(offset: number, into: Uint8Array): Promise<void> {
    return offset + into.length <= this.size ? this.read(offset, into) : this.pinned(() => this.readWhole(offset, into))
  }

  private readRange(offset: number, into: Uint8Array): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, into.length)
    return this.readWhole(offset, into)
  }

  private async readWhole(offset: number, into: Uint8Array): Promise<void> {
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
    if (this.tryWrite(offset, data)) return done
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
    for (let running = this.binder.bindingOfAny(first, last); running; running = this.binder.bindingOfAny(first, last))
      await this.binder.join(running, first, last)
    for (let slice = first; slice <= last; slice++) {
      if (this.map.place(slice) < 0) {
        await this.binder.bind(slice, last)
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
    if (this.binder.bindingOfAny(first, last)) {
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
      for (const disk of this.stores.members.disksOf(store)) this.stores.writtenDisks.add(disk)
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
    await this.cache?.drain().catch((error: unknown) => this.pool.warnings.push(String(error)))
    await this.hold.drain().catch((error: unknown) => this.pool.warnings.push(String(error)))
  }

  /** Everything acknowledged is on stable storage on every member in service. */
  async flush(): Promise<void> {
    await this.hold.drain()
    const round = this.stores.beginFlush()
    const failed: { disk: PoolDisk; error: unknown }[] = []
    await Promise.all(
      [...this.stores.writtenDisks].map(async disk => {
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
    this.freed(await this.unbindBelow(Math.ceil(offset / SLICE), Math.floor((offset + length) / SLICE)))
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
    if (to > from) this.freed(await this.unbindBelow(from / SLICE, to / SLICE))
    await this.pinned(() => this.writeZeros(offset, from))
    await this.pinned(() => this.writeZeros(to, end))
  }

  /** Writes zeros to what is bound of a range. */
  private async writeZeros(from: number, to: number): Promise<void> {
    for (let at = from; at < to;) {
      const slice = Math.floor(at / SLICE)
      const end = Math.min(to, (slice + 1) * SLICE)
      if (!this.map.isLoaded(slice)) await this.map.load(slice)
      if (this.map.place(slice) >= 0) await this.writeGroup(at, zeroPart(end - at))
      at = end
    }
  }

  /** Unbinds the slices [from, to), and what the cache holds of them goes. @returns how many were bound */
  async unbind(from: number, to: number): Promise<number> {
    if (!this.cache) return this.unbindBelow(from, to)
    let slices = 0
    await this.cache.losingSpace(from * SLICE, (to - from) * SLICE, async held => {
      slices = await this.unbindBelow(from, to)
      return held
    })
    return slices
  }

  private unbindBelow(from: number, to: number): Promise<number> {
    return this.pinned(() => this.space.unbind(from, to))
  }

  /** Stores of which slices were given back since the pool was opened, and are not clean: their space is still taken on the disks. */
  get uncleanCount(): number {
    return this.space.uncleanCount
  }

  /** Gives the space of slices that were given back to the disks, of some stores. What is bound again meanwhile cleans itself. */
  cleanSome(storesMax: number): Promise<void> {
    return this.pinned(() => this.space.cleanSome(storesMax))
  }

  /** Moves what a store has on a disk to others. @returns members moved @throws as `moveMembers` */
  moveStore(store: number, from: PoolDisk): Promise<number> {
    return this.pinned(() => this.space.moveStore(store, () => moveMembers(this.pool, this.stores, store, from, this.isDeleted)))
  }

  /** Nothing of a range is bound: it reads as zeros. A promise only when map pages are to be loaded. */
  isHole(offset: number, length: number): boolean | Promise<boolean> {
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < offset + length; slice++) {
      if (!this.map.isLoaded(slice)) return this.map.load(slice).then(() => this.isHole(offset, length))
      if (this.map.place(slice) >= 0) return false
    }
    return true
  }

  /** Every slice of a range is bound, durably. A promise only when map pages are to be loaded. */
  isBound(offset: number, length: number): boolean | Promise<boolean> {
    for (let slice = Math.floor(offset / SLICE); slice * SLICE < offset + length; slice++) {
      if (!this.map.isLoaded(slice)) return this.map.load(slice).then(() => this.isBound(offset, length))
      if (this.map.place(slice) < 0 || this.binder.binding(slice)) return false
    }
    return true
  }

  /** The pool has room for many more stores: space beside what is needed may be bound ahead. */
  get mayBindAhead(): boolean {
    return this.types.every(raid => this.pool.largest(raid) >= AHEAD_STORES * STORE)
  }

  /** Binds the slices [from, to): for a fully reserved LUN, and for copies that must not meet a full pool. */
  bindAll(from: number, to: number): Promise<void> {
    return this.pinned(() => this.binder.bindAll(from, to))
  }

  // ---- looking

  async extents(offset: number, length: number): Promise<Extent[]> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    return this.extentsKept(offset, length)
  }

  /** `extents` of what `readKept` reads. */
  async extentsKept(offset: number, length: number): Promise<Extent[]> {
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
