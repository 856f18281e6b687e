/** What is said of write-once devices. */
import type { RaidType } from './luns.ts'

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
