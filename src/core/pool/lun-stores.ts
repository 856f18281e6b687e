import { invariant, isCode, LunarError } from '../base/errors.ts'
import type { Barrier } from '../block/barrier.ts'
import { RangeLock } from '../block/range-lock.ts'
import { Batch, BATCH_MAX } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { OPEN_STORES, RSD_STORES, staleKey } from '../../metadata/records.ts'
import { COLUMNS, columnParts, columnPieces, copiesOf, SLICE, SLICE_ON_MEMBER, SLICES, STORE, type Redundancy } from '../raid/geometry.ts'
import type { PoolDisk } from './pool-disk.ts'
import { StoreTable, type DiskSlots } from './store-table.ts'

/** Slices of a LUN that may be open at a time: what a crash makes resync copy, in MiB. */
const OPEN_MAX = 512

/** What a LUN's stores need from the pool. */
export interface StoreHost {
  readonly metadata: Metadata
  readonly barrier: Barrier<Batch>
  readonly slots: DiskSlots
  disk(number: number): PoolDisk
  /** Takes a disk that failed a write or flush out of service; resolves when that is durable. */
  failDisk(disk: PoolDisk, error: unknown): Promise<void>
  /** Defined while a disk's leaving is not durable yet. */
  leaving(disk: PoolDisk): Promise<void> | undefined
  /** Copies differ or a disk changed: processes look whether there is something to do. */
  onChange(): void
  /** A read failed and another copy served it. */
  readRepaired(disk: PoolDisk, error: unknown): void
}

/** A slice of a store, as one number: store * 8 + slice. */
type SliceKey = number

/**
 * The redundant stores of one LUN: reading and writing their address spaces, and what mirrors need for it.
 *
 * Addresses here are store * 8 MiB + byte of the store. Three records keep mirrors right (hazards 10, 33, 37):
 * *open* slices may differ between their copies, because writes since the last flush may be on one only; the bit is durable before the
 * first such write. *Stale* bits say which member missed writes to a slice while it was away. *Unsynced*, in memory, are
 * slices that were open when the pool was opened: until they are resynced every read of them takes the same copy.
 */
export class LunStores {
  readonly lock = new RangeLock()
  readonly table: StoreTable
  readonly mirrored: boolean
  private readonly copies: number
  private readonly open = new Map<SliceKey, { version: number; writers: number }>()
  private readonly openRecords = new Map<number, Uint8Array>()
  /** Commits under way that make an open or stale bit durable. */
  private readonly pendingBits = new Map<string, Promise<void>>()
  private readonly stale = new Map<number, Uint8Array>()
  private readonly unsynced = new Set<SliceKey>()
  private closing: Promise<void> | undefined

  constructor(
    readonly lun: number,
    readonly raid: Redundancy,
    private readonly host: StoreHost,
    onLoad: () => void,
    /** What messages call the LUN. */
    private readonly title: () => string,
  ) {
    this.table = new StoreTable(lun, [raid], host.metadata, host.slots, onLoad)
    this.copies = copiesOf[raid]
    this.mirrored = this.copies > 1
  }

  /** Reads open and stale records. Slices open now were left so by a crash, or waited for a resync when the pool was closed. */
  async loadBits(): Promise<void> {
    for await (const { lo, value } of this.host.metadata.range(keyOf('open', this.lun).hi)) {
      const masks = new Uint8Array(OPEN_STORES)
      masks.set(value.subarray(0, OPEN_STORES))
      this.openRecords.set(lo, masks)
      for (let i = 0; i < OPEN_STORES; i++) {
        for (let slice = 0; slice < SLICES; slice++) {
          if ((masks[i]! & (1 << slice)) === 0) continue
          const key = (lo * OPEN_STORES + i) * SLICES + slice
          this.open.set(key, { version: 0, writers: 0 })
          this.unsynced.add(key)
        }
      }
    }
    for await (const { lo, value } of this.host.metadata.range(staleKey(this.lun, 0).hi)) this.stale.set(lo, new Uint8Array(value))
  }

  // ---- reading and writing

  /** Reads `into.length` bytes from byte `at` of a store. @throws LunarError `ERR_DATA_LOST` when no copy can serve a part */
  async read(store: number, at: number, into: Uint8Array): Promise<void> {
    const sliceEnd = at - (at % SLICE) + SLICE
    if (at + into.length > sliceEnd && this.mirrored && (this.stale.has(store) || this.unsynced.size > 0)) {
      const first = sliceEnd - at
      await Promise.all([this.read(store, at, into.subarray(0, first)), this.read(store, sliceEnd, into.subarray(first))])
      return
    }
    const slice = Math.floor(at / SLICE)
    const parts = columnParts(at, into.length)
    if (parts.length === 1) return this.readColumn(store, slice, parts[0]!, columnPieces(into, at, parts[0]!.column))
    await Promise.all(parts.map(part => this.readColumn(store, slice, part, columnPieces(into, at, part.column))))
  }

  private async readColumn(store: number, slice: number, part: { column: number; at: number }, pieces: Uint8Array[]): Promise<void> {
    const members = this.readable(store, slice, part.column)
    const failures: { disk: PoolDisk; error: unknown }[] = []
    for (const member of members) {
      const disk = this.host.disk(this.table.diskOf(store, member))
      try {
        await disk.read(this.table.segmentOf(store, member), part.at, pieces)
        for (const failure of failures) this.host.readRepaired(failure.disk, failure.error)
        return
      } catch (error) {
        if (!isCode(error, 'ERR_IO')) throw error
        failures.push({ disk, error })
      }
    }
    const failure = failures.at(-1)?.error
    throw new LunarError('ERR_DATA_LOST', `Cannot read ${pieces.reduce((sum, piece) => sum + piece.length, 0)} bytes of ${this.title()}`, {
      why: failure instanceof LunarError ? failure.why : `disk ${this.table.diskOf(store, part.column)}, which holds the only current copy, is not in service`,
      cause: failure,
    })
  }

  /** Members that may be read for a slice's column, best first. */
  readable(store: number, slice: number, column: number): number[] {
    const members: number[] = []
    for (let copy = 0; copy < this.copies; copy++) {
      const member = copy * COLUMNS + column
      if (!this.mirrored) {
        if (this.host.disk(this.table.diskOf(store, member)).device) members.push(member)
      } else if (this.host.disk(this.table.diskOf(store, member)).inService && !this.isStale(store, slice, member)) members.push(member)
    }
    // Without a crash both copies are equal: take turns, so that one stream reads from both disks.
    if (members.length > 1 && ((slice + column) & 1) === 1 && !this.unsynced.has(store * SLICES + slice)) members.reverse()
    return members
  }

  /** What must be durable before a write to these bytes may reach the disks, or undefined when nothing is. */
  prepareWrite(store: number, at: number, length: number): Promise<void> | undefined {
    if (!this.mirrored) return undefined
    let batch: Batch | undefined
    const waits: Promise<void>[] = []
    const bits: string[] = []
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const key = store * SLICES + slice
      const pending = this.pendingBits.get(`o${key}`)
      if (!this.open.has(key)) {
        batch ??= new Batch()
        this.setOpen(key, batch)
        bits.push(`o${key}`)
      } else if (pending) waits.push(pending)
      for (let member = 0; member < this.table.memberCount(store); member++) {
        const disk = this.host.disk(this.table.diskOf(store, member))
        if (disk.inService || !touches(member % COLUMNS, Math.max(at, slice * SLICE), Math.min(at + length, (slice + 1) * SLICE))) continue
        // Without a current copy in service the write is refused; then the one that is away stays the current one.
        if (this.readable(store, slice, member % COLUMNS).length === 0) continue
        const name = `s${key}.${member}`
        if (!this.isStale(store, slice, member)) {
          batch ??= new Batch()
          this.setStale(store, slice, member)
          bits.push(name)
          this.putStale(store, batch)
        } else {
          const pendingStale = this.pendingBits.get(name)
          if (pendingStale) waits.push(pendingStale)
        }
      }
    }
    if (batch) {
      const commit = this.host.barrier.durable({ records: batch }).finally(() => {
        for (const bit of bits) if (this.pendingBits.get(bit) === commit) this.pendingBits.delete(bit)
      })
      for (const bit of bits) this.pendingBits.set(bit, commit)
      waits.push(commit)
    }
    return waits.length === 0 ? undefined : waits.length === 1 ? waits[0] : Promise.all(waits).then(() => undefined)
  }

  /** Notes that a write is under way, so that its slices stay open. */
  beginWrite(store: number, at: number, length: number): void {
    if (!this.mirrored) return
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const state = this.open.get(store * SLICES + slice)
      invariant(state, 'a mirror is written before its slice is open')
      state.writers++
      state.version++
    }
  }

  endWrite(store: number, at: number, length: number): void {
    if (!this.mirrored) return
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const state = this.open.get(store * SLICES + slice)
      if (state) state.writers--
    }
    if (this.open.size > OPEN_MAX && !this.closing) {
      this.closing = this.closeOpen(OPEN_MAX / 2).finally(() => {
        this.closing = undefined
      })
      this.closing.catch((error: unknown) => {
        invariant(error instanceof LunarError, String(error))
      })
    }
  }

  /**
   * Writes to every member in service; `prepareWrite` is durable and `beginWrite` called. Where a copy fails and another
   * does not, the failed disk is out of service, durably, before this resolves (fault F10).
   */
  async write(store: number, at: number, data: Uint8Array): Promise<void> {
    const sliceEnd = at - (at % SLICE) + SLICE
    if (at + data.length > sliceEnd && this.stale.has(store)) {
      const first = sliceEnd - at
      await settle([this.write(store, at, data.subarray(0, first)), this.write(store, sliceEnd, data.subarray(first))])
      return
    }
    const slice = Math.floor(at / SLICE)
    const failures: LegFailure[] = []
    const writes: Promise<void>[] = []
    const good = new Uint8Array(COLUMNS)
    const parts = columnParts(at, data.length)
    for (const part of parts) {
      const current = this.readable(store, slice, part.column)
      if (current.length === 0) throw this.lost(store, part.column, data.length, undefined)
      const pieces = columnPieces(data, at, part.column)
      for (const member of this.column(part.column)) {
        const disk = this.host.disk(this.table.diskOf(store, member))
        if (this.mirrored && !disk.inService) {
          // Until its leaving is durable a crash would bring it back as a current copy.
          const leaving = this.host.leaving(disk)
          if (leaving) writes.push(leaving)
          continue
        }
        writes.push(
          disk.write(this.table.segmentOf(store, member), part.at, pieces, part.length).then(
            () => {
              if (current.includes(member)) good[part.column] = 1
            },
            (error: unknown) => {
              failures.push({ disk, column: part.column, error })
            },
          ),
        )
      }
    }
    await settle(writes)
    if (failures.length > 0 && this.mirrored) await this.legsFailed(store, at, data.length, failures, good)
    const lostColumn = parts.find(part => good[part.column] === 0)
    if (!lostColumn) return
    const failure = failures.find(({ column }) => column === lostColumn.column)?.error
    throw failure instanceof LunarError && !isCode(failure, 'ERR_IO') ? failure : this.lost(store, lostColumn.column, data.length, failure)
  }

  private lost(store: number, column: number, length: number, failure: unknown): LunarError {
    return new LunarError('ERR_DATA_LOST', `Cannot write ${length} bytes of ${this.title()}`, {
      why: failure instanceof LunarError ? failure.why : `disk ${this.table.diskOf(store, column)}, where they belong, is not in service`,
      cause: failure,
    })
  }

  /**
   * Takes disks out of service whose copy failed while another current one is good. The last current copy of anything
   * here never fails: its error is the writer's, and until a resync every read takes the same copy.
   */
  private async legsFailed(store: number, at: number, length: number, failures: readonly LegFailure[], good: Uint8Array): Promise<void> {
    const noDisksFault = failures.find(({ error }) => !isCode(error, 'ERR_IO') && !isCode(error, 'ERR_SUSPENDED'))
    const failed = new Set<PoolDisk>()
    for (const { disk, column, error } of failures) {
      if (noDisksFault || good[column] === 0 || failed.has(disk) || this.isLastCopy(store, at, length, disk)) continue
      failed.add(disk)
      await this.host.failDisk(disk, error)
    }
    if (failures.some(({ disk }) => !failed.has(disk))) {
      for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) this.unsynced.add(store * SLICES + slice)
      this.host.onChange()
    }
    if (noDisksFault) throw noDisksFault.error
    await this.prepareWrite(store, at, length)
  }

  /** Whether some column of these slices would have no current copy in service without this disk. */
  private isLastCopy(store: number, at: number, length: number, disk: PoolDisk): boolean {
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      for (let column = 0; column < COLUMNS; column++) {
        const current = this.readable(store, slice, column)
        if (current.length > 0 && current.every(member => this.table.diskOf(store, member) === disk.number)) return true
      }
    }
    return false
  }

  /** Whether each column has a member that can be written. */
  hasEveryColumn(store: number): boolean {
    return Array.from({ length: COLUMNS }, (_, column) => column).every(column =>
      this.column(column).some(member => {
        const disk = this.host.disk(this.table.diskOf(store, member))
        return this.mirrored ? disk.inService : disk.device !== undefined
      }),
    )
  }

  /** The disks that hold a store's members and are attached. */
  disksOf(store: number): PoolDisk[] {
    const disks = new Set<PoolDisk>()
    for (let m = 0; m < this.table.memberCount(store); m++) disks.add(this.host.disk(this.table.diskOf(store, m)))
    return [...disks]
  }

  // ---- open slices

  /** Opens the slices of a fresh binding in the binding's own batch. */
  openWith(store: number, slices: readonly number[], batch: Batch): void {
    if (!this.mirrored) return
    for (const slice of slices) if (!this.open.has(store * SLICES + slice)) this.setOpen(store * SLICES + slice, batch)
  }

  isOpen(store: number, slice: number): boolean {
    return this.open.has(store * SLICES + slice)
  }

  get openCount(): number {
    return this.open.size
  }

  /** Flushes and closes idle slices until at most `keep` are open; those that wait for a resync stay. */
  async closeOpen(keep: number): Promise<void> {
    const idle: { key: SliceKey; version: number }[] = []
    const excess = this.open.size - keep
    for (const [key, state] of this.open) {
      if (idle.length >= excess) break
      if (state.writers === 0 && !this.unsynced.has(key) && !this.pendingBits.has(`o${key}`)) idle.push({ key, version: state.version })
    }
    if (idle.length === 0) return
    const disks = new Set<PoolDisk>()
    for (const { key } of idle) {
      await this.table.load(Math.floor(key / SLICES))
      for (const disk of this.disksOf(Math.floor(key / SLICES))) if (disk.inService) disks.add(disk)
    }
    await this.host.barrier.durable({ flush: [...disks] })
    const batches: Batch[] = [new Batch()]
    for (const { key, version } of idle) {
      const state = this.open.get(key)
      if (!state || state.writers > 0 || state.version !== version || this.unsynced.has(key)) continue
      this.clearOpen(key, batches[0]!)
    }
    await this.host.metadata.commit(batches[0]!, 'data', true)
  }

  private setOpen(key: SliceKey, batch: Batch): void {
    this.open.set(key, { version: 0, writers: 0 })
    this.patchOpen(key, true, batch)
  }

  private clearOpen(key: SliceKey, batch: Batch): void {
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

  // ---- stale members

  isStale(store: number, slice: number, member: number): boolean {
    const masks = this.stale.get(store)
    return masks !== undefined && (masks[member]! & (1 << slice)) !== 0
  }

  get hasStale(): boolean {
    return this.stale.size > 0
  }

  /** Stores with a stale member. */
  get staleStores(): number[] {
    return [...this.stale.keys()]
  }

  get unsyncedSlices(): readonly SliceKey[] {
    return [...this.unsynced]
  }

  /** Bytes that a disk missed in a store. */
  staleBytes(store: number, disk: number): number {
    const masks = this.stale.get(store)
    if (!masks) return 0
    let bytes = 0
    for (let m = 0; m < masks.length; m++) if (this.table.diskOf(store, m) === disk) bytes += bitCount(masks[m]!) * SLICE_ON_MEMBER
    return bytes
  }

  /**
   * Marks what a failed disk may lack: every open slice, because a slice is closed only after a flush. The marks count from
   * now on; on disk they follow from the open bits and the disk's state until the batches are committed.
   * The table pages of open slices are loaded, since the slices were written.
   */
  staleFor(disk: number): Batch[] {
    const batches: Batch[] = []
    if (!this.mirrored) return batches
    const changed = new Set<number>()
    for (const key of this.open.keys()) {
      const store = Math.floor(key / SLICES)
      if (!this.table.exists(store)) continue
      for (let m = 0; m < this.table.memberCount(store); m++) {
        if (this.table.diskOf(store, m) !== disk || this.isStale(store, key % SLICES, m)) continue
        // Where no other current copy is in service this one stays the best there is.
        if (!this.readable(store, key % SLICES, m % COLUMNS).some(other => other !== m)) continue
        this.setStale(store, key % SLICES, m)
        changed.add(store)
      }
    }
    for (const store of changed) {
      if (batches.length === 0 || batches.at(-1)!.size > BATCH_MAX / 2) batches.push(new Batch())
      this.putStale(store, batches.at(-1)!)
    }
    return batches
  }

  /** Marks everything a disk holds of this LUN as stale, because what it holds was written apart. Nothing to do without a mirror. */
  async staleAll(disk: number): Promise<Batch[]> {
    const batches: Batch[] = []
    if (!this.mirrored) return batches
    for await (const { lo } of this.host.metadata.range(keyOf('rsd', this.lun).hi)) {
      for (let store = lo * RSD_STORES; store < (lo + 1) * RSD_STORES; store++) {
        await this.table.load(store)
        if (!this.table.exists(store)) continue
        const before = this.stale.get(store)?.join()
        for (let m = 0; m < this.table.memberCount(store); m++) {
          if (this.table.diskOf(store, m) !== disk) continue
          for (let slice = 0; slice < SLICES; slice++) if ((this.table.boundMask(store) & (1 << slice)) !== 0) this.setStale(store, slice, m)
        }
        if (this.stale.get(store)?.join() === before) continue
        if (batches.length === 0 || batches.at(-1)!.size > BATCH_MAX / 2) batches.push(new Batch())
        this.putStale(store, batches.at(-1)!)
      }
    }
    return batches
  }

  /** Members that are away have old bytes in the slices of `mask`, which the others have cleaned. */
  markMissed(store: number, mask: number, batch: Batch): void {
    if (!this.mirrored) return
    let changed = false
    for (let m = 0; m < this.table.memberCount(store); m++) {
      if (this.host.disk(this.table.diskOf(store, m)).inService) continue
      for (let slice = 0; slice < SLICES; slice++) {
        if ((mask & (1 << slice)) === 0 || this.isStale(store, slice, m)) continue
        this.setStale(store, slice, m)
        changed = true
      }
    }
    if (changed) this.putStale(store, batch)
  }

  /** The store is gone: also what members missed of its unbound slices means nothing any more. */
  forgetStore(store: number, batch: Batch): void {
    if (this.stale.delete(store)) batch.delete(staleKey(this.lun, store))
  }

  private setStale(store: number, slice: number, member: number): void {
    let masks = this.stale.get(store)
    if (!masks) this.stale.set(store, (masks = new Uint8Array(this.table.memberCount(store))))
    masks[member] = masks[member]! | (1 << slice)
  }

  private putStale(store: number, batch: Batch): void {
    const masks = this.stale.get(store)
    if (masks?.some(mask => mask !== 0)) batch.put(staleKey(this.lun, store), masks.slice())
    else {
      this.stale.delete(store)
      batch.delete(staleKey(this.lun, store))
    }
  }

  // ---- resync

  /** Slices of a store whose copies can be made equal now: stale on a disk in service beside a readable copy, or unsynced. */
  resyncSlices(store: number): number[] {
    const slices: number[] = []
    for (let slice = 0; slice < SLICES; slice++) {
      if (this.unsynced.has(store * SLICES + slice)) {
        if (Array.from({ length: COLUMNS }, (_, column) => column).some(column => this.readable(store, slice, column).length > 0)) slices.push(slice)
      } else {
        for (let m = 0; m < this.table.memberCount(store); m++) {
          if (this.isStale(store, slice, m) && this.host.disk(this.table.diskOf(store, m)).inService && this.readable(store, slice, m % COLUMNS).length > 0) {
            slices.push(slice)
            break
          }
        }
      }
    }
    return slices
  }

  /**
   * Copies a slice from the copy that reads take to the others in service. The caller holds the slice's lock, flushes
   * `written` and then calls `resynced`.
   *
   * @returns bytes copied, and the members that are equal now: a disk that comes into service later is none of them.
   *   Columns without a readable copy stay as they are
   */
  async resyncSlice(store: number, slice: number, buffer: Uint8Array, written: Set<PoolDisk>): Promise<{ copied: number; equal: Set<number> }> {
    let copied = 0
    const equal = new Set<number>()
    const all = this.unsynced.has(store * SLICES + slice)
    for (let column = 0; column < COLUMNS; column++) {
      const source = this.readable(store, slice, column)[0]
      if (source === undefined) continue
      equal.add(source)
      const targets = this.column(column).filter(
        m => m !== source && this.host.disk(this.table.diskOf(store, m)).inService && (all || this.isStale(store, slice, m)),
      )
      if (targets.length === 0) continue
      const piece = buffer.subarray(0, SLICE_ON_MEMBER)
      await this.host.disk(this.table.diskOf(store, source)).read(this.table.segmentOf(store, source), slice * SLICE_ON_MEMBER, [piece])
      for (const target of targets) {
        const disk = this.host.disk(this.table.diskOf(store, target))
        await disk.write(this.table.segmentOf(store, target), slice * SLICE_ON_MEMBER, [piece], piece.length)
        written.add(disk)
        equal.add(target)
        copied += piece.length
      }
    }
    return { copied, equal }
  }

  /** Records, after the flush, which members of slices are equal now; of slices that were unsynced the others become stale. */
  resynced(slices: ReadonlyMap<SliceKey, ReadonlySet<number>>, batch: Batch): void {
    const changed = new Set<number>()
    for (const [key, equal] of slices) {
      const store = Math.floor(key / SLICES)
      const slice = key % SLICES
      const wasUnsynced = this.unsynced.delete(key)
      for (let m = 0; m < this.table.memberCount(store); m++) {
        const stale = this.isStale(store, slice, m)
        if (equal.has(m) && stale) {
          this.stale.get(store)![m]! &= ~(1 << slice)
          changed.add(store)
        } else if (!equal.has(m) && wasUnsynced && !stale && this.column(m % COLUMNS).some(other => equal.has(other))) {
          this.setStale(store, slice, m)
          changed.add(store)
        }
      }
    }
    for (const store of changed) this.putStale(store, batch)
  }

  private column(column: number): number[] {
    return Array.from({ length: this.copies }, (_, copy) => copy * COLUMNS + column)
  }

  // ---- giving slices back

  /** Drops open and stale marks of slices that are unbound in the same batch. */
  forget(store: number, slices: readonly number[], batch: Batch): void {
    if (!this.mirrored) return
    for (const slice of slices) {
      const key = store * SLICES + slice
      this.unsynced.delete(key)
      if (this.open.has(key)) this.clearOpen(key, batch)
      const masks = this.stale.get(store)
      if (masks) for (let m = 0; m < masks.length; m++) masks[m]! &= ~(1 << slice)
    }
    if (this.stale.has(store)) this.putStale(store, batch)
  }

  addressOf(store: number, at: number): number {
    return store * STORE + at
  }
}

interface LegFailure {
  readonly disk: PoolDisk
  readonly column: number
  readonly error: unknown
}

/** Waits for all, then throws the first failure: nothing is under way when the caller lets go of its lock. */
async function settle(writes: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(writes)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Whether the bytes [from, to) of a store have some on a column. */
const touches = (column: number, from: number, to: number): boolean => columnParts(from, to - from).some(part => part.column === column)

function bitCount(mask: number): number {
  let count = 0
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++
  return count
}
