import { expect, test } from 'vitest'
import { Batch } from '../../src/metadata/batch.ts'
import { dropEras, NO_ERAS } from '../../src/metadata/eras.ts'
import type { Key } from '../../src/metadata/key.ts'
import { eraIndex } from '../../src/metadata/records.ts'
import type { Entry } from '../../src/metadata/tree.ts'

const HI = 7

/** Maps whose records are (era, page). @param before runs when a range is asked for, as changes by others do */
function mapsOf(records: Set<number>, before: () => void = () => undefined) {
  return {
    async *range(hi: number, from = 0, to = Number.MAX_SAFE_INTEGER): AsyncGenerator<Entry> {
      before()
      await Promise.resolve()
      for (const lo of [...records].sort((a, b) => a - b)) if (hi === HI && lo >= from && lo <= to) yield { hi, lo, value: new Uint8Array(0) }
    },
  }
}

const eraOf = ({ lo }: Key): number => Math.floor(lo / eraIndex(1, 0))
const dropped = async (...args: [ReturnType<typeof mapsOf>, Parameters<typeof dropEras>[2], number]): Promise<number[]> => {
  const batch = new Batch()
  const count = await dropEras(args[0], HI, args[1], args[2], batch)
  expect(batch.ops).toHaveLength(count)
  return batch.ops.map(eraOf)
}
const records = (): Set<number> => new Set([1, 2, 3, 4].flatMap(era => [eraIndex(era, 0), eraIndex(era, 9)]))

test('what is in use stays, as far as it goes in one step', async () => {
  expect(await dropped(mapsOf(records()), { inUse: new Set([2, 4]), next: 5 }, 100)).toEqual([1, 1, 3, 3])
  expect(await dropped(mapsOf(records()), { inUse: new Set([2, 4]), next: 5 }, 3)).toEqual([1, 1, 3])
  expect(await dropped(mapsOf(records()), NO_ERAS, 100)).toEqual([1, 1, 2, 2, 3, 3, 4, 4])
})

test('a map that is begun meanwhile is not taken for an old one', async () => {
  const all = records()
  let asked = 0
  const maps = mapsOf(all, () => {
    if (++asked === 3) all.add(eraIndex(5, 0)).add(eraIndex(6, 1))
  })
  expect(await dropped(maps, { inUse: new Set([4]), next: 5 }, 100)).toEqual([1, 1, 2, 2, 3, 3])
  expect(asked).toBeGreaterThan(3)
})
