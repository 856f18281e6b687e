import type { Pool } from '../../src/core/pool/pool.ts'
import { checkRecords } from '../../src/metadata/check.ts'

/** What the checker has to say of the metadata of an open pool, one line each. */
export async function problems({ metadata }: Pool): Promise<string[]> {
  const result = await checkRecords(metadata.records(), metadata.stores)
  return result.problems.map(({ code, object, message }) => `${code} ${object} ${message}`)
}
