import { LunarError } from '../core/base/errors.ts'
import { formatSize } from '../core/base/units.ts'
import type { TransferProgress, TransferResult } from '../core/lun/transfer.ts'
import type { LunDetail, LunSummary, LunTypeRange, MapExtent, Params, RaidType, Result } from '../core/server/api.ts'
import { fillLun, planImport, type ImportResult } from '../core/server/lun-import.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'
import { LunDevice } from './lun-device.ts'

export type NewLun = Omit<Params<'lun.create'>, 'dryRun'>

export interface OpenLunOptions {
  /** Refuses writes; a protected LUN opens only so. */
  readonly readOnly?: boolean
  /** Also opens a LUN whose import was interrupted. */
  readonly incomplete?: boolean
  /** Also opens a volume that an unfinished update left of two instants. */
  readonly mixed?: boolean
}

export interface LunRange {
  /** Bytes from the start of the LUN; 0 when left out. */
  readonly offset?: number
  /** Bytes; to the end of the LUN when left out. */
  readonly length?: number
}

export interface TransferOptions extends CallOptions {
  /** Reads both sides again and compares; an export to a stream cannot do that. */
  readonly verify?: boolean
  readonly onProgress?: (progress: TransferProgress) => void
}

export interface ImportLunOptions extends TransferOptions {
  /** Bytes of a LUN that has to be made; needed for a stream, else the size of the source in whole MiB. */
  readonly size?: number
  /** Of a LUN that has to be made; raid1 where the pool has disks for it. */
  readonly raid?: RaidType
  /** Redundant stores that a LUN that has to be made interleaves, 1 to 255. */
  readonly stripe?: number
  /** Types of a LUN that has to be made by address, instead of `raid`. */
  readonly ranges?: LunTypeRange[]
  /** Goes over a LUN that holds data. */
  readonly overwrite?: boolean
}

export interface ExportLunOptions extends TransferOptions, LunRange {
  /** Goes over a file or block device that is there. */
  readonly overwrite?: boolean
}

/** The LUNs of a pool: thin volumes, named. Sizes and offsets are bytes. */
export class Luns {
  private readonly openDevices = new Set<LunDevice>()

  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_TOO_FEW_DISKS`, `ERR_POOL_FULL` (with `reserve`) */
  create(spec: NewLun, options?: ChangeOptions): Promise<LunDetail> {
    return this.asker.change('lun.create', spec, options)
  }

  list(options?: CallOptions): Promise<LunSummary[]> {
    return this.asker.ask('lun.list', {}, options)
  }

  /** @throws LunarError `ERR_LUN_NOT_FOUND` */
  show(lun: string, options?: CallOptions): Promise<LunDetail> {
    return this.asker.ask('lun.show', { lun }, options)
  }

  /** What is bound where; with `lost` the ranges that cannot be served, and only those. */
  map(lun: string, options: CallOptions & { readonly lost?: boolean } = {}): Promise<MapExtent[]> {
    const { lost = false, ...rest } = options
    return this.asker.ask('lun.map', { lun, lost }, rest)
  }

  /**
   * Opens a LUN as a block device: `await using device = await pool.luns.open('db')`. It is busy until it is closed;
   * closing the pool closes it.
   *
   * @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_INCOMPLETE`, `ERR_PROTECTED`, `ERR_MIXED`, `ERR_IMAGE_INCOMPLETE`, `ERR_IMAGE_INVALID`
   */
  async open(lun: string, options: OpenLunOptions = {}): Promise<LunDevice> {
    const device = new LunDevice(await this.asker.service.openLun(lun, options), lun, closed => this.openDevices.delete(closed))
    this.openDevices.add(device)
    return device
  }

  /** @throws LunarError `ERR_WOULD_LOSE_DATA` when what goes was written, unless `force`; `ERR_IN_RELATIONSHIP`, `ERR_BUSY` */
  resize(lun: string, size: number, options: ChangeOptions & { readonly force?: boolean } = {}): Promise<Result<'lun.resize'>> {
    const { force = false, ...rest } = options
    return this.asker.change('lun.resize', { lun, size, force }, rest)
  }

  /**
   * `on-full`: `fail-writes`, `drop` or `drop-oldest`, when there is no space for a chunk that snapshots need. Quality of service: `iops`, `bps`, `iops-burst`,
   * `bps-burst` (`none` takes a limit away), `min-iops`, and `priority`: `high`, `normal` or `low`. All in one commit.
   *
   * @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE`
   */
  set(lun: string, settings: Readonly<Record<string, string>>, options?: ChangeOptions): Promise<Result<'lun.set'>> {
    return this.asker.change('lun.set', { lun, settings }, options)
  }

  rename(lun: string, name: string, options?: ChangeOptions): Promise<LunDetail> {
    return this.asker.change('lun.rename', { lun, name }, options)
  }

  /** Deletes at once, without a question; `task` gives the space back. @throws LunarError `ERR_BUSY`, `ERR_PROTECTED`, `ERR_IN_RELATIONSHIP` */
  delete(lun: string, options?: ChangeOptions): Promise<Result<'lun.delete'>> {
    return this.asker.change('lun.delete', { lun }, options)
  }

  /** Two LUNs change names in one commit: an image takes the place of a damaged source. */
  swap(lun: string, other: string, options?: ChangeOptions): Promise<Result<'lun.swap'>> {
    return this.asker.change('lun.swap', { lun, with: other }, options)
  }

  /** Refuses writes and deletion from now on, or allows them again. */
  protect(lun: string, on: boolean, options?: ChangeOptions): Promise<Result<'lun.protect'>> {
    return this.asker.change('lun.protect', { lun, protect: on }, options)
  }

  /** Gives whole 1 MiB slices of the range back; what is smaller at the edges stays as it is. */
  async trim(lun: string, range: LunRange = {}, options?: ChangeOptions): Promise<Result<'lun.trim'>> {
    return this.asker.change('lun.trim', { lun, ...(await this.whole(lun, range)) }, options)
  }

  /** The range reads as zeros afterwards, durably. */
  async zero(lun: string, range: LunRange = {}, options?: ChangeOptions): Promise<Result<'lun.zero'>> {
    return this.asker.change('lun.zero', { lun, ...(await this.whole(lun, range)) }, options)
  }

  /**
   * Copies a file, a block device or a stream into a LUN, which is made when it is missing. Holes stay holes. An import
   * that fails leaves the LUN marked incomplete: import again, or delete it.
   *
   * @throws LunarError `ERR_WOULD_LOSE_DATA` when the LUN holds data, unless `overwrite`; `ERR_EXISTS` when it is not of
   * the asked size or type; `ERR_OUT_OF_RANGE`, `ERR_FILE_NOT_FOUND`, `ERR_VERIFY_MISMATCH`, `ERR_INTERRUPTED_IMPORT`
   */
  async import(lun: string, source: string | NodeJS.ReadableStream, options: ImportLunOptions = {}): Promise<ImportResult> {
    const { signal, size, raid, stripe, ranges, overwrite, ...transfer } = options
    const transfers = await import('../core/lun/transfer.ts')
    const path = typeof source === 'string' ? source : '-'
    const sourceSize = typeof source === 'string' ? await transfers.sourceSize(source) : null
    const plan = await planImport(this.asker.service, { name: lun, source: path, sourceSize, size, raid, stripe, ranges }, signal)
    this.asker.warn(plan.warnings)
    if (plan.data.overwrites > 0 && !overwrite) {
      throw new LunarError('ERR_WOULD_LOSE_DATA', `Cannot import into LUN "${lun}"`, {
        why: `it holds ${formatSize(plan.data.overwrites)}`,
        fix: 'pass overwrite: true if that is meant',
      })
    }
    const filled = await fillLun(this.asker.service, transfers, plan.data, {
      ...transfer,
      ...(signal ? { signal } : {}),
      ...(typeof source === 'string' ? {} : { stdin: source }),
    })
    this.asker.warn(filled.warnings)
    return filled.data
  }

  /**
   * Copies a LUN, or a range of it, into a new file, a block device or a stream, durably. Holes stay holes in files. A
   * stream is not ended.
   *
   * @throws LunarError `ERR_NOT_EMPTY` unless `overwrite`, `ERR_HOST_FULL`, `ERR_VERIFY_MISMATCH`, `ERR_INTERRUPTED`, `ERR_DATA_LOST`
   */
  async export(lun: string, target: string | NodeJS.WritableStream, options: ExportLunOptions = {}): Promise<TransferResult> {
    const { exportFrom } = await import('../core/lun/transfer.ts')
    if (typeof target !== 'string' && options.verify)
      throw new LunarError('ERR_USAGE', `Cannot verify an export of LUN "${lun}" to a stream`, {
        why: 'what went into it cannot be read back',
        fix: 'leave verify out',
      })
    await using device = await this.open(lun, { readOnly: true })
    return await (typeof target === 'string' ? exportFrom(device, target, options) : exportFrom(device, '-', { ...options, stdout: target }))
  }

  /** @internal What is still open is closed with the pool. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.openDevices].map(device => device.close()))
  }

  private async whole(lun: string, { offset = 0, length }: LunRange): Promise<{ offset: number; length: number }> {
    return { offset, length: length ?? (await this.asker.ask('volume.show', { volume: lun }, {})).size - offset }
  }
}
