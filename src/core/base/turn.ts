const later = setImmediate // the real one, also where a test replaces timers

/** Lets the event loop do what else is due: for long work that never waits. */
export const turn = (): Promise<void> =>
  new Promise(resolve => {
    later(resolve)
  })
