import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COLUMNS, memberCount, PARITY_MEMBER, type Redundancy } from '../../../src/core/raid/geometry.ts'
import { largestStoreCount, placeStore, type Candidate } from '../../../src/core/pool/placement.ts'
import { mateOf, regroup } from '../../../src/core/pool/sets.ts'

const inOneSet = (frees: readonly number[], domains: readonly string[] = []): Candidate[] =>
  frees.map((free, disk) => ({ disk, free, total: free, domain: domains[disk] ?? '', set: 0, index: disk }))

/** Disks in the sets that a pool would make of them. */
const grouped = (frees: readonly number[], domains: readonly string[] = []): Candidate[] => {
  const places = regroup(new Map(), { joining: frees.map((size, disk) => ({ disk, size, domain: domains[disk] ?? '' })) })
  return inOneSet(frees, domains).map(candidate => ({ ...candidate, ...places.get(candidate.disk)! }))
}

/** Fills the disks with stores until none fits. */
function fill(raid: Redundancy, start: readonly Candidate[]): { stores: number; left: Candidate[]; placed: number[][] } {
  let left = [...start]
  const placed: number[][] = []
  for (;;) {
    const members = placeStore(raid, left, placed.length)
    if (!members) return { stores: placed.length, left, placed }
    expect(members).toHaveLength(memberCount(raid))
    placed.push(members)
    left = left.map(candidate => ({ ...candidate, free: candidate.free - members.filter(disk => disk === candidate.disk).length }))
    expect(Math.min(...left.map(candidate => candidate.free))).toBeGreaterThanOrEqual(0)
  }
}

const setsOf = (members: readonly number[], candidates: readonly Candidate[]): Set<number> => new Set(members.map(disk => candidates[disk]!.set))

const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 2, maxLength: 8 })
const labels = fc.array(fc.constantFrom('', '', 'a', 'b', 'c', 'd', 'e', 'f'), { minLength: 30, maxLength: 30 })
const raids = fc.constantFrom<Redundancy>('raid0', 'raid1', 'raid5')

/** Most stores by search: every store takes one segment of each of five domains. */
function mostByRows(frees: number[]): number {
  const seen = new Map<string, number>()
  const search = (left: number[]): number => {
    const key = left.join()
    const known = seen.get(key)
    if (known !== undefined) return known
    let best = 0
    const choose = (from: number, chosen: number[]): void => {
      if (chosen.length === 5) {
        best = Math.max(best, 1 + search(left.map((free, i) => (chosen.includes(i) ? free - 1 : free)).sort((a, b) => b - a)))
        return
      }
      for (let i = from; i < left.length; i++) if (left[i]! > 0) choose(i + 1, [...chosen, i])
    }
    choose(0, [])
    seen.set(key, best)
    return best
  }
  return search([...frees].sort((a, b) => b - a))
}

test('the count of parity stores is what a search over all ways to place them finds', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 4, maxLength: 7 }), frees => {
      expect(largestStoreCount('raid5', inOneSet(frees))).toBe(mostByRows(frees))
    }),
    { numRuns: 100 },
  )
})

test('pairs reach the smaller of half the total and the total less the largest (A1)', () => {
  fc.assert(
    fc.property(sizes, frees => {
      const total = frees.reduce((sum, free) => sum + free, 0)
      const pairs = Math.min(Math.floor(total / 2), total - Math.max(...frees))
      expect(fill('raid1', inOneSet(frees)).stores).toBe(Math.floor(pairs / COLUMNS))
    }),
    { numRuns: 300 },
  )
})

test('filled until refused, every type reaches what was said, in any mix of sizes, sets and domains; members are apart', () => {
  fc.assert(
    fc.property(raids, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }), labels, (raid, frees, domains) => {
      const start = grouped(frees, domains)
      const { stores, placed } = fill(raid, start)
      expect(stores).toBe(largestStoreCount(raid, start))
      const domainOf = (disk: number): string => (domains[disk] === '' ? `disk ${disk}` : domains[disk]!)
      for (const members of placed) {
        if (raid === 'raid5') expect(new Set(members.map(domainOf)).size).toBe(5)
        if (raid === 'raid1') for (let column = 0; column < COLUMNS; column++) expect(domainOf(members[column]!)).not.toBe(domainOf(members[column + COLUMNS]!))
      }
    }),
    { numRuns: 300 },
  )
})

test('types side by side: what is said to fit, fits', () => {
  fc.assert(
    fc.property(fc.array(raids, { maxLength: 60 }), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 2, maxLength: 16 }), (mix, frees) => {
      let left = grouped(frees)
      for (const [turn, raid] of mix.entries()) {
        const count = largestStoreCount(raid, left)
        const members = placeStore(raid, left, turn)
        expect(members === undefined).toBe(count === 0)
        left = left.map(candidate => ({ ...candidate, free: candidate.free - (members ?? []).filter(disk => disk === candidate.disk).length }))
        if (members) expect(largestStoreCount(raid, left)).toBe(count - 1)
      }
    }),
    { numRuns: 200 },
  )
})

test('a store stays in one set, and sets fill evenly', () => {
  for (const raid of ['raid0', 'raid1', 'raid5'] as const) {
    const start = grouped(new Array<number>(24).fill(40))
    const { placed, stores } = fill(raid, start)
    const inSet = [0, 0, 0]
    let astride = 0
    for (const members of placed) {
      const sets = setsOf(members, start)
      if (sets.size > 1) astride++
      else inSet[[...sets][0]!]!++
    }
    expect(stores).toBe(largestStoreCount(raid, start))
    // Only the last ones, of what each set has left over.
    expect(astride).toBeLessThanOrEqual(2)
    expect(Math.max(...inSet) - Math.min(...inSet)).toBeLessThanOrEqual(1)
  }
})

test('what no set can hold alone lies in several', () => {
  const start = grouped(new Array<number>(16).fill(4)).map(candidate => ({ ...candidate, free: candidate.index < 3 ? 1 : 0 }))
  const members = placeStore('raid5', start)!
  expect(new Set(members).size).toBe(5)
  expect(setsOf(members, start).size).toBe(2)
})

test('the two copies of a column are on a pair, also when other disks are emptier', () => {
  const start = grouped(new Array<number>(16).fill(40)).map(candidate => ({ ...candidate, free: candidate.index % 2 === 0 ? 40 : 30 }))
  for (const members of fill('raid1', start).placed.slice(0, 20)) {
    for (let column = 0; column < COLUMNS; column++) {
      const [a, b] = [start[members[column]!]!, start[members[column + COLUMNS]!]!]
      expect({ set: a.set, index: a.index }).toEqual({ set: b.set, index: mateOf(b.index) })
    }
    expect(new Set(members).size).toBe(2 * COLUMNS)
  }
})

test('a disk without a partner fills with the others', () => {
  for (const count of [3, 5, 7, 9, 11]) {
    let left = grouped(new Array<number>(count).fill(400))
    for (let store = 0; store < 20 * count; store++) {
      const members = placeStore('raid1', left)!
      left = left.map(candidate => ({ ...candidate, free: candidate.free - members.filter(disk => disk === candidate.disk).length }))
    }
    const used = left.map(({ free }) => 400 - free)
    // With seven disks the one without a partner is in every store once, the others are in one of six twice.
    expect(Math.min(...used) / Math.max(...used), `${count} disks: ${used.join()}`).toBeGreaterThan(count === 7 ? 0.85 : 0.97)
  }
})

test('parity goes round the disks evenly', () => {
  for (const count of [5, 6, 7, 8, 10, 11]) {
    const parity = new Array<number>(count).fill(0)
    const used = new Array<number>(count).fill(0)
    for (const members of fill('raid5', grouped(new Array<number>(count).fill(400))).placed) {
      parity[members[PARITY_MEMBER]!]!++
      for (const disk of members) used[disk]!++
    }
    expect(Math.max(...parity) / Math.min(...parity), `${count} disks: ${parity.join()}`).toBeLessThan(1.2)
    expect(Math.max(...used) - Math.min(...used)).toBeLessThanOrEqual(2)
  }
})

test('one large disk and four small ones are used alike by parity', () => {
  const { left } = fill('raid5', inOneSet([100, 10, 10, 10, 10]))
  expect(left.map(({ free }) => free)).toEqual([90, 0, 0, 0, 0])
})

test('without redundancy everything is used', () => {
  fc.assert(
    fc.property(sizes, frees => {
      const total = frees.reduce((sum, free) => sum + free, 0)
      expect(fill('raid0', inOneSet(frees)).stores).toBe(Math.floor(total / COLUMNS))
    }),
  )
})

test('one domain cannot mirror, four cannot keep parity', () => {
  expect(placeStore('raid1', inOneSet([20, 20], ['rack1', 'rack1']))).toBeUndefined()
  expect(placeStore('raid5', inOneSet([20, 20, 20, 20, 20], ['a', 'a']))).toBeUndefined()
})

test('disks of one size fill evenly', () => {
  const frees = fill('raid1', inOneSet([40, 40, 40, 40, 40, 40])).left.map(({ free }) => free)
  expect(Math.max(...frees) - Math.min(...frees)).toBeLessThanOrEqual(2)
})

test('a store that is interleaved with others takes disks that they do not have, of other sets where the room is nearly the same', () => {
  const sixteen = grouped(Array.from({ length: 16 }, () => 100))
  for (const raid of ['raid0', 'raid1', 'raid5'] as const) {
    const first = placeStore(raid, sixteen)!
    const second = placeStore(raid, sixteen, 1, first)!
    expect(second.some(disk => first.includes(disk))).toBe(false)
    expect(setsOf(second, sixteen)).not.toEqual(setsOf(first, sixteen))
  }
  const eight = inOneSet([100, 100, 100, 100, 100, 100, 100, 100])
  expect(
    placeStore('raid5', eight, 0, [0, 1, 2, 3, 4])!
      .filter(disk => disk > 4)
      .sort(),
  ).toEqual([5, 6, 7])
  expect(placeStore('raid0', eight, 0, [0, 2, 4, 6])!.sort()).toEqual([1, 3, 5, 7])
  // Where one set has much more room its disks come first all the same.
  const uneven = sixteen.map(candidate => (candidate.set === 0 ? candidate : { ...candidate, free: 80 }))
  expect(setsOf(placeStore('raid1', uneven, 0, placeStore('raid1', uneven)!)!, uneven)).toEqual(new Set([0]))
  // And it never costs space: the last stores fit as without it.
  const tight = inOneSet([3, 2, 2, 2, 1])
  expect(placeStore('raid1', tight, 0, [0, 0, 0, 0])).toHaveLength(8)
})
