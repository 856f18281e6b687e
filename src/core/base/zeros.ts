import { MIB } from './units.ts'

const zeros = Buffer.alloc(MIB)

/** What is compared at a time: it stays in the processor's cache. Bytes. */
const PIECE = 64 * 1024

export function isZero(data: Uint8Array): boolean {
  for (let at = 0; at < data.length; at += PIECE) {
    const end = Math.min(data.length, at + PIECE)
    if (zeros.compare(data, at, end, 0, end - at) !== 0) return false
  }
  return true
}

/** Zeros, up to 1 MiB of them. */
export const zeroPart = (length: number): Uint8Array => zeros.subarray(0, Math.min(length, zeros.length))
