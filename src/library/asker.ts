import type { Params, PoolService, Result, Verb } from '../core/server/api.ts'

export interface CallOptions {
  /** Gives the call up; what was begun is finished or taken back, and the call rejects with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal
}

export interface ChangeOptions extends CallOptions {
  /** Goes all the way but the last step: checks everything, changes nothing, and resolves with what would be. */
  readonly dryRun?: boolean
  /** Clients of a server that are in the way are disconnected first, once what they asked for is done. */
  readonly disconnect?: boolean
}

/** Asks a pool one verb at a time and hands on its data; each warning is told once. */
export class Asker {
  private readonly told = new Set<string>()

  constructor(
    readonly service: PoolService,
    private readonly onWarning: ((warning: string) => void) | undefined,
  ) {}

  async ask<V extends Verb>(verb: V, params: Params<V>, options: CallOptions = {}): Promise<Result<V>> {
    const { data, warnings } = await this.service.call(verb, params, options.signal)
    this.warn(warnings)
    return data
  }

  change<V extends Verb>(verb: V, params: Params<V>, options: ChangeOptions = {}): Promise<Result<V>> {
    const { dryRun, disconnect, signal } = options
    const how = { ...(dryRun === undefined ? {} : { dryRun }), ...(disconnect === undefined ? {} : { disconnect }) }
    return this.ask(verb, { ...params, ...how }, signal ? { signal } : {})
  }

  warn(warnings: readonly string[]): void {
    for (const warning of warnings) {
      if (this.told.has(warning)) continue
      this.told.add(warning)
      this.onWarning?.(warning)
    }
  }
}
