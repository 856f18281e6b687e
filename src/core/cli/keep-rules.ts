/** How keep-rules are typed: `hourly=24,daily=7`, `90d`. */
import * as Flags from '@oclif/core/flags'
import { LunarError } from '../base/errors.ts'
import type { RotationSpan } from '../server/api.ts'
import { numberFlag } from './flags.ts'

const spans: readonly RotationSpan[] = ['minutely', 'hourly', 'daily', 'weekly', 'monthly', 'yearly']

/** @throws LunarError `ERR_USAGE` for what is no rule, or a span named twice */
export function parseKeep(texts: readonly string[]): Partial<Record<RotationSpan, number>> {
  const keep: Partial<Record<RotationSpan, number>> = {}
  for (const text of texts.flatMap(one => one.split(','))) {
    const [, name, count] = /^\s*([a-z]+)=(\d{1,7})\s*$/.exec(text) ?? []
    const span = spans.find(one => one === name)
    const fail = (why: string): LunarError =>
      new LunarError('ERR_USAGE', `Cannot use "${text}" as a keep-rule`, { why, fix: 'write rules like --keep hourly=24,daily=7,weekly=4' })
    if (!span) throw fail(`a rule is SPAN=COUNT, and the spans are ${spans.join(', ')}`)
    if (keep[span] !== undefined) throw fail(`${span} is named twice`)
    keep[span] = Number(count)
  }
  return keep
}

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000, y: 365 * 86_400_000 }

/** `90d`, `36h`, `1d12h`. @returns milliseconds, above 0 @throws LunarError `ERR_USAGE` */
export function parseAge(text: string): number {
  const isAge = /^(\d{1,9}[smhdwy])+$/.test(text)
  const ms = isAge ? [...text.matchAll(/(\d+)([smhdwy])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * unitMs[unit!]!, 0) : 0
  if (ms <= 0)
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" as an age`, {
      why: 'an age is digits with s, m, h, d, w or y: 90d, 36h, 4w',
      fix: 'write it like 90d',
    })
  return ms
}

export const keepFlags = () => ({
  keep: Flags.string({
    description: 'rules: minutely, hourly, daily, weekly, monthly, yearly, each with a count',
    helpValue: 'hourly=24,daily=7',
    multiple: true,
    multipleNonGreedy: true,
  }),
  'keep-last': numberFlag('keep the newest so many, at least 1'),
  'older-than': Flags.string({ description: 'delete what is older, whatever --keep says: 90d, 36h', helpValue: 'AGE' }),
})

/** What those flags say. @throws LunarError `ERR_USAGE` */
export function keepRules(flags: {
  readonly keep?: string[] | undefined
  readonly 'keep-last'?: number | undefined
  readonly 'older-than'?: string | undefined
}): {
  keep: Partial<Record<RotationSpan, number>>
  keepLast?: number
  olderThanMs?: number
} {
  const { 'keep-last': keepLast, 'older-than': age } = flags
  return {
    keep: parseKeep(flags.keep ?? []),
    ...(keepLast === undefined ? {} : { keepLast }),
    ...(age === undefined ? {} : { olderThanMs: parseAge(age) }),
  }
}

/** IANA name of the time zone of this machine. */
export const machineZone = (): string => new Intl.DateTimeFormat().resolvedOptions().timeZone
