/** The verbs that change settings of LUNs and hosts. */
import { LunarError } from '../base/errors.ts'
import { hostQualityKeys, lunQualityKeys, withSettings } from '../block/qos/quality.ts'
import { parseCacheSize } from '../block/cache/size.ts'
import { policyNumber } from '../snapshot/tree/policy.ts'
import type { Params, Result, Setting } from './api.ts'
import type { EngineParts } from './engine.ts'
import { qualityOf, qualityRecord } from './qualities.ts'
import { hostSettings, lunSettings } from './settings-views.ts'

const lunKeys: readonly string[] = ['on-full', 'cache', ...lunQualityKeys]

export const settingsChanges = {
  'lun.set': async ({ luns, qualities }: EngineParts, { lun: name, settings, dryRun }: Params<'lun.set'>): Promise<Result<'lun.set'>> => {
    const lun = luns.find(name)
    luns.checkOwn(lun, 'change')
    checkKeys(settings, lunKeys, 'LUN')
    const { 'on-full': onFull, cache } = settings
    const quality = withSettings(qualityOf(lun.record), settings, lunQualityKeys)
    const change = {
      ...qualityRecord(quality),
      onFull: onFull === undefined ? lun.record.onFull : policyNumber(onFull),
      cacheBytes: cache === undefined ? lun.record.cacheBytes : parseCacheSize(cache),
    }
    const changed = changedKeys(lunSettings(lun.record), lunSettings({ ...lun.record, ...change }))
    if (!dryRun && changed.length > 0) {
      await luns.set(lun, change, messageOf(settings, changed))
      qualities.lunChanged(lun)
    }
    return { settings: lunSettings(lun.record), changed }
  },

  'host.set': async ({ hosts, qualities }: EngineParts, { host: name, settings, dryRun }: Params<'host.set'>): Promise<Result<'host.set'>> => {
    checkKeys(settings, hostQualityKeys, 'host')
    let changed: string[] = []
    const host = await hosts.set(name, before => {
      const record = { ...before, ...qualityRecord(withSettings(qualityOf(before), settings, hostQualityKeys)) }
      changed = changedKeys(hostSettings(before), hostSettings(record))
      return dryRun || changed.length === 0 ? undefined : { record, message: messageOf(settings, changed) }
    })
    if (!dryRun && changed.length > 0) qualities.hostChanged(host)
    return { settings: hostSettings(host.record), changed }
  },
}

function checkKeys(settings: Readonly<Record<string, string>>, known: readonly string[], whose: string): void {
  for (const key of Object.keys(settings))
    if (!known.includes(key)) throw new LunarError('ERR_USAGE', `Cannot set "${key}"`, { why: `the settings of a ${whose} are ${known.join(', ')}` })
}

const changedKeys = (before: readonly Setting[], after: readonly Setting[]): string[] =>
  after.filter(({ value }, i) => value !== before[i]?.value).map(({ key }) => key)

const messageOf = (settings: Readonly<Record<string, string>>, changed: readonly string[]): string =>
  changed.map(key => `${key}=${settings[key] ?? ''}`).join(' ')
