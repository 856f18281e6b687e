import { isCode, LunarError } from '../base/errors.ts'
import { alignDown, alignUp } from '../base/units.ts'
import type { BlockDevice, Extent } from '../block/device.ts'
import { checkRange } from '../block/range.ts'
import type { LockMode, Release } from '../block/range-lock.ts'
import { fullPolicies } from '../../metadata/records.ts'
import type { Wod } from '../wod/wods.ts'
import { ChunkLocks } from './chunk-locks.ts'
import { Chunking, type ChunkRun } from './chunks.ts'
import { WodFrozen, type FrozenParts } from './wod-frozen.ts'

/** Blocks remembered as preserved; correctness never depends on it. */
const KNOWN_MAX = 1_000_000

/** Reads what a source holds now, without doing what an update of it has still to do. */
export type ReadSource = (offset: number, into: Uint8Array) => Promise<void>

/** A source that is copied from. */
export interface CopySource {
  readonly read: ReadSource
  /** What a hole is reads as zeros, and need not be read. */
  readonly extents: (offset: number, length: number) => Promise<Extent[]>
}

/**
 * An image that needs nothing but a write-once device (Symantec; features.md E3). Before a block of the source is written it is
 * copied; whoever comes second is told that it is there already, which is as good. So writers need no lock on it, but while its source is updated.
 */
export class WodImage {
  /** Readers that have it open. */
  readonly users: string[] = []
  private readonly known = new Set<number>()
  /** On blocks of the source that are copied back, or written meanwhile. */
  readonly locks = new ChunkLocks()
  /** What a source update has still to do. */
  readonly frozen: WodFrozen

  constructor(
    readonly wod: Wod,
    parts: FrozenParts,
  ) {
    this.frozen = new WodFrozen(wod, parts)
  }

  get number(): number {
    return this.wod.record.relationship
  }
  get label(): string {
    return `DcsSnap${this.number}`
  }
  get isCompleting(): boolean {
    return this.wod.isCompleting
  }
  get isActive(): boolean {
    return this.wod.isEnabled && !this.wod.isInvalid
  }
  get isUpdating(): boolean {
    return this.wod.isUpdating
  }
  /** Whoever writes its source has to lock blocks: also when the update has ended and its last blocks are on their way. */
  get isLocking(): boolean {
    return this.isUpdating || !this.locks.idle
  }
  get chunks(): Chunking {
    return new Chunking(this.wod.blockBytes, this.size)
  }
  /** Bytes: the source at the instant. */
  get size(): number {
    return this.wod.record.imageSize
  }
  get dropsWhenFull(): boolean {
    return fullPolicies[this.wod.record.onFull] === 'drop'
  }

  /** Bytes that a source update still has to do, in order. */
  async *frozenRanges(): AsyncGenerator<{ readonly offset: number; readonly length: number }> {
    const { chunks } = this
    for await (const block of this.frozen.blocks(0, chunks.count))
      yield { offset: chunks.offsetOf(block), length: chunks.endOf(block) - chunks.offsetOf(block) }
  }

  /** Locks a run of blocks; a promise only when it must wait. */
  lock(run: ChunkRun, mode: LockMode): Release | Promise<Release> {
    const granted = this.locks.lock(run, mode)
    const trimming = (release: Release) => (): void => {
      release()
      if (this.locks.idle) this.frozen.trim()
    }
    return granted instanceof Promise ? granted.then(trimming) : trimming(granted)
  }

  /** A new instant: nothing is preserved. */
  forget(): void {
    this.known.clear()
  }

  /** The whole blocks of the image that a range touches. */
  widen(offset: number, end: number): { readonly from: number; readonly to: number } {
    const block = this.wod.blockBytes
    return { from: Math.min(offset, alignDown(offset, block)), to: Math.max(end, Math.min(alignUp(end, block), this.size)) }
  }

  /** Copies the blocks of a range that are not copied yet, before the source is written there. Durable when it resolves. */
  async preserve(offset: number, length: number, source: CopySource): Promise<void> {
    const block = this.wod.blockBytes
    const to = Math.min(alignUp(offset + length, block), this.size)
    for (let at = alignDown(offset, block); at < to;) {
      if (this.known.has(at / block)) {
        at += block
        continue
      }
      let end = at + block
      while (end < to && !this.known.has(end / block)) end += block
      await this.copy(at, end - at, source)
      at = end
    }
  }

  /** Copies whole blocks, those that are holes in the source without a copy; that one is written already is as good. */
  async copy(offset: number, length: number, source: CopySource): Promise<void> {
    const device = await this.wod.device()
    let at = offset
    const put = async (to: number, hole: boolean): Promise<void> => {
      if (to <= at) return
      const from = at
      at = to
      const bytes = new Uint8Array(hole ? 0 : to - from)
      if (!hole) await source.read(from, bytes)
      try {
        await (hole ? device.zero(from, to - from) : device.write(from, bytes))
      } catch (error) {
        if (!isCode(error, 'ERR_ALREADY_WRITTEN')) throw error
      }
    }
    for (const extent of await source.extents(offset, length)) {
      if (extent.kind !== 'hole') continue
      await put(alignUp(extent.offset, this.wod.blockBytes), false)
      await put(alignDown(extent.offset + extent.length, this.wod.blockBytes), true)
    }
    await put(offset + length, false)
    if (this.known.size > KNOWN_MAX) this.known.clear()
    for (let block = offset; block < offset + length; block += this.wod.blockBytes) this.known.add(block / this.wod.blockBytes)
  }

  /**
   * Reads the source first and the device second: whatever a writer changes after the first is on the device before the second. The other
   * way round a block may be preserved and overwritten in between.
   */
  async read(offset: number, into: Uint8Array, source: ReadSource | undefined): Promise<void> {
    const block = this.wod.blockBytes
    const from = alignDown(offset, block)
    const bytes = new Uint8Array(alignUp(offset + into.length, block) - from)
    await readImage(from, bytes, source, await this.wod.device())
    into.set(bytes.subarray(offset - from, offset - from + into.length))
  }
}

/** The order of the two reads, alone. Without a source every block must be on the device. */
export async function readImage(
  offset: number,
  into: Uint8Array,
  source: ReadSource | undefined,
  device: { overlay(offset: number, into: Uint8Array): Promise<void>; read(offset: number, into: Uint8Array): Promise<void> },
): Promise<void> {
  if (!source) return device.read(offset, into)
  await source(offset, into)
  await device.overlay(offset, into)
}

/** The image as hosts see it: read only. */
export class WodVolume implements BlockDevice {
  readonly blockSize = 512
  private open = true

  constructor(
    private readonly image: WodImage,
    private readonly source: ReadSource | undefined,
    /** Whom it is open for, as messages name them. */
    private readonly user: string,
  ) {
    image.users.push(user)
  }

  get size(): number {
    return this.image.size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.checkOpen()
    checkRange(`image "${this.image.wod.name}"`, this.size, this.blockSize, offset, into.length)
    const piece = Math.max(1024 * 1024, this.image.wod.blockBytes)
    for (let at = 0; at < into.length;) {
      const length = Math.min(into.length - at, piece - ((offset + at) % piece))
      await this.image.read(offset + at, into.subarray(at, at + length), this.source)
      at += length
    }
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      await this.read(at, part)
      at += part.length
    }
  }

  write(): Promise<void> {
    return this.refuse()
  }
  writev(): Promise<void> {
    return this.refuse()
  }
  trim(): Promise<void> {
    return this.refuse()
  }
  zero(): Promise<void> {
    return this.refuse()
  }
  flush(): Promise<void> {
    return Promise.resolve()
  }

  /** What is a hole in the source is not told: the device may hold other bytes there. */
  extents(offset: number, length: number): Promise<Extent[]> {
    checkRange(`image "${this.image.wod.name}"`, this.size, this.blockSize, offset, length)
    return Promise.resolve(length === 0 ? [] : [{ offset, length, kind: 'data' }])
  }

  close(): Promise<void> {
    if (this.open) this.image.users.splice(this.image.users.indexOf(this.user), 1)
    this.open = false
    return Promise.resolve()
  }

  private checkOpen(): void {
    if (!this.open) throw new LunarError('ERR_BUG', `Invariant broken: image "${this.image.wod.name}" is used after it was closed`)
  }

  private refuse(): Promise<never> {
    return Promise.reject(readOnlyImage(this.image.wod))
  }
}

export const readOnlyImage = (wod: Wod): LunarError =>
  new LunarError('ERR_READ_ONLY', `Cannot write to "${wod.name}"`, {
    why: 'it is an image on a write-once device, which nobody but its source writes',
    fix: 'lunar lun export copies it',
  })
