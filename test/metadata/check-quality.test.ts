import { expect, test } from 'vitest'
import { checkQuality } from '../../src/metadata/check-quality.ts'

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
