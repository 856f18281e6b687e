import type { Clock } from '../base/clock.ts'
import { invariant, isCode, isDisksFault, LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import type { UuidSource } from '../base/uuid.ts'
import type { Disk } from '../block/device.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import { LABEL_QUORUM, LABEL_WITNESS, readLabel, writeFirstLabel, writeLabel, type Label } from '../../metadata/label.ts'
import { BLOCK, diskLayout, ROOT_COUNT, ROOTS_AT, SEGMENT } from '../../metadata/layout.ts'
import { Metadata, type MetadataHost } from '../../metadata/metadata.ts'
import type { DecideOptions } from '../../metadata/quorum.ts'
import type { MetadataDisk } from '../../metadata/quorum-disk.ts'
import { MEMBERS_MAX, type Place } from '../../metadata/root.ts'
import {
  decodeRecord,
  diskRecord,
  diskStates,
  DISK_LEAVING,
  DISK_OFFLINE,
  poolRecord,
  REASON_MAX,
  SEGMENTS_PER_RECORD,
  type DiskStateName,
  type PoolRecord,
} from '../../metadata/records.ts'
import { fitting } from '../../metadata/struct.ts'
import { memberCount, parityCount, PARITY_MEMBER, SLICE, SLICES, type Redundancy } from '../raid/geometry.ts'
import { PoolBarrier } from './barrier.ts'
import { describeDisk } from './disk-record.ts'
import { wipeDisks } from './format.ts'
import { EventLog } from './event-log.ts'
import { HistoryLog } from './history-log.ts'
import type { LunStores } from './lun-stores.ts'
import { placeMember, type MemberPlace } from './place-member.ts'
import { domainCount, fewestDisks, largestStoreCount, placeStore, type Candidate } from './placement.ts'
import type { ParityLog } from './parity-log.ts'
import { ParityLogs } from './parity-logs.ts'
import { recoverParity } from './parity-recovery.ts'
import { PoolDisk } from './pool-disk.ts'
import { changedPlaces, countAstride, isAstride, placesIn } from './grouping.ts'
import { chooseQuorum, quorumWanted } from './quorum-choice.ts'
import { SegmentMap } from './segments.ts'
import type { SetPlace } from './sets.ts'
import type { StoreHost } from './store-io.ts'
import { DiskSlots, type Member } from './store-table.ts'

/** Segments of each disk that LUNs do not get, so that metadata can always grow. */
const METADATA_KEPT = 1
/** Segments cleaned in one go. */
const CLEAN_BATCH = 128

export interface FoundDisk {
  readonly disk: Disk
  readonly label: Label
}

export interface PoolOptions extends DecideOptions {
  readonly clock: Clock
  readonly uuids: UuidSource
  readonly readOnly: boolean
}

/**
 * An open pool: its disks, segments and metadata, and what happens when one of them fails. LUNs and processes are built
 * on it; whoever opened the disks closes them.
 */
export class Pool implements StoreHost, MetadataHost {
  readonly disks = new Map<number, PoolDisk>()
  readonly segments = new Map<number, SegmentMap>()
  readonly slots = new DiskSlots()
  /** Stores of the LUNs that are loaded, by LUN number. */
  readonly stores = new Map<number, LunStores>()
  private readonly parityLogs = new ParityLogs(this)
  /** The parity logs of disks, by disk number. One of a disk that left service is of no use until the disk is back. */
  readonly logs: ReadonlyMap<number, ParityLog> = this.parityLogs.open
  record!: PoolRecord
  metadata!: Metadata
  barrier!: PoolBarrier
  /** Sentences about what opening found, for warnings. */
  readonly warnings: string[] = []
  private readonly metadataDisks = new Map<number, MetadataDisk>()
  private readonly labels = new Map<number, Label>()
  private readonly maintenance = new Mutex()
  private closing = false
  private readonly failing = new Map<number, Promise<void>>()
  private readonly cleaning = new Map<number, Promise<number>>()
  /** Events come up from the moment metadata is being opened. */
  readonly events: EventLog
  readonly history = new HistoryLog(() => this.metadata)
  /** Called when a disk came or went, space was given back or an event waits, so that processes look again. */
  onChange: () => void = () => undefined

  /** Called when a disk was removed: whoever opened the device closes it. */
  onRemoved: (device: Disk | undefined) => Promise<void> = () => Promise.resolve()

  get isView(): boolean {
    return this.options.readOnly
  }

  private constructor(
    readonly poolId: string,
    readonly options: PoolOptions,
  ) {
    this.events = new EventLog(
      () => this.metadata,
      options.clock,
      () => {
        this.onChange()
      },
    )
  }

  /** @throws LunarError of the quorum decision, or `ERR_METADATA_DAMAGED` */
  static async open(found: readonly FoundDisk[], options: PoolOptions): Promise<Pool> {
    const first = found[0]
    if (!first) throw new LunarError('ERR_QUORUM_LOST', 'Cannot open the pool: none of its disks was found')
    const pool = new Pool(first.label.poolId, options)
    for (const { disk, label } of found) {
      pool.labels.set(label.diskNumber, label)
      pool.metadataDisks.set(label.diskNumber, {
        number: label.diskNumber,
        id: label.diskId,
        disk,
        segmentsAt: label.segmentsAt,
        quorumHint: (label.flags & LABEL_QUORUM) !== 0,
      })
    }
    const metadataOptions = { ...options, poolId: pool.poolId, disks: pool.metadataDisks, host: pool }
    pool.metadata = await (options.readOnly ? Metadata.openView(metadataOptions) : Metadata.open(metadataOptions))
    pool.barrier = new PoolBarrier(pool.metadata)
    await pool.load(found)
    return pool
  }

  private async load(found: readonly FoundDisk[]): Promise<void> {
    const value = await this.metadata.get(keyOf('pool'))
    if (!value) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot open the pool', { why: 'its metadata has no pool record' })
    this.record = decodeRecord(poolRecord, value)
    for await (const { hi, value: bytes } of this.metadata.range(hiOf('disk'), 0, 0, hiOf('disk', 0xffffffff))) {
      const number = hi - hiOf('disk')
      const record = decodeRecord(diskRecord, bytes)
      const device = found.find(({ label }) => label.diskId === record.diskId)?.disk
      const disk = new PoolDisk(number, record, diskStates[record.state] ?? 'failed', device)
      disk.errors = record.errors
      this.watch(disk)
      this.disks.set(number, disk)
      this.slots.add(number, record.segmentCount)
      if (!this.options.readOnly || record.segmentCount > 0) this.segments.set(number, await SegmentMap.load(number, record.segmentCount, this.metadata))
    }
    for (const disk of this.disks.values()) if (disk.state === 'failed' || disk.isOffline) this.metadataDisks.delete(disk.number)
    for (const { disk, label } of found) {
      if (this.disks.get(label.diskNumber)?.id === label.diskId) continue
      this.metadataDisks.delete(label.diskNumber)
      this.warnings.push(`${disk.name} carries the label of this pool but is none of its disks any more`)
    }
    if (this.options.readOnly) return this.viewStates()
    await this.events.load()
  }

  /** In a view nothing is recorded: a disk that is away counts as missing for this look. */
  private viewStates(): void {
    for (const disk of this.disks.values()) {
      if (!disk.device && disk.state !== 'failed') disk.state = 'missing'
    }
  }

  /**
   * Compares the recorded states with the disks that are there: absent ones become missing, returned ones merging. Call it
   * once after opening for writing, when the LUNs' stores are loaded.
   */
  async settleStates(): Promise<void> {
    if (this.options.choose !== undefined) await this.discardOtherSide()
    await this.distrustRolledBack()
    const batch = new Batch()
    for (const disk of this.disks.values()) {
      if (!disk.device && (disk.state === 'normal' || disk.state === 'merging')) {
        this.setState(disk, 'missing', 'not found when the pool was opened', batch)
        this.event(batch, 'disk.missing', `disk ${disk.number}`, 'not found when the pool was opened')
      } else if (disk.device && disk.state === 'missing' && !disk.isOffline) {
        this.setState(disk, 'merging', 'back, being brought up to date', batch)
        this.event(batch, 'disk.returned', `disk ${disk.number}`, 'back, being brought up to date')
      }
    }
    for (const { disk, slots } of this.metadata.report.damagedRoots) {
      this.event(
        batch,
        'metadata.damaged',
        `disk ${disk.number}`,
        `${slots.length} torn or foreign ${slots.length === 1 ? 'block' : 'blocks'} in the ring of roots`,
      )
    }
    for (const disk of await this.damagedLabels()) {
      this.event(batch, 'metadata.damaged', `disk ${disk.number}`, 'one copy of the label was wrong and has been rewritten')
      await this.relabel(disk)
    }
    const { stale, leftover, absent } = this.metadata.report.decision
    for (const id of [...stale, ...leftover])
      this.event(batch, 'quorum.stale', this.diskName(id), 'its copy of the metadata was behind and was brought up to date')
    for (const id of absent) this.event(batch, 'quorum.absent', this.diskName(id), 'left the quorum because it was not there')
    this.reconcileMetadataSegments(batch)
    const moved = this.moveDisks(changedPlaces(placesIn(0, this.disks.values()), []), batch)
    if (!batch.isEmpty) await this.metadata.commit(batch, 'data', true)
    await this.relabelAll(moved)
    for (const disk of this.disks.values()) if (!disk.inService && !disk.isWitness) await this.markStale(disk)
    for (const disk of this.disks.values()) {
      if (!disk.inService) continue
      await this.parityLogs.load(disk)
      await this.recoverParity(disk).catch((error: unknown) => this.failDisk(disk, error))
    }
    await this.flushInherited()
    await this.events.flush()
  }

  /**
   * A crash of the program alone leaves writes of it in the host's cache, and so does a disk that failed. What is read from now on is kept by images and
   * by clients, so it is durable first, or is not read (hazards 8 and 11).
   */
  private async flushInherited(): Promise<void> {
    const { cleanShutdown } = this.metadata.report
    await Promise.all(
      [...this.disks.values()].map(async disk => {
        if (!disk.device || disk.isWitness || (cleanShutdown && disk.state === 'normal')) return
        try {
          await disk.flushDevice()
        } catch (error) {
          // Suspended: whoever reads it is told. One that serves leaves service.
          if (disk.inService) await this.failDisk(disk, error)
        }
      }),
    )
  }

  /**
   * A side of a split brain was chosen: what the disks of the other side hold was written apart. All of it is stale,
   * durably, before their own record of it goes.
   */
  private async discardOtherSide(): Promise<void> {
    const { leftover } = this.metadata.report.decision
    const batch = new Batch()
    for (const disk of this.disks.values()) {
      if (disk.state === 'normal' && !leftover.includes(disk.id)) continue
      await this.distrust(disk)
      if (disk.state === 'normal') this.setState(disk, 'merging', 'its side of a split brain was not chosen', batch)
      this.event(
        batch,
        'disk.discarded',
        `disk ${disk.number}`,
        'its side of a split brain was not chosen: mirrors on it are copied anew, what has no mirror may be of either side',
      )
    }
    await this.metadata.commit(batch, 'admin', true)
    await this.metadata.discardLeftovers()
  }

  /** A member that lost commits it had acknowledged was put back to an older state: its data is as old. */
  private async distrustRolledBack(): Promise<void> {
    for (const disk of this.disks.values()) {
      if (!this.metadata.report.decision.rolledBack.includes(disk.id)) continue
      await this.distrust(disk)
      const batch = new Batch()
      this.setState(disk, 'merging', 'it had been put back to an older state', batch)
      this.event(
        batch,
        'disk.rolledBack',
        `disk ${disk.number}`,
        'it lacks what it had acknowledged: mirrors on it are copied anew, what has no mirror there is as old as the disk',
      )
      await this.metadata.commit(batch, 'admin', true)
    }
  }

  /** What a disk holds is not what its record says: its mirrored slices are stale, its clean segments are to be cleaned again. */
  private async distrust(disk: PoolDisk): Promise<void> {
    for (const stores of this.stores.values()) for (const stale of await stores.staleAll(disk.number)) await this.metadata.commit(stale, 'data', true)
    const segments = this.segments.get(disk.number)
    if (!segments) return
    for (const batch of segments.freeClean()) await this.metadata.commit(batch, 'data', true)
  }

  private async damagedLabels(): Promise<PoolDisk[]> {
    const damaged: PoolDisk[] = []
    for (const disk of this.disks.values()) {
      if (!disk.device) continue
      const report = await readLabel(disk.device)
      if (report.kind === 'label' && report.damagedCopies > 0) damaged.push(disk)
    }
    return damaged
  }

  private diskName(id: string): string {
    for (const disk of this.disks.values()) if (disk.id === id) return `disk ${disk.number}`
    return `disk ${id.slice(0, 8)}`
  }

  /** A crash between taking segments for metadata and the root that lists them leaves them unlisted: they are freed. */
  private reconcileMetadataSegments(batch: Batch): void {
    const listed = new Set<string>()
    for (const store of this.metadata.stores)
      for (const place of store.places) for (let i = 0; i < store.segments; i++) listed.add(`${place.disk}.${place.segment + i}`)
    for (const map of this.segments.values()) {
      for (const segment of map.find('metadata', 0, Number.MAX_SAFE_INTEGER)) if (!listed.has(`${map.disk}.${segment}`)) map.set(segment, 'freed', batch)
    }
  }

  disk(number: number): PoolDisk {
    const disk = this.disks.get(number)
    if (!disk) throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use disk ${number}`, { why: 'a redundant store names it, but the pool has no such disk' })
    return disk
  }

  /** By number, id or the beginning of one, or path. @throws LunarError `ERR_DISK_NOT_FOUND` */
  findDisk(name: string): PoolDisk {
    const all = [...this.disks.values()]
    const number = /^(?:disk\s*)?(\d+)$/i.exec(name)?.[1]
    const found =
      (number !== undefined ? this.disks.get(Number(number)) : undefined) ??
      all.find(disk => disk.device?.name === name) ??
      all.find(disk => disk.id === name || (name.length >= 8 && disk.id.startsWith(name))) ??
      unique(all.filter(disk => disk.device?.name.endsWith(`/${name}`)))
    if (!found) throw new LunarError('ERR_DISK_NOT_FOUND', `Cannot find disk "${name}" in pool "${this.record.name}"`)
    return found
  }

  // ---- space

  candidates(): Candidate[] {
    const candidates: Candidate[] = []
    for (const disk of this.disks.values()) {
      const map = this.segments.get(disk.number)
      if (disk.allocatable && map && map.total > 0)
        candidates.push({
          disk: disk.number,
          free: Math.max(0, map.available - METADATA_KEPT),
          total: map.total,
          domain: disk.domain,
          set: disk.record.redundancySet,
          index: disk.record.redundancyIndex,
        })
    }
    return candidates
  }

  /** Candidates counting what is freed and only waits to be cleaned. */
  hopefulCandidates(): Candidate[] {
    return this.candidates().map(candidate => ({ ...candidate, free: Math.max(0, this.segments.get(candidate.disk)!.free - METADATA_KEPT) }))
  }

  largest(raid: Redundancy): number {
    return largestStoreCount(raid, this.hopefulCandidates()) * SLICES * SLICE
  }

  /** @throws LunarError `ERR_TOO_FEW_DISKS` with the number when the rules of the type cannot be met */
  checkRedundancy(raid: Redundancy): void {
    const eligible = [...this.disks.values()].filter(disk => disk.allocatable).map(disk => ({ disk: disk.number, domain: disk.domain }))
    const needed = fewestDisks(raid)
    if (domainCount(eligible) < needed) {
      throw new LunarError('ERR_TOO_FEW_DISKS', `Cannot make a ${raid} LUN in pool "${this.record.name}"`, {
        why: `${raid} needs ${needed} disks in different failure domains, ${domainCount(eligible)} ${domainCount(eligible) === 1 ? 'is' : 'are'} in service`,
      })
    }
  }

  /**
   * Takes clean segments for a redundant store; they are only marked as taken until `bindMembers` puts them into a batch.
   * @param turn a number that grows with each store of a LUN, so that parity goes round
   * @param beside disks of the stores that it is interleaved with, each as often as it has a member
   * @throws LunarError `ERR_POOL_FULL`
   */
  async takeMembers(raid: Redundancy, turn: number, beside: readonly number[]): Promise<Member[]> {
    for (let tried = 0; ; tried++) {
      const disks = placeStore(raid, this.candidates(), turn, beside)
      if (disks) {
        const members: Member[] = []
        for (const disk of disks) {
          const segment = this.segments.get(disk)!.take()
          invariant(segment !== undefined, 'placement chose a disk without a free segment')
          members.push({ disk, segment })
        }
        try {
          // What a write needs is there before it is acknowledged.
          if (parityCount[raid] > 0) await this.ensureLog(members[PARITY_MEMBER]!.disk)
        } catch (error) {
          this.releaseMembers(members)
          if (!isDisksFault(error)) throw error
          await this.failDisk(this.disk(members[PARITY_MEMBER]!.disk), error)
          continue
        }
        return members
      }
      // Freed segments only need cleaning before they can be taken.
      if (tried > 0 && (await this.cleanFreed()) === 0) break
      if (tried === 0 && largestStoreCount(raid, this.hopefulCandidates()) === 0) break
      if (tried === 0) await this.cleanFreed()
    }
    throw new LunarError('ERR_POOL_FULL', `Cannot allocate a ${raid} store in pool "${this.record.name}"`, {
      why: `${memberCount(raid)} free segments of ${SEGMENT / 1024 / 1024} MiB are needed${raid === 'raid0' ? '' : raid === 'raid1' ? ' in pairs on different disks' : ' on different disks'}`,
    })
  }

  /**
   * Takes a clean segment for one member of a store whose disk leaves, marked as taken.
   * @param others disks of the other members, by member; undefined where that is not known yet
   * @throws LunarError `ERR_POOL_FULL`
   */
  async takeMember(raid: Redundancy, member: number, others: readonly (number | undefined)[]): Promise<Member> {
    const withoutLog = new Set<number>()
    for (let cleaned = false; ;) {
      const able = this.candidates().filter(({ disk }) => !withoutLog.has(disk))
      const number = placeMember(
        raid,
        member,
        others.map(other => this.placeOf(other)),
        able,
      )
      if (number === undefined) {
        if (!cleaned && (await this.cleanFreed()) > 0) continue
        if (cleaned) break
        cleaned = true
        continue
      }
      const segment = this.segments.get(number)!.take()
      invariant(segment !== undefined, 'placement chose a disk without a free segment')
      if (parityCount[raid] === 0 || member !== PARITY_MEMBER || this.logs.has(number)) return { disk: number, segment }
      try {
        await this.ensureLog(number)
        return { disk: number, segment }
      } catch (error) {
        this.releaseMembers([{ disk: number, segment }])
        if (isCode(error, 'ERR_POOL_FULL')) withoutLog.add(number)
        else if (isDisksFault(error)) await this.failDisk(this.disk(number), error)
        else throw error
      }
    }
    throw new LunarError('ERR_POOL_FULL', `Cannot move a member of a ${raid} store in pool "${this.record.name}"`, {
      why: `none of the other disks that the rules allow has a free segment of ${SEGMENT / 1024 / 1024} MiB`,
      fix: 'lunar disk add, or delete what is not needed',
    })
  }

  /** Where a disk is, as placement sees it. */
  placeOf(number: number | undefined): MemberPlace | undefined {
    if (number === undefined) return undefined
    const { domain, record } = this.disk(number)
    return { disk: number, domain, set: record.redundancySet, index: record.redundancyIndex }
  }

  releaseMembers(members: readonly Member[]): void {
    for (const { disk, segment } of members) this.segments.get(disk)!.untake(segment)
  }

  bindMembers(members: readonly Member[], batch: Batch): void {
    for (const { disk, segment } of members) this.segments.get(disk)!.set(segment, 'used', batch)
    this.noteMembers(members, batch)
  }

  /** A store has these members now. */
  noteMembers(members: readonly Member[], batch: Batch): void {
    if (isAstride(members, this.disks)) this.noteAstride(batch)
  }

  /** From now on it takes a look at every store to say how many lie in several redundancy sets. */
  private noteAstride(batch: Batch): void {
    if (this.record.astride !== 0) return
    this.record = { ...this.record, astride: 1 }
    batch.patch(keyOf('pool'), poolRecord.fields.astride.offset, Uint8Array.of(1), poolRecord.size)
  }

  /** Redundant stores with members in several redundancy sets. */
  async astride(): Promise<number> {
    return this.record.astride === 0 ? 0 : countAstride(this.metadata, this.disks)
  }

  freeMembers(members: readonly Member[], batch: Batch): void {
    for (const { disk, segment } of members) this.segments.get(disk)!.set(segment, 'freed', batch)
  }

  unbindMembers(members: readonly Member[], batch: Batch): void {
    for (const { disk, segment } of members) this.segments.get(disk)!.set(segment, 'clean', batch)
  }

  get freedSegments(): number {
    let count = 0
    for (const disk of this.disks.values()) if (disk.inService && !disk.isLeaving) count += this.segments.get(disk.number)?.freed ?? 0
    return count
  }

  /** Makes freed segments read as zeros, flushes, and records them as clean (hazard 9). @returns how many */
  async cleanFreed(): Promise<number> {
    const cleaned = await Promise.all(
      [...this.disks.values()].map(async disk => {
        try {
          return await this.cleanDisk(disk)
        } catch (error) {
          if (!isDisksFault(error)) throw error
          await this.failDisk(disk, error)
          return 0
        }
      }),
    )
    return cleaned.reduce((sum, count) => sum + count, 0)
  }

  /** One at a time on a disk: a second one would punch segments that the first has given out. */
  cleanDisk(disk: PoolDisk): Promise<number> {
    const cleaning = this.cleaning.get(disk.number) ?? this.cleanNow(disk).finally(() => this.cleaning.delete(disk.number))
    this.cleaning.set(disk.number, cleaning)
    return cleaning
  }

  private async cleanNow(disk: PoolDisk): Promise<number> {
    const map = this.segments.get(disk.number)
    // What is free of a disk that leaves is nobody's any more.
    if (!disk.inService || disk.isLeaving || !map) return 0
    const segments = map.find('freed', 0, CLEAN_BATCH)
    if (segments.length === 0) return 0
    for (let i = 0; i < segments.length;) {
      let run = 1
      while (i + run < segments.length && segments[i + run] === segments[i]! + run) run++
      await disk.punch(segments[i]!, 0, run * SEGMENT)
      i += run
    }
    await disk.flush()
    const batch = new Batch()
    const cleaned = segments.filter(segment => map.state(segment) === 'freed')
    for (const segment of cleaned) map.record(segment, 'clean', batch)
    await this.metadata.commit(batch, 'data', true)
    // Not before: metadata takes clean segments by commits that pass those in the queue.
    for (const segment of cleaned) if (map.state(segment) === 'freed') map.become(segment, 'clean')
    return segments.length
  }

  async growMetadata(liveBlocks: number): Promise<{ segments: number; places: Place[]; batch: Batch } | undefined> {
    // Each new store is about half of what there is, so that the number of stores stays small.
    const wanted = Math.max(1, Math.min(64, Math.floor((liveBlocks * BLOCK) / SEGMENT / 2)))
    const full = new Set<PoolDisk>()
    for (let segments = wanted; segments >= 1; segments >>= 1) {
      const places = await this.takePlaces(segments, full)
      if (!places) continue
      const batch = new Batch()
      for (const place of places) for (let i = 0; i < segments; i++) this.segments.get(place.disk)!.set(place.segment + i, 'metadata', batch)
      return { segments, places, batch }
    }
    return undefined
  }

  /** Takes runs of segments for the copies of a metadata store, with the host's blocks. Disks whose host is full join `full`. */
  private async takePlaces(segments: number, full: Set<PoolDisk>): Promise<Place[] | undefined> {
    for (;;) {
      const candidates = [...this.disks.values()].filter(
        disk => disk.allocatable && !full.has(disk) && (this.segments.get(disk.number)?.available ?? 0) >= segments,
      )
      candidates.sort((a, b) => this.segments.get(b.number)!.available - this.segments.get(a.number)!.available)
      const chosen = spreadOver(candidates, Math.min(this.record.metadataCopies, candidates.length))
      const places: Place[] = []
      for (const disk of chosen) {
        const segment = this.segments.get(disk.number)!.takeRun(segments)
        if (segment !== undefined) places.push({ disk: disk.number, segment })
      }
      const fullBefore = full.size
      if (places.length > 0 && places.length === chosen.length) {
        for (const { disk, segment } of places) {
          try {
            await this.disk(disk).reserve(segment, 0, segments * SEGMENT)
          } catch (error) {
            if (!isCode(error, 'ERR_HOST_FULL')) throw error
            full.add(this.disk(disk))
          }
        }
        if (full.size === fullBefore) return places
      }
      for (const place of places) for (let i = 0; i < segments; i++) this.segments.get(place.disk)!.untake(place.segment + i)
      if (full.size === fullBefore) return undefined
    }
  }

  /**
   * The parity log of a disk in service; made, durably, when it has none yet.
   * @throws LunarError `ERR_POOL_FULL` when the disk has no run of clean segments for it, `ERR_HOST_FULL`
   */
  ensureLog(number: number): Promise<ParityLog> {
    return this.parityLogs.ensure(this.disk(number))
  }

  /** The log of the parity that lies on a disk; known without waiting once it was used. */
  parityLog(disk: PoolDisk): ParityLog | Promise<ParityLog> {
    return this.logs.get(disk.number) ?? this.ensureLog(disk.number)
  }

  /** What the log of a disk holds is done again and made durable, before anything on the disk is believed. */
  private async recoverParity(disk: PoolDisk): Promise<void> {
    const log = this.logs.get(disk.number)
    if (log) await recoverParity(log, this.stores, (failed, error) => this.failDisk(failed, error))
  }

  // ---- disks that fail, leave and come back

  /** Takes a disk that failed out of service; durable when it resolves. */
  failDisk(disk: PoolDisk, error: unknown): Promise<void> {
    if (hasLeft(disk)) return this.failing.get(disk.number) ?? Promise.resolve()
    const { batch, stale } = this.enterFailed(disk, error)
    return this.track(disk, Promise.all([this.leaveService(disk, batch), stale]))
  }

  /** A quorum disk or a holder of metadata failed: called by the metadata, which commits the batch itself. */
  diskFailed(member: MetadataDisk, error: unknown): Batch {
    const disk = this.disks.get(member.number)
    this.metadataDisks.delete(member.number)
    // A data write of it failed at the same time and is being recorded already.
    if (!disk || hasLeft(disk)) return new Batch()
    disk.errors++
    disk.fault = error instanceof Error ? error.message : String(error)
    const { batch, stale } = this.enterFailed(disk, error)
    // Queued behind the vote and behind what was waiting: when this is durable, so is the vote, and no older record of the disk follows it.
    const marker = new Batch()
    marker.put(keyOf('disk', disk.number), diskRecord.encode(disk.record))
    this.event(marker, 'quorum.left', `disk ${disk.number}`, 'left the quorum because it failed')
    void this.track(disk, Promise.all([this.metadata.commit(marker, 'data', true), stale])).catch((failure: unknown) => {
      this.noteLater('pool.error', `disk ${disk.number}`, String(failure))
    })
    return batch
  }

  /** A failure of this disk that is not durable yet: nothing that relied on its absence may be acknowledged before. */
  leaving(disk: PoolDisk): Promise<void> | undefined {
    return this.failing.get(disk.number)
  }

  private track(disk: PoolDisk, leaving: Promise<unknown>): Promise<void> {
    const tracked = leaving.then(() => {
      if (this.failing.get(disk.number) === tracked) this.failing.delete(disk.number)
    })
    // One that cannot be made durable stays: nothing that relies on it may ever be acknowledged.
    this.failing.set(disk.number, tracked)
    // What the disk held of the metadata is made up for elsewhere.
    void tracked
      .then(() => this.maintain())
      .catch((error: unknown) => {
        this.noteLater('pool.error', `disk ${disk.number}`, String(error))
      })
    return tracked
  }

  /** Fills the quorum up, and moves metadata that lost copies to disks that are in service. One at a time. */
  maintain(): Promise<void> {
    return this.maintenance.run(async () => {
      if (this.closing || this.options.readOnly || this.metadata.failure) return
      await this.fillQuorum()
      const usable = domainCountOf([...this.disks.values()].filter(disk => disk.allocatable).map(disk => disk.domain))
      await this.metadata.leaveThinStores(Math.min(2, usable), (places, segments) => {
        const batch = new Batch()
        for (const place of places) {
          const map = this.segments.get(place.disk)
          if (map) for (let i = 0; i < segments; i++) map.set(place.segment + i, 'freed', batch)
        }
        return batch
      })
    })
  }

  /** 0 where one of the places is on a disk that leaves: such a store is left. */
  coverage(places: readonly Place[]): number {
    if (places.some(({ disk }) => this.disks.get(disk)?.isLeaving)) return 0
    return domainCountOf(places.filter(({ disk }) => this.metadataDisks.has(disk)).map(({ disk }) => this.disks.get(disk)?.domain ?? ''))
  }

  metadataDamaged(member: MetadataDisk, what: string, repaired: boolean): void {
    this.noteLater('metadata.damaged', `disk ${member.number}`, `${what} ${repaired ? 'was wrong and has been rewritten from another copy' : 'is wrong'}`)
    const disk = this.disks.get(member.number)
    if (disk) disk.errors++
  }

  readRepaired(disk: PoolDisk, error: unknown): void {
    this.noteLater(
      'disk.readError',
      `disk ${disk.number}`,
      `a read failed and another copy served it: ${error instanceof Error ? error.message : String(error)}`,
    )
  }

  private enterFailed(disk: PoolDisk, error: unknown): { batch: Batch; stale: Promise<void> } {
    const batch = new Batch()
    const reason = error instanceof LunarError ? `${error.message}: ${error.why}` : String(error)
    // Behind a connection that is gone nothing can be said to be broken: the disk is away, and comes back by itself.
    const state = disk.device?.remote?.isLost ? 'missing' : 'failed'
    if (state === 'missing') {
      disk.device = undefined
      for (const stores of this.stores.values()) stores.lostWith(disk, reason)
    }
    this.setState(disk, state, reason, batch)
    this.event(batch, `disk.${state}`, `disk ${disk.number}`, reason)
    const stale = this.markStale(disk)
    this.onChange()
    return { batch, stale }
  }

  /**
   * Marks every open slice of a disk that just left service as stale, in the same turn: a slice that is closed after this
   * has its mark in the journal before.
   */
  private async markStale(disk: PoolDisk): Promise<void> {
    const commits: Promise<void>[] = []
    for (const stores of this.stores.values()) for (const batch of stores.staleFor(disk.number)) commits.push(this.metadata.commit(batch, 'data', true))
    await Promise.all(commits)
  }

  private async leaveService(disk: PoolDisk, batch: Batch): Promise<void> {
    const members = this.metadata.memberIds
    this.metadataDisks.delete(disk.number)
    if (members.includes(disk.id) && members.length > 1) await this.metadata.removeMember(disk.id, batch)
    else await this.metadata.commit(batch, 'admin', true)
  }

  /** A disk whose flush fails, or whose connection is lost, leaves service whether or not anybody waits for it. */
  private watch(disk: PoolDisk): void {
    disk.onFlushFailed = (failed, error) => {
      this.hasFailed(failed, error)
    }
    this.watchConnection(disk)
  }

  private watchConnection(disk: PoolDisk): void {
    const { device } = disk
    if (!device?.remote || this.options.readOnly) return
    void device.remote.lost.then(error => {
      if (disk.device === device && !this.closing) this.hasFailed(disk, error)
    })
  }

  private hasFailed(disk: PoolDisk, error: unknown): void {
    void this.failDisk(disk, error).catch((failure: unknown) => {
      this.noteLater('pool.error', `disk ${disk.number}`, String(failure))
    })
  }

  /** Puts a new state into the disk's record and the batch; one that was removed has no record any more. */
  setState(disk: PoolDisk, state: DiskStateName, reason: string, batch: Batch, flags = disk.record.flags): void {
    if (this.disks.get(disk.number) !== disk) return
    disk.state = state
    disk.record = {
      ...disk.record,
      state: diskStates.indexOf(state),
      flags,
      stateSinceMs: this.options.clock.wallMs(),
      errors: disk.errors,
      reason: fitting(reason, REASON_MAX),
    }
    batch.put(keyOf('disk', disk.number), diskRecord.encode(disk.record))
  }

  /** Takes a disk out of service by the operator's wish: flushed first, so that nothing is stale on it. */
  async offline(disk: PoolDisk): Promise<void> {
    if (disk.device && disk.inService) await disk.flush()
    for (const stores of this.stores.values()) await stores.closeOpen(0)
    const batch = new Batch()
    this.setState(disk, 'missing', 'taken offline by the operator', batch, disk.record.flags | DISK_OFFLINE)
    this.event(batch, 'disk.offline', `disk ${disk.number}`, 'taken offline by the operator')
    await this.track(disk, Promise.all([this.leaveService(disk, batch), this.markStale(disk)]))
    this.onChange()
  }

  /** Attaches a disk that was away, or takes a failed one back: merging, until resync has brought it up to date. */
  async online(disk: PoolDisk, found: FoundDisk | undefined): Promise<void> {
    await this.leaving(disk)
    if (found) {
      disk.attach(found.disk)
      this.watchConnection(disk)
      this.labels.set(disk.number, found.label)
    }
    if (!disk.device)
      throw new LunarError('ERR_DISK_NOT_FOUND', `Cannot bring disk ${disk.number} online`, {
        why: 'no file or device with its label was found',
        fix: 'lunar disk online --path FILE',
      })
    if (disk.state === 'normal' || disk.state === 'merging') return
    if (disk.hasFailedFlush) {
      throw new LunarError('ERR_DISK_STATE', `Cannot bring disk ${disk.number} online`, {
        why: 'a flush of it failed in this process; what it holds must be read anew',
        fix: 'lunar pool export, then lunar pool import',
      })
    }
    const label = this.labels.get(disk.number)
    invariant(label, 'an attached disk has a label')
    this.metadataDisks.set(disk.number, { number: disk.number, id: disk.id, disk: disk.device, segmentsAt: disk.record.segmentsAt, quorumHint: false })
    await this.parityLogs.load(disk)
    await this.recoverParity(disk)
    const batch = new Batch()
    this.setState(disk, 'merging', 'back, being brought up to date', batch, disk.record.flags & ~DISK_OFFLINE)
    this.event(batch, 'disk.returned', `disk ${disk.number}`, 'back, being brought up to date')
    await this.metadata.commit(batch, 'admin', true)
    this.onChange()
  }

  /** The last stale byte of a merging disk is copied: it is normal again. */
  async merged(disk: PoolDisk): Promise<void> {
    await this.metadata.refreshCopies(new Set([disk.number]))
    const batch = new Batch()
    this.setState(disk, 'normal', '', batch)
    this.event(batch, 'disk.normal', `disk ${disk.number}`, 'up to date again')
    await this.metadata.commit(batch, 'admin', true)
    await this.maintain()
  }

  /** Fills the quorum up with disks that are normal, spread over failure domains. Labels say so before the membership does. */
  private async fillQuorum(): Promise<void> {
    const usable = [...this.disks.values()].filter(
      disk => disk.device && disk.state === 'normal' && !disk.isLeaving && disk.record.journalRoom >= this.metadata.journalSize,
    )
    const wanted = quorumWanted(usable.length)
    const leaving = [...this.disks.values()].filter(disk => disk.isLeaving).map(disk => disk.id)
    const current = this.metadata.memberIds.filter(id => !leaving.includes(id))
    if (current.length >= wanted) return
    const chosen = chooseQuorum(
      usable.map(disk => ({ disk: disk.number, domain: disk.domain, member: current.includes(disk.id), witness: disk.isWitness })),
      wanted,
    )
    for (const number of chosen) {
      const disk = this.disk(number)
      const member = this.metadataDisks.get(number)
      // One that leaves makes room when it has left.
      if (current.includes(disk.id) || !member || this.metadata.memberIds.length === MEMBERS_MAX) continue
      try {
        await this.relabel(disk, true)
        const batch = new Batch()
        this.event(batch, 'quorum.joined', `disk ${number}`, 'holds a copy of the metadata now')
        await this.metadata.addMember(member, batch)
      } catch (error) {
        if (isCode(error, 'ERR_HOST_FULL') || isCode(error, 'ERR_HOST_LIMIT')) {
          // Not now: the pool goes on with the quorum it has, and the next opening tries again.
          this.warnings.push(`Disk ${number} could not join the quorum: ${error.why}`)
          continue
        }
        if (!isCode(error, 'ERR_IO')) throw error
        await this.failDisk(disk, error)
      }
    }
  }

  /** Writes a disk's label with what the record says now. */
  async relabel(disk: PoolDisk, quorum = this.metadata.memberIds.includes(disk.id)): Promise<void> {
    const old = this.labels.get(disk.number)
    if (!old || !disk.device) return
    const label: Label = {
      ...old,
      generation: old.generation + 1,
      domain: disk.domain,
      poolName: this.record.name,
      flags: (disk.isWitness ? LABEL_WITNESS : 0) | (quorum ? LABEL_QUORUM : 0),
      redundancySet: disk.record.redundancySet,
      redundancyIndex: disk.record.redundancyIndex,
      state: disk.record.state,
    }
    await writeLabel(disk.device, label)
    this.labels.set(disk.number, label)
  }

  /** Puts new places of disks of the pool into their records and the batch. @returns the disks that moved */
  private moveDisks(places: ReadonlyMap<number, SetPlace>, batch: Batch): PoolDisk[] {
    const moved: PoolDisk[] = []
    for (const [number, { set, index }] of places) {
      const disk = this.disks.get(number)
      if (!disk) continue
      if (disk.record.redundancySet !== set) this.noteAstride(batch)
      disk.record = { ...disk.record, redundancySet: set, redundancyIndex: index }
      batch.put(keyOf('disk', number), diskRecord.encode(disk.record))
      moved.push(disk)
    }
    if (moved.length > 0) {
      const names = moved.map(({ number, record }) => `${number} to ${record.redundancySet}.${record.redundancyIndex}`)
      this.event(batch, 'pool.regrouped', this.record.name, `disks moved to another redundancy set or index: ${names.join(', ')}`)
    }
    return moved
  }

  /** Labels follow the records; one that cannot be written is the disk's failure. */
  private async relabelAll(disks: readonly PoolDisk[]): Promise<void> {
    for (const disk of disks) {
      try {
        await this.relabel(disk)
      } catch (error) {
        if (!isDisksFault(error)) throw error
        await this.failDisk(disk, error)
      }
    }
  }

  /**
   * Takes the host's blocks for what a disk needs as a member of the pool, before it is one, so that joining cannot meet a full
   * host half way: labels, lock record and roots; the journal too on a witness, which is for nothing else.
   * @throws LunarError `ERR_HOST_FULL`
   */
  async reserveAreas(disks: readonly { disk: Disk; witness: boolean }[]): Promise<void> {
    for (const { disk, witness } of disks) {
      const { journalAt, ownersAt, labelEndAt } = diskLayout(disk.size, witness)
      await disk.reserve(0, witness ? ownersAt : journalAt)
      await disk.reserve(labelEndAt, BLOCK)
    }
  }

  /** Where disks that join the pool would be, and those that move for it. */
  placesWith(disks: readonly { disk: Disk; witness: boolean; domain: string }[]): Map<number, SetPlace> {
    const joining = disks.map(({ disk, domain, witness }, i) => ({ disk: this.record.nextDisk + i, size: disk.size, domain, witness }))
    return changedPlaces(
      placesIn(0, this.disks.values()),
      joining.filter(({ witness }) => !witness),
    )
  }

  /** Adds disks that are open, blank or not, and locked: labels first, then one commit that makes them the pool's. */
  async addDisks(disks: readonly { disk: Disk; blank: boolean; witness: boolean; domain: string }[]): Promise<PoolDisk[]> {
    const batch = new Batch()
    const added: { disk: PoolDisk; device: Disk; label: Label; map: SegmentMap }[] = []
    let next = this.record.nextDisk
    const places = this.placesWith(disks)
    for (const spec of disks) {
      const number = next++
      const { record, label } = describeDisk(spec, {
        poolId: this.poolId,
        poolName: this.record.name,
        number,
        diskId: this.options.uuids(),
        nowMs: this.options.clock.wallMs(),
        place: places.get(number),
      })
      const disk = new PoolDisk(number, record, 'normal', spec.disk)
      this.watch(disk)
      const map = new SegmentMap(number, record.segmentCount)
      if (!spec.blank) map.fill('freed', batch)
      batch.put(keyOf('disk', number), diskRecord.encode(record))
      this.event(batch, 'disk.added', `disk ${number}`, spec.disk.name)
      added.push({ disk, device: spec.disk, label, map })
    }
    for (const { disk, blank } of disks) if (!blank) await disk.zero(ROOTS_AT, ROOT_COUNT * BLOCK)
    await Promise.all(added.map(({ device, label }) => writeFirstLabel(device, label)))
    this.record = { ...this.record, nextDisk: next }
    batch.put(keyOf('pool'), poolRecord.encode(this.record))
    const moved = this.moveDisks(places, batch)
    await this.metadata.commit(batch, 'admin', true)
    for (const { disk, device, label, map } of added) {
      this.disks.set(disk.number, disk)
      this.slots.add(disk.number, disk.record.segmentCount)
      this.segments.set(disk.number, map)
      this.labels.set(disk.number, label)
      this.metadataDisks.set(disk.number, { number: disk.number, id: disk.id, disk: device, segmentsAt: disk.record.segmentsAt, quorumHint: false })
    }
    await this.relabelAll(moved)
    await this.maintain()
    this.onChange()
    return added.map(({ disk }) => disk)
  }

  /** The disk is to leave the pool, durably: nothing new is put on it. What it holds is moved by `Evacuation`, which then calls `removeDisk`. */
  async leave(disk: PoolDisk): Promise<void> {
    const batch = new Batch()
    disk.record = { ...disk.record, flags: disk.record.flags | DISK_LEAVING }
    batch.put(keyOf('disk', disk.number), diskRecord.encode(disk.record))
    this.event(batch, 'disk.leaving', `disk ${disk.number}`, 'what it holds moves to the other disks')
    await this.metadata.commit(batch, 'admin', true)
  }

  /** Segments of a disk that something lies in, without its parity log; those about to be bound are not counted. */
  heldSegments(disk: PoolDisk): number {
    const map = this.segments.get(disk.number)
    return map ? map.count('used') + map.count('metadata') - disk.record.logSegments : 0
  }

  /**
   * Takes a disk out of the pool that stores have left: quorum and metadata go to others, then one commit forgets it; the device is wiped and let go.
   * @returns false when a store has come to lie on it meanwhile @throws LunarError `ERR_QUORUM_LOST`, `ERR_METADATA_FULL` when the others cannot take its part
   */
  async removeDisk(disk: PoolDisk): Promise<boolean> {
    await this.failing.get(disk.number)
    await this.maintain()
    if (this.metadata.memberIds.includes(disk.id)) {
      const batch = new Batch()
      this.event(batch, 'quorum.left', `disk ${disk.number}`, 'left the quorum because it leaves the pool')
      await this.metadata.removeMember(disk.id, batch)
      await this.maintain()
    }
    if (this.metadata.stores.some(({ places }) => places.some(place => place.disk === disk.number)))
      throw new LunarError('ERR_METADATA_FULL', `Cannot remove disk ${disk.number}`, { why: 'the other disks have no room for the metadata on it' })
    await this.parityLogs.drop(disk)
    await this.segments.get(disk.number)?.settled()
    if (this.heldSegments(disk) > 0) return false
    // From here to the commit nothing waits, and nobody writes its record after this.
    const { device } = disk
    const places = placesIn(disk.record.ldad, this.disks.values())
    const batch = this.forgetDisk(disk)
    const moved = this.moveDisks(disk.isWitness ? new Map() : changedPlaces(places, [], [disk.number]), batch)
    this.event(batch, 'disk.removed', `disk ${disk.number}`, device?.name ?? 'it was away')
    await this.metadata.commit(batch, 'admin', true)
    await this.relabelAll(moved)
    if (device && !device.remote?.isLost) {
      // Its label is of no pool's any more; one that stays is told of when it is found.
      await wipeDisks([{ disk: device, size: disk.record.size }]).catch((error: unknown) => {
        if (!isDisksFault(error)) throw error
        this.noteLater('disk.removed', `disk ${disk.number}`, `its label could not be wiped: ${error instanceof Error ? error.message : String(error)}`)
      })
    }
    await this.onRemoved(device)
    this.onChange()
    return true
  }

  /** Forgets a disk in memory and in the batch. */
  private forgetDisk(disk: PoolDisk): Batch {
    const batch = new Batch()
    batch.delete(keyOf('disk', disk.number))
    const total = this.segments.get(disk.number)?.total ?? 0
    for (let record = 0; record * SEGMENTS_PER_RECORD < total; record++) batch.delete(keyOf('segments', disk.number, record))
    for (const known of [this.disks, this.segments, this.labels, this.metadataDisks]) known.delete(disk.number)
    for (const stores of this.stores.values()) stores.forgetDisk(disk)
    disk.state = 'failed'
    disk.device = undefined
    return batch
  }

  async setDomain(disk: PoolDisk, domain: string): Promise<void> {
    const batch = new Batch()
    disk.record = { ...disk.record, domain }
    batch.put(keyOf('disk', disk.number), diskRecord.encode(disk.record))
    this.event(batch, 'disk.labelled', `disk ${disk.number}`, domain === '' ? 'failure domain removed' : `failure domain ${domain}`)
    await this.metadata.commit(batch, 'admin')
    await this.relabel(disk)
  }

  // ---- events

  /** Puts an event into a batch. */
  event(batch: Batch, code: string, object: string, message: string): void {
    if (!this.options.readOnly) this.events.add(batch, code, object, message)
  }

  /** Keeps an event, where no commit can be made, for the next one that can take it. */
  noteLater(code: string, object: string, message: string): void {
    this.events.addLater(code, object, message)
  }

  /** Flushes every disk that was written and closes every slice that can be closed. */
  async quiesce(): Promise<void> {
    for (const stores of this.stores.values()) {
      // What a disk that fails now cannot flush stays open, for the next opener to resync; the flush below tells of it.
      await stores.closeOpen(0).catch((error: unknown) => {
        if (!isDisksFault(error)) throw error
      })
    }
    await Promise.all([...this.disks.values()].filter(disk => disk.device).map(disk => disk.flush().catch(() => this.noteUnflushed(disk))))
    await this.events.flush()
  }

  private noteUnflushed(disk: PoolDisk): void {
    this.noteLater('disk.flushFailed', `disk ${disk.number}`, disk.fault ?? 'flush failed')
  }

  async close(): Promise<void> {
    this.closing = true
    await this.maintenance.run(() => undefined)
    if (!this.options.readOnly && !this.metadata.failure) {
      await this.quiesce()
      await this.parityLogs.drain()
    }
    await this.metadata.close()
  }
}

/** Its leaving is recorded, or being recorded. */
const hasLeft = (disk: PoolDisk): boolean => disk.state === 'failed' || (disk.state === 'missing' && !disk.device)

/** The first `count` disks, of different failure domains as long as there are some. */
function spreadOver(disks: readonly PoolDisk[], count: number): PoolDisk[] {
  const chosen: PoolDisk[] = []
  for (const distinct of [true, false]) {
    for (const disk of disks) {
      if (chosen.length < count && !chosen.includes(disk) && !(distinct && disk.domain !== '' && chosen.some(other => other.domain === disk.domain)))
        chosen.push(disk)
    }
  }
  return chosen
}

/** How many failure domains disks are in; one without a domain is one of its own. */
const domainCountOf = (domains: readonly string[]): number => new Set(domains.map((domain, i) => (domain === '' ? i : domain))).size

const unique = <T>(items: T[]): T | undefined => (items.length === 1 ? items[0] : undefined)
