import { LunarError } from '../base/errors.ts'
import { checkName } from '../base/names.ts'
import { MIB } from '../base/units.ts'
import { orUndo, withoutChange } from '../base/undo.ts'
import { ByteBudget } from '../block/hold.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import {
  decodeRecord,
  LUN_DELETED,
  LUN_INCOMPLETE,
  LUN_PROTECTED,
  LUN_RESERVED,
  LUN_RESERVING,
  LUN_STORE,
  LUN_WRITE_ONCE,
  lunRecord,
  poolRecord,
  type LunRecord,
} from '../../metadata/records.ts'
import { SLICE, type Redundancy } from '../raid/geometry.ts'
import type { Pool } from '../pool/pool.ts'
import { Lun } from './lun.ts'
import { checkRanges, fullyBound, raidText, recordedRanges, typesOf, type AskedRange } from './ranges.ts'

/** Acknowledged writes held back at a time, of all LUNs. Bytes. */
const HOLD_BYTES = 64 * MIB
/** Map pages in memory, of all LUNs that nobody uses now (engine.md section 3). Bytes. */
const MAP_BYTES = 64 * MIB
/** Slices that were cut off and are kept for snapshots before their space comes back: so much of it is needed twice at a time. */
const KEPT_SLICES = 8
/** Behind the last slice that a LUN can have. */
const SLICES_END = 0xffff_fffe
/** Largest LUN: 32 bits of slices. Bytes. */
const LUN_SIZE_MAX = 0x7fff_ffff * SLICE

export interface NewLun {
  readonly name: string
  /** Bytes; a multiple of 1 MiB. */
  readonly size: number
  /** The one type it has, or the types by address. */
  readonly raid: Redundancy | readonly AskedRange[]
  readonly reserve: boolean
  /** It holds the blocks of a write-once device, which this adds to the commit that makes the LUN. */
  readonly writeOnce?: (batch: Batch, lun: number) => void
  /** It holds preserved chunks of snapshots. */
  readonly store?: boolean
  /** What it holds is of no use yet. */
  readonly incomplete?: boolean
  readonly dryRun?: boolean
}

/** What operators set of a LUN, as it is in its record. */
type LunSettings = Pick<LunRecord, 'onFull' | 'iops' | 'iopsBurst' | 'bps' | 'bpsBurst' | 'minIops' | 'priority' | 'cacheBytes'>

export interface ResizeOptions {
  readonly force: boolean
  readonly dryRun?: boolean
  /** What must be durable before a part is cut off; called when nothing else refuses it. */
  readonly cutting?: () => Promise<void>
}

/** The LUNs of a pool: the directory, and what creates, changes and deletes them. */
export class Luns {
  private readonly byNumber = new Map<number, Lun>()
  private readonly byName = new Map<string, Lun>()
  /** Writes that are acknowledged ahead of their barrier round, of all LUNs. */
  readonly budget = new ByteBudget(HOLD_BYTES)

  /** What keeps slices that a shrink has cut off for the snapshots that read them, durably; undefined when none do. */
  cutKeeper: (lun: Lun) => ((from: number, to: number) => Promise<void>) | undefined = () => undefined

  private constructor(private readonly pool: Pool) {}

  static async load(pool: Pool): Promise<Luns> {
    const luns = new Luns(pool)
    for await (const { hi, value } of pool.metadata.range(hiOf('lun'), 0, 0, hiOf('lun', 0xffff_ffff)))
      luns.add(hi - hiOf('lun'), decodeRecord(lunRecord, value))
    return luns
  }

  private add(number: number, record: LunRecord): Lun {
    const lun = new Lun(number, record, this.pool, this.budget, lun => this.mapsLoaded(lun))
    this.byNumber.set(number, lun)
    this.pool.stores.set(number, lun.stores)
    if ((record.flags & LUN_DELETED) === 0) this.byName.set(record.name, lun)
    return lun
  }

  /** Over the budget the pages of LUNs that nobody uses go; they load again when they are needed. */
  private mapsLoaded(by: Lun): void {
    if (this.maps.bytes <= MAP_BYTES) return
    for (const lun of this.byNumber.values()) if (lun !== by) lun.releaseMaps()
  }

  /** Bytes of map pages in memory, and what they may be before pages of LUNs that nobody uses go. */
  get maps(): { readonly bytes: number; readonly most: number } {
    let bytes = 0
    for (const lun of this.byNumber.values()) bytes += lun.mapBytes
    return { bytes, most: MAP_BYTES }
  }

  /** Bytes that write-back caches hold, and what they may. */
  get caches(): { readonly bytes: number; readonly most: number } {
    let bytes = 0
    let most = 0
    for (const { cache } of this.byNumber.values()) {
      bytes += cache?.used ?? 0
      most += cache?.limit ?? 0
    }
    return { bytes, most }
  }

  /** Live LUNs in order of number. */
  get all(): Lun[] {
    return [...this.byNumber.values()].filter(lun => !this.isDeleted(lun))
  }

  /** Live and deleted LUNs: all that hold segments. */
  get holders(): Lun[] {
    return [...this.byNumber.values()]
  }

  /** Deleted LUNs, and behind them LUNs that were shrunk, whose space is still to be given back. */
  get toReclaim(): Lun[] {
    const due = [...this.byNumber.values()].filter(lun => this.isDeleted(lun) || (lun.record.reclaimFrom > 0 && !lun.growing))
    return due.sort((a, b) => Number(this.isDeleted(b)) - Number(this.isDeleted(a)))
  }

  /** Reads open and stale records of every LUN that has some. */
  async loadBits(): Promise<void> {
    const numbers = new Set<number>()
    for (const kind of ['open', 'stale'] as const)
      for await (const { hi } of this.pool.metadata.range(hiOf(kind), 0, Number.MAX_SAFE_INTEGER, hiOf(kind, 0xffff_ffff))) numbers.add(hi - hiOf(kind))
    for (const number of numbers) {
      const stores = this.byNumber.get(number)?.stores
      if (!stores) continue
      await stores.bits.load(this.pool.metadata)
      for (const key of stores.unsyncedSlices) await stores.table.load(Math.floor(key / 8))
      for (const store of stores.staleStores) await stores.table.load(store)
    }
  }

  /** By name or number. @throws LunarError `ERR_LUN_NOT_FOUND` */
  find(name: string): Lun {
    const lun = this.byName.get(name)
    if (!lun) {
      const near = [...this.byName.keys()].find(known => known.toLowerCase() === name.toLowerCase())
      throw new LunarError(
        'ERR_LUN_NOT_FOUND',
        `Cannot find LUN "${name}" in pool "${this.pool.record.name}"`,
        near ? { why: `there is one called "${near}"` } : {},
      )
    }
    return lun
  }

  byId(number: number): Lun | undefined {
    return this.byNumber.get(number)
  }

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_TOO_FEW_DISKS`; with `reserve` also `ERR_POOL_FULL`, and then nothing is left */
  async create(spec: NewLun): Promise<Lun> {
    checkName('LUN', spec.name)
    this.checkNew(spec.name)
    checkLunSize(spec.size)
    const ranges = checkRanges(typeof spec.raid === 'string' ? [{ offset: 0, length: null, raid: spec.raid }] : spec.raid)
    for (const raid of typesOf(ranges)) this.pool.checkRedundancy(raid)
    if (spec.reserve) {
      for (const [raid, bytes] of fullyBound(ranges, spec.size)) {
        if (bytes <= this.pool.largest(raid)) continue
        throw new LunarError('ERR_POOL_FULL', `Cannot reserve ${spec.size} bytes for LUN "${spec.name}"`, {
          why: `the largest ${raid} LUN that fits has ${this.pool.largest(raid)} bytes`,
        })
      }
    }
    const now = this.pool.options.clock.wallMs()
    const number = this.pool.record.nextLun
    const record: LunRecord = {
      lunId: this.pool.options.uuids(),
      name: spec.name,
      size: spec.size,
      createdMs: now,
      modifiedMs: now,
      ...recordedRanges(ranges),
      flags:
        (spec.reserve ? LUN_RESERVED | LUN_RESERVING : 0) |
        (spec.writeOnce ? LUN_WRITE_ONCE : 0) |
        (spec.store ? LUN_STORE : 0) |
        (spec.incomplete ? LUN_INCOMPLETE : 0),
      ldad: 0,
      nextStore: 0,
      nextGeneration: 0,
      boundSlices: 0,
      storeCount: 0,
      reclaimFrom: 0,
      epoch: 0,
      tree: 0,
      onFull: 0,
      cacheBytes: 0,
      iops: 0,
      iopsBurst: 0,
      bps: 0,
      bpsBurst: 0,
      minIops: 0,
      priority: 0,
    }
    if (spec.dryRun) return new Lun(number, record, this.pool, this.budget, lun => this.mapsLoaded(lun))
    this.pool.record = { ...this.pool.record, nextLun: number + 1 }
    const lun = this.add(number, record)
    const batch = new Batch()
    batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
    batch.put(keyOf('lun', number), lunRecord.encode(record))
    spec.writeOnce?.(batch, number)
    this.pool.event(batch, 'lun.created', spec.name, `${raidText(typesOf(ranges))}, ${spec.size} bytes${spec.reserve ? ', reserved' : ''}`)
    await orUndo(
      () => this.pool.metadata.commit(batch, 'admin'),
      () => this.forget(lun),
    )
    if (spec.reserve) {
      const reserve = async (): Promise<void> => {
        await lun.bindAll(0, lun.sliceCount)
        await this.update(lun, { flags: lun.record.flags & ~LUN_RESERVING })
      }
      await orUndo(reserve, () => this.delete(lun))
    }
    return lun
  }

  /** @throws LunarError `ERR_EXISTS` */
  checkNew(name: string): void {
    if (this.byName.has(name))
      throw new LunarError('ERR_EXISTS', `Cannot use "${name}" as the name of a LUN`, { why: `pool "${this.pool.record.name}" has a LUN of this name` })
  }

  async rename(lun: Lun, name: string, dryRun = false): Promise<void> {
    checkName('LUN', name)
    this.checkOwn(lun, 'rename')
    if (name === lun.name) return
    this.checkNew(name)
    if (dryRun) return
    const old = lun.name
    this.byName.delete(old)
    this.byName.set(name, lun)
    try {
      await this.update(lun, { name }, `renamed from ${old}`)
    } catch (error) {
      if (this.byName.get(name) === lun) this.byName.delete(name)
      if (!this.byName.has(old)) this.byName.set(old, lun)
      throw error
    }
  }

  /**
   * Changes the size in steps of 1 MiB. What a shrink cuts off is gone at once; its space is given back behind it.
   * @throws LunarError `ERR_WOULD_LOSE_DATA` when the part to be cut off is written, unless `force`; `ERR_BUSY` when a part is cut off while it is open
   */
  resize(lun: Lun, size: number, options: ResizeOptions): Promise<void> {
    checkLunSize(size)
    this.checkUnprotected(lun, 'resize')
    return lun.sizing.run(() => this.resizeNow(lun, size, options))
  }

  /** What a store holds is checked by whoever keeps chunks there. */
  resizeStore(lun: Lun, size: number, options: ResizeOptions): Promise<void> {
    checkLunSize(size)
    return lun.sizing.run(() => this.resizeNow(lun, size, options))
  }

  private async resizeNow(lun: Lun, size: number, options: ResizeOptions): Promise<void> {
    const slices = size / SLICE
    if (size < lun.size) {
      let written = 0
      for await (const _ of lun.map.bound(slices, lun.sliceCount)) written++
      if (written > 0 && !options.force) {
        throw new LunarError('ERR_WOULD_LOSE_DATA', `Cannot shrink LUN "${lun.name}" to ${size} bytes`, {
          why: `${written} MiB behind that are written`,
          fix: `lunar lun resize ${lun.name} --size ${size} --force=lost-data`,
        })
      }
      checkUnused(lun, `shrink LUN "${lun.name}"`)
      if (options.dryRun) return
      await options.cutting?.()
      // What is held of the part that goes would have no place.
      await lun.cache?.drain()
      // What an earlier shrink cut off may still wait to be given back.
      const waits = written > 0 || lun.record.reclaimFrom > 0
      await this.update(lun, { size, reclaimFrom: waits ? slices : 0 }, `shrunk to ${size} bytes`)
      return
    }
    if (options.dryRun || size === lun.size) return
    await this.grow(lun, slices, () => this.update(lun, { size, reclaimFrom: 0 }, `grown to ${size} bytes`))
  }

  /** Of a reserved LUN the new part is bound behind the end first; until the size is committed it counts as cut off, so a crash gives it back. */
  private async grow(lun: Lun, slices: number, commit: () => Promise<void>): Promise<void> {
    // A part that was cut off before must be given back before the LUN grows over it again.
    while (lun.record.reclaimFrom > 0) await this.reclaimTail(lun)
    lun.growing = lun.isReserved
    try {
      if (lun.isReserved) {
        await this.update(lun, { reclaimFrom: lun.sliceCount })
        await lun.bindAll(lun.sliceCount, slices)
      }
      await commit()
    } finally {
      lun.growing = false
    }
  }

  /**
   * Changes the size of a LUN together with something else, in its commit. What a shrink cuts off counts as kept elsewhere.
   * @param commit makes a batch durable that `fill` has added the size to; `undo` when it was refused
   */
  resizeWith(lun: Lun, size: number, commit: (fill: (batch: Batch) => { readonly undo: () => void }) => Promise<void>): Promise<void> {
    const slices = size / SLICE
    const now = (): Promise<void> =>
      commit(batch => {
        const before = lun.record
        const change = { size, reclaimFrom: size < before.size ? slices : 0, modifiedMs: this.pool.options.clock.wallMs() }
        if (size !== before.size) {
          lun.record = { ...before, ...change }
          batch.put(keyOf('lun', lun.number), lunRecord.encode(lun.record))
          this.pool.event(batch, 'lun.changed', lun.name, `${size < before.size ? 'shrunk' : 'grown'} to ${size} bytes`)
        }
        return { undo: () => (lun.record = withoutChange(lun.record, before, change)) }
      })
    return lun.sizing.run(() => (size > lun.size ? this.grow(lun, slices, now) : now()))
  }

  /** LUNs whose reservation a crash interrupted were never acknowledged: they go. For the owner, after opening. */
  async dropUnfinished(): Promise<void> {
    for (const lun of this.all) if ((lun.record.flags & LUN_RESERVING) !== 0) await this.delete(lun)
  }

  /** One commit: the name is free and the space promised back; `reclaim` gives it back. */
  async delete(lun: Lun): Promise<void> {
    this.checkUnprotected(lun, 'delete')
    await this.drop(lun)
  }

  /** Deletes the LUN of a write-once device, in one commit with what `together` says. */
  deleteWriteOnce(lun: Lun, together: (batch: Batch) => void): Promise<void> {
    return this.drop(lun, together)
  }

  /** Deletes a store, which no tree uses any more. */
  deleteStore(lun: Lun): Promise<void> {
    return this.drop(lun)
  }

  private async drop(lun: Lun, together?: (batch: Batch) => void): Promise<void> {
    checkUnused(lun, `delete LUN "${lun.name}"`)
    this.byName.delete(lun.name)
    await this.update(lun, { flags: lun.record.flags | LUN_DELETED }, 'deleted', 'lun.deleted', together)
  }

  async setIncomplete(lun: Lun, incomplete: boolean): Promise<void> {
    if (lun.isIncomplete === incomplete) return
    await this.update(
      lun,
      { flags: incomplete ? lun.record.flags | LUN_INCOMPLETE : lun.record.flags & ~LUN_INCOMPLETE },
      incomplete ? 'import started' : 'import complete',
    )
  }

  /**
   * Adds to a batch that what the LUN holds is of no use any more, or that it is.
   * @returns what takes it back when the batch was refused
   */
  markIncomplete(lun: Lun, batch: Batch, incomplete = true): () => void {
    const before = lun.record
    const flags = incomplete ? before.flags | LUN_INCOMPLETE : before.flags & ~LUN_INCOMPLETE
    const change = { flags, modifiedMs: this.pool.options.clock.wallMs() }
    lun.record = { ...before, ...change }
    batch.put(keyOf('lun', lun.number), lunRecord.encode(lun.record))
    return () => {
      lun.record = withoutChange(lun.record, before, change)
    }
  }

  async setProtected(lun: Lun, isProtected: boolean): Promise<void> {
    if (lun.isProtected === isProtected) return
    const flags = isProtected ? lun.record.flags | LUN_PROTECTED : lun.record.flags & ~LUN_PROTECTED
    await this.update(lun, { flags }, isProtected ? 'protected' : 'no longer protected')
  }

  /** Settings in one commit. @param message for the event: `iops=500` @throws LunarError when what the cache holds cannot be written, and it is to go */
  async set(lun: Lun, settings: Partial<LunSettings>, message: string): Promise<void> {
    if (settings.cacheBytes === 0) await lun.endCache()
    try {
      await this.update(lun, settings, message)
    } finally {
      lun.applyCache()
    }
  }

  /** @throws LunarError `ERR_WRITE_ONCE` when a write-once device has the LUN, `ERR_SNAPSHOT_STORE` when it is a store */
  checkOwn(lun: Lun, what: string): void {
    if (lun.isStore)
      throw new LunarError('ERR_SNAPSHOT_STORE', `Cannot ${what} LUN "${lun.name}"`, {
        why: 'it holds preserved chunks of snapshots',
        fix: `lunar store show ${lun.name}`,
      })
    if (lun.isWriteOnce)
      throw new LunarError('ERR_WRITE_ONCE', `Cannot ${what} LUN "${lun.name}"`, {
        why: 'it holds the blocks of a write-once device',
        fix: `lunar wod show ${lun.name}`,
      })
  }

  /** @throws LunarError `ERR_PROTECTED`, `ERR_WRITE_ONCE` */
  checkUnprotected(lun: Lun, what: string): void {
    this.checkOwn(lun, what)
    if (lun.isProtected)
      throw new LunarError('ERR_PROTECTED', `Cannot ${what} LUN "${lun.name}"`, { why: 'it is protected', fix: `lunar lun unprotect ${lun.name}` })
  }

  /** Two LUNs change names in one commit, so that one takes the place of the other. What `together` adds to the batch happens with it. */
  async swap(a: Lun, b: Lun, together?: (batch: Batch) => void): Promise<void> {
    for (const lun of [a, b]) this.checkOwn(lun, 'swap')
    const now = this.pool.options.clock.wallMs()
    const batch = new Batch()
    this.pool.event(batch, 'lun.swapped', a.name, `changed places with ${b.name}`)
    const takeNames = (names: readonly [string, string], times: readonly [number, number]): void => {
      for (const [i, lun] of [a, b].entries()) {
        lun.record = { ...lun.record, name: names[i]!, modifiedMs: times[i]! }
        this.byName.set(lun.name, lun)
      }
    }
    const before = { names: [a.name, b.name], times: [a.record.modifiedMs, b.record.modifiedMs] } as const
    takeNames([b.name, a.name], [now, now])
    for (const lun of [a, b]) batch.put(keyOf('lun', lun.number), lunRecord.encode(lun.record))
    together?.(batch)
    await orUndo(
      () => this.pool.metadata.commit(batch, 'admin', true),
      () => takeNames(before.names, before.times),
    )
  }

  private async update(lun: Lun, change: Partial<LunRecord>, message?: string, code = 'lun.changed', together?: (batch: Batch) => void): Promise<void> {
    const changed: Partial<LunRecord> = { ...change, modifiedMs: this.pool.options.clock.wallMs() }
    const before = lun.record
    lun.record = { ...lun.record, ...changed }
    const batch = new Batch()
    batch.put(keyOf('lun', lun.number), lunRecord.encode(lun.record))
    if (message !== undefined) this.pool.event(batch, code, lun.name, message)
    together?.(batch)
    await orUndo(
      () => this.pool.metadata.commit(batch, 'admin', true),
      () => {
        // Meanwhile writes may have bound slices.
        lun.record = withoutChange(lun.record, before, changed)
      },
    )
  }

  /** Unbinds what lies behind the end of a LUN that was shrunk; what snapshots read there is kept first, a part at a time. @returns bytes given back */
  private async reclaimTail(lun: Lun): Promise<number> {
    if (lun.record.reclaimFrom === 0) return 0
    const keep = this.cutKeeper(lun)
    if (keep) {
      const cut: number[] = []
      for await (const { slice } of lun.map.bound(lun.sliceCount, SLICES_END)) if (cut.push(slice) === KEPT_SLICES) break
      const [first, last] = [cut[0], cut.at(-1)]
      if (first !== undefined && last !== undefined) {
        await keep(first, last + 1)
        return (await lun.unbind(first, last + 1)) * SLICE
      }
    }
    const slices = await lun.unbind(lun.sliceCount, SLICES_END)
    const record: Partial<LunRecord> = { reclaimFrom: 0 }
    lun.record = { ...lun.record, ...record }
    const batch = new Batch()
    batch.put(keyOf('lun', lun.number), lunRecord.encode(lun.record))
    await this.pool.metadata.commit(batch, 'data', true)
    return slices * SLICE
  }

  /** Gives back a bounded part of what a deleted or shrunk LUN still holds. */
  async reclaim(lun: Lun, slicesMax: number): Promise<{ moved: number; finished: boolean }> {
    if (!this.isDeleted(lun)) return { moved: await lun.sizing.run(() => this.reclaimTail(lun)), finished: lun.record.reclaimFrom === 0 }
    let last = -1
    let count = 0
    for await (const { slice } of lun.map.bound(0, SLICES_END)) {
      last = slice
      if (++count === slicesMax) break
    }
    if (last >= 0) return { moved: (await lun.unbind(0, last + 1)) * SLICE, finished: false }
    const batch = new Batch()
    for await (const { hi, lo } of this.pool.metadata.range(hiOf('lmap', lun.number))) {
      batch.delete({ hi, lo })
      if (batch.ops.length >= 1000) break
    }
    const more = batch.ops.length >= 1000
    if (!more) batch.delete(keyOf('lun', lun.number))
    await this.pool.metadata.commit(batch, 'data', true)
    if (!more) this.forget(lun)
    return { moved: 0, finished: !more }
  }

  private forget(lun: Lun): void {
    this.byNumber.delete(lun.number)
    this.pool.stores.delete(lun.number)
    if (this.byName.get(lun.name) === lun) this.byName.delete(lun.name)
  }

  private isDeleted(lun: Lun): boolean {
    return (lun.record.flags & LUN_DELETED) !== 0
  }
}

/** @throws LunarError `ERR_BUSY`, naming who has the LUN open */
export function checkUnused(lun: Lun, what: string): void {
  const users = [...new Set(lun.users)]
  if (users.length === 0) return
  throw new LunarError('ERR_BUSY', `Cannot ${what}`, {
    why: `${users.join(', ')} ${users.length === 1 ? 'has' : 'have'} LUN "${lun.name}" open`,
    blockers: users,
  })
}

/** @throws LunarError `ERR_BAD_SIZE` unless a LUN can have this size */
export function checkLunSize(size: number): void {
  if (size < SLICE || size % SLICE !== 0 || size > LUN_SIZE_MAX) {
    throw new LunarError('ERR_BAD_SIZE', `Cannot make a LUN of ${size} bytes`, {
      why: `a LUN has 1 MiB or more, in steps of 1 MiB, at most ${LUN_SIZE_MAX} bytes`,
    })
  }
}
