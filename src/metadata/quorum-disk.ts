import { isCode } from '../core/base/errors.ts'
import { isZero } from '../core/base/zeros.ts'
import type { Disk } from '../core/block/device.ts'
import { hasMagic } from './block.ts'
import { readTail, type Tail } from './journal.ts'
import { BLOCK, JOURNAL_AT, ROOT_COUNT, ROOTS_AT } from './layout.ts'
import type { QuorumCopy, State } from './quorum.ts'
import { decodeRoot, rootAddress, rootFields, type Root } from './root.ts'
import { uncheckedU64 } from './u64.ts'

/** A disk of the pool as metadata sees it: its number for addresses, its id for the quorum. */
export interface MetadataDisk {
  readonly number: number
  readonly id: string
  readonly disk: Disk
  /** First byte of segment 0. */
  readonly segmentsAt: number
  /** The label says it is or was about to be a quorum disk: looked at first. */
  readonly quorumHint: boolean
}

/** What the ring of roots and the journal of one disk say. */
export interface Inspection {
  readonly member: MetadataDisk
  /** Whole roots, newest first. */
  readonly roots: readonly Root[]
  readonly tail: Tail
  readonly copy: QuorumCopy
  /** Places in the ring that hold neither a root of this disk nor zeros: torn or misdirected. */
  readonly damagedRoots: readonly number[]
}

/** Room to read one ring of roots into. */
export const ringBuffer = (): Uint8Array => Buffer.allocUnsafeSlow(ROOT_COUNT * BLOCK)

/**
 * @param ring from `ringBuffer`, used while this runs
 * @returns the newest state a disk holds, or undefined when it has no root of the pool. @throws host errors other than `ERR_IO`
 */
export async function inspectQuorumDisk(member: MetadataDisk, poolId: string, ring = ringBuffer()): Promise<Inspection | undefined> {
  try {
    await member.disk.read(ROOTS_AT, ring)
  } catch (error) {
    if (isCode(error, 'ERR_IO')) return undefined
    throw error
  }
  const roots: Root[] = []
  const damagedRoots: number[] = []
  for (let i = 0; i < ROOT_COUNT; i++) {
    const block = ring.subarray(i * BLOCK, (i + 1) * BLOCK)
    if (block[4] === 0 && isZero(block)) continue
    const root = decodeRoot(block, ROOTS_AT + i * BLOCK, poolId, member.id)
    if (root) roots.push(root)
    else damagedRoots.push(i)
  }
  roots.sort((a, b) => b.epochNumber - a.epochNumber || b.number - a.number)
  const newest = roots[0]
  if (!newest) return undefined
  const tail = await readTailOf(member, newest)
  const settled = roots.find(root => root.sequence > root.parentSequence)
  const proven = settled && { proven: stateOf(settled) }
  return { member, roots, tail, damagedRoots, copy: { disk: member.id, head: headOf(newest, tail), line: lineOf(roots, newest, tail), ...proven } }
}

/** The newest state of one disk, without the older roots that led to it. */
export interface Glance {
  readonly member: MetadataDisk
  readonly root: Root
  readonly tail: Tail
  readonly head: State
}

/**
 * Finds the newest whole root as `inspectQuorumDisk` does, and decodes no other: where all disks agree the older ones say nothing.
 *
 * @param ring from `ringBuffer`, used while this runs
 * @returns undefined when the disk has no root of the pool, or cannot be read. @throws host errors other than `ERR_IO`
 */
export async function glanceAtQuorumDisk(member: MetadataDisk, poolId: string, ring: Uint8Array): Promise<Glance | undefined> {
  try {
    await member.disk.read(ROOTS_AT, ring)
  } catch (error) {
    if (isCode(error, 'ERR_IO')) return undefined
    throw error
  }
  const root = newestRoot(ring, poolId, member.id)
  if (!root) return undefined
  const tail = await readTailOf(member, root)
  return { member, root, tail, head: headOf(root, tail) }
}

/** Goes by numbers that are not checked yet, downwards, until one belongs to a whole root: none that is whole can be above it. */
function newestRoot(ring: Uint8Array, poolId: string, diskId: string): Root | undefined {
  const view = new DataView(ring.buffer, ring.byteOffset, ring.byteLength)
  const claimed: { readonly at: number; readonly epochNumber: number; readonly number: number }[] = []
  for (let at = 0; at < ring.length; at += BLOCK) {
    if (hasMagic('root', ring.subarray(at, at + BLOCK)))
      claimed.push({
        at,
        epochNumber: uncheckedU64(view, at + rootFields.fields.epochNumber.offset),
        number: uncheckedU64(view, at + rootFields.fields.number.offset),
      })
  }
  claimed.sort((a, b) => b.epochNumber - a.epochNumber || b.number - a.number)
  for (const { at } of claimed) {
    const root = decodeRoot(ring.subarray(at, at + BLOCK), ROOTS_AT + at, poolId, diskId)
    if (root) return root
  }
  return undefined
}

/** Whether a root is still in its place in the ring of a disk: what it points to is kept as long as it is. @throws host errors other than `ERR_IO` */
export async function hasRoot(member: MetadataDisk, poolId: string, root: Pick<Root, 'epoch' | 'number'>): Promise<boolean> {
  const address = rootAddress(root.number)
  const block = new Uint8Array(BLOCK)
  try {
    await member.disk.read(address, block)
  } catch (error) {
    if (isCode(error, 'ERR_IO')) return false
    throw error
  }
  const found = decodeRoot(block, address, poolId, member.id)
  return found?.epoch === root.epoch && found.number === root.number
}

export function readTailOf(member: MetadataDisk, root: Root, upTo?: number): Promise<Tail> {
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(length)
    await member.disk.read(JOURNAL_AT + offset, bytes)
    return bytes
  }
  return readTail(read, member.id, root, upTo)
}

/** The root to load a state from: the newest of its epoch that does not go beyond it. */
export const rootFor = (roots: readonly Root[], state: State): Root | undefined =>
  roots.find(root => root.epoch === state.epoch && root.sequence <= state.sequence)

const stateOf = (root: Root): State => ({
  epoch: root.epoch,
  epochNumber: root.epochNumber,
  sequence: root.sequence,
  members: root.members,
})

function headOf(root: Root, tail: Tail): State {
  const last = tail.blocks.at(-1)
  return last ? { epoch: root.epoch, epochNumber: root.epochNumber, sequence: last.sequence, members: last.members } : stateOf(root)
}

/** The states on the line of a disk: changes of membership in the tail, roots of its epochs, and what those follow. */
function lineOf(roots: readonly Root[], newest: Root, tail: Tail): State[] {
  const line: State[] = []
  let members = newest.members.join()
  let before: State = stateOf(newest)
  for (const block of tail.blocks) {
    const state = { epoch: newest.epoch, epochNumber: newest.epochNumber, sequence: block.sequence, members: block.members }
    if (block.members.join() !== members) line.push(before, state)
    members = block.members.join()
    before = state
  }
  for (let root: Root | undefined = newest; root;) {
    line.push(stateOf(root))
    if (root.epochNumber === 0) break
    line.push({ epoch: root.parentEpoch, epochNumber: root.parentEpochNumber, sequence: root.parentSequence, members: root.parentMembers })
    const { parentEpoch, parentSequence, epochNumber }: Root = root
    root = roots.find(candidate => candidate.epoch === parentEpoch && candidate.sequence <= parentSequence && candidate.epochNumber < epochNumber)
  }
  for (const departure of newest.departures) if (!line.some(state => state.epoch === departure.epoch)) line.push({ ...departure, members: [] })
  return line
}
