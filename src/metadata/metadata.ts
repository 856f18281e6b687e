import type { Clock } from '../core/base/clock.ts'
import { deferred, type Deferred } from '../core/base/deferred.ts'
import { invariant, isCode, LunarError } from '../core/base/errors.ts'
import { Latencies } from '../core/base/latency.ts'
import { MIB } from '../core/base/units.ts'
import { NIL_UUID, type UuidSource } from '../core/base/uuid.ts'
import { zeroPart } from '../core/base/zeros.ts'
import { BATCH_MAX, type Batch } from './batch.ts'
import { EncodedBlock, PAYLOAD_MAX, StreamRing, type StreamName, type Tail } from './journal.ts'
import { BLOCK, JOURNAL_AT, journalStreams, ROOT_COUNT, ROOTS_AT } from './layout.ts'
import type { Key } from './key.ts'
import { decideAgreed, decideQuorum, type Decision, type DecideOptions } from './quorum.ts'
import { glanceAtQuorumDisk, hasRoot, inspectQuorumDisk, readTailOf, ringBuffer, type Glance, type Inspection, type MetadataDisk } from './quorum-disk.ts'
import { DEPARTURES_MAX, encodeRoot, rootAddress, type Departure, type Place, type Root } from './root.ts'
import { findSources, readSource } from './sources.ts'
import { MetadataSpace } from './space.ts'
import { ChangeRoom, Tree, type Entry, type TreeRoot } from './tree.ts'

/** A checkpoint is due when this much journal is in use, so that opening reads a bounded tail. Bytes. */
const TAIL_MAX = 8 * 1024 * 1024
const TAIL_AGE_MAX_MS = 5000
/** Journal kept free for voting disks out. Bytes. */
const VOTE_ROOM = 16 * BLOCK
/** Metadata blocks kept free for what must always work: deletes, votes, disk add. */
const RESERVE_BLOCKS = 64
/** Blocks whose copies are all read when a pool is opened for writing: after a clean close, and after a crash. */
const VERIFY_QUICK = 64
const VERIFY_MAX = 4096

/** What the pool does for its metadata. */
export interface MetadataHost {
  /** A disk could not be written. Returns what the pool records with the vote; the disk is out of service from now on. */
  diskFailed(disk: MetadataDisk, error: unknown): Batch
  /** Takes segments for one more metadata store; undefined when there is no room. The batch records them. */
  growMetadata(liveBlocks: number): Promise<{ readonly segments: number; readonly places: readonly Place[]; readonly batch: Batch } | undefined>
  /** In how many failure domains the places of a metadata store are in service. */
  coverage(places: readonly Place[]): number
  /** A copy of metadata was damaged; `repaired` says whether it was rewritten. */
  metadataDamaged(disk: MetadataDisk, what: string, repaired: boolean): void
}

export interface MetadataOptions extends DecideOptions {
  readonly poolId: string
  /** Disks in service by number; the pool removes one when it fails. */
  readonly disks: ReadonlyMap<number, MetadataDisk>
  readonly host: MetadataHost
  readonly clock: Clock
  readonly uuids: UuidSource
}

interface Waiting {
  readonly batch: Batch
  readonly stream: StreamName
  /** Uses the reserve: deletes and what repairs. */
  readonly urgent: boolean
  readonly done: Deferred<void>
}

/** What opening found, for status and events. */
export interface OpenReport {
  readonly decision: Decision
  readonly replayedBlocks: number
  readonly cleanShutdown: boolean
  /** Milliseconds since 1970: of the last commit before this opening, or of the root where none follows it. */
  readonly lastWriteMs: number
  readonly damagedRoots: readonly { readonly disk: MetadataDisk; readonly slots: readonly number[] }[]
}

/**
 * The metadata of an open pool: the map, the journal in front of it, and the quorum disks behind it.
 *
 * Batches go through one pipeline: those that wait form a group, are applied to the map in memory and written as one
 * journal block to every quorum disk at once; they are acknowledged when all have it. A quorum disk that fails is voted
 * out by the next block before anything is acknowledged.
 */
export class Metadata {
  /** How long journal blocks took to be on all quorum disks, and what was in them. */
  readonly journal = { times: new Latencies(), batches: 0, bytes: 0 }
  private queue: Waiting[] = []
  private actions: (() => Promise<void>)[] = []
  private running: Promise<void> | undefined
  private fenced: LunarError | undefined
  private lastCheckpointMs: number
  private lastCommitMs: number
  private closed = false
  private departures: Departure[]
  private readonly admin: StreamRing
  private readonly data: StreamRing

  private constructor(
    private readonly options: MetadataOptions,
    private readonly tree: Tree,
    private readonly space: MetadataSpace,
    private root: Root,
    private sequence: number,
    private currentGeneration: number,
    private members: MetadataDisk[],
    readonly report: OpenReport,
    private readonly readOnly: boolean,
    heads: { admin: number; data: number },
    /** Disks that could not take their copy of a block, since the last checkpoint. */
    private readonly copyFailures: { disk: MetadataDisk; error: unknown }[],
  ) {
    const streams = journalStreams(root.journalSize)
    this.admin = new StreamRing(streams.admin.from, streams.admin.to, heads.admin)
    this.data = new StreamRing(streams.data.from, streams.data.to, heads.data)
    this.departures = [...root.departures]
    this.lastCheckpointMs = options.clock.monotonicMs()
    this.lastCommitMs = report.lastWriteMs
  }

  /** Milliseconds since 1970: of the last commit, for people. */
  get lastWriteMs(): number {
    return this.lastCommitMs
  }

  /** Administrative commits so far. */
  get generation(): number {
    return this.currentGeneration
  }

  get poolName(): string {
    return this.root.poolName
  }

  get journalSize(): number {
    return this.root.journalSize
  }

  get memberIds(): readonly string[] {
    return this.readOnly ? this.root.members : this.members.map(member => member.id)
  }

  /** Blocks of the metadata stores: those that the tree of the last checkpoint uses, or the one being written, all, and in how many copies. */
  async blocks(): Promise<{ readonly used: number; readonly total: number; readonly copies: number }> {
    const total = this.space.capacity
    return {
      used: this.readOnly ? await this.countBlocks() : total - this.space.free,
      total,
      copies: Math.min(...this.space.entries.map(entry => entry.places.length)),
    }
  }

  /** Reads the inner blocks of the tree of the last checkpoint; leaves are only counted. @throws LunarError `ERR_METADATA_DAMAGED` */
  countBlocks(): Promise<number> {
    return this.undisturbed(async () => {
      let count = 0
      await this.visitBlocks(() => {
        count++
      })
      return count
    })
  }

  /** Blocks of the map in memory; more than `most` are let go when they are not changed. */
  get cached(): { readonly blocks: number; readonly most: number } {
    return this.tree.cached
  }

  /** There is much more room than the reserve: small records of acknowledged writes will find theirs. */
  get isRoomy(): boolean {
    return this.space.free > 4 * RESERVE_BLOCKS + 2 * this.tree.changedCount()
  }

  get stores(): Root['stores'] {
    return this.space.entries
  }

  get(key: Key): Promise<Uint8Array | undefined> {
    return this.tree.get(key)
  }

  /** The records of one object, or of all objects of a kind when `toHi` is given. */
  range(hi: number, fromLo = 0, toLo = Number.MAX_SAFE_INTEGER, toHi = hi): AsyncGenerator<Entry> {
    return this.tree.range({ hi, lo: fromLo }, { hi: toHi, lo: toLo })
  }

  /** Every record, in the order of their keys. */
  records(): AsyncGenerator<Entry> {
    return this.range(0, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  }

  /**
   * Makes a change durable: resolves when every quorum disk has it.
   *
   * @throws LunarError `ERR_METADATA_FULL` (nothing changed), `ERR_QUORUM_LOST` when no quorum disk is left, `ERR_READ_ONLY`
   */
  commit(batch: Batch, stream: StreamName, urgent = false): Promise<void> {
    if (this.readOnly) return Promise.reject(new LunarError('ERR_READ_ONLY', `Cannot change pool "${this.poolName}"`))
    if (this.fenced) return Promise.reject(this.fenced)
    invariant(!this.closed, 'a commit after the pool was closed')
    invariant(batch.size <= BATCH_MAX, `a batch of ${batch.size} bytes`)
    if (batch.isEmpty) return Promise.resolve()
    const done = deferred()
    this.queue.push({ batch, stream, urgent, done })
    this.wake()
    return done.promise
  }

  /** Writes the changed part of the map and a root, so that the journal is free again. */
  checkpoint(): Promise<void> {
    return this.exclusive(() => this.writeCheckpoint(false))
  }

  /** Brings a disk into the quorum: journal area written, the newest root copied, then one commit of the larger membership. */
  addMember(disk: MetadataDisk, batch: Batch): Promise<void> {
    return this.exclusive(async () => {
      if (this.members.some(member => member.id === disk.id)) return
      // It gets a root and no blocks, so nothing may follow that root: a disk that fails during a checkpoint leaves the vote behind it.
      do await this.writeCheckpoint(false)
      while (this.root.sequence < this.sequence)
      await prepareQuorumArea(disk, this.root.journalSize)
      await writeRing(disk, [this.root])
      await this.voteWith([...this.members, disk], batch)
    })
  }

  /** Takes a disk out of the quorum by one commit that does not need it. */
  removeMember(diskId: string, batch: Batch): Promise<void> {
    return this.exclusive(async () => {
      const rest = this.members.filter(member => member.id !== diskId)
      if (rest.length === 0) throw new LunarError('ERR_QUORUM_LOST', 'Cannot take the last quorum disk out of service')
      this.checkMajority(this.members.filter(member => member.id === diskId))
      if (rest.length === this.members.length) return this.voteWith(this.members, batch)
      this.noteDeparture()
      await this.voteWith(rest, batch)
    })
  }

  /** Calls `visit` for each block of the tree of the last checkpoint; no checkpoint may be written meanwhile. */
  visitBlocks(visit: (address: number, crc: number, level: number) => void): Promise<void> {
    return this.tree.visitBlocks((pointer, level) => {
      visit(pointer.address, pointer.crc, level)
    })
  }

  /**
   * Runs while nothing is committed, so that what it reads is one state of the map, and of the disks below it. What is to be committed
   * waits for it. In a view, and where nothing can be committed any more, it runs at once.
   */
  async undisturbed<T>(action: () => Promise<T>): Promise<T> {
    if (this.readOnly || this.fenced || this.closed) return action()
    let result!: T
    await this.exclusive(async () => {
      result = await action()
    })
    return result
  }

  /** Reads the copies of every metadata block on the given disks and rewrites wrong ones. @returns copies that were wrong */
  async refreshCopies(disks: ReadonlySet<number>): Promise<number> {
    let wrong = 0
    await this.exclusive(async () => {
      await this.writeCheckpoint(false)
      const pointers: { address: number; crc: number }[] = []
      await this.tree.visitBlocks(pointer => pointers.push(pointer))
      for (const pointer of pointers) wrong += await this.space.verifyCopies(pointer, disks)
    })
    return wrong
  }

  /**
   * Moves the tree away from stores in service in fewer than `least` failure domains, to stores that are in as many, and
   * gives the old ones back. `free` is told the segments that are free once a root without the store is durable.
   */
  leaveThinStores(least: number, free: (places: readonly Place[], segments: number) => Batch): Promise<void> {
    return this.exclusive(async () => {
      const thin = this.space.thinStores(least)
      if (thin.length === 0) return
      await this.writeCheckpoint(false)
      const live = this.space.capacity - this.space.free
      while (this.space.freeIn(least) < live + RESERVE_BLOCKS) {
        const growth = await this.options.host.growMetadata(2 * live)
        if (!growth) return
        if (this.options.host.coverage(growth.places) < least) return
        await this.addStore(growth)
      }
      await this.tree.touchAll()
      await this.writeCheckpoint(false)
      const dropped = this.space.dropUnused(thin)
      await this.writeCheckpoint(false)
      for (const entry of dropped) {
        const batch = free(entry.places, entry.segments)
        await this.tree.loadFor(batch)
        await this.writeGroup([batch], 'data')
      }
    })
  }

  /** Empties the rings of disks whose line was not taken when a side was chosen; their data must be marked stale before. */
  async discardLeftovers(): Promise<void> {
    for (const id of this.report.decision.leftover) {
      const disk = [...this.options.disks.values()].find(candidate => candidate.id === id)
      if (disk && !this.members.includes(disk)) await disk.disk.writeDurable(ROOTS_AT, new Uint8Array(ROOT_COUNT * BLOCK))
    }
  }

  /** False when the root this view was read from has left the ring: what was read may be a mix. */
  async stillCurrent(): Promise<boolean> {
    const source = this.members[0]
    return source !== undefined && hasRoot(source, this.options.poolId, this.root)
  }

  /** Waits for all commits, writes a clean root. */
  async close(): Promise<void> {
    if (this.closed) return
    if (!this.readOnly && !this.fenced) await this.exclusive(() => this.writeCheckpoint(true))
    this.closed = true
  }

  /**
   * Holds every copy of every block against its pointer, so that a torn or misdirected one is found while others are right:
   * always when that is quick, else after a crash.
   */
  private async verifyAfterOpen(): Promise<void> {
    const pointers: { address: number; crc: number }[] = []
    await this.tree.visitBlocks(pointer => pointers.push(pointer))
    if (pointers.length > (this.report.cleanShutdown ? VERIFY_QUICK : VERIFY_MAX)) return
    for (const pointer of pointers) {
      try {
        await this.space.verifyCopies(pointer)
      } catch (error) {
        // Rotten in all copies, and told as such: what it describes is refused when it is asked for, the rest serves (fault F04).
        if (!isCode(error, 'ERR_METADATA_DAMAGED')) throw error
      }
    }
  }

  private exclusive(action: () => Promise<void>): Promise<void> {
    if (this.readOnly) return Promise.reject(new LunarError('ERR_READ_ONLY', `Cannot change pool "${this.poolName}"`))
    const done = deferred()
    this.actions.push(async () => {
      try {
        if (this.fenced) throw this.fenced
        await action()
        done.resolve()
      } catch (error) {
        done.reject(error)
      }
    })
    this.wake()
    return done.promise
  }

  private wake(): void {
    this.running ??= this.work().finally(() => {
      this.running = undefined
      if (this.queue.length > 0 || this.actions.length > 0) this.wake()
    })
  }

  private async work(): Promise<void> {
    // Let everything that is being started in this turn join the first group.
    await Promise.resolve()
    while (this.queue.length > 0 || this.actions.length > 0) {
      if (this.queue.length > 0) await this.commitGroup()
      await this.actions.shift()?.()
      this.tree.trimCache()
    }
  }

  private takeGroup(): Waiting[] {
    const group: Waiting[] = []
    let size = 0
    while (this.queue.length > 0 && size + this.queue[0]!.batch.size <= PAYLOAD_MAX) {
      size += this.queue[0]!.batch.size
      group.push(this.queue.shift()!)
    }
    return group
  }

  private async commitGroup(): Promise<void> {
    const group = this.takeGroup()
    const accepted: Waiting[] = []
    try {
      if (this.fenced) throw this.fenced
      const room = new ChangeRoom(this.tree)
      for (const [i, item] of group.entries()) {
        try {
          await this.tree.loadFor(item.batch)
          // What does not fit beside the others goes into the next group, after they were written.
          if (accepted.length > 0 && this.space.free < room.with(item.batch) + (item.urgent ? 0 : RESERVE_BLOCKS)) {
            this.queue.unshift(...group.slice(i))
            break
          }
          if (accepted.length === 0) await this.ensureRoom(item)
          room.add(item.batch)
          accepted.push(item)
        } catch (error) {
          if (this.fenced) throw error
          item.done.reject(error)
        }
      }
      if (accepted.length === 0) return
      const batches = accepted.map(item => item.batch)
      const stream: StreamName = accepted.some(item => item.stream === 'admin') ? 'admin' : 'data'
      this.currentGeneration += accepted.filter(item => item.stream === 'admin').length
      await this.writeGroup(batches, stream)
      for (const item of accepted) item.done.resolve()
    } catch (error) {
      const failure = this.fence(error)
      for (const item of [...accepted, ...group]) item.done.reject(failure)
    }
    if (this.tailIsLong()) await this.tryCheckpoint(false).catch((error: unknown) => this.fence(error))
  }

  private tailIsLong(): boolean {
    if (this.fenced) return false
    const used = this.admin.usedBytes + this.data.usedBytes
    if (used === 0) return false
    return (
      used > TAIL_MAX ||
      this.admin.usedBytes > this.admin.size / 2 ||
      this.data.usedBytes > this.data.size / 2 ||
      this.options.clock.monotonicMs() - this.lastCheckpointMs > TAIL_AGE_MAX_MS
    )
  }

  /** Makes sure that the next checkpoint finds a free block for everything it must write, this batch included. */
  private async ensureRoom(item: Waiting): Promise<void> {
    const needed = (): number => new ChangeRoom(this.tree).with(item.batch) + (item.urgent ? 0 : RESERVE_BLOCKS)
    if (this.space.free >= needed()) return
    // A checkpoint frees the blocks that changed ones replaced.
    await this.writeCheckpoint(false)
    if (this.space.free >= needed()) return
    const growth = this.space.isFull ? undefined : await this.options.host.growMetadata(this.space.capacity - this.space.free)
    if (!growth) {
      throw new LunarError('ERR_METADATA_FULL', `Cannot record the change in pool "${this.poolName}"`, {
        why: `${this.space.free} of ${this.space.capacity} metadata blocks are free, ${needed()} are needed, and no disk has room for more`,
      })
    }
    await this.addStore(growth)
  }

  /** Its segments are recorded before a root can list the store: a root without the record would let LUNs have them too. */
  private async addStore(growth: { segments: number; places: readonly Place[]; batch: Batch }): Promise<void> {
    await this.tree.loadFor(growth.batch)
    await this.writeGroup([growth.batch], 'data')
    this.space.addStore({ id: this.nextStore++, segments: growth.segments, places: growth.places })
  }

  private nextStore = 0

  private async writeGroup(batches: readonly Batch[], stream: StreamName): Promise<void> {
    const ring = stream === 'admin' ? this.admin : this.data
    const block = this.encode(batches, stream, this.members)
    let address = ring.place(block.length, VOTE_ROOM)
    if (address === undefined) {
      await this.writeCheckpoint(false)
      address = ring.place(block.length, VOTE_ROOM)
      invariant(address !== undefined, 'no room in an empty journal')
    }
    this.sequence++
    for (const batch of batches) this.tree.apply(batch)
    const begun = this.options.clock.monotonicMs()
    const lost = await this.writeTo(this.members, block, address)
    this.journal.times.add((this.options.clock.monotonicMs() - begun) * 1000)
    this.journal.batches += batches.length
    this.journal.bytes += block.length
    if (lost.length > 0) await this.voteOut(lost)
    for (const batch of batches) batch.durable()
  }

  private encode(batches: readonly Batch[], stream: StreamName, members: readonly MetadataDisk[]): EncodedBlock {
    this.lastCommitMs = this.options.clock.wallMs()
    return new EncodedBlock({
      epoch: this.root.epoch,
      sequence: this.sequence + 1,
      generation: this.currentGeneration,
      stable: this.sequence,
      timeMs: this.lastCommitMs,
      stream,
      members: members.map(member => member.id),
      batches,
    })
  }

  /** @returns the members that could not be written. @throws errors that are no disk's fault */
  private async writeTo(members: readonly MetadataDisk[], block: EncodedBlock, address: number): Promise<{ disk: MetadataDisk; error: unknown }[]> {
    return settleMembers(members, member => member.disk.writeDurable(JOURNAL_AT + address, block.forDisk(this.options.poolId, member.id, address)))
  }

  /** The members that failed leave the quorum by a block that is durable on the rest before anything is acknowledged. */
  private async voteOut(lost: readonly { disk: MetadataDisk; error: unknown }[]): Promise<void> {
    let failed = lost
    const departed: Batch[] = []
    while (failed.length > 0) {
      const rest = this.members.filter(member => !failed.some(({ disk }) => disk.id === member.id))
      if (rest.length === 0) {
        throw new LunarError('ERR_QUORUM_LOST', `Cannot write the metadata of pool "${this.poolName}"`, {
          why: 'the last quorum disk failed',
          cause: failed[0]?.error,
        })
      }
      this.checkMajority(failed.map(({ disk }) => disk))
      const batches = failed.map(({ disk, error }) => this.options.host.diskFailed(disk, error))
      departed.push(...batches)
      this.noteDeparture()
      failed = await this.writeVote(rest, batches)
    }
    for (const batch of departed) batch.durable()
  }

  /**
   * Disks that leave may be voted out by any that stay as long as this host has them locked: nobody else can be writing there. Another host may
   * reach those behind connections, so these are voted out only where they alone are no majority that could open the pool (hazard 31).
   */
  private checkMajority(leaving: readonly MetadataDisk[]): void {
    const remote = leaving.filter(({ disk }) => disk.remote).length
    if (2 * remote <= this.members.length) return
    throw this.fence(
      new LunarError('ERR_QUORUM_LOST', `Cannot write the metadata of pool "${this.poolName}"`, {
        why: `the connections to ${remote} of ${this.members.length} quorum disks are lost, and another host that reaches them could open the pool`,
        fix: 'bring them back, then use the pool again',
      }),
    )
  }

  /** Commits a membership together with a batch. */
  private async voteWith(members: readonly MetadataDisk[], batch: Batch): Promise<void> {
    this.currentGeneration++
    const failed = await this.writeVote(members, [batch])
    if (failed.length > 0) await this.voteOut(failed)
    batch.durable()
  }

  private async writeVote(members: readonly MetadataDisk[], batches: readonly Batch[]): Promise<{ disk: MetadataDisk; error: unknown }[]> {
    for (const batch of batches) await this.tree.loadFor(batch)
    const block = this.encode(batches, 'admin', members)
    const address = this.admin.place(block.length)
    invariant(address !== undefined, 'no room in the journal to vote a disk out')
    this.sequence++
    this.members = [...members]
    for (const batch of batches) this.tree.apply(batch)
    return this.writeTo(this.members, block, address)
  }

  private noteDeparture(): void {
    this.departures = [...this.departures, { epoch: this.root.epoch, epochNumber: this.root.epochNumber, sequence: this.sequence }].slice(-DEPARTURES_MAX)
  }

  /** After a failure half way the blocks in memory and those on disk no longer match: then nothing may follow. */
  private async writeCheckpoint(clean: boolean): Promise<void> {
    try {
      await this.tryCheckpoint(clean)
    } catch (error) {
      throw this.fence(error)
    }
  }

  private async tryCheckpoint(clean: boolean): Promise<void> {
    const admin = this.admin.mark()
    const data = this.data.mark()
    const frozen = this.tree.freeze(
      this.options.poolId,
      this.sequence,
      () => this.space.take(),
      address => {
        this.space.release(address)
      },
    )
    await this.space.write(frozen.blocks)
    this.root = {
      ...this.root,
      sequence: this.sequence,
      generation: this.currentGeneration,
      timeMs: this.options.clock.wallMs(),
      number: this.root.number + 1,
      clean,
      members: this.members.map(member => member.id),
      tree: frozen.root,
      adminStart: admin.head,
      dataStart: data.head,
      nextStore: this.nextStore,
      stores: this.space.entries,
      departures: this.departures,
    }
    const failed = await settleMembers(this.members, member => member.disk.writeDurable(rootAddress(this.root.number), encodeRoot(this.root, member.id)))
    if (failed.length === this.members.length) {
      throw new LunarError('ERR_QUORUM_LOST', `Cannot write the metadata of pool "${this.poolName}"`, {
        why: 'the last quorum disk failed',
        cause: failed[0]?.error,
      })
    }
    this.space.commitReleased()
    this.admin.release(admin)
    this.data.release(data)
    this.lastCheckpointMs = this.options.clock.monotonicMs()
    if (failed.length > 0) await this.voteOut(failed)
    // Disks that lost a copy of a block are told to the pool by a commit of their own.
    for (const { disk, error } of this.copyFailures.splice(0)) await this.voteFailedCopy(disk, error)
  }

  private async voteFailedCopy(disk: MetadataDisk, error: unknown): Promise<void> {
    if (!this.options.disks.has(disk.number)) return
    if (this.members.some(member => member.id === disk.id)) return this.voteOut([{ disk, error }])
    const batch = this.options.host.diskFailed(disk, error)
    const failed = await this.writeVote(this.members, [batch])
    if (failed.length > 0) await this.voteOut(failed)
    batch.durable()
  }

  private fence(error: unknown): LunarError {
    this.fenced ??=
      error instanceof LunarError
        ? error
        : new LunarError('ERR_FAILED', `Cannot write the metadata of pool "${this.poolName}"`, {
            cause: error,
            fix: 'close the pool and open it again: what was acknowledged is kept',
          })
    return this.fenced
  }

  /** Why nothing can be committed any more, if so. */
  get failure(): LunarError | undefined {
    return this.fenced
  }

  /** Writes the first root of a pool; `firstBatch` is its whole content. */
  static async create(
    params: {
      poolId: string
      poolName: string
      journalSize: number
      members: readonly MetadataDisk[]
      stores: Root['stores']
      disks: ReadonlyMap<number, MetadataDisk>
    },
    firstBatches: readonly Batch[],
    clock: Clock,
    uuids: UuidSource,
  ): Promise<void> {
    const space = new MetadataSpace(
      params.poolId,
      params.stores,
      params.disks,
      { copyDamaged: () => undefined, copyFailed: (_disk, error) => raise(error), coverage: places => places.length },
      false,
    )
    const tree = new Tree(pointer => space.read(pointer), undefined)
    for (const batch of firstBatches) tree.apply(batch)
    const frozen = tree.freeze(
      params.poolId,
      0,
      () => space.take(),
      () => undefined,
    )
    await space.write(frozen.blocks)
    const streams = journalStreams(params.journalSize)
    const root: Root = {
      poolId: params.poolId,
      poolName: params.poolName,
      epoch: uuids(),
      epochNumber: 0,
      parentEpoch: NIL_UUID,
      parentEpochNumber: 0,
      parentSequence: 0,
      parentMembers: [],
      sequence: 0,
      generation: 1,
      timeMs: clock.wallMs(),
      number: 0,
      clean: true,
      members: params.members.map(member => member.id),
      tree: frozen.root,
      journalSize: params.journalSize,
      adminStart: streams.admin.from,
      dataStart: streams.data.from,
      nextStore: params.stores.reduce((next, store) => Math.max(next, store.id + 1), 1),
      stores: params.stores,
      departures: [],
    }
    await Promise.all(params.members.map(member => member.disk.writeDurable(rootAddress(0), encodeRoot(root, member.id))))
  }

  /** Looks at the quorum disks, decides, and loads the winner without writing anything: for readers. */
  static async openView(options: MetadataOptions): Promise<Metadata> {
    const loaded = await load(options, true)
    return new Metadata(
      options,
      loaded.tree,
      loaded.space,
      loaded.root,
      loaded.sequence,
      loaded.generation,
      [loaded.source],
      loaded.report,
      true,
      loaded.heads,
      loaded.copyFailures,
    )
  }

  /**
   * Opens for writing: replays the tail, brings stale copies up to date, and commits a new epoch to every member that is
   * readable; members that are not are voted out by it. `onReplayed` gives what else the first commit of the epoch records.
   */
  static async open(options: MetadataOptions): Promise<Metadata> {
    const { tree, space, source, root, sequence, generation, report, heads, inspections, copyFailures } = await load(options, false)
    const { decision } = report
    const present = decision.winner.members
      .map(id => inspections.find(inspection => inspection.member.id === id)?.member)
      .filter(member => member !== undefined)
    const members = present.length > 0 ? present : [source]
    const metadata = new Metadata(options, tree, space, root, sequence, generation, members, report, false, heads, copyFailures)
    metadata.nextStore = root.nextStore
    if (decision.absent.length > 0 || members.length < decision.winner.members.length) {
      metadata.departures = [...root.departures, { epoch: root.epoch, epochNumber: root.epochNumber, sequence }].slice(-DEPARTURES_MAX)
    }
    // The new epoch's number is above every one in any ring, so its first root alone makes a stale or leftover copy current.
    // Nothing a member holds is emptied before: until that root is everywhere its old state may be what decides.
    const highest = Math.max(...inspections.flatMap(inspection => inspection.roots.map(known => known.epochNumber)))
    metadata.root = {
      ...root,
      epoch: options.uuids(),
      epochNumber: highest + 1,
      parentEpoch: decision.winner.epoch,
      parentEpochNumber: decision.winner.epochNumber,
      parentSequence: decision.winner.sequence,
      parentMembers: decision.winner.members,
    }
    await metadata.writeCheckpoint(false)
    await metadata.verifyAfterOpen()
    // Torn or foreign blocks in the ring are of no use to anybody now: an empty place is one that cannot be misread.
    for (const { disk, slots } of report.damagedRoots) {
      for (const slot of slots)
        if (metadata.members.includes(disk) && slot !== metadata.root.number % ROOT_COUNT)
          await disk.disk.writeDurable(ROOTS_AT + slot * BLOCK, new Uint8Array(BLOCK))
    }
    return metadata
  }
}

interface Loaded {
  readonly tree: Tree
  readonly space: MetadataSpace
  readonly source: MetadataDisk
  readonly root: Root
  readonly sequence: number
  readonly generation: number
  readonly report: OpenReport
  readonly heads: { admin: number; data: number }
  readonly inspections: readonly Inspection[]
  readonly copyFailures: { disk: MetadataDisk; error: unknown }[]
}

async function load(options: MetadataOptions, readOnly: boolean): Promise<Loaded> {
  const { poolId, disks, host } = options
  const { source, root, tail, decision, inspections } = (readOnly ? await glanceAndDecide(options) : undefined) ?? (await inspectAndRead(options))
  if (root.sequence + tail.blocks.length !== decision.winner.sequence) {
    throw new LunarError('ERR_METADATA_DAMAGED', `Cannot read the journal of pool "${root.poolName}"`, {
      why: `it ends at ${root.sequence + tail.blocks.length}, not at ${decision.winner.sequence}`,
    })
  }
  const copyFailures: Loaded['copyFailures'] = []
  const space = new MetadataSpace(
    poolId,
    root.stores,
    disks,
    {
      copyDamaged: (disk, address, repaired) => {
        host.metadataDamaged(disk, `metadata block ${address}`, repaired)
      },
      copyFailed: (disk, error) => {
        copyFailures.push({ disk, error })
      },
      coverage: places => host.coverage(places),
    },
    readOnly,
  )
  const tree = new Tree(pointer => space.read(pointer), root.tree as TreeRoot | undefined)
  if (!readOnly) {
    await tree.visitBlocks(pointer => {
      space.markUsed(pointer.address)
    })
  }
  for (const block of tail.blocks) {
    for (const batch of block.batches) {
      await tree.loadFor(batch)
      tree.apply(batch)
    }
  }
  const last = tail.blocks.at(-1)
  const report: OpenReport = {
    decision,
    replayedBlocks: tail.blocks.length,
    cleanShutdown: root.clean && tail.blocks.length === 0,
    lastWriteMs: last?.timeMs ?? root.timeMs,
    damagedRoots: inspections
      .filter(inspection => inspection.damagedRoots.length > 0)
      .map(inspection => ({ disk: inspection.member, slots: inspection.damagedRoots })),
  }
  return {
    tree,
    space,
    source,
    root,
    sequence: decision.winner.sequence,
    generation: last?.generation ?? root.generation,
    report,
    heads: { admin: tail.adminHead, data: tail.dataHead },
    inspections,
    copyFailures,
  }
}

interface Chosen {
  readonly source: MetadataDisk
  readonly root: Root
  readonly tail: Tail
  readonly decision: Decision
  /** None where a glance was enough. */
  readonly inspections: readonly Inspection[]
}

/** The usual case of a reader: all quorum disks are there and agree. Undefined when they do not, or when a side is to be chosen. */
async function glanceAndDecide(options: MetadataOptions): Promise<Chosen | undefined> {
  if (options.choose !== undefined) return undefined
  const all = [...options.disks.values()]
  const hinted = all.filter(disk => disk.quorumHint)
  const ring = ringBuffer()
  const glances: Glance[] = []
  for (const disk of hinted.length > 0 ? hinted : all) {
    const glance = await glanceAtQuorumDisk(disk, options.poolId, ring)
    if (glance) glances.push(glance)
  }
  const decision = decideAgreed(glances.map(({ member, head }) => ({ disk: member.id, head })))
  if (!decision) return undefined
  const best = glances.reduce((a, b) => (b.root.number > a.root.number ? b : a))
  return { source: best.member, root: best.root, tail: best.tail, decision, inspections: [] }
}

async function inspectAndRead(options: MetadataOptions): Promise<Chosen> {
  const { inspections, decision } = await inspectAndDecide(options)
  const { sequence } = decision.winner
  const { member, root, tail } = await readSource(findSources(inspections, decision), sequence, source => readTailOf(source.member, source.root, sequence))
  return { source: member, root, tail, decision, inspections }
}

/** Looks at the disks that their labels call quorum disks; at all of them when those do not decide. */
async function inspectAndDecide(options: MetadataOptions): Promise<{ inspections: Inspection[]; decision: Decision }> {
  const all = [...options.disks.values()]
  const ring = ringBuffer()
  const hinted = all.filter(disk => disk.quorumHint)
  for (const disks of hinted.length > 0 && hinted.length < all.length ? [hinted, all] : [all]) {
    // One after the other into one buffer: for a command that only looks, half a megabyte a disk is what would cost most.
    const inspections: Inspection[] = []
    for (const disk of disks) {
      const inspection = await inspectQuorumDisk(disk, options.poolId, ring)
      if (inspection) inspections.push(inspection)
    }
    const copies = inspections.map(inspection => inspection.copy)
    const last = disks === all
    try {
      const decision = decideQuorum(copies, last ? options : {})
      if (last || !decision.absent.some(id => all.some(disk => disk.id === id))) return { inspections, decision }
    } catch (error) {
      if (last) throw error
    }
  }
  throw new LunarError('ERR_BUG', 'Invariant broken: no look at the quorum disks decided')
}

/** Writes the whole journal area once, so that the host has blocks for it (fault F08). Durable after the next durable write or flush. */
export async function prepareQuorumArea(disk: MetadataDisk, journalSize: number): Promise<void> {
  await disk.disk.write(ROOTS_AT, zeroPart(ROOT_COUNT * BLOCK))
  for (let at = 0; at < journalSize; at += MIB) await disk.disk.write(JOURNAL_AT + at, zeroPart(MIB))
  await disk.disk.flush()
}

/** Replaces the ring of roots: empty first, then the given ones, newest last, so that a crash in between leaves fewer, never other roots. */
async function writeRing(member: MetadataDisk, roots: readonly Root[]): Promise<void> {
  await member.disk.writeDurable(ROOTS_AT, new Uint8Array(ROOT_COUNT * BLOCK))
  for (const root of [...roots].reverse()) await member.disk.writeDurable(rootAddress(root.number), encodeRoot(root, member.id))
}

async function settleMembers(
  members: readonly MetadataDisk[],
  write: (member: MetadataDisk) => Promise<void>,
): Promise<{ disk: MetadataDisk; error: unknown }[]> {
  const results = await Promise.allSettled(members.map(write))
  const failed: { disk: MetadataDisk; error: unknown }[] = []
  results.forEach((result, i) => {
    if (result.status === 'fulfilled') return
    if (!isCode(result.reason, 'ERR_IO')) throw result.reason
    failed.push({ disk: members[i]!, error: result.reason })
  })
  return failed
}

function raise(error: unknown): never {
  throw error
}
