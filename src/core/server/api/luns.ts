/** What is said of LUNs and their redundant stores. */
import type { LayerView } from '../../block/layers.ts'
import type { DiskState, Health, Setting } from './pools.ts'
import type { RelationshipState } from './relationships.ts'

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
