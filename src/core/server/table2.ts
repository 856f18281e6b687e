/** The functions of Table 2 of US 9,087,013 for clients that speak HTTP: each by its name, over the verbs that everything else uses. */
import { LunarError } from '../base/errors.ts'
import { systemClock } from '../base/clock.ts'
import type { Delay, Params, PoolService, ProcessName, RelationshipHold, Reply, Result, TaskView, Verb } from './api.ts'
import type { Table2, Table2Function, Table2Params, Table2Result } from './table2-api.ts'
import { parseVolumeId, placeOfVolume, servedIdAt, volumeIdAt } from './volume-id.ts'
import { Moved } from './wire.ts'

/** Handles at once, and how long one is kept that nobody uses: a client that speaks HTTP can be gone without a sign. Milliseconds. */
const HANDLES_MAX = 1024
const LAPSE_MS = 3_600_000

/** Whom the functions ask, in the name of one client. */
export type Table2Asker = Pick<PoolService, 'pool' | 'call' | 'openLun' | 'holdRelationship'> & { readonly poolId: string }

interface Held {
  readonly hold: RelationshipHold
  readonly client: string
  usedMs: number
}

/** The handles that an owner gave to clients without a session. */
export class Table2Handles {
  private readonly held = new Map<string, Held>()
  private lapse: NodeJS.Timeout | undefined
  private closed = false

  /** @param failed is told what went wrong where nobody waits for it */
  constructor(
    private readonly failed: (error: unknown) => void,
    private readonly nowMs: () => number = () => systemClock.monotonicMs(),
  ) {}

  get size(): number {
    return this.held.size
  }

  /** Who holds which relationship, for messages about what is busy. */
  describe(): string[] {
    return [...this.held.values()].map(({ client, hold }) => `${client}, which has a handle of relationship ${hold.number}`)
  }

  async keep(hold: RelationshipHold, client: string): Promise<string> {
    if (this.closed || this.held.size >= HANDLES_MAX) {
      await hold.close()
      if (this.closed) throw new Moved()
      throw new LunarError('ERR_HOST_LIMIT', `Cannot open a handle of relationship ${hold.number}`, { why: `${HANDLES_MAX} are open`, fix: 'close some' })
    }
    const handle = crypto.randomUUID()
    this.held.set(handle, { hold, client, usedMs: this.nowMs() })
    this.lapse ??= setInterval(() => {
      this.letLapse()
    }, LAPSE_MS / 4).unref()
    return handle
  }

  /** The relationship that a handle stands for. @throws LunarError `ERR_BAD_HANDLE` */
  use(handle: string): string {
    const found = this.held.get(handle)
    if (!found) throw new LunarError('ERR_BAD_HANDLE', 'Cannot use the handle', { why: 'this owner of the pool did not give it, or it was closed' })
    found.usedMs = this.nowMs()
    return `DcsSnap${found.hold.number}`
  }

  async release(handle: string): Promise<void> {
    const found = this.held.get(handle)
    this.held.delete(handle)
    if (this.held.size === 0) this.stopLapsing()
    await found?.hold.close()
  }

  /** Lets go what nobody used for long. */
  letLapse(): void {
    for (const [handle, { usedMs }] of this.held) if (this.nowMs() - usedMs >= LAPSE_MS) this.release(handle).catch(this.failed)
  }

  /** Gives no more, and lets all go. */
  async close(): Promise<void> {
    this.closed = true
    await Promise.all([...this.held.keys()].map(handle => this.release(handle)))
  }

  private stopLapsing(): void {
    clearInterval(this.lapse)
    this.lapse = undefined
  }
}

type Kind = 'string' | 'number' | 'boolean' | 'delay'

interface Route<F extends Table2Function> {
  /** What it takes; a key with a question mark may be left out. */
  readonly takes: Readonly<Record<string, Kind>>
  run(params: Table2Params<F>, at: Context): Promise<Reply<Table2Result<F>>>
}

/** One request of a client. */
class Context {
  constructor(
    readonly asker: Table2Asker,
    readonly handles: Table2Handles,
    readonly client: string,
    private readonly signal: AbortSignal,
  ) {}

  call<V extends Verb>(verb: V, params: Params<V>): Promise<Reply<Result<V>>> {
    return this.asker.call(verb, params, this.signal)
  }

  /** What a function that needs no verb of its own answers. */
  async answer<T>(data: T): Promise<Reply<T>> {
    const { generation, warnings } = await this.call('pool.list', {})
    return { generation, data, warnings }
  }
}

const as = <T, U>(reply: Reply<T>, data: (of: T) => U): Reply<U> => ({ ...reply, data: data(reply.data) })

/** Relationships of one call: what the verb answers of it. */
function only<T>(of: readonly T[]): T {
  const [answer] = of
  if (answer === undefined) throw new LunarError('ERR_BUG', 'Invariant broken: the pool answered nothing about one relationship')
  return answer
}

const handle = { handle: 'string' } as const

const starting = <F extends 'DcsPITDeviceStartImageCompletion' | 'DcsPITDeviceStartImageUpdate' | 'DcsPITDeviceStartSourceUpdate'>(
  kind: ProcessName,
): Route<F> => ({
  takes: kind === 'completeImage' ? { ...handle, 'wait?': 'boolean' } : { ...handle, 'wait?': 'boolean', 'keepBefore?': 'string' },
  run: async (params, at) => {
    const { handle: given, wait = false, keepBefore } = params as Table2Params<'DcsPITDeviceStartImageUpdate'>
    const relationship = at.handles.use(given)
    const started = await at.call('snap.start', { relationship, kind, ...(keepBefore === undefined ? {} : { keepBefore }) })
    const { task } = started.data
    const shown: TaskView | null = task === null ? null : (await at.call(wait ? 'task.wait' : 'task.show', { task })).data
    return { ...started, data: shown }
  },
})

const aborting = <F extends 'DcsPITDeviceAbortImageCompletion' | 'DcsPITDeviceAbortImageUpdate' | 'DcsPITDeviceAbortSourceUpdate'>(
  kind: ProcessName,
): Route<F> => ({
  takes: handle,
  run: async (params, at) => as(await at.call('snap.stop', { relationship: at.handles.use(params.handle), kind }), ({ done, left }) => ({ done, left })),
})

const delaying = <F extends 'DcsPITDeviceDelayImageCompletion' | 'DcsPITDeviceDelayImageUpdate' | 'DcsPITDeviceDelaySourceUpdate'>(
  kind: ProcessName,
): Route<F> => ({
  takes: { ...handle, ms: 'delay' },
  run: async ({ handle: given, ms }, at) =>
    as(await at.call('snap.setDelay', { relationship: at.handles.use(given), kind, delay: ms }), ({ was }): { was: Delay } => ({ was })),
})

const place = { disk: 'number', partition: 'number' } as const

const routes: { readonly [F in Table2Function]: Route<F> } = {
  DcsPITDeviceCreateHandle: {
    takes: { relationship: 'string' },
    run: async ({ relationship }, at) => {
      const hold = await at.asker.holdRelationship(relationship)
      const { number } = hold
      return at.answer({ handle: await at.handles.keep(hold, at.client), number })
    },
  },
  DcsPITDeviceCloseHandle: {
    takes: handle,
    run: async ({ handle: given }, at) => {
      await at.handles.release(given)
      return at.answer(null)
    },
  },
  DcsPITDeviceEnable: {
    takes: { ...handle, 'fresh?': 'boolean' },
    run: async ({ handle: given, fresh = false }, at) =>
      as(await at.call('snap.enable', { relationships: [at.handles.use(given)], fresh }), enabled => {
        const { asOf, lost } = only(enabled)
        return { asOf, lost }
      }),
  },
  DcsPITDeviceDisable: {
    takes: handle,
    run: async ({ handle: given }, at) => as(await at.call('snap.disable', { relationships: [at.handles.use(given)] }), () => null),
  },
  DcsPITDeviceGetConfigure: { takes: handle, run: async ({ handle: given }, at) => at.call('snap.config', { relationship: at.handles.use(given) }) },
  DcsPITDeviceGetActiveConfigure: {
    takes: handle,
    run: async ({ handle: given }, at) => at.call('snap.activeConfig', { relationship: at.handles.use(given) }),
  },
  DcsPITDeviceGetStatus: { takes: handle, run: async ({ handle: given }, at) => at.call('snap.status', { relationship: at.handles.use(given) }) },
  DcsPITDeviceGetActiveMaps: {
    takes: handle,
    run: async ({ handle: given }, at) =>
      as(await at.call('snap.maps', { relationship: at.handles.use(given) }), ({ chunks, chunkBlocks, migrated, delta, generation }) => ({
        chunks,
        chunkBlocks,
        migrated,
        delta,
        generation,
      })),
  },
  DcsPITDeviceStartImageCompletion: starting('completeImage'),
  DcsPITDeviceStartImageUpdate: starting('imageUpdate'),
  DcsPITDeviceStartSourceUpdate: starting('sourceUpdate'),
  DcsPITDeviceAbortImageCompletion: aborting('completeImage'),
  DcsPITDeviceAbortImageUpdate: aborting('imageUpdate'),
  DcsPITDeviceAbortSourceUpdate: aborting('sourceUpdate'),
  DcsPITDeviceDelayImageCompletion: delaying('completeImage'),
  DcsPITDeviceDelayImageUpdate: delaying('imageUpdate'),
  DcsPITDeviceDelaySourceUpdate: delaying('sourceUpdate'),
  DcsPMGenerateVolumeID: { takes: place, run: async ({ disk, partition }, at) => at.answer(await volumeIdAt(at.asker, disk, partition)) },
  DcsPMGetSDSVolumeID: { takes: place, run: async ({ disk, partition }, at) => at.answer(await servedIdAt(at.asker, disk, partition)) },
  DcsPMListVolumes: { takes: {}, run: async (_, at) => as(await at.call('lun.list', {}), luns => luns.map(({ id }) => id)) },
  DcsPMTranslateVolumeID: {
    takes: { id: 'string' },
    run: async ({ id }, at) => {
      const found = await placeOfVolume(at.asker, parseVolumeId(id))
      if (!found) throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find volume ${id}`, { why: `pool "${at.asker.pool}" has none of this id` })
      return at.answer({ pool: at.asker.poolId, ...found })
    },
  },
}

export const isTable2 = (name: string): name is Table2Function => Object.hasOwn(routes, name)

/**
 * Calls one function.
 * @param params as the client sent them
 * @param client who asks, for messages
 * @throws LunarError `ERR_USAGE` for parameters that it does not take, `ERR_BAD_HANDLE`, and as the verbs do
 */
export function callTable2<F extends Table2Function>(
  name: F,
  params: Readonly<Record<string, unknown>>,
  asker: Table2Asker,
  handles: Table2Handles,
  client: string,
  signal: AbortSignal,
): Promise<Reply<Table2[F]['result']>> {
  const { takes, run } = routes[name] as Route<F>
  requireParams(name, takes, params)
  return run(params as Table2Params<F>, new Context(asker, handles, client, signal))
}

function requireParams(name: string, takes: Readonly<Record<string, Kind>>, params: Readonly<Record<string, unknown>>): void {
  const refuse = (why: string): never => {
    throw new LunarError('ERR_USAGE', `Cannot call ${name}`, { why, fix: `it takes ${Object.keys(takes).join(', ') || 'nothing'}: see share/openapi.json` })
  }
  const known = new Map(Object.entries(takes).map(([key, kind]) => [key.replace('?', ''), kind]))
  for (const key of Object.keys(params)) if (!known.has(key)) refuse(`it knows no ${JSON.stringify(key)}`)
  for (const [key, kind] of known) {
    const value = params[key]
    if (value === undefined && !Object.hasOwn(takes, key)) continue
    const fits = kind === 'delay' ? typeof value === 'number' || value === 'adaptive' : typeof value === kind
    if (!fits) refuse(value === undefined ? `"${key}" is missing` : `"${key}" is no ${kind}`)
  }
}
