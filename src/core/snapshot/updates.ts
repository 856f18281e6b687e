import { LunarError } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { PACE_ADAPTIVE } from '../../metadata/records.ts'
import { alignedBuffers } from '../block/aligned.ts'
import type { ProcessBody, Step } from '../process/runner.ts'
import { runsWhere, type ChunkRun } from './chunks.ts'
import type { Relationship } from './relationship.ts'
import type { Volume } from './volume.ts'

/** Bytes under lock at a time without a pace: while nobody uses the volumes, and while hosts do, who wait for one such run at most. */
const RUN_BYTES_IDLE = 8 * 1024 * 1024
const RUN_BYTES_USED = 256 * 1024
/** Runs under way at a time: one is copied while another is flushed. */
const RUNS = 3
/** With the adaptive pace: this pause while hosts use the volume, which they do for so long after an operation. Milliseconds. */
const BUSY_PAUSE_MS = 20
const IDLE_AFTER_MS = 50

/**
 * Buffers of a copying process, used again. The long ones are page memory: what is written from them passes the host's page
 * cache, where nobody would look for it (aligned.ts).
 */
export class CopyBuffers {
  private readonly free: Uint8Array[] = []

  /** @param lasting for many runs; else every buffer is an allocation of its own */
  constructor(private readonly lasting = true) {}

  /** Lends `use` a buffer of so many bytes, whatever is in it. */
  async lend<T>(length: number, use: (bytes: Uint8Array) => Promise<T>): Promise<T> {
    if (!this.lasting || length < RUN_BYTES_USED || length > RUN_BYTES_IDLE) return use(new Uint8Array(length))
    const buffer = this.free.pop() ?? alignedBuffers(1, RUN_BYTES_IDLE)[0]!
    try {
      return await use(buffer.subarray(0, length))
    } finally {
      this.free.push(buffer)
    }
  }
}

export interface CopyHost {
  readonly metadata: Metadata
  volume(lun: number): Volume
}

/**
 * Does the chunks of a run that an update still has to do (DataCore Figs. 9, 10): locks them, copies, flushes the volume
 * written, and only then commits that they are done. What others preserve of that volume is preserved first.
 * @returns bytes copied
 */
export async function updateRun(host: CopyHost, relationship: Relationship, run: ChunkRun, buffers = new CopyBuffers(false)): Promise<number> {
  const toSource = relationship.update === 'sourceUpdate'
  const source = host.volume(relationship.record.source)
  const image = host.volume(relationship.record.image)
  const target = toSource ? source : image
  const { chunks } = relationship
  const release = await target.lockFor(chunks.offsetOf(run.from), chunks.lengthOf(run))
  try {
    if (relationship.record.frozenEra === 0) return 0
    const { frozen } = relationship
    for (let loading = relationship.load(run); loading; loading = relationship.load(run)) await loading
    const due = runsWhere(run, chunk => frozen.has(chunk))
    let moved = 0
    for (const part of due) {
      const at = chunks.offsetOf(part.from)
      const length = chunks.lengthOf(part)
      moved += length
      // The image owns every chunk that differs; the source may be an image itself.
      const from = toSource ? image.lun : source
      const hole = (await from.extents(at, length)).every(({ kind }) => kind === 'hole')
      if (hole) await target.changeLocked(at, length, () => target.lun.zero(at, length), relationship)
      else
        await buffers.lend(length, async bytes => {
          await (toSource ? image.lun.read(at, bytes) : source.readThrough(at, bytes))
          await target.changeLocked(at, length, () => target.lun.write(at, bytes), relationship)
        })
    }
    if (due.length === 0) return 0
    await target.lun.flush()
    const batch = new Batch()
    frozen.put(due, false, batch)
    await host.metadata.commit(batch, 'data', true)
    frozen.remember(due, false)
    return moved
  } finally {
    release()
  }
}

/** Copies what an image lacks of a run from its source (DataCore Fig. 8). @returns bytes copied */
export async function completeRun(host: CopyHost, relationship: Relationship, run: ChunkRun, buffers = new CopyBuffers(false)): Promise<number> {
  const release = await relationship.lock(run, 'exclusive')
  try {
    if (!relationship.isActive) return 0
    const { migrated, chunks } = relationship
    for (let loading = relationship.load(run); loading; loading = relationship.load(run)) await loading
    const due = runsWhere(run, chunk => !migrated.has(chunk))
    if (due.length === 0) return 0
    const source = host.volume(relationship.record.source)
    const image = host.volume(relationship.record.image)
    let moved = 0
    for (const part of due) {
      const from = chunks.offsetOf(part.from)
      const length = chunks.lengthOf(part)
      const hole = (await source.extents(from, length)).every(({ kind }) => kind === 'hole')
      if (hole) await image.put(relationship, [part], undefined)
      else
        await buffers.lend(length, async bytes => {
          await source.readThrough(from, bytes)
          await image.put(relationship, [part], { from, bytes })
        })
      moved += length
    }
    await image.lun.flush()
    const batch = new Batch()
    migrated.put(due, true, batch)
    await host.metadata.commit(batch, 'data', true)
    migrated.remember(due, true)
    return moved
  } finally {
    release()
  }
}

/** What the two kinds of copying processes share: the next runs by the pace, and when there are none. */
abstract class Copying implements ProcessBody {
  /** Chunks to do when last counted; made less by what is done. */
  private left = 0
  private cursor = 0
  private readonly running: Promise<number>[] = []
  protected readonly buffers = new CopyBuffers(false)

  constructor(
    protected readonly host: CopyHost,
    readonly relationship: Relationship,
    private readonly nowMs: () => number,
    private readonly ended: () => Promise<void>,
  ) {}

  /** Counts what is to be done, for progress. */
  async begin(): Promise<void> {
    this.left = await this.toDo()
  }

  remaining(): number {
    return Math.max(0, this.left)
  }

  protected abstract get delay(): number
  protected abstract toDo(): Promise<number>
  protected abstract next(from: number, most: number): Promise<ChunkRun | undefined>
  protected abstract copy(run: ChunkRun): Promise<number>

  /** The pause before the next step, in milliseconds. */
  pace(): number {
    if (this.delay !== PACE_ADAPTIVE) return this.delay
    return this.inUse ? BUSY_PAUSE_MS : 0
  }

  /** Hosts use one of the volumes now. */
  private get inUse(): boolean {
    const { source, image } = this.relationship.record
    return this.nowMs() - Math.max(this.host.volume(source).lastUsedMs, this.host.volume(image).lastUsedMs) < IDLE_AFTER_MS
  }

  /** Starts the next run, and waits for one when enough are under way. */
  async step(): Promise<Step> {
    const paced = this.pace() > 0
    const most = paced ? 1 : Math.max(1, Math.floor((this.inUse ? RUN_BYTES_USED : RUN_BYTES_IDLE) / this.relationship.chunks.bytes))
    const run = await this.next(this.cursor, most)
    if (run) {
      this.cursor = run.to
      const copying = this.copy(run)
      // Its failure is told by the step that waits for it.
      copying.catch(() => undefined)
      this.running.push(copying)
    }
    let moved = 0
    while (this.running.length > 0 && (!run || paced || this.running.length >= RUNS)) moved += await this.running.shift()!
    this.left -= moved
    if (run) return { moved, finished: false }
    if (this.cursor > 0) {
      // From the beginning again: only when nothing is found there, nothing is left.
      this.cursor = 0
      return { moved, finished: false }
    }
    await this.ended()
    return { moved, finished: true }
  }

  async end(): Promise<void> {
    await Promise.all(this.running.splice(0))
  }
}

/** Forced migration (DataCore Fig. 8). */
export class CompleteImage extends Copying {
  protected get delay(): number {
    return this.relationship.record.completeDelay
  }
  protected async toDo(): Promise<number> {
    const { chunks, migrated } = this.relationship
    return ((chunks.count - (await migrated.count())) / Math.max(1, chunks.count)) * chunks.size
  }
  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    if (this.relationship.isInvalid)
      throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${this.relationship.label}`, { why: this.relationship.record.reason })
    return this.relationship.migrated.nextClear(from, this.relationship.chunks.count, most)
  }
  protected copy(run: ChunkRun): Promise<number> {
    return completeRun(this.host, this.relationship, run, this.buffers)
  }
}

/** Image update and source update (DataCore Figs. 9, 10). */
export class Update extends Copying {
  protected get delay(): number {
    const { record, update } = this.relationship
    return update === 'sourceUpdate' ? record.sourceDelay : record.imageDelay
  }
  protected async toDo(): Promise<number> {
    const { chunks, frozen } = this.relationship
    return (await frozen.count()) * chunks.bytes
  }
  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    if (this.relationship.isInvalid)
      throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${this.relationship.label}`, { why: this.relationship.record.reason })
    // What is not frozen in between is left alone.
    for await (const run of this.relationship.frozen.runs(from)) return { from: run.from, to: Math.min(this.relationship.chunks.count, run.from + most) }
    return undefined
  }
  protected copy(run: ChunkRun): Promise<number> {
    return updateRun(this.host, this.relationship, run, this.buffers)
  }
}
