/** One value as text. The kind of a column or a line says how. */
import { formatSize } from '../base/units.ts'
import { printable } from './output.ts'

export type CellValue = string | number | boolean | null | readonly (string | number)[]

/** `size` bytes · `rate` bytes a second · `seconds` a duration · `state` a word that may be coloured. */
export type CellKind = 'text' | 'state' | 'size' | 'count' | 'rate' | 'percent' | 'seconds'

/** Kinds that read better flushed to the right. */
export const isNumeric = (kind: CellKind): boolean => kind !== 'text' && kind !== 'state'

/** @param bytes print sizes and rates as whole numbers of bytes */
export function formatCell(value: CellValue, kind: CellKind, bytes: boolean): string {
  if (value === null) return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'string') return value === '' ? '-' : printable(value)
  if (typeof value !== 'number') return value.length === 0 ? '-' : value.map(item => printable(String(item))).join(',')
  if (kind === 'size') return bytes ? String(value) : formatSize(value)
  if (kind === 'rate') return bytes ? String(Math.round(value)) : `${formatSize(value)}/s`
  if (kind === 'percent') return `${Math.floor(value)}%`
  if (kind === 'seconds') return formatSeconds(value)
  return String(value)
}

/** `0.4s`, `12s`, `3m05s`, `2h07m`, `4d02h`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds)
  const two = (value: number): string => String(value).padStart(2, '0')
  if (seconds < 9.95) return `${Number(seconds.toFixed(1))}s`
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`
  return `${Math.floor(whole / 86_400)}d${two(Math.floor((whole % 86_400) / 3600))}h`
}

/** Orders raw values: numbers by size, words as people count (`disk2` before `disk10`), nothing before everything. */
export function compareCells(a: CellValue, b: CellValue): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (a === null || b === null) return Number(a !== null) - Number(b !== null)
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b)
  return collator.compare(String(a), String(b))
}

const collator = { compare: (a: string, b: string): number => (intl ??= new Intl.Collator('en', { numeric: true })).compare(a, b) }
let intl: Intl.Collator | undefined
