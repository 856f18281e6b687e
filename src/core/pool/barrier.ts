import type { Barrier, DurableNeed } from '../block/barrier.ts'
import type { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'

/**
 * The pool's barrier: records go to the journal, disks are flushed, all at once. Rounds are shared where they are made:
 * batches that wait form one journal block, flushes of a disk that wait are one flush.
 */
export class PoolBarrier implements Barrier<Batch> {
  constructor(private readonly metadata: Metadata) {}

  async durable({ records, flush }: DurableNeed<Batch>): Promise<void> {
    const waits = (flush ?? []).map(device => device.flush())
    // What must be durable before data that is acknowledged already is taken from the reserve: it cannot be refused.
    if (records) waits.push(this.metadata.commit(records, 'data', true))
    const results = await Promise.allSettled(waits)
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
}
