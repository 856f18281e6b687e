/** A unix socket for each host of each pool that is served: who may open it is that host. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { isCode, LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { listenUnix, type NbdListener } from '../nbd/listen.ts'
import type { NbdServer } from '../nbd/server.ts'
import type { SocketRole } from './exports.ts'
import { privateFolder, socketFolders, SOCKET_PATH_MAX } from './folders.ts'

/** Where `lunar serve --socket` wants the socket of a host. */
export interface SocketPlace {
  /** Any pool that is served when left out. */
  readonly pool?: string
  readonly host: string
  readonly path: string
}

/** Hex digits of the pool's id in the name of a folder whose usual name somebody else has. */
const SHORT_ID = 8

export class HostSockets {
  private readonly listeners = new Map<string, NbdListener>()
  private readonly changing = new Mutex()
  private closed = false

  constructor(
    private readonly server: NbdServer,
    /** By path; kept up here. */
    private readonly roles: Map<string, SocketRole>,
    private readonly places: readonly SocketPlace[],
  ) {}

  get open(): readonly { readonly path: string; readonly role: SocketRole }[] {
    return [...this.roles].map(([path, role]) => ({ path, role }))
  }

  /**
   * Listens for the hosts that a pool has now, and no longer for those that it had.
   * @throws LunarError `ERR_BUSY`, `ERR_HOST_LIMIT` of the first that cannot be listened on; the others are
   */
  update(pool: { readonly name: string; readonly id: string }, hosts: readonly string[]): Promise<void> {
    return this.changing.run(async () => {
      if (this.closed) return
      const mine = this.open.filter(({ role }) => role.pool === pool.name)
      for (const { path, role } of mine) if (!hosts.includes(role.host)) await this.end(path)
      const errors: unknown[] = []
      for (const host of hosts) {
        if (mine.some(({ role }) => role.host === host)) continue
        await this.listen(pool, host).catch((error: unknown) => errors.push(error))
      }
      if (errors.length > 0) throw errors[0] as Error
    })
  }

  /** Takes no more clients; those that are there stay. */
  close(): Promise<void> {
    return this.changing.run(async () => {
      this.closed = true
      await Promise.all([...this.listeners.keys()].map(path => this.end(path)))
    })
  }

  private async end(path: string): Promise<void> {
    const listener = this.listeners.get(path)
    this.listeners.delete(path)
    this.roles.delete(path)
    await listener?.close()
  }

  private async listen(pool: { readonly name: string; readonly id: string }, host: string): Promise<void> {
    const place = this.places.find(found => found.host === host && (found.pool === undefined || found.pool === pool.name))
    if (place) return this.listenAt(place.path, { pool: pool.name, host })
    try {
      await this.listenAt(socketPath(pool.name, host), { pool: pool.name, host })
    } catch (error) {
      // Another pool of this name, or a copy of this one, is served by somebody else.
      if (!isCode(error, 'ERR_BUSY')) throw error
      await this.listenAt(socketPath(`${pool.name}-${pool.id.replaceAll('-', '').slice(0, SHORT_ID)}`, host), { pool: pool.name, host })
    }
  }

  private async listenAt(path: string, role: SocketRole): Promise<void> {
    if (Buffer.byteLength(path) > SOCKET_PATH_MAX)
      throw new LunarError('ERR_HOST_LIMIT', `Cannot listen on ${path}`, {
        why: `the path of a socket has at most ${SOCKET_PATH_MAX} bytes`,
        fix: `--socket ${role.host}=PATH`,
      })
    if (this.roles.has(path)) throw new LunarError('ERR_BUSY', `Cannot listen on ${path}`, { why: 'it is the socket of another host' })
    this.roles.set(path, role) // before the first client comes
    try {
      this.listeners.set(path, await listenUnix(this.server, path, role.host))
    } catch (error) {
      this.roles.delete(path)
      throw error
    }
  }
}

/** `/run/lunar/tank/db1.sock`, in a folder that is ours alone. */
function socketPath(folder: string, host: string): string {
  const name = `${host}.sock`
  const base = join(privateFolder(socketFolders(), Buffer.byteLength(`${folder}/${name}`)), folder)
  mkdirSync(base, { recursive: true, mode: 0o700 })
  return join(base, name)
}
