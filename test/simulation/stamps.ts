/** What the simulation writes: each sector names its LUN, its place and the write it came from, so that a wrong one tells where it belongs. */
import { SECTOR } from '../../src/core/base/units.ts'

const MAGIC = 0x53544d50
const WORDS = SECTOR / 4

/** The LUN in stamps that lay on disks before they belonged to the pool. */
export const FOREIGN = 0xffff_fff0

/** The version of a sector that could not be read. */
export const LOST = 0xffff_ffff
/** The version of a sector of a parity LUN that is no stamp: a disk was lost in the crash that cut off a write of its whole row. */
export const GARBLED = 0xffff_fffe
/** The version of zeros: never written, or given back. */
export const ZERO = 0

const tailOf = (lun: number, sector: number, version: number): number => (Math.imul(version, 0x9e3779b1) ^ Math.imul(sector + 1, 0x85ebca77) ^ lun) >>> 0

/** Sectors [from, to) of a LUN as write `version` leaves them. */
export function stampedData(lun: number, from: number, to: number, version: number): Uint8Array {
  const words = new Uint32Array((to - from) * WORDS)
  if (version !== ZERO) {
    for (let sector = from, at = 0; sector < to; sector++, at += WORDS) {
      words[at] = lun
      words[at + 1] = sector
      words[at + 2] = version
      words[at + 3] = MAGIC
      words[at + WORDS - 1] = tailOf(lun, sector, version)
    }
  }
  return new Uint8Array(words.buffer)
}

/**
 * The version in each sector of `data`, which was read from sector `from` of a LUN on. A version is of one LUN alone; an image
 * holds those of its source.
 * @param mayBeGarbled sectors that are neither are `GARBLED`
 * @throws Error for a sector that is neither zeros nor a whole stamp of this place by a LUN of the pool
 */
export function versionsIn(data: Uint8Array, from: number, mayBeGarbled = false): Uint32Array {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4)
  const versions = new Uint32Array(data.byteLength / SECTOR)
  for (let i = 0, at = 0; i < versions.length; i++, at += WORDS) {
    const version = words[at + 2]!
    if (version === ZERO) {
      if (words[at] === 0 && words[at + 1] === 0 && words[at + 3] === 0 && words[at + WORDS - 1] === 0) continue
    } else {
      const lun = words[at]!
      if (lun < FOREIGN && words[at + 1] === from + i && words[at + 3] === MAGIC && words[at + WORDS - 1] === tailOf(lun, from + i, version)) {
        versions[i] = version
        continue
      }
    }
    if (mayBeGarbled) {
      versions[i] = GARBLED
      continue
    }
    throw new Error(`sector ${from + i} holds ${describeStamp(words.subarray(at, at + WORDS))}`)
  }
  return versions
}

/** Where a sector that was found at a wrong place comes from. */
export function describeStamp(words: Uint32Array): string {
  const head = `[${[...words.subarray(0, 4)].map(word => word.toString(16)).join(' ')} … ${words[WORDS - 1]!.toString(16)}]`
  if (words.every(word => word === 0)) return 'zeros'
  if (words[3] !== MAGIC) return `no stamp: ${head}`
  const whole = words[WORDS - 1] === tailOf(words[0]!, words[1]!, words[2]!)
  return `${whole ? 'a stamp' : 'a broken stamp'} of LUN ${words[0]}, sector ${words[1]}, version ${words[2]} ${head}`
}
