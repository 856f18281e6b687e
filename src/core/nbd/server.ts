/** The NBD server: connections of all clients, over exports that somebody else keeps. */
import type { Socket } from 'node:net'
import { systemClock, type Clock } from '../base/clock.ts'
import { Awake } from './awake.ts'
import { Buffers } from './buffers.ts'
import { EdgeLock } from './byte-access.ts'
import { Connection, type ConnectionHost, type ConnectionInfo } from './connection.ts'
import { RequestCounts } from './counts.ts'
import type { NbdExports, Peer } from './exports.ts'
import { defaultLimits, type NbdLimits } from './limits.ts'
import type { TlsCredentials } from './tls.ts'

export interface NbdServerOptions {
  readonly clock?: Clock
  /** For logs: why a client was turned away, or an export could not be released. What a client sent is never in it unescaped. */
  readonly report?: (connection: ConnectionInfo, why: string) => void
}

interface SharedEdges {
  readonly lock: EdgeLock
  users: number
}

export class NbdServer {
  readonly counts = new RequestCounts()
  private readonly limits: NbdLimits
  private readonly open = new Set<Connection>()
  private readonly edges = new Map<string, SharedEdges>()
  private readonly host: ConnectionHost
  private readonly clock: Clock
  private closing = false

  constructor(exports: NbdExports, limits: Partial<NbdLimits> = {}, options: NbdServerOptions = {}) {
    this.limits = { ...defaultLimits, ...limits }
    this.clock = options.clock ?? systemClock
    const isClosing = (): boolean => this.closing
    this.host = {
      exports,
      limits: this.limits,
      buffers: new Buffers(),
      awake: new Awake(this.limits.awakeUs),
      counts: this.counts,
      get closing() {
        return isClosing()
      },
      admits: (peer, connection) => this.admits(peer, connection),
      takeEdges: name => this.takeEdges(name),
      giveEdges: name => {
        this.giveEdges(name)
      },
      report: (connection, why) => options.report?.(connection.info(), why),
    }
  }

  /**
   * Serves a client on an open connection, which the server owns from here on.
   * @param tls the client has to change to TLS before it is told anything (protocol: FORCEDTLS), and then is the host that its certificate names
   */
  serve(socket: Socket, peer: Peer, tls?: TlsCredentials): void {
    if (this.closing || this.open.size >= this.limits.connectionsMax || !this.admits(peer)) {
      this.counts.refused++
      socket.on('error', () => undefined)
      socket.destroy()
      return
    }
    const connection = new Connection(++this.counts.accepted, socket, peer, tls, this.clock.wallMs(), this.host)
    this.open.add(connection)
    void connection.whenEnded.then(() => this.open.delete(connection))
  }

  connections(): readonly ConnectionInfo[] {
    return Array.from(this.open, connection => connection.info())
  }

  /**
   * Ends the connections that match: what is under way is carried out and answered first, for at most `drainMsMax`. A device
   * that hangs longer keeps its requests; then `connections` still shows whose they are, and their export is released when they end.
   */
  async disconnect(match: (connection: ConnectionInfo) => boolean): Promise<void> {
    await Promise.all([...this.open].filter(connection => match(connection.info())).map(connection => connection.close()))
  }

  /** Takes no more clients, and ends the connections of all as `disconnect` does. */
  async close(): Promise<void> {
    this.closing = true
    await this.disconnect(() => true)
  }

  private admits(peer: Peer, self?: Connection): boolean {
    const key = peerKey(peer)
    let count = 0
    for (const connection of this.open) if (connection !== self && peerKey(connection.peer) === key) count++
    return count < this.limits.connectionsPerPeerMax
  }

  private takeEdges(name: string): EdgeLock {
    const shared = this.edges.get(name) ?? { lock: new EdgeLock(), users: 0 }
    shared.users++
    this.edges.set(name, shared)
    return shared.lock
  }

  private giveEdges(name: string): void {
    const shared = this.edges.get(name)
    if (shared && --shared.users === 0) this.edges.delete(name)
  }
}

/** Who it is, else where it comes from without the port. */
const peerKey = ({ host, address, transport }: Peer): string => (host !== null ? `host ${host}` : transport === 'unix' ? address : address.replace(/:\d+$/, ''))
