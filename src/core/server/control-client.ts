/** The client's end of a control socket. */
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http'
import { basename, dirname, isAbsolute } from 'node:path'
import { statSync } from 'node:fs'
import { bytesOf } from '../base/bytes.ts'
import { deferred } from '../base/deferred.ts'
import { errnoOf, isCode, LunarError } from '../base/errors.ts'
import type { Params, Reply, Result, Verb } from './api.ts'
import { bodyLength, readBody, readText } from './http-body.ts'
import { verbKinds } from './verbs.ts'
import { Moved, parseObject, parseWireError, SESSION_HEADER, STATUS_MOVED, type Hello, type SessionRequest } from './wire.ts'

/** How long the process that owns a pool may take to say who it is, in milliseconds. */
const HELLO_WITHIN = 10_000
/** How long what is under way, and cleaning up, may take once the client was asked to stop, in milliseconds. */
const LEAVE_WITHIN = 1000

/** Connections of one client: as many data requests are under way at once. */
const CONNECTIONS_MAX = 16
const REPLY_MAX = 1024 * 1024 * 1024

export interface Patience {
  /** How long to wait for the first answer, in milliseconds. */
  readonly helloMs?: number
  /** Asks the client to stop: connecting ends at once, requests after a moment. */
  readonly signal?: AbortSignal
}

export interface DataRequest {
  readonly path: string
  readonly body?: readonly Uint8Array[]
  /** Where the answer's body goes; it must have exactly that length. */
  readonly into?: readonly Uint8Array[]
}

export class ControlClient {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX + 1, maxFreeSockets: CONNECTIONS_MAX + 1 })
  private session: IncomingMessage | undefined
  private state: 'open' | 'moved' | 'lost' | 'closed' = 'open'
  private running = 0
  private answer!: Hello
  /** Ends requests that have no signal of their own. */
  private readonly stop: AbortSignal | undefined
  private readonly end = deferred()

  private constructor(
    readonly socket: string,
    signal: AbortSignal | undefined,
  ) {
    this.stop = signal && delayed(signal, LEAVE_WITHIN)
  }

  /**
   * Begins a session with the process that listens on `socket`.
   *
   * @returns undefined when nobody does, when it is just going away, or when it does not answer in time (fault F26)
   * @throws the reason of the signal when that aborts
   */
  static async connect(socket: string, who: SessionRequest, patience: Patience = {}): Promise<ControlClient | undefined> {
    if (!isTrusted(socket)) return undefined
    const { helloMs = HELLO_WITHIN, signal } = patience
    const client = new ControlClient(socket, signal)
    try {
      await client.begin(who, helloMs, signal)
      return client
    } catch (error) {
      client.close()
      if (error instanceof Moved || isNobody(error)) return undefined
      if (error instanceof LunarError || errnoOf(error) === undefined) throw error
      throw new LunarError('ERR_LOCKED', 'Cannot ask the process that owns the pool', { why: `${socket} is not for this user`, cause: error })
    }
  }

  get hello(): Hello {
    return this.answer
  }

  /** Resolves when the owner goes away or has died; not when this end closes. */
  get ended(): Promise<void> {
    return this.end.promise
  }

  /** The owner died or was cut off: what it had acknowledged and not flushed may be gone. */
  get lost(): boolean {
    return this.state === 'lost'
  }

  async call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> {
    try {
      return (await this.json(`/v1/call/${verb}`, params, signal)) as unknown as Reply<Result<V>>
    } catch (error) {
      const harmless = verbKinds[verb] === 'metadata' // asking twice changes nothing
      throw harmless && isCode(error, 'ERR_SERVER_UNREACHABLE') ? new Moved() : error
    }
  }

  /** @throws Moved when the owner leaves in good order and did nothing of it */
  async json(path: string, body: object, signal?: AbortSignal): Promise<Record<string, unknown>> {
    if (this.state === 'lost') throw new Moved() // nothing was sent yet, so the next owner may be asked
    const text = await this.request({ path, body: [Buffer.from(JSON.stringify(body))] }, signal ?? this.stop, response => readText(response, REPLY_MAX))
    const value = parseObject(text)
    if (!value) throw new LunarError('ERR_SERVER_UNREACHABLE', 'Cannot understand the owner of the pool', { why: 'its answer is not JSON' })
    return value
  }

  data(request: DataRequest): Promise<string> {
    return this.request(request, this.stop, async response => {
      if (!request.into) return readText(response, REPLY_MAX)
      await readBody(response, request.into)
      return ''
    })
  }

  close(): void {
    if (this.state === 'open') this.state = 'closed'
    this.session?.destroy()
    this.agent.destroy()
  }

  private async begin(who: SessionRequest, helloMs: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    const hello = new AbortController() // the session outlives it: it aborts before the first answer or never
    const late = setTimeout(() => {
      hello.abort(new Moved())
    }, helloMs)
    const stop = (): void => {
      hello.abort(signal?.reason)
    }
    signal?.addEventListener('abort', stop)
    try {
      const body = Buffer.from(JSON.stringify(who))
      const response = await this.send({ path: '/v1/session', body: [body] }, hello.signal)
      if (response.statusCode !== 200) throw await failure(response)
      this.session = response
      await this.readLines(response)
    } catch (error) {
      throw hello.signal.aborted ? hello.signal.reason : error
    } finally {
      clearTimeout(late)
      signal?.removeEventListener('abort', stop)
    }
  }

  /** Resolves with the first line; later ones say that the owner goes away. */
  private readLines(stream: IncomingMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      let text = ''
      stream.setEncoding('utf8')
      stream.on('data', (chunk: string) => {
        text += chunk
        for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
          const line = parseObject(text.slice(0, end))
          text = text.slice(end + 1)
          if (line?.moved === true) this.leave()
          else if (line) {
            this.answer = line as unknown as Hello
            resolve()
          }
        }
      })
      stream.on('error', reject)
      stream.on('close', () => {
        if (this.state === 'open') {
          this.state = 'lost'
          this.end.resolve()
        }
        reject(new Moved())
      })
    })
  }

  /** The owner goes away: what runs is waited for, nothing new is begun here. */
  private leave(): void {
    this.state = 'moved'
    this.end.resolve()
    this.closeWhenLeft()
  }

  private async request<T>(request: DataRequest, signal: AbortSignal | undefined, read: (response: IncomingMessage) => Promise<T>): Promise<T> {
    if (this.state === 'moved' || this.state === 'closed') throw new Moved()
    if (this.state === 'lost') throw this.unreachable(undefined)
    this.running++
    try {
      const response = await this.send(request, signal)
      if (response.statusCode !== 200) throw await failure(response)
      if (request.into) {
        const length = bytesOf(request.into)
        if (bodyLength(response, length) !== length) throw new Error('the answer has another length')
      }
      return await read(response)
    } catch (error) {
      if (signal?.aborted) throw interrupted(signal)
      if (error instanceof LunarError || error instanceof Moved) throw error
      throw request.into === undefined && notSent(error) && !request.path.startsWith('/v1/luns/') ? new Moved() : this.unreachable(error)
    } finally {
      this.running--
      this.closeWhenLeft()
    }
  }

  private closeWhenLeft(): void {
    if (this.state === 'moved' && this.running === 0) this.close()
  }

  private send(request: DataRequest, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const length = bytesOf(request.body ?? [])
      const headers = { 'content-length': length, ...(this.session ? { [SESSION_HEADER]: this.answer.session } : {}) }
      const outgoing: ClientRequest = httpRequest({
        socketPath: this.socket,
        path: request.path,
        method: 'POST',
        agent: this.agent,
        headers,
        ...(signal ? { signal } : {}),
      })
      outgoing.once('response', resolve)
      outgoing.once('error', reject)
      outgoing.cork()
      for (const part of request.body ?? []) outgoing.write(part)
      outgoing.end()
    })
  }

  private unreachable(cause: unknown): LunarError {
    const { pid } = this.answer
    return new LunarError('ERR_SERVER_UNREACHABLE', `Lost the process that owns pool ${this.answer.poolName} (${pid})`, {
      why: `it ended or was stopped in the middle${cause instanceof Error ? `: ${cause.message}` : ''}`,
      fix: 'look at what was done before you repeat the command',
      cause,
    })
  }
}

async function failure(response: IncomingMessage): Promise<Error> {
  const text = await readText(response, REPLY_MAX)
  return response.statusCode === STATUS_MOVED ? new Moved() : parseWireError(text)
}

/** Aborts `ms` after `signal` does. */
function delayed(signal: AbortSignal, ms: number): AbortSignal {
  const controller = new AbortController()
  const abort = (): void => {
    setTimeout(() => {
      controller.abort(signal.reason)
    }, ms).unref()
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return controller.signal
}

function interrupted(signal: AbortSignal): unknown {
  return signal.reason instanceof LunarError ? signal.reason : new LunarError('ERR_INTERRUPTED', 'The request was given up')
}

/** A path from a lock record is only used when it is a socket in a folder that one user has for himself. */
export function isTrusted(socket: string): boolean {
  if (!isAbsolute(socket) || !/^[0-9a-f-]+\.sock$/.test(basename(socket))) return false
  try {
    const folder = statSync(dirname(socket))
    return folder.isDirectory() && (folder.mode & 0o077) === 0
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** The owner was gone before anything of the request reached it. */
const notSent = (error: unknown): boolean =>
  errnoOf(error) === 'EPIPE' || (errnoOf(error) !== undefined && (error as NodeJS.ErrnoException).syscall === 'connect')

/** EAGAIN: those that wait to be let in are too many already. */
export const isNobody = (error: unknown): boolean => ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'ENOTSOCK', 'EPIPE', 'EAGAIN'].includes(errnoOf(error) ?? '')
