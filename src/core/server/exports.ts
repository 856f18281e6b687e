/** The exports of a server: what each client may see of the pools that it serves, and who has what open. */
import { isCode, LunarError } from '../base/errors.ts'
import type { MetaContext, MetaExtent, NbdExport, NbdExportInfo, NbdExports, Peer } from '../nbd/exports.ts'
import type { HeldRequests } from './api.ts'
import type { OpenVolume, Presented, PresentedVolume } from './engine-types.ts'

/** A pool that is served. */
export interface ServedPool {
  readonly name: string
  readonly presented: Presented
}

/** What a unix socket stands for. */
export interface SocketRole {
  readonly pool: string
  readonly host: string
}

/** A volume that a client has open. */
export interface ExportUse {
  readonly peer: Peer
  /** As messages name it. */
  readonly client: string
  readonly host: string
  readonly pool: string
  readonly volume: string
  readonly readOnly: boolean
  readonly since: number
  /** Requests that quality of service held back. */
  held(): HeldRequests
}

/** Ends the connections of these clients, once what they asked for is done. */
export type Disconnect = (peers: ReadonlySet<Peer>) => Promise<void>

/** Flags of a context: bit 0 of `qemu:dirty-bitmap` and of ours. */
const SO = 1

export class Exports implements NbdExports {
  private readonly pools = new Map<string, ServedPool>()
  private readonly used = new Set<ExportUse>()
  /** Volumes (`pool/volume`) that a change is about to take: who wants one waits for its end. */
  private readonly barred = new Map<string, Promise<void>>()
  private lastClient = 0

  constructor(
    /** By path. */
    private readonly sockets: ReadonlyMap<string, SocketRole>,
    /** Whom clients of a port without TLS are taken for. */
    private readonly insecureHost: string | null,
    private readonly now: () => number,
  ) {}

  add(pool: ServedPool): void {
    this.pools.set(pool.name, pool)
  }

  remove(pool: string): void {
    this.pools.delete(pool)
  }

  get uses(): readonly ExportUse[] {
    return [...this.used]
  }

  list(peer: Peer): Promise<{ name: string; description: string }[]> {
    const visible = this.visibleTo(peer)
    return Promise.resolve(visible.map(({ pool, volume }) => ({ name: nameOf(pool, volume.name, visible), description: describe(pool, volume) })))
  }

  async describe(name: string, peer: Peer): Promise<NbdExportInfo> {
    const { pool, volume } = await this.find(name, peer)
    return {
      name: `${pool.name}/${volume.name}`,
      description: describe(pool, volume),
      size: volume.size,
      readOnly: volume.readOnly,
      contexts: volume.contexts.map(context => ({ name: context })),
    }
  }

  async open(name: string, peer: Peer): Promise<NbdExport> {
    const { pool, host, volume } = await this.find(name, peer)
    const client = `client ${++this.lastClient} (host ${host}, ${peer.address})`
    let opened: OpenVolume | undefined
    const held = (): HeldRequests => opened?.held() ?? noneHeld
    const use: ExportUse = { peer, client, host, pool: pool.name, volume: volume.name, readOnly: volume.readOnly, since: this.now(), held }
    this.used.add(use) // with the pool's own note of it: who must be disconnected is found here
    try {
      const open = (opened = await pool.presented.open(host, volume.name, client))
      return {
        name: `${pool.name}/${open.name}`,
        description: describe(pool, open),
        device: open.device,
        readOnly: open.readOnly,
        contexts: open.contexts.map(context => contextOf(open, context)),
        release: async () => {
          try {
            await open.close()
          } finally {
            this.used.delete(use)
          }
        },
      }
    } catch (error) {
      this.used.delete(use)
      throw error
    }
  }

  /**
   * Makes a change that is refused while clients are connected: those that are in its way are disconnected first, and nobody comes
   * back to what they had before the change has ended.
   * @throws what the change throws when anybody else is in the way
   */
  async withoutClients<T>(pool: string, change: () => Promise<T>, disconnect: Disconnect): Promise<T> {
    const ended: (() => void)[] = []
    try {
      for (;;) {
        try {
          return await change()
        } catch (error) {
          const inTheWay = isCode(error, 'ERR_BUSY') ? this.uses.filter(use => use.pool === pool && error.blockers.includes(use.client)) : []
          if (inTheWay.length === 0) throw error
          for (const { volume } of inTheWay) ended.push(this.bar(`${pool}/${volume}`))
          await disconnect(new Set(inTheWay.map(({ peer }) => peer)))
          // A disk that hangs keeps its requests, and them the volume.
          if (inTheWay.some(use => this.used.has(use))) throw error
        }
      }
    } finally {
      for (const end of ended) end()
    }
  }

  private bar(volume: string): () => void {
    if (this.barred.has(volume)) return () => undefined
    let lift: () => void = () => undefined
    this.barred.set(
      volume,
      new Promise(resolve => {
        lift = resolve
      }),
    )
    return () => {
      this.barred.delete(volume)
      lift()
    }
  }

  /** What a client may see; nothing when it has not proved who it is. */
  private visibleTo(peer: Peer): { readonly pool: ServedPool; readonly host: string; readonly volume: PresentedVolume }[] {
    const role = peer.transport === 'unix' ? this.sockets.get(peer.address) : undefined
    const host = role?.host ?? peer.host ?? (peer.transport === 'tcp' ? this.insecureHost : null)
    if (host === null) return []
    return [...this.pools.values()]
      .filter(pool => role === undefined || pool.name === role.pool)
      .flatMap(pool => pool.presented.list(host).map(volume => ({ pool, host, volume })))
  }

  /** By `lun`, or `pool/lun` where pools share a name. The only volume that a client may see is its default, too. */
  private async find(name: string, peer: Peer): Promise<{ readonly pool: ServedPool; readonly host: string; readonly volume: PresentedVolume }> {
    for (;;) {
      const visible = this.visibleTo(peer)
      const found = visible.filter(({ pool, volume }) => (name === '' ? visible.length === 1 : volume.name === name || `${pool.name}/${volume.name}` === name))
      const only = found[0]
      if (!only || found.length > 1)
        throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find export ${JSON.stringify(name)}`, {
          why: found.length > 1 ? 'several pools have a volume of this name' : 'none of this name is presented here',
          fix: 'ask for the list of exports',
        })
      const barred = this.barred.get(`${only.pool.name}/${only.volume.name}`)
      if (!barred) return only
      await barred
    }
  }
}

/** Of a client that is just coming in. */
const noneHeld: HeldRequests = { throttled: 0, throttledMs: 0, queued: 0, queuedMs: 0 }

const nameOf = (pool: ServedPool, name: string, among: readonly { readonly pool: ServedPool; readonly volume: PresentedVolume }[]): string =>
  among.some(other => other.pool !== pool && other.volume.name === name) ? `${pool.name}/${name}` : name

const kindWords = { lun: 'LUN', snapshot: 'snapshot', wod: 'write-once device' } as const
const describe = (pool: ServedPool, { kind, name, readOnly }: PresentedVolume): string =>
  `${kindWords[kind]} ${name} of pool ${pool.name}${readOnly ? ', read-only' : ''}`

const contextOf = (volume: OpenVolume, name: string): MetaContext => ({
  name,
  extents: async (offset, length): Promise<MetaExtent[]> =>
    (await volume.ask(name, offset, length)).map(({ length: bytes, is }) => ({ length: bytes, flags: is ? SO : 0 })),
})
