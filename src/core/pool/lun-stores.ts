import { invariant, LunarError } from '../base/errors.ts'
import { RangeLock, type LockMode, type Release } from '../block/range-lock.ts'
import { Batch, BATCH_MAX } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { RSD_STORES } from '../../metadata/records.ts'
import { COLUMNS, columnParts, PARITY_MEMBER, ROW, SLICE, SLICE_ON_MEMBER, SLICES, STORE, survivesOf, UNIT, type Redundancy } from '../raid/geometry.ts'
import { runsOfSlices } from '../raid/slices.ts'
import { MirrorStore } from './mirror-store.ts'
import type { LogPiece } from '../../metadata/parity-group.ts'
import { ParityStore } from './parity-store.ts'
import type { PoolDisk } from './pool-disk.ts'
import type { ResyncBuffers } from './resync-buffers.ts'
import { SmallWrites, type SmallWrite } from './small-parity-write.ts'
import { SliceChecker, type SliceCheck } from './slice-check.ts'
import { StoreBits, type OpenSlice, type SliceKey } from './store-bits.ts'
import type { BadRange, StoreHost, StoreSet } from './store-io.ts'
import { StoreMembers } from './store-members.ts'
import { placesOf, StoreTable } from './store-table.ts'

/** Slices that a resync makes together, with one request to each member: 1 MiB of it. */
const RESYNC_RUN = 4

/** Slices of a LUN that may be open at a time: what a crash makes resync copy, in MiB. */
const OPEN_MAX = 512

/**
 * The redundant stores of one LUN: their address spaces, each read and written as its type is, and what redundancy needs for it (store-bits.ts).
 * Addresses here are store * 8 MiB + byte of the store.
 */
export class LunStores implements StoreSet {
  readonly table: StoreTable
  readonly bits: StoreBits
  readonly members: StoreMembers
  private readonly locks = new RangeLock()
  private readonly mirrors: MirrorStore
  private readonly parities: ParityStore
  private readonly smallWrites: SmallWrites
  private readonly checker: SliceChecker
  private closing: Promise<void> | undefined
  /** Flushes of the LUN that have begun, and the last that covered what was written before it. */
  private round = 1
  private flushed = 0
  /** Disks with writes to stores without redundancy, and the round of the last one. For LUNs of several types. */
  private readonly single = new Map<PoolDisk, number>()
  /** Round of the last write that ended, where nothing is redundant. */
  private lastWritten = 0
  /** Disks this LUN was ever written to; each knows itself whether it was written since its last flush. */
  readonly writtenDisks = new Set<PoolDisk>()
  /** Set when disks were lost with writes that no flush had covered and no other member has. */
  private lossSinceFlush: unknown

  constructor(
    readonly lun: number,
    /** Every redundancy type that its stores may have. */
    readonly raids: readonly Redundancy[],
    readonly host: StoreHost,
    onLoad: () => void,
    /** What messages call the LUN. */
    readonly title: () => string,
  ) {
    this.table = new StoreTable(lun, raids, host.metadata, host.slots, onLoad)
    this.bits = new StoreBits(lun, this.table)
    this.members = new StoreMembers(this.table, this.bits, number => host.disk(number), raids[0]!)
    this.mirrors = new MirrorStore(this)
    this.parities = new ParityStore(this)
    this.smallWrites = new SmallWrites(this, this.parities)
    this.checker = new SliceChecker(this)
  }

  /** Whether some store of it may be redundant. */
  get redundant(): boolean {
    return this.raids.some(raid => survivesOf[raid] > 0)
  }

  // ---- locks

  /**
   * Locks bytes of a store. Parity is of member addresses, so writes at the same place of different columns wait for each other there.
   * The page of the table is loaded.
   */
  lockRange(store: number, at: number, length: number, mode: LockMode): Release | Promise<Release> {
    let from = store * STORE + at
    let bytes = length
    if (this.members.hasParity(store)) {
      const first = Math.floor(at / ROW)
      const oneUnit = Math.floor(at / UNIT) === Math.floor((at + length - 1) / UNIT)
      from = store * STORE + first * UNIT + (oneUnit ? at % UNIT : 0)
      bytes = oneUnit ? length : (Math.ceil((at + length) / ROW) - first) * UNIT
    }
    return this.locks.tryLock(from, bytes, mode) ?? this.locks.lock(from, bytes, mode)
  }

  lockSlice(store: number, slice: number, mode: LockMode): Release | Promise<Release> {
    return this.lockRange(store, slice * SLICE, SLICE, mode)
  }

  // ---- reading and writing

  /**
   * Reads `into.length` bytes from byte `at` of a store.
   * @returns what another member had to serve, for `repair` once the lock is released @throws LunarError `ERR_DATA_LOST` when nothing can serve a part
   */
  read(store: number, at: number, into: Uint8Array): Promise<BadRange[] | undefined> {
    return this.members.hasParity(store) ? this.parities.read(store, at, into) : this.mirrors.read(store, at, into)
  }

  /** Whether nothing keeps a range of a store locked that `mode` cannot share. */
  private isFree(store: number, at: number, length: number, mode: LockMode): boolean {
    if (!this.members.hasParity(store)) return this.locks.isFree(store * STORE + at, length, mode)
    return this.locks.isFree(store * STORE + Math.floor(at / ROW) * UNIT + (at % UNIT), length, mode)
  }

  /** Reads at once from inside of one unit, whose store's page is loaded. @returns false when that cannot be */
  tryRead(store: number, at: number, into: Uint8Array): boolean {
    const { members, table } = this
    if (this.bits.unsynced.size > 0 && members.hasParity(store)) return false
    if (!this.isFree(store, at, into.length, 'shared')) return false
    const member = members.bestFor(store, Math.floor(at / SLICE), Math.floor(at / UNIT) % COLUMNS)
    return member >= 0 && members.disk(store, member).tryRead(table.segmentOf(store, member), Math.floor(at / ROW) * UNIT + (at % UNIT), into)
  }

  /**
   * Writes at once inside of one unit, whose store's page is loaded.
   *
   * @param direct it may pass the host's page cache
   * @param written gets the disks that are written
   * @returns `no` when that cannot be; `partly` when some copies may have it and others not: the slice then counts as written by
   *   somebody until the caller has made the same write in the usual way, without `beginWrite`
   */
  tryWrite(store: number, at: number, data: Uint8Array, direct: boolean, written: Set<PoolDisk>): 'written' | 'partly' | 'no' {
    const { bits, members, table } = this
    const redundant = members.isRedundant(store)
    if (members.hasParity(store) || !this.isFree(store, at, data.length, redundant || direct ? 'exclusive' : 'shared')) return 'no'
    const column = Math.floor(at / UNIT) % COLUMNS
    const onMember = Math.floor(at / ROW) * UNIT + (at % UNIT)
    if (!redundant) {
      const disk = members.disk(store, column)
      written.add(disk)
      if (!disk.tryWrite(table.segmentOf(store, column), onMember, data)) return 'no'
      this.noteWritten(store)
      return 'written'
    }
    if (bits.pending.size > 0 || bits.hasStale(store) || !bits.open.has(store * SLICES + Math.floor(at / SLICE))) return 'no'
    for (let member = column; member < table.memberCount(store); member += COLUMNS) if (!members.disk(store, member).inService) return 'no'
    this.beginWrite(store, at, data.length)
    for (let member = column; member < table.memberCount(store); member += COLUMNS) {
      const disk = members.disk(store, member)
      written.add(disk)
      if (!disk.tryWrite(table.segmentOf(store, member), onMember, data)) return 'partly'
    }
    this.endWrite(store, at, data.length)
    return 'written'
  }

  /**
   * Begins a write inside of one unit of a parity store, whose page is loaded: what it replaces is read at once, and the log is asked. Until it has ended it
   * is a write that was acknowledged ahead.
   * @param written gets the disks that are written @returns undefined when that cannot be
   */
  tryLog(store: number, at: number, data: Uint8Array, written: Set<PoolDisk>): SmallWrite | undefined {
    const { bits, members, table } = this
    const key = store * SLICES + Math.floor(at / SLICE)
    if (bits.unsynced.size > 0 || bits.hasStale(store) || !bits.open.has(key) || (bits.pending.size > 0 && bits.pending.has(`o${key}`))) return undefined
    for (let member = 0; member < table.memberCount(store); member++) if (!members.disk(store, member).inService) return undefined
    const release = this.locks.tryLock(store * STORE + Math.floor(at / ROW) * UNIT + (at % UNIT), data.length, 'exclusive')
    if (!release) return undefined
    const write = this.smallWrites.begin(store, at, data, release)
    if (!write) {
      release()
      return undefined
    }
    this.beginWrite(store, at, data.length)
    for (let member = 0; member < table.memberCount(store); member++) written.add(members.disk(store, member))
    return write
  }

  /** Writes anew what a member did not give (fault F09). A disk that refuses it leaves service as with any write. */
  async repair(bad: readonly BadRange[]): Promise<void> {
    if (this.host.isView) return
    for (const range of bad) {
      const slices = [Math.floor(range.at / SLICE_ON_MEMBER), Math.floor((range.at + range.length - 1) / SLICE_ON_MEMBER)]
      const from = slices[0]! * SLICE
      const release = await this.lockRange(range.store, from, (slices[1]! + 1) * SLICE - from, 'exclusive')
      try {
        if (!this.table.exists(range.store)) continue
        if (this.members.hasParity(range.store)) await this.parities.repair(range)
        else await this.mirrors.repair(range)
      } finally {
        release()
      }
    }
  }

  /** Why a write to these bytes would be refused now, if it would. */
  refusal(store: number, at: number, length: number): Error | undefined {
    return this.members.hasParity(store) ? this.parities.refusal(store, at, length) : undefined
  }

  /** Whether a write waits for the disk before its bytes go down, so that it is better acknowledged ahead of it. */
  isLogged(store: number, at: number, length: number): boolean {
    return this.members.hasParity(store) && (at % ROW !== 0 || length % ROW !== 0)
  }

  /** `prepareWrite` is durable and `beginWrite` called. A disk that fails, where the others have all, is out of service, durably, when this resolves. */
  write(store: number, at: number, data: Uint8Array): Promise<void> {
    return this.members.hasParity(store) ? this.parities.write(store, at, data) : this.mirrors.write(store, at, data)
  }

  /** What must be done before bytes that parity may not fit are read or written, or undefined when nothing is. */
  settleParity(store: number, at: number, length: number): Promise<void> | undefined {
    if (this.bits.unsynced.size === 0 || this.host.isView || !this.members.hasParity(store)) return undefined
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++)
      if (this.parities.canVerify(store, slice)) return this.verify(store, Math.floor(at / SLICE), Math.floor((at + length - 1) / SLICE))
    return undefined
  }

  private async verify(store: number, first: number, last: number): Promise<void> {
    for (let slice = first; slice <= last; slice++) {
      const release = await this.lockSlice(store, slice, 'exclusive')
      try {
        if (this.table.exists(store)) await this.parities.verify(store, slice)
      } finally {
        release()
      }
    }
  }

  /** What must be durable before a write to these bytes may reach the disks, or undefined when nothing is. */
  prepareWrite(store: number, at: number, length: number): Promise<void> | undefined {
    if (!this.members.isRedundant(store)) return undefined
    const { bits, members } = this
    let batch: Batch | undefined
    let waits: Promise<void>[] | undefined
    let names: string[] | undefined
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const key = store * SLICES + slice
      if (!bits.open.has(key)) {
        batch ??= new Batch()
        bits.setOpen(key, batch)
        names ??= []
        names.push(`o${key}`)
      } else if (bits.pending.size > 0) {
        const pending = bits.pending.get(`o${key}`)
        if (pending) (waits ??= []).push(pending)
      }
      for (let member = 0; member < this.table.memberCount(store); member++) {
        if (members.disk(store, member).inService) continue
        if (!this.touches(store, member, Math.max(at, slice * SLICE), Math.min(at + length, (slice + 1) * SLICE))) continue
        // Where nothing else has the bytes the write is refused; then the one that is away stays the current one.
        if (!members.isCovered(store, slice, member)) continue
        const name = `s${key}.${member}`
        if (!bits.isStale(store, slice, member)) {
          batch ??= new Batch()
          bits.setStale(store, slice, member)
          ;(names ??= []).push(name)
          bits.putStale(store, batch)
        } else {
          const pendingStale = bits.pending.get(name)
          if (pendingStale) (waits ??= []).push(pendingStale)
        }
      }
    }
    if (batch && names) {
      const made = names
      const commit = this.host.barrier.durable({ records: batch }).finally(() => {
        for (const name of made) if (bits.pending.get(name) === commit) bits.pending.delete(name)
      })
      for (const name of made) bits.pending.set(name, commit)
      ;(waits ??= []).push(commit)
    }
    return waits === undefined ? undefined : waits.length === 1 ? waits[0] : Promise.all(waits).then(() => undefined)
  }

  /** Whether a write to the bytes [from, to) of a slice changes what a member should hold. */
  private touches(store: number, member: number, from: number, to: number): boolean {
    if (this.members.hasParity(store) && member === PARITY_MEMBER) return true
    return columnParts(from, to - from).some(part => part.column === member % 4)
  }

  /** Notes that a write is under way, so that its slices stay open. */
  beginWrite(store: number, at: number, length: number): void {
    if (!this.members.isRedundant(store)) return
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const state = this.bits.open.get(store * SLICES + slice)
      invariant(state, 'a redundant store is written before its slice is open')
      state.writers++
      state.version++
      state.round = this.round
    }
  }

  endWrite(store: number, at: number, length: number): void {
    if (!this.members.isRedundant(store)) return
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const state = this.bits.open.get(store * SLICES + slice)
      if (!state) continue
      state.writers--
      state.round = this.round
    }
    if (this.bits.open.size > OPEN_MAX && !this.closing) {
      this.closing = this.closeOpen(OPEN_MAX / 2).finally(() => {
        this.closing = undefined
      })
      this.closing.catch((error: unknown) => {
        invariant(error instanceof LunarError, String(error))
      })
    }
  }

  // ---- flushes

  /** A write to a store without redundancy ended: until a flush its disks have what nothing else has. */
  noteWritten(store: number): void {
    this.lastWritten = this.round
    if (this.raids.length === 1 || this.members.isRedundant(store)) return
    for (const disk of this.members.disksOf(store)) this.single.set(disk, this.round)
  }

  /** Whether a disk may have bytes that are in no flush yet and on no other disk, because their type keeps one copy. */
  isSingle(disk: PoolDisk): boolean {
    return !this.redundant || this.single.has(disk)
  }

  /** A flush of the LUN begins. @returns what `endFlush` needs to know which writes it covers */
  beginFlush(): number {
    return this.round++
  }

  endFlush(round: number): void {
    this.flushed = Math.max(this.flushed, round)
    for (const [disk, written] of this.single) if (written <= round) this.single.delete(disk)
  }

  /** Set for good when disks went with writes that were on no other member and in no flush. */
  get lostSinceFlush(): unknown {
    return this.lossSinceFlush
  }

  /** The connection to a disk is lost, and with it may be what its server had not flushed: of bytes that are nowhere else, no flush can say any more that they are kept. */
  lostWith(disk: PoolDisk, reason: string): void {
    const unflushed = this.redundant ? this.single.has(disk) : this.lastWritten > this.flushed && this.writtenDisks.has(disk)
    if (unflushed) this.lossSinceFlush ??= reason
  }

  /** The disk is none of the pool's any more: nothing of the LUN lies on it. */
  forgetDisk(disk: PoolDisk): void {
    this.writtenDisks.delete(disk)
    this.single.delete(disk)
  }

  /** Whether a flush covered every write to an open slice: then all members in service had it alike. */
  private isFlushed(key: SliceKey, { writers, round }: OpenSlice): boolean {
    return writers === 0 && round > 0 && round <= this.flushed && !this.bits.unsynced.has(key)
  }

  // ---- open slices

  /** Opens the slices of a fresh binding in the binding's own batch. */
  openWith(store: number, slices: readonly number[], batch: Batch): void {
    if (!this.members.isRedundant(store)) return
    for (const slice of slices) if (!this.bits.open.has(store * SLICES + slice)) this.bits.setOpen(store * SLICES + slice, batch)
  }

  isOpen(store: number, slice: number): boolean {
    return this.bits.open.has(store * SLICES + slice)
  }

  get openCount(): number {
    return this.bits.open.size
  }

  get anyStale(): boolean {
    return this.bits.anyStale
  }

  get staleStores(): number[] {
    return this.bits.staleStores
  }

  get unsyncedSlices(): readonly SliceKey[] {
    return [...this.bits.unsynced]
  }

  /** Flushes and closes idle slices until at most `keep` are open; those that wait for a resync stay. */
  async closeOpen(keep: number): Promise<void> {
    const { bits } = this
    const idle: { key: SliceKey; version: number }[] = []
    const excess = bits.open.size - keep
    for (const [key, state] of bits.open) {
      if (idle.length >= excess) break
      if (state.writers === 0 && !bits.unsynced.has(key) && !bits.pending.has(`o${key}`)) idle.push({ key, version: state.version })
    }
    if (idle.length === 0) return
    const disks = new Set<PoolDisk>()
    for (const { key } of idle) {
      await this.table.load(Math.floor(key / SLICES))
      for (const disk of this.members.disksOf(Math.floor(key / SLICES))) if (disk.inService) disks.add(disk)
    }
    await this.host.barrier.durable({ flush: [...disks] })
    const batch = new Batch()
    for (const { key, version } of idle) {
      const state = bits.open.get(key)
      if (!state || state.writers > 0 || state.version !== version || bits.unsynced.has(key)) continue
      bits.clearOpen(key, batch)
    }
    await this.host.metadata.commit(batch, 'data', true)
  }

  // ---- stale members

  /**
   * Marks what a failed disk may lack: every open slice with writes that no flush has covered. The marks count from
   * now on; on disk they follow from the open bits and the disk's state until the batches are committed.
   * The table pages of open slices are loaded, since the slices were written.
   */
  staleFor(disk: number): Batch[] {
    const { bits, members } = this
    const batches: Batch[] = []
    const changed = new Set<number>()
    for (const [key, state] of bits.open) {
      const store = Math.floor(key / SLICES)
      const slice = key % SLICES
      if (!this.table.exists(store) || this.isFlushed(key, state)) continue
      for (let m = 0; m < this.table.memberCount(store); m++) {
        if (this.table.diskOf(store, m) !== disk) continue
        if (bits.isStale(store, slice, m) || members.isCovered(store, slice, m)) {
          if (!bits.isStale(store, slice, m)) changed.add(store)
          bits.setStale(store, slice, m)
          // What it held is what the others say: there is nothing to verify.
          if (members.hasParity(store)) bits.unsynced.delete(key)
          continue
        }
        // Where nothing else has its bytes this one stays the best there is. When it comes back its parity may not fit.
        if (members.hasParity(store)) bits.unsynced.add(key)
        if (state.round > this.flushed) this.lossSinceFlush ??= members.disk(store, m).fault ?? 'disks failed'
      }
    }
    for (const store of changed) {
      if (batches.length === 0 || batches.at(-1)!.size > BATCH_MAX / 2) batches.push(new Batch())
      bits.putStale(store, batches.at(-1)!)
    }
    return batches
  }

  /** Marks everything a disk holds of this LUN as stale, because what it holds was written apart. Nothing to do without redundancy. */
  async staleAll(disk: number): Promise<Batch[]> {
    const batches: Batch[] = []
    if (!this.redundant) return batches
    for await (const { lo } of this.host.metadata.range(keyOf('rsd', this.lun).hi)) {
      for (let store = lo * RSD_STORES; store < (lo + 1) * RSD_STORES; store++) {
        await this.table.load(store)
        if (!this.table.exists(store) || !this.members.isRedundant(store)) continue
        const before = this.bits.staleText(store)
        for (let m = 0; m < this.table.memberCount(store); m++) {
          if (this.table.diskOf(store, m) !== disk) continue
          for (let slice = 0; slice < SLICES; slice++) if ((this.table.boundMask(store) & (1 << slice)) !== 0) this.bits.setStale(store, slice, m)
        }
        if (this.bits.staleText(store) === before) continue
        if (batches.length === 0 || batches.at(-1)!.size > BATCH_MAX / 2) batches.push(new Batch())
        this.bits.putStale(store, batches.at(-1)!)
      }
    }
    return batches
  }

  /** Members that are away have old bytes in the slices of `mask`, which the others have cleaned. */
  markMissed(store: number, mask: number, batch: Batch): void {
    if (!this.members.isRedundant(store)) return
    let changed = false
    for (let m = 0; m < this.table.memberCount(store); m++) {
      if (this.members.disk(store, m).inService) continue
      for (let slice = 0; slice < SLICES; slice++) {
        if ((mask & (1 << slice)) === 0 || this.bits.isStale(store, slice, m)) continue
        this.bits.setStale(store, slice, m)
        changed = true
      }
    }
    if (changed) this.bits.putStale(store, batch)
  }

  /** What the log has of slices does not count any more, durably: for slices that are about to be cleaned. */
  async voidLogged(store: number, slices: readonly number[]): Promise<void> {
    if (!this.members.hasParity(store)) return
    for (const slice of slices) await this.parities.voidSlice(store, slice)
  }

  /** The store is gone: also what members missed of its unbound slices means nothing any more. */
  forgetStore(store: number, batch: Batch): void {
    this.bits.forgetStore(store, batch)
  }

  /** Drops open and stale marks of slices that are unbound in the same batch. */
  forget(store: number, slices: readonly number[], batch: Batch): void {
    if (this.members.isRedundant(store)) this.bits.forget(store, slices, batch)
  }

  // ---- resync

  /** Slices of a store whose members can be made to fit now: stale on a disk in service beside what it takes to make it, or unsynced. */
  resyncSlices(store: number): number[] {
    const slices: number[] = []
    if (!this.table.exists(store)) return slices
    for (let slice = 0; slice < SLICES; slice++) if (this.isDue(store, slice)) slices.push(slice)
    return slices
  }

  private isDue(store: number, slice: number): boolean {
    const { bits, members } = this
    if (members.hasParity(store)) return this.parities.isDue(store, slice)
    if (bits.unsynced.has(store * SLICES + slice)) return [0, 1, 2, 3].some(column => members.readable(store, slice, column).length > 0)
    for (let m = 0; m < this.table.memberCount(store); m++)
      if (bits.isStale(store, slice, m) && members.disk(store, m).inService && members.readable(store, slice, m % 4).length > 0) return true
    return false
  }

  /**
   * Makes the members of slices of one store fit, under their locks; recorded when that is durable. Every disk in `written` is one whose
   * failure may be the reason of an error. @returns bytes written
   */
  async resync(store: number, slices: readonly number[], buffers: ResyncBuffers, written: Set<PoolDisk>): Promise<number> {
    if (!this.table.exists(store)) return 0
    if (this.members.hasParity(store)) return this.resyncParity(store, slices, buffers, written)
    const done = new Map<SliceKey, ReadonlySet<number>>()
    let moved = 0
    const places = placesOf(this.table.membersOf(store))
    for (const { from, count } of runsOfSlices(slices, RESYNC_RUN)) {
      const release = await this.lockRange(store, from * SLICE, count * SLICE, 'exclusive')
      try {
        if (!this.table.exists(store)) continue
        const { copied, equal } = await buffers.lend(lent => this.mirrors.resync(store, from, count, lent, written))
        moved += copied
        for (const [i, members] of equal.entries()) done.set(store * SLICES + from + i, members)
      } finally {
        release()
      }
    }
    await this.flushAll(written)
    // What was copied to a place that a member has left says nothing of where it is now.
    if (placesOf(this.table.membersOf(store)) === places) await this.resynced(store, done)
    return moved
  }

  /** A write skips a stale member of a parity store, so the locks are held until the marks are cleared. */
  private async resyncParity(store: number, slices: readonly number[], buffers: ResyncBuffers, written: Set<PoolDisk>): Promise<number> {
    const done = new Map<SliceKey, ReadonlySet<number>>()
    const releases: Release[] = []
    let moved = 0
    try {
      for (const slice of slices) releases.push(await this.lockSlice(store, slice, 'exclusive'))
      for (const { from, count } of runsOfSlices(slices, RESYNC_RUN)) {
        // Its last slice may have been unbound meanwhile; one that was is due no more.
        if (!this.table.exists(store)) break
        const { copied, made } = await buffers.lend(lent => this.parities.resync(store, from, count, lent, written))
        moved += copied
        for (const slice of made) done.set(store * SLICES + slice, ALL_OF_PARITY)
      }
      await this.flushAll(written)
      for (const key of done.keys()) await this.parities.voidSlice(store, key % SLICES)
      // A disk that failed meanwhile has its marks.
      for (const [key, equal] of done) {
        const all = [...equal].filter(member => this.members.disk(store, member).inService)
        if (all.length < equal.size) done.delete(key)
      }
      await this.resynced(store, done)
    } finally {
      for (const release of releases) release()
    }
    return moved
  }

  private async flushAll(disks: ReadonlySet<PoolDisk>): Promise<void> {
    const failed: { disk: PoolDisk; error: unknown }[] = []
    await Promise.all(
      [...disks].map(disk =>
        disk.flush().catch((error: unknown) => {
          failed.push({ disk, error })
        }),
      ),
    )
    for (const { disk, error } of failed) await this.host.failDisk(disk, error)
    if (failed[0]) throw failed[0].error
  }

  /** Records, after the flush, which members of slices are equal now; of mirrors that were unsynced the others become stale. */
  private async resynced(store: number, slices: ReadonlyMap<SliceKey, ReadonlySet<number>>): Promise<void> {
    if (slices.size === 0 || !this.table.exists(store)) return
    const { bits, members } = this
    const batch = new Batch()
    let changed = false
    for (const [key, equal] of slices) {
      const slice = key % SLICES
      const wasUnsynced = bits.unsynced.delete(key)
      for (let m = 0; m < this.table.memberCount(store); m++) {
        const stale = bits.isStale(store, slice, m)
        if (equal.has(m) && stale) {
          bits.clearStale(store, slice, m)
          changed = true
        } else if (!equal.has(m) && wasUnsynced && !stale && members.copiesOf(store, m % 4).some(other => equal.has(other))) {
          bits.setStale(store, slice, m)
          changed = true
        }
      }
    }
    if (changed) bits.putStale(store, batch)
    await this.host.metadata.commit(batch, 'data', true)
  }

  // ---- verifying

  /**
   * Compares the members of a slice, and with `repair` makes what does not fit from the others, durably: from the first copy, or from the columns.
   * The caller holds the slice's lock, to repair exclusively.
   */
  async verifySlice(store: number, slice: number, repair: boolean): Promise<SliceCheck> {
    const { unchecked, misfits } = await this.checker.compare(store, slice)
    const check = {
      ...(unchecked === undefined ? {} : { unchecked }),
      misfits: misfits.map(({ state, at, length, members, columns }) => ({ state, at, length, members, columns })),
    }
    if (!repair || !misfits.some(({ bytes }) => bytes)) return { ...check, repaired: 0 }
    // Open like any slice that is written, so that a disk that leaves half way is stale in it.
    await this.prepareWrite(store, slice * SLICE, SLICE)
    this.beginWrite(store, slice * SLICE, SLICE)
    try {
      if (this.members.hasParity(store)) {
        // Entries of the log may stand for writes that no flush had covered.
        await this.flushAll(new Set(this.members.disksOf(store)))
        await this.parities.voidSlice(store, slice)
      }
      const repaired = await this.checker.mend(store, misfits)
      await this.flushAll(new Set(misfits.flatMap(({ bytes, target }) => (bytes ? [this.members.disk(store, target)] : []))))
      return { ...check, repaired }
    } finally {
      this.endWrite(store, slice * SLICE, SLICE)
    }
  }

  // ---- the parity log

  /**
   * Does again what the log of a disk has for a slice. Skipped: what is of another store by now, slices that are closed, and slices whose parity
   * is not current, for they changed without the log.
   */
  async replay(
    { store, generation, slice, pieces }: { store: number; generation: number; slice: number; pieces: readonly LogPiece[] },
    disk: PoolDisk,
    written: Set<PoolDisk>,
    failDisk: (disk: PoolDisk, error: unknown) => Promise<void>,
  ): Promise<void> {
    const { bits, members } = this
    await this.table.load(store)
    if (!this.table.exists(store) || !members.hasParity(store) || this.table.generation(store) !== generation) return
    const release = await this.lockSlice(store, slice, 'exclusive')
    try {
      if (!this.isOpen(store, slice) || members.disk(store, PARITY_MEMBER) !== disk || bits.isStale(store, slice, PARITY_MEMBER)) return
      // What a column cannot be given now it lacks: its mark is durable before the parity says otherwise.
      const batch = new Batch()
      for (const { member } of pieces)
        if (member !== PARITY_MEMBER && !members.disk(store, member).inService && !bits.isStale(store, slice, member)) {
          bits.setStale(store, slice, member)
          bits.putStale(store, batch)
        }
      if (!batch.isEmpty) await this.host.metadata.commit(batch, 'data', true)
      await this.parities.replay(store, slice, pieces, written, (failed, error) => (failed === disk ? Promise.reject(error as Error) : failDisk(failed, error)))
    } finally {
      release()
    }
  }
}

const ALL_OF_PARITY: ReadonlySet<number> = new Set(Array.from({ length: PARITY_MEMBER + 1 }, (_, member) => member))
