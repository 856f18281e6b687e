/** Slices of one store: as bits of a mask, and as runs. Pure. */

/** One bit for each slice. */
export const maskOf = (slices: readonly number[]): number => slices.reduce((mask, slice) => mask | (1 << slice), 0)

/** Slices in ascending order, those that follow each other together, at most `most` of them. */
export function runsOfSlices(slices: readonly number[], most = Infinity): { from: number; count: number }[] {
  const runs: { from: number; count: number }[] = []
  for (const slice of slices) {
    const last = runs.at(-1)
    if (last && last.from + last.count === slice && last.count < most) last.count++
    else runs.push({ from: slice, count: 1 })
  }
  return runs
}
