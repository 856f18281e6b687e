/** Errors and warnings as text on stderr: three short lines, never a stack unless LUNAR_DEBUG asks for it. */
import type { LunarError } from '../base/errors.ts'
import { printable, whileRead, writeAll } from './output.ts'
import { paintFor } from './paint.ts'
import type { Surroundings } from './surroundings.ts'

/** What failed on which object; why, with who is in the way; what to do next. */
export function errorLines(error: LunarError): [string, string, string] {
  const blockers = error.blockers.length > 0 ? ` (in the way: ${error.blockers.join(', ')})` : ''
  return [`${printable(error.message)} [${error.code}]`, printable(error.why + blockers), printable(error.fix)]
}

export async function reportError(around: Surroundings, error: LunarError): Promise<void> {
  const paint = await paintFor(around.stderr, around.env)
  const [what, why, fix] = errorLines(error)
  let text = `${paint.bad('error:')} ${what}\n  why: ${why}\n  fix: ${fix}\n`
  if (around.env['LUNAR_DEBUG']) text += `${error.cause instanceof Error ? error.cause.stack : error.stack}\n`
  await whileRead(writeAll(around.stderr, text))
}

export async function reportWarnings(around: Surroundings, warnings: readonly string[]): Promise<void> {
  if (warnings.length === 0) return
  const paint = await paintFor(around.stderr, around.env)
  await whileRead(writeAll(around.stderr, warnings.map(warning => `${paint.warn('warning:')} ${printable(warning)}\n`).join('')))
}
