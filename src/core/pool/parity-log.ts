/** The parity log of a disk (docs/architecture.md, Parity; hazard 7). */
import { deferred, type Deferred } from '../base/deferred.ts'
import { invariant, isCode } from '../base/errors.ts'
import { turn } from '../base/turn.ts'
import { KIB, MIB } from '../base/units.ts'
import { BLOCK } from '../../metadata/layout.ts'
import {
  encodeGroup,
  entrySize,
  groupBlocks,
  isWholeSectors,
  type GroupEntry,
  type GroupHeader,
  type LogKey,
  type LogPiece,
} from '../../metadata/parity-group.ts'
import { LiveRanges, type LiveRange } from './live-ranges.ts'
import { LogRing, type LogPlace, type Replayable } from './parity-log-scan.ts'
import { LogWindow } from './parity-log-window.ts'
import type { PoolDisk } from './pool-disk.ts'

/** Payload of a group, and of a single append, at most. Bytes. */
const PAYLOAD_MAX = MIB
/** Header of a group, at most: an append whose pieces are all single sectors needs less. Bytes. */
const HEADER_MAX = 64 * 1024
/** A group waits for others to join it until it has so many entries, or bytes of payload. */
const GATHER_ENTRIES = 64
const GATHER_PAYLOAD = 256 * KIB
/** A whole group fits before or behind another one, wherever that lies. */
const SEGMENTS_MIN = 2

export interface ParityLogHost {
  readonly poolId: string
  /**
   * Resolves when everything that was written to the disks before is durable, on those that are still in service; the leaving of
   * the others is then durable.
   */
  flush(disks: readonly PoolDisk[]): Promise<void>
}

/** A group that is durable and whose place may not be written again yet. */
interface Group {
  readonly header: GroupHeader
  /** Entries whose bytes are not all in place yet. */
  unwritten: number
  /** Resolves when there are none; made when somebody waits. */
  done: Deferred<void> | undefined
  readonly disks: Set<PoolDisk>
  readonly ranges: Set<LiveRange>
}

/** An entry that is durable in the log, until its bytes are in place. */
export class LogTicket {
  /** @param group what it lies in; of no meaning to others */
  constructor(readonly group: object) {}
}

/** Who waits for an entry. One of the two is called, once, and not before the log was asked; neither throws. */
export interface LogWaiter {
  /** It is durable. */
  logged(ticket: LogTicket): void
  /** As what `append` throws. */
  failed(error: unknown): void
}

interface Waiting {
  /** Undefined asks for a group of no entries, for the sake of its tail. */
  readonly entry: GroupEntry | undefined
  /** Bytes that it takes in a group's header and payload. */
  readonly header: number
  readonly payload: number
  readonly disks: readonly PoolDisk[]
  readonly waiter: LogWaiter
}

/**
 * A ring of groups, each one durable write; appends that wait share the next. The *tail* is the oldest group that counts. It moves in two
 * steps: what lies before it is in place and flushed (`passed`); then a group that names it is durable, and only then may the
 * place of older ones be written, and their entries go from memory.
 *
 * An append of the log must not wait for room while its caller holds a ticket that is not `written`: room comes from those.
 */
export class ParityLog {
  /** Groups that should count are damaged: what lay before the ones that are left is not replayed. */
  damaged = false
  private groups: Group[] = []
  /** What an earlier owner left: nothing is appended while there is any. */
  private left: readonly GroupHeader[] = []
  /** Number of the first group whose entries are not known to be in place and flushed. */
  private passed = 1
  /** Blocks of the groups from `passed` on. */
  private liveBlocks = 0
  private readonly live = new LiveRanges()
  private readonly queue: Waiting[] = []
  /** Bytes of payload that wait. */
  private queued = 0
  private writing = false
  private advancing: Promise<void> | undefined
  private failure: { readonly error: unknown } | undefined
  private buffer = Buffer.alloc(16 * BLOCK)

  private constructor(
    private readonly ring: LogRing,
    private readonly window: LogWindow,
    private readonly host: ParityLogHost,
  ) {}

  /** Makes an empty log where there are only zeros, durably. @throws LunarError `ERR_IO` */
  static create(disk: PoolDisk, place: LogPlace, poolId: string): Promise<void> {
    return LogWindow.create(new LogRing(disk, place, { poolId, diskId: disk.id }))
  }

  /**
   * Reads what the window says; nothing is written.
   * @throws LunarError `ERR_IO` when the ring cannot be read
   */
  static async open(disk: PoolDisk, place: LogPlace, host: ParityLogHost): Promise<ParityLog> {
    invariant(place.segments >= SEGMENTS_MIN, `a parity log of ${place.segments} segments`)
    const ring = new LogRing(disk, place, { poolId: host.poolId, diskId: disk.id })
    const window = await LogWindow.read(ring)
    const { groups, damaged } = await ring.scan(window.span, window.sequence)
    const log = new ParityLog(ring, window, host)
    log.damaged = damaged
    log.groups = groups.map(header => newGroup(header))
    log.passed = (groups.at(-1)?.sequence ?? window.sequence) + 1
    log.left = groups.some(({ entryCount }) => entryCount > 0) || damaged ? groups : []
    return log
  }

  get disk(): PoolDisk {
    return this.ring.disk
  }

  /** The error that ended it: nothing more can be logged until it is opened anew. */
  get isDead(): boolean {
    return this.failure !== undefined
  }

  /** What an earlier owner left, oldest first, without voided parts. It is durable before the first is given. @throws LunarError `ERR_IO` */
  async *replayable(): AsyncGenerator<Replayable> {
    if (this.left.length === 0) return
    // A crash of the program alone may have left the newest group in the host's cache; half a replay must not outlive it.
    await this.disk.flushDevice()
    yield* this.ring.entries(this.left)
  }

  /** What was left does not count any more; durable when it resolves. What was replayed must be flushed before. */
  async reset(): Promise<void> {
    if (this.left.length === 0) return
    await this.enqueue(undefined, [])
    await this.narrow()
    this.left = []
    this.damaged = false
  }

  /**
   * Logs bytes that are going to be written in place. Waits for room.
   *
   * @param pieces whole sectors, 1 MiB in all at most; not to be changed before it resolves
   * @param disks whose flush, after the bytes are in place, makes the entry redundant
   * @returns when it is durable
   * @throws LunarError `ERR_IO`: nothing of it may be written in place, and everybody else who waits gets the same
   */
  append(key: LogKey, slice: number, pieces: readonly LogPiece[], disks: readonly PoolDisk[]): Promise<LogTicket> {
    const entry = { key, slice, pieces }
    this.check(entry)
    return this.enqueue(entry, disks)
  }

  /** As `append`, for who wants no promise. `takesAtOnce`. */
  post(entry: GroupEntry, disks: readonly PoolDisk[], waiter: LogWaiter): void {
    this.check(entry)
    this.push(entry, disks, waiter)
  }

  /** Whether `post` may be called. */
  get takesAtOnce(): boolean {
    return this.failure === undefined && this.left.length === 0
  }

  private check(entry: GroupEntry): void {
    const { header, payload } = entrySize(entry)
    invariant(this.left.length === 0, 'a parity log is used before it is reset')
    invariant(entry.pieces.length > 0 && entry.pieces.every(isWholeSectors), 'an entry of the parity log is of whole sectors')
    invariant(payload <= PAYLOAD_MAX && header <= HEADER_MAX - BLOCK, `an entry of ${payload} bytes is too large for the parity log`)
  }

  /** The entry's bytes are written in place, not yet flushed; or what failed of it has left service, durably. Once for each ticket. */
  written(ticket: LogTicket): void {
    const group = ticket.group as Group
    invariant(group.unwritten > 0, 'an entry of the parity log is written once')
    group.unwritten--
    if (group.unwritten === 0) group.done?.resolve()
  }

  /** Whether live entries have bytes for some of these member addresses. */
  coversAny(key: LogKey, from: number, to: number): boolean {
    return this.live.covers(key, from, to)
  }

  /** Older entries do not count any more for these member addresses; durable when it resolves. @throws as `append` */
  async void(key: LogKey, from: number, to: number): Promise<void> {
    invariant(this.left.length === 0, 'a parity log is used before it is reset')
    if (!this.coversAny(key, from, to)) return
    this.written(await this.enqueue({ key, slice: 0, pieces: [], voids: { from, to } }, []))
  }

  /**
   * Waits until all that was logged before is in place, flushes it and empties the log, durably. What an earlier owner left stays.
   * @throws as `append`
   */
  async drain(): Promise<void> {
    if (this.left.length > 0) return
    const last = this.groups.at(-1)?.header.sequence
    if (last === undefined || (this.groups.length === 1 && this.groups[0]!.header.entryCount === 0)) return
    while (this.passed <= last) await this.advance()
    await this.enqueue(undefined, [])
    await this.narrow()
  }

  /** The log holds nothing, and nothing is appended: little of it needs to be read. */
  private async narrow(): Promise<void> {
    const newest = this.groups.at(-1)?.header
    if (newest && this.window.isWide) await this.window.move(newest, newest.at, newest.blocks)
  }

  private enqueue(entry: GroupEntry | undefined, disks: readonly PoolDisk[]): Promise<LogTicket> {
    if (this.failure) return Promise.reject(this.failure.error)
    const { promise, resolve, reject } = deferred<LogTicket>()
    this.push(entry, disks, { logged: resolve, failed: reject })
    return promise
  }

  private push(entry: GroupEntry | undefined, disks: readonly PoolDisk[], waiter: LogWaiter): void {
    const { header, payload } = entry ? entrySize(entry) : { header: 0, payload: 0 }
    this.queue.push({ entry, header, payload, disks, waiter })
    this.queued += payload
    if (this.writing) return
    this.writing = true
    void this.writeAll()
  }

  /** Lets others join the next group, for as long as some come in each turn of the event loop: a durable write costs the same for many as for one. */
  private async gather(): Promise<void> {
    for (let count = -1; count !== this.queue.length && this.queue.length < GATHER_ENTRIES && this.queued < GATHER_PAYLOAD;) {
      count = this.queue.length
      await turn()
    }
  }

  private take(count: number): void {
    for (const { payload } of this.queue.splice(0, count)) this.queued -= payload
  }

  private async writeAll(): Promise<void> {
    while (this.queue.length > 0) {
      await this.gather()
      const batch = nextBatch(this.queue)
      const at = this.placeFor(batch)
      try {
        if (at === undefined) {
          await this.makeRoom()
          continue
        }
        this.take(batch.waiting.length)
        await this.writeGroup(batch, at)
      } catch (error) {
        if (at === undefined) this.take(batch.waiting.length)
        for (const { waiter } of batch.waiting) waiter.failed(error)
        // The host refused memory or a descriptor: whatever reached the disk has a number that the next group takes again.
        if (!isCode(error, 'ERR_HOST_LIMIT') && !isCode(error, 'ERR_HOST_FULL')) this.die(error)
      }
    }
    this.writing = false
  }

  private die(error: unknown): void {
    this.failure ??= { error }
    this.queued = 0
    for (const { waiter } of this.queue.splice(0)) waiter.failed(this.failure.error)
  }

  /** Room for an entry leaves room for one group of no entries, which is what frees more. */
  private placeFor({ blocks, entries }: GroupBatch): number | undefined {
    return freePlace(this.groups[0]?.header, this.groups.at(-1)?.header, this.ring.blocks, blocks, entries.length > 0 ? 1 : 0)
  }

  /** Waits until the tail can move, and makes that durable. */
  private async makeRoom(): Promise<void> {
    while (this.passed <= this.groups[0]!.header.sequence) await this.advance()
    const batch = nextBatch([])
    const at = this.placeFor(batch)
    invariant(at !== undefined, 'a parity log has no room to move its tail')
    await this.writeGroup(batch, at)
  }

  private async writeGroup(batch: GroupBatch, at: number): Promise<void> {
    const newest = this.groups.at(-1)?.header
    const sequence = (newest?.sequence ?? this.window.sequence) + 1
    const header: GroupHeader = {
      sequence,
      tail: Math.min(this.passed, sequence),
      at,
      before: newest?.at ?? at,
      blocks: batch.blocks,
      headerBlocks: batch.headerBlocks,
      entryCount: batch.entries.length,
    }
    const length = batch.blocks * BLOCK
    if (this.buffer.length < length) this.buffer = Buffer.alloc(length)
    const bytes = this.buffer.subarray(0, length)
    encodeGroup(bytes, this.ring.identity, header, batch.entries)
    if (!this.window.holds(at, batch.blocks)) await this.window.move(this.groups[0]?.header, at, batch.blocks)
    await this.disk.writeDurable(this.ring.place.segment, this.ring.byteOf(at), bytes)
    this.becameDurable(header, batch)
  }

  private becameDurable(header: GroupHeader, { waiting, entries }: GroupBatch): void {
    const group = newGroup(header)
    group.unwritten = entries.length
    for (const { entry, disks } of waiting) {
      if (!entry) continue
      for (const disk of disks) group.disks.add(disk)
      if (entry.voids) this.live.cut(entry.key, entry.voids.from, entry.voids.to)
      for (const { from, to } of rangesOf(entry)) this.live.add(entry.key, from, to, group.ranges)
    }
    this.groups.push(group)
    this.liveBlocks += header.blocks
    if (entries.length === 0 && this.passed === header.sequence) this.passTo(header.sequence)
    for (let oldest = this.groups[0]!; oldest.header.sequence < header.tail; oldest = this.groups[0]!) {
      this.live.drop(oldest.ranges)
      this.groups.shift()
    }
    const ticket = new LogTicket(group)
    for (const { waiter } of waiting) waiter.logged(ticket)
    if (this.liveBlocks > this.ring.blocks / 2)
      this.advance().catch((error: unknown) => {
        this.die(error)
      })
  }

  /** Waits for the oldest group to be in place, and flushes it and what follows it and is in place too. */
  private advance(): Promise<void> {
    this.advancing ??= this.advanceNow().finally(() => {
      this.advancing = undefined
    })
    return this.advancing
  }

  private async advanceNow(): Promise<void> {
    const oldest = this.groups.find(({ header }) => header.sequence >= this.passed)
    if (!oldest) return
    if (oldest.unwritten > 0) await (oldest.done ??= deferred()).promise
    const disks = new Set<PoolDisk>()
    let last = 0
    for (const group of this.groups) {
      if (group.header.sequence < this.passed) continue
      if (group.unwritten > 0) break
      for (const disk of group.disks) disks.add(disk)
      last = group.header.sequence
    }
    if (disks.size > 0) await this.host.flush([...disks])
    this.passTo(last)
  }

  /** The last group such that it and all before it need nothing but a flush of these disks: `passTo`, when somebody has flushed them. */
  placedOn(disks: ReadonlySet<PoolDisk>): number {
    let last = this.passed - 1
    for (const { header, unwritten, disks: own } of this.groups) {
      if (header.sequence < this.passed) continue
      if (unwritten > 0 || [...own].some(disk => !disks.has(disk))) break
      last = header.sequence
    }
    return last
  }

  /** Everything up to this group is in place and flushed, on those of its disks that are in service. */
  passTo(sequence: number): void {
    for (const { header } of this.groups) {
      if (header.sequence < this.passed || header.sequence > sequence) continue
      this.passed = header.sequence + 1
      this.liveBlocks -= header.blocks
    }
  }
}

interface GroupBatch {
  readonly waiting: readonly Waiting[]
  readonly entries: readonly GroupEntry[]
  readonly headerBlocks: number
  readonly blocks: number
}

/** As many of those who wait, in their order, as one group takes; at least one. */
function nextBatch(queue: readonly Waiting[]): GroupBatch {
  let header = 0
  let payload = 0
  let count = 0
  for (const next of queue) {
    if (count > 0 && (payload + next.payload > PAYLOAD_MAX || header + next.header > HEADER_MAX - BLOCK)) break
    header += next.header
    payload += next.payload
    count++
  }
  const waiting = queue.slice(0, count)
  return { waiting, entries: waiting.flatMap(({ entry }) => (entry ? [entry] : [])), ...groupBlocks(header, payload) }
}

interface Extent {
  readonly at: number
  readonly blocks: number
}

/**
 * Where a group fits, in one piece.
 *
 * @param oldest the oldest and the newest group whose places, and all between them, may not be written
 * @param blocks blocks that are needed
 * @param keep blocks that must be free for another group after it
 * @returns block of the ring, or undefined when there is no room
 */
function freePlace(oldest: Extent | undefined, newest: Extent | undefined, ringBlocks: number, blocks: number, keep: number): number | undefined {
  if (!oldest || !newest) return 0
  const head = newest.at + newest.blocks
  if (newest.at < oldest.at) return head + blocks + keep <= oldest.at ? head : undefined
  if (head + blocks <= ringBlocks && (head + blocks + keep <= ringBlocks || oldest.at >= keep)) return head
  return blocks + keep <= oldest.at ? 0 : undefined
}

const newGroup = (header: GroupHeader): Group => ({ header, unwritten: 0, done: undefined, disks: new Set(), ranges: new Set() })

/** The member addresses of an entry, each range once. */
function rangesOf({ pieces }: GroupEntry): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = []
  for (const { at, bytes } of pieces) {
    const to = at + bytes.length
    if (!ranges.some(range => range.from === at && range.to === to)) ranges.push({ from: at, to })
  }
  return ranges
}
