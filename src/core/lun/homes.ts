/**
 * Where the slices of a LUN lie in redundant stores when nothing keeps them from it: pure arithmetic (features.md A8, Compaq paragraphs 0067 and 0082).
 *
 * `stripe` stores are made for a *region* of 8 * `stripe` slices and interleaved: slices that follow each other are of one store after the other. The
 * stores of a LUN have *home* numbers; those of a region follow each other. With one store a region is 8 MiB, and home is its number.
 */
import { SLICES } from '../raid/geometry.ts'

/** The number of the first home of a slice's region. */
export const regionOf = (slice: number, stripe: number): number => Math.floor(slice / (SLICES * stripe)) * stripe

/** The home of a slice. */
export const homeOf = (slice: number, stripe: number): number => regionOf(slice, stripe) + (slice % stripe)

/** The slice of its home store that a slice of the LUN has. */
export const sliceInHome = (slice: number, stripe: number): number => Math.floor((slice - regionOf(slice, stripe) * SLICES) / stripe)

/** The slices of a home, in order. */
export function slicesOfHome(home: number, stripe: number): number[] {
  const region = Math.floor(home / stripe) * stripe
  return Array.from({ length: SLICES }, (_, i) => region * SLICES + i * stripe + (home - region))
}

/** The homes of the slices [from, to), in any order, each at least once. */
export function* homesOf(from: number, to: number, stripe: number): Generator<number> {
  for (let slice = from; slice < to;) {
    const end = Math.min(to, (regionOf(slice, stripe) + stripe) * SLICES)
    // Slices further on in the region are of the same stores.
    for (let i = slice; i < Math.min(end, slice + stripe); i++) yield homeOf(i, stripe)
    slice = end
  }
}
