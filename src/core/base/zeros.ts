import { MIB } from './units.ts'

const zeros = Buffer.alloc(MIB)

export function isZero(data: Uint8Array): boolean {
  for (let at = 0; at < data.length; at += zeros.length) {
    const part = data.subarray(at, at + zeros.length)
    if (Buffer.compare(part, part.length === zeros.length ? zeros : zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}

/** Zeros, up to 1 MiB of them. */
export const zeroPart = (length: number): Uint8Array => zeros.subarray(0, Math.min(length, zeros.length))
