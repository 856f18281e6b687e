/**
 * The verbs of a pool: what commands, the control socket and the library all call, and the plain objects they get.
 * Everything here survives JSON: bytes are whole numbers, times RFC 3339, keys full words.
 */
import type { BlockDevice } from '../block/device.ts'
import type { HostDetail, HostSummary, PresentationView } from './api/hosts.ts'
import type { LunDetail, LunSummary, LunTypeRange, MapExtent, RaidType, RaidTypes, RstoreCheck, RstoreDetail, RstoreSummary } from './api/luns.ts'
import type { CheckView, DiskDetail, DiskSummary, RemovedDisk, EventView, HistoryView, PoolDetail, PoolStatus, PoolSummary, Setting } from './api/pools.ts'
import type {
  ByteRange,
  Delay,
  ProcessName,
  RelationshipConfig,
  RelationshipMaps,
  RelationshipStatus,
  RelationshipSummary,
  RelationshipView,
} from './api/relationships.ts'
import type { RotationRefusal, ScheduleDetail, ScheduleRun, ScheduleSummary } from './api/schedules.ts'
import type { LockView, ServerStatus } from './api/servers.ts'
import type { OnFull, RotatedSnapshot, RotationSpan, SnapshotDetail, SnapshotSummary, StoreDetail, StoreSummary } from './api/snapshots.ts'
import type { TaskView } from './api/tasks.ts'
import type { WodDetail, WodKind, WodSummary } from './api/wods.ts'

export type { LayerView } from '../block/layers.ts'
export type * from './api/pools.ts'
export type * from './api/luns.ts'
export type * from './api/tasks.ts'
export type * from './api/relationships.ts'
export type * from './api/wods.ts'
export type * from './api/snapshots.ts'
export type * from './api/schedules.ts'
export type * from './api/hosts.ts'
export type * from './api/servers.ts'

/** What every changing verb takes: `dryRun` goes the same way and stops before the commit. */
interface Change {
  readonly dryRun?: boolean
}

/** A change that clients of a server may be in the way of: `disconnect` drains and closes their connections first. */
interface QuietChange extends Change {
  readonly disconnect?: boolean
}

export interface DiskSpec {
  readonly path: string
  /** Bytes; needed when the file does not exist yet. */
  readonly size?: number
  readonly domain?: string
}

/** Parameters and results of each verb. Names are `noun.verb`; the API is additive (hazard 40). */
export interface Verbs {
  'pool.list': { params: object; result: PoolSummary }
  'pool.show': { params: object; result: PoolDetail }
  'pool.status': { params: object; result: PoolStatus }
  'pool.set': { params: Change & { settings: Record<string, string> }; result: { settings: Setting[]; changed: string[] } }
  /** As Prometheus reads it; without an owner only what the metadata says. */
  'pool.metrics': { params: object; result: { text: string } }
  'pool.events': { params: { limit?: number; after?: number }; result: EventView[] }
  /** Administrative changes, oldest first: the newest `limit`, those with a number above `after`. */
  'pool.history': { params: { limit?: number; after?: number }; result: HistoryView[] }
  /** Flushes, closes and lets the disks go; the owner ends. */
  'pool.close': { params: object; result: { closed: true } }
  'pool.destroy': { params: Change & { force?: boolean }; result: { name: string; disks: string[]; luns: string[]; files: string[] } }
  'disk.add': { params: Change & { disks: DiskSpec[]; witness?: boolean; overwrite?: boolean }; result: DiskSummary[] }
  'disk.list': { params: object; result: DiskSummary[] }
  'disk.show': { params: { disk: string }; result: DiskDetail }
  'disk.label': { params: Change & { disk: string; domain: string | null }; result: DiskSummary }
  'disk.offline': { params: Change & { disk: string; force?: boolean }; result: DiskSummary }
  'disk.online': { params: Change & { disk: string; path?: string }; result: DiskSummary & { task: number | null } }
  /** The disk leaves the pool for good, once `task` has moved what lies on it to others; null only with `dryRun`. */
  'disk.remove': { params: Change & { disk: string }; result: RemovedDisk }
  /** `with` joins the pool, in the failure domain of the old disk unless it says another, and the old disk leaves. */
  'disk.replace': { params: Change & { disk: string; with: DiskSpec; overwrite?: boolean }; result: { old: RemovedDisk; new: DiskSummary } }
  /** Either `raid`, and `stripe` where redundant stores are to be interleaved, or `ranges` that follow each other from 0 on, at most 16. */
  'lun.create': {
    params: Change & { name: string; size: number; raid?: RaidType; stripe?: number; ranges?: LunTypeRange[]; reserve?: boolean }
    result: LunDetail
  }
  'lun.list': { params: object; result: LunSummary[] }
  'lun.show': { params: { lun: string }; result: LunDetail }
  /** What can be opened for reading: a LUN, or an image on a write-once device. */
  'volume.show': { params: { volume: string }; result: { name: string; size: number; bound: number } }
  'lun.map': { params: { lun: string; lost?: boolean }; result: MapExtent[] }
  'lun.resize': { params: QuietChange & { lun: string; size: number; force?: boolean }; result: LunDetail & { was: number } }
  /**
   * `on-full`: what happens when there is no space for a chunk that snapshots of the LUN need. `iops`, `bps` and their bursts, `min-iops`, `priority`: quality
   * of service, for all who use the LUN. All in one commit.
   */
  'lun.set': { params: Change & { lun: string; settings: Record<string, string> }; result: { settings: Setting[]; changed: string[] } }
  'lun.rename': { params: Change & { lun: string; name: string }; result: LunDetail }
  'lun.delete': { params: Change & { lun: string }; result: { name: string; freed: number; task: number | null } }
  /** Gives whole 1 MiB slices back; what is smaller at the edges stays as it is. */
  'lun.trim': { params: Change & { lun: string; offset: number; length: number }; result: { trimmed: number } }
  'lun.zero': { params: Change & { lun: string; offset: number; length: number }; result: { zeroed: number } }
  /** Marks a LUN as being imported, or whole again. */
  'lun.incomplete': { params: { lun: string; incomplete: boolean }; result: LunSummary }
  'rstore.list': { params: { lun?: string }; result: RstoreSummary[] }
  'rstore.show': { params: { lun: string; store: number }; result: RstoreDetail }
  /** Reads all members and compares them. */
  'rstore.verify': { params: { lun: string; store?: number }; result: RstoreCheck }
  /** The same, and makes what does not fit from the others. */
  'rstore.repair': { params: Change & { lun: string; store?: number }; result: RstoreCheck }
  'task.list': { params: object; result: TaskView[] }
  'task.show': { params: { task: number }; result: TaskView }
  /** Resolves when the task has ended; `ERR_TASK_FAILED`, `ERR_TASK_STOPPED` when it did not end well. */
  'task.wait': { params: { task: number }; result: TaskView }
  'task.pause': { params: Change & { task: number }; result: TaskView }
  'task.resume': { params: Change & { task: number }; result: TaskView }
  'task.stop': { params: Change & { task: number }; result: TaskView }
  'lun.swap': { params: QuietChange & { lun: string; with: string }; result: { a: LunSummary; b: LunSummary } }
  'lun.protect': { params: Change & { lun: string; protect: boolean }; result: LunSummary & { changed: boolean } }
  'snap.configure': {
    params: Change & { source: string; image: string; chunkBytes?: number; name?: string; policy?: 'fail-writes' | 'drop' }
    result: RelationshipConfig
  }
  'snap.unconfigure': { params: Change & { relationship: string }; result: RelationshipView }
  'snap.list': { params: object; result: RelationshipSummary[] }
  'snap.maps': { params: { relationship: string }; result: RelationshipMaps }
  'snap.config': { params: { relationship: string }; result: RelationshipConfig }
  /** Refused when it is disabled. */
  'snap.activeConfig': { params: { relationship: string }; result: RelationshipConfig & { enabledAt: string; asOf: string } }
  'snap.status': { params: { relationship: string }; result: RelationshipStatus }
  /** Several are enabled at one instant. */
  'snap.enable': {
    params: QuietChange & { relationships: string[]; fresh?: boolean; forceLostPart?: boolean; forceMixed?: boolean }
    result: (RelationshipView & { asOf: string; lost: ByteRange[]; changed: boolean })[]
  }
  'snap.disable': { params: QuietChange & { relationships: string[] }; result: (RelationshipView & { complete: boolean; changed: boolean })[] }
  /** The task may have ended already; null only with `dryRun`. `keepBefore` names a snapshot of what an update is going to overwrite. */
  'snap.start': {
    params: QuietChange & { relationship: string; kind: ProcessName; keepBefore?: string }
    result: RelationshipView & { task: number | null; changed: boolean }
  }
  /** Bytes done and left. */
  'snap.stop': { params: Change & { relationship: string; kind: ProcessName }; result: RelationshipView & { done: number; left: number; changed: boolean } }
  'snap.setDelay': { params: Change & { relationship: string; kind: ProcessName; delay: Delay }; result: RelationshipView & { delayMs: Delay; was: Delay } }
  /** Snapshots, `db@monday`, of one instant. `of` makes writable views of a read-only one. */
  'snap.create': {
    params: Change & {
      snapshots: string[]
      readOnly?: boolean
      of?: string
      store?: string
      chunkBytes?: number
      forceRedundancy?: boolean
      onFull?: OnFull
      reserve?: boolean
    }
    result: { name: string; size: number; writable: boolean; of: string | null; chunkBytes: number; store: string }[]
  }
  /** What others rest on stays, hidden, until they are gone. `count` counts the bytes of chunks that come back: it looks at all of the map. */
  'snap.delete': {
    params: Change & { snapshots: string[]; count?: boolean }
    result: { deleted: { name: string; hidden: boolean }[]; freed: number | null; task: number | null }
  }
  /** Deletes snapshots of volumes that no rule keeps, in one commit. A dry run says in `refused` what the real one would be refused for. */
  'snap.rotate': {
    params: Change & {
      volumes: string[]
      keep?: Partial<Record<RotationSpan, number>>
      keepLast?: number
      olderThanMs?: number
      /** IANA name; UTC when left out. */
      zone?: string
      /** Patterns of names. */
      only?: string[]
      except?: string[]
      forceMany?: boolean
      forceClock?: boolean
    }
    result: { snapshots: RotatedSnapshot[]; deleted: number; kept: number; refused: RotationRefusal | null; task: number | null }
  }
  /** Its LUNs get snapshots of one instant, named after `prefix` (its own name when left out) and the time; then those are rotated by its rules. */
  'schedule.create': {
    params: Change & {
      name: string
      luns: string[]
      cron: string
      /** IANA name; UTC when left out. */
      zone?: string
      keep?: Partial<Record<RotationSpan, number>>
      keepLast?: number
      olderThanMs?: number
      prefix?: string
      readOnly?: boolean
      /** One run makes up for those that were missed; false: none does. */
      catchUp?: boolean
      skipUnchanged?: boolean
    }
    result: ScheduleDetail
  }
  'schedule.list': { params: object; result: ScheduleSummary[] }
  'schedule.show': { params: { schedule: string }; result: ScheduleDetail }
  /** Its snapshots stay. */
  'schedule.delete': { params: Change & { schedule: string }; result: { name: string } }
  'schedule.pause': { params: Change & { schedule: string }; result: ScheduleSummary & { changed: boolean } }
  /** What was due while it was paused is not made up for. */
  'schedule.resume': { params: Change & { schedule: string }; result: ScheduleSummary & { changed: boolean } }
  /** Now, whether it is due, paused or served or not. */
  'schedule.run': { params: Change & { schedule: string; forceMany?: boolean; forceClock?: boolean }; result: ScheduleRun }
  /** A writable snapshot holds its frozen state again. */
  'snap.refresh': { params: QuietChange & { snapshot: string }; result: { name: string; task: number | null } }
  /** LUNs, or writable snapshots, read as a snapshot of theirs from one instant on; `before` is the snapshot of the state before, `size` and `was` the bytes they have and had. What differs is copied back by the task. */
  'snap.restore': {
    params: QuietChange & { snapshots: string[]; keepBefore?: string; keepSize?: boolean; delay?: Delay }
    result: { snapshot: string; volume: string; before: string; size: number; was: number; changed: boolean; task: number | null }[]
  }
  /** A new LUN that reads as a LUN or a snapshot does now; the task copies it, and then it depends on nothing. */
  'snap.clone': {
    params: Change & { source: string; name: string; raid?: RaidType; delay?: Delay }
    result: { source: string; name: string; size: number; raid: RaidTypes; task: number | null }
  }
  /** Where two snapshots of a volume, or one and the volume, may differ: whole chunks, in order. */
  'snap.diff': { params: { from: string; to: string }; result: { from: string; to: string; chunkBytes: number; bytes: number; extents: ByteRange[] } }
  /** Of all volumes, or of one and its snapshots. */
  'snap.snapshots': { params: { volume?: string; hidden?: boolean }; result: SnapshotSummary[] }
  'snap.snapshot': { params: { snapshot: string }; result: SnapshotDetail }
  'store.create': { params: Change & { name: string; raid: RaidType; size?: number }; result: StoreSummary }
  'store.list': { params: object; result: StoreSummary[] }
  'store.show': { params: { store: string }; result: StoreDetail }
  'store.resize': { params: Change & { store: string; size: number }; result: StoreSummary & { was: number } }
  /** Bytes of chunks that were moved, and of disks that came back; in a dry run those that could. */
  'store.compact': { params: Change & { store: string }; result: { name: string; moved: number; freed: number } }
  'store.delete': { params: Change & { store: string }; result: { name: string; task: number | null } }
  /** On a file or packed into one (`path`), on a LUN of its own, or on a log in one; of the size given, or of that of a LUN. */
  'wod.create': {
    params: Change & { name: string; on: WodKind; size?: number; for?: string; blockBytes?: number; raid?: RaidType; path?: string }
    result: WodDetail
  }
  'wod.list': { params: object; result: WodSummary[] }
  'wod.show': { params: { wod: string }; result: WodDetail }
  'wod.delete': { params: Change & { wod: string }; result: { name: string; written: number; task: number | null } }
  /** Whole blocks; all of the device when no range is given. */
  'wod.reallocate': {
    params: Change & { wod: string; offset?: number; length?: number }
    result: { name: string; offset: number; length: number; emptied: number }
  }
  'host.add': { params: Change & { host: string }; result: HostSummary }
  'host.list': { params: object; result: HostSummary[] }
  'host.show': { params: { host: string }; result: HostDetail }
  /** `iops`, `bps` and their bursts: limits of the host on all that it reaches together. */
  'host.set': { params: Change & { host: string; settings: Record<string, string> }; result: { settings: Setting[]; changed: string[] } }
  /** Refused while volumes are presented to it. */
  'host.remove': { params: Change & { host: string }; result: { name: string } }
  /** Lets a host reach a LUN, a snapshot or a write-once device; presenting it again changes how. */
  'volume.present': {
    params: QuietChange & { volume: string; host: string; readOnly?: boolean; shared?: boolean; forceMixed?: boolean }
    result: PresentationView & { changed: boolean }
  }
  /** From one host, or from all. */
  'volume.unpresent': { params: QuietChange & { volume: string; host?: string }; result: { volume: string; hosts: string[]; changed: boolean } }
  'server.status': { params: object; result: ServerStatus }
  /** Answered before the server has ended. */
  'server.stop': { params: object; result: { pid: number } }
  'metadata.check': { params: object; result: CheckView }
  /** A complete dump as text, one line a record. */
  'metadata.dump': { params: object; result: { text: string } }
  'lock.show': { params: object; result: LockView }
}

export type Verb = keyof Verbs
export type Params<V extends Verb> = Verbs[V]['params']
export type Result<V extends Verb> = Verbs[V]['result']

export interface Reply<T> {
  /** Counts administrative commits only (hazard 41). */
  readonly generation: number
  readonly data: T
  readonly warnings: readonly string[]
}

/** Something uses a relationship: it is not unconfigured before this is closed, or its process has gone. */
export interface RelationshipHold {
  /** The number of the relationship. */
  readonly number: number
  /** Closing twice is harmless. */
  close(): Promise<void>
}

/** A pool that can be asked: in this process, or in its owner over the control socket. Commands never care which. */
export interface PoolService extends AsyncDisposable {
  readonly pool: string
  call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>>
  /** The LUN as a block device, for user data; closing it does not close the service. */
  openLun(name: string, options?: { readOnly?: boolean; incomplete?: boolean; mixed?: boolean }): Promise<BlockDevice>
  /**
   * Events with a number above `after` (0 when left out), each once, as they come, until the signal aborts: past any change of the owner, and without being one.
   * @throws LunarError `ERR_POOL_NOT_FOUND` when the disks are gone, `ERR_LOCKED` when the owner cannot be asked
   */
  follow(after?: number, signal?: AbortSignal): AsyncIterable<EventView>
  /** Holds off unconfiguring, whoever asks for it. @throws LunarError `ERR_RELATIONSHIP_NOT_FOUND` */
  holdRelationship(name: string): Promise<RelationshipHold>
  close(): Promise<void>
}

/** How a command wants a pool. `view` reads metadata without a lock; `owner` changes things or reads user data. */
export interface OpenOptions {
  readonly mode: 'view' | 'owner'
  /** Files and folders to look for the pool's disks in; the registry when left out. */
  readonly paths?: readonly string[]
  /** What the operator typed, for the lock record and the pool's history. */
  readonly command: string
  readonly readOnly?: boolean
  readonly forceQuorum?: boolean
  readonly choose?: string
  readonly forceNonlocal?: boolean
  /** Takes disks behind a connection from a process on another host, of which nobody here can tell whether it lives. */
  readonly forceHost?: boolean
  /** Asks to stop: nobody is waited for any more. */
  readonly signal?: AbortSignal
}
