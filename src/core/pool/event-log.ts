import type { Clock } from '../base/clock.ts'
import { Batch } from '../../metadata/batch.ts'
import { decodeEvent, encodeEvent, EVENTS_KEPT, type EventEntry } from '../../metadata/event.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { nextNumber, putNumbered } from '../../metadata/numbered.ts'

/** Events that wait for a commit, and how many one commit takes. */
const LATE_MAX = 500
const LATE_BATCH = 50

/** An event as it was kept. */
export interface PoolEvent extends EventEntry {
  readonly number: number
}

/** The events kept in a pool's metadata: written with the change they tell of, or later where no commit could be made. */
export class EventLog {
  private next = 1
  private readonly late: { code: string; object: string; message: string }[] = []
  private lateLost = 0
  private readonly listeners = new Set<(event: PoolEvent) => void>()

  constructor(
    private readonly metadata: () => Metadata,
    private readonly clock: Clock,
    /** Called when an event begins to wait; never inside of a commit of the waiting ones. */
    private readonly onWaiting: () => void,
  ) {}

  async load(): Promise<void> {
    this.next = await nextNumber(this.metadata(), 'event')
  }

  /** Tells of each event once it is durable, in that order, which may differ from that of their numbers. @returns what ends it */
  listen(tell: (event: PoolEvent) => void): () => void {
    this.listeners.add(tell)
    return () => this.listeners.delete(tell)
  }

  /** Puts an event into a batch, and drops the one that is too old to keep. */
  add(batch: Batch, code: string, object: string, message: string): void {
    const value = encodeEvent({ timeMs: this.clock.wallMs(), event: code, object, message })
    const number = this.next++
    putNumbered(batch, 'event', number, value, EVENTS_KEPT)
    batch.whenDurable(() => {
      for (const tell of this.listeners) tell({ number, ...decodeEvent(value) })
    })
  }

  /** Keeps an event, where no commit can be made, for the next one that can take it; beyond a bound they are only counted. */
  addLater(code: string, object: string, message: string): void {
    const first = !this.isWaiting
    if (this.late.length < LATE_MAX) this.late.push({ code, object, message })
    else this.lateLost++
    if (first) this.onWaiting()
  }

  get isWaiting(): boolean {
    return this.late.length > 0
  }

  /** Commits all events that wait when it is called. One whose commit fails is not tried again: the metadata has failed with it. */
  async flush(): Promise<void> {
    const metadata = this.metadata()
    if (metadata.failure) return
    for (let waiting = this.late.length; waiting > 0; waiting -= LATE_BATCH) {
      const batch = new Batch()
      for (const { code, object, message } of this.late.splice(0, Math.min(waiting, LATE_BATCH))) this.add(batch, code, object, message)
      if (this.lateLost > 0) this.add(batch, 'pool.error', 'events', `${this.lateLost} more events came too fast to be kept`)
      this.lateLost = 0
      await metadata.commit(batch, 'data', true)
    }
  }
}
