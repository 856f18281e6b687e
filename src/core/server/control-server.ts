/** The control socket of an owner: sessions, verbs, and the data of LUNs (serving.md, Life cycle). */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { deferred, type Deferred } from '../base/deferred.ts'
import { LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'
import type { EventView, Params, RelationshipHold, Reply, Result, Verb } from './api.ts'
import { bindSocket } from './control-socket.ts'
import { DataBuffers } from './data-buffers.ts'
import { serveData } from './data-plane.ts'
import type { LunOptions } from './engine-types.ts'
import { EXPOSITION_TYPE, type Exposition, type Labels } from './exposition.ts'
import { whoAmI } from './history.ts'
import { plain, sendError, sendFailure, sendJson, sendText } from './http-answer.ts'
import { bodyLength, readText } from './http-body.ts'
import { Session } from './session.ts'
import { callTable2, isTable2, Table2Handles } from './table2.ts'
import type { RemoteClient } from './api-listener.ts'
import { isVerb, verbKinds } from './verbs.ts'
import { API_VERSION, VERSION } from './version.ts'
import {
  DATA_IN_FLIGHT_MAX,
  INSTANCE_HEADER,
  JSON_MAX,
  Moved,
  parseObject,
  POOL_HEADER,
  SESSION_HEADER,
  STATUS_ERROR,
  STATUS_MOVED,
  type Hello,
  type SessionRequest,
} from './wire.ts'

/** What the server asks of the owner. */
export interface ControlHandler {
  readonly hello: Pick<Hello, 'poolId' | 'poolName' | 'instance' | 'readOnly' | 'kind'>
  call(verb: Verb, params: Params<Verb>, session: Session, signal: AbortSignal): Promise<Reply<unknown>>
  openLun(name: string, options: LunOptions): Promise<BlockDevice>
  holdRelationship(name: string): Promise<RelationshipHold>
  /** @throws Moved when the pool was not opened */
  followEvents(after: number, signal: AbortSignal): Promise<AsyncIterable<EventView>>
  /** As Prometheus reads them. */
  metrics(): Promise<string>
  /** A client came or went, or a request ended. */
  changed(): void
  /** Something went wrong where nobody waits for it: closing what a client left open. */
  failed(error: unknown): void
}

/** Connections at once: each client takes a few. */
const CONNECTIONS_MAX = 4096
/** What a client may take to leave once it was told to, in milliseconds. */
const LEAVE_WITHIN = 5000

export class ControlServer {
  private readonly sessions = new Map<string, Session>()
  private readonly buffers = new DataBuffers(DATA_IN_FLIGHT_MAX)
  private readonly server: Server
  private readonly waits = new Set<AbortController>()
  private readonly handles = new Table2Handles(error => {
    this.handler.failed(error)
  })
  /** Who follows events: nobody waits for them. */
  private readonly followers = new Set<AbortController>()
  private requests = 0
  private served = 0
  private errors = 0
  private draining = false
  private quiet: Deferred<void> | undefined
  private path = ''

  private constructor(private readonly handler: ControlHandler) {
    this.server = createServer({ keepAliveTimeout: 0, noDelay: true, highWaterMark: 1024 * 1024 }, (request, response) => {
      void this.serve(request, response)
    })
    this.server.maxConnections = CONNECTIONS_MAX
  }

  static async listen(handler: ControlHandler): Promise<ControlServer> {
    const server = new ControlServer(handler)
    server.path = await bindSocket(server.server, handler.hello.poolId, handler.hello.instance)
    return server
  }

  get socket(): string {
    return this.path
  }

  /** Adds what clients asked for. */
  measure(labels: Labels, into: Exposition): void {
    into.gauge('control_sessions', 'Commands and programs at the control socket.', labels, this.sessions.size)
    into.counter('control_requests_total', 'Requests at the control socket.', labels, this.served)
    into.counter('control_errors_total', 'Those that were answered with an error.', labels, this.errors)
  }

  /** Clients connected now. */
  get clients(): readonly Session[] {
    return [...this.sessions.values()]
  }

  get idle(): boolean {
    return this.sessions.size === 0 && this.requests === 0 && this.handles.size === 0
  }

  /** Who uses something now, besides those that only ask. */
  busy(except: Session | undefined): string[] {
    return [...this.clients.flatMap(client => (client !== except && client.busy ? [client.describe()] : [])), ...this.handles.describe()]
  }

  /**
   * Sends the clients to whoever owns the pool next: running requests end, new ones are not begun, waiting ones are
   * given up. Resolves when all have left; who does not is cut off after a while.
   */
  async drain(): Promise<void> {
    this.draining = true
    for (const wait of this.waits) wait.abort(new Moved())
    for (const follower of this.followers) follower.abort()
    for (const session of this.sessions.values()) {
      session.stream.write('{"moved":true}\n')
      session.hurry()
    }
    await this.handles.close()
    if (this.idle) return
    this.quiet = deferred()
    const late = setTimeout(() => void this.cutOff(), LEAVE_WITHIN)
    await this.quiet.promise
    clearTimeout(late)
  }

  /** Ends everything at once; the socket's name goes. */
  async close(): Promise<void> {
    this.draining = true
    await this.handles.close()
    await this.cutOff()
    await new Promise<void>(resolve => {
      this.server.close(() => {
        resolve()
      })
      this.server.closeAllConnections()
    })
  }

  private async cutOff(): Promise<void> {
    await Promise.all([...this.sessions.values()].map(session => this.endSession(session)))
  }

  private async endSession(session: Session): Promise<void> {
    this.sessions.delete(session.id)
    try {
      await session.end()
    } catch (error) {
      this.handler.failed(error)
    }
    this.changed()
  }

  private changed(): void {
    if (this.idle) this.quiet?.resolve()
    this.handler.changed()
  }

  /**
   * Answers one request.
   * @param url what it asks for, path and query
   * @param remote a client that came by the port of the HTTP API: it has no sessions
   */
  async serve(request: IncomingMessage, response: ServerResponse, url = request.url ?? '', remote?: RemoteClient): Promise<void> {
    if (request.method === 'GET' && url.split('?', 1)[0] === '/v1/events') return this.follow(request, response, url)
    this.requests++
    this.served++
    try {
      await this.route(request, response, url, remote)
    } catch (error) {
      if (!(error instanceof Moved)) this.errors++
      fail(request, response, error)
    } finally {
      this.requests--
      this.changed()
    }
  }

  private async route(request: IncomingMessage, response: ServerResponse, url: string, remote: RemoteClient | undefined): Promise<void> {
    const [path = '', query = ''] = url.split('?', 2)
    const [, version, area, first = '', second = ''] = path.split('/')
    if (request.method === 'GET' && path === '/metrics') return sendText(response, EXPOSITION_TYPE, await this.handler.metrics())
    if (request.method !== 'POST' || version !== 'v1') throw unknown(path)
    if (this.draining) throw new Moved()
    const key = remote ? undefined : request.headers[SESSION_HEADER]
    if (key === undefined && (area === 'call' || area === 'table2')) {
      const session = guest(request, response, remote)
      return session.run((signal, abort) => (area === 'call' ? this.call : this.callTable2).call(this, first, session, request, response, signal, abort))
    }
    if (remote) throw unknown(path)
    if (area === 'session') return this.beginSession(request, response)
    const session = this.sessions.get(String(key))
    if (!session) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: 'it belongs to no session' })
    if (area === 'call') return session.run((signal, abort) => this.call(first, session, request, response, signal, abort))
    if (area === 'luns' && first === 'open') return session.run(() => this.openLun(session, request, response))
    if (area === 'luns' && /^\d{1,9}$/.test(first)) {
      return session.run(() => serveData(session, Number(first), second, new URLSearchParams(query), request, response, this.buffers))
    }
    if (area === 'relationships' && first === 'hold') return session.run(() => this.holdRelationship(session, request, response))
    if (area === 'relationships' && first === 'release') return session.run(() => this.releaseRelationship(session, request, response))
    throw unknown(path)
  }

  /** Events, a line each, until one of both sides ends it. It counts neither as a client nor as a request: an owner that is not needed leaves all the same. */
  private async follow(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    const stop = new AbortController()
    response.once('close', () => {
      stop.abort()
    })
    this.followers.add(stop)
    try {
      if (this.draining) throw new Moved()
      const after = Number(new URLSearchParams(url.split('?', 2)[1]).get('after') ?? '0')
      if (!Number.isSafeInteger(after) || after < 0) throw new LunarError('ERR_USAGE', 'Cannot follow the events', { why: '"after" is no number of an event' })
      const events = await this.handler.followEvents(after, stop.signal)
      const { instance, poolId } = this.handler.hello
      response.writeHead(200, { 'content-type': 'application/x-ndjson', [INSTANCE_HEADER]: instance, [POOL_HEADER]: poolId })
      response.flushHeaders()
      for await (const event of events) if (!response.write(`${JSON.stringify(event)}\n`)) await drained(response, stop.signal)
      response.end()
    } catch (error) {
      fail(request, response, error)
    } finally {
      this.followers.delete(stop)
    }
  }

  private async beginSession(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readJson(request)
    const uid = Number.isSafeInteger(body.uid) ? Number(body.uid) : null
    const client: SessionRequest = {
      pid: Number(body.pid),
      uid,
      user: plain(body.user),
      version: plain(body.version),
      command: plain(body.command),
      readOnly: body.readOnly === true,
    }
    if (response.destroyed) return
    if (this.draining) throw new Moved()
    const session = new Session(client, response)
    this.sessions.set(session.id, session)
    response.once('close', () => void this.endSession(session))
    const hello: Hello = { api: API_VERSION, version: VERSION, pid: process.pid, ...this.handler.hello, session: session.id }
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write(`${JSON.stringify(hello)}\n`)
  }

  private async call(
    name: string,
    session: Session,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
    abort: AbortController,
  ): Promise<void> {
    const params = await readJson(request)
    if (!isVerb(name)) throw unknown(name)
    await this.answer(name, name === 'task.wait', response, signal, abort, () => this.verb(name, params as Params<Verb>, session, signal))
  }

  /** A function of Table 2, for a client without a session. */
  private async callTable2(
    name: string,
    session: Session,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
    abort: AbortController,
  ): Promise<void> {
    const params = await readJson(request)
    if (!isTable2(name)) throw unknown(name)
    const { handler } = this
    const asker = {
      pool: handler.hello.poolName,
      poolId: handler.hello.poolId,
      call: <V extends Verb>(verb: V, of: Params<V>) => this.verb(verb, of, session, signal) as Promise<Reply<Result<V>>>,
      openLun: (lun: string, options?: LunOptions) => handler.openLun(lun, { ...options, user: session.who, protocol: 'HTTP' }),
      holdRelationship: (relationship: string) => handler.holdRelationship(relationship),
    }
    await this.answer(name, params.wait === true, response, signal, abort, () => callTable2(name, params, asker, this.handles, session.who, signal))
  }

  private verb(name: Verb, params: Params<Verb>, session: Session, signal: AbortSignal): Promise<Reply<unknown>> {
    const { readOnly } = session.client
    const refused = verbKinds[name] === 'change' || (session.isGuest && verbKinds[name] === 'owner')
    if (readOnly && refused) throw new LunarError('ERR_READ_ONLY', `Cannot do ${name}`, session.isGuest ? { why: `${session.who} may only read` } : {})
    return this.handler.call(name, params, session, signal)
  }

  /** Sends what a call answers; it is given up when the client goes, and, where it waits, when the owner does. */
  private async answer(
    name: string,
    waits: boolean,
    response: ServerResponse,
    signal: AbortSignal,
    abort: AbortController,
    call: () => Promise<Reply<unknown>>,
  ): Promise<void> {
    response.once('close', () => {
      if (!response.writableEnded) abort.abort(new LunarError('ERR_INTERRUPTED', `${name} was given up`, { why: 'the client has gone' }))
    })
    if (waits) this.waits.add(abort)
    try {
      sendJson(response, 200, await call())
    } catch (error) {
      throw signal.reason instanceof Moved ? signal.reason : error
    } finally {
      this.waits.delete(abort)
    }
  }

  private async openLun(session: Session, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readJson(request)
    if (typeof body.name !== 'string') throw new LunarError('ERR_USAGE', 'Cannot open a LUN', { why: 'no name is given' })
    const device = await this.handler.openLun(body.name, {
      readOnly: session.client.readOnly || body.readOnly === true,
      incomplete: body.incomplete === true,
      mixed: body.mixed === true,
      user: session.who,
      protocol: 'control socket',
    })
    const { size, blockSize } = device
    sendJson(response, 200, { handle: await session.add(body.name, device), size, blockSize })
  }

  private async holdRelationship(session: Session, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { name } = await readJson(request)
    if (typeof name !== 'string') throw new LunarError('ERR_USAGE', 'Cannot open a handle of a relationship', { why: 'no name is given' })
    const hold = await this.handler.holdRelationship(name)
    sendJson(response, 200, { handle: await session.keep(hold), number: hold.number })
  }

  private async releaseRelationship(session: Session, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { handle } = await readJson(request)
    await session.release(Number(handle))
    sendJson(response, 200, {})
  }
}

/** Resolves when the reader has taken what was written, or the signal aborts. */
async function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = deferred()
  const go = (): void => {
    resolve()
  }
  response.once('drain', go)
  signal.addEventListener('abort', go)
  if (signal.aborted) go()
  await promise
  response.off('drain', go)
  signal.removeEventListener('abort', go)
}

/** Somebody who asks one thing without a session. The socket is for one user and root, and what it is done with says its name; who comes from elsewhere has shown a token. */
function guest(request: IncomingMessage, response: ServerResponse, remote: RemoteClient | undefined): Session {
  const common = { pid: 0, version: '' }
  if (remote) return new Session({ ...common, uid: null, ...remote }, response)
  return new Session({ ...common, ...whoAmI(), command: plain(request.headers['user-agent']) || 'a program', readOnly: false }, response)
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  bodyLength(request, JSON_MAX)
  const value = parseObject(await readText(request, JSON_MAX))
  if (!value) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: 'its body is not a JSON object' })
  return value
}

function fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (error instanceof Moved) sendFailure(request, response, STATUS_MOVED, { moved: true })
  else sendError(request, response, STATUS_ERROR, error)
}

const unknown = (what: string): LunarError =>
  new LunarError('ERR_SERVER_VERSION', `Cannot do ${plain(what)}`, {
    why: `the owner of the pool (process ${process.pid}, version ${VERSION}) does not know it`,
  })
