import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { COLUMNS, columnParts, PARITY_MEMBER, ROW, STORE, UNIT } from '../../../src/core/raid/geometry.ts'
import { byteOfStore, planRows, type RowSegment } from '../../../src/core/raid/parity.ts'
import { xorOf } from '../../../src/core/raid/xor.ts'

const KIB = 1024
const ROWS = 3
const MEMBERS = COLUMNS + 1

/** Five members, and the bytes the store should have. */
class Members {
  readonly members = Array.from({ length: MEMBERS }, () => Buffer.alloc(ROWS * UNIT))
  readonly store = Buffer.alloc(ROWS * ROW)

  constructor(private readonly random: Random) {
    this.scramble(this.store)
    for (let column = 0; column < COLUMNS; column++) this.model(column).copy(this.members[column]!)
    xorOf(this.members[PARITY_MEMBER]!, this.members.slice(0, COLUMNS))
  }

  scramble(bytes: Buffer): void {
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(this.random.u32(), i)
  }

  /** What a member should hold. */
  model(member: number): Buffer {
    if (member === PARITY_MEMBER) {
      const parity = Buffer.alloc(ROWS * UNIT)
      xorOf(
        parity,
        Array.from({ length: COLUMNS }, (_, column) => this.model(column)),
      )
      return parity
    }
    return Buffer.concat(Array.from({ length: ROWS }, (_, row) => this.store.subarray(row * ROW + member * UNIT, row * ROW + (member + 1) * UNIT)))
  }

  /** A write as a data path does it that knows nothing but the plan. */
  write(at: number, data: Buffer, unavailable: number | undefined): void {
    for (const plan of planRows(at, data.length, unavailable)) {
      for (const segment of plan.segments) {
        const read = new Map(segment.reads.map(member => [member, Buffer.from(this.range(member, segment))]))
        const fresh = segment.touched.map(column => newBytes(segment, column, at, data))
        segment.touched.forEach((column, i) => {
          if (column !== unavailable) fresh[i]!.copy(this.range(column, segment))
        })
        if (segment.way !== 'none') xorOf(this.range(PARITY_MEMBER, segment), [...fresh, ...read.values()])
      }
    }
    data.copy(this.store, at)
  }

  private range(member: number, { at, length }: RowSegment): Buffer {
    return this.members[member]!.subarray(at, at + length)
  }
}

/** What a write gives a column in a segment, unit by unit. */
function newBytes({ at, length }: RowSegment, column: number, writeAt: number, data: Buffer): Buffer {
  const pieces: Buffer[] = []
  for (let from = at; from < at + length;) {
    const to = Math.min(at + length, (Math.floor(from / UNIT) + 1) * UNIT)
    const place = byteOfStore(column, from) - writeAt
    pieces.push(data.subarray(place, place + to - from))
    from = to
  }
  return Buffer.concat(pieces)
}

const range = fc
  .tuple(fc.nat((ROWS * ROW) / 512 - 1), fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: (ROWS * ROW) / 512 })))
  .map(([sector, count]) => ({ at: sector * 512, length: Math.min(count * 512, ROWS * ROW - sector * 512) }))

describe('writes by plan', () => {
  test('hold every member, whichever is away, and what is away can be read from the others', () => {
    fc.assert(
      fc.property(
        fc.option(fc.nat(MEMBERS - 1), { nil: undefined }),
        fc.array(range, { minLength: 1, maxLength: 5 }),
        fc.nat(),
        (unavailable, writes, seed) => {
          const random = new Random(seed)
          const state = new Members(random)
          if (unavailable !== undefined) state.scramble(state.members[unavailable]!)
          const away = unavailable === undefined ? undefined : Buffer.from(state.members[unavailable]!)
          for (const { at, length } of writes) {
            const data = Buffer.alloc(length)
            state.scramble(data)
            state.write(at, data, unavailable)
          }
          for (let member = 0; member < MEMBERS; member++) {
            const wanted = member === unavailable ? away! : state.model(member)
            expect(wanted.equals(state.members[member]!), `member ${member}`).toBe(true)
          }
          if (unavailable === undefined) return
          const made = Buffer.alloc(ROWS * UNIT)
          xorOf(
            made,
            state.members.filter((_, member) => member !== unavailable),
          )
          if (unavailable !== PARITY_MEMBER) expect(made.equals(state.model(unavailable))).toBe(true)
        },
      ),
    )
  })
})

describe('plans', () => {
  test('cover exactly the bytes that are written, in at most three segments a row', () => {
    fc.assert(
      fc.property(fc.nat(STORE / 512 - 1), fc.integer({ min: 1, max: 3000 }), (sector, count) => {
        const at = sector * 512
        const length = Math.min(count * 512, STORE - at)
        const plans = planRows(at, length, undefined)
        let end = at
        const touched = new Array<number>(COLUMNS).fill(0)
        for (const plan of plans) {
          expect(plan.at).toBe(end)
          end += plan.length
          expect(plan.segments.length).toBeLessThanOrEqual(plan.whole ? 1 : 3)
          expect(plan.whole).toBe(plan.at % ROW === 0 && plan.length % ROW === 0)
          let last = Math.floor(plan.at / ROW) * UNIT
          for (const segment of plan.segments) {
            expect(segment.at).toBeGreaterThanOrEqual(last)
            last = segment.at + segment.length
            for (const column of segment.touched) touched[column]! += segment.length
          }
          expect(last).toBeLessThanOrEqual(Math.ceil((plan.at + plan.length) / ROW) * UNIT)
        }
        expect(end).toBe(at + length)
        const wanted = new Array<number>(COLUMNS).fill(0)
        for (const part of columnParts(at, length)) wanted[part.column] = part.length
        expect(touched).toEqual(wanted)
        // A first part of a row, whole rows, a last part.
        expect(plans.length).toBeLessThanOrEqual(3)
        expect(plans.filter(plan => plan.whole).length).toBeLessThanOrEqual(1)
      }),
    )
  })

  test.each([
    ['a part of one unit', 2 * UNIT + 4 * KIB, 4 * KIB, undefined, [[4 * KIB, 4 * KIB, [2], 'modify', [2, 4]]]],
    ['the same, its column away', 2 * UNIT + 4 * KIB, 4 * KIB, 2, [[4 * KIB, 4 * KIB, [2], 'reconstruct', [0, 1, 3]]]],
    ['the same, another column away', 2 * UNIT + 4 * KIB, 4 * KIB, 0, [[4 * KIB, 4 * KIB, [2], 'modify', [2, 4]]]],
    ['the same, the parity away', 2 * UNIT + 4 * KIB, 4 * KIB, 4, [[4 * KIB, 4 * KIB, [2], 'none', []]]],
    ['two units', UNIT, 2 * UNIT, undefined, [[0, UNIT, [1, 2], 'reconstruct', [0, 3]]]],
    ['two units, a third away', UNIT, 2 * UNIT, 3, [[0, UNIT, [1, 2], 'modify', [1, 2, 4]]]],
    ['three units', ROW + UNIT, 3 * UNIT, undefined, [[UNIT, UNIT, [1, 2, 3], 'reconstruct', [0]]]],
    ['a row', ROW, ROW, undefined, [[UNIT, UNIT, [0, 1, 2, 3], 'full', []]]],
    ['a row, a column away', ROW, ROW, 1, [[UNIT, UNIT, [0, 1, 2, 3], 'full', []]]],
    ['rows, the parity away', 0, 2 * ROW, 4, [[0, 2 * UNIT, [0, 1, 2, 3], 'none', []]]],
    [
      'the end of a unit and the beginning of the next',
      UNIT - 1 * KIB,
      2 * KIB,
      undefined,
      [
        [0, KIB, [1], 'modify', [1, 4]],
        [UNIT - KIB, KIB, [0], 'modify', [0, 4]],
      ],
    ],
    [
      'all but the first and last sector of a row',
      512,
      ROW - KIB,
      undefined,
      [
        [0, 512, [1, 2, 3], 'reconstruct', [0]],
        [512, UNIT - KIB, [0, 1, 2, 3], 'full', []],
        [UNIT - 512, 512, [0, 1, 2], 'reconstruct', [3]],
      ],
    ],
  ])('%s', (_, at, length, unavailable, wanted) => {
    const segments = planRows(at, length, unavailable).flatMap(plan => plan.segments)
    expect(segments).toEqual(wanted.map(([start, count, touched, way, reads]) => ({ at: start, length: count, touched, way, reads })))
  })

  test('nothing unavailable is read', () => {
    fc.assert(
      fc.property(range, fc.nat(MEMBERS - 1), ({ at, length }, unavailable) => {
        for (const { reads } of planRows(at, length, unavailable).flatMap(plan => plan.segments)) expect(reads).not.toContain(unavailable)
      }),
    )
  })
})
