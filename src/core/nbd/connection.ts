/** One client: its socket, and the negotiation or transmission that reads from it. */
import type { Socket } from 'node:net'
import { deferred } from '../base/deferred.ts'
import type { Awake } from './awake.ts'
import type { Buffers } from './buffers.ts'
import type { EdgeLock } from './byte-access.ts'
import type { RequestCounts } from './counts.ts'
import type { NbdExports, Peer } from './exports.ts'
import { Handshake, type HandshakeHost } from './handshake.ts'
import { Input } from './input.ts'
import type { NbdLimits } from './limits.ts'
import { Output } from './output.ts'
import { acceptTls, type TlsCredentials } from './tls.ts'
import { Transmission, type Link, type Session } from './transmission.ts'

/** A client that was told of the end has so long to close its side, before what it never read may be lost. Milliseconds. */
const LINGER_MS = 500

export interface ConnectionInfo {
  /** Counts connections of a server from 1. */
  readonly id: number
  readonly peer: Peer
  /** Null while it negotiates. */
  readonly export: string | null
  readonly readOnly: boolean
  /** The server closes it, and carries out what is under way. */
  readonly closing: boolean
  /** Milliseconds since 1970. */
  readonly connectedAtMs: number
  readonly requests: number
  readonly requestsInFlight: number
  /** Asked for by the client. Bytes. */
  readonly bytesRead: number
  readonly bytesWritten: number
}

/** What a connection has from its server. */
export interface ConnectionHost {
  readonly exports: NbdExports
  readonly limits: NbdLimits
  readonly buffers: Buffers
  readonly awake: Awake
  readonly counts: RequestCounts
  readonly closing: boolean
  /** May this peer, now that it is known, have one connection more? */
  admits(peer: Peer, connection: Connection): boolean
  takeEdges(name: string): EdgeLock
  giveEdges(name: string): void
  /** For logs: a client that was turned away or broke the protocol, a release that failed. */
  report(connection: Connection, why: string): void
}

export class Connection implements HandshakeHost {
  readonly input = new Input()
  gone = false
  closing = false
  peer: Peer

  private readonly handshake = new Handshake(this)
  private transmission: Transmission | undefined
  private session: Session | undefined
  private output: Output | undefined
  private readonly closed = deferred()
  private readonly ended = deferred()
  private readonly deadline: NodeJS.Timeout
  private shutting: Promise<void> | undefined
  private upgrading = false
  private paused = false

  constructor(
    readonly id: number,
    private socket: Socket,
    peer: Peer,
    private readonly tls: TlsCredentials | undefined,
    private readonly connectedAtMs: number,
    private readonly host: ConnectionHost,
  ) {
    this.peer = peer
    this.deadline = setTimeout(() => {
      if (this.upgrading) this.fail('it took too long to change to TLS')
      else this.handshake.expire()
    }, host.limits.handshakeMsMax)
    this.listen(socket)
    this.handshake.begin()
  }

  get limits(): NbdLimits {
    return this.host.limits
  }
  get exports(): NbdExports {
    return this.host.exports
  }
  get tlsRequired(): boolean {
    return this.tls !== undefined && this.peer.transport !== 'tls'
  }

  info(): ConnectionInfo {
    const counts = this.transmission?.counts
    return {
      id: this.id,
      peer: this.peer,
      export: this.session?.export.name ?? null,
      readOnly: this.session?.export.readOnly ?? false,
      closing: this.closing,
      connectedAtMs: this.connectedAtMs,
      requests: counts?.requests ?? 0,
      requestsInFlight: this.transmission?.inFlight ?? 0,
      bytesRead: counts?.bytesRead ?? 0,
      bytesWritten: counts?.bytesWritten ?? 0,
    }
  }

  /** Resolves when the socket is closed, nothing uses the device any more and the export is released. */
  get whenEnded(): Promise<void> {
    return this.ended.promise
  }

  /**
   * Carries out what is under way, answers it, and ends the connection; what comes meanwhile is answered with ESHUTDOWN.
   * Resolves when all is over, or when the time for it is: then the device still holds requests, and `whenEnded` tells.
   */
  close(): Promise<void> {
    this.shutting ??= this.shut()
    return this.shutting
  }

  private async shut(): Promise<void> {
    this.closing = true
    if (!this.transmission) {
      this.socket.destroy()
    } else {
      const timer = setTimeout(() => {
        this.socket.destroy()
      }, this.limits.drainMsMax)
      await Promise.race([this.transmission.drain(), this.closed.promise])
      clearTimeout(timer)
      this.finished()
    }
    await this.closed.promise
    const timeUp = deferred()
    const timer = setTimeout(timeUp.resolve, this.transmission?.inFlight === 0 || !this.transmission ? this.limits.drainMsMax : 0)
    await Promise.race([this.ended.promise, timeUp.promise])
    clearTimeout(timer)
  }

  // ---- for the negotiation

  send(data: Buffer): void {
    if (!this.gone) this.socket.write(data)
  }

  fail(why: string): void {
    if (!this.gone) this.host.report(this, why)
    this.socket.destroy()
  }

  hangUp(): void {
    this.socket.end()
    this.linger()
  }

  async startTls(): Promise<boolean> {
    this.upgrading = true
    const plain = this.socket
    plain.off('data', this.onData)
    plain.off('close', this.onClose)
    try {
      const secure = await acceptTls(plain, this.tls!)
      this.socket = secure.socket
      this.peer = { address: this.peer.address, transport: 'tls', host: secure.host }
      this.listen(secure.socket)
    } catch (error) {
      this.host.report(this, error instanceof Error && 'why' in error ? String(error.why) : String(error))
      plain.destroy()
      this.onClose()
      return false
    } finally {
      this.upgrading = false
    }
    if (this.closing || !this.host.admits(this.peer, this)) {
      this.fail('there are too many connections')
      return false
    }
    return true
  }

  enter(session: Session): void {
    clearTimeout(this.deadline)
    const name = session.export.name
    this.session = session
    this.output = new Output(this.socket, this.host.buffers, () => this.transmission?.proceed())
    const link: Link = {
      input: this.input,
      output: this.output,
      limits: this.limits,
      buffers: this.host.buffers,
      edges: this.host.takeEdges(name),
      awake: this.host.awake,
      counts: this.host.counts,
      fail: why => {
        this.fail(why)
      },
      pause: () => {
        if (!this.paused) this.socket.pause()
        this.paused = true
      },
      resume: () => {
        if (this.paused) this.socket.resume()
        this.paused = false
      },
      finished: () => {
        this.finished()
      },
    }
    this.transmission = new Transmission(link, session)
    if (this.gone) void this.end()
    else this.transmission.consume()
  }

  // ---- the socket

  private listen(socket: Socket): void {
    socket.on('data', this.onData)
    socket.on('close', this.onClose)
    socket.on('error', ignore) // followed by 'close', which is what counts
  }

  private readonly onData = (data: Buffer): void => {
    if (this.gone) return
    this.input.push(data)
    if (this.transmission) {
      this.transmission.consume()
      return
    }
    this.handshake.consume()
    // Nobody waits for an answer longer than for the next option: more than that is not to be kept.
    if (!this.transmission && this.input.length > this.limits.optionBytesMax + 2 ** 16) this.fail('more than one option at a time')
  }

  private readonly onClose = (): void => {
    if (this.gone) return
    this.gone = true
    clearTimeout(this.deadline)
    this.transmission?.abandon()
    this.output?.close()
    this.closed.resolve()
    void this.end()
  }

  /** Gives back what the connection had, when its last request has ended. */
  private async end(): Promise<void> {
    const { session, transmission } = this
    try {
      if (session && transmission) {
        await transmission.drain()
        this.host.giveEdges(session.export.name)
        await session.export.release()
      }
    } catch (error) {
      this.host.report(this, `its export could not be released: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      this.ended.resolve()
    }
  }

  /** All replies leave, then the connection ends. */
  private finished(): void {
    if (this.gone) return
    this.output?.flush()
    this.socket.end()
    this.linger()
  }

  /** Waits for the client to close its side: closing first would take replies from it that it has not read. */
  private linger(): void {
    this.socket.off('data', this.onData)
    this.socket.on('data', ignore)
    this.socket.resume()
    const timer = setTimeout(() => {
      this.socket.destroy()
    }, LINGER_MS)
    this.socket.once('close', () => {
      clearTimeout(timer)
    })
  }
}

const ignore = (): void => undefined
