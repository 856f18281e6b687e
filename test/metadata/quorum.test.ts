import { describe, expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { decideAgreed, decideQuorum, type DecideOptions, type QuorumCopy, type State } from '../../src/metadata/quorum.ts'

/**
 * Copies in short: `o(n, members)` is sequence n of the only epoch; `f(n)` is the same number of a fork that left the
 * line at `from`; `x` cannot be read. Disks are a, b, c, … in order.
 */
const letters = ['a', 'b', 'c', 'd', 'e']
type Short = ((disk: string, all: readonly string[]) => QuorumCopy) | null
const x: Short = null
const o =
  (sequence: number, members?: string): Short =>
  (disk, all) => {
    const head: State = { epoch: 'E', epochNumber: 1, sequence, members: members?.split('') ?? all }
    return { disk, head, line: [head] }
  }
const f =
  (sequence: number, from: number, epoch = 'F', members?: string, fromMembers?: string): Short =>
  (disk, all) => {
    const head: State = { epoch, epochNumber: 2, sequence, members: members?.split('') ?? all }
    return { disk, head, line: [head, { epoch: 'E', epochNumber: 1, sequence: from, members: fromMembers?.split('') ?? all }] }
  }

function outcome(copies: readonly Short[], options?: DecideOptions): string {
  const all = letters.slice(0, copies.length)
  const readable = copies.flatMap((copy, i) => (copy ? [copy(letters[i]!, all)] : []))
  try {
    const { winner, current, stale, leftover } = decideQuorum(readable, options)
    return `${winner.epoch}${winner.sequence} current ${current.join('')} stale ${stale.join('')} leftover ${leftover.join('')}`
      .replaceAll(/ (?:stale|leftover) (?= |$)/g, '')
      .trim()
  } catch (error) {
    if (error instanceof LunarError) return error.code
    throw error
  }
}

describe('which copies open a pool', () => {
  test.each<{ name: string; copies: Short[]; want: string; options?: DecideOptions }>([
    { name: 'all equal', copies: [o(4), o(4), o(4)], want: 'E4 current abc' },
    { name: 'one away', copies: [o(4), o(4), x], want: 'E4 current ab' },
    { name: 'crash after the first of three writes: never acknowledged', copies: [o(4), o(3), o(3)], want: 'E3 current bc leftover a' },
    { name: 'crash after the second', copies: [o(4), o(4), o(3)], want: 'E4 current ab stale c' },
    { name: 'one of three is left', copies: [o(4), x, x], want: 'ERR_QUORUM_LOST' },
    { name: 'crash after the first write, then another disk is away', copies: [o(4), o(3), x], want: 'E3 current b leftover a' },
    { name: 'stale by a hundred (F02)', copies: [o(104), o(4), o(104)], want: 'E104 current ac stale b' },
    { name: 'two disks, both there', copies: [o(4), o(4)], want: 'E4 current ab' },
    { name: 'two disks, crash between the writes', copies: [o(4), o(3)], want: 'E3 current b leftover a' },
    { name: 'two disks, exactly half', copies: [o(4), x], want: 'ERR_QUORUM_LOST' },
    { name: 'two disks, the other was voted out', copies: [o(5, 'a'), x], want: 'E5 current a' },
    { name: 'a disk voted out yesterday does not open alone today', copies: [x, o(4)], want: 'ERR_QUORUM_LOST' },
    { name: 'it comes back beside the one that went on', copies: [o(5, 'a'), o(4)], want: 'E5 current a stale b' },
    { name: 'c was voted out; b and c are left: a may hold more', copies: [x, o(5, 'ab'), o(4)], want: 'ERR_QUORUM_LOST' },
    { name: 'a vote that only reached a', copies: [o(5, 'ab'), o(4), o(4)], want: 'E4 current bc leftover a' },
    { name: 'one disk', copies: [o(4)], want: 'E4 current a' },
    { name: 'leftover of a crashed writer beside the next epoch', copies: [o(4), f(4, 3), f(4, 3)], want: 'F4 current bc leftover a' },
    { name: 'the next epoch reached one disk only', copies: [o(4), f(4, 3), o(3)], want: 'E3 current c leftover ab' },
    { name: 'two crashes and a disk away', copies: [o(4), f(4, 3), x], want: 'E3 current  leftover ab' },
    { name: 'split brain: each half was forced and written', copies: [f(9, 3, 'F', 'a'), f(9, 3, 'G', 'b')], want: 'ERR_SPLIT_BRAIN' },
    { name: 'split brain of pairs', copies: [f(9, 3, 'F', 'ab'), f(9, 3, 'F', 'ab'), f(7, 3, 'G', 'cd'), f(7, 3, 'G', 'cd')], want: 'ERR_SPLIT_BRAIN' },
    { name: 'one side of it is chosen', copies: [f(9, 3, 'F', 'a'), f(7, 3, 'G', 'b')], options: { choose: 'b' }, want: 'G7 current b leftover a' },
    { name: 'one half was forced, the other only stayed behind', copies: [f(9, 3, 'F', 'a'), o(3)], want: 'F9 current a stale b' },
    { name: 'force: what is left', copies: [o(4), x, x], options: { force: true }, want: 'E4 current a' },
    { name: 'force does not heal a split brain', copies: [f(9, 3, 'F', 'a'), f(9, 3, 'G', 'b')], options: { force: true }, want: 'ERR_SPLIT_BRAIN' },
    { name: 'five disks, two away', copies: [o(4), o(4), o(4), x, x], want: 'E4 current abc' },
    { name: 'five disks, three away', copies: [o(4), o(4), x, x, x], want: 'ERR_QUORUM_LOST' },
    { name: 'nothing readable', copies: [x, x, x], want: 'ERR_QUORUM_LOST' },
  ])('$name', ({ copies, want, options }) => {
    expect(outcome(copies, options)).toBe(want)
    const all = letters.slice(0, copies.length)
    const readable = copies.flatMap((copy, i) => (copy ? [copy(letters[i]!, all)] : []))
    const agreed = decideAgreed(readable)
    if (agreed) expect(agreed).toEqual(decideQuorum(readable))
  })

  test('what only a disk that left remembers is an ancestor when it leads to what the others have', () => {
    const state = (epochNumber: number, sequence: number, members: string): State => ({
      epoch: `E${epochNumber}`,
      epochNumber,
      sequence,
      members: members.split(''),
    })
    // a and e were alone at first; b and c joined; a left; then e is away.
    const together = state(2, 20, 'aebc')
    const left: QuorumCopy = { disk: 'a', head: state(2, 25, 'aebc'), line: [state(1, 5, 'ae'), state(1, 10, 'ae'), together] }
    const others = ['b', 'c'].map(disk => ({ disk, head: state(3, 40, 'ebc'), line: [together, state(2, 30, 'ebc'), state(3, 31, 'ebc')] }))
    expect(decideQuorum([left, ...others])).toMatchObject({ current: ['b', 'c'], stale: ['a'], absent: ['e'] })
    // Without the way from the one to the others it could be newer than what they have.
    expect(() => decideQuorum([{ ...left, head: state(1, 10, 'ae'), line: [state(1, 5, 'ae')] }, ...others])).toThrow(LunarError)
  })

  test('copies agree when all members of the same newest state are there, and only then', () => {
    const agreed = (...copies: Short[]): boolean => {
      const all = letters.slice(0, copies.length)
      return decideAgreed(copies.flatMap((copy, i) => (copy ? [copy(letters[i]!, all)] : []))) !== undefined
    }
    expect([agreed(o(4), o(4), o(4)), agreed(o(5, 'a'), x), agreed(f(4, 3), f(4, 3))]).toEqual([true, true, true])
    expect([agreed(o(4), o(4), x), agreed(o(4), o(3)), agreed(o(4), f(4, 3)), agreed(o(5, 'ab'), o(5), o(5)), agreed(x, x)]).toEqual(Array(5).fill(false))
  })
})

/**
 * Every history of a three-disk pool up to a depth: commits that reach any subset of the quorum before a crash, votes, opening with
 * any subset of the disks. What was acknowledged must be in the state that opens, or the open is refused.
 */
test('no order of commits, crashes, votes and openings loses what was acknowledged', () => {
  interface DiskState {
    readonly head: State
    readonly line: readonly State[]
  }
  interface World {
    readonly disks: readonly DiskState[]
    /** Acknowledged commits, as epoch:sequence of the line at that time. */
    readonly acknowledged: { epoch: string; sequence: number } | null
    readonly epochs: number
    /** A lone survivor voted the majority out: only it knows, so its coming back after the others went on is a split brain. */
    readonly loneSurvivor: boolean
  }
  const names = ['a', 'b', 'c']
  const first: State = { epoch: 'E0', epochNumber: 0, sequence: 0, members: names }
  let explored = 0
  let refused = 0
  const subsets = (items: readonly number[]): number[][] => items.reduce<number[][]>((all, item) => [...all, ...all.map(set => [...set, item])], [[]])
  const advance = (disk: DiskState, head: State): DiskState => ({
    head,
    line: disk.head.epoch === head.epoch && disk.head.members.join() === head.members.join() ? disk.line : [...disk.line, disk.head, head],
  })

  const visit = (world: World, depth: number): void => {
    explored++
    if (depth === 0) return
    for (const present of subsets([0, 1, 2])) {
      if (present.length === 0) continue
      const copies: QuorumCopy[] = present.map(i => ({ disk: names[i]!, head: world.disks[i]!.head, line: world.disks[i]!.line }))
      let decision
      try {
        decision = decideQuorum(copies)
      } catch (error) {
        expect(error).toBeInstanceOf(LunarError)
        if (present.length === 3)
          expect((error as LunarError).code, 'with every disk there the pool opens, but for a split brain').toBe(world.loneSurvivor ? 'ERR_SPLIT_BRAIN' : '')
        refused++
        continue
      }
      const { winner } = decision
      if (world.acknowledged && !(world.loneSurvivor && present.length < 3)) {
        const holder =
          copies.find(copy => copy.head.epoch === winner.epoch && copy.head.sequence >= winner.sequence) ??
          copies.find(copy => copy.line.some(s => s.epoch === winner.epoch && s.sequence >= winner.sequence))!
        const before =
          winner.epoch === world.acknowledged.epoch
            ? winner.sequence
            : Math.max(-1, ...holder.line.filter(s => s.epoch === world.acknowledged!.epoch).map(s => s.sequence))
        expect(
          before,
          `acknowledged ${world.acknowledged.epoch}:${world.acknowledged.sequence}, opened ${winner.epoch}:${winner.sequence}`,
        ).toBeGreaterThanOrEqual(world.acknowledged.sequence)
      }
      // The new epoch reaches any subset of its members, then the writer crashes; or all, and it goes on.
      const members = winner.members.filter(name => present.some(i => names[i] === name))
      const memberIndexes = members.map(name => names.indexOf(name))
      const epoch = `E${world.epochs + 1}`
      const start: State = { epoch, epochNumber: winner.epochNumber + 1, sequence: winner.sequence, members }
      const base = (i: number): DiskState => ({
        head: start,
        line: [
          ...copies
            .find(copy => copy.disk === names[i])!
            .line.filter(s => s.epochNumber < winner.epochNumber || (s.epoch === winner.epoch && s.sequence <= winner.sequence)),
          winner,
          start,
        ],
      })
      for (const reached of subsets(memberIndexes)) {
        const opened = world.disks.map((disk, i) => (reached.includes(i) ? base(i) : disk))
        if (reached.length < memberIndexes.length) {
          visit({ disks: opened, acknowledged: world.acknowledged, epochs: world.epochs + 1, loneSurvivor: world.loneSurvivor }, depth - 1)
          continue
        }
        // One commit: it reaches a subset and crashes, or all and is acknowledged.
        const commit: State = { ...start, sequence: start.sequence + 1 }
        for (const written of subsets(memberIndexes)) {
          const disks = opened.map((disk, i) => (written.includes(i) ? advance(disk, commit) : disk))
          if (written.length === memberIndexes.length)
            visit({ disks, acknowledged: commit, epochs: world.epochs + 1, loneSurvivor: world.loneSurvivor }, depth - 1)
          else {
            visit({ disks, acknowledged: world.acknowledged, epochs: world.epochs + 1, loneSurvivor: world.loneSurvivor }, depth - 1)
            // Or the writer sees the others fail and votes them out, which is durable on the rest, and acknowledges.
            if (written.length === 0) continue
            const rest = written.map(i => names[i]!)
            const vote: State = { ...commit, sequence: commit.sequence + 1, members: rest }
            visit(
              {
                disks: disks.map((disk, i) => (written.includes(i) ? advance(disk, vote) : disk)),
                acknowledged: vote,
                epochs: world.epochs + 1,
                loneSurvivor: world.loneSurvivor || rest.length * 2 <= memberIndexes.length,
              },
              depth - 1,
            )
          }
        }
      }
    }
  }
  visit({ disks: names.map(() => ({ head: first, line: [first] })), acknowledged: null, epochs: 0, loneSurvivor: false }, 3)
  expect(explored).toBeGreaterThan(10_000)
  expect(refused).toBeGreaterThan(100)
})
