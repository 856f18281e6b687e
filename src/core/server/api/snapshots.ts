/** What is said of snapshots and the stores of their chunks. */
import type { RaidTypes } from './luns.ts'

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
