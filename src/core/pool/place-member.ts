import { COLUMNS, type Redundancy } from '../raid/geometry.ts'
import type { Candidate } from './placement.ts'
import { mateOf } from './sets.ts'

/** Where a member of a store lies. */
export type MemberPlace = Pick<Candidate, 'disk' | 'domain' | 'set' | 'index'>

const domainOf = ({ disk, domain }: Pick<Candidate, 'disk' | 'domain'>): string | number => (domain === '' ? disk : domain)

/** Members that may not be in the failure domain of `member`: all others of a parity store, the other copy of its column. */
function apartFrom(raid: Redundancy, member: number, others: readonly (MemberPlace | undefined)[]): MemberPlace[] {
  if (raid === 'raid0') return []
  return others.filter((other, m) => other !== undefined && m !== member && (raid === 'raid5' || m % COLUMNS === member % COLUMNS)) as MemberPlace[]
}

/**
 * Chooses the disk for one member of a redundant store whose disk leaves, by the rules of `placeStore`: never in a failure domain that would
 * take redundancy away; in the redundancy set of most other members where that has room, a copy on the pair of the other copy; else where the
 * store lies least, then on the emptiest in proportion.
 *
 * @param others where the other members lie, by member; undefined where that is not known yet
 * @returns undefined when the rules cannot be met with what is free
 */
export function placeMember(
  raid: Redundancy,
  member: number,
  others: readonly (MemberPlace | undefined)[],
  candidates: readonly Candidate[],
): number | undefined {
  const apart = apartFrom(raid, member, others)
  const taken = new Set(apart.map(domainOf))
  const uses = new Map<number, number>()
  const sets = new Map<number, number>()
  for (const [m, other] of others.entries()) {
    if (!other || m === member) continue
    uses.set(other.disk, (uses.get(other.disk) ?? 0) + 1)
    sets.set(other.set, (sets.get(other.set) ?? 0) + 1)
  }
  const isMate = ({ set, index }: Candidate): boolean => raid === 'raid1' && apart.some(other => other.set === set && other.index === mateOf(index))
  const rank = (candidate: Candidate): readonly number[] => [
    -(sets.get(candidate.set) ?? 0),
    isMate(candidate) ? 0 : 1,
    uses.get(candidate.disk) ?? 0,
    -candidate.free / candidate.total,
    candidate.disk,
  ]
  let best: { readonly disk: number; readonly rank: readonly number[] } | undefined
  for (const candidate of candidates) {
    if (candidate.free <= 0 || taken.has(domainOf(candidate))) continue
    const own = rank(candidate)
    if (!best || isBefore(own, best.rank)) best = { disk: candidate.disk, rank: own }
  }
  return best?.disk
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  const differs = a.findIndex((value, i) => value !== b[i])
  return differs >= 0 && a[differs]! < b[differs]!
}
