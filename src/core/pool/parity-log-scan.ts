/** Reads what a parity log's ring holds: nothing is written here. */
import { MIB } from '../base/units.ts'
import { BLOCK, SEGMENT } from '../../metadata/layout.ts'
import {
  decodeEntries,
  headerAt,
  isGroup,
  withoutVoided,
  type AddressRange,
  type GroupEntry,
  type GroupHeader,
  type GroupIdentity,
  type LogKey,
  type LogPiece,
} from '../../metadata/parity-group.ts'
import { runsOf, WINDOW_COPIES, type RingSpan } from '../../metadata/parity-window.ts'
import type { PoolDisk } from './pool-disk.ts'

/** A run of segments on the disk. */
export interface LogPlace {
  readonly segment: number
  readonly segments: number
}

/** What an earlier owner left, in the order it was logged. */
export interface Replayable extends LogKey {
  readonly slice: number
  readonly pieces: LogPiece[]
}

export interface ScannedRing {
  /** The groups that count, oldest first; the last one is the newest of the ring. */
  readonly groups: readonly GroupHeader[]
  /** Groups before them should count and cannot be read. */
  readonly damaged: boolean
}

/** Bytes read at a time, at most. */
const READ = MIB

export class LogRing {
  /** Those of the groups: the windows lie before them. */
  readonly blocks: number

  constructor(
    readonly disk: PoolDisk,
    readonly place: LogPlace,
    readonly identity: GroupIdentity,
  ) {
    this.blocks = (place.segments * SEGMENT) / BLOCK - WINDOW_COPIES
  }

  /** Byte of the log where a block of the ring lies. */
  byteOf(block: number): number {
    return (block + WINDOW_COPIES) * BLOCK
  }

  /**
   * Finds the newest whole group, and goes back from it to its tail. Every group is durable before the next one is written, so
   * only the newest can be torn; older ones that are no group any more are damage, and what lies before them cannot be
   * trusted: entries that void it may be lost.
   *
   * @param span where groups are that count
   * @param sequence groups with lower numbers do not count; 0 when there may be none
   */
  async scan(span: RingSpan, sequence: number): Promise<ScannedRing> {
    const seen = new Map<number, GroupHeader>()
    for (const run of runsOf(span, this.blocks)) {
      const chunk = Buffer.allocUnsafe(Math.min(READ, run.blocks * BLOCK))
      const end = run.from + run.blocks
      for (let from = run.from; from < end; from += chunk.length / BLOCK) {
        const count = Math.min(chunk.length / BLOCK, end - from)
        await this.disk.read(this.place.segment, this.byteOf(from), [chunk.subarray(0, count * BLOCK)])
        for (let i = 0; i < count; i++) {
          const header = headerAt(chunk.subarray(i * BLOCK, (i + 1) * BLOCK), this.identity, from + i, this.blocks)
          if (header && header.sequence >= sequence) seen.set(header.at, header)
        }
      }
    }
    for (const newest of [...seen.values()].sort((a, b) => b.sequence - a.sequence)) {
      if (!(await this.read(newest))) continue
      const groups = [newest]
      for (let oldest = newest; oldest.sequence > newest.tail;) {
        const before = seen.get(oldest.before)
        if (before?.sequence !== oldest.sequence - 1 || !(await this.read(before))) return { groups, damaged: true }
        groups.unshift(before)
        oldest = before
      }
      return { groups, damaged: false }
    }
    return { groups: [], damaged: sequence > 0 }
  }

  /** The bytes of a group, or undefined when they are not what was written. */
  async read(header: GroupHeader): Promise<Uint8Array | undefined> {
    const bytes = Buffer.allocUnsafe(header.blocks * BLOCK)
    await this.disk.read(this.place.segment, this.byteOf(header.at), [bytes])
    return isGroup(bytes) ? bytes : undefined
  }

  /** The entries of groups, oldest first, without what later ones void. */
  async *entries(groups: readonly GroupHeader[]): AsyncGenerator<Replayable> {
    const voids: { key: LogKey; range: AddressRange; order: number }[] = []
    let order = 0
    for await (const { key, voids: range } of this.decoded(groups)) {
      if (range) voids.push({ key, range, order })
      order++
    }
    order = 0
    for await (const { key, slice, pieces } of this.decoded(groups)) {
      const later = voids.filter(other => other.order > order && sameStore(other.key, key)).map(({ range }) => range)
      const left = withoutVoided(pieces, later)
      if (left.length > 0) yield { ...key, slice, pieces: left }
      order++
    }
  }

  private async *decoded(groups: readonly GroupHeader[]): AsyncGenerator<GroupEntry> {
    for (const header of groups) {
      const bytes = await this.read(header)
      if (bytes) yield* decodeEntries(bytes, header)
    }
  }
}

const sameStore = (a: LogKey, b: LogKey): boolean => a.lun === b.lun && a.store === b.store && a.generation === b.generation
