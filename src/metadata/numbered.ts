/** Records that are numbered as they come, of which the newest are kept: events and the history. */
import type { Batch } from './batch.ts'
import { hiOf, keyOf, type Kind } from './key.ts'
import type { Metadata } from './metadata.ts'

/** The number of the next record: one more than that of the last. */
export async function nextNumber(metadata: Metadata, kind: Kind): Promise<number> {
  let next = 1
  for await (const { lo } of metadata.range(hiOf(kind))) next = lo + 1
  return next
}

/** Puts a record, and deletes the one that is too old when `kept` of them are. */
export function putNumbered(batch: Batch, kind: Kind, number: number, value: Uint8Array, kept: number): void {
  batch.put(keyOf(kind, 0, number), value)
  if (number > kept) batch.delete(keyOf(kind, 0, number - kept))
}
