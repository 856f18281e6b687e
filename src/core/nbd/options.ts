/** The data of options, read from what a client sent. Pure; undefined means that the data contradicts itself. */
import { STRING_MAX, u16, u32 } from './protocol.ts'

/** Queries in one option of meta contexts. */
const QUERIES_MAX = 64

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @returns undefined for what is too long, no UTF-8, or has a NUL (protocol: strings) */
export function stringOf(data: Uint8Array): string | undefined {
  if (data.length > STRING_MAX || data.includes(0)) return undefined
  try {
    return decoder.decode(data)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

export interface InfoRequest {
  readonly name: string
  /** What the client wants to be told besides. */
  readonly wanted: readonly number[]
}

/** Options INFO and GO: length of the name, name, number of requests, requests. */
export function infoRequest(data: Uint8Array): InfoRequest | undefined {
  if (data.length < 6) return undefined
  const length = u32(data, 0)
  if (length > data.length - 6) return undefined
  const name = stringOf(data.subarray(4, 4 + length))
  const count = u16(data, 4 + length)
  if (name === undefined || data.length !== 6 + length + 2 * count) return undefined
  const wanted = Array.from({ length: count }, (_, i) => u16(data, 6 + length + 2 * i))
  return new Set(wanted).size === count ? { name, wanted } : undefined
}

export interface ContextRequest {
  readonly name: string
  readonly queries: readonly string[]
}

/** The two options of meta contexts: length of the name, name, number of queries, and each with its length. */
export function contextRequest(data: Uint8Array): ContextRequest | 'too many' | undefined {
  let at = 0
  const string = (): string | undefined => {
    if (data.length - at < 4) return undefined
    const length = u32(data, at)
    if (length > data.length - at - 4) return undefined
    at += 4 + length
    return stringOf(data.subarray(at - length, at))
  }
  const name = string()
  if (name === undefined || data.length - at < 4) return undefined
  const count = u32(data, at)
  at += 4
  if (count > QUERIES_MAX) return 'too many'
  const queries: string[] = []
  for (let i = 0; i < count; i++) {
    const query = string()
    if (query === undefined || !/^[^:]+:/.test(query)) return undefined
    queries.push(query)
  }
  return at === data.length ? { name, queries } : undefined
}

/** Whether a query finds a context: by its name, or, where it ends in a colon and only a list is wanted, by what it begins with. */
export const finds = (query: string, context: string, listing: boolean): boolean =>
  query === context || (listing && query.endsWith(':') && context.startsWith(query))
