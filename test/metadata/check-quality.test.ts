import { expect, test } from 'vitest'
import { GIB, MIB } from '../../src/core/base/units.ts'
import { parseCacheSize } from '../../src/core/block/cache/size.ts'
import { checkCaches, checkQuality } from '../../src/metadata/check-quality.ts'
import { LUN_STORE } from '../../src/metadata/records.ts'

const none = { iops: 0, iopsBurst: 0, bps: 0, bpsBurst: 0, minIops: 0, priority: 0 }

test.each([
  { record: none, lun: [], host: [] },
  { record: { ...none, iops: 10, iopsBurst: 20, bps: 5, bpsBurst: 1 }, lun: [], host: [] },
  { record: { ...none, iops: 10, minIops: 10, priority: 2 }, lun: [], host: ['quality.host'] },
  { record: { ...none, iopsBurst: 1 }, lun: ['quality.burst'], host: ['quality.burst'] },
  { record: { ...none, iops: 10, minIops: 11 }, lun: ['quality.minimum'], host: ['quality.minimum', 'quality.host'] },
  { record: { ...none, priority: 3 }, lun: ['quality.priority'], host: ['quality.priority', 'quality.host'] },
])('$record', ({ record, lun, host }) => {
  const found: string[] = []
  checkQuality(new Map([[1, record]]), new Map(), code => found.push(code))
  expect(found).toEqual(lun)
  found.length = 0
  checkQuality(new Map(), new Map([[1, record]]), code => found.push(code))
  expect(found).toEqual(host)
})

test('a cache of a size that is not taken, and one of a LUN that hosts do not use', () => {
  const found: string[] = []
  const check = (cacheBytes: number, flags = 0): string[] => {
    found.length = 0
    checkCaches(new Map([[1, { cacheBytes, flags }]]), code => found.push(code))
    return [...found]
  }
  for (const text of ['off', '1MiB', '64M', '4GiB']) expect(check(parseCacheSize(text))).toEqual([])
  for (const bytes of [MIB - 512, 1, 4 * GIB + MIB]) {
    expect(() => parseCacheSize(String(bytes))).toThrow('Cannot set "cache"')
    expect(check(bytes)).toEqual(['cache.size'])
  }
  expect(check(MIB, LUN_STORE)).toEqual(['cache.owner'])
})
