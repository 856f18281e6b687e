import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COLUMNS } from '../../../src/core/raid/geometry.ts'
import { placeStore, type Candidate } from '../../../src/core/pool/placement.ts'

const candidates = (frees: readonly number[], domains: readonly string[] = []): Candidate[] =>
  frees.map((free, disk) => ({ disk, free, total: free, domain: domains[disk] ?? '' }))

/** Fills the disks with stores until none fits. @returns stores placed and what is left */
function fill(raid: 'raid0' | 'raid1', start: readonly Candidate[]): { stores: number; left: Candidate[]; placed: number[][] } {
  let left = [...start]
  const placed: number[][] = []
  for (;;) {
    const members = placeStore(raid, left)
    if (!members) return { stores: placed.length, left, placed }
    placed.push(members)
    left = left.map(candidate => ({ ...candidate, free: candidate.free - members.filter(disk => disk === candidate.disk).length }))
    expect(Math.min(...left.map(candidate => candidate.free))).toBeGreaterThanOrEqual(0)
  }
}

const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 2, maxLength: 8 })

test('pairs reach the smaller of half the total and the total less the largest (A1)', () => {
  fc.assert(
    fc.property(sizes, frees => {
      const total = frees.reduce((sum, free) => sum + free, 0)
      const pairs = Math.min(Math.floor(total / 2), total - Math.max(...frees))
      const { stores, placed } = fill('raid1', candidates(frees))
      // A store takes four pairs at a time; what is less than one store cannot be used.
      expect(stores).toBeGreaterThanOrEqual(Math.floor(pairs / COLUMNS) - 1)
      expect(stores).toBeLessThanOrEqual(Math.floor(pairs / COLUMNS))
      for (const members of placed) for (let column = 0; column < COLUMNS; column++) expect(members[column]).not.toBe(members[column + COLUMNS])
    }),
    { numRuns: 300 },
  )
})

test('without redundancy everything is used', () => {
  fc.assert(
    fc.property(sizes, frees => {
      const total = frees.reduce((sum, free) => sum + free, 0)
      expect(fill('raid0', candidates(frees)).stores).toBe(Math.floor(total / COLUMNS))
    }),
  )
})

test('the two copies of a column are in different failure domains', () => {
  const domains = ['rack1', 'rack1', 'rack1', 'rack2', 'rack2', '']
  const { stores, placed } = fill('raid1', candidates([20, 20, 20, 20, 20, 20], domains))
  expect(stores).toBeGreaterThan(10)
  for (const members of placed) {
    for (let column = 0; column < COLUMNS; column++) {
      const [a, b] = [members[column]!, members[column + COLUMNS]!]
      expect(domains[a] !== '' && domains[a] === domains[b], `disks ${a} and ${b}`).toBe(false)
    }
  }
})

test('one domain cannot mirror', () => {
  expect(placeStore('raid1', candidates([20, 20], ['rack1', 'rack1']))).toBeUndefined()
})

test('disks of one size fill evenly', () => {
  const { left } = fill(
    'raid1',
    candidates([40, 40, 40, 40, 40, 40]).map(candidate => ({ ...candidate })),
  )
  const frees = left.map(candidate => candidate.free)
  expect(Math.max(...frees) - Math.min(...frees)).toBeLessThanOrEqual(2)
})
