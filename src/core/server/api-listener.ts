/** The HTTP API on a port: what the control sockets of the pools answer without a session, for clients that show a token (serving.md, Life cycle). */
import { createServer as createPlain, type IncomingMessage, type RequestListener, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer as createSecure } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { errnoOf, LunarError } from '../base/errors.ts'
import { clientOf, readTokens } from './api-tokens.ts'
import { plain, sendError, sendJson } from './http-answer.ts'
import type { Exposition } from './exposition.ts'
import { STATUS_ERROR } from './wire.ts'

/** Connections at once, of all and of one address; how long a client may take over its keys, and over a request. Milliseconds. */
const CONNECTIONS_MAX = 512
const CONNECTIONS_OF_ONE_MAX = 64
const HANDSHAKE_WITHIN = 10_000
const ASK_WITHIN = 30_000
/** Refusals are told once in so long at most, with how many there were. Milliseconds. */
const TELL_EVERY = 1000
const STATUS_UNAUTHORIZED = 401

export interface ApiPlace {
  readonly host: string
  readonly port: number
  /** PEM texts; null is without TLS: tokens and answers can be overheard. */
  readonly tls: { readonly cert: string | Buffer; readonly key: string | Buffer } | null
  readonly tokenFile: string
}

/** Who asks, as the history of a pool and messages about what is busy name it. */
export interface RemoteClient {
  readonly user: string
  readonly command: string
  readonly address: string
  readonly readOnly: boolean
}

/** What answers for a pool. */
export interface RemotePool {
  readonly id: string
  serve(request: IncomingMessage, response: ServerResponse, url: string, client: RemoteClient): Promise<void>
}

export interface ApiPools {
  names(): string[]
  find(name: string): RemotePool | undefined
  /** One line for the log. */
  log(line: string): void
}

export class ApiListener {
  private readonly connections = new Map<string, number>()
  private readonly sockets = new Set<Socket>()
  private served = 0
  private refused = 0
  private untold = 0
  private toldMs = -Infinity
  private server!: ReturnType<typeof createPlain> | ReturnType<typeof createSecure>

  private constructor(
    private readonly at: ApiPlace,
    private readonly pools: ApiPools,
  ) {}

  /** @throws LunarError `ERR_USAGE` of certificate and key; `ERR_BUSY` when the port is taken, `ERR_HOST_LIMIT` */
  static async listen(at: ApiPlace, pools: ApiPools): Promise<ApiListener> {
    const listener = new ApiListener(at, pools)
    await listener.open()
    return listener
  }

  /** `address:port` as it was bound. */
  get address(): string {
    const { family, address, port } = this.server.address() as AddressInfo
    return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
  }

  measure(into: Exposition): void {
    into.counter('api_requests_total', 'Requests of clients of the HTTP API.', {}, this.served)
    into.counter('api_refused_total', 'Requests of clients without a good token.', {}, this.refused)
  }

  /** Takes no more clients; those that are there are answered. */
  stop(): void {
    this.server.close()
  }

  /** Ends all connections. */
  close(): void {
    this.stop()
    for (const socket of this.sockets) socket.destroy()
  }

  private async open(): Promise<void> {
    const { host, port, tls } = this.at
    const limits: ServerOptions = { headersTimeout: ASK_WITHIN, requestTimeout: ASK_WITHIN, connectionsCheckingInterval: ASK_WITHIN / 6, noDelay: true }
    const answer: RequestListener = (request, response) => void this.answer(request, response)
    this.server = tls ? makeSecure({ ...limits, ...tls, handshakeTimeout: HANDSHAKE_WITHIN, minVersion: 'TLSv1.2' }, answer) : createPlain(limits, answer)
    this.server.maxConnections = CONNECTIONS_MAX
    this.server.on('connection', (socket: Socket) => {
      this.admit(socket)
    })
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', error => {
        reject(new LunarError(errnoOf(error) === 'EADDRINUSE' ? 'ERR_BUSY' : 'ERR_HOST_LIMIT', `Cannot listen on ${host}:${port}`, { cause: error }))
      })
      this.server.listen({ host, port }, resolve)
    })
    // Accepting may fail for want of descriptors; the next client is tried again.
    this.server.on('error', () => undefined)
  }

  /** A stranger takes no more connections than others leave. */
  private admit(socket: Socket): void {
    const address = socket.remoteAddress ?? ''
    const count = (this.connections.get(address) ?? 0) + 1
    if (count > CONNECTIONS_OF_ONE_MAX) {
      socket.destroy()
      this.tell(`${address} has too many connections`)
      return
    }
    this.connections.set(address, count)
    this.sockets.add(socket)
    socket.once('close', () => {
      this.sockets.delete(socket)
      const left = this.connections.get(address)! - 1
      if (left === 0) this.connections.delete(address)
      else this.connections.set(address, left)
    })
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { remoteAddress, remotePort } = request.socket
    const address = `${remoteAddress}:${remotePort}`
    const program = plain(request.headers['user-agent']) || 'a program'
    try {
      const client = clientOf(await readTokens(this.at.tokenFile), request.headers.authorization)
      if (!client) return this.refuse(request, response, address, program)
      this.served++
      await this.route(request, response, { user: client.name, command: program, address, readOnly: client.readOnly })
    } catch (error) {
      this.tell(`${address} (${program}): ${error instanceof LunarError ? `${error.message}: ${error.why}` : String(error)}`)
      sendError(request, response, STATUS_ERROR, error)
    }
  }

  private async route(request: IncomingMessage, response: ServerResponse, client: RemoteClient): Promise<void> {
    const url = request.url ?? ''
    if (request.method === 'GET' && url === '/pools') {
      sendJson(response, 200, { pools: this.pools.names().map(name => ({ name, id: this.pools.find(name)?.id ?? '' })) })
      return
    }
    const [, name = '', rest = ''] = /^\/pools\/([^/?]+)(\/.*)$/.exec(url) ?? []
    const pool = this.pools.find(name)
    if (pool) return pool.serve(request, response, rest, client)
    const error = new LunarError('ERR_POOL_NOT_FOUND', `Cannot answer ${client.user} at ${client.address}`, {
      why: rest === '' ? `${plain(url)} is no path of the API` : `pool "${plain(name)}" is not served here`,
      fix: 'GET /pools lists those that are; what a pool answers is below /pools/NAME',
    })
    sendError(request, response, STATUS_ERROR, error)
  }

  private refuse(request: IncomingMessage, response: ServerResponse, address: string, program: string): void {
    this.refused++
    const why = request.headers.authorization === undefined ? 'it showed no token' : 'its token is none of those that are good here'
    this.tell(`${address} (${program}) was refused: ${why}`)
    response.setHeader('www-authenticate', 'Bearer')
    response.setHeader('connection', 'close')
    sendError(request, response, STATUS_UNAUTHORIZED, new LunarError('ERR_NOT_ALLOWED', `Cannot answer the client at ${address}`, { why }))
  }

  /** Strangers do not fill the log. */
  private tell(what: string): void {
    const now = performance.now()
    if (now - this.toldMs < TELL_EVERY) {
      this.untold++
      return
    }
    this.pools.log(`HTTP API: ${what}${this.untold > 0 ? `, and ${this.untold} more before` : ''}`)
    this.toldMs = now
    this.untold = 0
  }
}

function makeSecure(options: Parameters<typeof createSecure>[0], answer: RequestListener): ReturnType<typeof createSecure> {
  try {
    return createSecure(options, answer)
  } catch (cause) {
    throw new LunarError('ERR_USAGE', 'Cannot use the certificate of the HTTP API', {
      cause,
      fix: 'server-cert.pem and server-key.pem are PEM files of one key',
    })
  }
}
