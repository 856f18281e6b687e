import { deferred } from '../base/deferred.ts'
import type { EventLog } from '../pool/event-log.ts'
import type { EventView } from './api.ts'
import { eventView } from './views.ts'

/** Events that wait for a reader; one that is slower asks again for what it lacks. */
const WAITING_MAX = 1000

/**
 * What `kept` says is there, then each event when it is durable, once. Ends when the signal aborts, or when the reader lags too far behind.
 * Nothing runs between events: whoever waits is woken by the commit.
 */
export async function* eventStream(log: EventLog, kept: () => Promise<readonly EventView[]>, signal: AbortSignal): AsyncGenerator<EventView> {
  const waiting: EventView[] = []
  let woken = deferred()
  let tooSlow = false
  const wake = (): void => {
    woken.resolve()
  }
  const deaf = log.listen(event => {
    if (waiting.length < WAITING_MAX) waiting.push(eventView(event))
    else tooSlow = true
    wake()
  })
  signal.addEventListener('abort', wake)
  try {
    // What was on its way to the disks is read here, and told once more when it has arrived.
    const read = await kept()
    const early = new Set(read.map(({ number }) => number))
    yield* read
    while (!signal.aborted) {
      for (let event = waiting.shift(); event; event = waiting.shift()) if (!early.delete(event.number)) yield event
      if (tooSlow || signal.aborted) return
      await woken.promise
      woken = deferred()
    }
  } finally {
    deaf()
    signal.removeEventListener('abort', wake)
  }
}
