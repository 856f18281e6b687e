import { isDisksFault } from '../base/errors.ts'
import { inLanes } from '../base/lanes.ts'
import type { ProcessBody, Step } from '../process/runner.ts'
import { SLICE, SLICES } from '../raid/geometry.ts'
import type { LunStores } from './lun-stores.ts'
import type { Pool } from './pool.ts'
import type { PoolDisk } from './pool-disk.ts'
import { ResyncBuffers } from './resync-buffers.ts'

/** Slices made in one step. */
const STEP_SLICES = 256
/**
 * Stores under way at a time, each recorded when it is done: what a crash makes it copy again. Some are copied while others are flushed; who is to be
 * flushed or recorded at the same time shares that.
 */
const LANES = 6

/**
 * Makes mirrors equal again: slices that a returned disk missed, and slices that were open when the pool crashed (fault
 * F23). What is to be done is in the stale and open records, which are cleared only after the copies are flushed, so it
 * skips nothing and redoes at most one step. When a merging disk has nothing stale left it becomes normal.
 */
export class Resync implements ProcessBody {
  private readonly buffers = new ResyncBuffers()

  constructor(private readonly pool: Pool) {}

  /** Whether there is something that can be done now: what has no readable copy waits for a disk to come back. */
  static isDue(pool: Pool): boolean {
    for (const stores of pool.stores.values()) {
      const numbers = new Set([...stores.staleStores, ...stores.unsyncedSlices.map(key => Math.floor(key / SLICES))])
      for (const store of numbers) if (stores.table.exists(store) && stores.resyncSlices(store).length > 0) return true
    }
    return [...pool.disks.values()].some(disk => disk.state === 'merging' && disk.device && !hasStale(pool, disk))
  }

  remaining(): number {
    let bytes = 0
    for (const stores of this.pool.stores.values()) {
      bytes += stores.unsyncedSlices.length * SLICE
      for (const store of stores.staleStores) {
        if (!stores.table.isLoaded(store)) continue
        for (const disk of this.pool.disks.values()) if (disk.inService) bytes += stores.bits.staleBytes(store, disk.number)
      }
    }
    return bytes
  }

  async step(signal: AbortSignal): Promise<Step> {
    let moved = 0
    const due = await this.nextDue()
    await inLanes(due, LANES, async ({ stores, store, slices }) => {
      if (signal.aborted) return
      // Others count meanwhile.
      const made = await this.make(stores, store, slices)
      moved += made
    })
    if (due.length > 0) return { moved, finished: false }
    for (const disk of this.pool.disks.values()) if (disk.state === 'merging' && disk.device && !hasStale(this.pool, disk)) await this.pool.merged(disk)
    // What is left has no readable copy now; a disk that comes back makes it due again.
    return { moved, finished: true }
  }

  /** What one step makes. */
  private async nextDue(): Promise<{ stores: LunStores; store: number; slices: readonly number[] }[]> {
    const due: { stores: LunStores; store: number; slices: readonly number[] }[] = []
    let count = 0
    for (const stores of this.pool.stores.values()) {
      for (const store of await this.storesOf(stores)) {
        const slices = stores.resyncSlices(store)
        if (slices.length === 0) continue
        due.push({ stores, store, slices })
        count += slices.length
        if (count >= STEP_SLICES) return due
      }
    }
    return due
  }

  private async storesOf(stores: LunStores): Promise<number[]> {
    const numbers = new Set([...stores.staleStores, ...stores.unsyncedSlices.map(key => Math.floor(key / SLICES))])
    for (const store of numbers) await stores.table.load(store)
    return [...numbers].filter(store => stores.table.exists(store)).sort((a, b) => a - b)
  }

  private async make(stores: LunStores, store: number, slices: readonly number[]): Promise<number> {
    const written = new Set<PoolDisk>()
    try {
      return await stores.resync(store, slices, this.buffers, written)
    } catch (error) {
      if (isDisksFault(error)) await this.failTargets(error, written)
      throw error
    }
  }

  private async failTargets(error: unknown, written: ReadonlySet<PoolDisk>): Promise<void> {
    for (const disk of this.pool.disks.values()) if (disk.state === 'merging' && written.has(disk) && disk.fault !== null) await this.pool.failDisk(disk, error)
  }
}

/** Whether a disk still lacks something that was written while it was away. */
function hasStale(pool: Pool, disk: PoolDisk): boolean {
  for (const stores of pool.stores.values())
    for (const store of stores.staleStores) if (stores.table.exists(store) && stores.bits.staleBytes(store, disk.number) > 0) return true
  return false
}
