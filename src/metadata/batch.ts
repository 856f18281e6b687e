import { invariant, LunarError } from '../core/base/errors.ts'
import type { Key } from './key.ts'
import { getU64, putU64 } from './u64.ts'

/** Largest value of a record: four fit into a tree block. Bytes. */
export const VALUE_MAX = 960
/** Largest batch, encoded. Bytes. */
export const BATCH_MAX = 256 * 1024

export const PUT = 1
export const DELETE = 2
export const PATCH = 3
export const MERGE = 4

export type Op =
  | { readonly op: typeof PUT; readonly hi: number; readonly lo: number; readonly value: Uint8Array }
  | { readonly op: typeof DELETE; readonly hi: number; readonly lo: number }
  /** Sets bytes of a value; a missing or shorter value is first filled with zeros to `size`. */
  | { readonly op: typeof PATCH; readonly hi: number; readonly lo: number; readonly at: number; readonly size: number; readonly value: Uint8Array }
  /** Sets some bits of one byte, `value` = [mask, bits]: records whose bytes several objects share do not depend on the order of batches. */
  | { readonly op: typeof MERGE; readonly hi: number; readonly lo: number; readonly at: number; readonly size: number; readonly value: Uint8Array }

const OP_HEADER = 24

/**
 * A change of the metadata map that happens whole or not at all. Applying it twice is the same as once.
 * On disk: u32 length of the ops · u32 count · the ops, each: u8 op · u8 0 · u16 value length · u16 at · u16 size ·
 * u64 hi · u64 lo · the value.
 */
export class Batch {
  readonly ops: Op[] = []
  /** Bytes when encoded. */
  size = 8
  private told: (() => void)[] | undefined

  put(key: Key, value: Uint8Array): this {
    invariant(value.length <= VALUE_MAX, `a record of ${value.length} bytes`)
    return this.push({ op: PUT, hi: key.hi, lo: key.lo, value })
  }

  delete(key: Key): this {
    return this.push({ op: DELETE, hi: key.hi, lo: key.lo })
  }

  patch(key: Key, at: number, value: Uint8Array, size: number): this {
    invariant(at + value.length <= size && size <= VALUE_MAX, `a patch of ${value.length} bytes at ${at} in a record of ${size}`)
    return this.push({ op: PATCH, hi: key.hi, lo: key.lo, at, size, value })
  }

  merge(key: Key, at: number, mask: number, bits: number, size: number): this {
    invariant(at < size && size <= VALUE_MAX, `bits of byte ${at} in a record of ${size}`)
    return this.push({ op: MERGE, hi: key.hi, lo: key.lo, at, size, value: Uint8Array.of(mask, bits) })
  }

  append(other: Batch): this {
    for (const op of other.ops) this.push(op)
    for (const tell of other.told ?? []) this.whenDurable(tell)
    return this
  }

  /** Adds somebody to be told, once, when the batch is durable; nobody is when it is not committed. */
  whenDurable(tell: () => void): this {
    this.told ??= []
    this.told.push(tell)
    return this
  }

  /** It is durable. */
  durable(): void {
    if (this.told) for (const tell of this.told.splice(0)) tell()
  }

  get isEmpty(): boolean {
    return this.ops.length === 0
  }

  private push(op: Op): this {
    this.ops.push(op)
    this.size += OP_HEADER + (op.op === DELETE ? 0 : op.value.length)
    return this
  }
}

export function encodeBatch(batch: Batch, target: Uint8Array, offset: number): number {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
  let at = offset + 8
  for (const op of batch.ops) {
    view.setUint8(at, op.op)
    view.setUint8(at + 1, 0)
    view.setUint16(at + 2, op.op === DELETE ? 0 : op.value.length, true)
    view.setUint16(at + 4, op.op === PATCH || op.op === MERGE ? op.at : 0, true)
    view.setUint16(at + 6, op.op === PATCH || op.op === MERGE ? op.size : 0, true)
    putU64(view, at + 8, op.hi)
    putU64(view, at + 16, op.lo)
    at += OP_HEADER
    if (op.op !== DELETE) {
      target.set(op.value, at)
      at += op.value.length
    }
  }
  view.setUint32(offset, at - offset - 8, true)
  view.setUint32(offset + 4, batch.ops.length, true)
  return at
}

/** @throws LunarError `ERR_METADATA_DAMAGED` on anything that is not a batch; nothing is trusted although a checksum covers it */
export function decodeBatch(source: Uint8Array, offset: number): { batch: Batch; end: number } {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  const bad = (): LunarError => new LunarError('ERR_METADATA_DAMAGED', 'Cannot read a journal record', { why: 'its lengths contradict each other' })
  if (offset + 8 > source.length) throw bad()
  const end = offset + 8 + view.getUint32(offset, true)
  const count = view.getUint32(offset + 4, true)
  if (end > source.length) throw bad()
  const batch = new Batch()
  let at = offset + 8
  for (let i = 0; i < count; i++) {
    if (at + OP_HEADER > end) throw bad()
    const op = view.getUint8(at)
    const length = view.getUint16(at + 2, true)
    const patchAt = view.getUint16(at + 4, true)
    const size = view.getUint16(at + 6, true)
    const key = { hi: getU64(view, at + 8), lo: getU64(view, at + 16) }
    at += OP_HEADER
    if (at + length > end || length > VALUE_MAX) throw bad()
    const value = source.slice(at, at + length)
    at += length
    if (op === PUT) batch.put(key, value)
    else if (op === DELETE) batch.delete(key)
    else if (op === PATCH && patchAt + length <= size && size <= VALUE_MAX) batch.patch(key, patchAt, value, size)
    else if (op === MERGE && length === 2 && patchAt < size && size <= VALUE_MAX) batch.merge(key, patchAt, value[0]!, value[1]!, size)
    else throw bad()
  }
  if (at !== end) throw bad()
  return { batch, end }
}

export function patched(old: Uint8Array | undefined, at: number, bytes: Uint8Array, size: number): Uint8Array {
  const value = new Uint8Array(Math.max(size, old?.length ?? 0))
  if (old) value.set(old)
  value.set(bytes, at)
  return value
}

/** One byte of a value with the bits of `mask` set to `bits`. */
export function merged(old: Uint8Array | undefined, at: number, mask: number, bits: number, size: number): Uint8Array {
  return patched(old, at, Uint8Array.of(((old?.[at] ?? 0) & ~mask) | bits), size)
}
