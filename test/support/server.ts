/** A server as it is installed, and clients of it: real processes. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect } from 'vitest'
import type { Program, RunOptions } from './program.ts'

export interface RunningServer {
  readonly child: ChildProcess
  /** Where it listens, by host; `by certificate` for TLS. */
  readonly uris: ReadonlyMap<string, string>
  uri(host: string, name: string): string
  /** What it wrote to stderr so far. */
  log(): string
  /** Its end: exit status, or the signal. */
  readonly ended: Promise<number | string>
  kill(signal: NodeJS.Signals): Promise<number | string>
}

/** Starts `lunar serve …` and waits until it has said where it listens, on `listeners` sockets. */
export async function serve(lunar: Program, args: readonly string[], listeners = 1, options: RunOptions = {}): Promise<RunningServer> {
  const child = lunar.start(['serve', ...args], options)
  return running(child, listeners)
}

/** @throws when it ends before it has said that it listens */
export async function running(child: ChildProcess, listeners: number): Promise<RunningServer> {
  let log = ''
  child.stderr!.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const ended = once(child, 'exit').then(([status, signal]) => (signal ?? status) as number | string)
  const uris = new Map<string, string>()
  const lines = createInterface({ input: child.stdout! })
  if (listeners > 0)
    for await (const line of lines) {
      const [host = '', uri = ''] = line.split('\t')
      uris.set(host, uri)
      if (uris.size === listeners) break
    }
  else await new Promise<void>(resolve => child.stderr!.on('data', () => log.includes('is served') && resolve()))
  if (uris.size < listeners) throw new Error(`the server ended: ${await ended} ${log}`)
  child.stdout!.resume()
  return {
    child,
    uris,
    uri: (host, name) => uris.get(host)!.replace('EXPORT', name),
    log: () => log,
    ended,
    kill: signal => {
      child.kill(signal)
      return ended
    },
  }
}

export interface ClientResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Python of the distribution, for which its libnbd is. */
export const clientEnv = { ...process.env, PATH: `/usr/bin:/bin:/usr/sbin:${process.env.PATH ?? ''}` }

/** Runs a client program. */
export function client(program: string, ...args: string[]): ClientResult {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', env: clientEnv, timeout: 60_000, maxBuffer: 64 * 1024 * 1024 })
  if (error) throw error
  return { status, stdout, stderr }
}

/** The same, which must go well. @returns its stdout */
export function clientOk(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = client(program, ...args)
  expect(status, `${program} ${args.join(' ')}: ${stderr}`).toBe(0)
  return stdout
}

/** Has an export open with nbdsh until `close`, which resolves when the connection has ended. */
export async function holdOpen(lunar: Program, uri: string): Promise<{ readonly child: ChildProcess; close(): Promise<void> }> {
  const script = 'import sys; print("open", flush=True); sys.stdin.read()'
  const child = spawn('nbdsh', ['-u', uri, '-c', script], { stdio: ['pipe', 'pipe', 'pipe'], env: clientEnv })
  lunar.children.push(child)
  let error = ''
  child.stderr.on('data', (chunk: Buffer) => {
    error += chunk.toString()
  })
  const ended = once(child, 'exit')
  const opened = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)])
  if (!opened) throw new Error(`nbdsh could not open ${uri}: ${error}`)
  return {
    child,
    close: async () => {
      child.stdin.end()
      await ended
    },
  }
}
