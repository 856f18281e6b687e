/** Filling a LUN from a source: which LUN it becomes, and the mark that says it is not whole yet. */
import { isDeepStrictEqual } from 'node:util'
import { LunarError } from '../base/errors.ts'
import { alignUp, formatSize, MIB } from '../base/units.ts'
import { checkRanges, raidText, typesOf } from '../lun/ranges.ts'
import type { LunSummary, LunTypeRange, PoolService, RaidType, RaidTypes, Reply } from './api.ts'

type Transfers = Pick<typeof import('../lun/transfer.ts'), 'importInto'>
type ImportInto = Transfers['importInto']
type TransferOptions = NonNullable<Parameters<ImportInto>[2]>

export interface ImportRequest {
  readonly name: string
  readonly source: string
  /** Bytes, or null for a pipe. */
  readonly sourceSize: number | null
  /** Bytes of a new LUN. */
  readonly size: number | undefined
  readonly raid: RaidType | undefined
  /** Redundant stores that a new LUN interleaves, 1 to 255; with `raid`. */
  readonly stripe?: number | undefined
  /** Types of a new LUN by address, instead of `raid`. */
  readonly ranges?: LunTypeRange[] | undefined
}

export interface ImportPlan {
  readonly lun: string
  readonly source: string
  readonly create: boolean
  /** Bytes of the LUN. */
  readonly size: number
  readonly raid: RaidTypes
  /** Redundant stores that a new LUN interleaves, where that was asked for. */
  readonly stripe?: number
  /** Types of a new LUN by address, where it has several. */
  readonly ranges?: LunTypeRange[]
  /** Bytes that an existing LUN holds now; 0 for one that an earlier import left incomplete. */
  readonly overwrites: number
}

/**
 * Decides what the import will do; changes nothing.
 *
 * @throws LunarError `ERR_USAGE` when the size of a new LUN cannot be told, `ERR_OUT_OF_RANGE` when the source does not
 * fit, `ERR_EXISTS` when an existing LUN is not of the asked size or type
 */
export async function planImport(service: PoolService, request: ImportRequest, signal?: AbortSignal): Promise<Reply<ImportPlan>> {
  const { name, source, sourceSize, stripe } = request
  if (name.includes('@')) return planSnapshot(service, request, signal)
  const ranges = request.ranges === undefined ? undefined : checkRanges(request.ranges)
  if (stripe !== undefined) checkRanges([{ offset: 0, length: null, raid: request.raid ?? 'raid0', stripe }])
  const list = await service.call('lun.list', {}, signal)
  const existing = list.data.find(lun => lun.name === name)
  if (existing) {
    const differs =
      (request.size !== undefined && request.size !== existing.size) ||
      (request.raid !== undefined && request.raid !== existing.raid) ||
      (stripe !== undefined && existing.ranges.some(range => (range.stripe ?? 1) !== stripe)) ||
      (ranges !== undefined && !isDeepStrictEqual(ranges, existing.ranges))
    if (differs)
      throw new LunarError('ERR_EXISTS', `Cannot create LUN "${name}" for the import`, {
        why: `it exists with ${formatSize(existing.size)} and ${typeText(existing)}`,
        fix: 'leave --size, --raid, --stripe and --range out to import into it, or choose another name',
      })
    requireRoom(name, existing.size, sourceSize)
    const overwrites = existing.state.split(', ').includes('incomplete') ? 0 : existing.bound
    return { ...list, data: { lun: name, source, create: false, size: existing.size, raid: existing.raid, overwrites } }
  }
  const size = request.size ?? (sourceSize === null ? undefined : alignUp(sourceSize, MIB))
  if (size === undefined)
    throw new LunarError('ERR_USAGE', `Cannot create LUN "${name}": the size of a pipe cannot be told`, {
      why: 'the LUN does not exist yet',
      fix: 'give --size',
    })
  if (size === 0)
    throw new LunarError('ERR_USAGE', `Cannot create LUN "${name}" from ${source}`, { why: 'the source is empty', fix: 'give --size, or another source' })
  requireRoom(name, size, sourceSize)
  if (ranges) return { ...list, data: { lun: name, source, create: true, size, raid: raidText(typesOf(ranges)), ranges, overwrites: 0 } }
  const raid = request.raid ?? (await usualRaid(service, signal))
  return { ...list, data: { lun: name, source, create: true, size, raid, ...(stripe === undefined ? {} : { stripe }), overwrites: 0 } }
}

/** A snapshot is there, with the size it has; what it holds is that of its source. */
async function planSnapshot(
  service: PoolService,
  { name, source, sourceSize, size, raid, stripe }: ImportRequest,
  signal?: AbortSignal,
): Promise<Reply<ImportPlan>> {
  if (size !== undefined || raid !== undefined || stripe !== undefined)
    throw new LunarError('ERR_USAGE', `Cannot create snapshot "${name}" for the import`, { why: 'an import makes LUNs only', fix: `lunar snap create ${name}` })
  const shown = await service.call('volume.show', { volume: name }, signal)
  requireRoom(name, shown.data.size, sourceSize)
  return { ...shown, data: { lun: name, source, create: false, size: shown.data.size, raid: 'raid1', overwrites: shown.data.bound } }
}

/** `raid0`, or `raid0, 2 stores interleaved`. */
function typeText({ raid, ranges }: LunSummary): string {
  const stripes = [...new Set(ranges.map(({ stripe = 1 }) => stripe))]
  return stripes.every(stripe => stripe === 1) ? raid : `${raid}, ${stripes.join(' and ')} stores interleaved`
}

/** raid1 where two disks can hold it, else raid0. raid5 is for whoever asks for it: its small writes cost more. */
async function usualRaid(service: PoolService, signal: AbortSignal | undefined): Promise<RaidType> {
  const { data } = await service.call('pool.show', {}, signal)
  return data.largest.some(({ raid, size }) => raid === 'raid1' && size > 0) ? 'raid1' : 'raid0'
}

function requireRoom(name: string, size: number, sourceSize: number | null): void {
  if (sourceSize !== null && sourceSize > size)
    throw new LunarError('ERR_OUT_OF_RANGE', `Cannot import ${formatSize(sourceSize)} into LUN "${name}"`, {
      why: `the LUN has ${formatSize(size)}`,
      fix: `lunar lun resize ${name} --size ${sourceSize}`,
    })
}

export interface ImportResult {
  readonly lun: string
  readonly created: boolean
  /** Bytes gone through, data that really went, holes. */
  readonly size: number
  readonly moved: number
  readonly holes: number
  readonly seconds: number
  readonly verified: boolean
}

/**
 * Creates the LUN when planned, fills it and flushes. It is marked incomplete from before the first byte until after
 * the last, so a crash in between is never taken for a whole LUN.
 *
 * @throws LunarError `ERR_INTERRUPTED_IMPORT` when `signal` aborted; it then stays marked, as after every other failure
 */
export async function fillLun(
  service: PoolService,
  transfers: Transfers,
  plan: ImportPlan,
  { mixed = false, ...options }: TransferOptions & { mixed?: boolean },
): Promise<Reply<ImportResult>> {
  const { lun, source } = plan
  const warnings: string[] = []
  // Only a LUN has a mark that it is not whole.
  const isSnapshot = lun.includes('@')
  if (plan.create) {
    const stripe = plan.stripe === undefined ? {} : { stripe: plan.stripe }
    const types = plan.ranges ? { ranges: plan.ranges } : { raid: plan.raid as RaidType, ...stripe }
    warnings.push(...(await service.call('lun.create', { name: lun, size: plan.size, ...types }, options.signal)).warnings)
  }
  // A LUN that cannot be opened (protected, an image out of service) stays as it is.
  const device = await service.openLun(lun, { incomplete: true, mixed })
  try {
    let result: Awaited<ReturnType<ImportInto>>
    try {
      if (!isSnapshot) await service.call('lun.incomplete', { lun, incomplete: true }, options.signal)
      result = await transfers.importInto(device, source, options)
    } finally {
      await device.close()
    }
    const whole = isSnapshot ? await service.call('volume.show', { volume: lun }) : await service.call('lun.incomplete', { lun, incomplete: false })
    return { generation: whole.generation, warnings: [...warnings, ...whole.warnings], data: { lun, created: plan.create, ...result } }
  } catch (error) {
    throw isSnapshot ? error : stopped(error, service.pool, lun, options.signal)
  }
}

/** The same error, saying what became of the LUN and how to go on. */
function stopped(error: unknown, pool: string, lun: string, signal: AbortSignal | undefined): unknown {
  const fix = `lunar lun import ${pool}/${lun} FILE again, or lunar lun delete ${pool}/${lun}`
  if (signal?.aborted)
    return new LunarError('ERR_INTERRUPTED_IMPORT', `The import into LUN "${lun}" was interrupted`, {
      why: 'the LUN is marked incomplete; its data is refused until an import has ended',
      fix,
      cause: error,
    })
  if (!(error instanceof LunarError)) return error
  return new LunarError(error.code, error.message, {
    why: `${error.why}; LUN "${lun}" is marked incomplete`,
    fix: `${error.fix}; then ${fix}`,
    blockers: error.blockers,
    cause: error.cause,
  })
}
