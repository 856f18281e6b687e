import { invariant } from '../core/base/errors.ts'
import { readUuid, uuidBytes } from '../core/base/uuid.ts'
import { getU64, putU64 } from './u64.ts'

/** One field of an on-disk structure: where it is, how wide, how it is read and written, what it means. */
export interface Field<T> {
  readonly offset: number
  readonly length: number
  readonly type: string
  readonly about: string
  get(view: DataView, base: number): T
  set(view: DataView, base: number, value: T): void
}

const at = <T>(type: string, length: number, get: (view: DataView, at: number) => T, set: (view: DataView, at: number, value: T) => void) => {
  return (offset: number, about: string): Field<T> => ({
    offset,
    length,
    type,
    about,
    get: (view, base) => get(view, base + offset),
    set: (view, base, value) => set(view, base + offset, value),
  })
}

export const u8 = at<number>(
  'u8',
  1,
  (v, o) => v.getUint8(o),
  (v, o, x) => v.setUint8(o, x),
)
export const u16 = at<number>(
  'u16',
  2,
  (v, o) => v.getUint16(o, true),
  (v, o, x) => v.setUint16(o, x, true),
)
export const u32 = at<number>(
  'u32',
  4,
  (v, o) => v.getUint32(o, true),
  (v, o, x) => v.setUint32(o, x, true),
)
/** 64 bits on disk, a number in memory: values above 2^53 - 1 are refused on reading. */
export const u64 = at<number>('u64', 8, getU64, writeU64)
export const uuid = at<string>('uuid', 16, readUuid, (v, o, x) => new Uint8Array(v.buffer, v.byteOffset + o, 16).set(uuidBytes(x)))

/** UTF-8, padded with zero bytes. */
export function text(offset: number, length: number, about: string): Field<string> {
  return at<string>(
    `text[${length}]`,
    length,
    (v, o) => {
      const bytes = Buffer.from(v.buffer, v.byteOffset + o, length)
      const end = bytes.indexOf(0)
      return bytes.toString('utf8', 0, end < 0 ? length : end)
    },
    (v, o, x) => {
      const bytes = Buffer.from(x, 'utf8')
      invariant(bytes.length <= length, `text of ${bytes.length} bytes in a field of ${length}`)
      const target = new Uint8Array(v.buffer, v.byteOffset + o, length)
      target.fill(0)
      target.set(bytes)
    },
  )(offset, about)
}

/** Bytes as they are, a copy when read. */
export function bytes(offset: number, length: number, about: string): Field<Uint8Array> {
  return at<Uint8Array>(
    `u8[${length}]`,
    length,
    (v, o) => new Uint8Array(v.buffer, v.byteOffset + o, length).slice(),
    (v, o, x) => new Uint8Array(v.buffer, v.byteOffset + o, length).set(x.subarray(0, length)),
  )(offset, about)
}

/** As much of a text, in whole characters, as fits into `length` bytes. */
export function fitting(value: string, length: number): string {
  const bytes = Buffer.from(value, 'utf8')
  if (bytes.length <= length) return value
  let end = length
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

/**
 * Room for `count` structures, one after the other.
 *
 * @param used the field before it in the same structure that says how many there are: only so many are read
 */
export function list<T>(offset: number, count: number, of: Struct<T>, about: string, used?: Field<number>): Field<T[]> {
  return at<T[]>(
    `${of.name}[${count}]`,
    of.size * count,
    (v, o) => {
      const items: T[] = []
      const end = o + (used ? Math.min(count, used.get(v, o - offset)) : count) * of.size
      for (let at = o; at < end; at += of.size) items.push(of.decodeView(v, at))
      return items
    },
    (v, o, x) => {
      invariant(x.length <= count, `${x.length} of at most ${count} ${of.name}`)
      x.forEach((item, i) => {
        of.encodeView(v, o + i * of.size, item)
      })
    },
  )(offset, about)
}

function writeU64(view: DataView, offset: number, value: number): void {
  invariant(Number.isSafeInteger(value) && value >= 0, `${value} is no unsigned 53-bit number`)
  putU64(view, offset, value)
}

type Fields<T> = { readonly [K in keyof T]: Field<T[K]> }

/** An on-disk structure: its table of fields is layout, codec and documentation in one. Little-endian; gaps are reserved and zero. */
export interface Struct<T> {
  readonly name: string
  readonly size: number
  readonly fields: Fields<T>
  /** A fresh buffer of `size` bytes. */
  encode(value: T): Uint8Array
  encodeInto(target: Uint8Array, offset: number, value: T): void
  decode(bytes: Uint8Array, offset?: number): T
  encodeView(view: DataView, base: number, value: T): void
  decodeView(view: DataView, base: number): T
}

export function struct<F extends Record<string, Field<unknown>>>(
  name: string,
  size: number,
  fields: F,
): Struct<{ [K in keyof F]: F[K] extends Field<infer T> ? T : never }> {
  type T = { [K in keyof F]: F[K] extends Field<infer V> ? V : never }
  const ordered = Object.entries(fields).sort(([, a], [, b]) => a.offset - b.offset)
  let end = 0
  for (const [key, field] of ordered) {
    invariant(field.offset >= end && field.offset + field.length <= size, `field ${name}.${key} overlaps another or leaves its structure`)
    end = field.offset + field.length
  }
  const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const encodeView = (target: DataView, base: number, value: T): void => {
    for (const [key, field] of ordered) field.set(target, base, value[key as keyof T])
  }
  // All values of a structure have one shape from the start: growing each field by field took longer than reading it.
  const keys = ordered.map(([key]) => key)
  const values = ordered.map(([, field]) => field)
  const empty: Readonly<Record<string, unknown>> = Object.fromEntries(ordered.map(([key]) => [key, undefined]))
  const decodeView = (source: DataView, base: number): T => {
    const value = { ...empty }
    for (let i = 0; i < keys.length; i++) value[keys[i]!] = values[i]!.get(source, base)
    return value as T
  }
  return {
    name,
    size,
    fields: fields as unknown as Fields<T>,
    encodeView,
    decodeView,
    encode: value => {
      const bytes = new Uint8Array(size)
      encodeView(view(bytes), 0, value)
      return bytes
    },
    encodeInto: (target, offset, value) => {
      encodeView(view(target), offset, value)
    },
    decode: (bytes, offset = 0) => decodeView(view(bytes), offset),
  }
}
