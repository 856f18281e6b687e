/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4). Short inputs run here, eight bytes a step; long ones in the native
 * library, loaded when first needed, so that commands which read little metadata do not pay for loading it.
 */
import { createRequire } from 'node:module'

const NATIVE_FROM = 64 * 1024
const tables = makeTables()
let native: ((data: Uint8Array, seed?: number) => number) | undefined

/** @returns the checksum of `data`, continued from the checksum `seed` of what came before it */
export function crc32c(data: Uint8Array, seed = 0): number {
  if (data.length >= NATIVE_FROM || native) {
    native ??= (createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: (data: Uint8Array, seed?: number) => number }).crc32c
    return native(data, seed)
  }
  return crc32cPortable(data, seed)
}

/** The same in plain code; the tests hold both to be equal. */
export function crc32cPortable(data: Uint8Array, seed = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as unknown as [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array]
  let crc = ~seed
  let i = 0
  const stepEnd = data.length - 7
  for (; i < stepEnd; i += 8) {
    crc ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24)
    crc =
      t7[crc & 255]! ^
      t6[(crc >>> 8) & 255]! ^
      t5[(crc >>> 16) & 255]! ^
      t4[crc >>> 24]! ^
      t3[data[i + 4]!]! ^
      t2[data[i + 5]!]! ^
      t1[data[i + 6]!]! ^
      t0[data[i + 7]!]!
  }
  for (; i < data.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ data[i]!) & 255]!
  return ~crc >>> 0
}

function makeTables(): Int32Array[] {
  const all = Array.from({ length: 8 }, () => new Int32Array(256))
  for (let n = 0; n < 256; n++) {
    let crc = n
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    all[0]![n] = crc
  }
  for (let n = 0; n < 256; n++) {
    for (let t = 1; t < 8; t++) all[t]![n] = (all[t - 1]![n]! >>> 8) ^ all[0]![all[t - 1]![n]! & 255]!
  }
  return all
}
