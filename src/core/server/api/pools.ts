/** What is said of a pool, its disks and its past. */
import type { RaidType } from './luns.ts'
import type { LockHolder } from './servers.ts'
import type { TaskView } from './tasks.ts'

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

/** A disk that leaves its pool. */
export interface RemovedDisk extends DiskSummary {
  /** What moves to other disks, in bytes of segments. */
  readonly moves: readonly { readonly lun: string; readonly segments: number; readonly bytes: number }[]
  readonly task: number | null
  /** False when it was leaving already. */
  readonly changed: boolean
}

export interface DiskDetail extends DiskSummary {
  readonly ldad: string
  readonly segments: { readonly total: number; readonly used: number; readonly clean: number; readonly freed: number; readonly metadata: number }
  readonly layout: { readonly rootsAt: number; readonly journalAt: number; readonly journalSize: number; readonly segmentsAt: number }
  readonly added: string
  readonly stateSince: string
  readonly luns: string[]
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

export interface CheckView {
  readonly ok: boolean
  readonly generation: number
  readonly checked: { readonly blocks: number; readonly records: number; readonly luns: number; readonly stores: number; readonly segments: number }
  readonly problems: { readonly code: string; readonly object: string; readonly message: string }[]
}
