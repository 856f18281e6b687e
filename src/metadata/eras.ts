import type { Batch } from './batch.ts'
import type { Metadata } from './metadata.ts'
import { eraIndex } from './records.ts'

/** The eras of an object's maps that mean something. */
export interface Eras {
  readonly inUse: ReadonlySet<number>
  /** The next that is given out: maps of this era and later ones are begun while older ones are deleted. */
  readonly next: number
}

/** Of an object that is gone. */
export const NO_ERAS: Eras = { inUse: new Set(), next: Infinity }

/** Deletes up to `most` records of the maps under `hi` whose eras mean nothing any more. @returns how many it put into the batch */
export async function dropEras(metadata: Pick<Metadata, 'range'>, hi: number, eras: Eras, most: number, batch: Batch): Promise<number> {
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
    if (of >= eras.next) break
    if (eras.inUse.has(of)) {
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
