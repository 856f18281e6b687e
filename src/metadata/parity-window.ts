/** Which part of a parity log's ring is to be read: two blocks before the ring say it, written in turns. Pure. */
import { hasMagic, isSealed, sealBlock } from './block.ts'
import { BLOCK } from './layout.ts'
import type { GroupIdentity } from './parity-group.ts'
import { struct, u32, u64, u8, uuid } from './struct.ts'

/** Blocks before the ring, one for each copy. */
export const WINDOW_COPIES = 2

export const parityWindowFields = struct('parityWindow', 80, {
  crc: u32(0, 'crc32c of bytes 4 to the end of the block, seeded with the kind'),
  magic: u32(4, 'WALP'),
  poolId: uuid(8, 'pool'),
  diskId: uuid(24, 'disk'),
  generation: u64(40, 'one more than that of the other copy when it was written: the higher one counts'),
  sequence: u64(48, 'groups with lower numbers do not count; 0: none was written yet'),
  from: u32(56, 'block of the ring where the window begins'),
  blocks: u32(60, 'blocks of the window, which goes on at the begin of the ring'),
  copy: u8(64, 'which of the two blocks this is'),
})

/** Blocks of a ring from one on, going on at the ring's begin. */
export interface RingSpan {
  readonly from: number
  readonly blocks: number
}

/** All groups that count, and those that may be under way, lie in it. */
export interface ParityWindow extends RingSpan {
  readonly generation: number
  readonly sequence: number
}

/** Fills a block. */
export function encodeWindow(block: Uint8Array, identity: GroupIdentity, window: ParityWindow, copy: number): void {
  block.fill(0)
  parityWindowFields.encodeInto(block, 0, { crc: 0, magic: 0, ...identity, ...window, copy })
  sealBlock('parityWindow', block)
}

/** @returns undefined when the block is not what was written there */
export function decodeWindow(block: Uint8Array, identity: GroupIdentity, copy: number, ringBlocks: number): ParityWindow | undefined {
  if (!hasMagic('parityWindow', block) || !isSealed('parityWindow', block)) return undefined
  const { poolId, diskId, generation, sequence, from, blocks, copy: wasFor } = parityWindowFields.decode(block)
  if (poolId !== identity.poolId || diskId !== identity.diskId || wasFor !== copy) return undefined
  return from < ringBlocks && blocks <= ringBlocks ? { generation, sequence, from, blocks } : undefined
}

/** How far a block of a ring lies behind another one. */
export const ringDistance = (from: number, to: number, ringBlocks: number): number => (to - from + ringBlocks) % ringBlocks

/** Whether a run of blocks lies in a part of a ring. */
export const spanHolds = (span: RingSpan, at: number, blocks: number, ringBlocks: number): boolean =>
  ringDistance(span.from, at, ringBlocks) + blocks <= span.blocks || span.blocks === ringBlocks

/** The runs of blocks that a part of a ring is, in its order. */
export function runsOf({ from, blocks }: RingSpan, ringBlocks: number): RingSpan[] {
  const first = Math.min(blocks, ringBlocks - from)
  return [
    { from, blocks: first },
    { from: 0, blocks: blocks - first },
  ].filter(run => run.blocks > 0)
}

/** Bytes of both copies. */
export const WINDOWS_LENGTH = WINDOW_COPIES * BLOCK
