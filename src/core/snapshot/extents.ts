/** What is known of a range of a volume. Pure. */
import type { Extent } from '../block/device.ts'

/** A range of bytes. */
interface Range {
  readonly offset: number
  readonly length: number
}

/** @param extents in order @param ranges whatever they hold, it may be something else than what the extents say: of these nothing is known, so they are data */
export function withUnknown(extents: readonly Extent[], ranges: readonly Range[]): Extent[] {
  const cut: Extent[] = []
  const sorted = [...ranges].sort((a, b) => a.offset - b.offset)
  const add = (from: number, to: number, kind: Extent['kind']): void => {
    const last = cut.at(-1)
    if (last?.kind === kind && last.offset + last.length === from) cut[cut.length - 1] = { ...last, length: to - last.offset }
    else cut.push({ offset: from, length: to - from, kind })
  }
  for (const { offset, length, kind } of extents) {
    let at = offset
    const end = offset + length
    for (const range of sorted) {
      const from = Math.max(at, range.offset)
      const to = Math.min(end, range.offset + range.length)
      if (to <= from) continue
      if (from > at) add(at, from, kind)
      add(from, to, 'data')
      at = to
    }
    if (at < end) add(at, end, kind)
  }
  return cut
}
