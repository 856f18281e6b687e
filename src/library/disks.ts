import type { DiskDetail, DiskSpec, DiskSummary, Result } from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'

/** The disks of a pool: image files and block devices. A disk is named by its number, its id or its path. */
export class Disks {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  list(options?: CallOptions): Promise<DiskSummary[]> {
    return this.asker.ask('disk.list', {}, options)
  }

  /** @throws LunarError `ERR_DISK_NOT_FOUND` */
  show(disk: number | string, options?: CallOptions): Promise<DiskDetail> {
    return this.asker.ask('disk.show', { disk: String(disk) }, options)
  }

  /**
   * Makes new image files, or takes empty files and block devices, as disks of the pool.
   *
   * @throws LunarError `ERR_DISK_IN_USE`, `ERR_NOT_EMPTY` (unless `overwrite`), `ERR_DISK_TOO_SMALL`, `ERR_DUPLICATE_DISK`, `ERR_HOST_FULL`
   */
  add(disks: readonly DiskSpec[], options: ChangeOptions & { readonly witness?: boolean; readonly overwrite?: boolean } = {}): Promise<DiskSummary[]> {
    const { witness = false, overwrite = false, ...rest } = options
    return this.asker.change('disk.add', { disks: [...disks], witness, overwrite }, rest)
  }

  /** Says in which failure domain a disk is; `null` for one of its own. */
  label(disk: number | string, domain: string | null, options?: ChangeOptions): Promise<DiskSummary> {
    return this.asker.change('disk.label', { disk: String(disk), domain }, options)
  }

  /** Takes a disk out of service; what it misses is remembered. @throws LunarError `ERR_REDUNDANCY` unless `force` */
  offline(disk: number | string, options: ChangeOptions & { readonly force?: boolean } = {}): Promise<DiskSummary> {
    const { force = false, ...rest } = options
    return this.asker.change('disk.offline', { disk: String(disk), force }, rest)
  }

  /** Takes a disk back into service, from `path` when it lies elsewhere now; `task` brings it up to date. @throws LunarError `ERR_DISK_STATE`, `ERR_DISK_NOT_FOUND` */
  online(disk: number | string, options: ChangeOptions & { readonly path?: string } = {}): Promise<Result<'disk.online'>> {
    const { path, ...rest } = options
    return this.asker.change('disk.online', { disk: String(disk), ...(path === undefined ? {} : { path }) }, rest)
  }

  /**
   * Lets a disk leave the pool for good; `task` moves what lies on it, or makes it anew from the others when the disk is gone.
   *
   * @throws LunarError `ERR_POOL_FULL`, `ERR_TOO_FEW_DISKS`, `ERR_DATA_LOST` when nothing else has what lay on a disk that is gone
   */
  remove(disk: number | string, options?: ChangeOptions): Promise<Result<'disk.remove'>> {
    return this.asker.change('disk.remove', { disk: String(disk) }, options)
  }

  /** Adds a disk and lets another one leave for it. @throws LunarError as `add` and `remove` */
  replace(disk: number | string, by: DiskSpec, options: ChangeOptions & { readonly overwrite?: boolean } = {}): Promise<Result<'disk.replace'>> {
    const { overwrite = false, ...rest } = options
    return this.asker.change('disk.replace', { disk: String(disk), with: by, overwrite }, rest)
  }
}
