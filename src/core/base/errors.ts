import { errorTable, isErrorCode, type ErrorCode } from './error-table.ts'

export interface ErrorDetail {
  /** Line two: why, with the holder, number or limit. */
  readonly why?: string
  /** Line three: the command that fixes it; the table's when left out. */
  readonly fix?: string
  /** Who is in the way: clients, exports, dependents, tasks, processes. */
  readonly blockers?: readonly string[]
  /** The error of the host or library below. */
  readonly cause?: unknown
}

/** What crosses the control socket and what `--json` prints as `error`. */
export interface ErrorWire {
  readonly code: ErrorCode
  readonly message: string
  readonly cause: string
  readonly fix: string
  readonly blockers: readonly string[]
}

/**
 * The one class of error that users see. `message` says what failed on which object, `why` what was found, `fix` what
 * to do next. `exitCode` serves oclif with `--json`, `oclif.exit` without.
 */
export class LunarError extends Error {
  override readonly name = 'LunarError'
  readonly exitCode: number
  readonly oclif: { readonly exit: number }
  readonly why: string
  readonly fix: string
  readonly blockers: readonly string[]

  constructor(
    readonly code: ErrorCode,
    message: string,
    detail: ErrorDetail = {},
  ) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.exitCode = errorTable[code].exit
    this.oclif = { exit: this.exitCode }
    this.why = detail.why ?? causeText(detail.cause) ?? errorTable[code].explain
    this.fix = detail.fix ?? errorTable[code].fix
    this.blockers = detail.blockers ?? []
  }

  toWire(): ErrorWire {
    return { code: this.code, message: this.message, cause: this.why, fix: this.fix, blockers: this.blockers }
  }

  /** Rebuilds an error that another process reported; an unknown code becomes `ERR_FAILED`. */
  static fromWire(wire: { code: string; message: string; cause: string; fix: string; blockers?: readonly string[] }): LunarError {
    const code = isErrorCode(wire.code) ? wire.code : 'ERR_FAILED'
    return new LunarError(code, wire.message, { why: wire.cause, fix: wire.fix, blockers: wire.blockers ?? [] })
  }
}

const causeText = (cause: unknown): string | undefined => (cause instanceof Error ? cause.message : undefined)

/** The host's own error name (`ENOENT`, `EIO`, …) when `error` is one of the host's or of Node's; never the code of a `LunarError`. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof LunarError) return undefined
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return undefined
}

export const isCode = (error: unknown, code: ErrorCode): error is LunarError => error instanceof LunarError && error.code === code

/** Whether it is the disk that failed or that is held back (`ERR_IO`, `ERR_SUSPENDED`), not the host's space, the pool's, or a bug of ours. */
export const isDisksFault = (error: unknown): error is LunarError => isCode(error, 'ERR_IO') || isCode(error, 'ERR_SUSPENDED')

/** Whether space ran out, in the pool, in its metadata or on the host. */
export const isFull = (error: unknown): error is LunarError =>
  isCode(error, 'ERR_POOL_FULL') || isCode(error, 'ERR_HOST_FULL') || isCode(error, 'ERR_METADATA_FULL')

/** Stops the program's operation when its own invariant is broken: a bug, never a user's mistake. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new LunarError('ERR_BUG', `Invariant broken: ${what}`)
}
