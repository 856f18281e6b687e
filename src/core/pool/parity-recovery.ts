import { isDisksFault } from '../base/errors.ts'
import type { LunStores } from './lun-stores.ts'
import type { ParityLog } from './parity-log.ts'
import type { PoolDisk } from './pool-disk.ts'

/**
 * Does again what an earlier owner had logged and may not have written, makes it durable, and empties the log. Done any number of times
 * it gives the same. For disks that are found when the pool is opened, and for those that come back, before anything of them is
 * believed or resynced.
 *
 * @param failDisk takes a disk out of service that fails to be written; its marks then say what it lacks
 * @throws LunarError `ERR_IO` when the log itself cannot be read or emptied
 */
export async function recoverParity(
  log: ParityLog,
  stores: ReadonlyMap<number, LunStores>,
  failDisk: (disk: PoolDisk, error: unknown) => Promise<void>,
): Promise<void> {
  const written = new Set<PoolDisk>()
  for await (const { lun, ...entry } of log.replayable()) await stores.get(lun)?.replay(entry, log.disk, written, failDisk)
  for (const disk of written) {
    try {
      await disk.flush()
    } catch (error) {
      if (!isDisksFault(error) || disk === log.disk) throw error
      await failDisk(disk, error)
    }
  }
  await log.reset()
}
