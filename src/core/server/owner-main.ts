/** The owner in the background: takes over locked disks, does what is left to do, serves clients, leaves when idle. */
import { createReadStream, closeSync, writeSync } from 'node:fs'
import { readLabel } from '../../metadata/label.ts'
import { LunarError } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import { FileDisk } from '../block/file.ts'
import { isNbdUri } from '../nbd/uri.ts'
import { ANSWERS_FD, FIRST_DISK_FD, ORDERS_FD, OWNER_VARIABLE, type HandOverOrder } from './handover.ts'
import { Owner } from './owner.ts'
import { newRecord, takeLock, type OwnedDisk } from './ownership.ts'
import { probe } from './probe.ts'
import { parseObject } from './wire.ts'

/** How long nothing must happen before it leaves, and how long leaving may take, in milliseconds. */
const IDLE_MS = 1000
const LEAVE_WITHIN = 10_000
/** How often it looks whether its files were deleted: work that waits for ever, as a paused copy does, must not keep them. Milliseconds. */
const LOOK_EVERY = 5000

/** Whether this process was started to be an owner in the background; then call `runOwner` and nothing else. */
export const isOwnerProcess = (): boolean => process.env[OWNER_VARIABLE] === '1'

/** Runs until the pool is idle, a client asks it to close, or SIGTERM or SIGINT come. @returns the exit status */
export async function runOwner(): Promise<number> {
  Reflect.deleteProperty(process.env, OWNER_VARIABLE) // not for what this process starts
  const stop = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => {
    log(`${signal}: leaving`)
    stop.abort()
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, onSignal)
  process.on('SIGHUP', () => {
    log('SIGHUP: going on')
  })
  try {
    const order = await readOrder()
    if (!order) return 0
    await serve(order, stop)
    return 0
  } catch (error) {
    log(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return error instanceof LunarError ? error.exitCode : 1
  }
}

async function serve(order: HandOverOrder, stop: AbortController): Promise<void> {
  const owner = await takeOver(order)
  log(`owns pool ${order.poolName} after: ${order.command}`)
  void owner.closeAsked.promise.then(() => {
    stop.abort()
  })
  const look = setInterval(() => {
    owner.isOrphaned().then(
      orphaned => {
        if (!orphaned) return
        log('the files of all disks were deleted: leaving')
        stop.abort()
      },
      (error: unknown) => {
        log(`cannot look at the disks: ${String(error)}`)
      },
    )
  }, LOOK_EVERY)
  try {
    await owner.idle(IDLE_MS, stop.signal)
  } finally {
    clearInterval(look)
  }
  const stuck = setTimeout(() => {
    log('a disk does not answer: ending by SIGKILL') // process.exit would wait for the stuck thread for ever (hazard 44)
    process.kill(process.pid, 'SIGKILL')
  }, LEAVE_WITHIN)
  try {
    await owner.quiesce()
  } finally {
    await owner.letGo({ clear: true })
    clearTimeout(stuck)
  }
  owner.throwProblems()
  log(`left pool ${order.poolName}`)
}

async function takeOver(order: HandOverOrder): Promise<Owner> {
  try {
    const open = new ResourceStack()
    const disks: OwnedDisk[] = []
    const missing = [...order.missing]
    const record = newRecord({ command: order.command, poolId: order.poolId })
    let fd = FIRST_DISK_FD
    for (const path of order.paths) {
      if (isNbdUri(path)) {
        const found = await probe(path, 'write', open)
        if (found.kind !== 'label') missing.push({ path, reason: found.error.why })
        else if (await takeLock(found.disk, found.label.diskId, { record, predecessor: order.instance }, open)) disks.push(found)
        else missing.push({ path, reason: 'another process has claimed it', diskId: found.label.diskId })
        continue
      }
      const disk = open.use(await FileDisk.fromDescriptors(path, fd, fd + 1))
      fd += 2
      const report = await readLabel(disk)
      if (report.kind === 'label' && report.label.poolId === order.poolId) disks.push({ disk, label: report.label })
      else missing.push({ path, reason: 'its label cannot be read any more' })
    }
    const pool = { id: order.poolId, name: order.poolName, disks, missing, record }
    const owner = await Owner.start(
      pool,
      { kind: 'on-demand', command: order.command, readOnly: false, forceQuorum: false, forceNonlocal: order.forceNonlocal },
      open,
    )
    answer({ ready: true })
    return owner
  } catch (error) {
    answer({ error: error instanceof Error ? error.message : String(error) })
    throw error
  }
}

/** @returns undefined when who started us gave the hand-over up */
async function readOrder(): Promise<HandOverOrder | undefined> {
  let text = ''
  for await (const chunk of createReadStream('', { fd: ORDERS_FD })) text += String(chunk)
  return text.endsWith('\n') ? (parseObject(text) as unknown as HandOverOrder) : undefined
}

function answer(value: { ready: true } | { error: string }): void {
  writeSync(ANSWERS_FD, `${JSON.stringify(value)}\n`)
  closeSync(ANSWERS_FD)
}

function log(message: string): void {
  process.stderr.write(`${new Date().toISOString()} [${process.pid}] ${message}\n`)
}
