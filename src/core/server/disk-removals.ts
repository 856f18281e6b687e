/** The verbs by which disks leave a pool. */
import { LunarError } from '../base/errors.ts'
import { diskLayout } from '../../metadata/layout.ts'
import { planEvacuation } from '../lun/evacuation-plan.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { Candidate } from '../pool/placement.ts'
import type { Params, Result } from './api.ts'
import { addDisks } from './disk-additions.ts'
import type { EngineParts } from './engine.ts'

/** Begins what moves everything off the disk; `task` does it, also after a crash. */
async function remove(parts: EngineParts, disk: PoolDisk, moves: Result<'disk.remove'>['moves'], dryRun: boolean): Promise<Result<'disk.remove'>> {
  const { pool, views, processes } = parts
  const changed = !disk.isLeaving
  if (changed && !dryRun) await pool.leave(disk)
  if (!dryRun) await processes.look()
  return { ...views.diskSummary(disk), moves, task: await taskOf(parts, disk), changed }
}

const taskOf = ({ processes }: EngineParts, disk: PoolDisk): Promise<number | null> =>
  disk.isLeaving ? processes.latestOf('evacuate', disk.number) : Promise.resolve(null)

/** What is to be moved, refused where it cannot be; nothing is checked again of a disk that is leaving already. */
const planOf = (parts: EngineParts, disk: PoolDisk, joining?: Candidate): Promise<Result<'disk.remove'>['moves']> =>
  disk.isLeaving ? Promise.resolve([]) : planEvacuation(parts.pool, parts.luns, disk, joining)

export const diskRemovals = {
  'disk.remove': async (parts: EngineParts, { disk: name, dryRun }: Params<'disk.remove'>): Promise<Result<'disk.remove'>> => {
    const disk = parts.pool.findDisk(name)
    return remove(parts, disk, await planOf(parts, disk), dryRun === true)
  },

  'disk.replace': async (parts: EngineParts, { disk: name, with: spec, overwrite, dryRun }: Params<'disk.replace'>): Promise<Result<'disk.replace'>> => {
    const { pool } = parts
    const disk = pool.findDisk(name)
    if (disk.isLeaving)
      throw new LunarError('ERR_DISK_STATE', `Cannot replace disk ${disk.number}`, { why: 'it is leaving the pool already', fix: 'lunar disk add' })
    // In its place: the failure domain is that of the old one, unless another is said.
    const add = { disks: [{ ...spec, domain: spec.domain ?? disk.domain }], witness: disk.isWitness, overwrite: overwrite === true }
    const [would] = await addDisks(parts, { ...add, dryRun: true })
    const total = diskLayout(would!.size, disk.isWitness).segmentCount
    const joining: Candidate = {
      disk: would!.number,
      free: Math.max(0, total - 1),
      total,
      domain: would!.domain ?? '',
      set: would!.redundancySet ?? 0,
      index: would!.redundancyIndex ?? 0,
    }
    const moves = await planOf(parts, disk, disk.isWitness ? undefined : joining)
    if (dryRun) return { old: await remove(parts, disk, moves, true), new: would! }
    const [added] = await addDisks(parts, add)
    return { old: await remove(parts, disk, moves, false), new: added! }
  },
}
