/**
 * Runs `each` for all items, at most `most` at a time, each lane taking the next item when it is done.
 * @throws the first failure, once nothing is under way any more; items that were not begun then stay undone
 */
export async function inLanes<T>(items: readonly T[], most: number, each: (item: T) => Promise<void>): Promise<void> {
  let next = 0
  let failed: { readonly error: unknown } | undefined
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      try {
        await each(items[next++]!)
      } catch (error) {
        failed ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, lane))
  if (failed) throw failed.error
}
