/** Time as the engine sees it. Wall time only ever labels things; nothing is decided by it (fault F18). */
export interface Clock {
  /** Milliseconds since 1970, for birth dates and events. */
  wallMs(): number
  /** Milliseconds of a clock that never jumps, for paces, rates and timeouts. */
  monotonicMs(): number
  /** Resolves after `ms`, or at once when `signal` aborts; never rejects. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  // Not performance.now(): `performance` loads a dozen modules of Node when it is first used.
  monotonicMs: () => {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  },
  pause: (ms, signal) =>
    new Promise(resolve => {
      if (signal?.aborted) return resolve()
      const end = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      signal?.addEventListener('abort', end, { once: true })
    }),
}

/** `20261121T170000Z`: sorts by time, and is the same everywhere. */
export const timeStamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+|[-:]/g, '')

/** A time as it is shown: ISO 8601, in UTC. @param ms since 1970 */
export const isoTime = (ms: number): string => new Date(ms).toISOString()
/** The same where 0 says that there is none. */
export const isoTimeOrNone = (ms: number): string | null => (ms === 0 ? null : isoTime(ms))
