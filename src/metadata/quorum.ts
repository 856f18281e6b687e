import { LunarError } from '../core/base/errors.ts'

/**
 * Which copies of the metadata open a pool: a pure decision (engine.md section 3, Quorum; hazards 30, 31).
 *
 * A state is a place on a line of commits: (epoch, sequence). An epoch begins at a state of its parent epoch, so lines
 * form a tree. A commit is acknowledged only when every member of the quorum at that state has it.
 */
export interface State {
  readonly epoch: string
  readonly epochNumber: number
  readonly sequence: number
  /** Disk ids of the quorum at this state; empty where a copy does not remember them, and then it is no candidate. */
  readonly members: readonly string[]
}

/** What one readable quorum disk holds. */
export interface QuorumCopy {
  readonly disk: string
  readonly head: State
  /** States this copy passed on its line, the head included, in any order: starts of epochs, changes of membership. */
  readonly line: readonly State[]
  /**
   * The newest state that a root of this copy proves to have been on every member: a checkpoint writes its root when all
   * commits up to it are acknowledged. Not the first root of an epoch, which brings members up to date itself.
   */
  readonly proven?: State
}

export interface Decision {
  readonly winner: State
  /** Copies whose head is the winner. */
  readonly current: readonly string[]
  /** Ancestors of the winner: to be brought up to date. */
  readonly stale: readonly string[]
  /**
   * Stale copies of members that lack what all members had: more than the last commit, for commits come one after the
   * other, or one that a later root proves. Such a disk was put back to an older state, and its data with it. Epochs do not
   * count: one that began and crashed acknowledged nothing.
   */
  readonly rolledBack: readonly string[]
  /** Copies with blocks of a crashed or forced writer that the winner does not follow: overwritten. */
  readonly leftover: readonly string[]
  /** Members of the winner that no copy was given for. */
  readonly absent: readonly string[]
}

/** Of each epoch that a copy contains: its number, and the highest sequence in it. */
type Reach = ReadonlyMap<string, { readonly epochNumber: number; readonly sequence: number }>

function reach(copy: QuorumCopy): Reach {
  const map = new Map<string, { epochNumber: number; sequence: number }>()
  for (const { epoch, epochNumber, sequence } of [...copy.line, copy.head]) {
    const known = map.get(epoch)
    if (!known) map.set(epoch, { epochNumber, sequence })
    else if (known.sequence < sequence) known.sequence = sequence
  }
  return map
}

const sameState = (a: State, b: State): boolean => a.epoch === b.epoch && a.sequence === b.sequence
const newer = (a: State, b: State): number => b.epochNumber - a.epochNumber || b.sequence - a.sequence

export interface DecideOptions {
  /** `--force=quorum`: what is left decides, also half or less of the newest membership. */
  readonly force?: boolean
  /** `--choose DISK`: the side of this disk wins a split brain. */
  readonly choose?: string
}

/**
 * @throws LunarError `ERR_QUORUM_LOST` when what cannot be read may be newer, `ERR_SPLIT_BRAIN` when two states, neither
 *   following the other, each have more than half of their own members
 */
export function decideQuorum(copies: readonly QuorumCopy[], options: DecideOptions = {}): Decision {
  const lines = new Map(copies.map(copy => [copy.disk, reach(copy)]))
  const has = (disk: string, state: State): boolean => (lines.get(disk)?.get(state.epoch)?.sequence ?? -1) >= state.sequence
  const supporters = (state: State): string[] => state.members.filter(disk => has(disk, state))
  const established = (state: State): boolean => supporters(state).length * 2 > state.members.length
  const refuted = (state: State): boolean => !established(state) && state.members.some(disk => lines.has(disk) && !has(disk, state))
  /** Whether one copy that holds `b` also holds `a`: `a` is `b` or an ancestor of it. */
  const follows = (a: State, b: State): boolean => {
    if (a.epoch === b.epoch) return a.sequence <= b.sequence
    return copies.some(copy => has(copy.disk, b) && has(copy.disk, a) && isBefore(lines.get(copy.disk)!, a, b))
  }
  /**
   * Whether `a` is an ancestor of `b` by way of states between them: disks that joined long after `a` do not remember it, and one
   * that left the quorum since remembers what it had when they joined.
   */
  const followsByOthers = (a: State, b: State): boolean => {
    const reached = new Set([a])
    for (const from of reached) {
      for (const state of states) {
        if (reached.has(state) || !follows(from, state)) continue
        if (follows(state, b)) return true
        reached.add(state)
      }
    }
    return false
  }
  const leadsTo = (a: State, b: State): boolean => follows(a, b) || followsByOthers(a, b)
  const states: State[] = []
  const known = new Set<string>()
  for (const copy of copies)
    for (const state of [copy.head, ...copy.line]) {
      const key = `${state.epoch} ${state.sequence}`
      if (state.members.length === 0 || known.has(key)) continue
      known.add(key)
      states.push(state)
    }
  if (states.length === 0) throw new LunarError('ERR_QUORUM_LOST', 'Cannot open the pool: no quorum disk is readable')

  const winner = options.choose !== undefined ? chosen(copies, options.choose) : pick()
  return sort(winner)

  function pick(): State {
    const firm = states.filter(established)
    const tops = firm
      .filter(state => !firm.some(other => other !== state && follows(state, other)))
      .filter((state, _, unfollowed) => !unfollowed.some(other => other !== state && followsByOthers(state, other)))
    if (tops.length > 1) throw splitBrain(copies, tops)
    const top = tops[0]
    const pending = states.filter(state => !established(state) && !refuted(state) && !(top && leadsTo(state, top)))
    if (top && pending.length === 0) return top
    if (!options.force) throw quorumLost(copies, [...pending, ...states].sort(newer)[0]!)
    const open = [...(top ? [top] : []), ...(pending.length > 0 ? pending : states)]
    const heads = open.filter(state => !open.some(other => other !== state && leadsTo(state, other)))
    if (heads.length > 1) throw splitBrain(copies, heads)
    return heads[0]!
  }

  function sort(state: State): Decision {
    const current: string[] = []
    const stale: string[] = []
    const rolledBack: string[] = []
    const leftover: string[] = []
    const provenBy = copies.flatMap(({ proven }) => (proven?.members.length && leadsTo(proven, state) ? [proven] : []))
    const lacks = (copy: QuorumCopy): boolean =>
      (state.members.includes(copy.disk) && state.sequence - copy.head.sequence >= 2) ||
      provenBy.some(proven => proven.members.includes(copy.disk) && copy.head.sequence < proven.sequence)
    for (const copy of copies) {
      if (sameState(copy.head, state)) current.push(copy.disk)
      else if (leadsTo(copy.head, state)) {
        stale.push(copy.disk)
        if (lacks(copy)) rolledBack.push(copy.disk)
      } else leftover.push(copy.disk)
    }
    return { winner: state, current, stale, rolledBack, leftover, absent: state.members.filter(disk => !lines.has(disk)) }
  }
}

/**
 * What `decideQuorum` says where all copies have the same head and every member of it is among them: then nothing else
 * on their lines matters. A command that only looks is spared those.
 *
 * @returns undefined when the copies differ or a member is away
 */
export function decideAgreed(copies: readonly Pick<QuorumCopy, 'disk' | 'head'>[]): Decision | undefined {
  const winner = copies[0]?.head
  if (!winner || winner.members.length === 0) return undefined
  const members = winner.members.join()
  if (copies.some(({ head }) => !sameState(head, winner) || head.members.join() !== members)) return undefined
  const current = copies.map(({ disk }) => disk)
  return winner.members.every(disk => current.includes(disk)) ? { winner, current, stale: [], rolledBack: [], leftover: [], absent: [] } : undefined
}

/** Whether `a` comes before `b` on the line of one copy that holds both, in different epochs. */
function isBefore(line: Reach, a: State, b: State): boolean {
  const from = line.get(a.epoch)
  const to = line.get(b.epoch)
  // The line of a copy has one state for the end of each epoch it left: `a` must not lie beyond it.
  return from !== undefined && to !== undefined && from.epochNumber < to.epochNumber && a.sequence <= from.sequence
}

function chosen(copies: readonly QuorumCopy[], disk: string): State {
  const copy = copies.find(candidate => candidate.disk === disk)
  if (!copy) throw new LunarError('ERR_DISK_NOT_FOUND', `Cannot choose disk ${disk}`, { why: 'it is not a readable quorum disk of the pool' })
  return copy.head
}

const describe = (copies: readonly QuorumCopy[], state: State): string => {
  const holders = copies.filter(copy => sameState(copy.head, state)).map(copy => copy.disk.slice(0, 8))
  return `epoch ${state.epochNumber} (${state.epoch.slice(0, 8)}), sequence ${state.sequence}, on disk ${holders.join(', ') || 'none as the newest'}`
}

function splitBrain(copies: readonly QuorumCopy[], sides: readonly State[]): LunarError {
  return new LunarError('ERR_SPLIT_BRAIN', 'Cannot open the pool: it was written in two places apart from each other', {
    why: sides.map((side, i) => `side ${i + 1}: ${describe(copies, side)}`).join('; '),
    blockers: sides.map(side => describe(copies, side)),
  })
}

function quorumLost(copies: readonly QuorumCopy[], newest: State): LunarError {
  const readable = newest.members.filter(disk => copies.some(copy => copy.disk === disk))
  const needed = Math.floor(newest.members.length / 2) + 1
  const missing = newest.members.filter(disk => !readable.includes(disk))
  return new LunarError('ERR_QUORUM_LOST', 'Cannot open the pool: too few of its quorum disks can be read', {
    why: `${readable.length} of ${newest.members.length} quorum disks are readable, ${needed} are needed; missing: ${missing.map(id => id.slice(0, 8)).join(', ') || 'none'}`,
    blockers: missing,
  })
}
