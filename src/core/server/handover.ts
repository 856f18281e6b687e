/**
 * Hands a pool on to an owner in the background: a process of its own session with its own log, which inherits the
 * locked descriptors, so that no moment is unlocked (hazard 39).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { deferred } from '../base/deferred.ts'
import { LunarError } from '../base/errors.ts'
import type { MissingDisk } from './engine-types.ts'
import { stateFolder } from './folders.ts'
import { isFileDisk } from './host-disk.ts'
import type { OwnedDisk } from './ownership.ts'
import { parseObject } from './wire.ts'

/** Descriptors of the child: orders in, answers out, then two for each disk that is a file; to others it connects itself. */
export const ORDERS_FD = 3
export const ANSWERS_FD = 4
export const FIRST_DISK_FD = 5
/** Set for the child; `runOwner` looks for it. */
export const OWNER_VARIABLE = 'LUNAR_OWNER'

/** How long the child may take from its order to its answer, in milliseconds: it replays a journal of at most a few seconds. */
const ANSWER_WITHIN = 120_000

/** What the child is told once the pool is quiet: one line of JSON. */
export interface HandOverOrder {
  readonly poolId: string
  readonly poolName: string
  readonly command: string
  readonly forceNonlocal: boolean
  /** Of all disks; those that are files are in the order of the descriptors. */
  readonly paths: readonly string[]
  /** Whose records stand on disks behind connections: the child puts its own in their place. */
  readonly instance: string
  readonly missing: readonly MissingDisk[]
}

let program: readonly string[] | undefined

/** Says how the background owner is started: arguments of `process.execPath`. Default: `bin/lunar.cjs` of this package. */
export function setOwnerProgram(args: readonly string[] | undefined): void {
  program = args
}

function ownerProgram(): readonly string[] {
  if (program) return program
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const launcher = join(folder, 'bin', 'lunar.cjs')
    if (existsSync(launcher)) return [launcher]
  }
  throw new LunarError('ERR_FAILED', 'Cannot start an owner in the background', { why: 'bin/lunar.cjs is not beside this program' })
}

/** A child that is started and waits for the pool. */
export class NextOwner {
  private readonly answer: Promise<void>

  private constructor(
    private readonly child: ChildProcess,
    private readonly log: string,
  ) {
    this.answer = this.firstAnswer()
    this.answer.catch(() => undefined) // looked at in `takeOver`
  }

  /** Starts the child beside the running owner, so that its start-up costs nobody time. */
  static async start(poolId: string, disks: readonly OwnedDisk[]): Promise<NextOwner> {
    const state = stateFolder()
    mkdirSync(state, { recursive: true, mode: 0o700 })
    const log = join(state, `owner-${poolId.slice(0, 8)}.log`)
    const logFd = openSync(log, 'a', 0o600)
    try {
      const child = spawn(process.execPath, [...ownerProgram()], {
        detached: true,
        cwd: '/',
        env: { ...process.env, [OWNER_VARIABLE]: '1', ...(process.env.LUNAR_HOME ? { LUNAR_HOME: state } : {}) },
        stdio: ['ignore', logFd, logFd, 'pipe', 'pipe', ...disks.flatMap(({ disk }) => (isFileDisk(disk) ? disk.fds : []))],
      })
      try {
        await once(child, 'spawn')
      } catch (error) {
        throw new LunarError('ERR_HOST_LIMIT', 'Cannot start an owner in the background', { cause: error })
      }
      return new NextOwner(child, log)
    } finally {
      closeSync(logFd)
    }
  }

  /**
   * Resolves when the child owns the pool: its records are written, its socket answers. One that does not answer in time is ended,
   * so that it does not hold the locks for ever.
   * @throws LunarError `ERR_FAILED`
   */
  async takeOver(order: HandOverOrder, withinMs = ANSWER_WITHIN): Promise<void> {
    const orders = this.child.stdio[ORDERS_FD] as Writable
    orders.on('error', () => undefined) // a child that died is noticed by its answers
    orders.end(`${JSON.stringify(order)}\n`)
    const late = deferred()
    const timer = setTimeout(() => {
      this.child.kill('SIGKILL')
      const why = `it did not answer within ${withinMs / 1000} s and was ended`
      late.reject(new LunarError('ERR_FAILED', 'The owner in the background did not start', { why, fix: `read ${this.log}` }))
    }, withinMs)
    try {
      await Promise.race([this.answer, late.promise])
    } finally {
      clearTimeout(timer)
      this.letLoose()
    }
  }

  /** The pool is not handed on after all: without an order the child ends. */
  giveUp(): void {
    ;(this.child.stdio[ORDERS_FD] as Writable).destroy()
    this.letLoose()
  }

  private letLoose(): void {
    ;(this.child.stdio[ANSWERS_FD] as Readable).destroy()
    this.child.unref()
  }

  private async firstAnswer(): Promise<void> {
    let text = ''
    for await (const chunk of this.child.stdio[ANSWERS_FD] as Readable) {
      text += String(chunk)
      if (text.includes('\n')) break
    }
    const answer = parseObject(text)
    if (answer?.ready === true) return
    const why = typeof answer?.error === 'string' ? answer.error : 'it ended before it was ready'
    throw new LunarError('ERR_FAILED', 'The owner in the background did not start', { why, fix: `read ${this.log}` })
  }
}
