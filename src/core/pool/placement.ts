import { COLUMNS, copiesOf, memberCount, parityCount, type Redundancy } from '../raid/geometry.ts'

/** A disk as placement sees it. */
export interface Candidate {
  readonly disk: number
  /** Free segments. */
  readonly free: number
  /** All segments. */
  readonly total: number
  /** Failure domain, empty when none: then the disk is a domain of its own. */
  readonly domain: string
}

const domainOf = (candidate: Candidate): string => (candidate.domain === '' ? `disk ${candidate.disk}` : candidate.domain)

/**
 * Chooses the disks of a redundant store's members: copy times 4 plus column.
 *
 * Disks fill in proportion to their size. Copies of one column lie in different failure domains. Where one domain has as much free
 * space as all others together it takes part in every column, so that nothing is left over that redundancy could use:
 * with pairs, the smaller of half the total and the total less the largest can be reached.
 *
 * @returns undefined when the rules cannot be met with what is free
 */
export function placeStore(raid: Redundancy, candidates: readonly Candidate[]): number[] | undefined {
  if (parityCount[raid] > 0) return placeApart(memberCount(raid), candidates)
  const copies = copiesOf[raid]
  const free = new Map(candidates.map(candidate => [candidate.disk, candidate.free]))
  const uses = new Map<number, number>()
  const members = new Array<number>(COLUMNS * copies)
  for (let column = 0; column < COLUMNS; column++) {
    const taken = new Set<string>()
    for (let copy = 0; copy < copies; copy++) {
      const eligible = candidates.filter(candidate => (free.get(candidate.disk) ?? 0) > 0 && !taken.has(domainOf(candidate)))
      const must = copies > 1 && copy === 0 ? criticalDomain(eligible, free) : undefined
      const chosen = best(must === undefined ? eligible : eligible.filter(candidate => domainOf(candidate) === must), free, uses)
      if (!chosen) return undefined
      members[copy * COLUMNS + column] = chosen.disk
      taken.add(domainOf(chosen))
      free.set(chosen.disk, free.get(chosen.disk)! - 1)
      uses.set(chosen.disk, (uses.get(chosen.disk) ?? 0) + 1)
    }
  }
  return members
}

/** Members in as many domains, the emptiest first; the parity, which is last, on the one with the most free segments in its turn. */
function placeApart(count: number, candidates: readonly Candidate[]): number[] | undefined {
  const taken = new Set<string>()
  const disks: number[] = []
  for (const candidate of [...candidates].sort((a, b) => b.free / b.total - a.free / a.total || a.disk - b.disk)) {
    if (candidate.free === 0 || taken.has(domainOf(candidate)) || disks.length === count) continue
    taken.add(domainOf(candidate))
    disks.push(candidate.disk)
  }
  if (disks.length < count) return undefined
  const turn = disks.reduce((sum, disk) => sum + candidates.find(candidate => candidate.disk === disk)!.free, 0) % count
  const ordered = disks.sort((a, b) => a - b)
  return [...ordered.slice(turn), ...ordered.slice(0, turn)]
}

/** The domain with at least as much free space as all others together, if there is one. */
function criticalDomain(candidates: readonly Candidate[], free: ReadonlyMap<number, number>): string | undefined {
  const sums = new Map<string, number>()
  let total = 0
  for (const candidate of candidates) {
    const space = free.get(candidate.disk) ?? 0
    total += space
    sums.set(domainOf(candidate), (sums.get(domainOf(candidate)) ?? 0) + space)
  }
  for (const [domain, sum] of sums) if (sum * 2 >= total - 1) return domain
  return undefined
}

/** Least used in this store first, so that a store spreads; then the emptiest in proportion; then the lowest number. */
function best(candidates: readonly Candidate[], free: ReadonlyMap<number, number>, uses: ReadonlyMap<number, number>): Candidate | undefined {
  let chosen: Candidate | undefined
  let chosenUses = 0
  let chosenShare = 0
  for (const candidate of candidates) {
    const used = uses.get(candidate.disk) ?? 0
    const share = (free.get(candidate.disk) ?? 0) / candidate.total
    if (!chosen || used < chosenUses || (used === chosenUses && share > chosenShare)) {
      chosen = candidate
      chosenUses = used
      chosenShare = share
    }
  }
  return chosen
}

/** Fewest disks, or failure domains, that a redundancy type needs. */
export const fewestDisks = (raid: Redundancy): number => (parityCount[raid] > 0 ? memberCount(raid) : copiesOf[raid])

export const domainCount = (candidates: readonly Candidate[]): number => new Set(candidates.map(domainOf)).size

/** How many stores of a type fit into what is free. */
export function largestStoreCount(raid: Redundancy, candidates: readonly Candidate[]): number {
  if (parityCount[raid] > 0) {
    const rooms = new Map<string, number>()
    for (const candidate of candidates) rooms.set(domainOf(candidate), (rooms.get(domainOf(candidate)) ?? 0) + candidate.free)
    const most = (stores: number): boolean => [...rooms.values()].reduce((sum, room) => sum + Math.min(room, stores), 0) >= stores * memberCount(raid)
    let count = 0
    for (let step = 2 ** 31; step >= 1; step /= 2) if (most(count + step)) count += step
    return count
  }
  const copies = copiesOf[raid]
  const sums = new Map<string, number>()
  let total = 0
  for (const candidate of candidates) {
    total += candidate.free
    sums.set(domainOf(candidate), (sums.get(domainOf(candidate)) ?? 0) + candidate.free)
  }
  const columns = copies === 1 ? total : Math.min(Math.floor(total / 2), total - Math.max(0, ...sums.values()))
  return Math.floor(columns / COLUMNS)
}
