import type { HeldRequests } from '../../server/api.ts'

const waits = (requests: number, ms: number, what: string): string[] =>
  requests === 0 ? [] : [`${requests} ${requests === 1 ? 'request' : 'requests'} ${what}, ${(ms / 1000).toFixed(1)} s in all`]

/** What quality of service held back: `12 requests by limits, 0.4 s in all`. */
export const heldText = ({ throttled, throttledMs, queued, queuedMs }: HeldRequests): string =>
  [...waits(throttled, throttledMs, 'by limits'), ...waits(queued, queuedMs, 'in the queue')].join('; ') || 'nothing'
