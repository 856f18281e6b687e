import { LunarError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { PARITY_MEMBER, parityCount, SLICES, type Redundancy } from '../raid/geometry.ts'
import { logSegmentsOf } from '../pool/parity-logs.ts'
import { placeMember } from '../pool/place-member.ts'
import { domainCount, fewestDisks, type Candidate } from '../pool/placement.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import { visitStoresOn } from './evacuation.ts'
import type { Lun } from './lun.ts'
import type { Luns } from './luns.ts'

/** What a LUN has on the disk: bytes of segments. */
export interface EvacuationPart {
  readonly lun: string
  readonly segments: number
  readonly bytes: number
}

/**
 * What moves when a disk leaves. The moves are tried on paper, in the order and by the rules of `Evacuation`.
 *
 * @param joining a disk that is added before
 * @throws LunarError `ERR_TOO_FEW_DISKS` for a type in use, for the metadata or the quorum; `ERR_POOL_FULL` with numbers; `ERR_DATA_LOST` naming LUNs
 *   that have data on it which neither the disk nor others give
 */
export async function planEvacuation(pool: Pool, luns: Luns, disk: PoolDisk, joining?: Candidate): Promise<EvacuationPart[]> {
  const candidates = pool.hopefulCandidates().filter(candidate => candidate.disk !== disk.number)
  if (joining) candidates.push(joining)
  checkDisks(luns, disk, candidates)
  const free = new Map(candidates.map(candidate => [candidate.disk, candidate.free]))
  const known = new Map(candidates.map(candidate => [candidate.disk, candidate]))
  const logs = new Set(pool.logs.keys())
  const parts = new Map<string, number>()
  const lost = new Set<string>()
  let segments = 0
  let homeless = 0
  await visitStoresOn(pool, luns, disk, async (lun, store, members) => {
    const { table } = lun.stores
    await table.load(store)
    if (!table.exists(store)) return true
    const raid = table.raid(store)
    if (!lun.isDeleted && members.some(member => isLost(lun, store, member))) lost.add(lun.name)
    const places = table.membersOf(store).map(({ disk: number }, m) => (members.includes(m) ? undefined : pool.placeOf(number)))
    for (const member of members) {
      segments++
      parts.set(lun.name, (parts.get(lun.name) ?? 0) + 1)
      const open = candidates.map(candidate => ({ ...candidate, free: free.get(candidate.disk)! - logRoom(raid, member, candidate, logs) }))
      const chosen = placeMember(raid, member, places, open)
      if (chosen === undefined) {
        homeless++
        continue
      }
      const candidate = known.get(chosen)!
      free.set(chosen, free.get(chosen)! - 1 - logRoom(raid, member, candidate, logs))
      if (holdsLog(raid, member)) logs.add(chosen)
      places[member] = candidate
    }
    return true
  })
  if (lost.size > 0) {
    throw new LunarError('ERR_DATA_LOST', `Cannot remove disk ${disk.number}`, {
      why: `${[...lost].join(', ')} ${lost.size === 1 ? 'has' : 'have'} data on it that no other disk has, and it does not give it now`,
      fix: 'bring the disk back, or delete these LUNs first',
      blockers: [...lost],
    })
  }
  if (homeless > 0) {
    const room = candidates.reduce((sum, candidate) => sum + candidate.free, 0)
    throw new LunarError('ERR_POOL_FULL', `Cannot remove disk ${disk.number}`, {
      why: `${formatSize(segments * SEGMENT)} lie on it; the others have ${formatSize(room * SEGMENT)} free, but by the rules of redundancy ${formatSize(homeless * SEGMENT)} of it have no place there`,
      fix: 'lunar disk add, lunar disk replace, or delete what is not needed',
    })
  }
  return [...parts].map(([lun, count]) => ({ lun, segments: count, bytes: count * SEGMENT }))
}

const holdsLog = (raid: Redundancy, member: number): boolean => parityCount[raid] > 0 && member === PARITY_MEMBER

/** Segments that a disk needs for its parity log before parity lies on it. */
const logRoom = (raid: Redundancy, member: number, { disk, total }: Candidate, logs: ReadonlySet<number>): number =>
  holdsLog(raid, member) && !logs.has(disk) ? logSegmentsOf(total) : 0

/** Whether a bound slice of a member can be had neither from its disk nor from others. The store's page is loaded. */
function isLost({ stores: { table, members } }: Lun, store: number, member: number): boolean {
  for (let slice = 0; slice < SLICES; slice++)
    if ((table.boundMask(store) & (1 << slice)) !== 0 && !members.isCurrent(store, slice, member) && !members.isCovered(store, slice, member)) return true
  return false
}

function checkDisks(luns: Luns, disk: PoolDisk, candidates: readonly Candidate[]): void {
  const refuse = (why: string): never => {
    throw new LunarError('ERR_TOO_FEW_DISKS', `Cannot remove disk ${disk.number}`, { why, fix: `lunar disk replace ${disk.number} FILE, or lunar disk add` })
  }
  if (candidates.length === 0) refuse('no other disk in service can hold the metadata of the pool')
  const types = new Map<Redundancy, string>()
  for (const lun of luns.all) for (const raid of lun.types) if (!types.has(raid)) types.set(raid, lun.name)
  for (const [raid, name] of types) {
    const left = domainCount(candidates)
    if (left < fewestDisks(raid)) refuse(`LUN ${name} is ${raid}, which needs ${fewestDisks(raid)} disks in different failure domains; ${left} would be left`)
  }
}
