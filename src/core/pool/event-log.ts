import type { Clock } from '../base/clock.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { EVENTS_KEPT } from '../../metadata/records.ts'

/** Events that wait for a commit, and how many one commit takes. */
const LATE_MAX = 500
const LATE_BATCH = 50
/** Characters of code, object and message together. */
const TEXT_MAX = 700

/** An event as it was kept. */
export interface PoolEvent {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly timeMs: number
  readonly event: string
  readonly object: string
  readonly message: string
}

/** @param value of the record with the key (event, 0, number) */
export function decodeEvent(number: number, value: Uint8Array): PoolEvent {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const [event = '', object = '', ...message] = Buffer.from(value.subarray(8)).toString('utf8').split('\n')
  return { number, timeMs: view.getUint32(4, true) * 0x1_0000_0000 + view.getUint32(0, true), event, object, message: message.join('\n') }
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
    for await (const { lo } of this.metadata().range(hiOf('event'))) this.next = lo + 1
  }

  /** Tells of each event once it is durable, in that order, which may differ from that of their numbers. @returns what ends it */
  listen(tell: (event: PoolEvent) => void): () => void {
    this.listeners.add(tell)
    return () => this.listeners.delete(tell)
  }

  /** Puts an event into a batch, and drops the one that is too old to keep. */
  add(batch: Batch, code: string, object: string, message: string): void {
    const body = Buffer.from(`${code}\n${object}\n${message}`.slice(0, TEXT_MAX), 'utf8')
    const value = new Uint8Array(8 + body.length)
    const now = this.clock.wallMs()
    new DataView(value.buffer).setUint32(0, now >>> 0, true)
    new DataView(value.buffer).setUint32(4, Math.floor(now / 0x1_0000_0000), true)
    value.set(body, 8)
    const number = this.next
    batch.put(keyOf('event', 0, number), value)
    batch.whenDurable(() => {
      for (const tell of this.listeners) tell(decodeEvent(number, value))
    })
    if (this.next > EVENTS_KEPT) batch.delete(keyOf('event', 0, this.next - EVENTS_KEPT))
    this.next++
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
