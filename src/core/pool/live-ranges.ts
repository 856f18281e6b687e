import type { AddressRange, LogKey } from '../../metadata/parity-group.ts'

/** A range of member addresses that a live entry of the log has bytes for. */
export interface LiveRange extends AddressRange {
  readonly lun: number
  readonly store: number
  readonly generation: number
  /** The ranges of the same group of the log: all of them go together. */
  readonly group: Set<LiveRange>
}

/** Which member addresses of which stores have live entries in the parity log, in memory. */
export class LiveRanges {
  private readonly luns = new Map<number, Map<number, Set<LiveRange>>>()

  add({ lun, store, generation }: LogKey, from: number, to: number, group: Set<LiveRange>): void {
    let stores = this.luns.get(lun)
    if (!stores) this.luns.set(lun, (stores = new Map()))
    let ranges = stores.get(store)
    if (!ranges) stores.set(store, (ranges = new Set()))
    const range = { lun, store, generation, from, to, group }
    ranges.add(range)
    group.add(range)
  }

  covers(key: LogKey, from: number, to: number): boolean {
    for (const range of this.of(key)) if (meets(range, key, from, to)) return true
    return false
  }

  /** Takes addresses out; what is left of a range at either side stays. */
  cut(key: LogKey, from: number, to: number): void {
    for (const range of [...this.of(key)]) {
      if (!meets(range, key, from, to)) continue
      this.remove(range)
      range.group.delete(range)
      if (range.from < from) this.add(key, range.from, from, range.group)
      if (to < range.to) this.add(key, to, range.to, range.group)
    }
  }

  /** Takes all ranges of a group out. */
  drop(group: Set<LiveRange>): void {
    for (const range of group) this.remove(range)
    group.clear()
  }

  private of({ lun, store }: LogKey): Iterable<LiveRange> {
    return this.luns.get(lun)?.get(store) ?? []
  }

  private remove(range: LiveRange): void {
    const stores = this.luns.get(range.lun)!
    const ranges = stores.get(range.store)!
    ranges.delete(range)
    if (ranges.size === 0) stores.delete(range.store)
    if (stores.size === 0) this.luns.delete(range.lun)
  }
}

const meets = (range: LiveRange, { generation }: LogKey, from: number, to: number): boolean =>
  range.generation === generation && range.from < to && from < range.to
