import { isCode, isDisksFault } from '../base/errors.ts'
import { settle } from '../base/settle.ts'
import { isZero } from '../base/zeros.ts'
import { alignedBuffers, isPageMemory } from '../block/aligned.ts'
import { columnParts, columnPieces, COLUMNS, PARITY_MEMBER, ROW, SLICE, SLICE_ON_MEMBER, SLICES, UNIT, type ColumnPart } from '../raid/geometry.ts'
import { byteOfStore, planRows, type RowPlan, type RowSegment } from '../raid/parity.ts'
import { xorInto, xorOf } from '../raid/xor.ts'
import type { LogPiece } from '../../metadata/parity-group.ts'
import type { LogTicket, ParityLog } from './parity-log.ts'
import type { PoolDisk } from './pool-disk.ts'
import { lostError, type BadRange, type StoreSet } from './store-io.ts'

const MEMBERS = COLUMNS + 1
const ALL: readonly number[] = Array.from({ length: MEMBERS }, (_, member) => member)
/** Where a range cannot be read as a whole, it is tried in pieces of this. Bytes. */
const SECTOR = 4096

/**
 * Reading and writing stores of four columns and their parity (raid5). The caller locks member addresses: shared to read,
 * exclusive to write or repair, whole slices to verify and resync.
 *
 * What keeps bytes that nobody writes right (hazards 7, 36; the reasons are in docs/architecture.md):
 * - new bytes and new parity of a row that is not written as a whole are durable in the log before any of them is written in place;
 * - bytes are written in place first, and parity when they are: a write that fails on its last member has changed no parity;
 * - whatever changes members past the log (whole rows, resync, verifying, cleaning) voids older entries of these addresses first.
 */
export class ParityStore {
  /** Page memory for the parity of long writes, kept for the next one. */
  private readonly spare: Uint8Array[] = []

  constructor(private readonly set: StoreSet) {}

  // ---- reading

  /** @returns what was served from the others, if anything @throws LunarError `ERR_DATA_LOST` when a part is on two members that cannot be read */
  async read(store: number, at: number, into: Uint8Array): Promise<BadRange[] | undefined> {
    const sliceEnd = at - (at % SLICE) + SLICE
    if (at + into.length > sliceEnd && !this.allCurrent(store, at, into.length)) {
      const first = sliceEnd - at
      return joined(await Promise.all([this.read(store, at, into.subarray(0, first)), this.read(store, sliceEnd, into.subarray(first))]))
    }
    const parts = columnParts(at, into.length)
    if (parts.length === 1) return this.readPart(store, parts[0]!, columnPieces(into, at, parts[0]!.column))
    return joined(await Promise.all(parts.map(part => this.readPart(store, part, columnPieces(into, at, part.column)))))
  }

  private allCurrent(store: number, at: number, length: number): boolean {
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) if (this.set.members.notCurrent(store, slice).length > 0) return false
    return true
  }

  private async readPart(store: number, part: ColumnPart, pieces: readonly Uint8Array[]): Promise<BadRange[] | undefined> {
    const { host, members, table } = this.set
    const slice = Math.floor(part.at / SLICE_ON_MEMBER)
    if (!members.isCurrent(store, slice, part.column)) {
      await this.readFromOthers(store, part, pieces, undefined)
      return undefined
    }
    const disk = members.disk(store, part.column)
    try {
      await disk.read(table.segmentOf(store, part.column), part.at, pieces)
      return undefined
    } catch (error) {
      if (!isDisksFault(error)) throw error
      await this.readFromOthers(store, part, pieces, error)
      if (!isCode(error, 'ERR_IO')) return undefined
      host.readRepaired(disk, error)
      return [{ store, member: part.column, at: part.at, length: part.length }]
    }
  }

  /** Reads a column as the XOR of the other members; where one of them has a bad place, in small pieces, so that only what two lack is lost. */
  private async readFromOthers(store: number, part: ColumnPart, pieces: readonly Uint8Array[], cause: unknown): Promise<void> {
    const { host, members } = this.set
    const slice = Math.floor(part.at / SLICE_ON_MEMBER)
    const sources = ALL.filter(member => member !== part.column)
    if (sources.some(member => !members.isCurrent(store, slice, member))) throw this.lost('read', store, part.column, part.length, cause)
    const bytes = pieces.length === 1 ? pieces[0]! : new Uint8Array(part.length)
    for (;;) {
      const failed = await this.xorMembers(store, sources, part.at, bytes)
      if (!failed) break
      if (!isDisksFault(failed.error)) throw failed.error
      if (part.length <= SECTOR) throw this.lost('read', store, failed.member, part.length, failed.error)
      for (let done = 0; done < part.length;) {
        const length = Math.min(SECTOR - ((part.at + done) % SECTOR), part.length - done)
        await this.readSmall(store, { column: part.column, at: part.at + done, length }, bytes.subarray(done, done + length))
        done += length
      }
      host.readRepaired(members.disk(store, failed.member), failed.error)
      break
    }
    if (pieces.length === 1) return
    let from = 0
    for (const piece of pieces) {
      piece.set(bytes.subarray(from, from + piece.length))
      from += piece.length
    }
  }

  private async readSmall(store: number, part: ColumnPart, into: Uint8Array): Promise<void> {
    const { members, table } = this.set
    let cause: unknown
    if (members.isCurrent(store, Math.floor(part.at / SLICE_ON_MEMBER), part.column)) {
      try {
        return await members.disk(store, part.column).read(table.segmentOf(store, part.column), part.at, [into])
      } catch (error) {
        if (!isDisksFault(error)) throw error
        cause = error
      }
    }
    await this.readFromOthers(store, part, [into], cause)
  }

  /** `into` becomes the XOR of what members have from `at` on. @returns the first that could not be read */
  private async xorMembers(store: number, sources: readonly number[], at: number, into: Uint8Array): Promise<ReadFailure | undefined> {
    const buffers = sources.map((_, i) => (i === 0 ? into : new Uint8Array(into.length)))
    const failed = await this.readMembers(store, sources, at, buffers)
    if (failed) return failed
    xorOf(into, buffers)
    return undefined
  }

  /** What the host has in memory is read at once. @returns the first that could not be read */
  private async readMembers(store: number, sources: readonly number[], at: number, buffers: readonly Uint8Array[]): Promise<ReadFailure | undefined> {
    const { members, table } = this.set
    let failed: ReadFailure | undefined
    let reads: Promise<void>[] | undefined
    for (const [i, member] of sources.entries()) {
      const disk = members.disk(store, member)
      const segment = table.segmentOf(store, member)
      if (disk.tryRead(segment, at, buffers[i]!)) continue
      const read = disk.read(segment, at, [buffers[i]!]).catch((error: unknown) => {
        failed ??= { member, error }
      })
      ;(reads ??= []).push(read)
    }
    if (reads) await Promise.all(reads)
    return failed
  }

  /** Writes a range that a member did not give from what the others have. @returns whether it did; a disk that refuses it leaves service */
  async repair({ store, member, at, length }: BadRange): Promise<boolean> {
    const { members, table, host } = this.set
    const slice = Math.floor(at / SLICE_ON_MEMBER)
    if (members.notCurrent(store, slice).length > 0) return false
    const bytes = new Uint8Array(length)
    const failed = await this.xorMembers(
      store,
      ALL.filter(other => other !== member),
      at,
      bytes,
    )
    if (failed) return false
    const disk = members.disk(store, member)
    try {
      await disk.write(table.segmentOf(store, member), at, [bytes], length)
      return true
    } catch (error) {
      if (!isDisksFault(error)) throw error
      if (members.notCurrent(store, slice).length > 0) return false
      await host.failDisk(disk, error)
      return true
    }
  }

  // ---- writing

  /** Why a write would be refused now, before anything is done for it. */
  refusal(store: number, at: number, length: number): Error | undefined {
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) {
      const away = this.set.members.notCurrent(store, slice)
      if (away.length > 1) return this.lost('write', store, away[0]!, length, undefined)
    }
    return undefined
  }

  /**
   * `prepareWrite` is durable and `beginWrite` called. When it resolves every member in service has the write, and each disk that failed it
   * is out of service, durably. @throws LunarError `ERR_DATA_LOST` when a second member of a slice is lost
   */
  async write(store: number, at: number, data: Uint8Array): Promise<void> {
    const inRow = at % ROW
    if (inRow + data.length <= ROW && data.length < ROW) return this.writePart(store, at, data)
    const calls: Promise<void>[] = []
    for (const plan of planRows(at, data.length, undefined)) {
      const bytes = data.subarray(plan.at - at, plan.at - at + plan.length)
      calls.push(plan.whole ? this.writeWhole(store, plan.at, bytes) : this.writePart(store, plan.at, bytes))
    }
    await settle(calls)
  }

  /** The member that is not current in a slice, once its leaving is durable. @throws LunarError `ERR_DATA_LOST` when there are two */
  private async away(store: number, slice: number, length: number): Promise<number | undefined> {
    const { members, host } = this.set
    for (;;) {
      const away = members.notCurrent(store, slice)
      if (away.length === 0) return undefined
      if (away.length > 1) throw this.lost('write', store, away[0]!, length, undefined)
      // Until its leaving is durable a crash would bring it back as current.
      const leaving = host.leaving(members.disk(store, away[0]!))
      if (!leaving) return away[0]
      await leaving
    }
  }

  /** A write inside of one row, not all of it. */
  private async writePart(store: number, at: number, data: Uint8Array): Promise<void> {
    const slice = Math.floor(at / SLICE)
    for (;;) {
      const away = await this.away(store, slice, data.length)
      // A disk that left since this write was prepared needs its mark.
      const marked = this.set.prepareWrite(store, at, data.length)
      if (marked) await marked
      const plan = planRows(at, data.length, away)[0]!
      if (away === PARITY_MEMBER ? await this.writeAlone(store, slice, plan, data) : await this.writeLogged(store, slice, plan, data, away)) return
    }
  }

  /** Columns alone, while their parity is away. */
  private async writeAlone(store: number, slice: number, plan: RowPlan, data: Uint8Array): Promise<boolean> {
    const failures = await this.put(
      store,
      plan.segments.flatMap(segment => columnBytes(segment, plan.at, data, PARITY_MEMBER)),
    )
    if (failures.length > 0) this.refuse(store, slice, data.length, failures)
    return true
  }

  /** @returns false when a member left service on the way: to be tried anew */
  private async writeLogged(store: number, slice: number, plan: RowPlan, data: Uint8Array, away: number | undefined): Promise<boolean> {
    const { host, lun, members, table } = this.set
    const old = plan.segments.map(segment => segment.reads.map(() => new Uint8Array(segment.length)))
    for (const [i, segment] of plan.segments.entries()) {
      if (segment.reads.length === 0) continue
      const failed = await this.readMembers(store, segment.reads, segment.at, old[i]!)
      if (!failed) continue
      if (!isDisksFault(failed.error)) throw failed.error
      const disk = members.disk(store, failed.member)
      if (!disk.inService) return false
      const repaired = await this.repair({ store, member: failed.member, at: segment.at, length: segment.length })
      if (!repaired) {
        // It may have left meanwhile: then the write goes on without it.
        if (!disk.inService) return false
        throw this.lost('write', store, failed.member, data.length, failed.error)
      }
      host.readRepaired(disk, failed.error)
      return false
    }
    const bytes = plan.segments.flatMap(segment => columnBytes(segment, plan.at, data, away))
    const parity = plan.segments.map((segment, i) => ({ member: PARITY_MEMBER, at: segment.at, bytes: newParity(segment, plan.at, data, old[i]!) }))
    const key = { lun, store, generation: table.generation(store) }
    const disks = [...new Set([...bytes, ...parity].map(({ member }) => members.disk(store, member)))]
    let log: ParityLog
    let ticket: LogTicket
    try {
      const found = host.parityLog(members.disk(store, PARITY_MEMBER))
      log = found instanceof Promise ? await found : found
      ticket = await log.append(key, slice, [...bytes, ...parity], disks)
    } catch (error) {
      await this.logFailed(store, slice, data.length, error)
      return false
    }
    await this.place(store, slice, data.length, bytes, parity, log, ticket, away, () => this.undo(store, plan, old, away))
    return true
  }

  /** Takes the disk out of service whose log failed, where the others have all. @throws `ERR_DATA_LOST` where they do not */
  async logFailed(store: number, slice: number, length: number, error: unknown): Promise<void> {
    if (!isDisksFault(error)) throw error
    const { host, members } = this.set
    if (members.notCurrent(store, slice).some(member => member !== PARITY_MEMBER)) throw this.lost('write', store, PARITY_MEMBER, length, error)
    await host.failDisk(members.disk(store, PARITY_MEMBER), error)
  }

  /**
   * Writes in place what the log has.
   *
   * @param length bytes that are being written
   * @param bytes those of columns, and `parity`, of the same member addresses, in their order
   * @param away the column that is not current, if one is
   * @param undo gives columns their old bytes back, where one is away
   * @throws as `write`
   */
  async place(
    store: number,
    slice: number,
    length: number,
    bytes: readonly LogPiece[],
    parity: readonly LogPiece[],
    log: ParityLog,
    ticket: LogTicket,
    away?: number,
    undo?: () => Promise<void>,
  ): Promise<void> {
    const { host, members } = this.set
    let failures: ReadFailure[]
    try {
      failures = await this.put(store, bytes)
      if (failures.length === 0 || (failures.length === 1 && away === undefined && isDisksFault(failures[0]!.error))) {
        const parityFailures = await this.put(store, parity)
        const all = [...failures, ...parityFailures]
        if (all.length === 0) return
        if (all.length === 1 && away === undefined && isDisksFault(all[0]!.error)) {
          // The log has what the member lacks, and its stale mark makes its entries void.
          await host.failDisk(members.disk(store, all[0]!.member), all[0]!.error)
          return
        }
        if (parityFailures.length > 0) await undo?.()
        failures.push(...parityFailures)
      }
    } finally {
      // Also when it failed: nobody waits for room in the log while this one holds an entry.
      log.written(ticket)
    }
    const from = parity[0]!.at
    const to = parity.at(-1)!.at + parity.at(-1)!.bytes.length
    await this.voidLog(store, from, to)
    // Some columns may be new: before another is lost their parity is made to fit.
    if (away === undefined && !members.notCurrent(store, slice).length) await this.verifyRange(store, from, to - from)
    this.refuse(store, slice, length, failures)
  }

  /** Columns whose parity could not be written get their old bytes back, so that what another column has by them stays. */
  private async undo(store: number, plan: RowPlan, old: readonly (readonly Uint8Array[])[], away: number | undefined): Promise<void> {
    if (away === undefined) return
    const bytes = plan.segments.flatMap((segment, i) =>
      segment.way === 'modify' ? segment.touched.map((member, j) => ({ member, at: segment.at, bytes: old[i]![j]! })) : [],
    )
    // Where this fails too nothing more can be done; the writer is told in any case.
    await this.put(store, bytes)
  }

  /** Rows of which every byte is written: not logged. */
  private async writeWhole(store: number, at: number, data: Uint8Array): Promise<void> {
    const slice = Math.floor(at / SLICE)
    const end = at - (at % SLICE) + SLICE
    if (at + data.length > end && !this.allCurrent(store, at, data.length)) {
      await settle([this.writeWhole(store, at, data.subarray(0, end - at)), this.writeWhole(store, end, data.subarray(end - at))])
      return
    }
    const { host, members } = this.set
    const from = (at / ROW) * UNIT
    const length = data.length / COLUMNS
    for (;;) {
      const away = await this.away(store, slice, data.length)
      await this.set.prepareWrite(store, at, data.length)
      if (away !== PARITY_MEMBER && !(await this.voidLog(store, from, from + length))) continue
      const legs: Leg[] = []
      for (let column = 0; column < COLUMNS; column++)
        if (column !== away) legs.push({ member: column, at: from, pieces: columnPieces(data, at, column), length })
      let parity: Uint8Array | undefined
      if (away !== PARITY_MEMBER) {
        parity = this.parityBuffer(length, isPageMemory(data))
        for (let row = 0; row * ROW < data.length; row++)
          xorOf(
            parity.subarray(row * UNIT, (row + 1) * UNIT),
            [0, 1, 2, 3].map(column => data.subarray(row * ROW + column * UNIT, row * ROW + (column + 1) * UNIT)),
          )
        legs.push({ member: PARITY_MEMBER, at: from, pieces: [parity], length })
      }
      const failures = await this.putLegs(store, legs)
      if (parity) this.spare.push(parity)
      if (this.spare.length > 2) this.spare.shift()
      if (failures.length === 0) return
      if (failures.length > 1 || away !== undefined || !isDisksFault(failures[0]!.error)) {
        for (let other = slice; other * SLICE < at + data.length; other++) this.doubt(store, other)
        this.refuse(store, slice, data.length, failures)
      }
      await host.failDisk(members.disk(store, failures[0]!.member), failures[0]!.error)
      return
    }
  }

  private parityBuffer(length: number, pageMemory: boolean): Uint8Array {
    if (!pageMemory) return new Uint8Array(length)
    const found = this.spare.findIndex(buffer => buffer.length === length && isPageMemory(buffer))
    return found < 0 ? alignedBuffers(1, length)[0]! : this.spare.splice(found, 1)[0]!
  }

  /** Writes pieces in place, at once where the host takes them. @returns as `putLegs` */
  private async put(store: number, pieces: readonly LogPiece[]): Promise<ReadFailure[]> {
    const { members, table } = this.set
    const legs: Leg[] = []
    for (const { member, at, bytes } of pieces)
      if (!members.disk(store, member).tryWrite(table.segmentOf(store, member), at, bytes)) legs.push({ member, at, pieces: [bytes], length: bytes.length })
    return legs.length === 0 ? [] : this.putLegs(store, legs)
  }

  /** Writes to members, all at once. @returns the first failure of each member, once all have ended */
  private async putLegs(store: number, legs: readonly Leg[]): Promise<ReadFailure[]> {
    const { members, table } = this.set
    const failures: ReadFailure[] = []
    await Promise.all(
      legs.map(async leg => {
        try {
          await members.disk(store, leg.member).write(table.segmentOf(store, leg.member), leg.at, leg.pieces, leg.length)
        } catch (error) {
          if (!failures.some(({ member }) => member === leg.member)) failures.push({ member: leg.member, error })
        }
      }),
    )
    return failures
  }

  /** Entries of these member addresses do not count any more, durably. @returns false when the log's disk left service instead */
  private async voidLog(store: number, from: number, to: number): Promise<boolean> {
    const { host, lun, members, table } = this.set
    const slice = Math.floor(from / SLICE_ON_MEMBER)
    const disk = members.disk(store, PARITY_MEMBER)
    if (!members.isCurrent(store, slice, PARITY_MEMBER)) return true
    const key = { lun, store, generation: table.generation(store) }
    try {
      const found = host.parityLog(disk)
      const log = found instanceof Promise ? await found : found
      if (log.coversAny(key, from, to)) await log.void(key, from, to)
      return true
    } catch (error) {
      if (!isDisksFault(error)) throw error
      if (members.notCurrent(store, slice).some(member => member !== PARITY_MEMBER)) throw this.lost('write', store, PARITY_MEMBER, to - from, error)
      await host.failDisk(disk, error)
      return false
    }
  }

  /** Ends a write that could not be done on enough members. */
  private refuse(store: number, slice: number, length: number, failures: readonly ReadFailure[]): never {
    const noDisksFault = failures.find(({ error }) => !isDisksFault(error))
    this.doubt(store, slice)
    if (noDisksFault) throw noDisksFault.error
    throw this.lost('write', store, failures[0]!.member, length, failures[0]!.error)
  }

  /** Parity may not fit: it is verified before the next read or write, where it can be. */
  private doubt(store: number, slice: number): void {
    this.set.bits.unsynced.add(store * SLICES + slice)
    this.set.host.onChange()
  }

  private lost(verb: 'read' | 'write', store: number, member: number, length: number, cause: unknown): Error {
    return lostError(this.set, verb, length, this.set.table.diskOf(store, member), cause)
  }

  // ---- making parity fit

  /** Whether a slice that was open at a crash can be verified now. */
  canVerify(store: number, slice: number): boolean {
    return this.set.bits.unsynced.has(store * SLICES + slice) && this.set.members.notCurrent(store, slice).length === 0
  }

  /**
   * Compares a slice's parity with its columns, and makes it anew where they differ. The caller holds the slice's lock. When it resolves
   * what was made is durable. @returns bytes written
   */
  async verify(store: number, slice: number): Promise<number> {
    if (!this.canVerify(store, slice)) return 0
    const { bits, host, members } = this.set
    const from = slice * SLICE_ON_MEMBER
    const made = await this.verifyRange(store, from, SLICE_ON_MEMBER)
    if (made > 0) {
      const disk = members.disk(store, PARITY_MEMBER)
      if (!(await this.voidLog(store, from, from + SLICE_ON_MEMBER))) return made
      try {
        await disk.flush()
      } catch (error) {
        if (!isDisksFault(error)) throw error
        await host.failDisk(disk, error)
      }
    }
    bits.unsynced.delete(store * SLICES + slice)
    return made
  }

  private async verifyRange(store: number, at: number, length: number): Promise<number> {
    const { host, members, table } = this.set
    const buffers = ALL.map(() => new Uint8Array(length))
    const failed = await this.readMembers(store, ALL, at, buffers)
    if (failed) {
      if (!isDisksFault(failed.error)) throw failed.error
      let made = 0
      // A place that one member does not give is as its parity says: the others are read as they are.
      if (length > SECTOR) for (let from = at; from < at + length; from += SECTOR) made += await this.verifyRange(store, from, SECTOR)
      return made
    }
    const difference = new Uint8Array(length)
    xorOf(difference, buffers)
    if (isZero(difference)) return 0
    const parity = buffers[PARITY_MEMBER]!
    xorInto(parity, difference)
    const disk = members.disk(store, PARITY_MEMBER)
    try {
      await disk.write(table.segmentOf(store, PARITY_MEMBER), at, [parity], length)
    } catch (error) {
      if (!isDisksFault(error)) throw error
      await host.failDisk(disk, error)
    }
    return length
  }

  /** Whether a slice has a stale member that can be made from the others, or parity to be verified. */
  isDue(store: number, slice: number): boolean {
    const { bits, members } = this.set
    const away = members.notCurrent(store, slice)
    if (away.length === 0) return bits.unsynced.has(store * SLICES + slice)
    return away.length === 1 && bits.isStale(store, slice, away[0]!) && members.disk(store, away[0]!).inService
  }

  /**
   * Makes the stale members of slices that follow each other from the others. The caller holds the slices' locks until it has flushed `written`, called
   * `voidSlice` and committed that the members are equal: a write skips a stale member.
   *
   * @param buffers one for each column, of `count` slices on a member at least
   * @returns bytes written, and the slices whose members are all equal now
   */
  async resync(
    store: number,
    first: number,
    count: number,
    buffers: readonly Uint8Array[],
    written: Set<PoolDisk>,
  ): Promise<{ copied: number; made: readonly number[] }> {
    const made: number[] = []
    let copied = 0
    for (let slice = first; slice < first + count;) {
      let to = slice + 1
      if (this.canVerify(store, slice)) copied += await this.verify(store, slice)
      else {
        const target = this.resyncTarget(store, slice)
        if (target !== undefined) {
          while (to < first + count && this.resyncTarget(store, to) === target) to++
          copied += await this.make(store, target, slice, to, buffers, written)
        } else {
          slice = to
          continue
        }
      }
      for (; slice < to; slice++) made.push(slice)
    }
    return { copied, made }
  }

  /** The member of a slice that is to be made from the others, if one is. */
  private resyncTarget(store: number, slice: number): number | undefined {
    const away = this.set.members.notCurrent(store, slice)
    return away.length === 1 && this.isDue(store, slice) ? away[0] : undefined
  }

  /** Makes a member of the slices [from, to): the others are read at once, and their XOR written from where they were read to. @returns bytes written */
  private async make(store: number, target: number, from: number, to: number, buffers: readonly Uint8Array[], written: Set<PoolDisk>): Promise<number> {
    const { members, table } = this.set
    const at = from * SLICE_ON_MEMBER
    const parts = buffers.map(buffer => buffer.subarray(0, (to - from) * SLICE_ON_MEMBER))
    const sources = ALL.filter(member => member !== target)
    const failed = await this.readMembers(store, sources, at, parts)
    if (failed) throw failed.error
    const bytes = parts[0]!
    xorOf(bytes, parts)
    const disk = members.disk(store, target)
    await disk.write(table.segmentOf(store, target), at, [bytes], bytes.length)
    for (const member of ALL) written.add(members.disk(store, member))
    return bytes.length
  }

  /** What the log has of a slice does not count any more, durably; all its members are flushed, or about to be cleaned. */
  async voidSlice(store: number, slice: number): Promise<void> {
    const { host, lun, members, table } = this.set
    const disk = members.disk(store, PARITY_MEMBER)
    if (!disk.inService) return
    const log = await host.parityLog(disk)
    const key = { lun, store, generation: table.generation(store) }
    const from = slice * SLICE_ON_MEMBER
    if (log.coversAny(key, from, from + SLICE_ON_MEMBER)) await log.void(key, from, from + SLICE_ON_MEMBER)
  }

  /** Does again what an earlier owner had logged for a slice, on the members that are not stale. The caller holds the slice's lock and flushes `written`. */
  async replay(
    store: number,
    slice: number,
    pieces: readonly LogPiece[],
    written: Set<PoolDisk>,
    failDisk: (disk: PoolDisk, error: unknown) => Promise<void>,
  ): Promise<void> {
    const { members, table } = this.set
    for (const { member, at, bytes } of pieces) {
      // The disk of the log is not in service yet when it comes back.
      if (this.set.bits.isStale(store, slice, member)) continue
      const disk = members.disk(store, member)
      written.add(disk)
      try {
        await disk.write(table.segmentOf(store, member), at, [bytes], bytes.length)
      } catch (error) {
        if (!isDisksFault(error)) throw error
        await failDisk(disk, error)
      }
    }
  }
}

interface ReadFailure {
  readonly member: number
  readonly error: unknown
}

interface Leg {
  readonly member: number
  readonly at: number
  readonly pieces: readonly Uint8Array[]
  readonly length: number
}

/** The new bytes of a column in a segment of a row. @param at byte of the store that `data` begins at */
const bytesOf = (segment: RowSegment, column: number, at: number, data: Uint8Array): Uint8Array => {
  const from = byteOfStore(column, segment.at) - at
  return data.subarray(from, from + segment.length)
}

const columnBytes = (segment: RowSegment, at: number, data: Uint8Array, away: number | undefined): LogPiece[] =>
  segment.touched.filter(column => column !== away).map(member => ({ member, at: segment.at, bytes: bytesOf(segment, member, at, data) }))

/** @param old what the segment's `reads` had */
function newParity(segment: RowSegment, at: number, data: Uint8Array, old: readonly Uint8Array[]): Uint8Array {
  const parity = new Uint8Array(segment.length)
  xorOf(parity, [...old, ...segment.touched.map(column => bytesOf(segment, column, at, data))])
  return parity
}

function joined(lists: readonly (BadRange[] | undefined)[]): BadRange[] | undefined {
  const all = lists.flatMap(list => list ?? [])
  return all.length > 0 ? all : undefined
}
