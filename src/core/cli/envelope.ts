/** The one shape of `--json` output, for results and errors alike. */
import type { ErrorWire, LunarError } from '../base/errors.ts'

export interface Envelope {
  /** `lun.list/1`: the command and the version of its data. */
  readonly schema: string
  /** Administrative commits of the pool, or null when no pool was opened. */
  readonly generation: number | null
  readonly data: unknown
  readonly warnings: readonly string[]
  readonly error?: ErrorWire
}

const VERSION = 1

/** @param id oclif's id of the command, `lun:list` */
export const schemaOf = (id: string): string => `${id.replaceAll(':', '.')}/${VERSION}`

export function successEnvelope(id: string, generation: number | null, data: unknown, warnings: readonly string[]): Envelope {
  return { schema: schemaOf(id), generation, data, warnings }
}

export function errorEnvelope(id: string, generation: number | null, error: LunarError, warnings: readonly string[]): Envelope {
  return { schema: schemaOf(id), generation, data: null, warnings, error: error.toWire() }
}

/** One line for programs, indented for people. */
export const envelopeText = (envelope: Envelope, indented: boolean): string => JSON.stringify(envelope, null, indented ? 2 : 0) + '\n'
