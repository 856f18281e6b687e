import { bytesOf } from '../base/bytes.ts'
import { isCode, isDisksFault, LunarError } from '../base/errors.ts'
import { settle } from '../base/settle.ts'
import { COLUMNS, columnParts, columnPieces, SLICE, SLICE_ON_MEMBER, SLICES } from '../raid/geometry.ts'
import type { PoolDisk } from './pool-disk.ts'
import { lostError, type BadRange, type StoreSet } from './store-io.ts'

/** Reading and writing stores that keep one or two copies of each column (raid0, raid1). */
export class MirrorStore {
  constructor(private readonly set: StoreSet) {}

  /**
   * Reads `into.length` bytes from byte `at` of a store.
   * @returns what other copies had to serve, if anything @throws LunarError `ERR_DATA_LOST` when no copy can serve a part
   */
  async read(store: number, at: number, into: Uint8Array): Promise<BadRange[] | undefined> {
    const { bits, members } = this.set
    const sliceEnd = at - (at % SLICE) + SLICE
    if (at + into.length > sliceEnd && members.isRedundant(store) && (bits.hasStale(store) || bits.unsynced.size > 0)) {
      const first = sliceEnd - at
      const bad = await Promise.all([this.read(store, at, into.subarray(0, first)), this.read(store, sliceEnd, into.subarray(first))])
      return joined(bad)
    }
    const slice = Math.floor(at / SLICE)
    const parts = columnParts(at, into.length)
    if (parts.length === 1) return this.readColumn(store, slice, parts[0]!, columnPieces(into, at, parts[0]!.column))
    return joined(await Promise.all(parts.map(part => this.readColumn(store, slice, part, columnPieces(into, at, part.column)))))
  }

  private async readColumn(
    store: number,
    slice: number,
    part: { column: number; at: number; length: number },
    pieces: Uint8Array[],
  ): Promise<BadRange[] | undefined> {
    const { host, table, members } = this.set
    let failures: { member: number; disk: PoolDisk; error: unknown }[] | undefined
    for (const member of members.readable(store, slice, part.column)) {
      const disk = members.disk(store, member)
      try {
        await disk.read(table.segmentOf(store, member), part.at, pieces)
        if (!failures) return undefined
        for (const failure of failures) host.readRepaired(failure.disk, failure.error)
        return failures.map(failure => ({ store, member: failure.member, at: part.at, length: part.length }))
      } catch (error) {
        if (!isCode(error, 'ERR_IO')) throw error
        failures ??= []
        failures.push({ member, disk, error })
      }
    }
    throw lostError(this.set, 'read', bytesOf(pieces), table.diskOf(store, part.column), failures?.at(-1)?.error)
  }

  /** Writes what another copy has over a range that could not be read. The caller holds the range's lock. */
  async repair({ store, member, at, length }: BadRange): Promise<void> {
    const { host, table, members } = this.set
    const slice = Math.floor(at / SLICE_ON_MEMBER)
    const others = members.readable(store, slice, member % COLUMNS).filter(other => other !== member)
    if (others.length === 0 || !members.isCurrent(store, slice, member)) return
    const bytes = new Uint8Array(length)
    await members.disk(store, others[0]!).read(table.segmentOf(store, others[0]!), at, [bytes])
    const disk = members.disk(store, member)
    try {
      await disk.write(table.segmentOf(store, member), at, [bytes], length)
    } catch (error) {
      if (!isDisksFault(error)) throw error
      if (!members.isNeeded(store, slice, disk.number)) await host.failDisk(disk, error)
    }
  }

  /**
   * Writes to every member in service; `prepareWrite` is durable and `beginWrite` called. Where a copy fails and another
   * does not, the failed disk is out of service, durably, before this resolves (fault F10).
   */
  async write(store: number, at: number, data: Uint8Array): Promise<void> {
    const { bits, host, members, table } = this.set
    const sliceEnd = at - (at % SLICE) + SLICE
    if (at + data.length > sliceEnd && bits.hasStale(store)) {
      const first = sliceEnd - at
      await settle([this.write(store, at, data.subarray(0, first)), this.write(store, sliceEnd, data.subarray(first))])
      return
    }
    const slice = Math.floor(at / SLICE)
    const redundant = members.isRedundant(store)
    const failures: LegFailure[] = []
    const writes: Promise<void>[] = []
    const good = new Uint8Array(COLUMNS)
    const parts = columnParts(at, data.length)
    for (const part of parts) {
      const current = members.readable(store, slice, part.column)
      if (current.length === 0) throw lostError(this.set, 'write', data.length, table.diskOf(store, part.column), undefined)
      const pieces = columnPieces(data, at, part.column)
      for (const member of members.copiesOf(store, part.column)) {
        const disk = members.disk(store, member)
        if (redundant && !disk.inService) {
          // Until its leaving is durable a crash would bring it back as a current copy.
          const leaving = host.leaving(disk)
          if (leaving) writes.push(leaving)
          continue
        }
        writes.push(
          disk.write(table.segmentOf(store, member), part.at, pieces, part.length).then(
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
    if (failures.length > 0 && redundant) await this.legsFailed(store, at, data.length, failures, good)
    const lostColumn = parts.find(part => good[part.column] === 0)
    if (!lostColumn) return
    const failure = failures.find(({ column }) => column === lostColumn.column)?.error
    if (failure instanceof LunarError && failure.code !== 'ERR_IO') throw failure
    throw lostError(this.set, 'write', data.length, table.diskOf(store, lostColumn.column), failure)
  }

  /**
   * Takes disks out of service whose copy failed while another current one is good. The last current copy of anything
   * here never fails: its error is the writer's, and until a resync every read takes the same copy.
   */
  private async legsFailed(store: number, at: number, length: number, failures: readonly LegFailure[], good: Uint8Array): Promise<void> {
    const { bits, host } = this.set
    const noDisksFault = failures.find(({ error }) => !isDisksFault(error))
    const failed = new Set<PoolDisk>()
    for (const { disk, column, error } of failures) {
      if (noDisksFault || good[column] === 0 || failed.has(disk) || this.isLastCopy(store, at, length, disk)) continue
      failed.add(disk)
      await host.failDisk(disk, error)
    }
    if (failures.some(({ disk }) => !failed.has(disk))) {
      for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) bits.unsynced.add(store * SLICES + slice)
      host.onChange()
    }
    if (noDisksFault) throw noDisksFault.error as Error
    await this.set.prepareWrite(store, at, length)
  }

  /** Whether some column of these slices would have no current copy in service without this disk. */
  private isLastCopy(store: number, at: number, length: number, disk: PoolDisk): boolean {
    for (let slice = Math.floor(at / SLICE); slice * SLICE < at + length; slice++) if (this.set.members.isNeeded(store, slice, disk.number)) return true
    return false
  }

  /**
   * Copies slices that follow each other from the copy that reads take to the others in service. The caller holds their locks, flushes
   * `written` and then records which members are equal.
   *
   * @param buffers one for each column, of `count` slices on a member at least
   * @returns bytes copied, and by slice the members that are equal now: a disk that comes into service later is none of them.
   *   Columns without a readable copy stay as they are
   */
  async resync(
    store: number,
    first: number,
    count: number,
    buffers: readonly Uint8Array[],
    written: Set<PoolDisk>,
  ): Promise<{ copied: number; equal: Set<number>[] }> {
    const equal = Array.from({ length: count }, () => new Set<number>())
    const copied = await settle(buffers.slice(0, COLUMNS).map((buffer, column) => this.resyncColumn(store, first, column, buffer, equal, written)))
    return { copied: copied.reduce((sum, bytes) => sum + bytes, 0), equal }
  }

  /** @param equal by slice from `first` on: gets the members that are equal now */
  private async resyncColumn(
    store: number,
    first: number,
    column: number,
    buffer: Uint8Array,
    equal: readonly Set<number>[],
    written: Set<PoolDisk>,
  ): Promise<number> {
    const { members, table } = this.set
    const ways = equal.map((_, i) => this.resyncWay(store, first + i, column))
    let copied = 0
    for (let from = 0; from < ways.length;) {
      const { source, targets } = ways[from]!
      let to = from + 1
      while (to < ways.length && ways[to]!.source === source && ways[to]!.targets.join() === targets.join()) to++
      if (source !== undefined && targets.length > 0) {
        const at = (first + from) * SLICE_ON_MEMBER
        const bytes = buffer.subarray(0, (to - from) * SLICE_ON_MEMBER)
        await members.disk(store, source).read(table.segmentOf(store, source), at, [bytes])
        for (const target of targets) {
          const disk = members.disk(store, target)
          await disk.write(table.segmentOf(store, target), at, [bytes], bytes.length)
          written.add(disk)
          copied += bytes.length
        }
      }
      if (source !== undefined) for (let slice = from; slice < to; slice++) for (const member of [source, ...targets]) equal[slice]!.add(member)
      from = to
    }
    return copied
  }

  /** Where a column of a slice is copied from and to. */
  private resyncWay(store: number, slice: number, column: number): { source: number | undefined; targets: readonly number[] } {
    const { bits, members } = this.set
    const [source] = members.readable(store, slice, column)
    const all = bits.unsynced.has(store * SLICES + slice)
    const targets = members.copiesOf(store, column).filter(m => m !== source && members.disk(store, m).inService && (all || bits.isStale(store, slice, m)))
    return { source, targets: source === undefined ? [] : targets }
  }
}

interface LegFailure {
  readonly disk: PoolDisk
  readonly column: number
  readonly error: unknown
}

function joined(lists: readonly (BadRange[] | undefined)[]): BadRange[] | undefined {
  const all = lists.flatMap(list => list ?? [])
  return all.length > 0 ? all : undefined
}
