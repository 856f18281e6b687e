import { invariant, isDisksFault, LunarError } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { diskRecord } from '../../metadata/records.ts'
import { ParityLog } from './parity-log.ts'
import type { PoolDisk } from './pool-disk.ts'
import type { SegmentMap } from './segments.ts'

/** Segments of a parity log: a part of what the disk has, between these. A larger one is flushed less often. */
const SEGMENTS_MAX = 8
const SEGMENTS_MIN = 2
const PART = 32
/** Clean segments that stay, so that metadata can grow. */
const KEPT = 1

/** What the logs of a pool need from it. */
export interface ParityLogsHost {
  readonly poolId: string
  readonly metadata: Metadata
  readonly segments: ReadonlyMap<number, SegmentMap>
  /** Makes freed segments of a disk clean. @returns how many */
  cleanDisk(disk: PoolDisk): Promise<number>
  failDisk(disk: PoolDisk, error: unknown): Promise<void>
  leaving(disk: PoolDisk): Promise<void> | undefined
  noteLater(code: string, object: string, message: string): void
}

/** The parity logs of a pool's disks: made when first needed, opened with the pool, emptied when it is closed. */
export class ParityLogs {
  readonly open = new Map<number, ParityLog>()
  private readonly making = new Map<number, Promise<ParityLog>>()

  constructor(private readonly host: ParityLogsHost) {}

  /** The log of a disk in service; made, durably, when it has none yet. @throws LunarError `ERR_POOL_FULL`, `ERR_HOST_FULL`, `ERR_IO` */
  ensure(disk: PoolDisk): Promise<ParityLog> {
    const log = this.open.get(disk.number)
    if (log) return Promise.resolve(log)
    const making = this.making.get(disk.number) ?? this.make(disk).finally(() => this.making.delete(disk.number))
    this.making.set(disk.number, making)
    return making
  }

  /** Opens the log of a disk that is in service, or back in it, anew; what cannot be read takes the disk out of service. */
  async load(disk: PoolDisk): Promise<void> {
    if (disk.record.logSegments === 0) return
    try {
      const log = await this.openLog(disk)
      if (log.damaged)
        this.host.noteLater('parityLog.damaged', `disk ${disk.number}`, 'groups of its parity log are wrong: what was logged before them is not used')
    } catch (error) {
      await this.failed(disk, error)
    }
  }

  /** Empties the logs, so that the next owner has nothing to replay; nothing may be written meanwhile. One that fails is replayed. */
  async drain(): Promise<void> {
    for (const log of this.open.values()) {
      if (!log.disk.inService || log.isDead) continue
      try {
        await log.drain()
      } catch (error) {
        await this.failed(log.disk, error)
      }
    }
  }

  /** The disk leaves the pool: no parity lies on it any more. */
  async drop(disk: PoolDisk): Promise<void> {
    const log = this.open.get(disk.number)
    if (log && disk.inService && !log.isDead) await log.drain().catch((error: unknown) => this.failed(disk, error))
    this.open.delete(disk.number)
  }

  private async make(disk: PoolDisk): Promise<ParityLog> {
    const map = this.host.segments.get(disk.number)
    // It was made, and its making failed after that was durable: it holds nothing.
    if (disk.record.logSegments > 0) return this.openLog(disk)
    invariant(map, `disk ${disk.number} has no segments`)
    const segments = logSegmentsOf(map.total)
    let segment = takeRun(map, segments)
    if (segment === undefined && (await this.host.cleanDisk(disk)) > 0) segment = takeRun(map, segments)
    if (segment === undefined) {
      throw new LunarError('ERR_POOL_FULL', `Cannot make a parity log on disk ${disk.number}`, {
        why: `${segments} free segments of ${SEGMENT / 1024 / 1024} MiB in a row are needed`,
      })
    }
    try {
      await disk.reserve(segment, 0, segments * SEGMENT)
      // Written once now, so that the durable writes of the log only overwrite.
      const zeros = new Uint8Array(SEGMENT)
      for (let i = 0; i < segments; i++) await disk.write(segment + i, 0, [zeros], SEGMENT)
      await disk.flush()
    } catch (error) {
      for (let i = 0; i < segments; i++) map.untake(segment + i)
      throw error
    }
    const batch = new Batch()
    for (let i = 0; i < segments; i++) map.set(segment + i, 'used', batch)
    disk.record = { ...disk.record, logSegment: segment, logSegments: segments }
    batch.put(keyOf('disk', disk.number), diskRecord.encode(disk.record))
    await this.host.metadata.commit(batch, 'admin', true)
    // Not before: a segment that counts as clean holds zeros. Without it, after a crash, the whole log is read.
    await ParityLog.create(disk, { segment, segments }, this.host.poolId)
    return this.openLog(disk)
  }

  private async openLog(disk: PoolDisk): Promise<ParityLog> {
    const { logSegment: segment, logSegments: segments } = disk.record
    const log = await ParityLog.open(
      disk,
      { segment, segments },
      {
        poolId: this.host.poolId,
        flush: disks => this.flushAll(disks),
      },
    )
    this.open.set(disk.number, log)
    return log
  }

  /** Flushes disks for one log; others need not flush them again for what they have in place already. */
  private async flushAll(disks: readonly PoolDisk[]): Promise<void> {
    const flushed = new Set(disks)
    const placed = [...this.open.values()].map(log => ({ log, last: log.placedOn(flushed) }))
    await Promise.all(disks.map(disk => this.flush(disk)))
    for (const { log, last } of placed) log.passTo(last)
  }

  /** Flushes a disk in service; one that fails, or has left, is out of service durably when it resolves. */
  private async flush(disk: PoolDisk): Promise<void> {
    if (!disk.inService) return this.host.leaving(disk)
    try {
      await disk.flush()
    } catch (error) {
      await this.failed(disk, error)
    }
  }

  private failed(disk: PoolDisk, error: unknown): Promise<void> {
    if (!isDisksFault(error)) throw error
    return this.host.failDisk(disk, error)
  }
}

/** Segments that a parity log takes on a disk of so many. */
export const logSegmentsOf = (total: number): number => Math.max(SEGMENTS_MIN, Math.min(SEGMENTS_MAX, Math.floor(total / PART)))

const takeRun = (map: SegmentMap, segments: number): number | undefined => (map.available >= segments + KEPT ? map.takeRun(segments) : undefined)
