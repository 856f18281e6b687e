import { crc32c } from '../core/base/crc32c.ts'

/**
 * What every block of metadata begins with. The checksum is seeded with the kind, so one kind never passes for another, and covers pool, disk
 * and own address: a torn, lost, misdirected or foreign block is recognised (fault F03).
 *
 * bytes 0..3 crc32c of bytes 4 to the end · 4..7 magic of the kind
 */
export type BlockKind = 'label' | 'lock' | 'root' | 'journal' | 'node' | 'wod' | 'parityLog' | 'parityWindow'

const seeds: Record<BlockKind, number> = {
  label: 0x4c41424c,
  lock: 0x4c4f434b,
  root: 0x524f4f54,
  journal: 0x4a524e4c,
  node: 0x4e4f4445,
  wod: 0x574f4e43,
  parityLog: 0x504c4f47,
  parityWindow: 0x504c4157,
}

/** Four ASCII letters as a little-endian u32. */
export const magicOf = (kind: BlockKind): number => seeds[kind]

export function sealBlock(kind: BlockKind, block: Uint8Array): void {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  view.setUint32(4, magicOf(kind), true)
  view.setUint32(0, crc32c(block.subarray(4), seeds[kind]), true)
}

export function isSealed(kind: BlockKind, block: Uint8Array): boolean {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  return view.getUint32(4, true) === magicOf(kind) && view.getUint32(0, true) === crc32c(block.subarray(4), seeds[kind])
}

export const hasMagic = (kind: BlockKind, block: Uint8Array): boolean =>
  new DataView(block.buffer, block.byteOffset, block.byteLength).getUint32(4, true) === magicOf(kind)
