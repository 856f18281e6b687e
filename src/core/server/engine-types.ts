/** What the front door asks of the engine, and the engine of the front door. */
import type { HistoryEntry } from '../../metadata/history.ts'
import type { Label } from '../../metadata/label.ts'
import type { BlockDevice, Disk } from '../block/device.ts'
import type { Exposition } from './exposition.ts'
import type { DiskSpec, EventView, HeldRequests, Params, RelationshipHold, Reply, Result, Verb } from './api.ts'

/** A disk that was opened and whose label was read; locked for an owner. */
export interface FoundDisk {
  readonly disk: Disk
  readonly label: Label
}

/** A disk that shall become part of a pool. `blank`: it reads as zeros everywhere. */
export interface NewDisk {
  readonly disk: Disk
  readonly blank: boolean
  /** Takes back what making it changed, when it does not become a disk of the pool after all. */
  undo?(): Promise<void>
}

export interface CreateDiskOptions {
  readonly overwrite: boolean
  readonly dryRun: boolean
  readonly witness: boolean
}

/** What the engine asks of its surroundings when disks join or come back. */
export interface DiskOpener {
  /** @throws LunarError `ERR_DUPLICATE_DISK` when two of the paths are one file or device */
  requireDistinct(paths: readonly string[]): Promise<void>
  /** Opens (or makes) a file or device that shall become a disk of the pool, locked, never over data that is not ours without `overwrite`. */
  create(spec: DiskSpec, options: CreateDiskOptions): Promise<NewDisk>
  /** Looks for a disk that is away: at `path`, else beside the other disks and in the registry. Locked. */
  find(diskId: string, path?: string): Promise<FoundDisk | undefined>
  /** Lets a disk go that is none of the pool's any more. */
  release(disk: Disk): Promise<void>
  /** Tells the registry that the pool's disks are now at these paths. */
  remember(poolName: string, poolId: string, paths: readonly string[]): Promise<void>
}

/** A disk that the pool had and that was not found, or not whole. */
export interface MissingDisk {
  readonly diskId?: string
  readonly path: string
  readonly reason: string
}

export interface EngineOptions {
  readonly mode: 'view' | 'owner'
  readonly readOnly?: boolean
  readonly forceQuorum?: boolean
  /** Disk (number, name or id) whose side of a split brain is taken. */
  readonly choose?: string
  readonly opener: DiskOpener
  readonly command: string
  readonly missing: readonly MissingDisk[]
}

/** A volume as a host sees it. */
export interface PresentedVolume {
  readonly name: string
  readonly host: string
  readonly kind: 'lun' | 'snapshot' | 'wod'
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean
  /** What a client may ask about its ranges: `lunar:changed:monday`. */
  readonly contexts: readonly string[]
}

/** A presented volume that a client has open. */
export interface OpenVolume extends PresentedVolume {
  readonly device: BlockDevice
  /** Requests of this client that quality of service held back so far. */
  held(): HeldRequests
  /**
   * What a context says of a range, in order and without gaps: bytes, and whether it is so (changed since, written).
   * @throws LunarError `ERR_SNAPSHOT_NOT_FOUND` when the snapshot is gone
   */
  ask(context: string, offset: number, length: number): Promise<readonly { readonly length: number; readonly is: boolean }[]>
  /** Closing twice is harmless. */
  close(): Promise<void>
}

/** What hosts reach of a pool, as the pool has it on record. */
export interface Presented {
  readonly hosts: readonly string[]
  /** By name; none when there is no such host. */
  list(host: string): PresentedVolume[]
  /** @throws LunarError `ERR_LUN_NOT_FOUND` when the host does not reach such a volume, whether there is one or not */
  describe(host: string, volume: string): PresentedVolume
  /**
   * @param client who it is, for messages that it is in the way of
   * @throws LunarError as `describe`, and as `Engine.openLun`
   */
  open(host: string, volume: string, client: string): Promise<OpenVolume>
}

export interface Engine {
  readonly presented: Presented
  readonly poolName: string
  readonly poolId: string
  call<V extends Verb>(verb: V, params: Params<V>, signal?: AbortSignal): Promise<Reply<Result<V>>>
  openLun(name: string, options?: LunOptions): Promise<BlockDevice>
  /** @throws LunarError `ERR_RELATIONSHIP_NOT_FOUND` */
  holdRelationship(name: string): Promise<RelationshipHold>
  /** Runs schedules when they are due, from now until the engine is closed. @param tell one line for whoever reads the log */
  startSchedules(tell: (line: string) => void): void
  /** Disks that are away and that nobody took away. */
  awayDisks(): readonly { readonly number: number; readonly id: string }[]
  /** Called when a disk came or went. */
  onDisksChanged: (() => void) | undefined
  /** Background processes that are not done. */
  hasWork(): boolean
  /** Resolves when `hasWork()` turns false, or the signal aborts. */
  settled(signal?: AbortSignal): Promise<void>
  /** Events with a number above `after` that are there, then each one when it is durable, until the signal aborts or whoever reads is too slow. */
  followEvents(after: number, signal: AbortSignal): AsyncIterable<EventView>
  /** Adds an administrative change to the history; durable when it resolves. */
  keepHistory(entry: HistoryEntry): Promise<void>
  /** Adds the metrics of the pool. */
  measure(into: Exposition): Promise<void>
  /** View mode: false when what was read may have been overwritten meanwhile; then open again. */
  stillCurrent(): Promise<boolean>
  /** Flushes, writes a clean root, stops processes. Does not close or unlock the disks (their owner does). */
  close(): Promise<void>
}

export interface LunOptions {
  readonly readOnly?: boolean
  /** Also opens a LUN whose import was interrupted. */
  readonly incomplete?: boolean
  /** Also opens a volume that an unfinished update left of two instants. */
  readonly mixed?: boolean
  /** Whom it is opened for, as messages name them. */
  readonly user?: string
  /** How they came in, for the tree of layers. */
  readonly protocol?: string
}

/** A disk for `formatPool`. */
export interface FormatDisk extends NewDisk {
  readonly witness: boolean
  readonly domain?: string
}

/** What the engine's module exports. */
export interface EngineModule {
  openEngine(disks: readonly FoundDisk[], options: EngineOptions): Promise<Engine>
  /** Writes labels, journal, first root. The disks are open and locked. */
  formatPool(disks: readonly FormatDisk[], params: { name: string }): Promise<{ poolId: string }>
  /** Writes zeros over labels, roots and journal of the disks. */
  wipePool(disks: readonly FoundDisk[]): Promise<void>
  /** Deletes the files of a pool's write-once devices. @returns what stays, and why */
  removeDeviceFiles(paths: readonly string[], poolId: string): Promise<string[]>
}
