import { LunarError } from './errors.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB
export const TIB = 1024 * GIB
export const SECTOR = 512

const binary: Record<string, number> = { '': 1, B: 1, K: KIB, KIB: KIB, M: MIB, MIB: MIB, G: GIB, GIB: GIB, T: TIB, TIB: TIB, P: 1024 * TIB, PIB: 1024 * TIB }
const decimal: Record<string, number> = { KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15 }

/**
 * Parses a size as users write it: `10GiB`, `10G` (= GiB), `10GB` (= 10^9), `1.5TiB`, bare numbers are bytes.
 *
 * @returns bytes, a whole number up to 2^53 - 1
 * @throws LunarError `ERR_BAD_SIZE` for anything else, also for sizes that are no whole number of bytes
 */
export function parseSize(text: string): number {
  const match = /^(\d+)(?:\.(\d{1,6}))?\s*([A-Za-z]{0,3})$/.exec(text.trim())
  const unit = match?.[3]?.toUpperCase() ?? ''
  const scale = match ? (binary[unit] ?? decimal[unit]) : undefined
  if (!match || scale === undefined) throw badSize(text, 'is not a size')
  const whole = Number(match[1]) * scale
  const fraction = match[2] ? (Number(match[2]) * scale) / 10 ** match[2].length : 0
  const bytes = whole + fraction
  if (!Number.isSafeInteger(bytes)) throw badSize(text, Number.isInteger(bytes) ? 'is above 2^53 bytes' : 'is not a whole number of bytes')
  return bytes
}

function badSize(text: string, why: string): LunarError {
  return new LunarError('ERR_BAD_SIZE', `Cannot use "${text}" as a size`, { why: `"${text}" ${why}` })
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** Bytes as people read them: whole numbers as they are, else two or three digits; KiB, MiB, GiB, TiB, PiB. */
export function formatSize(bytes: number): string {
  let value = bytes
  let index = 0
  while (Math.abs(value) >= 1024 && index < units.length - 1) {
    value /= 1024
    index++
  }
  const text = Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0)
  return `${text} ${units[index]}`
}

export const alignUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit
export const alignDown = (value: number, unit: number): number => Math.floor(value / unit) * unit
