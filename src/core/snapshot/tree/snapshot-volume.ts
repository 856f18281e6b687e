import type { Clock } from '../../base/clock.ts'
import { isZero } from '../../base/zeros.ts'
import { settle } from '../../base/settle.ts'
import type { BlockDevice, Extent } from '../../block/device.ts'
import { Quiesce } from '../../block/quiesce.ts'
import { checkRange, inPieces } from '../../block/range.ts'
import type { Release } from '../../block/range-lock.ts'
import { Batch } from '../../../metadata/batch.ts'
import type { Metadata } from '../../../metadata/metadata.ts'
import { ChunkLocks } from '../chunk-locks.ts'
import { Chunking, runsOf, type ChunkRun } from '../chunks.ts'
import { presentExtents, readPresent } from './present.ts'
import type { CopiedBack } from './restore-process.ts'
import { settleRestored } from './settle-restored.ts'
import type { Snapshot } from './snapshot.ts'
import type { SlotBytes } from './slot-store.ts'
import { TreeCopies, type Preservation, type Tree } from './tree.ts'
import { NONE, type MapEntry } from './tree-map.ts'

/** A request is cut at this. Bytes. */
const PIECE = 4 * 1024 * 1024

/** What others read through to. */
export interface ThroughVolume {
  /** What it holds itself; the chunks read are locked in its tree by the caller. */
  readThrough(offset: number, into: Uint8Array): Promise<void>
  /** Where that lies. */
  extentsThrough(offset: number, length: number): Promise<Extent[]>
}

/** What snapshots are made of: a LUN with its relationships, or a writable snapshot. */
export interface SourceVolume extends ThroughVolume {
  readonly size: number
  readonly quiesce: Quiesce
  /** The tree of its snapshots. */
  tree: Tree | undefined
  /** `readThrough` for a snapshot of this epoch: what an update that began before that has still to do is read where it is copied from. */
  readAt(epoch: number, offset: number, into: Uint8Array): Promise<void>
  /** Where that lies. */
  extentsAt(epoch: number, offset: number, length: number): Promise<Extent[]>
  /** What is still to be copied back of a range to a source that is being restored; of all of it, also what only the snapshot has not changed. */
  settleRestored(run: ChunkRun, all?: boolean): Promise<number>
  flush(): Promise<void>
}

/** A part of a range that lies in one place. */
interface Part {
  readonly offset: number
  readonly length: number
  /** Bytes into the store, or one of the two below. */
  readonly at: number
}
const ZEROS = -1
const SOURCE = -2

/**
 * A snapshot as hosts see it: what was written to it, else the first preserved chunk from its epoch on, else its source,
 * read under a shared lock on the chunk that an overwrite of the source waits for.
 */
export class SnapshotVolume implements BlockDevice, SourceVolume, CopiedBack {
  readonly blockSize = 512
  readonly quiesce = new Quiesce()
  tree: Tree | undefined
  lastUsedMs = -Infinity
  /** What was written to it, as copying back to it writes. */
  readonly below = {
    write: (offset: number, data: Uint8Array): Promise<void> => this.put(offset, data),
    zero: (offset: number, length: number): Promise<void> => this.put(offset, new Uint8Array(length)),
    flush: (): Promise<void> => this.flush(),
  }
  private readonly locks = new ChunkLocks()
  private readonly chunks: Chunking

  constructor(
    readonly snapshot: Snapshot,
    private readonly source: SourceVolume,
    private readonly metadata: Metadata,
    private readonly clock: Clock,
  ) {
    this.chunks = new Chunking(snapshot.tree.chunkBytes, snapshot.record.size)
  }

  get size(): number {
    return this.snapshot.record.size
  }

  private get what(): string {
    return `snapshot "${this.snapshot.name}"`
  }

  private get era(): number {
    return this.snapshot.record.leafEra
  }

  // ---- reading

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.what, this.size, this.blockSize, offset, into.length)
    this.lastUsedMs = this.clock.monotonicMs()
    await inPieces(offset, into.length, PIECE, (at, length) => readPresent(this, at, into.subarray(at - offset, at - offset + length)))
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      await this.read(at, part)
      at += part.length
    }
  }

  /** No update writes it. */
  readAt(_epoch: number, offset: number, into: Uint8Array): Promise<void> {
    return this.readThrough(offset, into)
  }

  extentsAt(_epoch: number, offset: number, length: number): Promise<Extent[]> {
    return this.extentsThrough(offset, length)
  }

  async readThrough(offset: number, into: Uint8Array): Promise<void> {
    const { store } = this.snapshot.tree
    for (let moves = -1; moves !== store.moves;) {
      moves = store.moves
      await this.readOnce(offset, into)
      // Where a chunk was when it was looked up another one may be by now.
    }
  }

  private async readOnce(offset: number, into: Uint8Array): Promise<void> {
    await this.resolved(offset, into.length, async parts => {
      await settle(
        parts.map(part => {
          const bytes = into.subarray(part.offset - offset, part.offset - offset + part.length)
          if (part.at === SOURCE) return this.source.readAt(this.snapshot.record.epoch, part.offset, bytes)
          if (part.at !== ZEROS) return this.snapshot.tree.store.read(part.at, bytes)
          bytes.fill(0)
          return Promise.resolve()
        }),
      )
    })
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    return presentExtents(this, offset, length)
  }

  async extentsThrough(offset: number, length: number): Promise<Extent[]> {
    checkRange(this.what, this.size, this.blockSize, offset, length)
    const extents: Extent[] = []
    await inPieces(offset, length, PIECE, (from, size) =>
      this.resolved(from, size, async parts => {
        for (const part of parts) {
          if (part.at === SOURCE) extents.push(...(await this.source.extentsAt(this.snapshot.record.epoch, part.offset, part.length)))
          else extents.push({ offset: part.offset, length: part.length, kind: part.at === ZEROS ? 'hole' : 'data' })
        }
      }),
    )
    return extents
  }

  /** Finds where the parts of a range lie, and uses them there. What lies in the source is locked meanwhile. */
  private async resolved<T>(offset: number, length: number, use: (parts: Part[]) => Promise<T>): Promise<T> {
    this.snapshot.checkKept('read')
    const run = this.chunks.touched(offset, length)
    const used = async (parts: Part[]): Promise<T> => {
      const result = await use(parts)
      // What it reads may have been given to others meanwhile.
      this.snapshot.checkKept('read')
      return result
    }
    const parts = await this.partsOf(run, offset, length)
    const { tree, record } = this.snapshot
    // What lies where the source is restored from may change there once it is copied.
    const restored = tree.restoring !== undefined && record.epoch > tree.restoring.at
    if (!restored && !parts.some(({ at }) => at === SOURCE)) return used(parts)
    const release = await this.snapshot.tree.lock(run, 'shared')
    try {
      this.snapshot.checkKept('read')
      return await used(await this.partsOf(run, offset, length))
    } finally {
      release()
    }
  }

  private async load(run: ChunkRun): Promise<void> {
    for (;;) {
      const loading = this.snapshot.load(run) ?? this.snapshot.tree.restoring?.load(run)
      if (!loading) return
      await loading
    }
  }

  private async partsOf(run: ChunkRun, offset: number, length: number): Promise<Part[]> {
    await this.load(run)
    const { bytes } = this.chunks
    const parts: Part[] = []
    for (let chunk = run.from; chunk < run.to; chunk++) {
      const from = Math.max(offset, chunk * bytes)
      const size = Math.min(offset + length, (chunk + 1) * bytes) - from
      const place = this.placeOf(chunk)
      const at = place < 0 ? place : place + (from - chunk * bytes)
      const last = parts.at(-1)
      if (last && (at < 0 ? last.at === at : last.at >= 0 && last.at + last.length === at)) parts[parts.length - 1] = { ...last, length: last.length + size }
      else parts.push({ offset: from, length: size, at })
    }
    return parts
  }

  /** Byte of the store that a chunk begins at, `ZEROS` or `SOURCE`. Pages are loaded. */
  private placeOf(chunk: number): number {
    let entry = this.snapshot.entryOf(chunk)
    if (entry === NONE) entry = this.snapshot.tree.presentEntry(chunk, this.snapshot.record.epoch)
    if (entry === NONE) return SOURCE
    return entry === 0 ? ZEROS : (entry - 1) * this.chunks.bytes
  }

  // ---- writing

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.change(offset, data.length, (at, length) => data.subarray(at - offset, at - offset + length))
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, parts.length === 1 ? parts[0]! : Buffer.concat(parts))
  }

  zero(offset: number, length: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(length, PIECE))
    return this.change(offset, length, (_, size) => zeros.subarray(0, size))
  }

  /** A hint, which is not taken: the chunks stay as they are. */
  trim(offset: number, length: number): Promise<void> {
    checkRange(this.what, this.size, this.blockSize, offset, length)
    return Promise.resolve()
  }

  private async change(offset: number, length: number, dataOf: (at: number, length: number) => Uint8Array): Promise<void> {
    checkRange(this.what, this.size, this.blockSize, offset, length)
    this.snapshot.checkWritable()
    this.snapshot.checkKept('write to')
    const waiting = this.quiesce.enter()
    if (waiting) await waiting
    this.lastUsedMs = this.clock.monotonicMs()
    try {
      await inPieces(offset, length, PIECE, (at, size) => this.changePiece(at, dataOf(at, size)))
    } finally {
      this.quiesce.leave()
    }
  }

  private async changePiece(offset: number, data: Uint8Array): Promise<void> {
    // What the source is being restored to is copied there before it changes here, and what this is being restored to comes here.
    const { tree } = this.snapshot
    if (tree.restoring?.snapshot === this.snapshot) await this.source.settleRestored(tree.chunks.touched(offset, data.length), true)
    if (this.tree?.restoring) await this.settleRestored(this.tree.chunks.touched(offset, data.length))
    const release = await this.lockFor(offset, data.length)
    try {
      await this.preserve(offset, data.length)
      await this.put(offset, data)
    } finally {
      release()
    }
  }

  /** Its own snapshots' chunks first, then its own. */
  async lockFor(offset: number, length: number): Promise<Release> {
    const releases: Release[] = []
    if (this.tree?.isActive) releases.push(await this.tree.lock(this.tree.chunks.touched(offset, length), 'exclusive'))
    releases.push(await this.locks.lock(this.chunks.touched(offset, length), 'exclusive'))
    return () => {
      for (const release of releases) release()
    }
  }

  /** Nobody writes chunks of a run while it runs. */
  async whileUnwritten(run: ChunkRun, task: () => Promise<void>): Promise<void> {
    const release = await this.locks.lock(run, 'exclusive')
    try {
      await task()
    } finally {
      release()
    }
  }

  /** What its own snapshots lack of a range is copied for them, durably. */
  private async preserve(offset: number, length: number): Promise<void> {
    await this.preservePlanned(await this.tree?.plan(offset, length))
  }

  private async preservePlanned(planned: Preservation | undefined): Promise<void> {
    for (let plan = planned; plan;) {
      try {
        return await this.keep(plan)
      } catch (error) {
        const relieved = await plan.tree.relieve(plan, error)
        if (!relieved) throw error
        plan = relieved.tree
      }
    }
  }

  async keep(plan: Preservation): Promise<void> {
    const { tree } = plan
    const copies = await TreeCopies.begin([plan], () => Promise.resolve(false))
    if (!copies) return
    try {
      for (const run of plan.runs) {
        const from = tree.chunks.offsetOf(run.from)
        const bytes = new Uint8Array(tree.chunks.lengthOf(run))
        await this.readThrough(from, bytes)
        copies.add([run], { from, bytes })
      }
      await copies.write()
      await copies.flush()
      await copies.commit(this.metadata, false)
    } finally {
      copies.end()
    }
  }

  /** Chunks that have a slot are written in place, others get one with all of their bytes. */
  private async put(offset: number, data: Uint8Array): Promise<void> {
    const run = this.chunks.touched(offset, data.length)
    await this.load(run)
    const { leaf, tree } = this.snapshot
    const pieces = [...runsOf(run, chunk => leaf.first(chunk, this.era) > 0)]
    const { bytes } = this.chunks
    const fresh: { chunk: number; bytes: Uint8Array; zero: boolean }[] = []
    for (const { from, to, value: owned } of pieces) {
      const start = Math.max(offset, from * bytes)
      const end = Math.min(offset + data.length, to * bytes)
      if (owned) await this.overwrite(start, data.subarray(start - offset, end - offset))
      else for (let chunk = from; chunk < to; chunk++) fresh.push(await this.filled(chunk, offset, data))
    }
    if (fresh.length === 0) return
    const taken = await tree.store.take(tree.record.chunkShift, fresh.filter(({ zero }) => !zero).length)
    const written: SlotBytes[] = []
    const entries: MapEntry[] = fresh.map(({ chunk, bytes, zero }) => {
      if (zero) return { chunk, epoch: this.era, entry: 0 }
      const slot = taken[written.length]!
      written.push({ slot, bytes })
      return { chunk, epoch: this.era, entry: slot + 1 }
    })
    try {
      await tree.store.write(written, tree.record.chunkShift)
      await tree.store.flush()
      const batch = new Batch()
      for (const entry of entries) leaf.put(entry, batch)
      tree.store.put(taken, tree.record.chunkShift, true, batch)
      await this.metadata.commit(batch, 'data')
    } catch (error) {
      tree.store.drop(taken, tree.record.chunkShift)
      throw error
    }
    for (const entry of entries) leaf.remember(entry)
  }

  private async overwrite(offset: number, data: Uint8Array): Promise<void> {
    await this.resolved(offset, data.length, parts =>
      settle(parts.map(part => this.snapshot.tree.store.overwrite(part.at, data.subarray(part.offset - offset, part.offset - offset + part.length)))),
    )
  }

  /** All bytes of a chunk after the write, and whether they are all zero. */
  private async filled(chunk: number, offset: number, data: Uint8Array): Promise<{ chunk: number; bytes: Uint8Array; zero: boolean }> {
    const { bytes } = this.chunks
    const start = chunk * bytes
    if (offset <= start && offset + data.length >= start + bytes) {
      const covered = data.subarray(start - offset, start - offset + bytes)
      return { chunk, bytes: covered, zero: isZero(covered) }
    }
    const whole = new Uint8Array(bytes)
    await this.readThrough(start, whole)
    const from = Math.max(offset, start)
    whole.set(data.subarray(from - offset, Math.min(data.length, start + bytes - offset)), from - start)
    return { chunk, bytes: whole, zero: isZero(whole) }
  }

  async changeLocked(
    _offset: number,
    _length: number,
    put: () => Promise<void>,
    _except: undefined,
    kept: { readonly tree: Preservation | undefined },
  ): Promise<void> {
    await this.preservePlanned(kept.tree)
    await put()
  }

  settleRestored(run: ChunkRun, all = false): Promise<number> {
    return settleRestored(this, this.metadata, run, { all })
  }

  flush(): Promise<void> {
    return this.snapshot.tree.store.flush()
  }

  /** The snapshot belongs to its directory; nothing of this layer is to be closed. */
  close(): Promise<void> {
    return Promise.resolve()
  }
}
