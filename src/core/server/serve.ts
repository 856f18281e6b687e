/** The front door of the server: `lunar serve`, `server stop`. */
import { systemClock } from '../base/clock.ts'
import { ResourceStack } from '../base/resources.ts'
import type { Reply } from './api.ts'
import { askRecord } from './acquire.ts'
import { hasEnded } from './holder.ts'
import { lookUp } from './lookup.ts'
import { noServer } from './owner.ts'
import { findRecord } from './ownership.ts'
import { openKnown } from './scan.ts'

export { passedSockets } from './notify.ts'
export { Server, type ServeOptions } from './server.ts'

/** How long a server may take to say that it will stop. Milliseconds. */
const ASK_WITHIN = 5000
/** How often it is looked whether a process is still there: of one that is no child nobody is told. Milliseconds. */
const LOOK_EVERY = 20

/**
 * Asks the server of a pool to stop, and waits until its process has ended.
 * @throws LunarError `ERR_SERVER_UNREACHABLE` when the pool has none; the reason of the signal when that aborts first
 */
export async function stopServer(
  pool: string | undefined,
  options: { command: string; dryRun: boolean; signal?: AbortSignal },
): Promise<Reply<{ pool: string; pid: number }>> {
  const known = lookUp(pool)
  await using open = new ResourceStack()
  const record = await findRecord((await openKnown(known, 'read', open)).disks)
  const client = record && (await askRecord(record, { ...options, readOnly: true }, ASK_WITHIN))
  if (!client || client.hello.kind !== 'server') {
    client?.close()
    throw noServer(known.name)
  }
  const { pid } = client.hello
  try {
    if (!options.dryRun) await client.call('server.stop', {}, options.signal)
  } finally {
    client.close()
  }
  while (!options.dryRun && !hasEnded(pid)) {
    await systemClock.pause(LOOK_EVERY, options.signal)
    options.signal?.throwIfAborted()
  }
  return { generation: 0, data: { pool: known.name, pid }, warnings: [] }
}
