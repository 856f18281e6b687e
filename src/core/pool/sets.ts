/**
 * Redundancy sets (Compaq, paragraph 0046; features.md A5): which disks of a disk group belong together, and at which index. Pure.
 *
 * Adjacent even and odd indices are a *pair*, and a pair stays one for life. A set has 6 to 11 disks, fewer only when it is the only one of
 * its group; at most one disk of a set is without a partner.
 */

export const SET_DISKS_MIN = 6
export const SET_DISKS_MAX = 11
const SET_DISKS_AIM = 8

/** Where a disk is. */
export interface SetPlace {
  readonly set: number
  readonly index: number
}

/** A disk that joins a group. */
export interface JoiningDisk {
  readonly disk: number
  /** Bytes, or anything that grows with them: disks of like size become pairs. */
  readonly size: number
  /** Failure domain, empty when it is one of its own: pairs and sets are made of different ones where that can be. */
  readonly domain: string
}

/** A set while it is being changed: disks by index. */
interface OpenSet {
  readonly number: number
  readonly disks: (number | undefined)[]
}

/**
 * The places of a group's disks after a change. Who is not concerned keeps set and index.
 *
 * Joining disks fill sets that are below six; six or more that are left become sets of their own, about eight in each; fewer go one by one to the smallest
 * set. A set of twelve is split in two, pairs together. One that falls below six joins the smallest other one, and is split off again when
 * that makes twelve.
 *
 * @param places the group's disks as they are; places that break the rules (a pool from before there were sets) are put in order, too
 */
export function regroup(
  places: ReadonlyMap<number, SetPlace>,
  change: { readonly joining?: readonly JoiningDisk[]; readonly leaving?: readonly number[] },
): Map<number, SetPlace> {
  const sets = openSets(places, new Set(change.leaving))
  for (const set of sets) joinLone(set)
  mergeSmall(sets)
  splitLarge(sets)
  const joining = inTurns(change.joining ?? [])
  while (joining.length > 0) {
    const smallest = smallestOf(sets)
    if (!smallest || (count(smallest) >= SET_DISKS_MIN && joining.length >= SET_DISKS_MIN)) {
      sets.push(...newSets(joining.splice(0), sets))
      break
    }
    enter(smallest, [joining.shift()!])
    splitLarge(sets)
  }
  return placesOf(sets)
}

/** What is wrong with the places of a group's disks; empty when nothing is. */
export function setProblems(places: ReadonlyMap<number, SetPlace>): string[] {
  const problems: string[] = []
  const sets = new Map<number, Map<number, number>>()
  for (const [disk, { set, index }] of places) {
    const disks = sets.get(set) ?? new Map<number, number>()
    sets.set(set, disks)
    if (disks.has(index)) problems.push(`disks ${disks.get(index)} and ${disk} both have index ${index} of redundancy set ${set}`)
    if (index > SET_DISKS_MAX) problems.push(`disk ${disk} has index ${index} of redundancy set ${set}, the last one is ${SET_DISKS_MAX}`)
    disks.set(index, disk)
  }
  for (const [set, disks] of sets) {
    if (disks.size > SET_DISKS_MAX) problems.push(`redundancy set ${set} has ${disks.size} disks, the most is ${SET_DISKS_MAX}`)
    if (disks.size < SET_DISKS_MIN && sets.size > 1) problems.push(`redundancy set ${set} has ${disks.size} disks, the least beside others is ${SET_DISKS_MIN}`)
  }
  return problems
}

/** The other index of a pair. */
export const mateOf = (index: number): number => index ^ 1

const count = (set: OpenSet): number => set.disks.reduce<number>((sum, disk) => sum + (disk === undefined ? 0 : 1), 0)

/** Of sets of one size the one with the lowest number. */
function smallestOf(sets: readonly OpenSet[]): OpenSet | undefined {
  return sets.reduce<OpenSet | undefined>(
    (best, set) => (!best || count(set) < count(best) || (count(set) === count(best) && set.number < best.number) ? set : best),
    undefined,
  )
}

function openSets(places: ReadonlyMap<number, SetPlace>, leaving: ReadonlySet<number>): OpenSet[] {
  const sets = new Map<number, OpenSet>()
  for (const [disk, { set: number, index }] of [...places].sort(([a], [b]) => a - b)) {
    if (leaving.has(disk)) continue
    const set = sets.get(number) ?? { number, disks: [] }
    sets.set(number, set)
    if (set.disks[index] === undefined) set.disks[index] = disk
    else enter(set, [disk])
  }
  return [...sets.values()].sort((a, b) => a.number - b.number)
}

/** Disks whose partners are gone become partners. */
function joinLone(set: OpenSet): void {
  const lone = [...set.disks.keys()].filter(index => set.disks[index] !== undefined && set.disks[mateOf(index)] === undefined)
  for (let i = 0; i + 1 < lone.length; i += 2) {
    set.disks[mateOf(lone[i]!)] = set.disks[lone[i + 1]!]
    set.disks[lone[i + 1]!] = undefined
  }
}

/** Puts a pair at the first free pair of indices; a single disk beside one that is alone, if there is one. */
function enter(set: OpenSet, unit: readonly number[]): void {
  if (unit.length === 1) {
    const lone = [...set.disks.keys()].find(index => set.disks[index] !== undefined && set.disks[mateOf(index)] === undefined)
    if (lone !== undefined) {
      set.disks[mateOf(lone)] = unit[0]
      return
    }
  }
  let at = 0
  while (set.disks[at] !== undefined || set.disks[at + 1] !== undefined) at += 2
  unit.forEach((disk, i) => {
    set.disks[at + i] = disk
  })
}

/** The pairs of a set and the disk without a partner, by index. */
function unitsOf(set: OpenSet): number[][] {
  const units: number[][] = []
  for (let at = 0; at < set.disks.length; at += 2) {
    const unit = [set.disks[at], set.disks[at + 1]].filter(disk => disk !== undefined)
    if (unit.length > 0) units.push(unit)
  }
  return units
}

/** A set below six joins the smallest other one; when both have too many for one set, it takes pairs from the other instead. */
function mergeSmall(sets: OpenSet[]): void {
  for (;;) {
    const small = sets.length > 1 ? smallestOf(sets) : undefined
    if (!small || count(small) >= SET_DISKS_MIN) return
    sets.splice(sets.indexOf(small), 1)
    const other = smallestOf(sets)!
    if (count(small) + count(other) <= SET_DISKS_MAX) for (const unit of unitsOf(small)) enter(other, unit)
    else {
      // As joining and splitting again would, but only the pairs that must move do. Two disks without a partner become a pair first.
      const lone = unitsOf(other).find(unit => unit.length === 1)
      if (lone && count(small) % 2 === 1) move(lone, other, small)
      const surplus = unitsOf(other).filter(unit => unit.length === 2)
      while (count(small) < SET_DISKS_MIN) move(surplus.pop()!, other, small)
      sets.push(small)
      sets.sort((a, b) => a.number - b.number)
    }
  }
}

function move(unit: readonly number[], from: OpenSet, to: OpenSet): void {
  for (const disk of unit) from.disks[from.disks.indexOf(disk)] = undefined
  enter(to, unit)
}

/** Sets of twelve and more give their last pairs to new sets. */
function splitLarge(sets: OpenSet[]): void {
  for (let i = 0; i < sets.length; i++) {
    const set = sets[i]!
    while (count(set) > SET_DISKS_MAX) {
      const units = unitsOf(set)
      const pairs = units.filter(unit => unit.length === 2)
      const split: OpenSet = { number: freeNumber(sets), disks: [] }
      for (const unit of pairs.slice(-Math.floor(units.length / setsFor(count(set))))) move(unit, set, split)
      sets.push(split)
    }
    if (set.disks.length > SET_DISKS_MAX + 1) closeUp(set)
  }
}

/** A set from before there were sets may have any index. */
function closeUp(set: OpenSet): void {
  const units = unitsOf(set)
  set.disks.length = 0
  for (const unit of units) enter(set, unit)
}

const setsFor = (disks: number): number => Math.max(1, Math.round(disks / SET_DISKS_AIM))

function freeNumber(sets: readonly OpenSet[]): number {
  for (let number = 0; ; number++) if (sets.every(set => set.number !== number)) return number
}

/** Sets of about eight from disks that join together. */
function newSets(disks: readonly number[], beside: readonly OpenSet[]): OpenSet[] {
  const made: OpenSet[] = []
  const sets = setsFor(disks.length)
  const pairs = Math.ceil(disks.length / 2)
  let next = 0
  for (let i = 0; i < sets; i++) {
    const set: OpenSet = { number: freeNumber([...beside, ...made]), disks: [] }
    made.push(set)
    // The larger ones last: a disk without a partner, which is the last, belongs to one of them.
    const units = Math.floor(pairs / sets) + (i >= sets - (pairs % sets) ? 1 : 0)
    for (let unit = 0; unit < units; unit++, next += 2) enter(set, disks.slice(next, next + 2))
  }
  return made
}

/**
 * Joining disks in the order in which they are dealt out: large ones first, failure domains in turns, so that neighbours are of different
 * domains and of like size.
 */
function inTurns(disks: readonly JoiningDisk[]): number[] {
  const queues = new Map<string, JoiningDisk[]>()
  for (const disk of [...disks].sort((a, b) => b.size - a.size || a.disk - b.disk)) {
    const domain = disk.domain === '' ? `disk ${disk.disk}` : `domain ${disk.domain}`
    const queue = queues.get(domain)
    if (queue) queue.push(disk)
    else queues.set(domain, [disk])
  }
  const order: number[] = []
  let partner: JoiningDisk[] | undefined
  while (order.length < disks.length) {
    const filled = [...queues.values()].filter(queue => queue.length > 0)
    const others = filled.filter(queue => queue !== partner)
    const longest = (others.length > 0 ? others : filled).reduce((best, queue) => (queue.length > best.length ? queue : best))
    order.push(longest.shift()!.disk)
    partner = order.length % 2 === 1 ? longest : undefined
  }
  return order
}

function placesOf(sets: readonly OpenSet[]): Map<number, SetPlace> {
  const places = new Map<number, SetPlace>()
  for (const { number: set, disks } of sets) for (const [index, disk] of disks.entries()) if (disk !== undefined) places.set(disk, { set, index })
  return new Map([...places].sort(([a], [b]) => a - b))
}
