import { BLOCK } from '../../metadata/layout.ts'
import {
  decodeWindow,
  encodeWindow,
  ringDistance,
  spanHolds,
  WINDOW_COPIES,
  WINDOWS_LENGTH,
  type ParityWindow,
  type RingSpan,
} from '../../metadata/parity-window.ts'
import type { LogRing } from './parity-log-scan.ts'

/** Blocks that a window has beyond the groups that count, at least. */
const AHEAD_MIN = 16

/**
 * The part of the ring that is read when a log is opened. It is durable before a group is written outside of the one before, so what
 * counts, and what may be half written, always lies in it. The two copies are written in turns: a torn one leaves the other. While one of
 * them is not what was written, by a crash or by damage, nobody knows whether the other is the newest: then the ring is read as a whole.
 */
export class LogWindow {
  private constructor(
    private readonly ring: LogRing,
    private window: ParityWindow,
    /** The copy that is written next. */
    private copy: number,
  ) {}

  /** Writes both copies of the window of an empty ring, durably. */
  static async create(ring: LogRing): Promise<void> {
    const bytes = Buffer.alloc(WINDOWS_LENGTH)
    for (let copy = 0; copy < WINDOW_COPIES; copy++)
      encodeWindow(blockOf(bytes, copy), ring.identity, { generation: copy + 1, sequence: 0, from: 0, blocks: AHEAD_MIN }, copy)
    await ring.disk.writeDurable(ring.place.segment, 0, bytes)
  }

  /** @throws LunarError `ERR_IO` when it cannot be read */
  static async read(ring: LogRing): Promise<LogWindow> {
    const bytes = Buffer.alloc(WINDOWS_LENGTH)
    await ring.disk.read(ring.place.segment, 0, [bytes])
    const [first, second] = [0, 1].map(copy => decodeWindow(blockOf(bytes, copy), ring.identity, copy, ring.blocks))
    if (first && second) {
      const copy = first.generation < second.generation ? 0 : 1
      return new LogWindow(ring, copy === 0 ? second : first, copy)
    }
    const generation = Math.max(first?.generation ?? 0, second?.generation ?? 0)
    return new LogWindow(ring, { generation, sequence: 0, from: 0, blocks: ring.blocks }, first ? 1 : 0)
  }

  get span(): RingSpan {
    return this.window
  }

  /** Groups with lower numbers do not count; 0 when that is not known, or none was written yet. */
  get sequence(): number {
    return this.window.sequence
  }

  /** Whether a group there is found by the next owner. */
  holds(at: number, blocks: number): boolean {
    return spanHolds(this.window, at, blocks, this.ring.blocks)
  }

  /**
   * Lets the window begin with the oldest group that counts, so that it holds a group that is going to be written, and as much again as
   * there is: it is moved seldom, and an owner reads at most twice what counted then. Durable when it resolves.
   *
   * @param oldest the oldest group that counts, if any
   * @throws LunarError `ERR_IO`, `ERR_HOST_LIMIT`: until it has been moved again it holds nothing
   */
  async move(oldest: { readonly at: number; readonly sequence: number } | undefined, at: number, blocks: number): Promise<void> {
    const from = oldest?.at ?? at
    const used = ringDistance(from, at, this.ring.blocks) + blocks
    const ahead = Math.min(Math.max(AHEAD_MIN, used), Math.floor(this.ring.blocks / 4))
    const { generation, sequence } = this.window
    const next = { generation: generation + 1, sequence: oldest?.sequence ?? sequence, from, blocks: Math.min(used + ahead, this.ring.blocks) }
    // Where this fails nobody knows which of the two the disk has.
    this.window = { ...this.window, blocks: 0 }
    const block = Buffer.alloc(BLOCK)
    encodeWindow(block, this.ring.identity, next, this.copy)
    await this.ring.disk.writeDurable(this.ring.place.segment, this.copy * BLOCK, block)
    this.window = next
    this.copy = 1 - this.copy
  }

  /** Whether it is much larger than what a log needs that holds nothing. */
  get isWide(): boolean {
    return this.window.blocks > 2 * AHEAD_MIN
  }
}

const blockOf = (bytes: Uint8Array, copy: number): Uint8Array => bytes.subarray(copy * BLOCK, (copy + 1) * BLOCK)
