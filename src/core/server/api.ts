/**
 * The verbs of a pool: what commands, the control socket and the library all call, and the plain objects they get.
 * Everything here survives JSON: bytes are whole numbers, times RFC 3339, keys full words.
 */
import type { BlockDevice } from '../block/device.ts'
import type { LayerView } from '../block/layers.ts'

export type { LayerView }

export type RaidType = 'raid0' | 'raid1' | 'raid5'
/** One type, or those of the ranges of a LUN, each once: `raid1+raid5`. */
export type RaidTypes = RaidType | `${RaidType}+${string}`

/** Addresses of a LUN that have one redundancy type. Bytes, in steps of 1 MiB. */
export interface LunTypeRange {
  readonly offset: number
  /** null for the last one: it has no end, and a LUN that grows grows in its type. */
  readonly length: number | null
  readonly raid: RaidType
  /** Redundant stores that are interleaved, 1 to 255; 1 when left out. */
  readonly stripe?: number
}
/** The states of a disk, in the words that are used everywhere (features.md A10). */
export type DiskState = 'normal' | 'missing' | 'merging' | 'replacing' | 'regenerating' | 'failed'
export type Health = 'healthy' | 'degraded' | 'critical'

export interface PoolSummary {
  readonly name: string
  readonly id: string
  readonly health: Health
  readonly disks: number
  readonly luns: number
  /** Bytes of segments: all of them, in use, and free (used + free = size). */
  readonly size: number
  readonly used: number
  readonly free: number
  readonly created: string
}

export interface PoolDetail extends PoolSummary {
  readonly generation: number
  readonly formatVersion: number
  /** RFC 3339; the newest time any quorum disk recorded (fault F36). */
  readonly lastWrite: string
  readonly quorum: { readonly disk: number; readonly name: string; readonly state: DiskState; readonly witness: boolean }[]
  /** Largest creatable LUN by type, in bytes; 0 where there are too few disks. */
  readonly largest: { readonly raid: RaidType; readonly size: number }[]
  /** The redundancy sets, in order of group and number. */
  readonly sets: RedundancySet[]
  /** Redundant stores with members in several redundancy sets. */
  readonly astride: number
  readonly settings: Setting[]
  readonly metadata: { readonly used: number; readonly size: number; readonly copies: number }
}

/** Disks of one group that redundant stores are made of (features.md A5). */
export interface RedundancySet {
  readonly ldad: string
  readonly set: number
  /** By index. Disks with adjacent even and odd indices are a pair. */
  readonly disks: { readonly disk: number; readonly index: number; readonly state: DiskState }[]
  /** Bytes of segments. */
  readonly size: number
  readonly free: number
}

export interface Setting {
  readonly key: string
  readonly value: string | number | boolean
  /** Where the value comes from. */
  readonly from: 'default' | 'pool' | 'lun' | 'host'
}

export interface PoolStatus {
  readonly name: string
  readonly health: Health
  readonly generation: number
  readonly lastWrite: string
  /** Redundant stores with members in several redundancy sets. */
  readonly astride: number
  /** Who owns the pool now, or null. */
  readonly owner: LockHolder | null
  readonly disks: DiskSummary[]
  /** LUNs that cannot be served whole, or have less redundancy than promised. */
  readonly luns: { readonly name: string; readonly health: Health; readonly lost: number; readonly stale: number }[]
  /** Relationships that need somebody: two instants in one volume, an image that was given up, a part that was lost while disabled. */
  readonly relationships: RelationshipTrouble[]
  /** Write-once devices whose file is not there, and why. */
  readonly devices: { readonly name: string; readonly problem: string }[]
  /** Names of snapshots that were dropped, since there was no space for what they needed. */
  readonly droppedSnapshots: string[]
  /** Schedules whose last run did not go well, and why. */
  readonly schedules: { readonly name: string; readonly problem: string }[]
  readonly tasks: TaskView[]
  /** Sentences for the operator: what is wrong, and what helps. */
  readonly messages: string[]
}

export interface RelationshipTrouble {
  readonly number: number
  readonly source: string
  readonly image: string
  readonly trouble: 'mixed' | 'invalid' | 'lost'
  /** Bytes of the image that its source was written in while they were disabled. */
  readonly lost: number
  /** Why it is mixed or invalid. */
  readonly reason: string | null
}

export interface DiskSummary {
  /** The number a disk keeps for life. */
  readonly number: number
  readonly id: string
  /** Last known path, or null when no file with its label was found. */
  readonly path: string | null
  readonly state: DiskState
  readonly witness: boolean
  readonly quorum: boolean
  readonly domain: string | null
  /** Number of the redundancy set in the disk group, and index in it; null for a witness. */
  readonly redundancySet: number | null
  readonly redundancyIndex: number | null
  readonly size: number
  readonly used: number
  readonly free: number
  /** Bytes written elsewhere while this disk was away, still to be copied. */
  readonly stale: number
  readonly errors: number
}

export interface DiskDetail extends DiskSummary {
  readonly ldad: string
  readonly segments: { readonly total: number; readonly used: number; readonly clean: number; readonly freed: number; readonly metadata: number }
  readonly layout: { readonly rootsAt: number; readonly journalAt: number; readonly journalSize: number; readonly segmentsAt: number }
  readonly added: string
  readonly stateSince: string
  readonly luns: string[]
}

export interface LunSummary {
  readonly number: number
  readonly name: string
  readonly id: string
  readonly size: number
  readonly raid: RaidTypes
  /** Its types by address; one range when it has one type. A range may lie behind the end: it counts when the LUN grows. */
  readonly ranges: LunTypeRange[]
  /** Bytes bound (1 MiB slices that were written). */
  readonly bound: number
  /** Bytes on disks, redundancy included. */
  readonly used: number
  readonly thin: boolean
  readonly state: string
  /** Names of the hosts that reach it. */
  readonly presentedTo: string[]
  readonly created: string
}

export interface LunDetail extends LunSummary {
  readonly health: Health
  readonly lost: number
  readonly stale: number
  readonly stores: number
  readonly ldad: string
  /** By disk: bytes of segments in use. */
  readonly disks: { readonly disk: number; readonly used: number }[]
  readonly settings: Setting[]
  readonly held: HeldRequests
  readonly layers: LunLayers
  /** It refuses to be written, trimmed, deleted and updated. */
  readonly protected: boolean
  /** In order of number. */
  readonly relationships: LunRelationship[]
}

/** Requests that quality of service held back since the pool was opened, and how long in all. */
export interface HeldRequests {
  /** By limits. */
  readonly throttled: number
  readonly throttledMs: number
  /** While the pool was saturated. */
  readonly queued: number
  readonly queuedMs: number
}

/** The layers that are wired now, outermost first (features.md B13). */
export interface LunLayers {
  /** Of each who has the LUN open, down to what all share. */
  readonly ways: readonly LayerView[]
  /** What all share. */
  readonly volume: readonly LayerView[]
}

/** What a LUN is in a relationship. */
export interface LunRelationship {
  readonly number: number
  readonly name: string | null
  readonly role: 'source' | 'image'
  /** The LUN on the other side. */
  readonly other: string
  readonly state: RelationshipState
}

export interface MapExtent {
  readonly offset: number
  readonly length: number
  /** `bound`, `unbound`, `degraded` (readable, one copy missing) or `lost` (refused). */
  readonly state: 'bound' | 'unbound' | 'degraded' | 'lost'
  readonly raid: RaidType
  readonly store: number | null
  readonly disks: number[]
}

export interface RstoreSummary {
  readonly lun: string
  readonly number: number
  readonly raid: RaidType
  /** How many of its eight 1 MiB slices are bound. */
  readonly bound: number
  readonly state: Health
  readonly disks: number[]
  /** The disk that holds the parity; null without one. */
  readonly parity: number | null
  /** Its disks are of several redundancy sets: leveling brings it home. */
  readonly astride: boolean
}

export interface RstoreDetail extends RstoreSummary {
  readonly members: {
    readonly member: number
    /** What it holds: the only bytes of a column, one of two copies of it, or the parity of all columns. */
    readonly role: 'column' | 'copy' | 'parity'
    /** The column that it holds, from 0; null for parity. */
    readonly column: number | null
    readonly disk: number
    readonly segment: number
    readonly offset: number
    readonly state: DiskState
    readonly staleSlices: number
  }[]
  readonly slices: { readonly slice: number; readonly address: number | null; readonly open: boolean }[]
}

/** A range of a LUN with less redundancy than it should have, though all its disks are there. */
export interface CheckedRange {
  /** Bytes of the LUN. */
  readonly offset: number
  readonly length: number
  readonly store: number
  /** `differs`: copies, or columns and parity, do not fit; `unreadable`: one member does not give it; `lost`: nothing does. */
  readonly state: 'differs' | 'unreadable' | 'lost'
  /** Members that do not fit together, or do not give their bytes, and their disks. */
  readonly members: number[]
  readonly disks: number[]
}

/** What comparing the members of a LUN's redundant stores found. All sizes are bytes of the LUN, but `repaired`. */
export interface RstoreCheck {
  readonly lun: string
  /** The one store that was looked at; null for all. */
  readonly store: number | null
  /** Compared with every member. */
  readonly compared: number
  /** Not compared, or in part: stores without redundancy, members that are away or stale, slices that a resync still has to make equal. */
  readonly unchecked: { readonly noRedundancy: number; readonly memberAway: number; readonly resyncPending: number }
  readonly differs: number
  readonly unreadable: number
  readonly lost: number
  /** Bytes written to members: from the first readable copy, or as the XOR of the other members. With a dry run none are. */
  readonly repaired: number
  /** In order of addresses; the first thousand. */
  readonly ranges: CheckedRange[]
  /** Ranges that are not listed. */
  readonly unlisted: number
}

export type TaskState = 'running' | 'waiting' | 'paused' | 'done' | 'failed' | 'stopped'
export interface TaskView {
  readonly number: number
  /** `resync`, `reclaim`, … */
  readonly kind: string
  readonly target: string
  readonly state: TaskState
  /** Bytes. */
  readonly done: number
  readonly total: number
  readonly percent: number
  /** Bytes a second over the last seconds; 0 when not running. */
  readonly rate: number
  /** Seconds, or null when it cannot be told. */
  readonly eta: number | null
  readonly started: string
  readonly ended: string | null
  readonly reason: string | null
}

export type RelationshipState = 'disabled' | 'enabled' | 'updating' | 'mixed' | 'invalid'
export type ProcessName = 'completeImage' | 'imageUpdate' | 'sourceUpdate'
/** Milliseconds between steps, or a pace that follows the load. */
export type Delay = number | 'adaptive'

/** What every answer about a relationship carries (tables.md: R). */
export interface RelationshipView {
  readonly number: number
  readonly name: string | null
  readonly source: string
  readonly image: string
  readonly state: RelationshipState
  /** The process that runs now. */
  readonly process: ProcessName | null
}

export interface RelationshipSummary extends RelationshipView {
  readonly chunkBytes: number
  /** Rounded down; 100 only when the image owns every chunk. */
  readonly completePercent: number
  readonly differentPercent: number
  /** The instant the image is of. */
  readonly asOf: string | null
  /** What a disabled one costs: `recording` changes of its volumes waits for a map bit on a first write. */
  readonly cost: 'none' | 'recording' | 'preserving'
  /** The image has fewer copies of its data than the source. */
  readonly lessRedundant: boolean
}

export interface ByteRange {
  readonly offset: number
  readonly length: number
}

export interface RelationshipConfig extends RelationshipView {
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly delaysMs: { readonly completeImage: Delay; readonly imageUpdate: Delay; readonly sourceUpdate: Delay }
  /** Where preserved chunks go: the image itself, at the same addresses. */
  readonly store: string
  /** What happens when the image has no room for a chunk. */
  readonly policy: 'fail-writes' | 'drop'
  readonly created: string
}

export interface RelationshipStatus extends RelationshipView {
  readonly chunks: { readonly total: number; readonly migrated: number; readonly different: number; readonly frozen: number; readonly lost: number }
  readonly differentPercent: number
  readonly completePercent: number
  readonly asOf: string | null
  readonly enabledAt: string | null
  readonly progress: {
    readonly kind: ProcessName
    readonly task: number
    /** Bytes. */
    readonly done: number
    readonly total: number
    /** Bytes a second. */
    readonly rate: number
    /** Seconds, or null when it cannot be told. */
    readonly eta: number | null
    readonly delayMs: Delay
  } | null
  /** Ranges of the image that were lost while it was disabled. */
  readonly lost: ByteRange[]
  readonly reason: string | null
}

/** Two bitmaps of one instant, base64; bit i is byte i >> 3, low bit first. */
export interface RelationshipMaps extends RelationshipView {
  readonly chunks: number
  readonly chunkBlocks: number
  readonly chunkBytes: number
  readonly migrated: string
  readonly delta: string
  readonly generation: number
}

export type WodKind = 'file' | 'vdisk' | 'lun' | 'store'

/** A write-once device. */
export interface WodSummary {
  readonly number: number
  readonly name: string
  readonly on: WodKind
  readonly size: number
  readonly blockBytes: number
  /** Bytes of blocks that are written. */
  readonly written: number
  /** The LUN it is the image of. */
  readonly imageOf: string | null
  /** Names of the hosts that reach it. */
  readonly presentedTo: string[]
  readonly created: string
}

export interface WodDetail extends WodSummary {
  readonly id: string
  /** The file it lies in. */
  readonly path: string | null
  /** Redundancy of the LUN below, and bytes that this has on disks; null on a file. */
  readonly raid: RaidType | null
  readonly used: number | null
  /** `ready`, or why what it lies on cannot be used now. */
  readonly state: string
  /** When all of it was last made unwritten. */
  readonly emptied: string
  /** The relationship whose image it is. */
  readonly relationship: number | null
}

/** When there is no space for a chunk that snapshots need: the write fails, those that need it are dropped, or the oldest until there is. */
export type OnFull = 'fail-writes' | 'drop' | 'drop-oldest'

/** A snapshot of a LUN, or of a writable snapshot. */
export interface SnapshotSummary {
  readonly number: number
  /** `db@monday`. */
  readonly name: string
  /** What it is a snapshot of. */
  readonly source: string
  /** Hidden: deleted, and kept for what rests on it. Dropped: there was no space for what it needed, and it cannot be read. */
  readonly state: 'read-only' | 'writable' | 'hidden' | 'dropped'
  /** The read-only snapshot that it is a writable view of. */
  readonly of: string | null
  readonly size: number
  readonly chunkBytes: number
  /** Where its chunks are kept. */
  readonly store: string
  /** Names of the hosts that reach it. */
  readonly presentedTo: string[]
  /** The instant it is of. */
  readonly created: string
  readonly onFull: OnFull
  /** Bytes that are bound for what it may need, whether in use or not; 0: it takes space on demand. */
  readonly reserved: number
}

export interface SnapshotDetail extends SnapshotSummary {
  readonly id: string
  /** Bytes of its store that would be given back if it alone were deleted. */
  readonly exclusive: number
  /** Bytes that all snapshots of the source take: in all, needed by several, and on their way back after a deletion. */
  readonly tree: { readonly total: number; readonly shared: number; readonly dead: number }
  /** Snapshots that would keep it, hidden, if it were deleted. */
  readonly restsOn: string[]
}

/** Spans of the calendar that keep-rules count. */
export type RotationSpan = 'minutely' | 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly'

/** What rotation decided for a snapshot, and why. */
export interface RotatedSnapshot {
  readonly name: string
  readonly volume: string
  readonly created: string
  readonly action: 'keep' | 'delete'
  readonly reasons: readonly string[]
}

/** A store of preserved chunks, shared by the snapshots of several volumes. */
export interface StoreSummary {
  readonly number: number
  readonly name: string
  /** Bytes of its addresses: what it may grow to. */
  readonly size: number
  readonly raid: RaidTypes
  /** Bytes of chunks that it holds. */
  readonly chunks: number
  /** Bytes on disks, redundancy included. */
  readonly used: number
  readonly state: string
  readonly created: string
}

export interface StoreDetail extends StoreSummary {
  readonly id: string
  readonly trees: { readonly volume: string; readonly chunkBytes: number; readonly snapshots: number; readonly chunks: number }[]
}

/** Of the last run of a schedule: `unrotated` took its snapshots, or had none to take, and rotation was refused. */
export type ScheduleResult = 'taken' | 'unchanged' | 'missed' | 'failed' | 'unrotated'

/** When snapshots are taken of some LUNs, and which are kept. */
export interface ScheduleSummary {
  readonly number: number
  readonly name: string
  readonly luns: string[]
  readonly cron: string
  readonly zone: string
  readonly paused: boolean
  /** A server has the pool: only that runs schedules. */
  readonly served: boolean
  /** RFC 3339; null when it is paused, or not served. */
  readonly next: string | null
  readonly last: { readonly time: string; readonly result: ScheduleResult; readonly reason: string | null; readonly deleted: number } | null
  /** Runs that did not go well, since the last that did. */
  readonly failures: number
  /** Why its times cannot be told, if so. */
  readonly problem: string | null
}

export interface ScheduleDetail extends ScheduleSummary {
  readonly id: string
  readonly created: string
  readonly prefix: string
  readonly readOnly: boolean
  readonly catchUp: boolean
  readonly skipUnchanged: boolean
  readonly keep: Partial<Record<RotationSpan, number>>
  /** null: only the newest is never deleted. */
  readonly keepLast: number | null
  readonly olderThanMs: number | null
  /** When it last took snapshots. */
  readonly taken: string | null
  /** The next times of the expression, whether or not somebody runs it then. */
  readonly upcoming: string[]
  /** The first run that was missed and is not settled. */
  readonly missed: string | null
}

/** What a run did, or in a dry run would do. */
export interface ScheduleRun {
  readonly name: string
  readonly result: 'taken' | 'unchanged'
  /** Names of what was taken. */
  readonly taken: string[]
  /** What rotation made of the snapshots of the schedule. */
  readonly snapshots: RotatedSnapshot[]
  readonly deleted: number
  readonly kept: number
  readonly refused: RotationRefusal | null
  readonly task: number | null
}

/** Why a rotation was refused. */
export interface RotationRefusal {
  readonly code: string
  readonly message: string
  readonly fix: string
}

/** Somebody to whom volumes are presented. */
export interface HostSummary {
  readonly number: number
  readonly name: string
  readonly id: string
  /** How many volumes it reaches. */
  readonly volumes: number
  readonly created: string
}

export interface HostDetail extends HostSummary {
  readonly settings: Setting[]
  /** On all volumes that it reaches; what waits in the queue is counted with the volume. */
  readonly held: HeldRequests
  /** By name of the volume. */
  readonly presentations: PresentationView[]
}

/** A volume that a host reaches. */
export interface PresentationView {
  readonly volume: string
  readonly kind: 'lun' | 'snapshot' | 'wod'
  readonly host: string
  readonly readOnly: boolean
  /** Other hosts may write it, too. */
  readonly shared: boolean
  /** Bytes. */
  readonly size: number
  readonly since: string
}

/** The server of a pool: `lunar serve`. */
export interface ServerStatus {
  /** False when the pool has no server; then all else is empty. */
  readonly running: boolean
  readonly pid: number | null
  readonly version: string | null
  readonly since: string | null
  /** What it was started for; `problem` says why one is not served. */
  readonly pools: { readonly name: string; readonly problem: string | null }[]
  readonly listeners: ServerListener[]
  readonly clients: ServerClient[]
}

export interface ServerListener {
  /** `tcp` is without TLS: whoever reaches the port is taken for `host`. `https` is the HTTP API, `http` that without TLS, or where metrics are. */
  readonly transport: 'unix' | 'tls' | 'tcp' | 'http' | 'https'
  /** A path, or `address:port`. */
  readonly address: string
  /** The pool and the host that a unix socket is for. */
  readonly pool: string | null
  readonly host: string | null
  /** How clients name it; the name of the volume goes in at `EXPORT`. */
  readonly uri: string
}

/** A volume that a client has open. */
export interface ServerClient {
  /** As messages about what is busy name it. */
  readonly client: string
  readonly host: string
  readonly pool: string
  readonly volume: string
  readonly address: string
  readonly transport: 'unix' | 'tls' | 'tcp'
  readonly readOnly: boolean
  readonly since: string
  readonly requests: number
  /** Bytes. */
  readonly read: number
  readonly written: number
  readonly held: HeldRequests
}

export interface EventView {
  readonly number: number
  readonly time: string
  /** A stable name, `disk.failed`. */
  readonly event: string
  readonly object: string
  readonly message: string
}

/** An administrative change of a pool, whoever made it. */
export interface HistoryView {
  readonly number: number
  /** When it began. */
  readonly time: string
  /** Milliseconds. */
  readonly duration: number
  readonly user: string
  /** Null where it is not known. */
  readonly uid: number | null
  /** What was typed, or the program. */
  readonly command: string
  readonly verb: string
  /** JSON; one that is too long is cut and ends in an ellipsis. */
  readonly parameters: string
  /** `ok`, or the code of the error. */
  readonly result: string
}

export interface LockHolder {
  readonly pid: number
  readonly version: string
  readonly host: string
  readonly command: string
  readonly socket: string
  readonly since: string
  /** A command, an owner in the background that was started on demand, or a server. */
  readonly kind: 'command' | 'on-demand' | 'server'
}

export interface LockView {
  readonly pool: string
  readonly held: boolean
  readonly holder: LockHolder | null
  readonly disks: { readonly disk: number; readonly path: string; readonly locked: boolean }[]
}

export interface CheckView {
  readonly ok: boolean
  readonly generation: number
  readonly checked: { readonly blocks: number; readonly records: number; readonly luns: number; readonly stores: number; readonly segments: number }
  readonly problems: { readonly code: string; readonly object: string; readonly message: string }[]
}

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
  /** LUNs, or writable snapshots, read as a snapshot of theirs from one instant on; `before` is the snapshot of the state before. What differs is copied back by the task. */
  'snap.restore': {
    params: QuietChange & { snapshots: string[]; keepBefore?: string; keepSize?: boolean; delay?: Delay }
    result: { snapshot: string; volume: string; before: string; changed: boolean; task: number | null }[]
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
