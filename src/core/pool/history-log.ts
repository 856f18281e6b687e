import { Batch } from '../../metadata/batch.ts'
import { encodeHistory, HISTORY_KEPT, type HistoryEntry } from '../../metadata/history.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { nextNumber, putNumbered } from '../../metadata/numbered.ts'

/** The administrative changes kept in a pool's metadata, the newest `HISTORY_KEPT`. */
export class HistoryLog {
  private next: Promise<number> | undefined

  constructor(private readonly metadata: () => Metadata) {}

  /** Durable when it resolves. It counts as no administrative change itself. @throws LunarError of the commit */
  async add(entry: HistoryEntry): Promise<void> {
    // Only who changes something looks for the end of it.
    const mine = this.next ?? nextNumber(this.metadata(), 'history')
    this.next = mine.then(number => number + 1)
    this.next.catch(() => (this.next = undefined))
    const number = await mine
    const batch = new Batch()
    putNumbered(batch, 'history', number, encodeHistory(entry), HISTORY_KEPT)
    // Not from the reserve of the metadata: that is for deletes.
    await this.metadata().commit(batch, 'data')
  }
}
