/** A command line without a process: collected output, a pool that answers from a table, no engine. */
import { PassThrough, Writable } from 'node:stream'
import { Config } from '@oclif/core'
import { join } from 'node:path'
import { commands } from '../../../src/commands/index.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { runLine } from '../../../src/core/cli/main.ts'
import type { FrontDoor, InputStream, OutputStream, StopSignal, Surroundings, Transfers } from '../../../src/core/cli/surroundings.ts'
import type { OpenOptions, Params, PoolService, Reply, Result, Verb } from '../../../src/core/server/api.ts'

export const root = join(import.meta.dirname, '..', '..', '..')

/** What the fake pool answers; a verb that is missing here fails the test. */
export type Answers = { readonly [V in Verb]?: (params: Params<V>, signal?: AbortSignal) => Result<V> | Promise<Result<V>> }

export interface Options {
  readonly answers?: Answers
  readonly front?: Partial<FrontDoor>
  readonly transfers?: Partial<Transfers>
  readonly openLun?: PoolService['openLun']
  readonly warnings?: readonly string[]
  readonly env?: Record<string, string>
  readonly stdin?: InputStream
  /** Both output streams are terminals of this width. */
  readonly columns?: number
  /** Bytes of stdout after which its reader goes away. */
  readonly readerLeavesAfter?: number
}

export interface Outcome {
  readonly status: number
  readonly out: string
  readonly err: string
  /** Verbs and front-door functions in the order they were called. */
  readonly calls: readonly { readonly verb: string; readonly params: unknown }[]
  readonly opened: readonly OpenOptions[]
  readonly closed: number
}

class Collected extends Writable {
  text = ''
  readonly isTTY?: boolean
  readonly columns?: number
  constructor(
    columns: number | undefined,
    private readonly limit = Infinity,
  ) {
    super({ decodeStrings: false })
    if (columns !== undefined) {
      this.isTTY = true
      this.columns = columns
    }
    this.on('error', () => undefined) // as oclif does for stdout
  }
  /** Like the standard streams, it never ends: what is piped into it does. */
  override end(): this {
    return this
  }

  override _write(chunk: Buffer | string, _encoding: string, done: (error?: Error) => void): void {
    if (this.text.length + chunk.length > this.limit) return done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    this.text += chunk.toString()
    done()
  }
}

let config: Promise<Config> | undefined

export class Stage {
  readonly calls: { verb: string; params: unknown }[] = []
  readonly opened: OpenOptions[] = []
  readonly stopHandlers = new Set<(signal: StopSignal) => void>()
  closed = 0
  abandoned: number | undefined
  readonly stdout: Collected
  readonly stderr: Collected

  constructor(private readonly options: Options) {
    this.stdout = new Collected(options.columns, options.readerLeavesAfter)
    this.stderr = new Collected(options.columns)
  }

  get around(): Surroundings {
    const { options } = this
    const stdin = options.stdin ?? new PassThrough().end()
    return {
      stdin,
      stdout: this.stdout as OutputStream,
      stderr: this.stderr as OutputStream,
      env: options.env ?? {},
      front: () => Promise.resolve(this.front()),
      transfers: () => Promise.resolve(only<Transfers>('transfers', options.transfers ?? {})),
      onStop: handler => {
        this.stopHandlers.add(handler)
        return () => this.stopHandlers.delete(handler)
      },
      abandon: status => {
        this.abandoned = status
      },
    }
  }

  stop(signal: StopSignal = 'SIGINT'): void {
    for (const handler of this.stopHandlers) handler(signal)
  }

  async run(argv: readonly string[]): Promise<Outcome> {
    const status = await runLine(argv, commands, () => (config ??= Config.load({ root })), this.around)
    return { status, out: this.stdout.text, err: this.stderr.text, calls: this.calls, opened: this.opened, closed: this.closed }
  }

  private front(): FrontDoor {
    const named = Object.fromEntries(
      Object.entries(this.options.front ?? {}).map(([verb, answer]) => [
        verb,
        (params: unknown) => {
          this.calls.push({ verb, params: typeof params === 'object' && params !== null ? asked(params) : params })
          return (answer as (params: unknown) => unknown)(params)
        },
      ]),
    )
    return only<FrontDoor>('front', { openService: (pool, open) => this.open(pool, open), ...named })
  }

  private open(pool: string | undefined, open: OpenOptions): Promise<PoolService> {
    this.opened.push(asked(open))
    if (pool !== undefined && pool !== 'tank') throw new LunarError('ERR_POOL_NOT_FOUND', `Cannot open pool "${pool}"`)
    const close = (): Promise<void> => {
      this.closed++
      return Promise.resolve()
    }
    const service: PoolService = {
      pool: 'tank',
      call: async <V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>> => {
        this.calls.push({ verb, params })
        const answer = this.options.answers?.[verb] as ((params: Params<V>, signal?: AbortSignal) => Promise<Result<V>>) | undefined
        if (!answer) throw new Error(`the test has no answer to ${verb}`)
        return { generation: 7, data: await answer(params, signal), warnings: this.options.warnings ?? [] }
      },
      openLun: this.options.openLun ?? (() => Promise.reject(new Error('the test has no LUN'))),
      holdRelationship: () => Promise.reject(new Error('the test has no relationship')),
      follow: noEvents,
      close,
      [Symbol.asyncDispose]: close,
    }
    return Promise.resolve(service)
  }
}

const noEvents = async function* (): AsyncGenerator<never> {
  // None come.
}

/** What was asked for; the signal that ends it belongs to the run. */
function asked<T extends object>(params: T): T {
  const { signal: _, ...rest } = params as T & { signal?: AbortSignal }
  return rest as T
}

/** A module with some of its functions; the others fail the test. */
const only = <T extends object>(what: string, given: Partial<T>): T =>
  new Proxy(given as T, {
    get: (target, name, receiver) =>
      name === 'then' || name in target
        ? (Reflect.get(target, name, receiver) as unknown)
        : () => Promise.reject(new Error(`the test has no ${what}.${String(name)}`)),
  })

export const lunar = (argv: readonly string[], options: Options = {}): Promise<Outcome> => new Stage(options).run(argv)
