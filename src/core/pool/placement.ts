import { COLUMNS, copiesOf, memberCount, type Redundancy } from '../raid/geometry.ts'
import { mateOf } from './sets.ts'

/** A disk as placement sees it. */
export interface Candidate {
  readonly disk: number
  /** Free segments. */
  readonly free: number
  /** All segments. */
  readonly total: number
  /** Failure domain, empty when none: then the disk is a domain of its own. */
  readonly domain: string
  /** Redundancy set, and index in it. */
  readonly set: number
  readonly index: number
}

/**
 * Chooses the disks of a redundant store's members: copy times 4 plus column, then the parity.
 *
 * A store stays in one redundancy set: the one with the most room in proportion. In it disks fill in proportion to their size;
 * the copies of a column are on a pair, where both have room, and always in different failure domains, as are all members of a
 * parity store. None of this may cost space: a choice after which fewer stores fit than `largestStoreCount` says gives way to the next
 * best, and where no set can hold the store without that, it lies in several (features.md A1 before A5; leveling brings it home).
 *
 * @param turn a number that grows with each store, so that parity goes round
 * @param beside disks of the stores that it is interleaved with, each as often as it has a member: inside a set the others come first
 * @returns undefined when the rules cannot be met with what is free: then `largestStoreCount` is 0
 */
export function placeStore(raid: Redundancy, candidates: readonly Candidate[], turn = 0, beside: readonly number[] = []): number[] | undefined {
  const room = new Room(candidates, beside)
  const most = room.storeCount(raid, room.all)
  if (most === 0) return undefined
  for (const scope of room.scopes()) {
    const local = scope === room.all ? most : room.storeCount(raid, scope)
    if (local === 0) continue
    for (const choose of choices[raid]) {
      const chosen = choose(room, scope)
      if (!chosen) continue
      room.take(chosen)
      if (room.holds(raid, scope, local - 1) && (scope === room.all || room.holds(raid, room.all, most - 1))) return roles(raid, chosen, turn, room)
      room.giveBack(chosen)
    }
  }
  return undefined
}

/** How many stores of a type fit into what is free. */
export function largestStoreCount(raid: Redundancy, candidates: readonly Candidate[]): number {
  const room = new Room(candidates, [])
  return room.storeCount(raid, room.all)
}

/** Sets whose free shares differ by no more than this may be chosen for their disks. */
const NEARLY = 0.05

const fewest = { raid0: 1, raid1: copiesOf.raid1, raid5: memberCount('raid5') } as const

/** Fewest disks, or failure domains, that a redundancy type needs. */
export const fewestDisks = (raid: Redundancy): number => fewest[raid]

export const domainCount = (candidates: readonly Pick<Candidate, 'disk' | 'domain'>[]): number =>
  new Set(candidates.map(({ disk, domain }) => (domain === '' ? disk : domain))).size

/** Candidates by position, as arrays; what is free changes while a store is placed. */
class Room {
  readonly all: readonly number[]
  readonly free: Float64Array
  /** Number of the failure domain. */
  readonly domain: Int32Array
  /** Position of the other disk of the pair, -1 when it is no candidate. */
  readonly mate: Int32Array
  /** Times a disk was taken for this store and those beside it. */
  readonly uses: Uint16Array
  /** Times it was for those beside it; undefined without any. */
  private readonly usesBeside: Uint16Array | undefined
  private readonly sums: Float64Array
  private readonly present: number[] = []
  private readonly sets = new Map<number, number[]>()

  constructor(
    readonly candidates: readonly Candidate[],
    beside: readonly number[],
  ) {
    const count = candidates.length
    this.all = Array.from({ length: count }, (_, i) => i)
    this.free = new Float64Array(count)
    this.domain = new Int32Array(count)
    this.mate = new Int32Array(count).fill(-1)
    this.uses = new Uint16Array(count)
    this.sums = new Float64Array(count)
    if (beside.length > 0) {
      const times = new Map<number, number>()
      for (const disk of beside) times.set(disk, (times.get(disk) ?? 0) + 1)
      this.usesBeside = Uint16Array.from(candidates, ({ disk }) => times.get(disk) ?? 0)
    }
    const domains = new Map<string, number>()
    for (let i = 0; i < count; i++) {
      const { free, domain, set, index } = candidates[i]!
      this.free[i] = free
      this.domain[i] = i
      if (domain !== '') {
        const known = domains.get(domain)
        if (known === undefined) domains.set(domain, i)
        else this.domain[i] = known
      }
      let members = this.sets.get(set)
      if (!members) this.sets.set(set, (members = []))
      for (const other of members) {
        if (candidates[other]!.index !== mateOf(index)) continue
        this.mate[i] = other
        this.mate[other] = i
      }
      members.push(i)
    }
  }

  /** The sets, the emptiest in proportion first, and of those with nearly as much room the ones with the fewest members beside; then all disks. */
  scopes(): (readonly number[])[] {
    if (this.sets.size < 2) return [this.all]
    const ranked = [...this.sets].map(([set, members]) => {
      let free = 0
      let total = 0
      let beside = 0
      for (const i of members) {
        free += this.free[i]!
        total += this.candidates[i]!.total
        if (this.usesBeside) beside += this.usesBeside[i]!
      }
      return { set, members, share: free / total, beside }
    })
    const most = Math.max(...ranked.map(({ share }) => share))
    for (const one of ranked) if (one.share < most - NEARLY) one.beside = Number.MAX_SAFE_INTEGER
    ranked.sort((a, b) => a.beside - b.beside || b.share - a.share || a.set - b.set)
    return [...ranked.map(({ members }) => members), this.all]
  }

  /** Begins a choice anew. */
  resetUses(): void {
    if (this.usesBeside) this.uses.set(this.usesBeside)
    else this.uses.fill(0)
  }

  take(chosen: readonly number[]): void {
    for (const i of chosen) this.free[i]!--
  }
  giveBack(chosen: readonly number[]): void {
    for (const i of chosen) this.free[i]!++
  }

  /** Stores that fit into what is free of a scope. */
  storeCount(raid: Redundancy, scope: readonly number[]): number {
    const { total, largest } = this.sum(scope)
    if (raid === 'raid0') return Math.floor(total / COLUMNS)
    if (raid === 'raid1') return Math.floor(Math.min(Math.floor(total / 2), total - largest) / COLUMNS)
    let fits = 0
    for (let tooMany = Math.floor(total / memberCount(raid)) + 1; tooMany - fits > 1;) {
      const stores = Math.floor((fits + tooMany) / 2)
      if (this.capped(stores) >= memberCount(raid) * stores) fits = stores
      else tooMany = stores
    }
    return fits
  }

  /** No fewer than `stores` stores fit into what is free of a scope. */
  holds(raid: Redundancy, scope: readonly number[], stores: number): boolean {
    if (raid !== 'raid5') return this.storeCount(raid, scope) >= stores
    this.sum(scope)
    return this.capped(stores) >= memberCount(raid) * stores
  }

  /** Sums what is free by domain; `present` names the domains of the scope. */
  private sum(scope: readonly number[]): { total: number; largest: number } {
    const { sums, present, domain, free } = this
    present.length = 0
    for (const i of scope) sums[domain[i]!] = -1
    let total = 0
    let largest = 0
    for (const i of scope) {
      const of = domain[i]!
      if (sums[of] === -1) {
        sums[of] = 0
        present.push(of)
      }
      total += free[i]!
      const sum = (sums[of]! += free[i]!)
      if (sum > largest) largest = sum
    }
    return { total, largest }
  }

  /**
   * Segments that `stores` stores can use when each takes at most one of a domain, by the last `sum`: the stores fit when that is enough for
   * all their members.
   */
  private capped(stores: number): number {
    let sum = 0
    for (const domain of this.present) sum += Math.min(this.sums[domain]!, stores)
    return sum
  }

  /** Domains of a scope, the one with the most free space first. */
  fullestDomains(scope: readonly number[]): number[] {
    this.sum(scope)
    return this.present.filter(domain => this.sums[domain]! > 0).sort((a, b) => this.sums[b]! - this.sums[a]! || a - b)
  }

  /**
   * The disk of a scope that was used least for this store, so that a store spreads; then the emptiest in proportion; then the first.
   *
   * @param not domains that are not to be used
   * @param only the one to be used
   */
  best(scope: readonly number[], not: readonly number[], only = -1): number {
    return this.first(scope, i => !not.includes(this.domain[i]!) && (only < 0 || this.domain[i] === only), this.uses)
  }

  /** The emptiest disk of a scope in proportion that is not in a domain. */
  emptiest(scope: readonly number[], not: number): number {
    return this.first(scope, i => this.domain[i] !== not, undefined)
  }

  private first(scope: readonly number[], allowed: (i: number) => boolean, uses: Uint16Array | undefined): number {
    let chosen = -1
    let chosenUses = 0
    let chosenShare = 0
    for (const i of scope) {
      if (this.free[i]! <= 0 || !allowed(i)) continue
      const used = uses ? uses[i]! : 0
      const share = this.free[i]! / this.candidates[i]!.total
      if (chosen >= 0 && (used > chosenUses || (used === chosenUses && share <= chosenShare))) continue
      chosen = i
      chosenUses = used
      chosenShare = share
    }
    return chosen
  }
}

type Choice = (room: Room, scope: readonly number[]) => number[] | undefined

/** Runs a choice that takes segments one by one, and gives them back. */
function trying(choose: (room: Room, scope: readonly number[], take: (i: number) => boolean) => void, members: number): Choice {
  return (room, scope) => {
    const chosen: number[] = []
    room.resetUses()
    choose(room, scope, i => {
      if (i < 0) return false
      chosen.push(i)
      room.free[i]!--
      room.uses[i]!++
      return true
    })
    room.giveBack(chosen)
    return chosen.length === members ? chosen : undefined
  }
}

const spread = trying((room, scope, take) => {
  for (let column = 0; column < COLUMNS; column++) if (!take(room.best(scope, []))) return
}, COLUMNS)

/** Each column on a pair; on two disks of different domains where the pair has no room, is in one domain, or is none. */
const inPairs = trying((room, scope, take) => {
  for (let column = 0; column < COLUMNS; column++) {
    const first = room.best(scope, [])
    if (!take(first)) return
    const mate = room.mate[first]!
    const fits = mate >= 0 && room.free[mate]! > 0 && room.domain[mate] !== room.domain[first]
    if (!take(fits ? mate : room.emptiest(scope, room.domain[first]!))) return
  }
}, 2 * COLUMNS)

/** Each column in the two domains with the most free space: nothing is left over that pairs could use. */
const inFullestPairs = trying((room, scope, take) => {
  for (let column = 0; column < COLUMNS; column++) {
    const [first, second] = room.fullestDomains(scope)
    if (first === undefined || second === undefined) return
    take(room.best(scope, [], first))
    take(room.best(scope, [], second))
  }
}, 2 * COLUMNS)

const apart = trying((room, scope, take) => {
  const taken: number[] = []
  for (let member = 0; member < memberCount('raid5'); member++) {
    const chosen = room.best(scope, taken)
    if (!take(chosen)) return
    taken.push(room.domain[chosen]!)
  }
}, memberCount('raid5'))

const inFullestDomains = trying((room, scope, take) => {
  for (const domain of room.fullestDomains(scope).slice(0, memberCount('raid5'))) take(room.best(scope, [], domain))
}, memberCount('raid5'))

/** How members are chosen in a scope: as we like it, then so that the most stores fit. */
const choices: Record<Redundancy, readonly Choice[]> = { raid0: [spread], raid1: [inPairs, inFullestPairs], raid5: [apart, inFullestDomains] }

/** The members of a store in their order, as disk numbers. */
function roles(raid: Redundancy, chosen: readonly number[], turn: number, room: Room): number[] {
  const disks = (order: readonly number[]): number[] => order.map(i => room.candidates[i]!.disk)
  if (raid === 'raid0') return disks(chosen)
  if (raid === 'raid1') return disks([...chosen.filter((_, n) => n % 2 === 0), ...chosen.filter((_, n) => n % 2 === 1)])
  const sorted = [...chosen].sort((a, b) => a - b)
  const first = turn % sorted.length
  return disks([...sorted.slice(first), ...sorted.slice(0, first)])
}
