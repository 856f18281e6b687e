/** Memory is changed ahead of what makes the change durable; when that fails, it goes back. */

/** Runs something for which memory was changed ahead: when it fails, `undo` takes that back before the error goes on. */
export async function orUndo<T>(run: () => Promise<T>, undo: () => unknown): Promise<T> {
  try {
    return await run()
  } catch (error) {
    await undo()
    throw error
  }
}

/** A record without a change: fields that others changed meanwhile stay as they are. */
export function withoutChange<T extends object>(now: T, before: T, change: Partial<T>): T {
  const back = Object.fromEntries(Object.keys(change).map(key => [key, before[key as keyof T]])) as Partial<T>
  return { ...now, ...back }
}
