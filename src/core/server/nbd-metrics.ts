/** The metrics of the NBD server of a process. */
import type { RequestCounts } from '../nbd/counts.ts'
import type { ConnectionInfo } from '../nbd/connection.ts'
import { command, nbdError, type NbdError } from '../nbd/protocol.ts'
import type { ExportUse } from './exports.ts'
import type { Exposition } from './exposition.ts'

const errorNames = new Map<NbdError, string>([
  [nbdError.perm, 'EPERM'],
  [nbdError.io, 'EIO'],
  [nbdError.invalid, 'EINVAL'],
  [nbdError.noSpace, 'ENOSPC'],
  [nbdError.overflow, 'EOVERFLOW'],
  [nbdError.notSupported, 'ENOTSUP'],
  [nbdError.shutdown, 'ESHUTDOWN'],
])

export function measureNbd(counts: RequestCounts, connections: readonly ConnectionInfo[], uses: readonly ExportUse[], into: Exposition): void {
  for (const [name, type] of Object.entries(command)) {
    if (type === command.disconnect) continue
    into.histogram('nbd_request_seconds', 'Requests of hosts, from when they were read to when their replies left.', { command: name }, counts.times[type]!)
  }
  for (const [number, error] of errorNames)
    into.counter('nbd_errors_total', 'Requests of hosts that were refused or failed.', { error }, counts.errors.get(number) ?? 0)
  into.counter('nbd_accepted_total', 'Connections that were let in.', {}, counts.accepted)
  into.counter('nbd_refused_total', 'Connections that were turned away: there were too many.', {}, counts.refused)
  into.gauge('nbd_connections', 'Connections now, those that still negotiate included.', {}, connections.length)
  into.gauge(
    'nbd_requests_in_flight',
    'Requests under way.',
    {},
    connections.reduce((sum, { requestsInFlight }) => sum + requestsInFlight, 0),
  )
  const open = new Map<string, { readonly use: ExportUse; count: number }>()
  for (const use of uses) {
    const key = `${use.pool}/${use.volume} ${use.host}`
    const found = open.get(key)
    if (found) found.count++
    else open.set(key, { use, count: 1 })
  }
  for (const { use, count } of open.values())
    into.gauge('nbd_clients', 'Connections that have a volume open.', { pool: use.pool, volume: use.volume, host: use.host }, count)
}
