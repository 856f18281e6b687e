import { invariant } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { SEGMENTS_PER_RECORD, segmentStates, SEGMENTS_VALUE } from '../../metadata/records.ts'

export type SegmentState = keyof typeof segmentStates

/**
 * The states of one disk's segments, 2 bits each, as the journal knows them, and which clean ones are about to be bound.
 *
 * `set` changes the map and puts the change in a batch, bit by bit, so that batches may be written in any order.
 */
export class SegmentMap {
  private readonly bits: Uint8Array
  private readonly counts = [0, 0, 0, 0]
  private readonly takenSegments = new Set<number>()
  /** Taken ones that bytes are written to ahead of their binding: recorded as freed, and nobody cleans them. */
  private readonly filling = new Set<number>()
  private readonly settling: (() => void)[] = []
  private cursor = 0

  constructor(
    readonly disk: number,
    readonly total: number,
  ) {
    this.bits = new Uint8Array(Math.ceil(total / SEGMENTS_PER_RECORD) * SEGMENTS_VALUE)
    this.counts[segmentStates.clean] = total
  }

  static async load(disk: number, total: number, metadata: Metadata): Promise<SegmentMap> {
    const map = new SegmentMap(disk, total)
    const { hi } = keyOf('segments', disk)
    for await (const { lo, value } of metadata.range(hi)) map.bits.set(value.subarray(0, SEGMENTS_VALUE), lo * SEGMENTS_VALUE)
    map.counts.fill(0)
    for (let segment = 0; segment < total; segment++) map.counts[map.stateNumber(segment)]!++
    return map
  }

  state(segment: number): SegmentState {
    return (['clean', 'used', 'freed', 'metadata'] as const)[this.stateNumber(segment)]!
  }

  count(state: SegmentState): number {
    return this.counts[segmentStates[state]]!
  }

  /** Clean segments that nobody is about to bind. */
  get available(): number {
    return this.counts[segmentStates.clean]! - this.takenSegments.size
  }

  /** Segments that are or will be free: clean ones and freed ones. */
  get free(): number {
    return this.available + this.freed
  }

  /** Segments that are to be cleaned. */
  get freed(): number {
    return this.counts[segmentStates.freed]! - this.filling.size
  }

  /** Resolves when nobody is about to bind a segment. */
  settled(): Promise<void> {
    if (this.takenSegments.size + this.filling.size === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.settling.push(resolve)
    })
  }

  /** Takes a clean segment for a binding that is being prepared. @returns undefined when there is none */
  take(): number | undefined {
    for (let tried = 0; tried < this.total; tried++) {
      const segment = this.cursor
      this.cursor = (this.cursor + 1) % this.total
      if (this.stateNumber(segment) === segmentStates.clean && !this.takenSegments.has(segment)) {
        this.takenSegments.add(segment)
        return segment
      }
    }
    return undefined
  }

  /** Takes a run of `length` neighbouring clean segments. @returns the first, or undefined when there is no such run */
  takeRun(length: number): number | undefined {
    let run = 0
    for (let segment = 0; segment < this.total; segment++) {
      run = this.stateNumber(segment) === segmentStates.clean && !this.takenSegments.has(segment) ? run + 1 : 0
      if (run === length) {
        const first = segment - length + 1
        for (let i = first; i <= segment; i++) this.takenSegments.add(i)
        return first
      }
    }
    return undefined
  }

  /** Gives a taken segment back unbound, or says that its binding is in the journal. */
  untake(segment: number): void {
    this.takenSegments.delete(segment)
    this.filling.delete(segment)
    if (this.takenSegments.size + this.filling.size === 0) for (const resolve of this.settling.splice(0)) resolve()
  }

  /** A taken segment may hold bytes once the batch is durable: whoever finds it unbound after a crash cleans it. It stays taken. */
  fillAhead(segment: number, batch: Batch): void {
    this.filling.add(segment)
    this.record(segment, 'freed', batch)
    this.recount(segment, 'freed')
    this.takenSegments.delete(segment)
  }

  set(segment: number, state: SegmentState, batch: Batch): void {
    this.record(segment, state, batch)
    this.become(segment, state)
  }

  /** Puts a change into a batch only: for what may not be relied on before the batch is durable. */
  record(segment: number, state: SegmentState, batch: Batch): void {
    invariant(segment < this.total, `segment ${segment} of ${this.total}`)
    const byte = segment >> 2
    const shift = (segment & 3) * 2
    batch.merge(
      keyOf('segments', this.disk, Math.floor(byte / SEGMENTS_VALUE)),
      byte % SEGMENTS_VALUE,
      3 << shift,
      segmentStates[state] << shift,
      SEGMENTS_VALUE,
    )
  }

  /** The change is known from now on. */
  become(segment: number, state: SegmentState): void {
    this.recount(segment, state)
    this.untake(segment)
  }

  private recount(segment: number, state: SegmentState): void {
    const byte = segment >> 2
    const shift = (segment & 3) * 2
    this.counts[this.stateNumber(segment)]!--
    this.counts[segmentStates[state]]!++
    this.bits[byte] = (this.bits[byte]! & ~(3 << shift)) | (segmentStates[state] << shift)
  }

  /** Puts every segment into one state, as whole records. */
  fill(state: SegmentState, batch: Batch): void {
    const code = segmentStates[state]
    this.counts.fill(0)
    this.counts[code] = this.total
    this.bits.fill(code | (code << 2) | (code << 4) | (code << 6))
    for (let record = 0; record * SEGMENTS_VALUE < this.bits.length; record++) {
      batch.put(keyOf('segments', this.disk, record), this.bits.slice(record * SEGMENTS_VALUE, (record + 1) * SEGMENTS_VALUE))
    }
  }

  /** Clean segments that nobody took may hold bytes after all: they become freed ones. */
  *freeClean(): Generator<Batch> {
    for (let from = 0; from < this.total; from += SEGMENTS_PER_RECORD) {
      const batch = new Batch()
      for (let segment = from; segment < Math.min(this.total, from + SEGMENTS_PER_RECORD); segment++) {
        if (this.stateNumber(segment) === segmentStates.clean && !this.takenSegments.has(segment)) this.set(segment, 'freed', batch)
      }
      if (!batch.isEmpty) yield batch
    }
  }

  /** The next segments in a state, from `from` on, at most `most`; without freed ones that are taken. */
  find(state: SegmentState, from: number, most: number): number[] {
    const found: number[] = []
    for (let segment = from; segment < this.total && found.length < most; segment++) {
      if (this.stateNumber(segment) === segmentStates[state] && !this.filling.has(segment)) found.push(segment)
    }
    return found
  }

  private stateNumber(segment: number): number {
    return (this.bits[segment >> 2]! >> ((segment & 3) * 2)) & 3
  }
}
