/** `KEY=VALUE` pairs, after the name of what they belong to. */
import { LunarError } from '../base/errors.ts'

export interface SettingsLine {
  /** The first word, when it has no `=`. */
  readonly object: string | undefined
  readonly settings: Record<string, string>
}

/** @throws LunarError `ERR_USAGE` when a later word has no `=`, a key is empty or given twice, or there is no pair at all */
export function parseSettings(words: readonly string[]): SettingsLine {
  const object = words[0]?.includes('=') ? undefined : words[0]
  const settings: Record<string, string> = {}
  for (const word of object === undefined ? words : words.slice(1)) {
    const at = word.indexOf('=')
    if (at < 1) throw wrong(word, 'a setting is written KEY=VALUE')
    const key = word.slice(0, at)
    if (Object.hasOwn(settings, key)) throw wrong(word, `"${key}" is given twice`)
    settings[key] = word.slice(at + 1)
  }
  if (Object.keys(settings).length === 0) throw wrong(object ?? '', 'there is no KEY=VALUE to set')
  return { object, settings }
}

const wrong = (word: string, why: string): LunarError => new LunarError('ERR_USAGE', `Cannot use "${word}" as a setting`, { why })
