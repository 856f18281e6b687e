import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COLUMNS, memberCount, type Redundancy } from '../../../src/core/raid/geometry.ts'
import { placeMember } from '../../../src/core/pool/place-member.ts'
import { placeStore, type Candidate } from '../../../src/core/pool/placement.ts'
import { regroup } from '../../../src/core/pool/sets.ts'

const pool = (frees: readonly number[], domains: readonly string[]): Candidate[] => {
  const places = regroup(new Map(), { joining: frees.map((size, disk) => ({ disk, size, domain: domains[disk]! })) })
  return frees.map((free, disk) => ({ disk, free, total: 60, domain: domains[disk]!, ...places.get(disk)! }))
}

const domainOf = ({ disk, domain }: Candidate): string => (domain === '' ? `${disk}` : domain)

const apart = (raid: Redundancy, a: number, b: number): boolean => a !== b && (raid === 'raid5' || (raid === 'raid1' && a % COLUMNS === b % COLUMNS))

test('a member keeps to the rules of its type, stays in the set where that has room, and has a place when any is allowed', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 3, maxLength: 20 }),
      fc.array(fc.constantFrom('', '', 'a', 'b', 'c', 'd', 'e', 'f'), { minLength: 20, maxLength: 20 }),
      fc.constantFrom<Redundancy>('raid0', 'raid1', 'raid5'),
      fc.nat(),
      (frees, domains, raid, pick) => {
        const all = pool(frees, domains)
        const members = placeStore(raid, all)
        if (!members) return
        expect(members).toHaveLength(memberCount(raid))
        const from = members[pick % members.length]!
        const candidates = all
          .filter(({ disk }) => disk !== from)
          .map(candidate => ({ ...candidate, free: candidate.free - members.filter(disk => disk === candidate.disk).length }))
        const others: (Candidate | undefined)[] = members.map(disk => (disk === from ? undefined : all[disk]))
        for (const [member, disk] of members.entries()) {
          if (disk !== from) continue
          const taken = others.filter((other, m) => other !== undefined && apart(raid, m, member)).map(other => domainOf(other!))
          const allowed = candidates.filter(candidate => candidate.free > 0 && !taken.includes(domainOf(candidate)))
          const chosen = placeMember(raid, member, others, candidates)
          expect(chosen === undefined).toBe(allowed.length === 0)
          if (chosen === undefined) return
          expect(allowed.map(candidate => candidate.disk)).toContain(chosen)
          const inSet = (set: number): number => others.filter(other => other?.set === set).length
          const most = Math.max(...allowed.map(({ set }) => inSet(set)))
          expect(inSet(all[chosen]!.set)).toBe(most)
          others[member] = all[chosen]
          candidates.find(candidate => candidate.disk === chosen)!.free--
        }
      },
    ),
    { numRuns: 300 },
  )
})

test('the copy of a pair goes to the pair; columns go where the store lies least, then to the emptiest disk', () => {
  const six = pool([10, 20, 30, 40, 50, 60], ['', '', '', '', '', ''])
  const at = (disk: number): Candidate => six[disk]!
  const mate = six.find(({ index }) => index === (at(2).index ^ 1))!.disk
  const pairs = [at(2), undefined, undefined, undefined, undefined, undefined, undefined, undefined]
  expect(placeMember('raid1', 4, pairs, six)).toBe(mate)
  expect(placeMember('raid0', 0, [undefined, at(5), at(4), at(5)], six)).toBe(3)
  expect(
    placeMember(
      'raid0',
      0,
      [undefined, at(5), at(4), at(5)],
      six.filter(({ disk }) => disk > 3),
    ),
  ).toBe(4)
})
