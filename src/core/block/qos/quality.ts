/** Quality of service as operators set it (features.md B13), and its words. */
import { LunarError } from '../../base/errors.ts'
import { formatSize, parseSize } from '../../base/units.ts'

/** In the order of their numbers on disk. */
export const priorities = ['normal', 'high', 'low'] as const
export type Priority = (typeof priorities)[number]

/** Limits of who uses volumes, and for a volume its place in the queue. 0 is none. */
export interface Quality {
  /** Operations a second, and at once after a pause; 0: a tenth of a second of them. */
  readonly iops: number
  readonly iopsBurst: number
  /** The same of bytes. */
  readonly bps: number
  readonly bpsBurst: number
  /** Operations a second that the volume has when the pool is saturated. */
  readonly minIops: number
  readonly priority: Priority
}

export const noQuality: Quality = { iops: 0, iopsBurst: 0, bps: 0, bpsBurst: 0, minIops: 0, priority: 'normal' }

/** Names of the settings, and where each is. */
const limitKeys = { iops: 'iops', 'iops-burst': 'iopsBurst', bps: 'bps', 'bps-burst': 'bpsBurst' } as const
const queueKeys = { 'min-iops': 'minIops', priority: 'priority' } as const
const allKeys = { ...limitKeys, ...queueKeys }
type QualityKey = keyof typeof allKeys

/** Settings of a host: it has no place in the queue of its own. */
export const hostQualityKeys = Object.keys(limitKeys) as QualityKey[]
/** Settings of a LUN. */
export const lunQualityKeys = Object.keys(allKeys) as QualityKey[]

const COUNT_MAX = 0xffff_ffff

/** What a setting is; `none` is what no limit is called. */
export const qualityValue = (quality: Quality, key: QualityKey): string | number => {
  const value = quality[allKeys[key]]
  return value === 0 ? 'none' : value
}

/**
 * Takes over settings as users write them.
 * @param settings by name; others are left alone
 * @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE`
 */
export function withSettings(quality: Quality, settings: Readonly<Record<string, string>>, keys: readonly QualityKey[]): Quality {
  let changed = quality
  for (const key of keys) {
    const text = settings[key]
    if (text !== undefined) changed = { ...changed, [allKeys[key]]: key === 'priority' ? parsePriority(text) : parseAmount(key, text) }
  }
  if (changed.iopsBurst > 0 && changed.iops === 0) throw refused('iops-burst', changed.iopsBurst, 'there is no limit of operations: set iops, too')
  if (changed.bpsBurst > 0 && changed.bps === 0) throw refused('bps-burst', changed.bpsBurst, 'there is no limit of bytes: set bps, too')
  if (changed.iops > 0 && changed.minIops > changed.iops) throw refused('min-iops', changed.minIops, `the limit is ${changed.iops} operations a second`)
  return changed
}

function parsePriority(text: string): Priority {
  const found = priorities.find(priority => priority === text)
  if (!found) throw refused('priority', text, 'it is high, normal or low')
  return found
}

function parseAmount(key: QualityKey, text: string): number {
  if (text === 'none') return 0
  if (key === 'bps' || key === 'bps-burst') return parseSize(text)
  const count = /^\d{1,10}$/.test(text) ? Number(text) : NaN
  if (!(count <= COUNT_MAX)) throw refused(key, text, `it is a whole number of operations up to ${COUNT_MAX}, or none`)
  return count
}

const refused = (key: string, value: string | number, why: string): LunarError => new LunarError('ERR_USAGE', `Cannot set "${key}" to ${value}`, { why })

/** In words, for the tree of layers; empty when nothing is set. */
export function describeQuality({ iops, iopsBurst, bps, bpsBurst, minIops, priority }: Quality): string {
  const words: string[] = []
  if (iops > 0) words.push(`at most ${iops} operations a second${iopsBurst > 0 ? `, ${iopsBurst} at once` : ''}`)
  if (bps > 0) words.push(`at most ${formatSize(bps)} a second${bpsBurst > 0 ? `, ${formatSize(bpsBurst)} at once` : ''}`)
  if (minIops > 0) words.push(`at least ${minIops} operations a second`)
  if (priority !== 'normal') words.push(`${priority} priority`)
  return words.join('; ')
}
