/** Where clients come in. */
import { rmSync } from 'node:fs'
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { errnoOf, LunarError } from '../base/errors.ts'
import { isAnswered } from '../base/sockets.ts'
import type { NbdServer } from './server.ts'
import type { TlsCredentials } from './tls.ts'

/** The system asks a silent TCP client whether it is there after so long. Milliseconds. */
const KEEP_ALIVE_MS = 30_000
/** The mask that leaves a socket readable and writable for its owner alone. */
const OWNER_ONLY = 0o177

export interface NbdListener {
  /** The path, or `address:port` as it was bound. */
  readonly address: string
  /** Takes no more clients, and removes a unix socket; clients that are there stay. */
  close(): Promise<void>
}

/**
 * A unix socket of mode 0600 from the moment it is there. What a dead server left is replaced.
 * @param host who uses it: the socket itself is the proof
 * @throws LunarError `ERR_BUSY` when somebody answers on it, `ERR_HOST_LIMIT`
 */
export async function listenUnix(server: NbdServer, path: string, host: string | null): Promise<NbdListener> {
  if (await isAnswered(path)) throw new LunarError('ERR_BUSY', `Cannot listen on ${path}`, { why: 'another process does' })
  const listener = createServer(socket => {
    server.serve(socket, { address: path, transport: 'unix', host })
  })
  try {
    rmSync(path, { force: true })
    const before = process.umask(OWNER_ONLY)
    try {
      listen(listener, { path }) // binds at once
    } finally {
      process.umask(before)
    }
    await listening(listener)
  } catch (error) {
    throw cannotListen(path, error)
  }
  return { address: path, close: () => stop(listener) }
}

/**
 * @param tls what clients have to show; null serves whoever can reach the port, without any proof or secrecy
 * @throws LunarError `ERR_BUSY` when the port is taken, `ERR_HOST_LIMIT`
 */
export async function listenTcp(server: NbdServer, at: { readonly host: string; readonly port: number }, tls: TlsCredentials | null): Promise<NbdListener> {
  const listener = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }, socket => {
    serveTcp(server, socket, tls)
  })
  try {
    listen(listener, at)
    await listening(listener)
  } catch (error) {
    throw cannotListen(`${at.host}:${at.port}`, error)
  }
  return { address: addressOf(listener), close: () => stop(listener) }
}

/**
 * A socket that somebody else has bound, and gives to this process (systemd: LISTEN_FDS).
 * @param who the host of its clients for a unix socket; for TCP what they have to show
 * @throws LunarError `ERR_HOST_LIMIT` when it is no socket to listen on
 */
export async function listenDescriptor(
  server: NbdServer,
  fd: number,
  who: { readonly transport: 'unix'; readonly host: string | null } | { readonly transport: 'tcp'; readonly tls: TlsCredentials | null },
): Promise<NbdListener> {
  const listener = createServer({ noDelay: who.transport === 'tcp' }, socket => {
    if (who.transport === 'tcp') serveTcp(server, socket, who.tls)
    else server.serve(socket, { address: addressOf(listener), transport: 'unix', host: who.host })
  })
  try {
    listen(listener, { fd } as ListenOptions)
    await listening(listener)
  } catch (error) {
    throw cannotListen(`descriptor ${fd}`, error)
  }
  return { address: addressOf(listener), close: () => stop(listener) }
}

function serveTcp(server: NbdServer, socket: Socket, tls: TlsCredentials | null): void {
  server.serve(socket, { address: `${socket.remoteAddress}:${socket.remotePort}`, transport: 'tcp', host: null }, tls ?? undefined)
}

function listen(listener: Server, options: ListenOptions): void {
  listener.listen({ ...options, backlog: 1024 })
}

function listening(listener: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject)
    listener.once('listening', () => {
      listener.off('error', reject)
      // Accepting may fail for want of descriptors; the next client is tried again.
      listener.on('error', () => undefined)
      resolve()
    })
  })
}

/** Does not wait for the clients that are there, as Node's callback would. */
function stop(listener: Server): Promise<void> {
  listener.close()
  return Promise.resolve()
}

function addressOf(listener: Server): string {
  const address = listener.address()
  if (address === null || typeof address === 'string') return address ?? ''
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`
}

const cannotListen = (where: string, error: unknown): LunarError =>
  new LunarError(errnoOf(error) === 'EADDRINUSE' ? 'ERR_BUSY' : 'ERR_HOST_LIMIT', `Cannot listen on ${where}`, { cause: error })
