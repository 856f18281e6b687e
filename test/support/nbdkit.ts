/** nbdkit in front of a file or memory: somebody else's server. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { afterEach, expect } from 'vitest'

const running = new Set<Nbdkit>()
afterEach(async () => {
  await Promise.all([...running].map(server => server.kill()))
})

/** Serves the default export on a unix socket; killed at the end of the test. */
export class Nbdkit {
  private child: ChildProcess | undefined

  private constructor(
    readonly socket: string,
    private readonly plugin: readonly string[],
  ) {}

  /** @param plugin with its parameters: `memory 64M`, `file /images/a.img` @returns when it listens */
  static async start(socket: string, ...plugin: string[]): Promise<Nbdkit> {
    const server = new Nbdkit(socket, plugin)
    await server.again()
    return server
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.socket}`
  }

  /** After `kill`, over the same file. */
  async again(): Promise<void> {
    const pidFile = `${this.socket}.pid`
    rmSync(pidFile, { force: true })
    this.child = spawn('nbdkit', ['--foreground', '-U', this.socket, '-P', pidFile, ...this.plugin], { stdio: 'ignore' })
    running.add(this)
    await expect.poll(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '', { timeout: 10_000, interval: 10 }).toBe(true)
  }

  /** With SIGKILL: connections end in the middle of whatever was under way. */
  async kill(): Promise<void> {
    const { child } = this
    if (!running.delete(this) || !child) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    rmSync(this.socket, { force: true })
  }

  /** It answers nobody any more, and closes no connection either. */
  stop(): void {
    this.child?.kill('SIGSTOP')
  }
}
