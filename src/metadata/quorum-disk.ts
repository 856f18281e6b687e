import { isCode } from '../core/base/errors.ts'
import type { Disk } from '../core/block/device.ts'
import { isAllZero } from './block.ts'
import { readTail, type Tail } from './journal.ts'
import { BLOCK, JOURNAL_AT, ROOT_COUNT, ROOTS_AT } from './layout.ts'
import type { QuorumCopy, State } from './quorum.ts'
import { decodeRoot, type Root } from './root.ts'

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
    if (block[4] === 0 && isAllZero(block)) continue
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
