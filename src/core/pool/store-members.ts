import { COLUMNS, copiesOf, parityCount, PARITY_MEMBER, SLICES, survivesOf, type Redundancy } from '../raid/geometry.ts'
import type { PoolDisk } from './pool-disk.ts'
import type { StoreBits } from './store-bits.ts'
import type { StoreTable } from './store-table.ts'

/**
 * Which members of a slice may be believed: pure questions about the table, the bits and the states of disks. The page of the table is loaded.
 * A member is *current* when its disk is in service and it has no stale mark; without redundancy, when its disk is there.
 */
export class StoreMembers {
  constructor(
    readonly table: StoreTable,
    readonly bits: StoreBits,
    private readonly diskNumbered: (number: number) => PoolDisk,
    /** Type of stores that are gone by the time somebody asks, who then finds that they are. */
    private readonly usual: Redundancy,
  ) {}

  private raid(store: number): Redundancy {
    return this.table.exists(store) ? this.table.raid(store) : this.usual
  }

  disk(store: number, member: number): PoolDisk {
    return this.diskNumbered(this.table.diskOf(store, member))
  }

  isRedundant(store: number): boolean {
    return survivesOf[this.raid(store)] > 0
  }

  hasParity(store: number): boolean {
    return parityCount[this.raid(store)] > 0
  }

  isCurrent(store: number, slice: number, member: number): boolean {
    const disk = this.disk(store, member)
    return this.isRedundant(store) ? disk.inService && !this.bits.isStale(store, slice, member) : disk.device !== undefined
  }

  /** Members that hold a column. */
  copiesOf(store: number, column: number): number[] {
    return Array.from({ length: copiesOf[this.raid(store)] }, (_, copy) => copy * COLUMNS + column)
  }

  /** Members from which a column can be read as it is, best first. */
  readable(store: number, slice: number, column: number): number[] {
    const members: number[] = []
    for (let copy = 0; copy < copiesOf[this.raid(store)]; copy++) {
      if (this.isCurrent(store, slice, copy * COLUMNS + column)) members.push(copy * COLUMNS + column)
    }
    // Without a crash both copies are equal: take turns, so that one stream reads from both disks.
    if (members.length > 1 && ((slice + column) & 1) === 1 && !this.bits.unsynced.has(store * SLICES + slice)) members.reverse()
    return members
  }

  /** The first of `readable`, or -1. */
  bestFor(store: number, slice: number, column: number): number {
    if (copiesOf[this.raid(store)] === 1) return this.isCurrent(store, slice, column) ? column : -1
    return this.readable(store, slice, column)[0] ?? -1
  }

  /** Members of a slice that are not current. */
  notCurrent(store: number, slice: number): number[] {
    const members: number[] = []
    for (let member = 0; member < this.table.memberCount(store); member++) if (!this.isCurrent(store, slice, member)) members.push(member)
    return members
  }

  /** Whether a column can be read, as it is or from the others. */
  isServable(store: number, slice: number, column: number): boolean {
    if (this.readable(store, slice, column).length > 0) return true
    return this.hasParity(store) && this.notCurrent(store, slice).length === 1
  }

  /** Whether what a member holds of a slice can be had from the others. */
  isCovered(store: number, slice: number, member: number): boolean {
    if (this.hasParity(store)) return this.notCurrent(store, slice).every(other => other === member)
    return this.readable(store, slice, member % COLUMNS).some(other => other !== member)
  }

  /** Whether every byte of a slice can be read. */
  isWhole(store: number, slice: number): boolean {
    for (let column = 0; column < COLUMNS; column++) if (!this.isServable(store, slice, column)) return false
    return true
  }

  /** Disks whose loss would make bytes of a slice unreadable that can be read now. */
  isNeeded(store: number, slice: number, disk: number): boolean {
    for (let member = 0; member < this.table.memberCount(store); member++) {
      if (this.table.diskOf(store, member) !== disk || !this.isCurrent(store, slice, member)) continue
      if (member !== PARITY_MEMBER || !this.hasParity(store)) {
        if (!this.isCovered(store, slice, member)) return true
      } else if (this.notCurrent(store, slice).length === 1) return true
    }
    return false
  }

  /** The disks that hold a store's members. */
  disksOf(store: number): PoolDisk[] {
    const disks = new Set<PoolDisk>()
    for (let m = 0; m < this.table.memberCount(store); m++) disks.add(this.disk(store, m))
    return [...disks]
  }

  /** Whether each column has members that can be written, so that nothing of the store would be lost by writing. */
  canWriteAll(store: number): boolean {
    const writable = (member: number): boolean => (this.isRedundant(store) ? this.disk(store, member).inService : this.disk(store, member).device !== undefined)
    if (this.hasParity(store)) return Array.from({ length: COLUMNS + 1 }, (_, m) => m).filter(m => !writable(m)).length <= 1
    return Array.from({ length: COLUMNS }, (_, column) => column).every(column => this.copiesOf(store, column).some(writable))
  }
}
