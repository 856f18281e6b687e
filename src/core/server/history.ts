/** Who changed what: what an owner keeps of each administrative change. */
import { userInfo } from 'node:os'
import { NO_UID, type HistoryEntry } from '../../metadata/history.ts'
import { systemClock } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import type { Reply } from './api.ts'
import type { Engine } from './engine-types.ts'

/** Somebody who asks for a change. */
export interface Actor {
  readonly uid: number | null
  readonly user: string
  /** What was typed, or the program. */
  readonly command: string
}

/** The user of this process. */
export function whoAmI(): Pick<Actor, 'uid' | 'user'> {
  const uid = process.geteuid?.() ?? null
  try {
    return { uid, user: userInfo().username }
  } catch {
    return { uid, user: uid === null ? '' : String(uid) } // a user without an entry has his number only
  }
}

/** Makes a change and keeps how it went. One that cannot be kept is made all the same, and its answer says so. */
export async function withHistory<T>(engine: Engine, actor: Actor, verb: string, params: object, change: () => Promise<Reply<T>>): Promise<Reply<T>> {
  const { dryRun, disconnect: _, ...rest } = params as { dryRun?: boolean; disconnect?: boolean }
  if (dryRun === true) return change()
  const timeMs = systemClock.wallMs()
  const begun = systemClock.monotonicMs()
  const keep = async (result: string): Promise<string[]> => {
    const entry: HistoryEntry = {
      timeMs,
      durationMs: systemClock.monotonicMs() - begun,
      uid: actor.uid ?? NO_UID,
      user: actor.user,
      command: actor.command,
      verb,
      parameters: JSON.stringify(rest),
      result,
    }
    try {
      await engine.keepHistory(entry)
      return []
    } catch (error) {
      if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      return [`The history of the pool lacks ${verb}: ${error.message}: ${error.why}`]
    }
  }
  let reply: Reply<T>
  try {
    reply = await change()
  } catch (error) {
    if (error instanceof LunarError) await keep(error.code)
    throw error
  }
  const warnings = await keep('ok')
  return warnings.length === 0 ? reply : { ...reply, warnings: [...reply.warnings, ...warnings] }
}
