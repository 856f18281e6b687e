/** The word that was probably meant. */
const DISTANCE_MAX = 3
/** Of a short word, most letters must be right. */
const SHARE_MAX = 1 / 4

/** @returns the candidate with the fewest letters to change, or undefined when none is near */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.min(DISTANCE_MAX, Math.floor(word.length * SHARE_MAX)) + 1
  for (const candidate of candidates) {
    const changes = distance(word, candidate)
    if (changes < least) {
      least = changes
      best = candidate
    }
  }
  return best
}

/** Letters to insert, delete or replace (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    row = next
  }
  return row[b.length]!
}
