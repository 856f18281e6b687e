/** A disk that could hold quorum. */
export interface QuorumCandidate {
  readonly disk: number
  readonly domain: string
  readonly member: boolean
  readonly witness: boolean
}

/** How many quorum disks a pool of so many usable disks wants (hazard 32). */
export function quorumWanted(disks: number): number {
  if (disks < 3) return disks
  if (disks <= 4) return 3
  return disks <= 31 ? 5 : 7
}

/** Chooses quorum disks: present members stay, witnesses are for this, then failure domains not yet covered, then low numbers. */
export function chooseQuorum(candidates: readonly QuorumCandidate[], wanted: number): number[] {
  const chosen: QuorumCandidate[] = []
  const rank = (candidate: QuorumCandidate): number =>
    (candidate.member ? 0 : 4) + (candidate.witness ? 0 : 2) + (candidate.domain !== '' && chosen.some(other => other.domain === candidate.domain) ? 1 : 0)
  while (chosen.length < wanted) {
    const rest = candidates.filter(candidate => !chosen.includes(candidate))
    if (rest.length === 0) break
    rest.sort((a, b) => rank(a) - rank(b) || a.disk - b.disk)
    chosen.push(rest[0]!)
  }
  return chosen.map(candidate => candidate.disk)
}
