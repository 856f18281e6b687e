import type { ProcessBody, Step } from '../process/runner.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { SLICE } from '../raid/geometry.ts'
import type { Pool } from '../pool/pool.ts'
import type { Luns } from './luns.ts'

/** Slices given back in one step. */
const STEP_SLICES = 256

/** Gives back the space of deleted and shrunk LUNs and makes freed segments clean. What is left to do is in the records. */
export class Reclaim implements ProcessBody {
  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
  ) {}

  static isDue(pool: Pool, luns: Luns): boolean {
    return luns.toReclaim.length > 0 || pool.freedSegments > 0
  }

  remaining(): number {
    return this.luns.toReclaim.reduce((sum, lun) => sum + lun.record.boundSlices * SLICE, 0) + this.pool.freedSegments * SEGMENT
  }

  async step(): Promise<Step> {
    const lun = this.luns.toReclaim[0]
    if (lun) {
      const { moved } = await this.luns.reclaim(lun, STEP_SLICES)
      return { moved, finished: false }
    }
    const cleaned = await this.pool.cleanFreed()
    return { moved: cleaned * SEGMENT, finished: cleaned === 0 || !Reclaim.isDue(this.pool, this.luns) }
  }
}
