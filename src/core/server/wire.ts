/** What client and server of a control socket say to each other: HTTP/1.1, JSON for verbs, bare bytes for user data. */
import { LunarError, type ErrorWire } from '../base/errors.ts'
import { MIB } from '../base/units.ts'

/** Largest body of a data request, bytes. */
export const DATA_MAX = 16 * MIB
/** Largest body of a request with JSON, bytes. */
export const JSON_MAX = MIB
/** Bytes that user data requests of all clients may hold at once; further ones wait unread. */
export const DATA_IN_FLIGHT_MAX = 128 * MIB

export const SESSION_HEADER = 'x-lunar-session'
/** Who answers, where there is no session: as in `Hello`. */
export const INSTANCE_HEADER = 'x-lunar-instance'
export const POOL_HEADER = 'x-lunar-pool'
/** What went wrong travels as an `ErrorWire` with this status. */
export const STATUS_ERROR = 422
/** The owner is going away in good order: ask whoever owns the pool then. Nothing of the request was done. */
export const STATUS_MOVED = 503

/** The first line of a session: who answers. */
export interface Hello {
  readonly api: number
  readonly version: string
  readonly pid: number
  readonly poolId: string
  readonly poolName: string
  /** The random id that the lock records carry too. */
  readonly instance: string
  readonly readOnly: boolean
  /** What it is; older versions do not say. */
  readonly kind?: 'command' | 'on-demand' | 'server'
  /** To be sent with every request. */
  readonly session: string
}

/** What a client says when it begins a session. */
export interface SessionRequest {
  readonly pid: number
  /** Whose process it is, for the history; the socket is for this user and root alone. Older versions do not say. */
  readonly uid: number | null
  readonly user: string
  readonly version: string
  readonly command: string
  readonly readOnly: boolean
}

export interface OpenedLun {
  readonly handle: number
  readonly size: number
  readonly blockSize: number
}

/** Thrown inside of the client when the owner leaves in good order; the request was not done and may be sent to the next one. */
export class Moved extends Error {
  override readonly name = 'Moved'
  constructor() {
    super('the owner of the pool goes away')
  }
}

export function parseWireError(text: string): LunarError {
  const wire = parseObject(text)
  if (!wire || typeof wire.code !== 'string' || typeof wire.message !== 'string' || typeof wire.cause !== 'string' || typeof wire.fix !== 'string') {
    return new LunarError('ERR_SERVER_UNREACHABLE', 'Cannot understand the owner of the pool', { why: 'it answered with an error that is not one of ours' })
  }
  const blockers = Array.isArray(wire.blockers) ? wire.blockers.filter(blocker => typeof blocker === 'string') : []
  return LunarError.fromWire({ code: wire.code, message: wire.message, cause: wire.cause, fix: wire.fix, blockers })
}

/** @returns undefined unless `text` is a JSON object */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

export function toWire(error: unknown): ErrorWire {
  if (error instanceof LunarError) return error.toWire()
  return new LunarError('ERR_FAILED', 'The owner of the pool failed', { cause: error }).toWire()
}
