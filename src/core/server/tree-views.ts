/** What commands show of snapshots and of the stores they keep chunks in. */
import { isoTime } from '../base/clock.ts'
import { MIB } from '../base/units.ts'
import type { Lun } from '../lun/lun.ts'
import { spaceOf } from '../snapshot/tree/space.ts'
import type { Snapshot } from '../snapshot/tree/snapshot.ts'
import type { Trees } from '../snapshot/tree/trees.ts'
import type { SnapshotDetail, SnapshotSummary, StoreDetail, StoreSummary } from './api.ts'
import type { Views } from './views.ts'

export class TreeViews {
  constructor(
    private readonly trees: Trees,
    private readonly views: Views,
  ) {}

  summary(snapshot: Snapshot): SnapshotSummary {
    const { record, tree } = snapshot
    const base = record.base === 0 ? undefined : this.trees.list({ hidden: true }).find(({ number }) => number === record.base)
    return {
      number: snapshot.number,
      name: snapshot.name,
      source: this.trees.sourceNameOf(tree),
      state: snapshot.isDropped ? 'dropped' : snapshot.isHidden ? 'hidden' : snapshot.isWritable ? 'writable' : 'read-only',
      of: base?.name ?? null,
      size: record.size,
      chunkBytes: tree.chunkBytes,
      store: tree.store.lun.name,
      presentedTo: this.views.presentedTo('snapshot', snapshot.number),
      created: isoTime(record.createdMs),
      onFull: this.trees.policyOf(tree),
      reserved: record.reserveCount * MIB,
    }
  }

  /** Of a volume and of its snapshots, or all, parents before what is of them. */
  list(volume: string | undefined, hidden: boolean): SnapshotSummary[] {
    const all = this.trees.list({ hidden }).map(snapshot => this.summary(snapshot))
    return volume === undefined ? all : all.filter(({ source }) => source === volume || source.startsWith(`${volume}@`))
  }

  async detail(snapshot: Snapshot): Promise<SnapshotDetail> {
    const space = await spaceOf(snapshot.tree)
    return {
      ...this.summary(snapshot),
      id: snapshot.record.snapshotId,
      exclusive: space.exclusive.get(snapshot) ?? 0,
      tree: { total: space.total, shared: space.shared, dead: space.dead },
      restsOn: this.trees.restsOn(snapshot).map(({ name }) => name),
    }
  }

  async store(store: Lun): Promise<StoreSummary> {
    const { number, name, size, raid, used, state, created } = await this.views.lunSummary(store)
    const chunks = await this.trees.stores.slots(store).usedBytes()
    return { number, name, size, raid, chunks, used, state, created }
  }

  async storeDetail(store: Lun): Promise<StoreDetail> {
    const trees = []
    for (const tree of this.trees.stores.treesOf(store))
      trees.push({
        volume: this.trees.sourceNameOf(tree),
        chunkBytes: tree.chunkBytes,
        snapshots: tree.snapshots.filter(({ isDead }) => !isDead).length,
        chunks: (await spaceOf(tree)).total,
      })
    return { ...(await this.store(store)), id: store.record.lunId, trees }
  }
}
