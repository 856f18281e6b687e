/** What lies in segments: copies that must be equal, places that must be zero, and the bytes of a LUN put together by hand. */
import { readAt, readsAsZeros, type Reader } from './bytes.ts'
import { SEGMENT, type CheckedDisk } from './disk.ts'
import { RAID5, SLICE, type PoolRecords, type StoreInfo } from './records.ts'

const UNIT = 64 * 1024
const COLUMNS = 4
const PART = SLICE / COLUMNS

export class SegmentData {
  private readonly readers = new Map<number, { reader: Reader; segmentsAt: number }>()

  constructor(
    private readonly records: PoolRecords,
    disks: readonly CheckedDisk[],
  ) {
    for (const { reader, label } of disks) {
      const record = records.disks.get(label.number)
      if (record?.id === label.diskId && reader.size >= label.size) this.readers.set(label.number, { reader, segmentsAt: label.segmentsAt })
    }
  }

  private stateOf(disk: number): string {
    return this.readers.has(disk) ? (this.records.disks.get(disk)?.state ?? 'missing') : 'missing'
  }

  /** Whether a member's bytes of a slice may be believed: the disk is in service and missed nothing there. */
  private isCurrent(store: StoreInfo, member: number, slice: number): boolean {
    return ['normal', 'merging'].includes(this.stateOf(store.members[member]!.disk)) && (store.stale[member]! & (1 << slice)) === 0
  }

  private part(store: StoreInfo, member: number, slice: number): Promise<Uint8Array> {
    const { disk, segment } = store.members[member]!
    const { reader, segmentsAt } = this.readers.get(disk)!
    return readAt(reader, segmentsAt + segment * SEGMENT + slice * PART, PART)
  }

  /** Both copies of a slice are equal, and parity fits its columns, unless the records say that they may differ. */
  async checkLegs(problems: string[]): Promise<void> {
    for (const store of this.records.stores.values()) {
      for (let slice = 0; slice < 8; slice++) {
        if ((store.bound & ~store.open & (1 << slice)) === 0) continue
        if (store.raid === RAID5) await this.checkParity(store, slice, problems)
        else if (store.members.length === 2 * COLUMNS) await this.checkCopies(store, slice, problems)
      }
    }
  }

  private async checkCopies(store: StoreInfo, slice: number, problems: string[]): Promise<void> {
    for (let column = 0; column < COLUMNS; column++) {
      if (!this.isCurrent(store, column, slice) || !this.isCurrent(store, column + COLUMNS, slice)) continue
      const [a, b] = [await this.part(store, column, slice), await this.part(store, column + COLUMNS, slice)]
      if (Buffer.compare(a, b) !== 0)
        problems.push(`mirror: the copies of slice ${slice} of store ${store.number} of LUN ${store.lun} differ in column ${column}`)
    }
  }

  private async checkParity(store: StoreInfo, slice: number, problems: string[]): Promise<void> {
    if (!store.members.every((_, member) => this.isCurrent(store, member, slice))) return
    const sum = await this.xorOf(store, [0, 1, 2, 3, 4], slice)
    const at = sum.findIndex(byte => byte !== 0)
    if (at >= 0) problems.push(`parity: of slice ${slice} of store ${store.number} of LUN ${store.lun} does not fit its columns at byte ${at}`)
  }

  private async xorOf(store: StoreInfo, members: readonly number[], slice: number): Promise<Buffer> {
    const sum = Buffer.alloc(PART)
    for (const member of members) for (const [i, byte] of (await this.part(store, member, slice)).entries()) sum[i]! ^= byte
    return sum
  }

  /** What a column holds of a slice: from a copy, or from all others of a parity store. */
  private async column(store: StoreInfo, column: number, slice: number): Promise<Uint8Array | undefined> {
    const copies = store.raid === RAID5 ? [column] : [column, column + COLUMNS]
    const member = copies.find(candidate => candidate < store.members.length && this.isCurrent(store, candidate, slice))
    if (member !== undefined) return this.part(store, member, slice)
    const others = [0, 1, 2, 3, 4].filter(other => other !== column)
    // While a slice is open its parity may only fit what the log still holds.
    if (store.raid !== RAID5 || (store.open & (1 << slice)) !== 0 || !others.every(other => this.isCurrent(store, other, slice))) return undefined
    return this.xorOf(store, others, slice)
  }

  /** Clean segments, and slices that are neither bound nor to be cleaned, read as zeros: they may be bound at any time. */
  async checkClean(problems: string[]): Promise<void> {
    for (const [disk, { reader, segmentsAt }] of this.readers) {
      if (this.stateOf(disk) !== 'normal') continue
      for (const [segment, state] of this.records.segments.get(disk)!.entries()) {
        if (state === 0 && !(await readsAsZeros(reader, segmentsAt + segment * SEGMENT, SEGMENT)))
          problems.push(`segment ${disk}:${segment}: is clean but not zero`)
      }
    }
    for (const store of this.records.stores.values()) {
      for (const [member, { disk, segment }] of store.members.entries()) {
        for (let slice = 0; slice < 8; slice++) {
          if (this.stateOf(disk) !== 'normal' || ((store.bound | store.dirty | store.stale[member]!) & (1 << slice)) !== 0) continue
          const { reader, segmentsAt } = this.readers.get(disk)!
          if (!(await readsAsZeros(reader, segmentsAt + segment * SEGMENT + slice * PART, PART))) {
            problems.push(`store ${store.number} of LUN ${store.lun}: slice ${slice} on member ${member} is free but not zero`)
          }
        }
      }
    }
  }

  /** The bytes of a LUN. @throws Error when a slice has no current copy */
  async lunBytes(name: string): Promise<Buffer> {
    const lun = [...this.records.luns.values()].find(candidate => candidate.name === name && !candidate.deleted)
    if (!lun) throw new Error(`no LUN ${name}`)
    const bytes = Buffer.alloc(lun.size)
    for (const [slice, place] of lun.map) {
      const store = this.records.stores.get(`${lun.number}:${Math.floor(place / 8)}`)!
      for (let column = 0; column < COLUMNS; column++) {
        const part = await this.column(store, column, place % 8)
        if (!part) throw new Error(`slice ${slice} of ${name} has no current copy`)
        for (let row = 0; row < PART / UNIT; row++) bytes.set(part.subarray(row * UNIT, (row + 1) * UNIT), slice * SLICE + (row * COLUMNS + column) * UNIT)
      }
    }
    return bytes
  }
}
