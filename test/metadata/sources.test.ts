/** Which disk the state that won is read from. */
import { expect, test } from 'vitest'
import type { State } from '../../src/metadata/quorum.ts'
import type { MetadataDisk } from '../../src/metadata/quorum-disk.ts'
import type { Root } from '../../src/metadata/root.ts'
import { findSources, readSource } from '../../src/metadata/sources.ts'

const winner: State = { epoch: 'E', epochNumber: 2, sequence: 20, members: ['a', 'b', 'c'] }

/** Roots in short, newest first: `E15#4` is root number 4, at sequence 15 of epoch E. */
const roots = (short: string): Root[] =>
  short.split(' ').flatMap(one => {
    const [, epoch, sequence, number] = /^([A-Z])(\d+)#(\d+)$/.exec(one) ?? []
    return epoch === undefined ? [] : [{ epoch, sequence: Number(sequence), number: Number(number) } as Root]
  })
const disk = (id: string, short: string) => ({ member: { id } as MetadataDisk, roots: roots(short) })
const shown = (sources: ReturnType<typeof findSources>): string =>
  sources.map(({ member, root }) => `${member.id} ${root.epoch}${root.sequence}#${root.number}`).join(', ')

test.each([
  { name: 'all are current', disks: [disk('a', 'E15#4'), disk('b', 'E15#4')], current: 'ab', stale: '', want: 'a E15#4, b E15#4' },
  {
    name: 'a second root of the same state is on one',
    disks: [disk('a', 'E15#4'), disk('b', 'E20#5 E15#4')],
    current: 'ab',
    stale: '',
    want: 'b E20#5, a E15#4',
  },
  { name: 'one that stayed behind has the newest root', disks: [disk('a', 'E18#7'), disk('b', 'E15#6')], current: 'b', stale: 'a', want: 'b E15#6, a E18#7' },
  // A crash cut off the first root of a smaller membership: nobody is current, a has gone on, b and c have what was before.
  {
    name: 'nobody is current',
    disks: [disk('c', 'E18#7'), disk('a', 'F21#8 E15#6'), disk('b', 'E18#7')],
    current: '',
    stale: 'bc',
    want: 'a E15#6, c E18#7, b E18#7',
  },
  {
    name: 'roots beyond the state and of other epochs do not count',
    disks: [disk('a', 'E21#9 F19#8 E12#3'), disk('b', 'F19#8')],
    current: '',
    stale: '',
    want: 'a E12#3',
  },
])('$name', ({ disks, current, stale, want }) => {
  expect(shown(findSources(disks, { winner, current: [...current], stale: [...stale] }))).toBe(want)
})

test('no disk with a root of it is damage', () => {
  expect(() => findSources([disk('a', 'F19#8'), disk('b', 'E21#9')], { winner, current: [], stale: [] })).toThrow(
    expect.objectContaining({ code: 'ERR_METADATA_DAMAGED' }),
  )
})

test.each([
  { name: 'the best one has all of it', tails: { a: 5, b: 5, c: 5 }, asked: 'a', taken: 'a' },
  { name: 'the journal of the best one ends too early', tails: { a: 3, b: 5, c: 5 }, asked: 'ab', taken: 'b' },
  { name: 'none has all of it', tails: { a: 3, b: 4, c: 2 }, asked: 'abc', taken: 'c' },
])('$name', async ({ tails, asked, taken }) => {
  const found = findSources([disk('a', 'E15#4'), disk('b', 'E15#3'), disk('c', 'E15#2')], { winner, current: [], stale: [] })
  const order: string[] = []
  const source = await readSource(found, winner.sequence, ({ member }) => {
    order.push(member.id)
    return Promise.resolve({ blocks: Array.from({ length: tails[member.id as keyof typeof tails] }, () => ({}) as never) })
  })
  expect([order.join(''), source.member.id]).toEqual([asked, taken])
})
