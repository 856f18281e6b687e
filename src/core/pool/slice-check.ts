import { isDisksFault } from '../base/errors.ts'
import { isZero } from '../base/zeros.ts'
import { COLUMNS, PARITY_MEMBER, SLICE_ON_MEMBER, SLICES } from '../raid/geometry.ts'
import { xorOf } from '../raid/xor.ts'
import type { StoreSet } from './store-io.ts'

/** What is told apart. Bytes. */
const BLOCK = 512
/** What a member is asked for at a time where it cannot give a slice as a whole. Bytes. */
const PIECE = 4096

/** A place where the members of a slice do not fit together. */
export interface Misfit {
  /** `differs`: their bytes do; `unreadable`: one member does not give its bytes; `lost`: so many do not that nothing can tell them. */
  readonly state: 'differs' | 'unreadable' | 'lost'
  /** Byte of the members' segments, and length in bytes. */
  readonly at: number
  readonly length: number
  /** Those that do not fit, or cannot be read. */
  readonly members: readonly number[]
  /** Columns whose bytes have less redundancy than they should, or none. */
  readonly columns: readonly number[]
}

export interface SliceCheck {
  /** Why not all of its members were compared, if so. */
  readonly unchecked?: 'no redundancy' | 'member away' | 'resync pending'
  readonly misfits: readonly Misfit[]
  /** Bytes written to members. */
  readonly repaired: number
}

/** A misfit with the bytes that belong there. */
interface Mendable extends Misfit {
  /** Whose bytes are made anew, from those of the others. */
  readonly target: number
  readonly bytes: Uint8Array | undefined
}

/**
 * Compares what the members of a slice hold. A column and its second copy, or four columns and their parity, are the same case: the XOR of a
 * *group* is zero. What does not fit is made from the others: the last of the group where nobody can say which is wrong (the second copy, the
 * parity: hosts go on reading what they read), and the one that cannot be read where there is one.
 * The caller holds the slice's lock: shared to compare, exclusive to mend.
 */
export class SliceChecker {
  constructor(private readonly set: StoreSet) {}

  async compare(store: number, slice: number): Promise<{ unchecked?: SliceCheck['unchecked']; misfits: Mendable[] }> {
    const { bits, members } = this.set
    if (!members.isRedundant(store)) return { unchecked: 'no redundancy', misfits: [] }
    // After a crash they may differ by right, until resync has chosen.
    if (bits.unsynced.has(store * SLICES + slice)) return { unchecked: 'resync pending', misfits: [] }
    const misfits: Mendable[] = []
    let whole = true
    for (const group of this.groups(store)) {
      if (!group.every(member => members.isCurrent(store, slice, member))) {
        whole = false
        continue
      }
      const found = await this.compareGroup(store, slice, group)
      if (found) misfits.push(...found)
      else whole = false
    }
    return whole ? { misfits } : { unchecked: 'member away', misfits }
  }

  /** Writes what `compare` found over the members that it blames; the caller flushes them. @returns bytes written @throws LunarError of the disk that failed it, which is out of service then */
  async mend(store: number, misfits: readonly Mendable[]): Promise<number> {
    const { host, members, table } = this.set
    let written = 0
    for (const { target, at, length, bytes } of misfits) {
      if (!bytes) continue
      const disk = members.disk(store, target)
      try {
        await disk.write(table.segmentOf(store, target), at, [bytes], length)
      } catch (error) {
        if (isDisksFault(error)) await host.failDisk(disk, error)
        throw error
      }
      written += length
    }
    return written
  }

  /** Members whose XOR is zero. */
  private groups(store: number): number[][] {
    if (this.set.members.hasParity(store)) return [[0, 1, 2, 3, PARITY_MEMBER]]
    return Array.from({ length: COLUMNS }, (_, column) => this.set.members.copiesOf(store, column))
  }

  /** @returns undefined when a disk left meanwhile */
  private async compareGroup(store: number, slice: number, group: readonly number[]): Promise<Mendable[] | undefined> {
    const read = await Promise.all(group.map(member => this.readMember(store, slice, member)))
    if (!group.every(member => this.set.members.isCurrent(store, slice, member))) return undefined
    const difference = new Uint8Array(SLICE_ON_MEMBER)
    xorOf(
      difference,
      read.map(({ bytes }) => bytes),
    )
    if (isZero(difference) && read.every(({ bad }) => bad.size === 0)) return []
    const parity = this.set.members.hasParity(store)
    const runs: { state: Misfit['state']; blamed: readonly number[]; from: number; to: number }[] = []
    for (let from = 0; from < SLICE_ON_MEMBER; from += BLOCK) {
      const bad = group.filter((_, i) => read[i]!.bad.has(from - (from % PIECE)))
      if (bad.length === 0 && isZero(difference.subarray(from, from + BLOCK))) continue
      const state = bad.length === 0 ? 'differs' : bad.length === 1 ? 'unreadable' : 'lost'
      const last = runs.at(-1)
      if (last?.to === from && last.state === state && last.blamed.join() === bad.join()) last.to = from + BLOCK
      else runs.push({ state, blamed: bad, from, to: from + BLOCK })
    }
    return runs.map(({ state, blamed, from, to }): Mendable => {
      const members = state === 'differs' ? group : blamed
      const target = state === 'differs' ? group.at(-1)! : blamed[0]!
      const columns = parity ? (members.includes(PARITY_MEMBER) ? [0, 1, 2, 3] : members) : [group[0]!]
      let bytes: Uint8Array | undefined
      if (state !== 'lost') {
        bytes = new Uint8Array(to - from)
        xorOf(
          bytes,
          read.filter((_, i) => group[i] !== target).map(other => other.bytes.subarray(from, to)),
        )
      }
      return { state, at: slice * SLICE_ON_MEMBER + from, length: to - from, members, columns, target, bytes }
    })
  }

  /** @returns what a member has of a slice, and the pieces that it does not give, by their first byte */
  private async readMember(store: number, slice: number, member: number): Promise<{ bytes: Uint8Array; bad: ReadonlySet<number> }> {
    const { members, table } = this.set
    const disk = members.disk(store, member)
    const segment = table.segmentOf(store, member)
    const bytes = new Uint8Array(SLICE_ON_MEMBER)
    const bad = new Set<number>()
    const read = async (from: number, length: number): Promise<boolean> => {
      try {
        await disk.read(segment, slice * SLICE_ON_MEMBER + from, [bytes.subarray(from, from + length)])
        return true
      } catch (error) {
        if (!isDisksFault(error)) throw error
        return false
      }
    }
    if (await read(0, SLICE_ON_MEMBER)) return { bytes, bad }
    for (let from = 0; from < SLICE_ON_MEMBER; from += PIECE) if (!(await read(from, PIECE))) bad.add(from)
    return { bytes, bad }
  }
}
