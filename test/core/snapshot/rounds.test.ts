/** The rounds of first writes: what shares one, what waits for what, and who fails when something fails. */
import { beforeEach, describe, expect, test } from 'vitest'
import { deferred, type Deferred } from '../../../src/core/base/deferred.ts'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { Chunking, type ChunkRun } from '../../../src/core/snapshot/chunks.ts'
import { commitGroups, copyRuns, joinMarks, type Due, type Mark } from '../../../src/core/snapshot/marks.ts'
import { overwrites } from '../../../src/core/snapshot/overwrites.ts'
import type { Relationship } from '../../../src/core/snapshot/relationship.ts'
import { FirstWrite, Rounds, type RoundHost } from '../../../src/core/snapshot/rounds.ts'

const CHUNK = 32 * KIB
/** What rounds and marks need of one. */
const relationship = (bytes = CHUNK): Relationship => ({ chunks: new Chunking(bytes, 64 * MIB) }) as unknown as Relationship
const run = (from: number, to = from + 1): ChunkRun => ({ from, to })
const mark = (of: Relationship, ...migrated: ChunkRun[]): Mark => ({ relationship: of, migrated, delta: [...migrated], lost: [] })
const due = (...marks: Mark[]): Due => ({ marks, tree: undefined })
const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

describe('copies', () => {
  const [one, two] = [relationship(), relationship()]

  test('are read in order of address, neighbours as one', () => {
    const runs = copyRuns([due(mark(one, run(7))), due(mark(one, run(2))), due(mark(one, run(3, 5)))])
    expect(runs.map(({ from, to }) => [from / CHUNK, to / CHUNK])).toEqual([
      [2, 5],
      [7, 8],
    ])
    expect(runs[0]!.copies).toEqual([{ copier: one, runs: [run(2, 5)] }])
  })

  test('are read once for several images, each of which gets what it lacks', () => {
    const [first] = copyRuns([due(mark(one, run(2, 4)), mark(two, run(3))), due(mark(two, run(4)))])
    expect(first).toEqual({
      from: 2 * CHUNK,
      to: 5 * CHUNK,
      copies: [
        { copier: one, runs: [run(2, 4)] },
        { copier: two, runs: [run(3, 5)] },
      ],
    })
  })

  test('are not joined beyond a bound', () => {
    const runs = copyRuns(Array.from({ length: 40 }, (_, i) => due(mark(one, run(i)))))
    expect(runs.map(({ from, to }) => to - from)).toEqual([MIB, 8 * CHUNK])
  })

  test('a write that only marks copies nothing', () => {
    expect(copyRuns([due({ relationship: one, migrated: [], delta: [run(1)], lost: [] })])).toEqual([])
  })
})

describe('marks', () => {
  const one = relationship()

  test('of one relationship are joined', () => {
    expect(joinMarks([[mark(one, run(1))], [mark(one, run(2))], [mark(one, run(9))]])).toEqual([
      { relationship: one, migrated: [run(1, 3), run(9)], delta: [run(1, 3), run(9)], lost: [] },
    ])
  })

  test('are cut into groups that fit, none left out, and a large one has its own', () => {
    const writes = [...Array.from({ length: 10 }, (_, i) => [mark(one, run(i))]), [mark(one, run(100, 5000))], [mark(one, run(6000))]]
    const groups = commitGroups(writes, 4 * 2 * 64)
    expect(groups.flat()).toEqual(writes)
    expect(groups.map(group => group.length)).toEqual([4, 4, 2, 1, 1])
  })
})

describe('overwrites', () => {
  const write = (offset: number, length: number, value: number) => ({ offset, data: new Uint8Array(length).fill(value) })

  test('neighbours are one, others are not', () => {
    const writes = [write(8, 4, 3), write(0, 4, 1), write(4, 4, 2), write(16, 4, 4)]
    const all = overwrites(writes)
    expect(all.map(({ offset, data }) => [offset, [...data]])).toEqual([
      [0, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]],
      [16, [4, 4, 4, 4]],
    ])
    expect(all[0]!.writes).toEqual([writes[0], writes[1], writes[2]])
  })

  test('of two that overlap the later one counts, wherever they begin', () => {
    expect([...overwrites([write(2, 4, 1), write(0, 4, 2)])[0]!.data]).toEqual([2, 2, 2, 2, 1, 1])
    expect([...overwrites([write(0, 4, 2), write(2, 4, 1)])[0]!.data]).toEqual([2, 2, 1, 1, 1, 1])
    expect([...overwrites([write(0, 8, 1), write(2, 2, 2), write(3, 2, 3)])[0]!.data]).toEqual([1, 1, 2, 3, 3, 1, 1, 1])
  })

  test('are joined up to a bound, unless they overlap', () => {
    const apart = overwrites([write(0, 200 * KIB, 1), write(200 * KIB, 100 * KIB, 2)])
    expect(apart.map(({ data }) => data.length)).toEqual([200 * KIB, 100 * KIB])
    expect(overwrites([write(0, 200 * KIB, 1), write(199 * KIB, 100 * KIB, 2)])).toHaveLength(1)
  })
})

describe('rounds', () => {
  const one = relationship()
  let prepared: { writes: readonly Due[]; copied: () => void; done: Deferred<void> }[]
  let log: string[]
  let badOffset: number | undefined
  let quickOffset: number | undefined
  let lingering: Deferred<void> | undefined
  let rounds: Rounds

  const host: RoundHost = {
    prepare: (writes, copied) => {
      const done = deferred()
      prepared.push({ writes, copied, done })
      return done.promise
    },
    linger: () => lingering?.promise ?? Promise.resolve(),
    putNow: (offset, data) => {
      if (offset !== quickOffset) return false
      log.push(`at once ${offset / CHUNK} ${data[0]}`)
      return true
    },
    put: (offset, data) => {
      log.push(`put ${offset / CHUNK} ${data[0]}`)
      return offset === badOffset || (offset < badOffset! && offset + data.length > badOffset!) ? Promise.reject(new Error('bad')) : Promise.resolve()
    },
    alone: async write => {
      log.push(`alone ${write.offset / CHUNK}`)
      await host.put(write.offset, write.data)
    },
  }

  beforeEach(() => {
    prepared = []
    log = []
    badOffset = undefined
    quickOffset = undefined
    lingering = undefined
    rounds = new Rounds(host)
  })

  /** A first write of a block of a chunk, or of `length` bytes. */
  function first(chunk: number, length = 512, value = chunk): FirstWrite {
    const marks = due(mark(one, one.chunks.touched(chunk * CHUNK, length)))
    const write = new FirstWrite(chunk * CHUNK, new Uint8Array(length).fill(value), marks, CHUNK, [one], () => log.push(`unlock ${chunk}`))
    write.whenEnded(failure => log.push(failure ? `failed ${chunk}` : `ended ${chunk}`))
    rounds.add(write)
    return write
  }

  test('those of one turn share a round, those that come while it is under way the next', async () => {
    first(5)
    first(1)
    await settle()
    first(9)
    first(7)
    await settle()
    expect(prepared).toHaveLength(1)
    expect(prepared[0]!.writes.map(({ marks }) => marks[0]!.migrated[0]!.from)).toEqual([1, 5])
    prepared[0]!.copied()
    prepared[0]!.done.resolve()
    await settle()
    expect(prepared).toHaveLength(2)
    expect(prepared[1]!.writes.map(({ marks }) => marks[0]!.migrated[0]!.from)).toEqual([7, 9])
  })

  test('what nobody waits for waits for others, until somebody does', async () => {
    lingering = deferred()
    first(1)
    await settle()
    first(2)
    await settle()
    expect(prepared).toHaveLength(0)
    rounds.hurry()
    await settle()
    expect(prepared).toHaveLength(1)
    prepared[0]!.copied()
    prepared[0]!.done.resolve()
    await settle()
    first(3)
    await settle()
    expect(prepared).toHaveLength(1)
    lingering.resolve()
    await settle()
    expect(prepared).toHaveLength(2)
    expect(prepared.map(({ writes }) => writes.length)).toEqual([2, 1])
  })

  test('what can be written at once is, and the rest follows', async () => {
    quickOffset = 3 * CHUNK
    first(1)
    first(3)
    await settle()
    prepared[0]!.copied()
    prepared[0]!.done.resolve()
    await settle()
    expect(log).toEqual(['at once 3 3', 'ended 3', 'put 1 1', 'ended 1', 'unlock 1', 'unlock 3'])
  })

  test('nothing goes down before its round is durable, and locks end after it', async () => {
    first(1)
    await settle()
    prepared[0]!.copied()
    await settle()
    expect(log).toEqual([])
    prepared[0]!.done.resolve()
    await settle()
    expect(log).toEqual(['put 1 1', 'ended 1', 'unlock 1'])
  })

  test('a full round begins beside the one that has copied, a third one does not', async () => {
    const chunks = (from: number): void => {
      for (let chunk = from; chunk < from + 1024; chunk++) first(chunk)
    }
    first(0)
    await settle()
    chunks(1)
    chunks(1025)
    chunks(2049)
    await settle()
    expect(prepared).toHaveLength(1)
    prepared[0]!.copied()
    await settle()
    expect(prepared).toHaveLength(2)
    prepared[1]!.copied()
    await settle()
    expect(prepared).toHaveLength(2)
    prepared[0]!.done.resolve()
    await settle()
    expect(prepared).toHaveLength(3)
    const taken = prepared.flatMap(({ writes }) => writes.map(({ marks }) => marks[0]!.migrated[0]!.from))
    expect(new Set(taken).size).toBe(taken.length)
  })

  test('a write to chunks that a round has locked joins it, and the later bytes count', async () => {
    first(1, 512, 10)
    await settle()
    const round = rounds.covering([one], CHUNK, 512)!
    const second = new FirstWrite(CHUNK, new Uint8Array(512).fill(20), due(), 0, [], undefined)
    second.whenEnded(() => log.push('ended second'))
    rounds.join(second, round)
    expect(rounds.covering([one], 0, 2 * CHUNK)).toBeUndefined()
    expect(rounds.covering([one, relationship()], CHUNK, 512)).toBeUndefined()
    prepared[0]!.done.resolve()
    await settle()
    expect(prepared[0]!.writes).toHaveLength(1)
    expect(log).toEqual(['put 1 20', 'ended 1', 'ended second', 'unlock 1'])
    expect(rounds.covering([one], CHUNK, 512)).toBeUndefined()
  })

  test('a round that overwrites takes nobody any more', async () => {
    const written = deferred()
    rounds = new Rounds({ ...host, put: () => written.promise })
    first(1)
    await settle()
    prepared[0]!.done.resolve()
    await settle()
    expect(rounds.covering([one], CHUNK, 512)).toBeUndefined()
    written.resolve()
  })

  test('what fails to become durable is done write by write, in order, and each has its own end', async () => {
    first(5)
    first(1)
    await settle()
    badOffset = 5 * CHUNK
    prepared[0]!.done.reject(new Error('one of them'))
    await settle()
    expect(log).toEqual(['alone 5', 'put 5 5', 'failed 5', 'alone 1', 'put 1 1', 'ended 1', 'unlock 5', 'unlock 1'])
    first(2)
    await settle()
    expect(prepared).toHaveLength(2)
  })

  test('an overwrite that fails fails for those alone whose bytes it was', async () => {
    first(1, CHUNK)
    first(2, CHUNK)
    await settle()
    badOffset = 2 * CHUNK
    prepared[0]!.done.resolve()
    await settle()
    expect(log.filter(line => !line.startsWith('put'))).toEqual(['ended 1', 'failed 2', 'unlock 1', 'unlock 2'])
  })
})
