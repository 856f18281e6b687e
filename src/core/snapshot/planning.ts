/** What a write means for the relationships of a volume: chunks to preserve, bits to set. The pages of their maps are loaded. */
import { runsOf, runsWhere } from './chunks.ts'
import type { Mark } from './marks.ts'
import type { Relationship } from './relationship.ts'
import type { Preservation } from './tree/tree.ts'

/** What a change of a range needs. */
export interface Plan {
  readonly before: readonly Mark[]
  readonly after: Mark | undefined
  /** What the snapshots of the volume need. */
  readonly tree: Preservation | undefined
  /** Bytes that are preserved. */
  readonly preserved: number
  /** Something must be durable before the change. */
  readonly barrier: boolean
}

/** What a write to the source of a relationship means for it. */
export function sourceMark(relationship: Relationship, offset: number, length: number): Mark | undefined {
  const run = relationship.chunks.touched(offset, length)
  if (run.to <= run.from || !(relationship.isActive || relationship.isRecording)) return undefined
  const mark: Mark = { relationship, migrated: [], delta: [], lost: [] }
  for (const { from, to, value } of runsOf(run, chunk => relationship.migrated.has(chunk))) {
    if (value) mark.delta.push(...runsWhere({ from, to }, chunk => !relationship.delta.has(chunk)))
    else if (relationship.isActive) mark.migrated.push({ from, to })
    else mark.lost.push(...runsWhere({ from, to }, chunk => !relationship.lost.has(chunk)))
  }
  mark.delta.push(...mark.migrated)
  return mark.delta.length + mark.lost.length > 0 ? mark : undefined
}

/** What a write to the image of a relationship means for it: bits due before the data, and bits that follow it. */
export function imageMark(image: Relationship, offset: number, length: number): { before: Mark; mark: Mark } | undefined {
  const run = image.chunks.touched(offset, length)
  if (run.to <= run.from) return undefined
  const before: Mark = { relationship: image, migrated: [], delta: [], lost: [] }
  const mark: Mark = { relationship: image, migrated: [], delta: [], lost: [] }
  for (const { from, to, value } of runsOf(run, chunk => image.migrated.has(chunk))) {
    if (value) before.delta.push(...runsWhere({ from, to }, chunk => !image.delta.has(chunk)))
    else mark.migrated.push({ from, to })
  }
  // Nobody asks what of a clone differs.
  if (image.isClone) return { before: { ...before, delta: [] }, mark }
  mark.delta.push(...mark.migrated)
  return { before, mark }
}
