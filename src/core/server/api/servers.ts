/** What is said of servers, and of who owns a pool. */
import type { HeldRequests } from './luns.ts'

/** The server of a pool: `lunar serve`. */
export interface ServerStatus {
  /** False when the pool has no server; then all else is empty. */
  readonly running: boolean
  readonly pid: number | null
  readonly version: string | null
  readonly since: string | null
  /** What it was started for; `problem` says why one is not served. */
  readonly pools: { readonly name: string; readonly problem: string | null }[]
  readonly listeners: ServerListener[]
  readonly clients: ServerClient[]
}

export interface ServerListener {
  /** `tcp` is without TLS: whoever reaches the port is taken for `host`. `https` is the HTTP API, `http` that without TLS, or where metrics are. */
  readonly transport: 'unix' | 'tls' | 'tcp' | 'http' | 'https'
  /** A path, or `address:port`. */
  readonly address: string
  /** The pool and the host that a unix socket is for. */
  readonly pool: string | null
  readonly host: string | null
  /** How clients name it; the name of the volume goes in at `EXPORT`. */
  readonly uri: string
}

/** A volume that a client has open. */
export interface ServerClient {
  /** As messages about what is busy name it. */
  readonly client: string
  readonly host: string
  readonly pool: string
  readonly volume: string
  readonly address: string
  readonly transport: 'unix' | 'tls' | 'tcp'
  readonly readOnly: boolean
  readonly since: string
  readonly requests: number
  /** Bytes. */
  readonly read: number
  readonly written: number
  readonly held: HeldRequests
}

export interface LockHolder {
  readonly pid: number
  readonly version: string
  readonly host: string
  readonly command: string
  readonly socket: string
  readonly since: string
  /** A command, an owner in the background that was started on demand, or a server. */
  readonly kind: 'command' | 'on-demand' | 'server'
}

export interface LockView {
  readonly pool: string
  readonly held: boolean
  readonly holder: LockHolder | null
  readonly disks: { readonly disk: number; readonly path: string; readonly locked: boolean }[]
}
