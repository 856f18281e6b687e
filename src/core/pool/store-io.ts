import { LunarError } from '../base/errors.ts'
import type { Barrier } from '../block/barrier.ts'
import type { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import type { ParityLog } from './parity-log.ts'
import type { PoolDisk } from './pool-disk.ts'
import type { StoreBits } from './store-bits.ts'
import type { StoreMembers } from './store-members.ts'
import type { DiskSlots, StoreTable } from './store-table.ts'

/** What a LUN's stores need from the pool. */
export interface StoreHost {
  readonly metadata: Metadata
  readonly barrier: Barrier<Batch>
  readonly slots: DiskSlots
  disk(number: number): PoolDisk
  /** A look at a pool that somebody else may own: nothing is written, also where it should be. */
  readonly isView: boolean
  /** Takes a disk that failed a write or flush out of service; resolves when that is durable. */
  failDisk(disk: PoolDisk, error: unknown): Promise<void>
  /** Defined while a disk's leaving is not durable yet. */
  leaving(disk: PoolDisk): Promise<void> | undefined
  /** Copies differ or a disk changed: processes look whether there is something to do. */
  onChange(): void
  /** A read failed and other members served it. */
  readRepaired(disk: PoolDisk, error: unknown): void
  /** The log of the parity that lies on a disk. */
  parityLog(disk: PoolDisk): ParityLog | Promise<ParityLog>
  /** Those that are open, by number of the disk. */
  readonly logs: ReadonlyMap<number, ParityLog>
}

/** What reading and writing the stores of one LUN works on. */
export interface StoreSet {
  readonly lun: number
  readonly host: StoreHost
  readonly table: StoreTable
  readonly bits: StoreBits
  readonly members: StoreMembers
  /** What messages call the LUN. */
  title(): string
  /** Makes open and stale bits durable that a write to these bytes needs, where they are not. */
  prepareWrite(store: number, at: number, length: number): Promise<void> | undefined
}

/** Bytes that a member did not give, and others served: to be written anew. */
export interface BadRange {
  readonly store: number
  readonly member: number
  /** Byte of the member's segment, and length in bytes. */
  readonly at: number
  readonly length: number
}

export function lostError(set: StoreSet, verb: 'read' | 'write', length: number, disk: number, cause: unknown): LunarError {
  const gone = verb === 'read' ? `disk ${disk}, which holds the only current copy, is not in service` : `disk ${disk}, where they belong, is not in service`
  return new LunarError('ERR_DATA_LOST', `Cannot ${verb} ${length} bytes of ${set.title()}`, {
    why: cause instanceof LunarError ? cause.why : gone,
    cause,
  })
}
