import { invariant } from '../base/errors.ts'
import { inLanes } from '../base/lanes.ts'
import { keyOf } from '../../metadata/key.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { RSD_STORES, rsdFields } from '../../metadata/records.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { ProcessBody, Step } from '../process/runner.ts'
import type { Lun } from './lun.ts'
import type { Luns } from './luns.ts'

/** Stores that one step moves members of, and how many at a time: they share flushes and commits. */
const STEP_STORES = 16
const LANES = 4

/** Calls `visit` for each store with a member on a disk, in order. It says whether to go on. */
export async function visitStoresOn(
  pool: Pool,
  luns: Luns,
  disk: PoolDisk,
  visit: (lun: Lun, store: number, members: readonly number[]) => boolean | Promise<boolean>,
): Promise<void> {
  for (const lun of luns.holders) {
    for await (const { lo, value } of pool.metadata.range(keyOf('rsd', lun.number).hi)) {
      for (let i = 0; i < RSD_STORES; i++) {
        const { raid, memberCount, members } = rsdFields.decode(value, i * rsdFields.size)
        if (raid === 0) continue
        const on = members.slice(0, memberCount).flatMap((member, m) => (member.disk === disk.number ? [m] : []))
        if (on.length > 0 && !(await visit(lun, lo * RSD_STORES + i, on))) return
      }
    }
  }
}

/**
 * Moves everything off a disk that is to leave, then takes the disk out of the pool. What is left to do is in the stores' records: after a crash it
 * goes on where it was.
 */
export class Evacuation implements ProcessBody {
  /** Looks in a row that found no store on the disk. */
  private empty = 0

  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly disk: PoolDisk,
  ) {}

  static due(pool: Pool): PoolDisk[] {
    return [...pool.disks.values()].filter(disk => disk.isLeaving)
  }

  remaining(): number {
    return this.pool.heldSegments(this.disk) * SEGMENT
  }

  async step(signal: AbortSignal): Promise<Step> {
    const { pool, luns, disk } = this
    if (pool.disks.get(disk.number) !== disk) return { moved: 0, finished: true }
    const due: { lun: Lun; store: number }[] = []
    await visitStoresOn(pool, luns, disk, (lun, store) => due.push({ lun, store }) < STEP_STORES)
    let moved = 0
    await inLanes(due, LANES, async ({ lun, store }) => {
      if (!signal.aborted) moved += (await lun.moveStore(store, disk)) * SEGMENT
    })
    // What others have of it is made anew by resync.
    if ([...pool.stores.values()].some(stores => stores.anyStale)) pool.onChange()
    if (due.length > 0) {
      this.empty = 0
      return { moved, finished: false }
    }
    const finished = await pool.removeDisk(disk)
    // What was about to be bound when it was looked at last is in the records now.
    invariant(finished || this.empty++ === 0, `disk ${disk.number} has segments that nothing lies in`)
    return { moved, finished }
  }
}
