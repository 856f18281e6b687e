/** What commands show, built from an open pool: the same in the owner and in a view without a lock. */
import { isoTime } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import { FileDisk } from '../block/file.ts'
import { decodeEvent } from '../../metadata/event.ts'
import { decodeHistory, NO_UID } from '../../metadata/history.ts'
import { layersOf } from '../block/layers.ts'
import { describeQuality } from '../block/qos/quality.ts'
import { hiOf } from '../../metadata/key.ts'
import type { VolumeKind } from '../../metadata/records.ts'
import { BLOCK, FORMAT_VERSION, JOURNAL_AT, ROOTS_AT, SEGMENT } from '../../metadata/layout.ts'
import { copiesOf, memberCount, COLUMNS, PARITY_MEMBER, ROW, SLICE, SLICE_ON_MEMBER, SLICES, UNIT, type Redundancy } from '../raid/geometry.ts'
import type { Lun } from '../lun/lun.ts'
import { typeRuns } from '../lun/ranges.ts'
import { sliceOf, storeOf } from '../lun/slice-map.ts'
import type { Luns } from '../lun/luns.ts'
import type { PoolEvent } from '../pool/event-log.ts'
import { isAstride } from '../pool/grouping.ts'
import type { Pool } from '../pool/pool.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import type { Relationships } from '../snapshot/relationships.ts'
import type {
  DiskDetail,
  DiskSummary,
  EventView,
  HistoryView,
  Health,
  LunDetail,
  LunLayers,
  LunRelationship,
  LunSummary,
  MapExtent,
  PoolDetail,
  PoolStatus,
  PoolSummary,
  RedundancySet,
  RstoreDetail,
  RstoreSummary,
  Setting,
  TaskView,
} from './api.ts'
import { qualityOf, type Qualities } from './qualities.ts'
import { lunSettings } from './settings-views.ts'
import { areDegraded, troubleMessages, type Troubles } from './troubles.ts'

const roleOf = (raid: Redundancy, member: number): Pick<RstoreDetail['members'][number], 'role' | 'column'> =>
  member >= COLUMNS * copiesOf[raid] ? { role: 'parity', column: null } : { role: copiesOf[raid] > 1 ? 'copy' : 'column', column: member % COLUMNS }
export const eventView = ({ number, timeMs, event, object, message }: PoolEvent): EventView => ({ number, time: isoTime(timeMs), event, object, message })
const worst = (a: Health, b: Health): Health =>
  a === 'critical' || b === 'critical' ? 'critical' : a === 'degraded' || b === 'degraded' ? 'degraded' : 'healthy'

export interface LunHealth {
  readonly health: Health
  /** Bytes that no copy can serve. */
  readonly lost: number
  /** Bytes with a copy missing or stale. */
  readonly stale: number
}

export class Views {
  /** Names of the hosts that reach a volume. */
  presentedTo: (kind: VolumeKind, volume: number) => string[] = () => []

  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly troubles: Troubles,
    private readonly qualities: Qualities,
  ) {}

  /** Everything is where it belongs: then no LUN needs to be looked at slice by slice. */
  get allWell(): boolean {
    for (const disk of this.pool.disks.values()) if (!disk.isWitness && disk.state !== 'normal') return false
    for (const stores of this.pool.stores.values()) if (stores.anyStale) return false
    return true
  }

  /** @param well what `allWell` says; a list asks once for all its rows */
  async lunHealth(lun: Lun, well = this.allWell): Promise<LunHealth> {
    if (well) return { health: 'healthy', lost: 0, stale: 0 }
    let lost = 0
    let stale = 0
    for await (const { place } of lun.map.bound(0, lun.sliceCount)) {
      await lun.stores.table.load(storeOf(place))
      const health = lun.sliceHealth(place)
      if (health === 'lost') lost += lun.lostColumns(place).length * SLICE_ON_MEMBER
      else if (health === 'degraded') stale += SLICE
    }
    return { health: lost > 0 ? 'critical' : stale > 0 ? 'degraded' : 'healthy', lost, stale }
  }

  private async health(): Promise<Health> {
    const other: Health = areDegraded(await this.troubles.find()) ? 'degraded' : 'healthy'
    return worst(other, await this.healthOfLuns())
  }

  private async healthOfLuns(): Promise<Health> {
    if (this.allWell) return 'healthy'
    let health: Health = [...this.pool.disks.values()].every(disk => disk.state === 'normal') ? 'healthy' : 'degraded'
    for (const lun of this.luns.all) health = worst(health, (await this.lunHealth(lun)).health)
    return health
  }

  space(): { size: number; used: number; free: number } {
    const { size, free } = sizesOf([...this.pool.segments.values()])
    return { size, used: size - free, free }
  }

  async poolSummary(): Promise<PoolSummary> {
    return {
      name: this.pool.record.name,
      id: this.pool.poolId,
      health: await this.health(),
      disks: this.pool.disks.size,
      luns: this.luns.all.filter(({ isStore }) => !isStore).length,
      ...this.space(),
      created: isoTime(this.pool.record.createdMs),
    }
  }

  async poolDetail(): Promise<PoolDetail> {
    const { metadata } = this.pool
    const blocks = await metadata.blocks()
    return {
      ...(await this.poolSummary()),
      generation: metadata.generation,
      formatVersion: FORMAT_VERSION,
      lastWrite: isoTime(this.pool.metadata.lastWriteMs),
      quorum: [...this.pool.disks.values()]
        .filter(disk => metadata.memberIds.includes(disk.id))
        .map(disk => ({ disk: disk.number, name: disk.label, state: disk.shownState, witness: disk.isWitness })),
      largest: (['raid0', 'raid1', 'raid5'] as const).map(raid => ({ raid, size: this.pool.largest(raid) })),
      sets: this.sets(),
      astride: await this.pool.astride(),
      settings: this.settings(),
      metadata: { used: blocks.used * BLOCK, size: blocks.total * BLOCK, copies: blocks.copies },
    }
  }

  private sets(): RedundancySet[] {
    const sets = new Map<number, PoolDisk[]>()
    for (const disk of this.pool.disks.values()) {
      if (disk.isWitness) continue
      const { redundancySet } = disk.record
      sets.set(redundancySet, [...(sets.get(redundancySet) ?? []), disk])
    }
    return [...sets]
      .sort(([a], [b]) => a - b)
      .map(([set, disks]) => {
        const maps = disks.flatMap(disk => this.pool.segments.get(disk.number) ?? [])
        return {
          ldad: 'default',
          set,
          disks: disks
            .map(({ number, shownState, record }) => ({ disk: number, index: record.redundancyIndex, state: shownState }))
            .sort((a, b) => a.index - b.index || a.disk - b.disk),
          ...sizesOf(maps),
        }
      })
  }

  settings(): Setting[] {
    const { record } = this.pool
    return [
      { key: 'comment', value: record.comment, from: record.comment === '' ? 'default' : 'pool' },
      { key: 'metadata-copies', value: record.metadataCopies, from: record.metadataCopies === 3 ? 'default' : 'pool' },
    ]
  }

  async poolStatus(tasks: TaskView[]): Promise<PoolStatus> {
    const luns = []
    let health: Health = [...this.pool.disks.values()].every(disk => disk.state === 'normal') ? 'healthy' : 'degraded'
    const well = this.allWell
    for (const lun of this.luns.all) {
      const state = await this.lunHealth(lun, well)
      health = worst(health, state.health)
      if (state.health !== 'healthy') luns.push({ name: lun.name, health: state.health, lost: state.lost, stale: state.stale })
    }
    const disks = [...this.pool.disks.values()].map(disk => this.diskSummary(disk))
    const found = await this.troubles.find()
    const { unserved: _, ...troubles } = found
    if (areDegraded(found)) health = worst(health, 'degraded')
    return {
      name: this.pool.record.name,
      health,
      generation: this.pool.metadata.generation,
      lastWrite: isoTime(this.pool.metadata.lastWriteMs),
      astride: await this.pool.astride(),
      owner: null,
      disks,
      luns,
      ...troubles,
      tasks: tasks.filter(task => task.state === 'running' || task.state === 'waiting' || task.state === 'paused'),
      messages: [...(await this.messages(disks, luns)), ...troubleMessages(found, this.pool.record.name)],
    }
  }

  private async messages(disks: readonly DiskSummary[], luns: PoolStatus['luns']): Promise<string[]> {
    const messages = [...this.pool.warnings]
    for (const disk of disks) {
      // One that left meanwhile is told of no more.
      const record = this.pool.disks.get(disk.number)?.record
      if (!record) continue
      if (disk.state === 'replacing' || disk.state === 'regenerating')
        messages.push(`Disk ${disk.number} leaves the pool, ${formatSize(disk.used)} to go: lunar task list`)
      if (disk.state === 'missing')
        messages.push(
          `Disk ${disk.number} is missing${record.reason === '' ? '' : ` (${record.reason})`}: bring it back, then lunar disk online ${disk.number}`,
        )
      if (disk.state === 'failed') messages.push(`Disk ${disk.number} failed (${record.reason}): check it, then lunar disk online ${disk.number}`)
      if (disk.state === 'merging') messages.push(`Disk ${disk.number} is being brought up to date, ${formatSize(disk.stale)} to go: lunar task list`)
    }
    for (const lun of luns) if (lun.lost > 0) messages.push(`LUN ${lun.name} refuses ${formatSize(lun.lost)}: lunar lun map ${lun.name} --lost`)
    for (const disk of this.pool.disks.values()) messages.push(...(await fileFaults(disk)))
    if (this.pool.metadata.memberIds.length === 2 && ![...this.pool.disks.values()].some(disk => disk.isWitness)) {
      messages.push('Two quorum disks: when one is away the pool opens only with --force=quorum; a witness makes it three: lunar disk add --witness FILE:32MiB')
    }
    return messages
  }

  diskSummary(disk: PoolDisk): DiskSummary {
    const map = this.pool.segments.get(disk.number)
    let stale = 0
    for (const stores of this.pool.stores.values())
      for (const store of stores.staleStores) if (stores.table.exists(store)) stale += stores.bits.staleBytes(store, disk.number)
    return {
      number: disk.number,
      id: disk.id,
      path: disk.device?.name ?? null,
      state: disk.shownState,
      witness: disk.isWitness,
      quorum: this.pool.metadata.memberIds.includes(disk.id),
      domain: disk.domain === '' ? null : disk.domain,
      redundancySet: disk.isWitness ? null : disk.record.redundancySet,
      redundancyIndex: disk.isWitness ? null : disk.record.redundancyIndex,
      size: disk.record.size,
      used: map ? (map.total - map.free) * SEGMENT : 0,
      free: map ? map.free * SEGMENT : 0,
      stale,
      errors: Math.max(disk.errors, disk.record.errors),
    }
  }

  async diskDetail(disk: PoolDisk): Promise<DiskDetail> {
    const map = this.pool.segments.get(disk.number)
    const luns = []
    for (const lun of this.luns.all) if (((await this.usage(lun)).get(disk.number) ?? 0) > 0) luns.push(lun.name)
    return {
      ...this.diskSummary(disk),
      ldad: 'default',
      segments: {
        total: map?.total ?? 0,
        used: map?.count('used') ?? 0,
        clean: map?.count('clean') ?? 0,
        freed: map?.count('freed') ?? 0,
        metadata: map?.count('metadata') ?? 0,
      },
      layout: { rootsAt: ROOTS_AT, journalAt: JOURNAL_AT, journalSize: disk.record.journalRoom, segmentsAt: disk.record.segmentsAt },
      added: isoTime(disk.record.addedMs),
      stateSince: isoTime(disk.record.stateSinceMs),
      luns,
    }
  }

  /** Bytes of segments by disk. */
  private async usage(lun: Lun): Promise<Map<number, number>> {
    const usage = new Map<number, number>()
    for (const store of await this.storesOf(lun)) for (const { disk } of lun.stores.table.membersOf(store)) usage.set(disk, (usage.get(disk) ?? 0) + SEGMENT)
    return usage
  }

  private async storesOf(lun: Lun): Promise<number[]> {
    const stores: number[] = []
    for (let store = 0; store < lun.record.nextStore; store++) {
      await lun.stores.table.load(store)
      if (lun.stores.table.exists(store)) stores.push(store)
    }
    return stores
  }

  /** Bytes that a LUN has on disks, redundancy included. */
  async used(lun: Lun): Promise<number> {
    if (lun.types.length === 1) return lun.record.storeCount * SEGMENT * memberCount(lun.types[0]!)
    let members = 0
    for (const store of await this.storesOf(lun)) members += lun.stores.table.memberCount(store)
    return members * SEGMENT
  }

  /** @param known its health, when that was looked at already */
  async lunSummary(lun: Lun, known?: Health): Promise<LunSummary> {
    const health = known ?? (await this.lunHealth(lun)).health
    const words = [health === 'healthy' ? 'ready' : health]
    if (lun.isIncomplete) words.push('incomplete')
    words.push(...this.roleWords(lun))
    if (lun.isProtected) words.push('protected')
    if (lun.isWriteOnce) words.push('write-once')
    const snapshots = this.relationships.snapshotsOf(lun).length
    if (snapshots > 0) words.push(`${snapshots} ${snapshots === 1 ? 'snapshot' : 'snapshots'}`)
    const presentedTo = this.presentedTo('lun', lun.number)
    if (presentedTo.length > 0) words.push(`presented to ${presentedTo.join(' and ')}`)
    return {
      number: lun.number,
      name: lun.name,
      id: lun.record.lunId,
      size: lun.size,
      raid: lun.raid,
      ranges: [...lun.ranges],
      bound: lun.record.boundSlices * SLICE,
      used: await this.used(lun),
      thin: !lun.isReserved,
      state: words.join(', '),
      presentedTo,
      created: isoTime(lun.record.createdMs),
    }
  }

  /** `image of DcsSnap3`, `source of DcsSnap1`, `source of 2 relationships`; an invalid or mixed one says so. */
  private roleWords(lun: Lun): string[] {
    const words: string[] = []
    const roles = this.roles(lun)
    const image = roles.find(({ role }) => role === 'image')
    if (image) words.push(`${image.state === 'invalid' ? 'invalid ' : ''}image of DcsSnap${image.number}`)
    const sources = roles.filter(({ role }) => role === 'source')
    if (sources.length > 0) words.push(`source of ${sources.length === 1 ? `DcsSnap${sources[0]!.number}` : `${sources.length} relationships`}`)
    if (this.relationships.mixedBy(lun)) words.push('mixed')
    const restored = this.relationships.restoredTo(lun)
    if (restored !== undefined) words.push(`being restored to ${restored}`)
    if (this.relationships.cloneOf(lun)) words.push('clone, being copied')
    return words
  }

  private roles(lun: Lun): LunRelationship[] {
    return this.relationships.of(lun).map(relationship => {
      const isSource = relationship.record.source === lun.number
      return {
        number: relationship.number,
        name: relationship.record.name === '' ? null : relationship.record.name,
        role: isSource ? 'source' : 'image',
        other: (isSource ? this.relationships.image(relationship) : this.relationships.source(relationship)).name,
        state: relationship.state,
      }
    })
  }

  async lunList(): Promise<LunSummary[]> {
    const rows: LunSummary[] = []
    const well = this.allWell
    for (const lun of this.luns.all) if (!lun.isStore) rows.push(await this.lunSummary(lun, (await this.lunHealth(lun, well)).health))
    return rows
  }

  async lunDetail(lun: Lun): Promise<LunDetail> {
    const { health, lost, stale } = await this.lunHealth(lun)
    return {
      ...(await this.lunSummary(lun, health)),
      health,
      lost,
      stale,
      stores: lun.record.storeCount,
      ldad: 'default',
      disks: [...(await this.usage(lun))].sort(([a], [b]) => a - b).map(([disk, used]) => ({ disk, used })),
      settings: lunSettings(lun.record),
      held: this.qualities.heldOfLun(lun),
      protected: lun.isProtected,
      relationships: this.roles(lun),
      layers: this.layers(lun),
    }
  }

  private layers(lun: Lun): LunLayers {
    // A dry run shows what would be made.
    const volume = this.luns.byId(lun.number) === lun ? this.relationships.volume(lun.number) : lun
    const quality = describeQuality(qualityOf(lun.record))
    const below = layersOf(volume)
    return {
      ways: [...lun.ways].map(way => way.wayTo(volume)),
      volume: quality === '' ? below : [{ layer: 'quality-of-service', about: quality, below }],
    }
  }

  async lunMap(lun: Lun, lostOnly: boolean): Promise<MapExtent[]> {
    const rows: MapExtent[] = []
    const push = (row: MapExtent): void => {
      const last = rows.at(-1)
      if (last && last.offset + last.length === row.offset && last.state === row.state && last.store === row.store && last.raid === row.raid)
        rows[rows.length - 1] = { ...last, length: last.length + row.length }
      else rows.push(row)
    }
    let next = 0
    const hole = (to: number): void => {
      if (lostOnly) return
      for (const run of typeRuns(lun.ranges, next, to))
        push({ offset: run.from * SLICE, length: (run.to - run.from) * SLICE, state: 'unbound', raid: run.raid, store: null, disks: [] })
    }
    for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
      hole(slice)
      next = slice + 1
      await lun.stores.table.load(storeOf(place))
      const state = lun.sliceHealth(place)
      if (lostOnly && state !== 'lost') continue
      if (lostOnly) {
        this.lostUnits(lun, slice, place).forEach(push)
        continue
      }
      const disks = [...new Set(lun.stores.table.membersOf(storeOf(place)).map(({ disk }) => disk))].sort((a, b) => a - b)
      push({ offset: slice * SLICE, length: SLICE, state, raid: lun.stores.table.raid(storeOf(place)), store: storeOf(place), disks })
    }
    hole(lun.sliceCount)
    return rows
  }

  /** The stripe units of a slice that are refused, to the byte, with the disk that has them. */
  private lostUnits(lun: Lun, slice: number, place: number): MapExtent[] {
    const rows: MapExtent[] = []
    for (let row = 0; row * ROW < SLICE; row++) {
      for (const column of lun.lostColumns(place)) {
        rows.push({
          offset: slice * SLICE + row * ROW + column * UNIT,
          length: UNIT,
          state: 'lost',
          raid: lun.stores.table.raid(storeOf(place)),
          store: storeOf(place),
          disks: [lun.stores.table.diskOf(storeOf(place), column)],
        })
      }
    }
    return rows
  }

  private storeHealth(lun: Lun, store: number): Health {
    let health: Health = 'healthy'
    for (let slice = 0; slice < SLICES; slice++) {
      if ((lun.stores.table.boundMask(store) & (1 << slice)) === 0) continue
      const state = lun.sliceHealth(store * SLICES + slice)
      health = worst(health, state === 'lost' ? 'critical' : state === 'degraded' ? 'degraded' : 'healthy')
    }
    return health
  }

  private rstoreSummary(lun: Lun, store: number): RstoreSummary {
    let bound = 0
    for (let mask = lun.stores.table.boundMask(store); mask !== 0; mask &= mask - 1) bound++
    const members = lun.stores.table.membersOf(store)
    return {
      lun: lun.name,
      number: store,
      raid: lun.stores.table.raid(store),
      bound,
      state: this.storeHealth(lun, store),
      disks: [...new Set(members.map(({ disk }) => disk))].sort((a, b) => a - b),
      parity: lun.stores.members.hasParity(store) ? lun.stores.table.diskOf(store, PARITY_MEMBER) : null,
      astride: lun.stores.members.isRedundant(store) && isAstride(members, this.pool.disks),
    }
  }

  async rstoreList(name: string | undefined): Promise<RstoreSummary[]> {
    const rows: RstoreSummary[] = []
    for (const lun of name === undefined ? this.luns.all : [this.luns.find(name)])
      for (const store of await this.storesOf(lun)) rows.push(this.rstoreSummary(lun, store))
    return rows
  }

  async rstoreDetail(name: string, store: number): Promise<RstoreDetail> {
    const lun = this.luns.find(name)
    if (Number.isSafeInteger(store) && store >= 0 && store < lun.record.nextStore) await lun.stores.table.load(store)
    if (!lun.stores.table.exists(store)) throw new LunarError('ERR_RSTORE_NOT_FOUND', `Cannot find redundant store ${store} of LUN "${name}"`)
    const addresses = new Map<number, number>()
    for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) if (storeOf(place) === store) addresses.set(sliceOf(place), slice * SLICE)
    const members = lun.stores.table.membersOf(store).map(({ disk, segment }, member) => ({
      member,
      ...roleOf(lun.stores.table.raid(store), member),
      disk,
      segment,
      offset: this.pool.disk(disk).offsetOf(segment, 0),
      state: this.pool.disk(disk).shownState,
      staleSlices: Array.from({ length: SLICES }, (_, slice) => slice).filter(slice => lun.stores.bits.isStale(store, slice, member)).length,
    }))
    const slices = Array.from({ length: SLICES }, (_, slice) => ({ slice, address: addresses.get(slice) ?? null, open: lun.stores.isOpen(store, slice) }))
    return { ...this.rstoreSummary(lun, store), members, slices }
  }

  history(limit: number, after: number): Promise<HistoryView[]> {
    return this.newest('history', limit, after, (number, value) => {
      const { timeMs, durationMs, uid, ...rest } = decodeHistory(value)
      return { number, time: isoTime(timeMs), duration: durationMs, uid: uid === NO_UID ? null : uid, ...rest }
    })
  }

  events(limit: number, after: number): Promise<EventView[]> {
    return this.newest('event', limit, after, (number, value) => eventView({ number, ...decodeEvent(value) }))
  }

  private async newest<T>(kind: 'event' | 'history', limit: number, after: number, view: (number: number, value: Uint8Array) => T): Promise<T[]> {
    const rows: T[] = []
    for await (const { lo, value } of this.pool.metadata.range(hiOf(kind), after + 1)) rows.push(view(lo, value))
    return limit === 0 ? [] : rows.slice(-limit)
  }
}

/** Bytes that segment maps are of. */
const sizesOf = (maps: readonly { readonly total: number; readonly free: number }[]): { size: number; free: number } => ({
  size: maps.reduce((sum, { total }) => sum + total, 0) * SEGMENT,
  free: maps.reduce((sum, { free }) => sum + free, 0) * SEGMENT,
})

/** What happened to the file of a disk while it is open (fault F35); the open one is served on. */
async function fileFaults(disk: PoolDisk): Promise<string[]> {
  if (!(disk.device instanceof FileDisk)) return []
  const faults = await disk.device.watchFaults()
  const of = `disk ${disk.number} (${disk.label})`
  const messages: string[] = []
  if (faults.unlinked) messages.push(`The file of ${of} was unlinked; the open one is still used, and is gone when it is closed`)
  else if (faults.replaced) messages.push(`The path of ${of} no longer leads to its file; the open one is still used`)
  if (faults.truncated) messages.push(`The file of ${of} is shorter than when it was opened: what lay behind its end is lost`)
  if (faults.permissions) messages.push(`Mode or owner of ${of} changed; the open file is still used, the next opening may fail`)
  return messages
}
