/**
 * The functions of Table 2 of US 9,087,013 by their names, over the same verbs as everything else. `DcsPITDevice…` work
 * on a handle of a relationship, `DcsPM…` translate between the numbers of volumes and their ids.
 */
import { LunarError } from '../core/base/errors.ts'
import type { ByteRange, ProcessName, RelationshipConfig, RelationshipHold, RelationshipStatus, Result, TaskView } from '../core/server/api.ts'
import { parseVolumeId, placeOfVolume, servedIdAt, volumeIdAt } from '../core/server/volume-id.ts'
import { openPools } from './open-pool.ts'
import type { Pool } from './pool.ts'
import type { ActiveMaps, Relationship, RelationshipReference, StartOptions } from './relationships.ts'

declare const opaque: unique symbol

/** Stands for one relationship in the calls below. It means nothing in another process, and nothing after it was closed. */
export interface PITDeviceHandle {
  readonly [opaque]: 'PITDevice'
}

interface OpenHandle {
  readonly pool: Pool
  readonly relationship: Relationship
  readonly hold: RelationshipHold
  closed: boolean
}

const handles = new WeakMap<PITDeviceHandle, OpenHandle>()

function known(handle: PITDeviceHandle): OpenHandle {
  const found = handles.get(handle)
  if (!found) throw new LunarError('ERR_BAD_HANDLE', 'Cannot use the handle', { why: 'DcsPITDeviceCreateHandle did not give it' })
  return found
}

function use(handle: PITDeviceHandle): OpenHandle {
  const found = known(handle)
  const why = found.closed ? 'it was closed' : found.pool.isClosed ? `pool "${found.pool.name}" was closed` : undefined
  if (why !== undefined) throw new LunarError('ERR_BAD_HANDLE', `Cannot use the handle of relationship ${found.hold.number}`, { why })
  return found
}

// ---- handles

/** Binds a handle to a relationship that exists. While it is open nobody can unconfigure it. @throws LunarError `ERR_RELATIONSHIP_NOT_FOUND`, `ERR_READ_ONLY` when the pool is open as a view */
export async function DcsPITDeviceCreateHandle(pool: Pool, rel: RelationshipReference): Promise<PITDeviceHandle> {
  const hold = await pool.relationship(rel).hold()
  const handle = Object.freeze({}) as PITDeviceHandle
  handles.set(handle, { pool, hold, relationship: pool.relationship(`DcsSnap${hold.number}`), closed: false })
  return handle
}

/** Lets the relationship go; closing twice is harmless. */
export async function DcsPITDeviceCloseHandle(handle: PITDeviceHandle): Promise<void> {
  const found = known(handle)
  if (found.closed) return
  found.closed = true
  await found.hold.close()
}

// ---- the relationship

/** Enables: with the maps that are kept, or anew with `fresh` and the first time. @throws LunarError `ERR_LOST_PART`, `ERR_MIXED`, `ERR_BUSY`, `ERR_RELATIONSHIP_STATE` */
export async function DcsPITDeviceEnable(handle: PITDeviceHandle, options: { readonly fresh?: boolean } = {}): Promise<{ asOf: string; lost: ByteRange[] }> {
  const { asOf, lost } = await use(handle).relationship.enable({ fresh: options.fresh ?? false })
  return { asOf, lost }
}

/** Takes the relationship out of all I/O; maps and chunks are kept. */
export async function DcsPITDeviceDisable(handle: PITDeviceHandle): Promise<void> {
  await use(handle).relationship.disable()
}

/** The settings as they are stored. */
export async function DcsPITDeviceGetConfigure(handle: PITDeviceHandle): Promise<RelationshipConfig> {
  return use(handle).relationship.config()
}

/** The settings in use. @throws LunarError `ERR_RELATIONSHIP_STATE` when it is disabled */
export async function DcsPITDeviceGetActiveConfigure(handle: PITDeviceHandle): Promise<Result<'snap.activeConfig'>> {
  return use(handle).relationship.activeConfig()
}

/** State, percent different, percent complete, and what runs. */
export async function DcsPITDeviceGetStatus(handle: PITDeviceHandle): Promise<RelationshipStatus> {
  return use(handle).relationship.status()
}

/** The size of map and chunk, and the two bitmaps of one instant. */
export async function DcsPITDeviceGetActiveMaps(
  handle: PITDeviceHandle,
): Promise<Pick<ActiveMaps, 'chunks' | 'chunkBlocks' | 'migrated' | 'delta' | 'generation'>> {
  const { chunks, chunkBlocks, migrated, delta, generation } = await use(handle).relationship.maps()
  return { chunks, chunkBlocks, migrated, delta, generation }
}

// ---- its processes

async function start(handle: PITDeviceHandle, kind: ProcessName, options: StartOptions | undefined): Promise<TaskView | null> {
  const { pool, relationship } = use(handle)
  const { task, outcome } = await relationship.start(kind, options)
  return outcome ?? (task === null ? null : pool.tasks.show(task))
}

async function abort(handle: PITDeviceHandle, kind: ProcessName): Promise<{ done: number; left: number }> {
  const { done, left } = await use(handle).relationship.stop(kind)
  return { done, left }
}

async function delay(handle: PITDeviceHandle, kind: ProcessName, ms: number | 'adaptive'): Promise<{ was: number | 'adaptive' }> {
  const { was } = await use(handle).relationship.setDelay(kind, ms)
  return { was }
}

/** Starts copying every chunk that the image lacks, so that it can be used without its source. @returns the task, ended with `wait`; null when there was nothing to do */
export async function DcsPITDeviceStartImageCompletion(handle: PITDeviceHandle, options?: StartOptions): Promise<TaskView | null> {
  return start(handle, 'completeImage', options)
}

/** Starts bringing the image to the source of now. @returns the task, ended with `wait`; null when there was nothing to do */
export async function DcsPITDeviceStartImageUpdate(handle: PITDeviceHandle, options?: StartOptions): Promise<TaskView | null> {
  return start(handle, 'imageUpdate', options)
}

/** Starts bringing the source to its image. @returns the task, ended with `wait`; null when there was nothing to do */
export async function DcsPITDeviceStartSourceUpdate(handle: PITDeviceHandle, options?: StartOptions): Promise<TaskView | null> {
  return start(handle, 'sourceUpdate', options)
}

/** Stops after the chunk in hand; what is copied stays. @returns bytes done and left */
export async function DcsPITDeviceAbortImageCompletion(handle: PITDeviceHandle): Promise<{ done: number; left: number }> {
  return abort(handle, 'completeImage')
}

/** Stops after the chunk in hand; the image stays mixed until an update ends. @returns bytes done and left */
export async function DcsPITDeviceAbortImageUpdate(handle: PITDeviceHandle): Promise<{ done: number; left: number }> {
  return abort(handle, 'imageUpdate')
}

/** Stops after the chunk in hand; the source stays mixed until an update ends. @returns bytes done and left */
export async function DcsPITDeviceAbortSourceUpdate(handle: PITDeviceHandle): Promise<{ done: number; left: number }> {
  return abort(handle, 'sourceUpdate')
}

/** Sets the pause between chunks of a complete image, while it runs too. @param ms 0 to 3600000, or `adaptive` */
export async function DcsPITDeviceDelayImageCompletion(handle: PITDeviceHandle, ms: number | 'adaptive'): Promise<{ was: number | 'adaptive' }> {
  return delay(handle, 'completeImage', ms)
}

/** Sets the pause between chunks of an image update, while it runs too. @param ms 0 to 3600000, or `adaptive` */
export async function DcsPITDeviceDelayImageUpdate(handle: PITDeviceHandle, ms: number | 'adaptive'): Promise<{ was: number | 'adaptive' }> {
  return delay(handle, 'imageUpdate', ms)
}

/** Sets the pause between chunks of a source update, while it runs too. @param ms 0 to 3600000, or `adaptive` */
export async function DcsPITDeviceDelaySourceUpdate(handle: PITDeviceHandle, ms: number | 'adaptive'): Promise<{ was: number | 'adaptive' }> {
  return delay(handle, 'sourceUpdate', ms)
}

// ---- volume ids

/** A volume by number: `disk` is the number that its pool gave it for life, `partition` 0 the whole, n the nth GPT or MBR entry inside. */
export interface VolumePlace {
  /** UUID of the pool. */
  readonly pool: string
  readonly disk: number
  readonly partition: number
}

/** Every open pool once, however often it was opened. */
function poolsOnce(): Pool[] {
  return [...new Map(openPools().map(pool => [pool.id, pool])).values()]
}

/** @throws LunarError `ERR_POOL_AMBIGUOUS` when several are open and none is named, `ERR_POOL_NOT_FOUND` */
function onePool(pool: Pool | string | undefined): Pool {
  const named = typeof pool === 'object' ? [pool] : poolsOnce().filter(({ id, name }) => pool === undefined || id === pool || name === pool)
  const [only, another] = named
  if (only && another) throw new LunarError('ERR_POOL_AMBIGUOUS', 'Cannot tell which pool is meant', { why: `${named.length} are open`, fix: 'name the pool' })
  if (!only) throw new LunarError('ERR_POOL_NOT_FOUND', 'Cannot find the volume', { why: 'no such pool is open in this process', fix: 'openPool first' })
  return only
}

/**
 * The id of a volume or of a partition inside of it; always the same for the same.
 *
 * @param pool the pool, its name or its id; the only one that this process has open when left out
 * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_PARTITION_NOT_FOUND`, `ERR_POOL_NOT_FOUND`, `ERR_POOL_AMBIGUOUS`
 */
export async function DcsPMGenerateVolumeID(disk: number, partition: number, pool?: Pool | string): Promise<string> {
  return volumeIdAt(onePool(pool).service, disk, partition)
}

/** The id under which a volume is served: the name of the export that it, or the partition, lies in. @throws LunarError `ERR_NOT_PRESENTED`; and as DcsPMGenerateVolumeID */
export async function DcsPMGetSDSVolumeID(disk: number, partition: number, pool?: Pool | string): Promise<string> {
  return servedIdAt(onePool(pool).service, disk, partition)
}

/** The ids of all volumes of all pools that this process has open. */
export async function DcsPMListVolumes(): Promise<string[]> {
  const lists = await Promise.all(poolsOnce().map(pool => pool.luns.list()))
  return lists.flat().map(({ id }) => id)
}

/** What an id means: the inverse of DcsPMGenerateVolumeID. @throws LunarError `ERR_USAGE` when it is none, `ERR_LUN_NOT_FOUND`, `ERR_PARTITION_NOT_FOUND` */
export async function DcsPMTranslateVolumeID(id: string): Promise<VolumePlace> {
  const volume = parseVolumeId(id)
  for (const pool of poolsOnce()) {
    const place = await placeOfVolume(pool.service, volume)
    if (place) return { pool: pool.id, ...place }
  }
  throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find volume ${id}`, { why: 'no pool that is open in this process has it' })
}
