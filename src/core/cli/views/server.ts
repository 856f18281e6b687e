import type { ServerClient, ServerListener, ServerStatus } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, section, type DetailView } from '../details.ts'
import { heldText } from './held.ts'

const poolColumns: readonly Column<ServerStatus['pools'][number]>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the pool' },
  { key: 'state', kind: 'state', get: row => row.problem ?? 'served', about: 'why it is not served' },
]

/** Who the clients of a listener are. */
export function listenerHost({ host, transport, uri }: ServerListener): string {
  if (transport !== 'http' && transport !== 'https') return host ?? 'by certificate'
  return uri.endsWith('/metrics') ? 'metrics' : 'by token'
}

const listenerColumns: readonly Column<ServerListener>[] = [
  { key: 'transport', kind: 'text', get: row => row.transport, about: 'unix, tls, tcp without TLS, https for the HTTP API, or http without TLS' },
  { key: 'pool', kind: 'text', get: row => row.pool, about: 'pool whose volumes are there; all when empty' },
  { key: 'host', kind: 'text', get: row => listenerHost(row), about: 'who its clients are' },
  { key: 'uri', kind: 'text', get: row => row.uri, about: 'how clients name it' },
]

const clientColumns: readonly Column<ServerClient>[] = [
  { key: 'host', kind: 'text', get: row => row.host, about: 'host that it is' },
  { key: 'volume', kind: 'text', get: row => `${row.pool}/${row.volume}`, about: 'what it has open' },
  { key: 'access', kind: 'text', get: row => (row.readOnly ? 'read-only' : 'read-write'), about: 'what it may do' },
  { key: 'address', kind: 'text', get: row => row.address, about: 'where it comes from' },
  { key: 'since', kind: 'text', get: row => row.since, about: 'when it connected' },
  { key: 'requests', kind: 'count', get: row => row.requests, about: 'requests so far' },
  { key: 'read', kind: 'size', get: row => row.read, about: 'bytes it read' },
  { key: 'written', kind: 'size', get: row => row.written, about: 'bytes it wrote' },
  { key: 'held back', kind: 'text', get: row => heldText(row.held), about: 'requests that quality of service held back' },
]

export const serverView = (server: ServerStatus): DetailView => ({
  details: [
    line('state', server.running ? 'running' : 'not running', 'state'),
    ...(server.running ? [line('process', String(server.pid)), line('version', server.version), line('since', server.since)] : []),
  ],
  sections: [
    section('pools', server.pools, poolColumns),
    section('listeners', server.listeners, listenerColumns),
    section('clients', server.clients, clientColumns),
  ],
})
