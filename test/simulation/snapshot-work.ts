/** Random operations on snapshots, beside everything else that happens to a pool. */
import type { ErrorCode } from '../../src/core/base/error-table.ts'
import { isCode } from '../../src/core/base/errors.ts'
import { KIB, SECTOR } from '../../src/core/base/units.ts'
import type { Life } from './life.ts'
import { Copied, type Change, type LunModel, type Moment } from './model.ts'
import { relating } from './relation-work.ts'
import { SnapshotModel } from './snapshot-model.ts'

const SNAPSHOTS_MAX = 6
/** The first snapshot of a volume decides. */
const chunkSizes = [4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB]

/** After these nothing has changed. */
const refusals: readonly ErrorCode[] = [
  'ERR_RELATIONSHIP_STATE',
  'ERR_IMAGE_INCOMPLETE',
  'ERR_IMAGE_INVALID',
  'ERR_INCOMPLETE',
  'ERR_BUSY',
  'ERR_SNAPSHOT_DROPPED',
  'ERR_HAS_SNAPSHOTS',
  'ERR_REDUNDANCY',
  'ERR_TOO_FEW_DISKS',
  'ERR_POOL_FULL',
  'ERR_METADATA_FULL',
]
const isRefusal = (error: unknown): boolean => refusals.some(code => isCode(error, code))

/** How often each is drawn. */
export const snapshotOperations: readonly (readonly [number, (life: Life) => boolean])[] = [
  [7, create],
  [3, createView],
  [4, remove],
  [2, refresh],
]

const snapshots = ({ model }: Life): SnapshotModel[] => [...model.snapshots.values()].filter(({ exists }) => exists)

/** Snapshots that nothing changes now. */
const idle = (life: Life): SnapshotModel[] => snapshots(life).filter(({ changing, relating: busy }) => !changing && !busy)

export function pickSnapshot(life: Life, fits: (snapshot: SnapshotModel) => boolean): SnapshotModel | undefined {
  const found = idle(life).filter(fits)
  return found.length === 0 ? undefined : life.random.pick(found)
}

/** Takes snapshots of volumes, at one instant. @param base each is a view of it */
function take(life: Life, sources: readonly LunModel[], base: SnapshotModel | undefined, writable: boolean): void {
  const { random, running, model } = life
  const made = sources.map(source => SnapshotModel.taken(++life.counters.lun, source, base?.size ?? source.sectors * SECTOR, writable))
  const names = made.map(({ name }) => name)
  // Those of a volume that has a tree have its chunks.
  const { luns, trees } = running.parts
  const first = sources.length === 1 && !base && !(sources[0] instanceof SnapshotModel) && trees.treeOf(luns.find(sources[0]!.name)) === undefined
  const chunkBytes = random.pick(chunkSizes)
  relating(
    life,
    `snapshot ${names.join(', ')}${writable ? '' : ', read-only'}${base ? ` of ${base.name}` : ''}`,
    base ? [...sources, base] : sources,
    async () => {
      const begun = life.now()
      const changes: Change[] = []
      const entries = made.map(snapshot => {
        model.snapshots.set(snapshot.label, snapshot)
        snapshot.changing = true
        changes.push(snapshot.takes(base ?? snapshot.parent, snapshot.size / SECTOR, begun))
        return snapshot.entry.begin({ name: snapshot.label, size: snapshot.size }, begun)
      })
      try {
        await running.engine.call('snap.create', {
          snapshots: names,
          readOnly: !writable,
          ...(base ? { of: base.name } : {}),
          ...(first ? { chunkBytes } : {}),
          forceRedundancy: true,
        })
        const now = life.now()
        for (const change of changes) well(change, now)
        for (const entry of entries) entry.acked = now
        // What was acknowledged before is in the snapshot, so it is durable.
        if (!base) for (const source of sources) source.flushed(begun, now)
      } catch (error) {
        made.forEach((snapshot, i) => {
          changes[i]!.ended = life.now()
          snapshot.entry.refuse(entries[i]!)
        })
        if (!isRefusal(error)) life.refusedBy(error, sources)
      }
    },
  )
}

/** The call has returned well: what it gave is known, and durable. */
function well(change: Change, now: Moment): void {
  if (change.version instanceof Copied) change.version.freeze()
  change.ended = change.durable = now
  change.done = true
}

function create(life: Life): boolean {
  const { random, model } = life
  if (snapshots(life).length >= SNAPSHOTS_MAX) return false
  const luns = model.live.filter(lun => !lun.changing && !lun.relating && !lun.trimming && !lun.wild.last)
  const volumes: LunModel[] = [...luns, ...idle(life).filter(({ writable }) => writable && random.chance(0.3))]
  if (volumes.length === 0) return false
  take(life, random.shuffle(volumes).slice(0, random.chance(0.25) ? 2 : 1), undefined, random.chance(0.6))
  return true
}

/** A writable view of a frozen one. */
function createView(life: Life): boolean {
  if (snapshots(life).length >= SNAPSHOTS_MAX) return false
  const base = pickSnapshot(life, ({ writable, parent }) => !writable && parent.exists && !parent.changing && !parent.relating)
  if (!base) return false
  take(life, [base.parent], base, true)
  return true
}

function remove(life: Life): boolean {
  const snapshot = pickSnapshot(life, ({ users }) => users === 0)
  if (!snapshot) return false
  const { name } = snapshot
  snapshot.changing = true
  life.start(`delete snapshot ${name}`, async () => {
    const entry = snapshot.entry.begin(undefined, life.now())
    try {
      await life.running.engine.call('snap.delete', { snapshots: [name] })
      entry.acked = life.now()
    } catch (error) {
      snapshot.entry.refuse(entry)
      if (!isRefusal(error)) life.refused(error, snapshot)
    } finally {
      snapshot.changing = false
    }
  })
  return true
}

function refresh(life: Life): boolean {
  const snapshot = pickSnapshot(life, ({ users, writable }) => writable && users === 0)
  if (!snapshot) return false
  snapshot.changing = true
  life.start(`refresh ${snapshot.name}`, async () => {
    const change = snapshot.holdsFrozen('refresh', life.now())
    try {
      await life.running.engine.call('snap.refresh', { snapshot: snapshot.name })
      well(change, life.now())
    } catch (error) {
      if (isRefusal(error)) snapshot.changes.splice(snapshot.changes.indexOf(change), 1)
      else life.refused(error, snapshot)
      change.ended = life.now()
    } finally {
      snapshot.changing = false
    }
  })
  return true
}
