import type { HostDetail, HostSummary, Result } from '../core/server/api.ts'
import type { Asker, CallOptions, ChangeOptions } from './asker.ts'

export interface PresentOptions extends ChangeOptions {
  /** The host may not write it. */
  readonly readOnly?: boolean
  /** Other hosts may write it, too. */
  readonly shared?: boolean
  /** Although an unfinished update left it of two instants. */
  readonly forceMixed?: boolean
}

export interface UnpresentOptions extends ChangeOptions {
  /** All of them when left out. */
  readonly host?: string
}

/** The hosts of a pool, and the volumes they reach when it is served. */
export class Hosts {
  /** @internal */
  constructor(private readonly asker: Asker) {}

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME` */
  add(host: string, options?: ChangeOptions): Promise<HostSummary> {
    return this.asker.change('host.add', { host }, options)
  }

  list(options?: CallOptions): Promise<HostSummary[]> {
    return this.asker.ask('host.list', {}, options)
  }

  /** @throws LunarError `ERR_HOST_NOT_FOUND` */
  show(host: string, options?: CallOptions): Promise<HostDetail> {
    return this.asker.ask('host.show', { host }, options)
  }

  /** `iops`, `bps`, `iops-burst`, `bps-burst`: limits of the host on all volumes that it reaches together; `none` takes one away. @throws LunarError `ERR_USAGE`, `ERR_BAD_SIZE` */
  set(host: string, settings: Readonly<Record<string, string>>, options?: ChangeOptions): Promise<Result<'host.set'>> {
    return this.asker.change('host.set', { host, settings }, options)
  }

  /** @throws LunarError `ERR_PRESENTED` while volumes are presented to it */
  remove(host: string, options?: ChangeOptions): Promise<Result<'host.remove'>> {
    return this.asker.change('host.remove', { host }, options)
  }

  /**
   * Lets a host reach a LUN, a snapshot or a write-once device; presenting it again changes how.
   *
   * @throws LunarError `ERR_PRESENTED` when another host writes it, `ERR_BUSY` when clients are connected that would be changed, `ERR_READ_ONLY`, `ERR_PROTECTED`, `ERR_MIXED`
   */
  present(volume: string, host: string, options: PresentOptions = {}): Promise<Result<'volume.present'>> {
    const { readOnly = false, shared = false, forceMixed = false, ...rest } = options
    return this.asker.change('volume.present', { volume, host, readOnly, shared, forceMixed }, rest)
  }

  /** Takes a volume from its hosts. @throws LunarError `ERR_BUSY` naming clients that are connected */
  unpresent(volume: string, options: UnpresentOptions = {}): Promise<Result<'volume.unpresent'>> {
    const { host, ...rest } = options
    return this.asker.change('volume.unpresent', host === undefined ? { volume } : { volume, host }, rest)
  }
}
