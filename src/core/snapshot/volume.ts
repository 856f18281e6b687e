import { invariant, isCode, isDisksFault, isFull, LunarError } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import type { Latencies } from '../base/latency.ts'
import { Slab } from '../base/slab.ts'
import { YIELD_EVERY, type BlockDevice, type Extent, type FastDevice } from '../block/device.ts'
import { WriteBackHold, type ByteBudget } from '../block/hold.ts'
import type { Layered, ShownLayer } from '../block/layers.ts'
import { Quiesce } from '../block/quiesce.ts'
import { checkRange, inPieces, isInside } from '../block/range.ts'
import { inLanes } from '../base/lanes.ts'
import { done, settle } from '../base/settle.ts'
import { turn } from '../base/turn.ts'
import type { Release } from '../block/range-lock.ts'
import { Batch, BATCH_MAX } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { fullPolicies } from '../../metadata/records.ts'
import type { Lun } from '../lun/lun.ts'
import { SLICE, SLICES } from '../raid/geometry.ts'
import { runsOf, type ChunkRun } from './chunks.ts'
import { withUnknown } from './extents.ts'
import { copiedFrom, updateParts, whileFrozen } from './still-updated.ts'
import { commitGroups, copyRuns, joinMarks, type CopyRun, type Due, type Mark } from './marks.ts'
import { imageMark, sourceMark, type Plan } from './planning.ts'
import { Relationship } from './relationship.ts'
import type { ThroughVolume } from './tree/snapshot-volume.ts'
import { presentExtents, readPresent } from './tree/present.ts'
import { settleRestored } from './tree/settle-restored.ts'
import { TreeCopies, type Preservation, type Tree } from './tree/tree.ts'
import { FirstWrite, Rounds, type Round } from './rounds.ts'
import type { ReadSource, WodImage } from './wod-image.ts'
import { copyBack } from './wod-update.ts'

/** A write up to this size may be acknowledged while what must be durable before it is under way. Bytes. */
const HOLD_WRITE_MAX = 256 * 1024

/** A write is cut at this, so that what it preserves fits into memory. Bytes. */
const PIECE = 4 * 1024 * 1024

/** Writes that are acknowledged already wait so long for others to share their round, unless somebody waits for them. Milliseconds. */
const LINGER_MS = 10

/** Copies of one round under way at a time; those up to this size take turns in buffers that stay. Bytes. */
const COPIES = 16
const SCRATCH = 64 * 1024

/** What first writes cost: how long each round took to be copied, flushed and committed, its writes, and the bytes that were copied. */
export interface FirstWriteCounts {
  readonly times: Latencies
  writes: number
  bytes: number
}

/** What has locks on chunks of a volume. */
type Layer = Relationship | Tree

/** What a volume needs of those it is in relationships with. */
export interface VolumeHost {
  readonly firstWrites: FirstWriteCounts
  readonly metadata: Metadata
  /** Nothing may be written. */
  readonly readOnly: boolean
  /** Bytes of writes that are acknowledged ahead, and of what they preserve, of all volumes. */
  readonly budget: ByteBudget
  volume(lun: number): Volume
  /** What an image reads where it does not own a chunk. */
  through(image: Relationship): ThroughVolume
  /** The image cannot be kept: durable when it resolves. */
  invalidate(relationship: Relationship, error: unknown): Promise<void>
  /** Clears what an image's LUN holds behind the instant. */
  clear(image: Relationship): Promise<void>
  /** Does what an update still has to do of a run, whose chunks are not locked. @param broken as `updateRun` has it */
  settle(relationship: Relationship, run: ChunkRun, broken?: (error: unknown) => Promise<void>): Promise<void>
}

/**
 * A LUN as hosts and processes see it: with its relationships, copy on first write, and reads through to a source
 * (engine.md section 2; DataCore Fig. 7). Without relationships every call goes straight down.
 */
export class Volume implements BlockDevice, FastDevice, Layered {
  readonly quiesce = new Quiesce()
  private readonly hold: WriteBackHold
  private readonly rounds: Rounds
  /** Held bytes. */
  private readonly copies = new Slab()
  /** Short old bytes between their reading and their writing. */
  private readonly scratch: Uint8Array[] = []
  /** The same of what is copied at once. */
  private short: Uint8Array = new Uint8Array(0)
  /** The relationship whose image this is. */
  asImage: Relationship | undefined
  /** The relationships whose source this is, in order of number. */
  asSource: Relationship[] = []
  /** Images of this source on write-once devices. */
  private wodImages: readonly WodImage[] = []
  private wodImageFailed: (image: WodImage, error: unknown) => Promise<void> = (_, error) => Promise.reject(error as Error)
  /** The tree of its snapshots. */
  tree: Tree | undefined
  /** When a host last used it: for a pace that follows the load. Monotonic milliseconds. */
  lastUsedMs = -Infinity

  constructor(
    readonly lun: Lun,
    private readonly host: VolumeHost,
    private readonly clock: Clock,
  ) {
    this.hold = new WriteBackHold(host.budget)
    this.rounds = new Rounds({
      prepare: (writes, copied) => this.prepare(writes, true, copied),
      linger: () => this.clock.pause(LINGER_MS),
      putNow: (offset, data) => this.below.tryWrite(offset, data),
      put: (offset, data) => this.below.write(offset, data),
      alone: async ({ offset, data }) => this.perform(await this.plan(offset, data.length), offset, data.length, () => this.below.write(offset, data), true),
    })
  }

  get size(): number {
    return this.lun.size
  }
  get blockSize(): number {
    return this.lun.blockSize
  }
  get name(): string {
    return this.lun.name
  }
  get shown(): ShownLayer | undefined {
    return this.isPlain ? undefined : { layer: 'snapshot', about: `copy on first write: ${this.roles.join(', ')}` }
  }
  get below(): BlockDevice & FastDevice {
    return this.lun.cache ?? this.lun
  }

  /** What makes it more than the LUN below. */
  private get roles(): string[] {
    const sources = this.asSource.length + this.wodImages.length
    return [
      ...(sources > 0 ? [`source of ${sources} ${sources === 1 ? 'relationship' : 'relationships'}`] : []),
      ...(this.asImage ? [this.asImage.isClone ? 'clone, being copied' : `image of ${this.asImage.label}`] : []),
      ...(this.tree?.isActive ? [this.tree.restoring ? 'snapshots, being restored to one' : 'snapshots'] : []),
    ]
  }

  /** The relationship that this image reads through, when it does now. */
  private get through(): Relationship | undefined {
    return this.asImage?.isEnabled ? this.asImage : undefined
  }

  private get isPlain(): boolean {
    return this.hasNoRelationships && !this.tree?.isInUse
  }

  private get hasNoRelationships(): boolean {
    return this.asSource.length === 0 && this.asImage === undefined && this.wodImages.length === 0
  }

  /** @param failed is told when an image cannot be kept: it rejects when the write has to fail for it */
  setWodImages(images: readonly WodImage[], failed: (image: WodImage, error: unknown) => Promise<void>): void {
    this.wodImages = images
    this.wodImageFailed = failed
  }

  /** An update has still to do something of it as a source. */
  private get isUpdated(): boolean {
    return this.asSource.some(({ record }) => record.frozenEra !== 0) || this.wodImages.some(({ isUpdating }) => isUpdating)
  }

  /** All of them, in the order in which chunks are locked. */
  private get relationships(): Relationship[] {
    return this.asImage ? [...this.asSource, this.asImage] : this.asSource
  }

  /** Whatever has locks on chunks of the volume, in the order in which they are taken. */
  private get layers(): readonly Layer[] {
    if (!this.tree?.isInUse) return this.relationships
    return [...this.asSource, this.tree, ...(this.asImage ? [this.asImage] : [])]
  }

  // ---- at once

  /** What the LUN itself holds, when nothing is acknowledged and not written there yet (`FastDevice`). */
  tryRead(offset: number, into: Uint8Array): boolean {
    if (this.isPlain) return this.below.tryRead(offset, into)
    if (this.asImage || this.tree?.restoring || this.isUpdated || this.hold.touches(offset, into.length) || this.hold.lostIn(offset, into.length)) return false
    this.lastUsedMs = this.clock.monotonicMs()
    return this.below.tryRead(offset, into)
  }

  /** What needs nothing first, and first writes for which all that is due can follow (`FastDevice`). */
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (this.quiesce.isQuiet) return false
    this.lastUsedMs = this.clock.monotonicMs()
    if (this.isPlain || this.isCovered(offset, data.length)) return this.below.tryWrite(offset, data)
    return this.trySmall(offset, data)
  }

  /** What all snapshots have is nobody's but the host's: a bit a chunk says so. */
  private isCovered(offset: number, length: number): boolean {
    return this.hasNoRelationships && this.tree?.covers(offset, length) === true && !this.hold.touches(offset, length)
  }

  // ---- reading

  read(offset: number, into: Uint8Array): Promise<void> {
    if (this.tryRead(offset, into)) return done
    return this.isPlain ? this.below.read(offset, into) : this.readAsHost(offset, into)
  }

  private async readAsHost(offset: number, into: Uint8Array): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, into.length)
    this.lastUsedMs = this.clock.monotonicMs()
    // What is acknowledged and not written yet is waited for.
    const held = this.hold.overlapping(offset, into.length)
    if (held) {
      this.rounds.hurry()
      await held
    }
    const lost = this.hold.lostIn(offset, into.length)
    if (lost) throw lost.error
    if (this.host.readOnly) return this.readAhead(offset, into)
    const { updating } = this
    await this.settle(offset, into.length, relationship => relationship === updating)
    return readPresent(this, offset, into)
  }

  /** The relationship whose update writes this volume, while it has something to do. */
  private get updating(): Relationship | undefined {
    const concerned = (relationship: Relationship): boolean => relationship.update === (relationship === this.asImage ? 'imageUpdate' : 'sourceUpdate')
    return this.relationships.find(relationship => relationship.record.frozenEra !== 0 && concerned(relationship))
  }

  /** Where nothing may be written, what an update has still to copy is read from where it would be copied from. */
  private async readAhead(offset: number, into: Uint8Array): Promise<void> {
    await readPresent(this, offset, into)
    for (const { from, offset: at, length } of await this.frozenIn(offset, into.length)) await from(at, into.subarray(at - offset, at - offset + length))
  }

  async readAt(epoch: number, offset: number, into: Uint8Array): Promise<void> {
    await this.ofEpoch(epoch, offset, into.length, (volume, at, length) => volume.readThrough(at, into.subarray(at - offset, at - offset + length)))
  }

  async extentsAt(epoch: number, offset: number, length: number): Promise<Extent[]> {
    return (await this.ofEpoch(epoch, offset, length, (volume, at, size) => volume.extentsThrough(at, size))).flat()
  }

  /** Uses the parts of a range where a snapshot of an epoch finds them: for one that was taken during an update what that has still to do lies where it is copied from. */
  private async ofEpoch<T>(
    epoch: number,
    offset: number,
    length: number,
    use: (volume: ThroughVolume, offset: number, length: number) => Promise<T>,
  ): Promise<T[]> {
    for (;;) {
      const { updating } = this
      const updatedAt = updating && this.tree?.updatedAt(updating)
      if (!updating || updatedAt === undefined || epoch <= updatedAt) return [await use(this, offset, length)]
      const from = copiedFrom(updating, this.host)
      const used = await whileFrozen(updating, offset, length, parts => settle(parts.map(part => use(part.frozen ? from : this, part.offset, part.length))))
      if (used) return used
    }
  }

  /** What updates have still to do of a range of this volume, and what reads it where it is copied from. */
  private async frozenIn(offset: number, length: number): Promise<{ readonly from: ReadSource; readonly offset: number; readonly length: number }[]> {
    const found: { from: ReadSource; offset: number; length: number }[] = []
    const { updating } = this
    if (updating) {
      const source = copiedFrom(updating, this.host)
      const from: ReadSource = (at, bytes) => source.readThrough(at, bytes)
      for (const part of await updateParts(updating, offset, length)) if (part.frozen) found.push({ from, offset: part.offset, length: part.length })
    }
    for (const image of this.wodImages) {
      if (!image.isUpdating) continue
      const from: ReadSource = (at, bytes) => image.read(at, bytes, undefined)
      for (const run of await image.frozen.of(image.chunks.touched(offset, length))) {
        const at = Math.max(offset, image.chunks.offsetOf(run.from))
        found.push({ from, offset: at, length: Math.min(offset + length, image.chunks.endOf(run.to - 1)) - at })
      }
    }
    return found
  }

  async readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset
    for (const part of parts) {
      await this.read(at, part)
      at += part.length
    }
  }

  /**
   * Reads what the volume holds without doing what an update or a restore has still to do: what an image that lacks a chunk wants of its
   * source, and what a chunk held before it is written.
   */
  async readThrough(offset: number, into: Uint8Array): Promise<void> {
    const blank = this.blankIn(offset, into)
    if (blank) return this.readThrough(offset, blank)
    const image = this.through
    if (!image || offset >= image.record.size) return this.readKept(offset, into)
    this.checkReadable(image)
    if (offset + into.length > image.record.size) {
      const inside = image.record.size - offset
      await this.readThrough(offset, into.subarray(0, inside))
      return this.readKept(image.record.size, into.subarray(inside))
    }
    const run = image.chunks.touched(offset, into.length)
    for (let loading = image.load(run); loading; loading = image.load(run)) await loading
    // Once it is owned it stays: only what is not needs the lock that an overwrite of the source waits for.
    if (allMigrated(image, run)) return this.below.read(offset, into)
    const release = await image.lock(run, 'shared')
    try {
      await this.readLocked(offset, into)
    } finally {
      release()
    }
  }

  /** Fills what of a range lies behind the instant of an image and is not cleared yet. @returns the rest, when there was any */
  private blankIn(offset: number, into: Uint8Array): Uint8Array | undefined {
    const from = (this.asImage?.blankFrom ?? Infinity) - offset
    if (into.length === 0 || from >= into.length) return undefined
    into.fill(0, Math.max(0, from))
    return into.subarray(0, Math.max(0, from))
  }

  /** As the LUN reads it, also behind its end, which a cache knows nothing of. */
  private readKept(offset: number, into: Uint8Array): Promise<void> {
    const inside = Math.max(0, Math.min(into.length, this.size - offset))
    if (inside === into.length) return this.below.read(offset, into)
    const behind = this.lun.readKept(offset + inside, into.subarray(inside))
    return inside === 0 ? behind : settle([this.below.read(offset, into.subarray(0, inside)), behind]).then(() => undefined)
  }

  /** The same with the chunks of the relationship whose image this is locked by the caller. */
  private async readLocked(offset: number, into: Uint8Array): Promise<void> {
    const blank = this.blankIn(offset, into)
    if (blank) return this.readLocked(offset, blank)
    const image = this.through
    if (!image) return this.readKept(offset, into)
    for await (const part of this.parts(image, offset, into.length)) {
      const bytes = into.subarray(part.offset - offset, part.offset - offset + part.length)
      if (part.owned) await this.readKept(part.offset, bytes)
      else await this.host.through(image).readThrough(part.offset, bytes)
    }
  }

  /** Cuts a range where an image owns it and where it does not. */
  private async *parts(image: Relationship, offset: number, length: number): AsyncGenerator<{ offset: number; length: number; owned: boolean }> {
    const end = offset + length
    const run = image.chunks.touched(offset, length)
    for (let loading = image.load(run); loading; loading = image.load(run)) await loading
    for (const { from, to, value } of [...runsOf(run, chunk => image.migrated.has(chunk))]) {
      const at = Math.max(offset, image.chunks.offsetOf(from))
      yield { offset: at, length: Math.min(end, image.chunks.endOf(to - 1)) - at, owned: value }
    }
    const beyond = Math.max(offset, image.record.size)
    if (end > beyond) yield { offset: beyond, length: end - beyond, owned: true }
  }

  // ---- writing

  write(offset: number, data: Uint8Array): Promise<void> {
    if (this.tryWrite(offset, data)) return done
    return this.inside(() => (this.isPlain ? this.below.write(offset, data) : this.writeAsHost(offset, data)))
  }

  private async writeAsHost(offset: number, data: Uint8Array): Promise<void> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, data.length)
    const clearing = this.clearing(offset + data.length)
    if (clearing) await clearing
    if (this.isCovered(offset, data.length)) return this.below.write(offset, data)
    if (isSmall(offset, data.length)) return this.writeSmall(offset, data)
    await inPieces(offset, data.length, PIECE, (at, length) =>
      this.change(at, length, () => this.below.write(at, data.subarray(at - offset, at - offset + length))),
    )
  }

  /**
   * A write that may be acknowledged before what must be durable first is: everything it may need is taken before
   * (hazard 2), reads of its range wait for it, and so does every flush. What is durable first becomes so by rounds.
   */
  private async writeSmall(offset: number, data: Uint8Array): Promise<void> {
    await this.settle(offset, data.length, relationship => relationship.update !== undefined)
    if (this.tree?.restoring) await this.settleRestored(this.tree.chunks.touched(offset, data.length))
    const covers = this.covers
    const round = this.rounds.covering(covers, offset, data.length)
    if (round) {
      if (this.through) this.checkReadable(this.through)
      return this.inRound(this.joined(round, offset, data))
    }
    const release = await this.lockFor(offset, data.length)
    let given = false
    try {
      const plan = await this.plan(offset, data.length)
      if (!plan.barrier || !(await this.isTaken(plan, offset, data.length)))
        return await this.perform(plan, offset, data.length, () => this.below.write(offset, data), false)
      given = true
      const write = new FirstWrite(offset, data, { marks: plan.before, tree: plan.tree }, plan.preserved, covers, release)
      this.rounds.add(write)
      return this.inRound(write)
    } finally {
      if (!given) release()
    }
  }

  /** Layers for which something may be due before a write, in the order in which chunks are locked. */
  private get covers(): (Relationship | Tree)[] {
    return this.layers.filter(layer => layer.isActive || (layer instanceof Relationship && layer.isRecording))
  }

  private joined(round: Round, offset: number, data: Uint8Array): FirstWrite {
    const write = new FirstWrite(offset, data, { marks: [], tree: undefined }, 0, [], undefined)
    this.rounds.join(write, round)
    return write
  }

  /** The same as `writeSmall` when nothing has to be waited for before the write may be acknowledged. @returns whether it was */
  private trySmall(offset: number, data: Uint8Array): boolean {
    if (!isSmall(offset, data.length) || !isInside(this.size, this.blockSize, offset, data.length)) return false
    // What an update or a restore has still to do comes first; an image on a write-once device takes its copy by itself.
    if (offset + data.length > (this.asImage?.unclearedFrom ?? Infinity)) return false
    if (this.relationships.some(({ record }) => record.frozenEra !== 0) || this.through?.isInvalid || this.tree?.restoring || this.wodImages.length > 0)
      return false
    const { budget } = this.hold
    const covers = this.covers
    const round = this.rounds.covering(covers, offset, data.length)
    if (round) {
      if (!budget.tryAdmit(data.length)) return false
      this.acknowledge(this.joined(round, offset, data), data.length)
      return true
    }
    if (this.load(offset, data.length)) return false
    const release = this.tryLockFor(offset, data.length)
    if (!release) return false
    const plan = this.planNow(offset, data.length)
    if (!plan.barrier) {
      const written = this.below.tryWrite(offset, data)
      release()
      return written
    }
    const bytes = data.length + plan.preserved
    const admitted = budget.tryAdmit(bytes)
    if (!admitted || !this.isTakenNow(plan, offset, data.length)) {
      if (admitted) budget.release(bytes)
      release()
      return false
    }
    const write = new FirstWrite(offset, data, { marks: plan.before, tree: plan.tree }, plan.preserved, covers, release)
    this.rounds.add(write)
    this.acknowledge(write, bytes)
    return true
  }

  /** A write of a round is acknowledged: its bytes are kept here until it has ended. @param bytes that were admitted for it */
  private acknowledge(write: FirstWrite, bytes: number): void {
    write.data = this.copies.copy(write.data)
    this.quiesce.stay()
    const ended = this.hold.begin(write.offset, write.data.length, bytes)
    write.whenEnded(failure => {
      ended(failure)
      this.copies.release(write.data)
      this.quiesce.leave()
    })
  }

  /** Resolves when a write of a round is acknowledged: as soon as the hold has room for it, else when it is written. */
  private inRound(write: FirstWrite): Promise<void> {
    const { budget } = this.hold
    const bytes = write.data.length + write.preserved
    if (budget.tryAdmit(bytes)) {
      this.acknowledge(write, bytes)
      return done
    }
    this.rounds.hurry()
    return new Promise((resolve, reject) => {
      let acknowledged = false
      const withdraw = budget.wait(bytes, () => {
        // What is on its way down already is not worth a copy.
        if (!write.round.open) return budget.release(bytes)
        acknowledged = true
        this.acknowledge(write, bytes)
        resolve()
      })
      write.whenEnded(failure => {
        if (acknowledged) return
        withdraw()
        if (failure) reject(failure.error as Error)
        else resolve()
      })
    })
  }

  /** The same as `isTaken`, as far as that can be said at once. */
  private isTakenNow(plan: Plan, offset: number, length: number): boolean {
    if (!this.host.metadata.isRoomy || plan.after || this.lun.isBound(offset, length) !== true) return false
    for (const { relationship, migrated } of plan.before) {
      if (migrated.length === 0) continue
      const image = this.host.volume(relationship.record.image).lun
      for (const run of migrated) if (image.isBound(relationship.chunks.offsetOf(run.from), relationship.chunks.lengthOf(run)) !== true) return false
    }
    return plan.tree === undefined || plan.tree.tree.takeNow(plan.tree)
  }

  /** Space in this LUN and in the images that get a copy is bound, and there is room to record it: only a device error can stop the write now. */
  private async isTaken(plan: Plan, offset: number, length: number): Promise<boolean> {
    if (this.wodImages.some(({ isActive }) => isActive)) return false
    if (!this.host.metadata.isRoomy || plan.after || !(await this.lun.isBound(offset, length))) return false
    for (const { relationship, migrated } of plan.before) {
      const image = this.host.volume(relationship.record.image).lun
      for (const run of migrated) {
        const at = relationship.chunks.offsetOf(run.from)
        if (await image.isBound(at, relationship.chunks.lengthOf(run))) continue
        const from = Math.floor(at / SLICE)
        const to = Math.ceil((at + relationship.chunks.lengthOf(run)) / SLICE)
        // What lies beside it takes no more segments and is likely to be needed next; in a pool that is nearly full any slice may have to serve for
        // another. Whether it fails is found out on the way that waits, where the policy decides.
        const [first, end] = image.mayBindAhead ? [from - (from % SLICES), Math.min(image.sliceCount, Math.ceil(to / SLICES) * SLICES)] : [from, to]
        await image.bindAll(first, end).catch(() => undefined)
        if (!(await image.isBound(at, relationship.chunks.lengthOf(run)))) return false
      }
    }
    if (plan.tree) await plan.tree.tree.take(plan.tree).catch(() => undefined)
    return plan.tree === undefined || plan.tree.slots.length > 0
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    await this.write(offset, parts.length === 1 ? parts[0]! : Buffer.concat(parts))
  }

  zero(offset: number, length: number): Promise<void> {
    return this.inside(async () => {
      if (this.isPlain) return this.below.zero(offset, length)
      checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
      await this.clearing(offset + length)
      await inPieces(offset, length, PIECE, (at, size) => this.change(at, size, () => this.below.zero(at, size)))
    })
  }

  /** Behind the instant of an image nothing is written before its LUN is cleared. */
  private clearing(end: number): Promise<void> | undefined {
    return this.asImage && end > this.asImage.unclearedFrom ? this.host.clear(this.asImage) : undefined
  }

  /** A hint: what a relationship may still need is left as it is (hazard 22). */
  trim(offset: number, length: number): Promise<void> {
    return this.inside(async () => {
      if (this.isPlain) return this.below.trim(offset, length)
      checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    })
  }

  private async change(offset: number, length: number, put: () => Promise<void>): Promise<void> {
    await this.settle(offset, length, relationship => relationship.update !== undefined)
    if (this.tree?.restoring) await this.settleRestored(this.tree.chunks.touched(offset, length))
    const release = await this.lockFor(offset, length)
    try {
      await this.changeLocked(offset, length, put)
    } finally {
      release()
    }
  }

  /**
   * Changes bytes of the volume with all its chunks locked: preserves first, marks, writes.
   *
   * @param except a relationship that needs nothing of this: an update that makes its volumes equal
   * @param kept what the snapshots of the volume need, when that is not what they need of a write
   */
  async changeLocked(
    offset: number,
    length: number,
    put: () => Promise<void>,
    except?: Relationship | WodImage,
    kept?: { readonly tree: Preservation | undefined },
  ): Promise<void> {
    return this.perform(await this.plan(offset, length, except, kept), offset, length, put, false, except)
  }

  /** What is due before and after a change of a range whose chunks are locked. */
  private async plan(offset: number, length: number, except?: Relationship | WodImage, kept?: { readonly tree: Preservation | undefined }): Promise<Plan> {
    for (let loading = this.load(offset, length); loading; loading = this.load(offset, length)) await loading
    return this.planNow(offset, length, except, kept)
  }

  /** Undefined when the pages of all maps that a plan looks at are in memory; else resolves when more of them are. */
  private load(offset: number, length: number): Promise<void> | undefined {
    for (const layer of this.layers) {
      const run = layer.chunks.touched(offset, length)
      const loading = layer instanceof Relationship ? layer.load(run) : layer.map.load(run)
      if (loading) return loading
    }
    return undefined
  }

  private planNow(offset: number, length: number, except?: Relationship | WodImage, kept?: { readonly tree: Preservation | undefined }): Plan {
    if (this.through) this.checkReadable(this.through)
    const before: Mark[] = []
    let preserved = 0
    for (const relationship of this.asSource) {
      const mark = relationship === except ? undefined : sourceMark(relationship, offset, length)
      if (!mark) continue
      before.push(mark)
      for (const run of mark.migrated) preserved += relationship.chunks.lengthOf(run)
    }
    const tree = kept ? kept.tree : this.tree?.planNow(offset, length)
    if (tree) preserved += tree.chunks * tree.tree.chunkBytes
    // Also while it is disabled: such an image owns every chunk, and what changes differs.
    const image = this.asImage?.isActive || this.asImage?.isRecording ? this.asImage : undefined
    const own = image && image !== except ? imageMark(image, offset, length) : undefined
    if (own && own.before.delta.length > 0) before.push(own.before)
    const after = own && own.mark.migrated.length > 0 ? own.mark : undefined
    return { before, after, tree, preserved, barrier: before.length > 0 || after !== undefined || tree !== undefined }
  }

  /** @param urgent it was acknowledged already: the reserve of the metadata is there for it */
  private async perform(
    { before, after, tree }: Plan,
    offset: number,
    length: number,
    put: () => Promise<void>,
    urgent: boolean,
    except?: Relationship | WodImage,
  ): Promise<void> {
    await this.prepareAlone(before, tree, urgent)
    await this.preserveOnce(offset, length, except)
    if (after) await this.fillEdges(after.relationship, after.migrated, offset, length)
    await put()
    if (!after) return
    await this.below.flush()
    await this.commit([after], urgent)
  }

  /** What is due before one write. Where there is no space for a chunk that snapshots need, the policy of the volume says what goes on. */
  private async prepareAlone(marks: readonly Mark[], planned: Preservation | undefined, urgent: boolean): Promise<void> {
    for (let tree = planned; marks.length > 0 || tree;) {
      try {
        return await this.prepare([{ marks, tree }], urgent)
      } catch (error) {
        const relieved = await tree?.tree.relieve(tree, error)
        if (!relieved) throw error
        tree = relieved.tree
      }
    }
  }

  /** Copies what the images on write-once devices lack, and what the source holds from now on is nothing to copy back; durable when it resolves. */
  private async preserveOnce(offset: number, length: number, except?: Relationship | WodImage): Promise<void> {
    await Promise.all(
      this.wodImages.map(async image => {
        if (!image.isActive || image === except) return
        try {
          await image.preserve(offset, length, { read: (from, into) => this.readLocked(from, into), extents: (from, size) => this.extentsThrough(from, size) })
          if (image.isUpdating) await image.frozen.finish(image.chunks.touched(offset, length))
        } catch (error) {
          await this.wodImageFailed(image, error)
        }
      }),
    )
  }

  /**
   * What is due before some writes, whose chunks are locked: copies of the old bytes for the images that lack them, flushed
   * there, then the bits of all, durable when it resolves.
   *
   * @param copied called when all copies are made and not flushed yet
   */
  private async prepare(writes: readonly Due[], urgent: boolean, copied?: () => void): Promise<void> {
    const begun = this.clock.monotonicMs()
    const tree = await TreeCopies.begin(
      writes.flatMap(due => due.tree ?? []),
      async (offset, length) => !this.through && (await this.lun.isHole(offset, length)),
    )
    try {
      const dropped = await this.preserve(writes, tree, copied)
      const marks = writes.map(due => (dropped.size === 0 ? due.marks : due.marks.filter(({ relationship }) => !dropped.has(relationship))))
      const commits = commitGroups(marks, BATCH_MAX / 2).map(group => this.commit(joinMarks(group), urgent))
      await settle([...commits, ...(tree ? [tree.commit(this.host.metadata, urgent)] : [])])
      const { firstWrites } = this.host
      firstWrites.writes += writes.length
      firstWrites.times.add((this.clock.monotonicMs() - begun) * 1000)
    } finally {
      tree?.end()
    }
  }

  /**
   * Copies the old bytes of chunks to the images that lack them; they are flushed there when it resolves. The bytes are read
   * once, however many images want them. @returns relationships that cannot be kept
   */
  private async preserve(writes: readonly Due[], tree: TreeCopies | undefined, copied?: () => void): Promise<Set<Relationship>> {
    const runs = copyRuns(writes)
    const failed = new Map<Relationship, unknown>()
    const images = new Map<Relationship, Volume>()
    const unlessFailed = async (relationship: Relationship, act: (image: Volume) => Promise<void>): Promise<void> => {
      if (failed.has(relationship)) return
      let image = images.get(relationship)
      if (!image) images.set(relationship, (image = this.host.volume(relationship.record.image)))
      try {
        await act(image)
      } catch (error) {
        if (!failed.has(relationship)) failed.set(relationship, error)
      }
    }
    const others: CopyRun[] = []
    for (const [i, run] of runs.entries()) {
      if (!this.copyNow(run, tree, images)) others.push(run)
      if (i % YIELD_EVERY === YIELD_EVERY - 1) await turn()
    }
    await inLanes(others, COPIES, async ({ from, to, copies }) => {
      const buffer = to - from <= SCRATCH ? (this.scratch.pop() ?? new Uint8Array(SCRATCH)) : new Uint8Array(to - from)
      try {
        const old = await this.oldBytes(from, buffer.subarray(0, to - from))
        for (const { copier, runs: wanted } of copies) {
          if (copier instanceof Relationship) await unlessFailed(copier, image => image.put(copier, wanted, old && { from, bytes: old }))
          else tree?.add(wanted, old && { from, bytes: old })
        }
      } finally {
        if (buffer.length === SCRATCH && this.scratch.length < COPIES) this.scratch.push(buffer)
      }
    })
    await tree?.write()
    copied?.()
    await settle([...(tree ? [tree.flush()] : []), ...[...images.keys()].map(relationship => unlessFailed(relationship, image => image.below.flush()))])
    for (const { from, to } of runs) this.host.firstWrites.bytes += to - from
    for (const [relationship, error] of failed) await this.cannotPreserve(relationship, error)
    return new Set(failed.keys())
  }

  /** Copies a short run when that needs no waiting. @param images gets those that are written @returns whether all of it was; else it is copied anew */
  private copyNow({ from, to, copies }: CopyRun, tree: TreeCopies | undefined, images: Map<Relationship, Volume>): boolean {
    if (this.through || to - from > SCRATCH || to > (this.asImage?.blankFrom ?? Infinity)) return false
    if (this.short.length === 0) this.short = new Uint8Array(SCRATCH)
    const bytes = this.short.subarray(0, to - from)
    if (!this.below.tryRead(from, bytes)) return false
    for (const { copier, runs } of copies) {
      if (!(copier instanceof Relationship)) {
        tree?.add(runs, { from, bytes })
        continue
      }
      let image = images.get(copier)
      if (!image) images.set(copier, (image = this.host.volume(copier.record.image)))
      for (const run of runs) {
        const at = copier.chunks.offsetOf(run.from)
        if (!image.below.tryWrite(at, bytes.subarray(at - from, at - from + copier.chunks.lengthOf(run)))) return false
      }
    }
    return true
  }

  /** Reads what the volume holds of a range, with its chunks locked. @returns undefined when it is known to read as zeros */
  private async oldBytes(offset: number, into: Uint8Array): Promise<Uint8Array | undefined> {
    if (!this.through && (await this.lun.isHole(offset, into.length))) return undefined
    await this.readLocked(offset, into)
    return into
  }

  /** Puts bytes of its source into this image, below its own layer: what it reads does not change. Zeros without `old`. */
  async put(relationship: Relationship, runs: readonly ChunkRun[], old: { readonly from: number; readonly bytes: Uint8Array } | undefined): Promise<void> {
    for (const run of runs) {
      const at = relationship.chunks.offsetOf(run.from)
      const length = relationship.chunks.lengthOf(run)
      if (old) await this.below.write(at, old.bytes.subarray(at - old.from, at - old.from + length))
      else await this.below.zero(at, length)
    }
  }

  /** The image cannot take a copy: the policy says who loses (hazards 2, 23); a broken image never stops its source. */
  private async cannotPreserve(relationship: Relationship, error: unknown): Promise<void> {
    const full = isFull(error)
    const broken = isDisksFault(error) || isCode(error, 'ERR_DATA_LOST')
    const policy = fullPolicies[relationship.record.onFull]
    if (broken || (full && policy === 'drop')) return this.host.invalidate(relationship, error)
    throw error
  }

  /** Fills what a write leaves of chunks that become the image's own. */
  private async fillEdges(image: Relationship, runs: readonly ChunkRun[], offset: number, length: number): Promise<void> {
    const source = this.host.through(image)
    const copy = async (from: number, to: number): Promise<void> => {
      if (to <= from) return
      const bytes = new Uint8Array(to - from)
      await source.readThrough(from, bytes)
      await this.below.write(from, bytes)
    }
    for (const run of runs) {
      await copy(image.chunks.offsetOf(run.from), Math.min(offset, image.chunks.endOf(run.to - 1)))
      await copy(Math.max(offset + length, image.chunks.offsetOf(run.from)), image.chunks.endOf(run.to - 1))
    }
  }

  /** Bits durable, then visible. @throws `ERR_METADATA_FULL`, and then nothing changed */
  private async commit(marks: readonly Mark[], urgent: boolean): Promise<void> {
    if (marks.length === 0) return
    const batch = new Batch()
    for (const { relationship, migrated, delta, lost } of marks) {
      if (migrated.length > 0) relationship.migrated.put(migrated, true, batch)
      if (delta.length > 0) relationship.delta.put(delta, true, batch)
      if (lost.length > 0) relationship.lost.put(lost, true, batch)
    }
    if (batch.isEmpty) return
    await this.host.metadata.commit(batch, 'data', urgent)
    for (const { relationship, migrated, delta, lost } of marks) {
      relationship.migrated.remember(migrated, true)
      relationship.delta.remember(delta, true)
      relationship.lost.remember(lost, true)
    }
  }

  // ---- locks

  /**
   * Locks the chunks of a range in every relationship of the volume: those it is the source of, in order, its snapshots, then its own, there
   * with everything that larger chunks of the others make it read.
   */
  async lockFor(offset: number, length: number): Promise<Release> {
    const releases: Release[] = []
    let from = offset
    let to = offset + length
    for (const image of this.wodImages) if (image.isActive) ({ from, to } = image.widen(from, to))
    const release = (): void => {
      for (const one of releases) one()
    }
    try {
      for (const { layer, run } of this.lockRuns(from, to)) releases.push(await layer.lock(run, 'exclusive'))
    } catch (error) {
      release()
      throw error
    }
    return release
  }

  /** The same when nobody has to be waited for. */
  private tryLockFor(offset: number, length: number): Release | undefined {
    const runs = this.lockRuns(offset, offset + length)
    for (const { layer, run } of runs) if (!layer.locks.isFree(run)) return undefined
    const releases = runs.map(({ layer, run }) => {
      const locked = layer.lock(run, 'exclusive')
      invariant(!(locked instanceof Promise), 'chunks that are free are locked at once')
      return locked
    })
    if (releases.length === 1) return releases[0]
    return () => {
      for (const release of releases) release()
    }
  }

  /** What `lockFor` locks, in its order: each layer may add to the range that the next have to lock. */
  private lockRuns(from: number, to: number): { readonly layer: Layer | WodImage; readonly run: ChunkRun }[] {
    const runs: { layer: Layer | WodImage; run: ChunkRun }[] = []
    const updated = this.wodImages.filter(({ isLocking }) => isLocking)
    for (const layer of updated.length === 0 ? this.layers : [...this.layers, ...updated]) {
      const run = layer.chunks.touched(from, to - from)
      if (run.to <= run.from) continue
      runs.push({ layer, run })
      from = Math.min(from, layer.chunks.offsetOf(run.from))
      to = Math.max(to, layer.chunks.endOf(run.to - 1))
    }
    return runs
  }

  /** Does what updates still have to do of a range, in the relationships that `concerned` names. */
  private async settle(offset: number, length: number, concerned: (relationship: Relationship) => boolean): Promise<void> {
    for (const relationship of this.relationships) {
      if (relationship.record.frozenEra === 0 || !concerned(relationship)) continue
      // A chunk of the snapshots is preserved as a whole: none of it is to be waiting then.
      const [from, to] = this.tree?.isActive ? this.tree.chunks.widened(offset, length) : [offset, offset + length]
      const run = relationship.chunks.touched(from, to - from)
      for (let loading = relationship.load(run); loading; loading = relationship.load(run)) await loading
      if (!relationship.hasFrozen(run)) continue
      // An image that cannot take what its source is about to lose is given up, as where it cannot take a copy.
      const ofSource = relationship !== this.asImage && relationship.update === 'imageUpdate'
      await this.host.settle(relationship, run, ofSource ? error => this.cannotPreserve(relationship, error) : undefined)
    }
    for (const image of this.wodImages) {
      if (!image.isUpdating) continue
      for (const run of await image.frozen.of(image.chunks.touched(offset, length))) await copyBack(this, image, run)
    }
  }

  /** Keeps what locked chunks hold for the snapshots, durably: nothing is to be written there. */
  keep(due: Preservation): Promise<void> {
    return this.prepare([{ marks: [], tree: due }], false)
  }

  /** Keeps what snapshots read of a range that a shrink has cut off, durably. */
  async keepCut(offset: number, length: number): Promise<void> {
    await inPieces(offset, length, PIECE, async (at, size) => {
      const release = await this.lockFor(at, size)
      try {
        await this.prepareAlone([], await this.tree?.plan(at, size), false)
      } finally {
        release()
      }
    })
  }

  /** Copies back what a restore still has to do of a run of chunks of its tree. @returns bytes copied */
  settleRestored(run: ChunkRun, all = false): Promise<number> {
    return settleRestored(this, this.host.metadata, run, { all })
  }

  /** @throws LunarError `ERR_IMAGE_INVALID` */
  private checkReadable(image: Relationship): void {
    if (!image.isInvalid) return
    throw new LunarError('ERR_IMAGE_INVALID', `Cannot use LUN "${this.name}"`, {
      why: `it is the image of ${image.label}, which is invalid: ${image.record.reason}`,
      fix: `lunar EnableNewSnap ${image.number}`,
    })
  }

  // ---- the rest

  /** What is acknowledged is on stable storage: the maps are, always, before the data they speak of. */
  async flush(): Promise<void> {
    this.rounds.hurry()
    await this.hold.drain()
    await this.below.flush()
  }

  /** Waits for writes that are acknowledged and still on their way; one that failed was told to whoever flushed. */
  async drain(): Promise<void> {
    this.rounds.hurry()
    await this.hold.drain().catch(() => undefined)
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    checkRange(`LUN "${this.name}"`, this.size, this.blockSize, offset, length)
    if (this.tree?.restoring) return presentExtents(this, offset, length)
    const unknown = await this.frozenIn(offset, length)
    const below = await this.extentsThrough(offset, length)
    return unknown.length === 0 ? below : withUnknown(below, unknown)
  }

  /** The same of what `readThrough` reads. */
  async extentsThrough(offset: number, length: number): Promise<Extent[]> {
    const image = this.through
    const blank = Math.max(offset, this.asImage?.blankFrom ?? Infinity)
    if (blank < offset + length) {
      const rest = { offset: blank, length: offset + length - blank, kind: 'hole' } as const
      return blank === offset ? [rest] : [...(await this.extentsThrough(offset, blank - offset)), rest]
    }
    if (!image || length === 0) return this.lun.extentsKept(offset, length)
    const extents: Extent[] = []
    for await (const part of this.parts(image, offset, length)) {
      const below = part.owned ? this.lun.extentsKept(part.offset, part.length) : this.host.through(image).extentsThrough(part.offset, part.length)
      extents.push(...(await below))
    }
    return extents
  }

  /** The LUN belongs to its directory; nothing of this layer is to be closed. */
  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Runs a change by a host while the volume is not quiesced. */
  private async inside<T>(operation: () => Promise<T>): Promise<T> {
    const waiting = this.quiesce.enter()
    if (waiting) await waiting
    this.lastUsedMs = this.clock.monotonicMs()
    try {
      return await operation()
    } finally {
      this.quiesce.leave()
    }
  }
}

/** A write that may be acknowledged ahead. */
const isSmall = (offset: number, length: number): boolean =>
  length > 0 && length <= HOLD_WRITE_MAX && Math.floor(offset / PIECE) === Math.floor((offset + length - 1) / PIECE)

function allMigrated(image: Relationship, { from, to }: ChunkRun): boolean {
  for (let chunk = from; chunk < to; chunk++) if (!image.migrated.has(chunk)) return false
  return true
}
