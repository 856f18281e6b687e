/** Where the state that won is read from. */
import { LunarError } from '../core/base/errors.ts'
import type { Tail } from './journal.ts'
import type { Decision } from './quorum.ts'
import { rootFor, type Inspection } from './quorum-disk.ts'
import type { Root } from './root.ts'

/** A disk, and the root of it from which its journal may go on to the state that won. */
export interface Source {
  readonly member: Inspection['member']
  readonly root: Root
}

/**
 * The disks and the roots to load the winning state from, the best first: current ones, then those that have gone on from it, then those that
 * stayed behind. A checkpoint of what all have, such as a clean close, is a second root
 * of the same state, and a crash may leave it on some disks only: the newest one is taken, whose tail is empty then, so that
 * opening overwrites nothing that either points to.
 * @throws LunarError `ERR_METADATA_DAMAGED` when there is none
 */
export function findSources(inspections: readonly Pick<Inspection, 'member' | 'roots'>[], decision: Pick<Decision, 'winner' | 'current' | 'stale'>): Source[] {
  const rank = ({ member }: Source): number => (decision.current.includes(member.id) ? 2 : decision.stale.includes(member.id) ? 0 : 1)
  const found: Source[] = []
  for (const { member, roots } of inspections) {
    const root = rootFor(roots, decision.winner)
    if (root) found.push({ member, root })
  }
  if (found.length === 0) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot open the pool', { why: 'no quorum disk has a root of the state that won' })
  return found.sort((a, b) => rank(b) - rank(a) || b.root.number - a.root.number)
}

/**
 * Reads the journal behind the best source. A disk that is not current may hold the state only up to where it left it: then the next one is asked.
 * @param sequence of the state that won @returns the first that goes on to it, else the last
 */
export async function readSource<T extends Pick<Tail, 'blocks'>>(
  sources: readonly Source[],
  sequence: number,
  readTail: (source: Source) => Promise<T>,
): Promise<Source & { readonly tail: T }> {
  const [source, ...others] = sources
  const tail = await readTail(source!)
  if (source!.root.sequence + tail.blocks.length === sequence || others.length === 0) return { ...source!, tail }
  return readSource(others, sequence, readTail)
}
