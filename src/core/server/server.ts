/** The server of pools: owns them, gives their volumes to hosts, and keeps going until it is stopped (serving.md). */
import { isoTime, systemClock } from '../base/clock.ts'
import { deferred } from '../base/deferred.ts'
import { LunarError } from '../base/errors.ts'
import { listenDescriptor, listenTcp, type NbdListener } from '../nbd/listen.ts'
import { NbdServer } from '../nbd/server.ts'
import type { TlsCredentials } from '../nbd/tls.ts'
import type { OpenOptions, ServerClient, ServerListener, ServerStatus } from './api.ts'
import { acquireServed } from './acquire.ts'
import { ApiListener, type ApiPlace, type ApiPools } from './api-listener.ts'
import { readTokens } from './api-tokens.ts'
import { Exports, type SocketRole } from './exports.ts'
import { Exposition } from './exposition.ts'
import { HostSockets, type SocketPlace } from './host-sockets.ts'
import { lookUp } from './lookup.ts'
import { listenMetrics, type MetricsListener } from './metrics-listener.ts'
import { measureNbd } from './nbd-metrics.ts'
import { notify, type PassedSocket } from './notify.ts'
import type { Owner, OwnerServer } from './owner.ts'
import { ProcessMetrics } from './process-metrics.ts'
import { VERSION } from './version.ts'

export interface ServeOptions extends Pick<OpenOptions, 'command' | 'forceQuorum' | 'forceHost' | 'forceNonlocal' | 'signal'> {
  /** By name or id. */
  readonly pools: readonly string[]
  readonly sockets: readonly SocketPlace[]
  readonly tcp?: { readonly host: string; readonly port: number }
  /** What clients of TCP must show, and what they are shown. */
  readonly tls?: TlsCredentials
  /** Without TLS: the host that whoever reaches the port is taken for. */
  readonly insecureHost?: string
  /** Where metrics of all pools are, without TLS and for everybody. */
  readonly metrics?: { readonly host: string; readonly port: number }
  /** Where the HTTP API of all pools is, for clients that show a token. */
  readonly api?: ApiPlace
  /** Listening sockets that the service manager made. */
  readonly passed: readonly PassedSocket[]
  /** One line for whoever reads the log. */
  readonly log: (line: string) => void
}

/** What is under way may take this long when the server stops, and all of stopping that long; then a disk hangs (hazard 44). Milliseconds. */
const DRAIN_MS_MAX = 8000
const STOP_MS_MAX = 20_000

interface Served {
  readonly name: string
  readonly id: string
  readonly owner: Owner
}

export class Server {
  private readonly served = new Map<string, Served>()
  private readonly problems = new Map<string, string>()
  private readonly roles = new Map<string, SocketRole>()
  private readonly exports: Exports
  private readonly nbd: NbdServer
  private readonly sockets: HostSockets
  private readonly ports: { readonly listener: NbdListener; readonly view: ServerListener }[] = []
  private readonly process = new ProcessMetrics()
  private metricsPort: MetricsListener | undefined
  private apiPort: ApiListener | undefined
  private readonly since = new Date().toISOString()
  private readonly stopAsked = deferred()
  private readonly leaving = new Map<string, Promise<void>>()

  private constructor(private readonly options: ServeOptions) {
    this.exports = new Exports(this.roles, options.insecureHost ?? null, () => systemClock.wallMs())
    this.nbd = new NbdServer(
      this.exports,
      { drainMsMax: DRAIN_MS_MAX },
      {
        report: ({ id, peer }, why) => {
          options.log(`connection ${id} (${peer.address}): ${why}`)
        },
      },
    )
    this.sockets = new HostSockets(this.nbd, this.roles, options.sockets)
  }

  /**
   * Opens the pools and listens. Every pool that can be served is; `status` says why the others are not.
   * @throws LunarError of the first pool when none can be served; of the ports; of the tokens of the HTTP API
   */
  static async start(options: ServeOptions): Promise<Server> {
    if (options.api) await readTokens(options.api.tokenFile) // before any pool is opened for nothing
    const server = new Server(options)
    try {
      await server.openPools()
      await server.listen()
    } catch (error) {
      await server.end()
      throw error
    }
    const pools = [...server.served.keys()].join(', ')
    notify(['READY=1', `STATUS=serving ${pools}`])
    return server
  }

  status(): ServerStatus {
    return {
      running: true,
      pid: process.pid,
      version: VERSION,
      since: this.since,
      pools: [...[...this.served.keys()].map(name => ({ name, problem: null })), ...[...this.problems].map(([name, problem]) => ({ name, problem }))],
      listeners: [
        ...this.sockets.open.map(({ path, role }): ServerListener => ({
          transport: 'unix',
          address: path,
          pool: role.pool,
          host: role.host,
          uri: `nbd+unix:///EXPORT?socket=${path}`,
        })),
        ...this.ports.map(({ view }) => view),
        ...this.metricsListeners(),
        ...this.apiListeners(),
      ],
      clients: this.clients(),
    }
  }

  /** Serves until the signal aborts, somebody asks it to stop, or no pool is left. Resolves when all is closed. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => {
      this.stopAsked.resolve()
    }
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
    await this.stopAsked.promise
    signal.removeEventListener('abort', stop)
    notify(['STOPPING=1'])
    this.options.log('stopping')
    await this.end()
    this.options.log('stopped')
  }

  // ---- starting

  private async openPools(): Promise<void> {
    const errors: unknown[] = []
    await Promise.all(
      [...new Set(this.options.pools)].map(async name => {
        try {
          await this.openPool(name)
        } catch (error) {
          if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
          errors.push(error)
          this.problems.set(name, `${error.code}: ${error.message}: ${error.why}`)
        }
      }),
    )
    if (this.served.size === 0) throw errors[0] as Error
    for (const [name, problem] of this.problems) this.options.log(`pool ${name} is not served: ${problem}`)
  }

  private async openPool(name: string): Promise<void> {
    const { command, forceQuorum, forceHost, forceNonlocal, signal } = this.options
    const known = (): ReturnType<typeof lookUp> => lookUp(name)
    const owner = await acquireServed(
      known,
      {
        mode: 'owner',
        command,
        ...(forceQuorum === undefined ? {} : { forceQuorum }),
        ...(forceHost === undefined ? {} : { forceHost }),
        ...(forceNonlocal === undefined ? {} : { forceNonlocal }),
        ...(signal ? { signal } : {}),
      },
      this.hooks(),
    )
    const served: Served = { name: owner.pool.name, id: owner.pool.id, owner }
    this.served.set(served.name, served)
    const engine = await owner.engine
    this.exports.add({ name: served.name, presented: engine.presented })
    await this.listenForHosts(served)
    this.options.log(`pool ${served.name} is served`)
    engine.startSchedules(line => {
      this.options.log(`pool ${served.name}: ${line}`)
    })
    void owner.closeAsked.promise.then(() => this.leave(served))
  }

  private hooks(): OwnerServer {
    return {
      status: () => this.status(),
      measure: into => this.measure(into),
      stop: () => {
        this.stopAsked.resolve()
      },
      clients: pool => this.exports.uses.filter(use => use.pool === pool).map(({ client }) => client),
      hostsChanged: async pool => {
        const served = this.served.get(pool)
        if (served) await this.listenForHosts(served)
      },
      withoutClients: (pool, change) => this.exports.withoutClients(pool, change, peers => this.nbd.disconnect(({ peer }) => peers.has(peer))),
    }
  }

  /** A host whose socket cannot be made is no reason not to serve the others. */
  private async listenForHosts({ name, id, owner }: Served): Promise<void> {
    const { hosts } = (await owner.engine).presented
    try {
      await this.sockets.update({ name, id }, hosts)
    } catch (error) {
      if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      this.options.log(`no unix socket for a host of pool ${name}: ${error.message}: ${error.why} [${error.code}]`)
    }
  }

  private async listen(): Promise<void> {
    const { tcp, tls = null, passed, insecureHost = null, metrics, api } = this.options
    if (metrics) await this.listenForMetrics(metrics)
    if (api) this.apiPort = await ApiListener.listen(api, this.apiPools())
    const transport = tls ? 'tls' : 'tcp'
    const port = (listener: NbdListener): void => {
      const { address } = listener
      this.ports.push({
        listener,
        view: { transport, address, pool: null, host: tls ? null : insecureHost, uri: `${tls ? 'nbds' : 'nbd'}://${address}/EXPORT` },
      })
    }
    if (tcp) port(await listenTcp(this.nbd, tcp, tls))
    for (const { fd, name } of passed) {
      const [host = '', pool] = name.split('/').reverse() as [string, string?]
      if (name === '' || name === 'unknown' || name === 'tls' || name === 'tcp') {
        port(await listenDescriptor(this.nbd, fd, { transport: 'tcp', tls }))
        continue
      }
      const role = { pool: pool ?? this.onlyPool(name), host }
      const listener = await listenDescriptor(this.nbd, fd, { transport: 'unix', host })
      this.roles.set(listener.address, role)
      this.ports.push({
        listener,
        view: { transport: 'unix', address: listener.address, ...role, uri: `nbd+unix:///EXPORT?socket=${listener.address}` },
      })
    }
  }

  private async listenForMetrics(at: { readonly host: string; readonly port: number }): Promise<void> {
    await this.process.start()
    this.metricsPort = await listenMetrics(
      at,
      () => this.metrics(),
      error => {
        this.options.log(`metrics: ${String(error)}`)
      },
    )
  }

  private metricsListeners(): ServerListener[] {
    if (!this.metricsPort) return []
    const { address } = this.metricsPort
    return [{ transport: 'http', address, pool: null, host: null, uri: `http://${address}/metrics` }]
  }

  private apiListeners(): ServerListener[] {
    if (!this.apiPort) return []
    const { address } = this.apiPort
    const scheme = this.options.api?.tls ? 'https' : 'http'
    return [{ transport: scheme, address, pool: null, host: null, uri: `${scheme}://${address}/pools` }]
  }

  private apiPools(): ApiPools {
    return {
      names: () => [...this.served.keys()],
      find: name => {
        const served = this.served.get(name)
        return served && { id: served.id, serve: (...asked) => served.owner.serve(...asked) }
      },
      log: this.options.log,
    }
  }

  /** Of all pools that are served. */
  private async metrics(): Promise<string> {
    const into = new Exposition()
    for (const { owner } of this.served.values()) await owner.measure(into)
    await this.measure(into)
    return into.text()
  }

  /** Adds the metrics of the process and its NBD server. */
  private async measure(into: Exposition): Promise<void> {
    await this.process.start()
    this.process.measure(into)
    this.apiPort?.measure(into)
    measureNbd(this.nbd.counts, this.nbd.connections(), this.exports.uses, into)
  }

  private onlyPool(name: string): string {
    const [only, another] = [...this.served.keys()]
    if (only !== undefined && another === undefined) return only
    throw new LunarError('ERR_USAGE', `Cannot tell whose socket "${name}" is`, {
      why: 'several pools are served',
      fix: 'FileDescriptorName=POOL/HOST in its unit',
    })
  }

  private clients(): ServerClient[] {
    const connections = new Map(this.nbd.connections().map(info => [info.peer, info]))
    return this.exports.uses.map(({ peer, client, host, pool, volume, readOnly, since, held }) => {
      const info = connections.get(peer)
      return {
        client,
        host,
        pool,
        volume,
        address: peer.address,
        transport: peer.transport,
        readOnly,
        since: isoTime(since),
        requests: info?.requests ?? 0,
        read: info?.bytesRead ?? 0,
        written: info?.bytesWritten ?? 0,
        held: held(),
      }
    })
  }

  // ---- ending

  /** Lets one pool go: somebody wants to close it. The server ends with its last. */
  private leave(served: Served): Promise<void> {
    const running = this.leaving.get(served.name) ?? this.closePool(served)
    this.leaving.set(served.name, running)
    return running
  }

  private async closePool({ name, id, owner }: Served): Promise<void> {
    this.exports.remove(name)
    await this.sockets.update({ name, id }, [])
    try {
      await owner.quiesce()
      owner.throwProblems()
    } catch (error) {
      this.options.log(`pool ${name} was not closed in good order: ${String(error)}`)
    } finally {
      await owner.letGo({ clear: true })
    }
    this.options.log(`left pool ${name}`)
    this.served.delete(name)
    if (this.served.size === 0) this.stopAsked.resolve()
  }

  /** Takes no more clients, carries out what is under way, flushes, and lets the pools go: in bounded time, or by SIGKILL. */
  private async end(): Promise<void> {
    const stuck = setTimeout(() => {
      this.options.log('a disk does not answer: ending by SIGKILL') // process.exit would wait for the stuck thread for ever (hazard 44)
      process.kill(process.pid, 'SIGKILL')
    }, STOP_MS_MAX)
    try {
      this.process.close()
      this.apiPort?.stop()
      await Promise.all([this.metricsPort?.close(), this.sockets.close(), ...this.ports.map(({ listener }) => listener.close())])
      await this.nbd.close()
      await Promise.all([...this.served.values()].map(served => this.leave(served)))
    } finally {
      this.apiPort?.close()
      clearTimeout(stuck)
    }
  }
}
