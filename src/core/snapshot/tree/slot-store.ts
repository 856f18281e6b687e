import { settle } from '../../base/settle.ts'
import { invariant, isCode, LunarError } from '../../base/errors.ts'
import { MIB } from '../../base/units.ts'
import { Batch } from '../../../metadata/batch.ts'
import { hiOf, keyOf } from '../../../metadata/key.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { decodeRecord, SLOTS_BITS_AT, SLOTS_PER_SLICE, slotsRecord } from '../../../metadata/records.ts'
import type { Lun } from '../../lun/lun.ts'

/** A slice: what a LUN binds at a time, and what holds slots of one size. Bytes. */
const SLICE = MIB
/** Slices that lie in one redundant store: they are bound together where there is room. */
const GROUP = 8
const BITS = SLOTS_PER_SLICE / 8
/** A slice that is being given back has this for its slot size. */
const EMPTYING = 255

/** Bytes of one chunk or several, and the slot that the first one goes to. */
export interface SlotBytes {
  readonly slot: number
  readonly bytes: Uint8Array
}

/** Slices that are bound for one snapshot, whether in use or not; nobody else takes slots there. */
export interface Reserve {
  readonly from: number
  readonly count: number
}

/**
 * Packed slots in a hidden LUN (features.md F3): slices of 1 MiB, each with slots of one size, so that trees with chunks of different sizes
 * share it. A slot is `number * size` bytes into the LUN. What is used is one bit a slot, recorded in the commit of the map entry
 * that names it. Slots are taken from the lowest slice with room, in order, so that what is copied together lies together.
 */
export class SlotStore {
  /** By slice: slot size as a power of two, 0 for none. */
  private shifts = new Uint8Array(64)
  /** By slice: slots that are taken, recorded or not yet. */
  private counts = new Uint16Array(64)
  private bits = new Uint8Array(64 * BITS)
  /** Slices that were ever in use. */
  private end = 0
  /** By slot size: no slice below this has room. */
  private readonly roomFrom = new Map<number, number>()
  /** With the slice below which each has no room. */
  private readonly reserves = new Map<Reserve, { roomFrom: number }>()
  private readonly reading = new Set<Promise<void>>()
  /** Grows when chunks have moved: what was looked up before may lie elsewhere. */
  moves = 0
  /** Bytes of chunks that were moved since the pool was opened. */
  movedBytes = 0
  /** While the store shrinks no slot is taken from this slice on. */
  private shrinkTo = Infinity
  private loading: Promise<void> | undefined
  private isLoaded = false

  constructor(
    readonly lun: Lun,
    private readonly metadata: Metadata,
  ) {}

  /** Bytes of slots that hold chunks. */
  async usedBytes(): Promise<number> {
    await this.load()
    let bytes = 0
    for (let slice = 0; slice < this.end; slice++) if (this.isSlotted(slice)) bytes += this.counts[slice]! * 2 ** this.shifts[slice]!
    return bytes
  }

  load(): Promise<void> {
    return (this.loading ??= this.scan().catch((error: unknown) => {
      this.loading = undefined
      throw error
    }))
  }

  private async scan(): Promise<void> {
    for await (const { lo: slice, value } of this.metadata.range(hiOf('slots', this.lun.number))) {
      const { slotShift, used } = decodeRecord(slotsRecord, value)
      this.reach(slice)
      this.bits.set(used, slice * BITS)
      let count = 0
      for (const byte of used) for (let rest = byte; rest !== 0; rest &= rest - 1) count++
      this.counts[slice] = count
      this.shifts[slice] = count === 0 ? 0 : slotShift
    }
    this.isLoaded = true
  }

  private reach(slice: number): void {
    this.end = Math.max(this.end, slice + 1)
    if (slice < this.shifts.length) return
    const length = Math.max(slice + 1, this.shifts.length * 2)
    const grown = { shifts: new Uint8Array(length), counts: new Uint16Array(length), bits: new Uint8Array(length * BITS) }
    grown.shifts.set(this.shifts)
    grown.counts.set(this.counts)
    grown.bits.set(this.bits)
    Object.assign(this, grown)
  }

  // ---- taking and giving back

  /**
   * Takes slots in memory and binds their space. Each is named by a committed map entry later, or dropped.
   * @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`; then none is taken
   */
  async take(shift: number, count: number, reserve?: Reserve): Promise<number[]> {
    await this.load()
    const slots: number[] = []
    if (reserve) return this.takeReserved(shift, count, reserve)
    try {
      for (let slice = this.roomFrom.get(shift) ?? 0; slots.length < count; slice++) {
        this.checkEnd(slice)
        this.reach(slice)
        if (this.isReserved(slice)) continue
        this.takeFrom(slice, shift, count, slots)
        if (slots.length < count) this.roomFrom.set(shift, slice + 1)
      }
      await this.bind(slots, shift)
    } catch (error) {
      this.drop(slots, shift)
      throw error
    }
    return slots
  }

  /**
   * Takes slots in slices below one, as many as there are; fewer where the pool has no space to bind more.
   * @throws what the host or a disk says
   */
  async takeBelow(shift: number, count: number, limit: number): Promise<number[]> {
    await this.load()
    const slots: number[] = []
    for (const bindsMore of [true, false]) {
      for (let slice = 0; slice < limit && slots.length < count; slice++) {
        const isUsable = !this.isReserved(slice) && (bindsMore || this.shifts[slice] === shift)
        if (isUsable) this.takeFrom(slice, shift, count, slots)
      }
      try {
        await this.bind(slots, shift)
        return slots
      } catch (error) {
        this.drop(slots.splice(0), shift)
        if (!bindsMore || !isCode(error, 'ERR_POOL_FULL')) throw error
      }
    }
    return slots
  }

  /** The slices, from the start of the store and without reserved ones, that would hold all slots: the end of the last of them. */
  async slicesNeeded(): Promise<number> {
    await this.load()
    const counts = new Map<number, number>()
    for (let slice = 0; slice < this.end; slice++)
      if (this.isSlotted(slice) && !this.isReserved(slice)) counts.set(this.shifts[slice]!, (counts.get(this.shifts[slice]!) ?? 0) + this.counts[slice]!)
    let needed = 0
    for (const [shift, count] of counts) needed += Math.ceil(count / (SLICE / 2 ** shift))
    let end = 0
    for (; needed > 0; end++) if (!this.isReserved(end)) needed--
    return end
  }

  /** Bytes that compaction would move, and of slices that it would empty. */
  async compactible(): Promise<{ readonly moved: number; readonly freed: number }> {
    const limit = await this.slicesNeeded()
    let moved = 0
    let freed = 0
    for (let slice = limit; slice < this.end; slice++) {
      if (!this.isSlotted(slice) || this.isReserved(slice)) continue
      moved += this.counts[slice]! * 2 ** this.shifts[slice]!
      freed += SLICE
    }
    for (let slice = 0; slice < limit; slice++) if (!this.isSlotted(slice) && !this.isReserved(slice)) freed -= SLICE
    return { moved, freed: Math.max(0, freed) }
  }

  /** A slot that compaction would move: in a slice from `limit` on that is nobody's reserve. */
  isAbove(slot: number, shift: number, limit: number): boolean {
    const slice = sliceOf(slot, shift)
    return slice >= limit && !this.isReserved(slice)
  }

  /** Slices up to the last one that holds a slot or is reserved. */
  async usedSlices(): Promise<number> {
    await this.load()
    let end = 0
    for (let slice = 0; slice < this.end; slice++) if (this.isSlotted(slice)) end = slice + 1
    for (const { from, count } of this.reserves.keys()) end = Math.max(end, from + count)
    return end
  }

  /**
   * Runs a shrink to some slices: nothing is taken behind them, and what is bound there without slots is unbound.
   * @throws LunarError `ERR_WOULD_LOSE_DATA` when slots are in use behind them
   */
  async shrinking(slices: number, dryRun: boolean, shrink: () => Promise<void>): Promise<void> {
    await this.load()
    this.shrinkTo = slices
    try {
      const used = await this.usedSlices()
      if (used > slices)
        throw new LunarError('ERR_WOULD_LOSE_DATA', `Cannot shrink store "${this.lun.name}" to ${slices * SLICE} bytes`, {
          why: `it holds chunks or reserves up to ${used * SLICE} bytes`,
          fix: `lunar store compact ${this.lun.name}, or delete snapshots`,
        })
      if (!dryRun) await this.trimUnused(slices)
      await shrink()
    } finally {
      this.shrinkTo = Infinity
    }
  }

  /** The same when it needs no waiting. @returns undefined, and nothing is taken, when it does */
  takeNow(shift: number, count: number): number[] | undefined {
    if (!this.isLoaded) return undefined
    const slots: number[] = []
    for (let slice = this.roomFrom.get(shift) ?? 0; slots.length < count; slice++) {
      if (slice >= Math.min(this.end, this.shrinkTo) || this.lun.isBound(slice * SLICE, SLICE) !== true) {
        this.drop(slots, shift)
        return undefined
      }
      if (!this.isReserved(slice)) this.takeFrom(slice, shift, count, slots)
      if (slots.length < count) this.roomFrom.set(shift, slice + 1)
    }
    return slots
  }

  private takeReserved(shift: number, count: number, reserve: Reserve): number[] {
    const slots: number[] = []
    const place = this.reserves.get(reserve)
    invariant(place, 'slots are taken of a reserve that was given up')
    for (let slice = place.roomFrom; slots.length < count; slice++) {
      invariant(slice < reserve.from + reserve.count, 'a reserve has run out')
      this.takeFrom(slice, shift, count, slots)
      if (slots.length < count) place.roomFrom = slice + 1
    }
    return slots
  }

  private isReserved(slice: number): boolean {
    for (const { from, count } of this.reserves.keys()) if (slice >= from && slice < from + count) return true
    return false
  }

  /**
   * Binds slices for a number of slots that only the owner of the reserve takes: they cannot run out. Recorded by whoever asks.
   * @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_METADATA_FULL`; then nothing is bound
   */
  async reserve(shift: number, slots: number): Promise<Reserve> {
    await this.load()
    const reserve: Reserve = { from: 0, count: Math.max(1, Math.ceil((slots * 2 ** shift) / SLICE)) }
    Object.assign(reserve, { from: this.freeRun(reserve.count) })
    this.keepReserve(reserve)
    try {
      await this.lun.bindAll(reserve.from, reserve.from + reserve.count)
    } catch (error) {
      await this.endReserve(reserve)
      throw error
    }
    return reserve
  }

  /** Whole groups without slots or reserves: what is bound together is of one owner. */
  private freeRun(count: number): number {
    for (let from = 0, slice = 0; ; slice++) {
      if (slice - from >= count) {
        this.reach(slice)
        return from
      }
      this.checkEnd(slice)
      if ((slice < this.end && this.shifts[slice] !== 0) || this.isReserved(slice)) {
        slice = (Math.floor(slice / GROUP) + 1) * GROUP - 1
        from = slice + 1
      }
    }
  }

  /** It exists already. */
  keepReserve(reserve: Reserve): void {
    this.reserves.set(reserve, { roomFrom: reserve.from })
  }

  /** Its slices are like any other; those without slots are unbound. */
  async endReserve(reserve: Reserve): Promise<void> {
    if (this.reserves.delete(reserve)) this.hasRoom(reserve.from)
    await this.trimUnused(reserve.from, reserve.from + reserve.count)
  }

  private checkEnd(slice: number): void {
    if (slice < Math.min(this.lun.sliceCount, this.shrinkTo)) return
    throw new LunarError('ERR_POOL_FULL', `Cannot preserve a chunk in store "${this.lun.name}"`, {
      why: `all of its ${this.lun.size} bytes are in use`,
      fix: 'delete snapshots',
    })
  }

  private takeFrom(slice: number, shift: number, count: number, slots: number[]): void {
    const perSlice = SLICE / 2 ** shift
    if (this.shifts[slice] !== shift && this.shifts[slice] !== 0) return
    this.shifts[slice] = shift
    for (let slot = 0; slot < perSlice && slots.length < count && this.counts[slice]! < perSlice; slot++) {
      const at = slice * BITS + (slot >> 3)
      const bit = 1 << (slot & 7)
      if ((this.bits[at]! & bit) !== 0) continue
      this.bits[at]! |= bit
      this.counts[slice]!++
      slots.push(slice * perSlice + slot)
    }
    if (this.counts[slice] === 0) this.shifts[slice] = 0
  }

  /** The space of slots is bound, durably: only a failing disk can keep them from being written. */
  private async bind(slots: readonly number[], shift: number): Promise<void> {
    const slices = new Set(slots.map(slot => sliceOf(slot, shift)))
    for (const slice of slices) {
      if (await this.lun.isBound(slice * SLICE, SLICE)) continue
      const group = Math.min(this.lun.sliceCount, (Math.floor(slice / GROUP) + 1) * GROUP)
      // What follows is likely to be needed next; where there is no room for it, there may be for this one.
      await this.lun.bindAll(slice, group).catch(() => this.lun.bindAll(slice, slice + 1))
    }
  }

  /** Slots that no entry names after all can be taken again. */
  drop(slots: readonly number[], shift: number): void {
    for (const slot of slots) {
      const slice = sliceOf(slot, shift)
      this.clearBit(slice, slot % (SLICE / 2 ** shift))
      if (this.counts[slice] === 0) this.shifts[slice] = 0
      this.hasRoom(slice)
    }
  }

  private clearBit(slice: number, slot: number): void {
    const at = slice * BITS + (slot >> 3)
    invariant((this.bits[at]! & (1 << (slot & 7))) !== 0, `slot ${slot} of slice ${slice} is given back and was not taken`)
    this.bits[at]! &= ~(1 << (slot & 7))
    this.counts[slice]!--
  }

  private hasRoom(slice: number): void {
    for (const [shift, from] of this.roomFrom) if (slice < from) this.roomFrom.set(shift, slice)
    for (const [{ from, count }, place] of this.reserves) if (slice >= from && slice < from + count) place.roomFrom = Math.min(place.roomFrom, slice)
  }

  /** Records slots as used or not, in the commit of the entries that name them. */
  put(slots: readonly number[], shift: number, used: boolean, batch: Batch): void {
    const perSlice = SLICE / 2 ** shift
    const masks = new Map<number, number>()
    const slices = new Set<number>()
    for (const slot of slots) {
      const at = sliceOf(slot, shift) * BITS + ((slot % perSlice) >> 3)
      masks.set(at, (masks.get(at) ?? 0) | (1 << ((slot % perSlice) & 7)))
      slices.add(sliceOf(slot, shift))
    }
    if (used) for (const slice of slices) batch.patch(this.keyOf(slice), 0, Uint8Array.of(shift), slotsRecord.size)
    for (const [at, mask] of masks) batch.merge(this.keyOf(Math.floor(at / BITS)), SLOTS_BITS_AT + (at % BITS), mask, used ? mask : 0, slotsRecord.size)
  }

  /** Gives slots back that a durable commit no longer names (`load` was called before it), when reads under way have ended; slices without any are unbound, unless they are wanted again at once. */
  async free(slots: readonly number[], shift: number, keepBound = false): Promise<void> {
    await Promise.all([...this.reading])
    const empty: number[] = []
    for (const slot of slots) {
      const slice = sliceOf(slot, shift)
      this.clearBit(slice, slot % (SLICE / 2 ** shift))
      if (this.counts[slice] === 0) {
        const stays = keepBound || this.isReserved(slice)
        this.shifts[slice] = stays ? 0 : EMPTYING
        if (!stays) empty.push(slice)
        else this.hasRoom(slice)
      }
      if (this.counts[slice]! > 0) this.hasRoom(slice)
    }
    await this.empty([...empty, ...this.boundAhead(empty)])
  }

  /** What was bound together with slices that are empty now, where nothing is in use any more. */
  private boundAhead(empty: readonly number[]): number[] {
    const ahead: number[] = []
    for (const group of new Set(empty.map(slice => Math.floor(slice / GROUP)))) {
      this.reach(group * GROUP + GROUP - 1)
      const slices = Array.from({ length: GROUP }, (_, i) => group * GROUP + i)
      if (slices.some(slice => this.isSlotted(slice) || this.isReserved(slice))) continue
      for (const slice of slices.filter(other => this.shifts[other] === 0)) {
        this.shifts[slice] = EMPTYING
        ahead.push(slice)
      }
    }
    return ahead
  }

  private async empty(slices: readonly number[]): Promise<void> {
    try {
      for (const slice of slices) await this.lun.unbind(slice, slice + 1)
      const batch = new Batch()
      for (const slice of slices) batch.delete(this.keyOf(slice))
      await this.metadata.commit(batch, 'data', true)
    } finally {
      // Whether or not its space could be given back.
      for (const slice of slices) {
        this.shifts[slice] = 0
        this.hasRoom(slice)
      }
    }
  }

  /** Unbinds what a crash left bound without a slot in use. Slices [from, to). */
  async trimUnused(from = 0, to = this.lun.sliceCount): Promise<void> {
    await this.load()
    const unused: number[] = []
    for await (const { slice } of this.lun.map.bound(from, to)) {
      this.reach(slice)
      if (this.shifts[slice] !== 0 || this.isReserved(slice)) continue
      this.shifts[slice] = EMPTYING
      unused.push(slice)
    }
    await this.empty(unused)
  }

  // ---- bytes

  /** Writes slots; those that lie next to each other in one call. */
  async write(chunks: readonly SlotBytes[], shift: number): Promise<void> {
    const sorted = [...chunks].sort((a, b) => a.slot - b.slot)
    const writes: Promise<void>[] = []
    for (let from = 0; from < sorted.length;) {
      let to = from + 1
      while (to < sorted.length && sorted[to]!.slot === sorted[to - 1]!.slot + sorted[to - 1]!.bytes.length / 2 ** shift) to++
      const parts = sorted.slice(from, to).map(({ bytes }) => bytes)
      writes.push(this.lun.writev(sorted[from]!.slot * 2 ** shift, parts))
      from = to
    }
    await settle(writes)
  }

  /** Changes bytes inside of slots that lie next to each other. @param offset bytes into the store */
  overwrite(offset: number, bytes: Uint8Array): Promise<void> {
    return this.lun.write(offset, bytes)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const read = this.lun.read(offset, into)
    const settled = read.catch(() => undefined)
    this.reading.add(settled)
    try {
      await read
    } finally {
      this.reading.delete(settled)
    }
  }

  flush(): Promise<void> {
    return this.lun.flush()
  }

  private isSlotted(slice: number): boolean {
    return this.shifts[slice] !== 0 && this.shifts[slice] !== EMPTYING
  }

  private keyOf(slice: number): { hi: number; lo: number } {
    return keyOf('slots', this.lun.number, slice)
  }
}

const sliceOf = (slot: number, shift: number): number => Math.floor((slot * 2 ** shift) / SLICE)
