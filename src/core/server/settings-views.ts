/** The settings of LUNs and hosts, as they are shown. */
import { hostQualityKeys, lunQualityKeys, noQuality, qualityValue, type Quality } from '../block/qos/quality.ts'
import { LUN_RESERVED, type HostRecord, type LunRecord } from '../../metadata/records.ts'
import { cacheValue } from '../block/cache/size.ts'
import { policyOf } from '../snapshot/tree/policy.ts'
import type { Setting } from './api.ts'
import { qualityOf } from './qualities.ts'

export function lunSettings(record: LunRecord): Setting[] {
  const isReserved = (record.flags & LUN_RESERVED) !== 0
  return [
    { key: 'reserve', value: isReserved, from: isReserved ? 'lun' : 'default' },
    { key: 'on-full', value: policyOf(record.onFull), from: record.onFull === 0 ? 'default' : 'lun' },
    { key: 'cache', value: cacheValue(record.cacheBytes), from: record.cacheBytes === 0 ? 'default' : 'lun' },
    ...qualitySettings(qualityOf(record), lunQualityKeys, 'lun'),
  ]
}

export const hostSettings = (record: HostRecord): Setting[] => qualitySettings(qualityOf(record), hostQualityKeys, 'host')

const qualitySettings = (quality: Quality, keys: typeof lunQualityKeys, from: 'lun' | 'host'): Setting[] =>
  keys.map(key => {
    const value = qualityValue(quality, key)
    return { key, value, from: value === qualityValue(noQuality, key) ? 'default' : from }
  })
