/** What is done already: for ways that need no promise inside of calls that give one. */
export const done: Promise<void> = Promise.resolve()

/** Waits for all, then throws the first failure: nothing is under way when the caller goes on, or lets go of its lock. */
export async function settle<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(calls)
  return results.map(result => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}
