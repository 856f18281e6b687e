import fc from 'fast-check'
import { expect, test } from 'vitest'
import { mateOf, regroup, SET_DISKS_MAX, SET_DISKS_MIN, setProblems, type JoiningDisk, type SetPlace } from '../../../src/core/pool/sets.ts'

type Places = ReadonlyMap<number, SetPlace>

const disks = (count: number, from = 0, domains: readonly string[] = []): JoiningDisk[] =>
  Array.from({ length: count }, (_, i) => ({ disk: from + i, size: 1, domain: domains[i] ?? '' }))

const sizesOf = (places: Places): number[] => {
  const sizes = new Map<number, number>()
  for (const { set } of places.values()) sizes.set(set, (sizes.get(set) ?? 0) + 1)
  return [...sizes].sort(([a], [b]) => a - b).map(([, size]) => size)
}

const partnersOf = (places: Places): Map<number, number> => {
  const partners = new Map<number, number>()
  for (const [disk, { set, index }] of places)
    for (const [other, place] of places) if (place.set === set && place.index === mateOf(index)) partners.set(disk, other)
  return partners
}

const added = (count: number): Map<number, SetPlace> => {
  let places = new Map<number, SetPlace>()
  for (let disk = 0; disk < count; disk++) places = regroup(places, { joining: disks(1, disk) })
  return places
}

test('disks that join together make sets of about eight', () => {
  const sizes = (count: number): number[] => sizesOf(regroup(new Map(), { joining: disks(count) }))
  expect(sizes(1)).toEqual([1])
  expect(sizes(5)).toEqual([5])
  expect(sizes(8)).toEqual([8])
  expect(sizes(11)).toEqual([11])
  expect(sizes(12)).toEqual([6, 6])
  expect(sizes(13)).toEqual([6, 7])
  expect(sizes(16)).toEqual([8, 8])
  expect(sizes(64)).toEqual([8, 8, 8, 8, 8, 8, 8, 8])
})

test('the twelfth disk splits a set in two of six, pairs together', () => {
  const eleven = added(11)
  expect(sizesOf(eleven)).toEqual([11])
  const twelve = regroup(eleven, { joining: disks(1, 11) })
  expect(sizesOf(twelve)).toEqual([6, 6])
  for (const [disk, partner] of partnersOf(eleven)) expect(partnersOf(twelve).get(disk)).toBe(partner)
  // Half of the disks stay where they were, index and all.
  expect([...eleven].filter(([disk, { set, index }]) => twelve.get(disk)!.set === set && twelve.get(disk)!.index === index)).toHaveLength(6)
})

test('a set below six joins the smallest other one', () => {
  const twelve = added(12)
  const leaving = [...twelve].find(([, { set }]) => set === 1)![0]
  const eleven = regroup(twelve, { leaving: [leaving] })
  expect(sizesOf(eleven)).toEqual([11])
  for (const [disk, place] of eleven) if (twelve.get(disk)!.set === 0) expect(place).toEqual(twelve.get(disk))
})

test('when joining would make twelve, one pair moves', () => {
  const start = regroup(new Map(), { joining: disks(14) })
  expect(sizesOf(start)).toEqual([6, 8])
  const leaving = [...start].find(([, { set }]) => set === 0)![0]
  const after = regroup(start, { leaving: [leaving] })
  expect(sizesOf(after).sort()).toEqual([6, 7])
  expect([...after].filter(([disk, { set }]) => start.get(disk)!.set !== set)).toHaveLength(2)
})

test('six or more that join a pool of full sets leave them as they are', () => {
  const eight = regroup(new Map(), { joining: disks(8) })
  const sixteen = regroup(eight, { joining: disks(8, 8) })
  expect(sizesOf(sixteen)).toEqual([8, 8])
  for (const [disk, place] of eight) expect(sixteen.get(disk)).toEqual(place)
})

test('two disks that lost their partners become partners', () => {
  const eight = regroup(new Map(), { joining: disks(8) })
  const six = regroup(regroup(eight, { leaving: [1] }), { leaving: [2] })
  expect(partnersOf(six).get(0)).toBe(3)
})

test('pairs and sets are made of different failure domains', () => {
  const racks = Array.from({ length: 16 }, (_, i) => `rack${Math.floor(i / 2)}`)
  const places = regroup(new Map(), { joining: disks(16, 0, racks) })
  for (const [disk, partner] of partnersOf(places)) expect(racks[disk]).not.toBe(racks[partner])
  for (const set of [0, 1]) expect(new Set([...places].filter(([, place]) => place.set === set).map(([disk]) => racks[disk]))).toHaveLength(8)
  const halves = Array.from({ length: 8 }, (_, i) => (i < 4 ? 'left' : 'right'))
  for (const [disk, partner] of partnersOf(regroup(new Map(), { joining: disks(8, 0, halves) }))) expect(halves[disk]).not.toBe(halves[partner])
})

test('disks of like size are pairs', () => {
  const sizes = [1, 8, 1, 8, 2, 2]
  const places = regroup(new Map(), { joining: sizes.map((size, disk) => ({ disk, size, domain: '' })) })
  for (const [disk, partner] of partnersOf(places)) expect(sizes[partner]).toBe(sizes[disk])
})

test('a pool from before there were sets is put in order, and one that is in order stays as it is', () => {
  const old = new Map(Array.from({ length: 40 }, (_, i) => [i < 20 ? i : i + 3, { set: 0, index: i < 20 ? i : i + 3 }]))
  const places = regroup(old, {})
  expect(setProblems(old)).not.toEqual([])
  expect(setProblems(places)).toEqual([])
  for (const [disk, partner] of partnersOf(old)) expect(partnersOf(places).get(disk)).toBe(partner)
  expect(regroup(places, {})).toEqual(places)
  const small = new Map([0, 1, 3].map(disk => [disk, { set: 0, index: disk }]))
  expect(setProblems(small)).toEqual([])
  expect(regroup(small, {})).toEqual(new Map([0, 1, 3].map(disk => [disk, { set: 0, index: disk }])))
})

test('any history: sizes, pairs for life, every disk in one place, the same each time', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ join: fc.integer({ min: 1, max: 14 }) }) },
    { weight: 2, arbitrary: fc.record({ leave: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }) }) },
  )
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 25 }),
      fc.array(fc.constantFrom('', 'a', 'b', 'c'), { minLength: 30, maxLength: 30 }),
      (steps, domains) => {
        let places = new Map<number, SetPlace>()
        let next = 0
        for (const what of steps) {
          const before = places
          const present = [...places.keys()]
          const leaving =
            'leave' in what ? [...new Set(what.leave.map(nat => present[nat % Math.max(1, present.length)]).filter(disk => disk !== undefined))] : []
          const joining = 'join' in what ? disks(what.join, next, domains) : []
          next += joining.length
          places = regroup(before, { joining, leaving })
          expect(regroup(before, { joining: [...joining].reverse(), leaving: [...leaving].reverse() })).toEqual(places)
          expect([...places.keys()]).toEqual([...present.filter(disk => !leaving.includes(disk)), ...joining.map(({ disk }) => disk)].sort((a, b) => a - b))
          expect(setProblems(places)).toEqual([])
          const sizes = sizesOf(places)
          if (sizes.length > 1) expect(Math.min(...sizes)).toBeGreaterThanOrEqual(SET_DISKS_MIN)
          expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(SET_DISKS_MAX)
          const partners = partnersOf(places)
          for (const [disk, partner] of partnersOf(before)) if (!leaving.includes(disk) && !leaving.includes(partner)) expect(partners.get(disk)).toBe(partner)
          for (const set of new Set([...places.values()].map(place => place.set)))
            expect([...places].filter(([disk, place]) => place.set === set && !partners.has(disk)).length).toBeLessThanOrEqual(1)
        }
      },
    ),
    { numRuns: 300 },
  )
})
