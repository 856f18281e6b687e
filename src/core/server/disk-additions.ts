/** Disks that join a pool. */
import { checkDiskSize } from '../pool/format.ts'
import type { SetPlace } from '../pool/sets.ts'
import type { DiskSummary, Params, Result } from './api.ts'
import type { EngineParts } from './engine.ts'
import type { NewDisk } from './engine-types.ts'

/** The disks of the pool are where they are now: so that the next command finds them. */
export async function rememberPaths({ pool, options }: Pick<EngineParts, 'pool' | 'options'>): Promise<void> {
  const paths = [...pool.disks.values()].flatMap(disk => (disk.device ? [disk.device.name] : []))
  await options.opener.remember(pool.record.name, pool.poolId, paths)
}

export async function addDisks(parts: EngineParts, { disks, witness, overwrite, dryRun }: Params<'disk.add'>): Promise<Result<'disk.add'>> {
  const { pool, views, options } = parts
  await options.opener.requireDistinct(disks.map(spec => spec.path))
  const made: (NewDisk & { witness: boolean; domain: string })[] = []
  try {
    for (const spec of disks) {
      const disk = await options.opener.create(spec, { overwrite: overwrite === true, dryRun: dryRun === true, witness: witness === true })
      made.push({ ...disk, witness: witness === true, domain: spec.domain ?? '' })
    }
    for (const { disk } of made) checkDiskSize(disk.name, disk.size, witness === true)
    if (!dryRun) await pool.reserveAreas(made)
  } catch (error) {
    for (const { undo } of made) await undo?.()
    throw error
  }
  if (dryRun) {
    const places = witness ? new Map<number, SetPlace>() : pool.placesWith(made)
    return made.map(({ disk, domain }, i): DiskSummary => ({
      number: pool.record.nextDisk + i,
      id: '',
      path: disk.name,
      state: 'normal',
      witness: witness === true,
      quorum: false,
      domain: domain === '' ? null : domain,
      redundancySet: places.get(pool.record.nextDisk + i)?.set ?? null,
      redundancyIndex: places.get(pool.record.nextDisk + i)?.index ?? null,
      size: disk.size,
      used: 0,
      free: 0,
      stale: 0,
      errors: 0,
    }))
  }
  const added = await pool.addDisks(made)
  await rememberPaths(parts)
  return added.map(disk => views.diskSummary(disk))
}
