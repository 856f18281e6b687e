import { Batch } from '../../metadata/batch.ts'
import { encodeHistory, HISTORY_KEPT, type HistoryEntry } from '../../metadata/history.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'

/** The administrative changes kept in a pool's metadata, the newest `HISTORY_KEPT`. */
export class HistoryLog {
  private next: Promise<number> | undefined

  constructor(private readonly metadata: () => Metadata) {}

  /** Durable when it resolves. It counts as no administrative change itself. @throws LunarError of the commit */
  async add(entry: HistoryEntry): Promise<void> {
    // Only who changes something looks for the end of it.
    const mine = this.next ?? this.end()
    this.next = mine.then(number => number + 1)
    this.next.catch(() => (this.next = undefined))
    const number = await mine
    const batch = new Batch().put(keyOf('history', 0, number), encodeHistory(entry))
    if (number > HISTORY_KEPT) batch.delete(keyOf('history', 0, number - HISTORY_KEPT))
    // Not from the reserve of the metadata: that is for deletes.
    await this.metadata().commit(batch, 'data')
  }

  private async end(): Promise<number> {
    let next = 1
    for await (const { lo } of this.metadata().range(hiOf('history'))) next = lo + 1
    return next
  }
}
