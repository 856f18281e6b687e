import { expect, test } from 'vitest'
import { MIB } from '../../../src/core/base/units.ts'
import { diskColumns } from '../../../src/core/cli/views/disk.ts'
import { poolView, statusView } from '../../../src/core/cli/views/pool.ts'
import type { RedundancySet } from '../../../src/core/server/api.ts'
import { disk, pool, status } from './objects.ts'

const set = (number: number, disks: number): RedundancySet => ({
  ldad: 'default',
  set: number,
  disks: Array.from({ length: disks }, (_, index) => ({ disk: number * 8 + index, index, state: 'normal' })),
  size: 1024 * MIB,
  free: 512 * MIB,
})

const sets = (list: RedundancySet[]): readonly (readonly string[])[] => {
  const section = poolView(pool({ sets: list }))
    .sections!.map(make => make(false))
    .find(({ title }) => title === 'redundancy sets')!
  return section.rows
}

test('pool show draws each set in a line, pairs together, a lone disk alone', () => {
  const lone = { ...set(0, 8), disks: set(0, 8).disks.filter(({ index }) => index !== 3) }
  expect(sets([lone])).toEqual([['default', '0', '1 GiB', '512 MiB', '0+1  2  4+5  6+7', '-']])
})

test('the sets of 64 disks fit a screen', () => {
  const rows = sets(Array.from({ length: 8 }, (_, number) => set(number, 8)))
  expect(rows).toHaveLength(8)
  for (const row of rows) expect(row.join('  ').length).toBeLessThan(78)
})

test('a disk of a set that is not normal is named with its state', () => {
  const failing = set(0, 6)
  expect(sets([{ ...failing, disks: failing.disks.map(one => ({ ...one, state: one.disk === 3 ? 'missing' : 'normal' })) }])[0]!.at(-1)).toBe('3 missing')
})

test('stores astride two sets are told where there are some', () => {
  const keys = (details: readonly { key: string; value: unknown }[]): unknown => details.find(({ key }) => key === 'stores astride sets')?.value
  expect(keys(poolView(pool({ astride: 12 })).details)).toBe(12)
  expect(keys(statusView(status({ astride: 12 })).details)).toBe(12)
  expect(keys(poolView(pool()).details)).toBeUndefined()
  expect(keys(statusView(status()).details)).toBeUndefined()
})

test('disk list names set and index, and none for a witness', () => {
  const cell = (key: string, row: ReturnType<typeof disk>): unknown => diskColumns.find(column => column.key === key)!.get(row)
  expect([cell('set', disk(3)), cell('index', disk(3))]).toEqual([0, 3])
  expect(cell('set', disk(3, { witness: true, redundancySet: null, redundancyIndex: null }))).toBeNull()
})
