import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'

const folder = join(process.cwd(), 'node_modules', '.cache', 'lunar-test')

/** Bundles the scripts of the server tests once, so that real processes start in the time of plain Node. @returns the path */
export async function buildActor(): Promise<string> {
  mkdirSync(folder, { recursive: true })
  const outfile = join(folder, `actor-${process.pid}.mjs`)
  await build({
    entryPoints: [join(process.cwd(), 'test/core/server/support/actor.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: ['./engine.ts', 'koffi', 'fs-native-extensions', '@node-rs/crc32'],
    logLevel: 'error',
  })
  return outfile
}

export const removeActor = (actor: string): void => {
  rmSync(actor, { force: true })
}

/** A process that opens a pool as its owner and does what it is told, one line at a time. */
export class Actor {
  private readonly lines: AsyncIterator<string>
  private readonly closed: Promise<unknown>

  private constructor(readonly child: ChildProcess) {
    this.closed = once(child, 'close')
    this.lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  }

  static start(actor: string, ...args: string[]): Actor {
    return Actor.run(process.execPath, [actor, ...args])
  }

  /** As another user, where the tests run as root; else as this one. */
  static startAs(uid: number, actor: string, ...args: string[]): Actor {
    return Actor.run(process.execPath, [actor, ...args], process.geteuid?.() === 0 ? { uid, gid: uid } : {})
  }

  /** With that many file descriptors. */
  static startLimited(descriptors: number, actor: string, ...args: string[]): Actor {
    return Actor.run('/bin/sh', ['-c', `ulimit -n ${descriptors}; exec "$0" "$@"`, process.execPath, actor, ...args])
  }

  private static run(program: string, args: string[], user: { uid?: number; gid?: number } = {}): Actor {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], ...user })
    child.stdin.on('error', () => undefined) // it may have ended: what it said tells
    return new Actor(child)
  }

  /** The next line that it says. */
  async says(): Promise<string> {
    const line = await this.lines.next()
    return line.done ? '' : line.value
  }

  tell(line: string): void {
    this.child.stdin!.write(`${line}\n`)
  }

  async ask(line: string): Promise<string> {
    this.tell(line)
    return this.says()
  }

  /** Waits until it has ended and nobody holds its output any more. */
  async ended(): Promise<number | null> {
    await this.closed
    return this.child.exitCode
  }
}
