import { LunarError } from '../../src/core/base/errors.ts'

/** An error in words: what failed and why. */
export function textOf(error: unknown): string {
  if (error instanceof LunarError) return `${error.code} ${error.message}: ${error.why}`
  return error instanceof Error ? error.message : String(error)
}
