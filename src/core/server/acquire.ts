/** Becoming the owner of a pool, or finding the process that is. */
import { hostname } from 'node:os'
import { checkWritable } from '../../metadata/label.ts'
import type { LockRecord } from '../../metadata/lock-record.ts'
import { systemClock } from '../base/clock.ts'
import { isCode, LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import type { OpenOptions } from './api.ts'
import type { ControlClient } from './control-client.ts'
import { requireLocal } from './disk-maker.ts'
import { mapBounded } from './bounded.ts'
import { whoAmI } from './history.ts'
import { isStopped } from './holder.ts'
import { Owner, type LockedPool, type OwnerOptions, type OwnerServer } from './owner.ts'
import { lockedError, newRecord, takeLocks } from './ownership.ts'
import type { KnownPool } from './registry.ts'
import { openKnown, type FoundPool } from './scan.ts'
import { VERSION } from './version.ts'
import { Moved } from './wire.ts'

/** An owner that is just starting or just leaving is waited for; all in all this long, in milliseconds. */
let waitMax = 10_000
/** For tests. */
export function setWaitMax(ms: number): void {
  waitMax = ms
}
/** One session is waited for at least and at most this long, in milliseconds. */
const HELLO_LEAST = 250
const HELLO_MOST = 2000
const PAUSE_FIRST = 4
const PAUSE_MAX = 100

export type Acquired = { readonly kind: 'owner'; readonly owner: Owner } | { readonly kind: 'client'; readonly client: ControlClient }

/**
 * Exactly one of many who come at the same time takes the locks; the others read in the lock record who it is and ask
 * that one (fault F26).
 *
 * @throws LunarError `ERR_LOCKED`, naming process, command and host, when the holder cannot be asked
 */
export function acquire(known: () => KnownPool, options: OpenOptions): Promise<Acquired> {
  return contend<Acquired>(known, options, {
    free: async (pool, open) => ({ kind: 'owner', owner: await Owner.start(pool, ownerOptions(options), open) }),
    answered: async client => {
      if (!client.hello.readOnly || options.readOnly) return Promise.resolve({ kind: 'client', client })
      client.close() // it may only look; whoever wants to write waits until it has gone
      return undefined
    },
  })
}

const ownerOptions = (options: OpenOptions): OwnerOptions => ({
  kind: 'command',
  command: options.command,
  readOnly: options.readOnly ?? false,
  forceQuorum: options.forceQuorum ?? false,
  forceNonlocal: options.forceNonlocal ?? false,
  ...(options.choose === undefined ? {} : { choose: options.choose }),
})

/**
 * Becomes the server of a pool. Who owns it on demand is asked to leave, and what it did in the background goes on here.
 *
 * @throws LunarError `ERR_LOCKED` when a server has it already or the holder cannot be asked, `ERR_BUSY` when a command does not end in time
 */
export async function acquireServed(known: () => KnownPool, options: OpenOptions, server: OwnerServer): Promise<Owner> {
  let busy: LunarError | undefined
  try {
    return await contend<Owner>(known, options, {
      free: (pool, open) => Owner.start(pool, { ...ownerOptions(options), kind: 'server', server }, open),
      answered: async client => {
        try {
          const { kind, pid, poolName } = client.hello
          if (kind === 'server')
            throw new LunarError('ERR_LOCKED', `Cannot serve pool ${poolName}`, {
              why: `a server (process ${pid}) has it already`,
              fix: `lunar server stop ${poolName}`,
              blockers: [`process ${pid}`],
            })
          await client.call('pool.close', {}, options.signal)
        } catch (error) {
          if (isCode(error, 'ERR_BUSY')) busy = error
          else if (!(error instanceof Moved)) throw error
        } finally {
          client.close()
        }
        return undefined
      },
    })
  } catch (error) {
    throw busy && isCode(error, 'ERR_LOCKED') ? busy : error
  }
}

export interface Contest<T> {
  /** The locks are ours; `open` holds the disks and belongs to the callee. */
  free(pool: LockedPool, open: ResourceStack): Promise<T>
  /** Somebody else has them and answers. Undefined: look again later. */
  answered(client: ControlClient): Promise<T | undefined>
}

/** Tries for the locks of a pool until they are ours or their holder has answered; bounded. */
export async function contend<T>(known: () => KnownPool, options: OpenOptions, contest: Contest<T>): Promise<T> {
  const begun = performance.now()
  let pause = PAUSE_FIRST
  for (;;) {
    const left = waitMax - (performance.now() - begun)
    const attempt = await tryOnce(known(), options, contest, Math.max(HELLO_LEAST, Math.min(HELLO_MOST, left)))
    if ('result' in attempt) return attempt.result
    if (performance.now() - begun > waitMax) throw attempt.error
    await systemClock.pause(pause * (0.5 + Math.random()), options.signal)
    options.signal?.throwIfAborted()
    pause = Math.min(PAUSE_MAX, pause * 1.5)
  }
}

type Attempt<T> = { readonly result: T } | { readonly error: LunarError }

async function tryOnce<T>(known: KnownPool, options: OpenOptions, contest: Contest<T>, helloMs: number): Promise<Attempt<T>> {
  await using open = new ResourceStack()
  const pool = await openKnown(known, options.readOnly ? 'write-if-possible' : 'write', open)
  await mapBounded(pool.disks, 16, ({ disk }) => requireLocal(disk.name, options.readOnly || (options.forceNonlocal ?? false)))
  if (!options.readOnly) for (const { disk, label } of pool.disks) checkWritable(disk.name, label)
  const record = newRecord({ command: options.command, readOnly: options.readOnly ?? false, poolId: pool.id })
  const locks = await takeLocks(pool.disks, { record, force: options.forceHost ?? false }, open)
  if (locks.kind === 'taken') {
    const { disks, failed } = locks
    return { result: await contest.free({ ...pool, disks, missing: [...pool.missing, ...failed], record }, open.move()) }
  }
  if (locks.kind === 'held') return await askHolder(pool, locks.record, locks.path, options, contest, helloMs)
  return { error: new LunarError('ERR_BUSY', `Cannot open pool ${pool.name}`, { why: 'its disks are being changed by another process' }) }
}

/** @throws LunarError `ERR_LOCKED` when waiting cannot help */
async function askHolder<T>(
  pool: FoundPool,
  record: LockRecord | undefined,
  path: string,
  options: OpenOptions,
  contest: Contest<T>,
  helloMs: number,
): Promise<Attempt<T>> {
  if (!record) return { error: lockedError(pool.name, undefined, path) }
  if (record.host !== hostname()) throw lockedError(pool.name, record, path, 'it runs on another host')
  const client = await askRecord(record, options, helloMs)
  const result = client && (await contest.answered(client))
  if (!client && isStopped(record)) throw lockedError(pool.name, record, path)
  return result === undefined ? { error: lockedError(pool.name, record, path) } : { result }
}

/**
 * @returns a session with the owner that the record names; undefined when it is not there (any more, or yet), or does not
 * answer within `helloMs`
 */
export async function askRecord(
  record: LockRecord,
  options: { command: string; readOnly?: boolean; signal?: AbortSignal },
  helloMs: number,
): Promise<ControlClient | undefined> {
  const { ControlClient } = await import('./control-client.ts')
  const { command, readOnly = false, signal } = options
  const client = await ControlClient.connect(
    record.socket,
    { pid: process.pid, ...whoAmI(), version: VERSION, command, readOnly },
    { helloMs, ...(signal ? { signal } : {}) },
  )
  if (!client || (client.hello.instance === record.instance && client.hello.poolId === record.poolId)) return client
  client.close()
  return undefined
}
