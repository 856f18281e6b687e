import type { Batch } from './batch.ts'
import type { Metadata } from './metadata.ts'
import { eraIndex } from './records.ts'

/** Deletes up to `most` records of the maps under `hi` whose eras are not among those in use. @returns how many it put into the batch */
export async function dropEras(metadata: Metadata, hi: number, inUse: ReadonlySet<number>, most: number, batch: Batch): Promise<number> {
  let dropped = 0
  for (let era = 1; dropped < most;) {
    // The next record of an era that is not in use; whole eras in use are jumped over.
    let found: number | undefined
    for await (const { lo } of metadata.range(hi, eraIndex(era, 0))) {
      found = lo
      break
    }
    if (found === undefined) break
    const of = Math.floor(found / eraIndex(1, 0))
    if (inUse.has(of)) {
      era = of + 1
      continue
    }
    for await (const { lo } of metadata.range(hi, found, eraIndex(of + 1, 0) - 1)) {
      batch.delete({ hi, lo })
      if (++dropped === most) break
    }
    era = of + 1
  }
  return dropped
}
