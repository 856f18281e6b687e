import { LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'
import { AccessLayer } from '../block/access.ts'
import { WodDevice } from '../wod/wod-device.ts'
import type { EngineParts } from './engine.ts'
import type { LunOptions, OpenVolume, Presented, PresentedVolume } from './engine-types.ts'
import type { Host, Presentation } from './hosts.ts'
import type { Volume } from './volumes.ts'

/** What changed since a snapshot: our name for it, and the one that existing tools know. */
const CHANGED = 'lunar:changed:'
const DIRTY = 'qemu:dirty-bitmap:'
/** Blocks of a write-once device that are written. */
const WRITTEN = 'lunar:written'

type Parts = Pick<EngineParts, 'pool' | 'hosts' | 'volumes' | 'wods' | 'trees' | 'qualities'>

/** What hosts reach of a pool: the one way in for whoever serves volumes to them. */
export class PresentedVolumes implements Presented {
  constructor(
    private readonly parts: Parts,
    private readonly openVolume: (name: string, options: LunOptions, host: Host) => Promise<BlockDevice>,
  ) {}

  get hosts(): string[] {
    return this.parts.hosts.all.map(({ name }) => name)
  }

  list(host: string): PresentedVolume[] {
    const { hosts } = this.parts
    const found = hosts.named(host)
    return found ? hosts.presentedTo(found).map(({ presentation, volume }) => this.view(presentation, volume)) : []
  }

  describe(host: string, volume: string): PresentedVolume {
    const { presentation, volume: found } = this.find(host, volume)
    return this.view(presentation, found)
  }

  async open(host: string, name: string, client: string): Promise<OpenVolume> {
    const { presentation, volume } = this.find(host, name)
    const view = this.view(presentation, volume)
    presentation.clients.push(client) // from now on, so that nothing is taken away meanwhile
    let open = true
    const leave = (): void => {
      if (open) presentation.clients.splice(presentation.clients.indexOf(client), 1)
      open = false
    }
    try {
      const device = await this.device(presentation, volume, client)
      return {
        ...view,
        size: device.size,
        device,
        held: () => this.parts.qualities.heldAt(device),
        ask: (context, offset, length) => this.ask(volume, device, context, offset, length),
        close: async () => {
          try {
            await device.close()
          } finally {
            leave()
          }
        },
      }
    } catch (error) {
      leave()
      throw error
    }
  }

  private find(host: string, name: string): { readonly presentation: Presentation; readonly volume: Volume } {
    const { hosts } = this.parts
    const known = hosts.named(host)
    const found = known && hosts.presentedTo(known).find(({ volume }) => volume.name === name)
    if (!found)
      throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find volume ${JSON.stringify(name)} for host "${host}"`, {
        why: 'none of this name is presented to it',
        fix: `lunar present ${name} --host ${host}`,
      })
    return found
  }

  private view(presentation: Presentation, volume: Volume): PresentedVolume {
    const contexts = (): string[] => this.contexts(volume)
    return {
      name: volume.name,
      host: presentation.host.name,
      kind: volume.kind,
      size: volume.size,
      readOnly: presentation.isReadOnly || !volume.isWritable,
      // Walks all snapshots of the pool, and few who ask for a volume ask for these.
      get contexts() {
        return contexts()
      },
    }
  }

  /** The image of a source takes no host's writes; a device that is none is what hosts preserve blocks on. */
  private async device(presentation: Presentation, volume: Volume, client: string): Promise<BlockDevice> {
    const readOnly = presentation.isReadOnly || !volume.isWritable
    if (volume.kind === 'wod' && volume.isWritable) {
      const wod = this.parts.wods.find(volume.name)
      const device = this.parts.qualities.plainLayer(wod, new WodDevice(await wod.device()), presentation.host)
      return new AccessLayer(device, readOnly, () => volume.label)
    }
    return this.openVolume(volume.name, { readOnly, mixed: presentation.isMixedAllowed, user: client, protocol: 'NBD' }, presentation.host)
  }

  /** Snapshots that the volume can be compared with: those of itself, or for a snapshot the others of its source. */
  private snapshots({ kind, name }: Volume): { readonly label: string; readonly name: string }[] {
    if (kind === 'wod') return []
    const all = this.parts.trees.list()
    const own = kind === 'snapshot' ? all.find(snapshot => snapshot.name === name) : undefined
    const siblings = own ? all.filter(({ tree }) => tree === own.tree).filter(snapshot => snapshot !== own) : []
    const under = all.filter(snapshot => snapshot.name.slice(0, snapshot.name.lastIndexOf('@')) === name)
    return [...siblings, ...under].map(({ name: full }) => ({ label: full.slice(full.lastIndexOf('@') + 1), name: full }))
  }

  private contexts(volume: Volume): string[] {
    if (volume.kind === 'wod') return volume.isWritable ? [WRITTEN] : []
    return this.snapshots(volume).flatMap(({ label }) => [`${CHANGED}${label}`, `${DIRTY}${label}`])
  }

  private async ask(volume: Volume, device: BlockDevice, context: string, offset: number, length: number): Promise<{ length: number; is: boolean }[]> {
    if (context === WRITTEN) return (await device.extents(offset, length)).map(extent => ({ length: extent.length, is: extent.kind === 'data' }))
    const prefix = [CHANGED, DIRTY].find(start => context.startsWith(start))
    const now = this.parts.volumes.byNumber(volume.kind, volume.number) ?? volume
    const base = this.snapshots(now).find(({ label }) => label === context.slice(prefix?.length))
    if (prefix === undefined || !base) throw new LunarError('ERR_SNAPSHOT_NOT_FOUND', `Cannot tell ${context} of ${now.label}`, { why: 'the snapshot is gone' })
    await device.flush() // what was acknowledged ahead of its entry in the map counts, too
    const { extents } = await this.parts.trees.diff(base.name, now.name, { offset, length })
    return runs(extents, offset, length)
  }
}

/** Extents of a range with what lies between them. */
function runs(extents: readonly { readonly offset: number; readonly length: number }[], offset: number, length: number): { length: number; is: boolean }[] {
  const found: { length: number; is: boolean }[] = []
  let at = offset
  const until = (end: number, is: boolean): void => {
    if (end > at) found.push({ length: end - at, is })
    at = Math.max(at, end)
  }
  for (const extent of extents) {
    until(extent.offset, false)
    until(Math.min(offset + length, extent.offset + extent.length), true)
  }
  until(offset + length, false)
  return found
}
