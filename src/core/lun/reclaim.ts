import { isFull, type LunarError } from '../base/errors.ts'
import type { ProcessBody, Step } from '../process/runner.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { SLICE } from '../raid/geometry.ts'
import type { Pool } from '../pool/pool.ts'
import type { Lun } from './lun.ts'
import type { Luns } from './luns.ts'

/** Slices given back in one step. */
const STEP_SLICES = 256
/** Stores of which single slices are made clean in one step. */
const STEP_STORES = 16

/**
 * Gives back the space of deleted and shrunk LUNs and makes freed segments clean; what is left of that is in the records. Single slices that were
 * trimmed are made clean, too: those that a crash leaves are when they are bound again.
 */
export class Reclaim implements ProcessBody {
  /** LUNs whose cut part cannot be kept for want of space, and what said so. */
  private readonly waiting = new Map<Lun, LunarError>()

  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
  ) {}

  static isDue(pool: Pool, luns: Luns): boolean {
    return luns.toReclaim.length > 0 || pool.freedSegments > 0 || luns.all.some(({ uncleanCount }) => uncleanCount > 0)
  }

  remaining(): number {
    return (
      this.luns.toReclaim.reduce((sum, lun) => sum + lun.record.boundSlices * SLICE, 0) +
      this.pool.freedSegments * SEGMENT +
      this.luns.all.reduce((sum, { uncleanCount }) => sum + uncleanCount * SLICE, 0)
    )
  }

  async step(): Promise<Step> {
    const { waiting } = this
    const lun = this.luns.toReclaim.find(one => !waiting.has(one))
    if (lun) {
      try {
        const { moved } = await this.luns.reclaim(lun, STEP_SLICES)
        return { moved, finished: false }
      } catch (error) {
        // What snapshots read of it has nowhere to go now; what others give back may make room.
        if (!isFull(error)) throw error
        waiting.set(lun, error)
        return { moved: 0, finished: false }
      }
    }
    const unclean = this.luns.all.find(({ uncleanCount }) => uncleanCount > 0)
    if (unclean) {
      const before = unclean.uncleanCount
      await unclean.cleanSome(STEP_STORES)
      return { moved: Math.max(0, before - unclean.uncleanCount) * SLICE, finished: !Reclaim.isDue(this.pool, this.luns) }
    }
    const cleaned = await this.pool.cleanFreed()
    const [stuck] = waiting.values()
    if (stuck !== undefined && cleaned === 0) throw stuck
    waiting.clear()
    return { moved: cleaned * SEGMENT, finished: cleaned === 0 || !Reclaim.isDue(this.pool, this.luns) }
  }
}
