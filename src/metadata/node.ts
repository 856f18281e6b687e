import { invariant, LunarError } from '../core/base/errors.ts'
import { formatUuid, uuidBytes } from '../core/base/uuid.ts'
import { VALUE_MAX } from './batch.ts'
import { isSealed, sealBlock } from './block.ts'
import { compareKeys } from './key.ts'
import { BLOCK } from './layout.ts'
import { getU64, putU64 } from './u64.ts'

/**
 * A block of the metadata tree, 4096 bytes, little-endian.
 *
 * | bytes | field |
 * |---|---|
 * | 0..3 | crc32c of bytes 4..4095, seeded with the kind |
 * | 4..7 | magic `NODE` |
 * | 8..23 | pool id |
 * | 24..31 | own address: store times 2^24 plus block in the store |
 * | 32..39 | sequence of the checkpoint that wrote it |
 * | 40 | level, 0 for a leaf |
 * | 42..43 | number of entries |
 * | 44..63 | reserved, zero |
 * | 64.. | entries in key order. Leaf: u64 hi, u64 lo, u16 length, value. Above: u64 hi, u64 lo (lower bound of the child), u64 address, u32 crc of the child |
 */
export const NODE_HEADER = 64
const LEAF_ENTRY = 18
export const INNER_ENTRY = 28
export const NODE_ROOM = BLOCK - NODE_HEADER
export const INNER_MAX = Math.floor(NODE_ROOM / INNER_ENTRY)

/** Where a node lies and what it must contain; `address` 0 means: not on disk yet. */
export interface Pointer {
  readonly address: number
  readonly crc: number
}

export class Leaf {
  readonly level = 0
  his: number[] = []
  los: number[] = []
  values: Uint8Array[] = []
  /** Bytes of the entries when encoded. */
  bytes = 0
  dirty = false
  pointer: Pointer = { address: 0, crc: 0 }
  /** Clock hand of the cache. */
  used = true
}

export class Inner {
  his: number[] = []
  los: number[] = []
  /** Loaded children; the others are at `pointers`. */
  children: (Node | undefined)[] = []
  pointers: Pointer[] = []
  dirty = false
  pointer: Pointer = { address: 0, crc: 0 }
  used = true
  constructor(readonly level: number) {}
}

export type Node = Leaf | Inner

export const leafEntrySize = (value: Uint8Array): number => LEAF_ENTRY + value.length

export function encodeNode(node: Node, poolId: string, address: number, sequence: number): Uint8Array {
  const block = new Uint8Array(BLOCK)
  const view = new DataView(block.buffer)
  block.set(uuidBytes(poolId), 8)
  putU64(view, 24, address)
  putU64(view, 32, sequence)
  view.setUint8(40, node.level)
  view.setUint16(42, node.his.length, true)
  let at = NODE_HEADER
  for (let i = 0; i < node.his.length; i++) {
    putU64(view, at, node.his[i]!)
    putU64(view, at + 8, node.los[i]!)
    if (node instanceof Leaf) {
      const value = node.values[i]!
      view.setUint16(at + 16, value.length, true)
      block.set(value, at + LEAF_ENTRY)
      at += LEAF_ENTRY + value.length
    } else {
      const pointer = node.pointers[i]!
      invariant(pointer.address > 0, 'a child without a place on disk')
      putU64(view, at + 16, pointer.address)
      view.setUint32(at + 24, pointer.crc, true)
      at += INNER_ENTRY
    }
  }
  sealBlock('node', block)
  return block
}

export const nodeCrc = (block: Uint8Array): number => new DataView(block.buffer, block.byteOffset).getUint32(0, true)

/** Whether `block` is the node that a pointer means: whole, of this pool, at its place, with the recorded checksum. */
export function isNode(block: Uint8Array, poolId: string, pointer: Pointer): boolean {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  return (
    view.getUint32(0, true) === pointer.crc && isSealed('node', block) && formatUuid(block.subarray(8, 24)) === poolId && getU64(view, 24) === pointer.address
  )
}

/** @throws LunarError `ERR_METADATA_DAMAGED` when the entries contradict the block's size or order */
export function decodeNode(block: Uint8Array, pointer: Pointer): Node {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  const bad = (why: string): LunarError => new LunarError('ERR_METADATA_DAMAGED', `Cannot read metadata block ${pointer.address}`, { why })
  const level = view.getUint8(40)
  const count = view.getUint16(42, true)
  const node: Node = level === 0 ? new Leaf() : new Inner(level)
  node.pointer = pointer
  let at = NODE_HEADER
  for (let i = 0; i < count; i++) {
    if (at + (level === 0 ? LEAF_ENTRY : INNER_ENTRY) > BLOCK) throw bad('its entries leave the block')
    const hi = getU64(view, at)
    const lo = getU64(view, at + 8)
    if (i > 0 && compareKeys(node.his[i - 1]!, node.los[i - 1]!, hi, lo) >= 0) throw bad('its keys are out of order')
    node.his.push(hi)
    node.los.push(lo)
    if (node instanceof Leaf) {
      const length = view.getUint16(at + 16, true)
      if (length > VALUE_MAX || at + LEAF_ENTRY + length > BLOCK) throw bad('a value leaves the block')
      node.values.push(block.slice(at + LEAF_ENTRY, at + LEAF_ENTRY + length))
      at += LEAF_ENTRY + length
    } else {
      node.children.push(undefined)
      node.pointers.push({ address: getU64(view, at + 16), crc: view.getUint32(at + 24, true) })
      at += INNER_ENTRY
    }
  }
  if (node instanceof Leaf) node.bytes = at - NODE_HEADER
  else if (count === 0) throw bad('an inner block without children')
  return node
}
