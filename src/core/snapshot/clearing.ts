import { MIB } from '../base/units.ts'
import { orUndo } from '../base/undo.ts'
import { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import type { Lun } from '../lun/lun.ts'
import { SLICE } from '../raid/geometry.ts'
import type { Relationship } from './relationship.ts'

/** Cleared in one step. Bytes. */
const CLEAR_STEP = 256 * MIB

/**
 * Clears a part of what the LUN of an image holds behind its instant. It read as zeros before and does so afterwards, and whoever wants to write there
 * waits for it (`Relationship.unclearedFrom`).
 * @returns whether something is left
 */
export function clearSome(relationship: Relationship, lun: Lun, metadata: Metadata): Promise<boolean> {
  return relationship.clearing.run(async () => {
    const { blankFrom } = relationship.record
    if (blankFrom === 0) {
      relationship.unclearedFrom = Infinity
      return false
    }
    const from = await firstBound(lun, blankFrom)
    const to = from === undefined ? lun.size : Math.min(lun.size, from + CLEAR_STEP)
    if (from !== undefined) {
      const device = lun.cache ?? lun
      await device.zero(from, to - from)
      await device.flush()
    }
    const batch = new Batch()
    const undo = relationship.change({ blankFrom: to < lun.size ? to : 0 }, {}, batch)
    await orUndo(() => metadata.commit(batch, 'data', true), undo)
    relationship.unclearedFrom = relationship.blankFrom
    return relationship.record.blankFrom !== 0
  })
}

async function firstBound(lun: Lun, from: number): Promise<number | undefined> {
  for await (const { slice } of lun.map.bound(from / SLICE, lun.sliceCount)) return slice * SLICE
  return undefined
}
