import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as Flags from '@oclif/core/flags'
import { LunarError } from '../core/base/errors.ts'
import { LunarCommand } from '../core/cli/base-command.ts'
import { forceFlag, manyArg } from '../core/cli/flags.ts'
import { writeLines } from '../core/cli/output.ts'
import { listenerHost } from '../core/cli/views/server.ts'
import { usageError } from '../core/cli/translate.ts'
import type { ServerStatus } from '../core/server/api.ts'
import { passedSockets } from '../core/server/notify.ts'
import type { ServeOptions } from '../core/server/server.ts'

const FILES = { ca: 'ca-cert.pem', cert: 'server-cert.pem', key: 'server-key.pem' } as const

export default class Serve extends LunarCommand {
  static override summary = 'Serve pools: give hosts their volumes over NBD until it is stopped'
  static override description = [
    'Each host of each pool has a unix socket of its own (/run/lunar/POOL/HOST.sock, mode 0600; lunar server status names them): who may open it is that host, and reaches what was presented to it.',
    'Over TCP the certificate of the client names the host (CN); the folder of --tls-dir holds ca-cert.pem, server-cert.pem and server-key.pem.',
    'The HTTP API (share/openapi.json) is on the control socket of each pool, and with --api-listen on a port, over TLS, for clients that show a token.',
    'Other commands work as before, and ask the server. SIGTERM, SIGINT and lunar server stop end it: what is under way is done and flushed. It ends by SIGKILL of itself (137) when a disk hangs.',
  ].join('\n')
  static override examples = [
    'lunar serve tank',
    'lunar serve tank --tcp 0.0.0.0:10809 --tls-dir tls --metrics-listen 127.0.0.1:9809',
    'lunar serve tank --api-listen 0.0.0.0:9443 --api-tls-dir tls --api-token-file tokens',
  ]
  static override args = { pools: manyArg('the pools') }
  static override flags = {
    socket: Flags.string({ description: 'where the unix socket of a host is', multiple: true, multipleNonGreedy: true, helpValue: '[POOL/]HOST=PATH' }),
    tcp: Flags.string({ description: 'listen there, too', helpValue: 'ADDRESS:PORT' }),
    'tls-dir': Flags.string({ description: 'folder of the certificates for TCP', helpValue: 'DIR', exclusive: ['insecure-tcp'] }),
    'insecure-tcp': Flags.string({
      description: 'no TLS and no proof: whoever can reach the port is taken for this host, and can be overheard',
      helpValue: 'HOST',
    }),
    'metrics-listen': Flags.string({
      description: 'metrics for Prometheus there (HTTP, /metrics), for everybody who reaches the port',
      helpValue: 'ADDRESS:PORT',
    }),
    'api-listen': Flags.string({ description: 'the HTTP API there, for clients that show a token', helpValue: 'ADDRESS:PORT' }),
    'api-tls-dir': Flags.string({
      description: 'folder of server-cert.pem and server-key.pem for the HTTP API',
      helpValue: 'DIR',
      exclusive: ['api-insecure'],
    }),
    'api-token-file': Flags.string({
      description: 'a line for each client: NAME TOKEN, and read-only for one that may change nothing; read again for each request',
      helpValue: 'FILE',
    }),
    'api-insecure': Flags.boolean({ description: 'no TLS for the HTTP API: tokens and answers can be overheard' }),
    ...forceFlag(
      ['quorum', 'host', 'nonlocal'],
      'open what is left of a pool; take its disks from another host, which is down; trust locks on a network file system',
    ),
  }

  override async run(): Promise<ServerStatus> {
    const { args, flags } = await this.parse(Serve)
    const tcp = flags.tcp === undefined ? undefined : parseAddress(flags.tcp)
    const metrics = flags['metrics-listen'] === undefined ? undefined : parseAddress(flags['metrics-listen'])
    const directory = flags['tls-dir']
    const insecure = flags['insecure-tcp']
    const passed = passedSockets(this.around.env)
    const overTcp = tcp !== undefined || passed.length > 0
    if (tcp && directory === undefined && insecure === undefined)
      throw usageError('Cannot listen on TCP', 'it needs --tls-dir, or --insecure-tcp HOST for everybody who reaches the port', this.name)
    if (!overTcp && (directory !== undefined || insecure !== undefined))
      throw usageError('Cannot use certificates without a port', '--tcp says where to listen', this.name)
    const api = parseApi(flags, this.name)
    const front = await this.around.front()
    const server = await front.startServer({
      pools: args.pools as unknown as string[],
      command: this.typed,
      sockets: (flags.socket ?? []).map(parsePlace),
      passed,
      log: line => void this.around.stderr.write(`${line}\n`),
      signal: this.signal,
      forceQuorum: flags.force?.includes('quorum') === true,
      forceHost: flags.force?.includes('host') === true,
      forceNonlocal: flags.force?.includes('nonlocal') === true,
      ...(tcp ? { tcp } : {}),
      ...(metrics ? { metrics } : {}),
      ...(api ? { api } : {}),
      ...(directory === undefined ? {} : { tls: readFiles(directory, FILES) }),
      ...(insecure === undefined ? {} : { insecureHost: insecure }),
    })
    const status = server.status()
    if (insecure !== undefined) this.around.stderr.write(`warning: whoever reaches the port is taken for host ${insecure}, and can be overheard\n`)
    if (api?.tls === null) this.around.stderr.write('warning: tokens and answers of the HTTP API can be overheard\n')
    await this.print(() =>
      writeLines(
        this.around.stdout,
        status.listeners.map(listener => `${listenerHost(listener)}\t${listener.uri}`),
      ),
    )
    await server.run(this.signal)
    return status
  }
}

function parseAddress(text: string): { host: string; port: number } {
  const [, host, port] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)?.filter(part => part !== undefined) ?? []
  if (host === undefined || Number(port) > 65_535)
    throw new LunarError('ERR_USAGE', `Cannot listen on "${text}"`, { why: 'it is no address and port', fix: 'write it like 0.0.0.0:10809 or [::]:10809' })
  return { host, port: Number(port) }
}

function parsePlace(text: string): { pool?: string; host: string; path: string } {
  const [, pool, host, path] = /^(?:([^/=]+)\/)?([^/=]+)=(.+)$/.exec(text) ?? []
  if (host === undefined || path === undefined)
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" as the place of a socket`, {
      why: 'it does not say whose it is',
      fix: 'write it like db1=/srv/db1.sock',
    })
  return { ...(pool === undefined ? {} : { pool }), host, path: resolve(path) }
}

interface ApiFlags {
  readonly 'api-listen'?: string | undefined
  readonly 'api-tls-dir'?: string | undefined
  readonly 'api-token-file'?: string | undefined
  readonly 'api-insecure'?: boolean | undefined
}

function parseApi(flags: ApiFlags, command: string): ServeOptions['api'] {
  const { 'api-listen': listen, 'api-tls-dir': folder, 'api-token-file': tokens, 'api-insecure': insecure = false } = flags
  if (listen === undefined) {
    if (folder === undefined && tokens === undefined && !insecure) return undefined
    throw usageError('Cannot offer the HTTP API without a port', '--api-listen says where to listen', command)
  }
  if (tokens === undefined) throw usageError('Cannot offer the HTTP API', 'it needs --api-token-file: a line NAME TOKEN for each client', command)
  if (folder === undefined && !insecure)
    throw usageError('Cannot offer the HTTP API', 'it needs --api-tls-dir, or --api-insecure where nobody can listen in', command)
  const { cert, key } = FILES
  return { ...parseAddress(listen), tokenFile: resolve(tokens), tls: folder === undefined ? null : readFiles(folder, { cert, key }) }
}

function readFiles<K extends string>(folder: string, files: Readonly<Record<K, string>>): Record<K, Buffer> {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(join(folder, file))
    } catch (error) {
      throw new LunarError('ERR_FILE_NOT_FOUND', `Cannot read ${join(folder, file)}`, {
        cause: error,
        fix: `the folder holds ${Object.values(files).join(', ')}`,
      })
    }
  }
  return Object.fromEntries(Object.entries<string>(files).map(([name, file]) => [name, read(file)])) as Record<K, Buffer>
}
