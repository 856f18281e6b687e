import { isNbdUri } from '../nbd/uri.ts'
import type { Engine } from './engine-types.ts'
import type { OwnedDisk } from './ownership.ts'
import { Reconnector, type AwayDisk } from './reconnector.ts'
import type { KnownPool } from './registry.ts'
import { ClaimWatch } from './remote-claim.ts'

/** What an owner does about disks behind connections: whether those it has are still its own, and whether those that are away have come back. */
export class RemoteDisks {
  private readonly watch: ClaimWatch
  private readonly reconnector: Reconnector

  constructor(
    private readonly engine: Engine,
    of: { readonly instance: string; readonly held: () => readonly OwnedDisk[]; readonly known: () => KnownPool; readonly failed: (error: unknown) => void },
  ) {
    this.watch = new ClaimWatch(() => of.held().map(({ disk, label }) => ({ disk, diskId: label.diskId })), of.instance)
    this.reconnector = new Reconnector(
      () => this.away(of.known()),
      ({ number, path }) => engine.call('disk.online', { disk: String(number), path }),
      of.failed,
    )
    engine.onDisksChanged = () => {
      this.reconnector.look()
    }
    this.reconnector.look()
  }

  /** Nothing is looked at any more, and nothing brought back, when it resolves. */
  async close(): Promise<void> {
    this.watch.close()
    await this.reconnector.close()
  }

  private away(known: KnownPool): AwayDisk[] {
    const paths = new Map(known.disks.map(({ id, path }) => [id, path]))
    return this.engine.awayDisks().flatMap(({ number, id }) => {
      const path = paths.get(id)
      return path !== undefined && isNbdUri(path) ? [{ number, path }] : []
    })
  }
}
