/** A server on a unix socket of its own, with exports that a test decides. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { LunarError } from '../../../../src/core/base/errors.ts'
import type { BlockDevice } from '../../../../src/core/block/device.ts'
import type { NbdExport, NbdExports, Peer } from '../../../../src/core/nbd/exports.ts'
import type { NbdLimits } from '../../../../src/core/nbd/limits.ts'
import { listenUnix, type NbdListener } from '../../../../src/core/nbd/listen.ts'
import { NbdServer } from '../../../../src/core/nbd/server.ts'
import { Client } from './client.ts'

export type Offered = Omit<NbdExport, 'name' | 'description' | 'release' | 'readOnly' | 'contexts'> & Partial<Pick<NbdExport, 'readOnly' | 'contexts'>>

/** Exports by name, and how often each is open. */
export class TestExports implements NbdExports {
  readonly opened = new Map<string, number>()
  opens = 0
  readonly peers: Peer[] = []
  readonly offered = new Map<string, Offered>()

  async list(peer: Peer): Promise<readonly { name: string; description: string }[]> {
    this.peers.push(peer)
    return Array.from(this.offered.keys(), name => ({ name, description: `about ${name}` }))
  }

  async open(name: string, peer: Peer): Promise<NbdExport> {
    this.peers.push(peer)
    const offered = this.offered.get(name)
    if (!offered) throw new LunarError('ERR_LUN_NOT_FOUND', `There is no LUN ${name}`)
    this.opens++
    this.opened.set(name, (this.opened.get(name) ?? 0) + 1)
    const release = async (): Promise<void> => {
      this.opened.set(name, this.opened.get(name)! - 1)
    }
    return { readOnly: false, contexts: [], ...offered, name, description: `about ${name}`, release }
  }

  get open_(): number {
    return [...this.opened.values()].reduce((sum, count) => sum + count, 0)
  }
}

export interface Served {
  readonly server: NbdServer
  readonly exports: TestExports
  readonly socket: string
  readonly reports: string[]
  connect(): Promise<Client>
}

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lunar-nbd-'))
  cleanups.push(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

/** Serves `devices` by name until the end of the test. */
export async function serve(devices: Record<string, Offered | BlockDevice>, limits: Partial<NbdLimits> = {}, host: string | null = 'db1'): Promise<Served> {
  const exports = new TestExports()
  for (const [name, offered] of Object.entries(devices)) exports.offered.set(name, 'device' in offered ? offered : { device: offered })
  const reports: string[] = []
  const server = new NbdServer(exports, { awakeUs: 0, ...limits }, { report: (_, why) => reports.push(why) })
  const socket = join(temporaryFolder(), 's')
  const listener: NbdListener = await listenUnix(server, socket, host)
  const clients: Client[] = []
  cleanups.push(async () => {
    for (const client of clients) client.close()
    await listener.close()
    await server.close()
  })
  return {
    server,
    exports,
    socket,
    reports,
    async connect() {
      const client = await Client.connect(socket)
      clients.push(client)
      return client
    },
  }
}
