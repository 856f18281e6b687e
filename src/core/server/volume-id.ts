/** Volume ids: the UUID of a LUN, and `UUID/pN` for the Nth partition inside of it (DataCore Table 2, DcsPM functions). */
import { LunarError } from '../base/errors.ts'
import { findPartition, type Partition } from '../lun/partitions.ts'
import type { LunSummary, PoolService } from './api.ts'

/** Whatever can be asked about the volumes of a pool. */
export type VolumeService = Pick<PoolService, 'pool' | 'call' | 'openLun'>

export interface VolumeId {
  /** UUID of the LUN. */
  readonly lun: string
  /** 0: the whole LUN. */
  readonly partition: number
}

export const formatVolumeId = ({ lun, partition }: VolumeId): string => (partition === 0 ? lun : `${lun}/p${partition}`)

/** @throws LunarError `ERR_USAGE` when the text is none */
export function parseVolumeId(text: string): VolumeId {
  const match = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/p([1-9]\d{0,3}))?$/i.exec(text)
  if (!match)
    throw new LunarError('ERR_USAGE', `Cannot use ${JSON.stringify(text)} as a volume id`, {
      why: 'it is the UUID of a LUN, or UUID/pN for a partition',
      fix: 'lunar lun list -o name,volume-id',
    })
  return { lun: match[1]!.toLowerCase(), partition: Number(match[2] ?? 0) }
}

/** The LUN that an id means; undefined when the pool has none. */
export async function findLun(service: VolumeService, { lun }: VolumeId, signal?: AbortSignal): Promise<LunSummary | undefined> {
  return (await service.call('lun.list', {}, signal)).data.find(({ id }) => id === lun)
}

/** What is at a partition's place; null for the whole LUN. @throws LunarError `ERR_PARTITION_NOT_FOUND`, and what opening and reading the LUN throws */
export async function readPartition(service: VolumeService, lun: string, partition: number): Promise<Partition | null> {
  if (partition === 0) return null
  const device = await service.openLun(lun, { readOnly: true, mixed: true })
  try {
    return await findPartition(device, partition, `LUN "${lun}"`)
  } finally {
    await device.close()
  }
}

/** The volume of a number. @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_PARTITION_NOT_FOUND` */
async function volumeAt(service: VolumeService, disk: number, partition: number): Promise<LunSummary> {
  const lun = (await service.call('lun.list', {})).data.find(({ number }) => number === disk)
  if (!lun) throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find volume ${disk} in pool "${service.pool}"`)
  await readPartition(service, lun.name, partition)
  return lun
}

/** The id of the volume of a number, or of a partition inside of it. @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_PARTITION_NOT_FOUND` */
export async function volumeIdAt(service: VolumeService, disk: number, partition: number): Promise<string> {
  return formatVolumeId({ lun: (await volumeAt(service, disk, partition)).id, partition })
}

/** The export in which it is served, whole. @throws LunarError `ERR_NOT_PRESENTED` when no host reaches it; and as `volumeIdAt` */
export async function servedIdAt(service: VolumeService, disk: number, partition: number): Promise<string> {
  const { name, presentedTo } = await volumeAt(service, disk, partition)
  if (presentedTo.length > 0) return name
  throw new LunarError('ERR_NOT_PRESENTED', `Cannot tell the id as served of volume ${disk}, LUN "${name}"`)
}

/** Disk and partition that an id means. @returns undefined when the pool has no such LUN @throws LunarError `ERR_PARTITION_NOT_FOUND` */
export async function placeOfVolume(service: VolumeService, id: VolumeId): Promise<{ disk: number; partition: number } | undefined> {
  const lun = await findLun(service, id)
  if (!lun) return undefined
  await readPartition(service, lun.name, id.partition)
  return { disk: lun.number, partition: id.partition }
}
