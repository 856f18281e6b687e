/** The program as it is installed, run as operators run it: real processes, image files and a state folder in a temporary folder. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import type { ErrorCode } from '../../src/core/base/error-table.ts'
import { errorTable } from '../../src/core/base/error-table.ts'
import type { PoolService } from '../../src/core/server/api.ts'
import { MIB } from '../../src/core/base/units.ts'
import { createPool, openService } from '../../src/core/server/front.ts'
import { checkFiles, withFiles, independentCheck, type CheckOptions, type Verdict } from './independent-check.ts'
import { stamped } from './sim.ts'

const root = join(import.meta.dirname, '..', '..')

export interface Result {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly out: Buffer
}

export interface RunOptions {
  readonly input?: Uint8Array
  readonly env?: NodeJS.ProcessEnv
  /** Arguments of Node itself. */
  readonly node?: readonly string[]
  /** A shell command in front, such as `ulimit -n 64`. */
  readonly shell?: string
}

/** One folder for a test: `path` names files in it, `run` runs the program there. */
export class Program {
  folder = ''

  constructor(private readonly launcher: () => string) {}

  path = (name: string): string => join(this.folder, name)
  paths = (...names: string[]): string[] => names.map(this.path)

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, LUNAR_HOME: this.path('home'), NO_COLOR: '1' }
  }

  run(...args: string[]): Result {
    return this.runWith({}, ...args)
  }

  runWith(options: RunOptions, ...args: string[]): Result {
    const line = [...(options.node ?? []), this.launcher(), ...args]
    const [file, argv] = options.shell ? ['/bin/sh', ['-c', `${options.shell}; exec "$0" "$@"`, process.execPath, ...line]] : [process.execPath, line]
    const result = spawnSync(file, argv, {
      cwd: this.folder,
      env: { ...this.env, ...options.env },
      input: options.input,
      maxBuffer: 512 * 1024 * 1024,
      timeout: 45_000,
      killSignal: 'SIGKILL',
    })
    return { status: result.status, signal: result.signal, stdout: result.stdout.toString(), stderr: result.stderr.toString(), out: result.stdout }
  }

  readonly children: ChildProcess[] = []

  /** Starts the program beside the test; what still runs when the test ends is killed. */
  start(args: readonly string[], options: RunOptions = {}): ChildProcess {
    const child = spawn(process.execPath, [...(options.node ?? []), this.launcher(), ...args], {
      cwd: this.folder,
      env: { ...this.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.children.push(child)
    return child
  }

  /** Runs what must go well. @returns its standard output */
  ok(...args: string[]): string {
    const result = this.run(...args)
    expect(result.status, `lunar ${args.join(' ')}: ${result.stderr}`).toBe(0)
    return result.stdout
  }

  /** The data of a command that must go well, from its `--json` envelope. */
  json<T = unknown>(...args: string[]): T {
    return (JSON.parse(this.ok(...args, '--json')) as { data: T }).data
  }

  /** Runs what must be refused: three short lines on stderr with the code, nothing on stdout, the code's exit status; the same with `--json`. */
  refused(code: ErrorCode, ...args: string[]): string {
    const result = this.run(...args)
    expect({ args, status: result.status, stderr: result.stderr }).toEqual({
      args,
      status: errorTable[code].exit,
      stderr: expect.stringMatching(new RegExp(`^(warning: .*\\n)*error: .+ \\[${code}\\]\\n  why: .+\\n  fix: .+\\n$`)) as string,
    })
    expect(result.stdout).toBe('')
    return result.stderr
  }

  /** The same refusal as `--json` tells it. */
  refusedJson(code: ErrorCode, ...args: string[]): { code: string; message: string; cause: string; fix: string; blockers: string[] } {
    const result = this.run(...args, '--json')
    const envelope = JSON.parse(result.stdout) as { data: unknown; error: { code: string; message: string; cause: string; fix: string; blockers: string[] } }
    expect([result.status, envelope.error.code, envelope.data]).toEqual([errorTable[code].exit, code, null])
    return envelope.error
  }

  /** Pool "tank" of sparse 64 MiB disks d0.img, d1.img, … @returns their paths */
  makeTank(count = 4): string[] {
    const names = Array.from({ length: count }, (_, i) => `d${i}.img`)
    this.ok('pool', 'create', 'tank', ...names, '--size', '64MiB')
    return names.map(this.path)
  }

  /** Pool "tank" with a mirrored LUN "a" of 8 MiB, whose first 2 MiB are `stamped(2 MiB, 1)`; made in this process, which is faster. @returns the paths of its disks */
  async tankWithData(count = 3): Promise<string[]> {
    const disks = Array.from({ length: count }, (_, i) => this.path(`d${i}.img`))
    await this.inside(() => createPool({ name: 'tank', disks: disks.map(path => ({ path, size: 64 * MIB })), command: 'test' }))
    await this.reopened(async service => {
      await service.call('lun.create', { name: 'a', size: 8 * MIB, raid: count > 1 ? 'raid1' : 'raid0' })
      const device = await service.openLun('a')
      await device.write(0, stamped(2 * MIB, 1))
      await device.flush()
      await device.close()
    })
    return disks
  }

  /** Runs `act`, which uses the front door in this process, with the state folder of the test. */
  async inside<T>(act: () => Promise<T>): Promise<T> {
    const before = process.env.LUNAR_HOME
    process.env.LUNAR_HOME = this.path('home')
    try {
      return await act()
    } finally {
      if (before === undefined) delete process.env.LUNAR_HOME
      else process.env.LUNAR_HOME = before
    }
  }

  /** Opens pool "tank" in this process as its next owner does, lets background work end, and looks. */
  reopened<T>(look: (service: PoolService) => Promise<T>): Promise<T> {
    return this.inside(async () => {
      await using service = await openService('tank', { mode: 'owner', command: 'test' })
      await workDone(service)
      return await look(service)
    })
  }

  write(name: string, bytes: Uint8Array): string {
    writeFileSync(this.path(name), bytes)
    return this.path(name)
  }
}

/** Waits until no background process runs any more. */
export async function workDone(service: PoolService): Promise<void> {
  for (;;) {
    const running = (await service.call('task.list', {})).data.find(({ state }) => state === 'running')
    if (!running) return
    await service.call('task.wait', { task: running.number })
  }
}

/** Installs the program once for a test file, and gives each test a folder of its own. Needs `npm run build`. */
export function useProgram(): Program {
  let installed = ''
  const launcher = (): string => join(installed, 'bin', 'lunar.cjs')
  const program = new Program(launcher)
  beforeAll(() => {
    expect(existsSync(join(root, 'dist', 'lunar.cjs')), 'npm run build comes first').toBe(true)
    installed = mkdtempSync(join(tmpdir(), 'lunar-program-'))
    for (const part of ['bin', 'package.json', 'oclif.manifest.json', join('dist', 'lunar.cjs')])
      cpSync(join(root, part), join(installed, part), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  })
  afterAll(() => {
    rmSync(installed, { recursive: true, force: true })
  })
  beforeEach(() => {
    program.folder = mkdtempSync(join(tmpdir(), 'lunar-fault-'))
    mkdirSync(program.path('home'))
  })
  afterEach(() => {
    for (const child of program.children.splice(0)) child.kill('SIGKILL')
    rmSync(program.folder, { recursive: true, force: true })
  })
  return program
}

/** The images are as they should be, and so is every copy in them. */
export async function expectSoundFiles(paths: readonly string[], options?: CheckOptions): Promise<void> {
  const { problems, damage } = await checkFiles(paths, options)
  expect({ problems, damage }).toEqual({ problems: [], damage: [] })
}

/** Nothing in the images contradicts itself; copies may be behind. */
export async function expectConsistentFiles(paths: readonly string[], options?: CheckOptions): Promise<Verdict> {
  const verdict = await checkFiles(paths, options)
  expect(verdict.problems).toEqual([])
  return verdict
}

/** The bytes of a LUN as the independent checker puts them together from the images. */
export const lunOnFiles = (paths: readonly string[], name: string): Promise<Buffer> =>
  withFiles(paths, async readers => {
    const { problems, pool } = await independentCheck(readers, { data: false })
    expect(problems).toEqual([])
    return pool!.lunBytes(name)
  })
