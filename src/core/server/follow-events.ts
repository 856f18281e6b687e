/** Following the events of a pool past its owners: server, commands, nobody. */
import { watch, type FSWatcher } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { hostname } from 'node:os'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { deferred } from '../base/deferred.ts'
import { errnoOf, isCode, LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { EventView, OpenOptions } from './api.ts'
import { isNobody, isTrusted } from './control-client.ts'
import { readText } from './http-body.ts'
import { findRecord, lockedError } from './ownership.ts'
import type { KnownPool } from './registry.ts'
import { openKnown } from './scan.ts'
import { ViewService } from './view-service.ts'
import { INSTANCE_HEADER, JSON_MAX, parseObject, parseWireError, POOL_HEADER, STATUS_MOVED } from './wire.ts'

/** Events become durable in nearly the order of their numbers: so far back it is asked again for what may have come late. */
const LATE_MAX = 64

export interface FollowOptions extends Pick<OpenOptions, 'command' | 'signal'> {
  /** Only events with a number above it. */
  readonly after: number
}

/**
 * Events of a pool, each once, as they come; ends when the signal aborts. Whoever owns the pool tells them. When nobody does, what was missed is read
 * from the disks and the next owner is waited for, without a lock: it writes its name to every disk, which is what is watched.
 *
 * @throws LunarError `ERR_POOL_NOT_FOUND` when its disks are gone, `ERR_LOCKED` when the owner is not for this user or on another host, `ERR_HOST_LIMIT`
 */
export async function* followEvents(known: () => KnownPool, options: FollowOptions): AsyncGenerator<EventView> {
  const { signal } = options
  const seen = new Seen(options.after)
  /** The owner, or that there was none, at which the disks were last read. */
  let read: string | undefined
  while (!signal?.aborted) {
    const pool = known()
    const disks = new DiskWatch(
      pool.disks.map(({ path }) => path),
      signal,
    )
    try {
      const record = await ownerOf(pool)
      const stream = record && (await askFor(pool, record, seen.from, signal))
      if (stream) {
        disks.close()
        read = undefined
        for await (const event of eventsOf(stream)) if (seen.isNew(event)) yield event
        continue
      }
      const now = record?.instance ?? 'nobody'
      if (now !== read) {
        const missed = await eventsOnDisk(known, options, seen.from)
        if (missed) read = now
        for (const event of missed ?? []) if (seen.isNew(event)) yield event
      }
      await disks.changed
    } finally {
      disks.close()
    }
  }
}

/** Which events were told already. */
class Seen {
  private readonly recent = new Set<number>()

  constructor(
    private readonly after: number,
    private newest = after,
  ) {}

  /** The number from which on it is to be asked. */
  get from(): number {
    return Math.max(this.after, this.newest - LATE_MAX)
  }

  isNew({ number }: EventView): boolean {
    if (number <= this.newest - LATE_MAX || this.recent.has(number)) return false
    this.recent.add(number)
    if (number > this.newest) {
      this.newest = number
      for (const old of this.recent) if (old <= number - LATE_MAX) this.recent.delete(old)
    }
    return true
  }
}

/** Waits for anything to be written to one of the files. */
class DiskWatch {
  private readonly watchers: FSWatcher[] = []
  private readonly change = deferred()
  private readonly wake = (): void => {
    this.change.resolve()
  }

  constructor(
    paths: readonly string[],
    private readonly signal: AbortSignal | undefined,
  ) {
    signal?.addEventListener('abort', this.wake)
    for (const path of paths) this.add(path)
    if (signal?.aborted) this.wake()
  }

  get changed(): Promise<void> {
    return this.change.promise
  }

  close(): void {
    this.signal?.removeEventListener('abort', this.wake)
    for (const watcher of this.watchers.splice(0)) watcher.close()
  }

  private add(path: string): void {
    try {
      const watcher = watch(path, this.wake)
      watcher.on('error', this.wake)
      this.watchers.push(watcher)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return // a disk that is away is written by nobody
      this.close()
      throw new LunarError('ERR_HOST_LIMIT', `Cannot watch ${path}`, { cause: error })
    }
  }
}

async function ownerOf(pool: KnownPool): Promise<LockRecord | undefined> {
  await using open = new ResourceStack()
  return await findRecord((await openKnown(pool, 'read', open)).disks)
}

/** @returns undefined when the process that the record names is not there, or going away */
async function askFor(pool: KnownPool, record: LockRecord, after: number, signal: AbortSignal | undefined): Promise<IncomingMessage | undefined> {
  if (record.host !== hostname()) throw lockedError(pool.name, record, '', 'it runs on another host')
  if (!isTrusted(record.socket)) return undefined
  try {
    const response = await get(record.socket, `/v1/events?after=${after}`, signal)
    if (response.statusCode === 200 && response.headers[INSTANCE_HEADER] === record.instance && response.headers[POOL_HEADER] === record.poolId) return response
    const text = response.statusCode === 200 ? undefined : await readText(response, JSON_MAX)
    response.destroy()
    if (text === undefined || response.statusCode === STATUS_MOVED) return undefined
    throw parseWireError(text)
  } catch (error) {
    if (error instanceof LunarError) throw error
    if (signal?.aborted || isNobody(error)) return undefined
    throw new LunarError('ERR_LOCKED', 'Cannot ask the process that owns the pool', { why: `${record.socket} is not for this user`, cause: error })
  }
}

function get(socketPath: string, path: string, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ socketPath, path, agent: false, ...(signal ? { signal } : {}) }, resolve)
    asked.once('error', reject)
    asked.end()
  })
}

/** Ends with the stream, also when that is cut off: then the next owner is asked for what is missing. */
async function* eventsOf(response: IncomingMessage): AsyncGenerator<EventView> {
  let text = ''
  response.setEncoding('utf8')
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      text += chunk
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = parseObject(text.slice(0, end))
        text = text.slice(end + 1)
        if (line) yield line as unknown as EventView
      }
    }
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof Error && error.name === 'AbortError')) throw error
  } finally {
    response.destroy()
  }
}

/** @returns undefined when they change faster than they can be read: somebody writes them, and will be heard of */
async function eventsOnDisk(known: () => KnownPool, { command, signal }: FollowOptions, after: number): Promise<EventView[] | undefined> {
  try {
    await using view = await ViewService.open(known, { mode: 'view', command, ...(signal ? { signal } : {}) })
    return (await view.call('pool.events', { after }, signal)).data
  } catch (error) {
    if (signal?.aborted || isCode(error, 'ERR_BUSY') || isCode(error, 'ERR_METADATA_DAMAGED')) return undefined
    throw error
  }
}
