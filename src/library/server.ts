import { startServer as start, stopServer as stop } from '../core/server/front.ts'
import type { ServerStatus } from '../core/server/api.ts'
import type { ServeOptions } from '../core/server/server.ts'
import { programName } from './open-pool.ts'

/** What is served, and where: sockets of hosts lie in their usual places unless `sockets` says otherwise. */
export type StartServerOptions = Pick<ServeOptions, 'pools'> & Partial<Omit<ServeOptions, 'pools' | 'command' | 'passed'>>

/** A server in this process, from `startServer`: pools that stay open, and give hosts their volumes over NBD. */
export interface RunningServer {
  status(): ServerStatus
  /** Serves until the signal aborts, somebody stops it, or its pools are all closed; resolves when everything is flushed and closed. */
  run(signal: AbortSignal): Promise<void>
}

/**
 * Becomes the server of pools, as `lunar serve`; whoever calls it calls `run`, too. When a disk hangs it ends this process, once it is to stop.
 *
 * @throws LunarError `ERR_LOCKED` when a server has the pools already, `ERR_BUSY`, and as opening a pool
 */
export function startServer(options: StartServerOptions): Promise<RunningServer> {
  return start({ sockets: [], log: () => undefined, ...options, passed: [], command: programName() })
}

/** Stops the server of a pool and waits until its process has ended. @throws LunarError `ERR_SERVER_UNREACHABLE` when the pool has none */
export async function stopServer(
  pool: string,
  options: { readonly signal?: AbortSignal; readonly dryRun?: boolean } = {},
): Promise<{ readonly pool: string; readonly pid: number }> {
  const { signal, dryRun = false } = options
  return (await stop(pool, { command: programName(), dryRun, ...(signal ? { signal } : {}) })).data
}
