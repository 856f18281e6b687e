import { isCode, LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { checkName } from '../base/names.ts'
import { ResourceStack } from '../base/resources.ts'
import { KIB, MIB } from '../base/units.ts'
import { inSlots, WriteOnce, type PlacedBlock, type WriteOnceDevice, type WriteOnceSpace } from '../block/write-once.ts'
import { Batch } from '../../metadata/batch.ts'
import { dropEras, NO_ERAS, type Eras } from '../../metadata/eras.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import {
  decodeRecord,
  poolRecord,
  WOD_COMPLETING,
  WOD_CONFIGURED,
  WOD_ENABLED,
  WOD_GONE,
  WOD_INVALID,
  WOD_MIXED,
  WOD_STALE,
  WOD_UPDATING,
  wodKinds,
  wodRecord,
  type WodKind,
  type WodRecord,
} from '../../metadata/records.ts'
import type { Redundancy } from '../raid/geometry.ts'
import type { Pool } from '../pool/pool.ts'
import { checkLunSize, type Luns } from '../lun/luns.ts'
import { FileBacking, LunBacking } from './backing.ts'
import { BlockMap } from './block-map.ts'
import { checkFileLabel, fileSize, writeFileLabel, type FileOwner, type WodFiles } from './files.ts'
import { LOG_SEGMENT, LOG_SPARE, LogSpace } from './log-space.ts'
import { IsomorphicSpace, PackedSpace } from './spaces.ts'

const BLOCK_MIN = 4 * KIB
const BLOCK_MAX = MIB
/** Small, because every first write copies a block (Symantec; features.md E2). Bytes. */
export const WOD_BLOCK_DEFAULT = 64 * KIB
/** A slot plus 1 is a u32 on disk. */
const BLOCKS_MAX = 0xffff_fff0
/** Bytes of a path in its record. */
const PATH_MAX = 512
/** Records deleted in one step. */
const ERASE_STEP = 2000

export interface NewWod {
  readonly name: string
  readonly on: WodKind
  /** Bytes; whole blocks, and whole MiB on a LUN. */
  readonly size: number
  /** Bytes, a power of two from 4 KiB to 1 MiB. */
  readonly blockBytes: number
  /** Of the LUN below; for `lun` and `store`. */
  readonly raid: Redundancy
  /** Absolute; for `file` and `vdisk`. */
  readonly path?: string
  readonly dryRun?: boolean
}

/** What a change of a record is told as, and what else is in its commit. */
export interface WodEvent {
  readonly code: string
  readonly message: string
  readonly together?: (batch: Batch) => void
}

/** Commits a batch that others have a part in. */
export type CommitWith = (fill: (batch: Batch) => void) => Promise<void>

/** A write-once device of a pool: its record and, from its first use on, the device. */
export class Wod {
  private opening: Promise<WriteOnceDevice> | undefined

  constructor(
    readonly number: number,
    public record: WodRecord,
    private readonly make: (wod: Wod) => Promise<WriteOnceDevice>,
  ) {}

  /** The device as it would be. */
  with(change: Partial<WodRecord>): Wod {
    return new Wod(this.number, { ...this.record, ...change }, this.make)
  }

  get name(): string {
    return this.record.name
  }
  get kind(): WodKind {
    return kindOf(this.record)
  }
  get blockBytes(): number {
    return 2 ** this.record.blockShift
  }
  /** It is the image of a source. */
  get isConfigured(): boolean {
    return this.flag(WOD_CONFIGURED)
  }
  get isEnabled(): boolean {
    return this.flag(WOD_ENABLED)
  }
  get isInvalid(): boolean {
    return this.flag(WOD_INVALID)
  }
  /** It was emptied, and what it held may still take space. */
  get isStale(): boolean {
    return this.flag(WOD_STALE)
  }
  get isCompleting(): boolean {
    return this.flag(WOD_COMPLETING)
  }
  /** Its source is being updated from it. */
  get isUpdating(): boolean {
    return this.flag(WOD_UPDATING)
  }
  /** Its source is of two instants: an update of it ended before its end. */
  get isMixed(): boolean {
    return this.flag(WOD_MIXED)
  }
  private flag(bit: number): boolean {
    return (this.record.flags & bit) !== 0
  }

  /** @throws LunarError when what it lies on cannot be used; the next call tries again */
  device(): Promise<WriteOnceDevice> {
    this.opening ??= this.make(this).catch((error: unknown) => {
      this.opening = undefined
      throw error
    })
    return this.opening
  }
}

const kindOf = (record: WodRecord): WodKind => {
  const kind = wodKinds[record.kind]
  if (kind === undefined) throw new LunarError('ERR_METADATA_DAMAGED', 'Cannot use a write-once device', { why: `its kind ${record.kind} is not known` })
  return kind
}
const doneEras = ({ updateEra, nextEra }: WodRecord): Eras => ({ inUse: new Set([updateEra]), next: nextEra })
export const onLun = (kind: WodKind): boolean => kind === 'lun' || kind === 'store'

/** The write-once devices of a pool: the directory, and what creates, empties and deletes them. */
export class Wods {
  private readonly byNumber = new Map<number, Wod>()
  private readonly gone = new Map<number, WodRecord>()
  /** Devices whose old maps may still have records. */
  private readonly untidy = new Set<number>()
  /** Changes of devices come one after the other; who needs relationships as well takes their turn first. */
  readonly changing = new Mutex()
  private readonly updating = new Mutex()
  private readonly open = new ResourceStack()

  private constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly files: WodFiles,
  ) {}

  static async load(pool: Pool, luns: Luns, files: WodFiles): Promise<Wods> {
    const wods = new Wods(pool, luns, files)
    for await (const { hi, value } of pool.metadata.range(hiOf('wod'), 0, 0, hiOf('wod', 0xffff_ffff))) {
      const number = hi - hiOf('wod')
      const record = decodeRecord(wodRecord, value)
      if ((record.flags & WOD_GONE) !== 0) wods.gone.set(number, record)
      else wods.add(number, record)
      if (wods.gone.has(number) || (record.flags & WOD_STALE) !== 0) wods.untidy.add(number)
    }
    for (const wod of wods.all) await wods.noteOldMaps(wod)
    return wods
  }

  /** What an update of the source has done is still to be deleted when the update has ended. */
  async noteOldMaps({ number, record }: Wod): Promise<void> {
    if ((await dropEras(this.pool.metadata, hiOf('wodDone', number), doneEras(record), 1, new Batch())) > 0) this.untidy.add(number)
  }

  private add(number: number, record: WodRecord): Wod {
    const wod = new Wod(number, record, one => this.make(one))
    this.byNumber.set(number, wod)
    return wod
  }

  /** In order of number. */
  get all(): Wod[] {
    return [...this.byNumber.values()]
  }

  named(name: string): Wod | undefined {
    return this.all.find(wod => wod.name === name)
  }

  /** @throws LunarError `ERR_WOD_NOT_FOUND` */
  find(name: string): Wod {
    const wod = this.named(name)
    if (!wod) throw new LunarError('ERR_WOD_NOT_FOUND', `Cannot find write-once device "${name}" in pool "${this.pool.record.name}"`)
    return wod
  }

  /** @throws LunarError `ERR_EXISTS` when a device has the name: LUNs and devices share theirs, so that an image is named in one way */
  checkNewName(name: string): void {
    if (this.named(name))
      throw new LunarError('ERR_EXISTS', `Cannot use the name "${name}"`, { why: `pool "${this.pool.record.name}" has a write-once device of this name` })
  }

  // ---- creating and deleting

  /**
   * A device of which every block is unwritten.
   * @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_TOO_FEW_DISKS`, `ERR_HOST_FULL`; then nothing is left of it
   */
  create(spec: NewWod): Promise<Wod> {
    return this.changing.run(async () => {
      checkName('write-once device', spec.name)
      if (/^(?:dcssnap)?\d+$/i.test(spec.name))
        throw new LunarError('ERR_BAD_NAME', `Cannot use "${spec.name}" as the name of a write-once device`, {
          why: 'it looks like the number of a relationship',
        })
      this.checkNewName(spec.name)
      this.luns.checkNew(spec.name)
      checkShape(spec)
      const now = this.pool.options.clock.wallMs()
      const number = Math.max(1, this.pool.record.nextWod)
      const record: WodRecord = {
        wodId: this.pool.options.uuids(),
        name: spec.name,
        kind: wodKinds.indexOf(spec.on),
        blockShift: Math.log2(spec.blockBytes),
        flags: 0,
        lun: 0,
        era: 1,
        nextEra: 2,
        source: 0,
        relationship: 0,
        size: spec.size,
        createdMs: now,
        emptiedMs: now,
        asOfMs: 0,
        imageSize: 0,
        onFull: 0,
        completeDelay: 0,
        reason: '',
        updateEra: 0,
        sourceDelay: 0,
        path: spec.path ?? '',
      }
      const made = onLun(spec.on) ? await this.createOnLun(spec, number, record) : await this.createOnFile(spec, number, record)
      return spec.dryRun ? new Wod(number, made, one => this.make(one)) : this.add(number, made)
    })
  }

  /** The LUN and the device are one commit. */
  private async createOnLun(spec: NewWod, number: number, record: WodRecord): Promise<WodRecord> {
    let made = record
    const size = spec.on === 'store' ? spec.size + LOG_SPARE * LOG_SEGMENT : spec.size
    await this.luns.create({
      name: spec.name,
      size,
      raid: spec.raid,
      reserve: false,
      ...(spec.dryRun === undefined ? {} : { dryRun: spec.dryRun }),
      writeOnce: (batch, lun) => {
        made = { ...record, lun }
        this.putNew(number, made, batch)
      },
    })
    return made
  }

  /** The file is whole before the commit that names it; it goes again when that fails. */
  private async createOnFile(spec: NewWod, number: number, record: WodRecord): Promise<WodRecord> {
    if (spec.dryRun) {
      await this.checkNewFile(record.path)
      return record
    }
    const disk = await this.files.create(record.path, fileSize(record.size))
    try {
      try {
        await writeFileLabel(disk, this.ownerOf(record))
      } finally {
        await disk.close()
      }
      const batch = new Batch()
      this.putNew(number, record, batch)
      await this.pool.metadata.commit(batch, 'admin')
    } catch (error) {
      await this.files.remove(record.path)
      throw error
    }
    return record
  }

  private async checkNewFile(path: string): Promise<void> {
    try {
      await (await this.files.open(path, true)).close()
    } catch (error) {
      if (isCode(error, 'ERR_FILE_NOT_FOUND')) return
      throw error
    }
    throw new LunarError('ERR_EXISTS', `Cannot create ${path}`, { why: 'the file exists already' })
  }

  private putNew(number: number, record: WodRecord, batch: Batch): void {
    this.pool.record = { ...this.pool.record, nextWod: number + 1 }
    batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
    batch.put(keyOf('wod', number), wodRecord.encode(record))
    this.pool.event(batch, 'wod.created', record.name, `${kindOf(record)}, ${record.size} bytes, blocks of ${2 ** record.blockShift}`)
  }

  /** One commit; `tidy` gives back what it held. @throws LunarError `ERR_IN_RELATIONSHIP` */
  delete(wod: Wod, options: { readonly dryRun: boolean }): Promise<void> {
    return this.changing.run(async () => {
      if (wod.isConfigured) this.refuse('delete', wod, `lunar snap unconfigure ${wod.record.relationship}`)
      if (options.dryRun) return
      const record = { ...wod.record, flags: wod.record.flags | WOD_GONE }
      const mark = (batch: Batch): void => {
        batch.put(keyOf('wod', wod.number), wodRecord.encode(record))
        this.pool.event(batch, 'wod.deleted', wod.name, wod.kind)
      }
      const lun = onLun(wod.kind) ? this.luns.byId(wod.record.lun) : undefined
      if (lun) await this.luns.deleteWriteOnce(lun, mark)
      else await this.commit(mark)
      this.byNumber.delete(wod.number)
      this.gone.set(wod.number, record)
      this.untidy.add(wod.number)
    })
  }

  /** All of it, or a range of whole blocks, becomes unwritten. @throws LunarError `ERR_IN_RELATIONSHIP` while a snapshot rests on it */
  reallocate(wod: Wod, range: { readonly offset: number; readonly length: number }): Promise<void> {
    return this.changing.run(async () => {
      this.checkReallocate(wod)
      await (await wod.device()).reallocate(range.offset, range.length)
    })
  }

  /** @throws LunarError `ERR_IN_RELATIONSHIP` */
  checkReallocate(wod: Wod): void {
    if (wod.isEnabled) this.refuse('reallocate', wod, `lunar DisableSnap ${wod.record.relationship}`)
  }

  private refuse(what: string, wod: Wod, fix: string): never {
    const label = `DcsSnap${wod.record.relationship}`
    throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot ${what} write-once device "${wod.name}"`, {
      why: `it is the image of LUN "${this.luns.byId(wod.record.source)?.name ?? wod.record.source}" (${label})`,
      fix,
      blockers: [label],
    })
  }

  /** Changes a record durably. */
  update(wod: Wod, change: (record: WodRecord) => Partial<WodRecord>, event?: WodEvent): Promise<void> {
    return this.updating.run(() => this.updateNow(wod, change(wod.record), event))
  }

  private async updateNow(wod: Wod, change: Partial<WodRecord>, event?: WodEvent): Promise<void> {
    const record = { ...wod.record, ...change }
    await this.commit(batch => {
      batch.put(keyOf('wod', wod.number), wodRecord.encode(record))
      if (event) this.pool.event(batch, event.code, wod.name, event.message)
      event?.together?.(batch)
    })
    wod.record = record
  }

  private async commit(fill: (batch: Batch) => void): Promise<void> {
    const batch = new Batch()
    fill(batch)
    await this.pool.metadata.commit(batch, 'admin', true)
  }

  // ---- what it lies on

  private async make(wod: Wod): Promise<WriteOnceDevice> {
    const { record, kind, blockBytes } = wod
    const map = this.mapOf(wod)
    const blocks = record.size / blockBytes
    return new WriteOnce(`write-once device "${wod.name}"`, record.size, blockBytes, map, await this.spaceOf(wod, kind, map, blocks))
  }

  private async spaceOf(wod: Wod, kind: WodKind, map: BlockMap, blocks: number): Promise<WriteOnceSpace> {
    const { record, blockBytes } = wod
    if (onLun(kind)) {
      const lun = this.luns.byId(record.lun)
      if (!lun) throw new LunarError('ERR_METADATA_DAMAGED', `Cannot use write-once device "${wod.name}"`, { why: `the pool has no LUN ${record.lun}` })
      const backing = new LunBacking(lun)
      return kind === 'lun'
        ? new IsomorphicSpace(backing, blockBytes, blocks, wod.isStale)
        : new LogSpace(backing, blockBytes, lun.size, map, blocks, wod.isStale)
    }
    const disk = await this.files.open(record.path, this.pool.options.readOnly)
    try {
      await checkFileLabel(disk, this.ownerOf(record), wod.name)
    } catch (error) {
      await disk.close()
      throw error
    }
    const backing = new FileBacking(this.open.use(disk))
    return kind === 'file'
      ? new IsomorphicSpace(backing, blockBytes, blocks, wod.isStale)
      : new PackedSpace(backing, blockBytes, blocks, wod.isStale, () => inSlots(map.written(0, blocks)))
  }

  private mapOf(wod: Wod): BlockMap {
    return new BlockMap(
      this.pool.metadata,
      wod.number,
      () => wod.record.era,
      async () => {
        await this.update(wod, record => this.emptied(record), { code: 'wod.reallocated', message: 'all of it' })
        this.untidy.add(wod.number)
      },
    )
  }

  /** The record of a device of which every block is unwritten. */
  private emptied(record: WodRecord): WodRecord {
    const { nextEra, flags } = record
    return { ...record, era: nextEra, nextEra: nextEra + 1, emptiedMs: this.pool.options.clock.wallMs(), flags: flags | WOD_STALE }
  }

  /**
   * Changes records in one commit with whatever else it changes.
   * @param commit makes a batch durable, to which it may add
   */
  updateTogether(wods: readonly Wod[], change: (record: WodRecord) => Partial<WodRecord>, commit: CommitWith): Promise<void> {
    return this.updating.run(() => this.commitTogether(wods, change, commit))
  }

  private async commitTogether(wods: readonly Wod[], change: (record: WodRecord) => Partial<WodRecord>, commit: CommitWith): Promise<void> {
    const after = wods.map(({ record }) => ({ ...record, ...change(record) }))
    await commit(batch => {
      for (const [i, wod] of wods.entries()) batch.put(keyOf('wod', wod.number), wodRecord.encode(after[i]!))
    })
    for (const [i, wod] of wods.entries()) wod.record = after[i]!
  }

  /** The same, and every block of the devices becomes unwritten, in a time that does not depend on what they hold. Nobody writes them. */
  renew(wods: readonly Wod[], change: (record: WodRecord) => Partial<WodRecord>, commit: CommitWith): Promise<void> {
    return this.updating.run(async () => {
      const devices: WriteOnceDevice[] = []
      for (const wod of wods) devices.push(await wod.device())
      const commitAll = (): Promise<void> => this.commitTogether(wods, record => this.emptied({ ...record, ...change(record) }), commit)
      // Each is held while those after it are, and then all change.
      await devices.reduceRight<() => Promise<void>>((inner, device) => () => device.renew(inner), commitAll)()
      for (const { number } of wods) this.untidy.add(number)
    })
  }

  private ownerOf(record: WodRecord): FileOwner {
    return { poolId: this.pool.poolId, wodId: record.wodId, size: record.size }
  }

  /** Written blocks, in order, from the map. */
  written(wod: Wod, offset = 0, length = wod.record.size): AsyncIterable<PlacedBlock> {
    return this.mapOf(wod).written(offset / wod.blockBytes, (offset + length) / wod.blockBytes)
  }

  /** How many there are. Walks the map. */
  async countWritten(wod: Wod, offset = 0, length = wod.record.size): Promise<number> {
    let count = 0
    for await (const _ of this.written(wod, offset, length)) count++
    return count
  }

  /** Closes the files; nobody uses the devices any more. */
  close(): Promise<void> {
    return this.open.close()
  }

  // ---- what deleted and emptied devices leave

  get needsTidying(): boolean {
    return this.untidy.size > 0
  }

  /** Gives back a bounded part of it. @returns whether something is left */
  async tidy(): Promise<boolean> {
    for (const number of this.untidy) {
      const wod = this.byNumber.get(number)
      const { era, updateEra } = wod?.record ?? {}
      const batch = new Batch()
      const eras = wod ? { inUse: new Set([wod.record.era]), next: wod.record.nextEra } : NO_ERAS
      const dropped = await dropEras(this.pool.metadata, hiOf('wodBlocks', number), eras, ERASE_STEP, batch)
      const left = ERASE_STEP - dropped
      const more = left === 0 ? 0 : await dropEras(this.pool.metadata, hiOf('wodDone', number), wod ? doneEras(wod.record) : NO_ERAS, left, batch)
      const finished = more < left
      const gone = finished ? this.gone.get(number) : undefined
      if (gone) {
        if (gone.path !== '') await this.removeFile(gone)
        batch.delete(keyOf('wod', number))
      }
      if (!batch.isEmpty) await this.pool.metadata.commit(batch, 'data', true)
      if (dropped + more > 0 || (finished && wod?.isStale && (await this.releaseSome(wod)))) return true
      // Emptied again or deleted meanwhile, it has to be looked at again.
      if (this.byNumber.get(number) !== wod || wod?.record.era !== era || wod?.record.updateEra !== updateEra) return true
      this.untidy.delete(number)
      this.gone.delete(number)
    }
    return this.untidy.size > 0
  }

  /** @returns whether something is left */
  private async releaseSome(wod: Wod): Promise<boolean> {
    const { era } = wod.record
    try {
      if (await (await wod.device()).release()) return true
    } catch (error) {
      if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
      // What it lies on is away or refuses: it keeps the space, and the rest of the pool does not wait for it.
      this.pool.warnings.push(`Write-once device "${wod.name}" keeps space that nothing needs: ${error.message}${error.why === '' ? '' : `: ${error.why}`}`)
      return false
    }
    await this.update(wod, record => (record.era === era ? { flags: record.flags & ~WOD_STALE } : {}))
    return false
  }

  /** Only the file that is the device's own: what lies at the path now may be somebody else's. */
  private async removeFile(record: WodRecord): Promise<void> {
    if (await this.hasFile(record)) await this.files.remove(record.path)
  }

  private async hasFile(record: WodRecord): Promise<boolean> {
    try {
      await this.checkFileOf(record)
      return true
    } catch (error) {
      if (isCode(error, 'ERR_FILE_NOT_FOUND') || isCode(error, 'ERR_NOT_A_DISK') || isCode(error, 'ERR_TRUNCATED')) return false
      throw error
    }
  }

  private async checkFileOf(record: WodRecord): Promise<void> {
    const disk = await this.files.open(record.path, true)
    try {
      await checkFileLabel(disk, this.ownerOf(record), record.name)
    } finally {
      await disk.close()
    }
  }

  /** @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_NOT_A_DISK`, `ERR_TRUNCATED` unless a device that lies in a file has it at its path */
  async checkFile({ record }: Wod): Promise<void> {
    if (record.path !== '') await this.checkFileOf(record)
  }

  /** Paths of the files that are there of the pool's devices, also of deleted ones. */
  async ownFiles(): Promise<string[]> {
    const paths: string[] = []
    for (const record of [...this.all.map(wod => wod.record), ...this.gone.values()])
      if (record.path !== '' && (await this.hasFile(record))) paths.push(record.path)
    return paths
  }
}

/** @throws LunarError `ERR_BAD_SIZE`, `ERR_USAGE` */
function checkShape({ on, size, blockBytes, path }: NewWod): void {
  if (blockBytes < BLOCK_MIN || blockBytes > BLOCK_MAX || !Number.isInteger(Math.log2(blockBytes)))
    throw new LunarError('ERR_BAD_SIZE', `Cannot use blocks of ${blockBytes} bytes`, {
      why: `a block is a power of two from ${BLOCK_MIN} to ${BLOCK_MAX} bytes`,
      fix: 'leave --block-size out for 64KiB',
    })
  if (!Number.isSafeInteger(size) || size <= 0 || size % blockBytes !== 0 || size / blockBytes > BLOCKS_MAX)
    throw new LunarError('ERR_BAD_SIZE', `Cannot make a write-once device of ${size} bytes`, {
      why: `it has whole blocks of ${blockBytes} bytes, at most ${BLOCKS_MAX} of them`,
    })
  if (onLun(on)) checkLunSize(size)
  if (onLun(on) === (path !== undefined))
    throw new LunarError('ERR_USAGE', `Cannot make a write-once device on "${on}"`, {
      why: path === undefined ? 'it lies in a file, and none is named' : 'it lies on a LUN of its own and takes no file',
      fix: path === undefined ? 'name the file: --path FILE' : 'leave --path out',
    })
  if (path !== undefined && Buffer.byteLength(path) > PATH_MAX)
    throw new LunarError('ERR_USAGE', `Cannot use ${path}`, { why: `a path has at most ${PATH_MAX} bytes` })
}
