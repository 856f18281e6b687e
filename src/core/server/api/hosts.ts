/** What is said of hosts and what is presented to them. */
import type { HeldRequests } from './luns.ts'
import type { Setting } from './pools.ts'

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
