import { isFull, LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Batch } from '../../metadata/batch.ts'
import {
  fullPolicies,
  poolRecord,
  WOD_COMPLETING,
  WOD_CONFIGURED,
  WOD_ENABLED,
  WOD_INVALID,
  WOD_MIXED,
  WOD_REASON_MAX,
  WOD_STALE,
  WOD_UPDATING,
} from '../../metadata/records.ts'
import { fitting } from '../../metadata/struct.ts'
import { whilePaused, whileQuiet } from '../block/quiesce.ts'
import type { Lun } from '../lun/lun.ts'
import { checkUnused, type Luns, type ResizeOptions } from '../lun/luns.ts'
import type { Pool } from '../pool/pool.ts'
import type { Wod, Wods } from '../wod/wods.ts'
import type { ProcessBody } from '../process/runner.ts'
import type { Relationship } from './relationship.ts'
import {
  checkDelay,
  COMPLETE_DELAY_MS,
  type Disabled,
  type Enabled,
  type EnableOptions,
  type FullPolicy,
  type Relationships,
  type Together,
} from './relationships.ts'
import { updateVerb, updateWords, type Mixed, type UpdateOf } from './update-state.ts'
import type { Volume } from './volume.ts'
import { readOnlyImage, WodImage, WodVolume, type CopySource, type ReadSource } from './wod-image.ts'
import { WodComplete } from './wod-complete.ts'
import { WodUpdate } from './wod-update.ts'

/** The processes of such an image. */
export type WodProcessName = 'completeImage' | 'sourceUpdate'

export interface NewWodImage {
  readonly source: string
  readonly image: string
  readonly onFull?: FullPolicy
  readonly dryRun?: boolean
}

/** Images on write-once devices: what configures, enables, disables and opens them. */
export class WodImages {
  private readonly byNumber = new Map<number, WodImage>()
  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly wods: Wods,
  ) {
    for (const wod of wods.all) if (wod.isConfigured) this.add(wod)
    relationships.cannotBeImage = lun => this.describeUsers(lun)
    relationships.wodUpdates = {
      running: lun => this.updateOf(this.updating(lun)),
      frozenRanges: lun => this.updating(lun)?.frozenRanges(),
      mixed: lun => this.mixedBy(lun),
      forgive: (luns, change) => this.forgive(luns, change),
      checkCut: (lun, size) => {
        for (const image of this.of(lun)) this.checkShrink(image, lun, size)
      },
    }
  }

  private add(wod: Wod): WodImage {
    const image = this.imageOf(wod)
    this.byNumber.set(image.number, image)
    this.wire(wod.record.source)
    return image
  }

  private imageOf(wod: Wod): WodImage {
    return new WodImage(wod, {
      metadata: this.pool.metadata,
      written: (of, from, to) => this.wods.written(of, from * of.blockBytes, (to - from) * of.blockBytes),
    })
  }

  /** Tells a volume the images that it preserves for. */
  private wire(source: number): void {
    this.relationships.volume(source).setWodImages(
      this.all.filter(({ wod }) => wod.record.source === source),
      (image, error) => this.cannotPreserve(image, error),
    )
  }

  /** In order of number. */
  get all(): WodImage[] {
    return [...this.byNumber.values()]
  }

  /** By `3` or `DcsSnap3`, or the name of its device; undefined when it is none of these. */
  named(reference: string): WodImage | undefined {
    const number = /^(?:dcssnap)?(\d{1,10})$/i.exec(reference)?.[1]
    return (number === undefined ? undefined : this.byNumber.get(Number(number))) ?? this.all.find(({ wod }) => wod.name === reference)
  }

  source(image: WodImage): Lun {
    return this.volume(image).lun
  }

  private volume(image: WodImage): Volume {
    return this.relationships.volume(image.wod.record.source)
  }

  private of(lun: Lun): WodImage[] {
    return this.all.filter(({ wod }) => wod.record.source === lun.number)
  }

  private describeUsers(lun: Lun): string | undefined {
    const users = this.of(lun)
    return users.length === 0 ? undefined : users.map(image => this.describe(image)).join('; ')
  }

  private describe(image: WodImage): string {
    return `${image.label} has write-once device "${image.wod.name}" as the image of LUN "${this.source(image).name}"`
  }

  // ---- what the rest of the pool asks

  hasSource(lun: Lun): boolean {
    return this.of(lun).length > 0
  }

  /** @throws LunarError `ERR_IN_RELATIONSHIP` */
  checkDelete(lun: Lun): void {
    this.checkUsers(`delete LUN "${lun.name}"`, this.of(lun))
  }

  /**
   * Resizes a LUN that may be in relationships. Those that are enabled keep the size of their instant.
   * @throws LunarError `ERR_IN_RELATIONSHIP`, and as `Luns.resize`
   */
  resize(lun: Lun, size: number, options: Omit<ResizeOptions, 'cutting'>): Promise<void> {
    const grown = (): Promise<void> =>
      Promise.reject(new LunarError('ERR_BUSY', `Cannot shrink LUN "${lun.name}" to ${size} bytes`, { why: 'it has just been grown', fix: 'try again' }))
    if (size >= lun.size) return this.luns.resize(lun, size, { ...options, cutting: grown })
    return this.exclusively(() => this.relationships.shrinkNow(lun, size, options))
  }

  private checkShrink(image: WodImage, lun: Lun, size: number): void {
    if (!image.isActive || size >= image.size) return
    throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot shrink LUN "${lun.name}" to ${size} bytes`, {
      why: `${this.describe(image)}, which is enabled with the ${image.size} bytes of its instant`,
      fix: `lunar DisableSnap ${image.number}; before that lunar StartCompleteImage ${image.number} --wait, to keep what the image lacks`,
      blockers: [image.label],
    })
  }

  private checkUsers(what: string, users: readonly WodImage[]): void {
    if (users.length === 0) return
    throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot ${what}`, {
      why: users.map(image => this.describe(image)).join('; '),
      fix: users.map(({ number }) => `lunar DisableSnap ${number}, lunar snap unconfigure ${number}`).join(', '),
      blockers: users.map(({ label }) => label),
    })
  }

  /** @throws LunarError `ERR_WRITE_ONCE`, `ERR_IMAGE_INVALID`, `ERR_IMAGE_INCOMPLETE` */
  async checkOpen(wod: Wod): Promise<WodImage> {
    const image = wod.isConfigured ? this.byNumber.get(wod.record.relationship) : undefined
    const failed = `Cannot open "${wod.name}"`
    if (!image)
      throw new LunarError('ERR_WRITE_ONCE', failed, {
        why: 'it is a write-once device and the image of nothing',
        fix: `lunar snap configure SOURCE ${wod.name}`,
      })
    if (wod.isInvalid)
      throw new LunarError('ERR_IMAGE_INVALID', failed, { why: `it is invalid: ${wod.record.reason}`, fix: `lunar EnableNewSnap ${image.number}` })
    if (!wod.isEnabled && !(await this.isWhole(image)))
      throw new LunarError('ERR_IMAGE_INCOMPLETE', failed, {
        why: `${image.label} is disabled and its device does not hold all of its blocks`,
        fix: `lunar EnableNewSnap ${image.number}`,
      })
    return image
  }

  /** The image as a device, for reading. @throws LunarError `ERR_READ_ONLY` and as `checkOpen` */
  async open(wod: Wod, options: { readonly readOnly: boolean; readonly user?: string | undefined }): Promise<BlockDevice> {
    const image = await this.checkOpen(wod)
    if (!options.readOnly) throw readOnlyImage(wod)
    const source: ReadSource | undefined = wod.isEnabled ? (offset, into) => this.volume(image).readThrough(offset, into) : undefined
    return new WodVolume(image, source, options.user ?? `process ${process.pid}`)
  }

  /** The device holds every block of the instant. */
  async isWhole(image: WodImage): Promise<boolean> {
    const { wod, size } = image
    return !wod.isInvalid && size > 0 && (await this.wods.countWritten(wod, 0, size)) * wod.blockBytes === size
  }

  // ---- changing

  /** Instants of relationships and changes of devices take turns with these. */
  private exclusively<T>(change: () => Promise<T>): Promise<T> {
    return this.relationships.changing.run(() => this.wods.changing.run(change))
  }

  /** @throws LunarError `ERR_IN_RELATIONSHIP`, `ERR_LUN_NOT_FOUND`, `ERR_INCOMPLETE` */
  configure(spec: NewWodImage): Promise<WodImage> {
    return this.exclusively(async () => {
      const source = this.luns.find(spec.source)
      const wod = this.wods.find(spec.image)
      this.checkPair(source, wod)
      const number = Math.max(1, this.pool.record.nextRelationship)
      const change = {
        flags: WOD_CONFIGURED | (wod.record.flags & WOD_STALE),
        source: source.number,
        relationship: number,
        imageSize: 0,
        asOfMs: 0,
        onFull: fullPolicies.indexOf(spec.onFull ?? 'fail-writes'),
        completeDelay: COMPLETE_DELAY_MS,
        sourceDelay: 0,
        updateEra: 0,
        reason: '',
      }
      if (spec.dryRun) return this.imageOf(wod.with(change))
      await this.wods.update(wod, () => change, {
        code: 'relationship.configured',
        message: `${source.name} to ${wod.name}`,
        together: batch => {
          this.pool.record = { ...this.pool.record, nextRelationship: number + 1 }
          batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
        },
      })
      return this.add(wod)
    })
  }

  private checkPair(source: Lun, wod: Wod): void {
    const cannot = (why: string): never => {
      throw new LunarError('ERR_IN_RELATIONSHIP', `Cannot make write-once device "${wod.name}" an image of LUN "${source.name}"`, { why })
    }
    this.luns.checkOwn(source, 'take an image of')
    if (source.isIncomplete) throw new LunarError('ERR_INCOMPLETE', `Cannot use LUN "${source.name}" in a relationship`)
    if (wod.isConfigured) cannot(this.describe(this.byNumber.get(wod.record.relationship)!))
    if (wod.record.size < source.size) cannot(`it has ${wod.record.size} bytes, the source has ${source.size}`)
    const image = this.relationships.volume(source.number).asImage
    if (image) cannot(`the source is itself the image of ${image.label}, which changes it as a whole when it is enabled anew`)
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` while it is enabled, `ERR_BUSY` */
  unconfigure(image: WodImage, options: { readonly dryRun: boolean }): Promise<void> {
    return this.exclusively(async () => {
      if (image.wod.isEnabled) this.refuse(image, 'unconfigure', 'it is enabled', `lunar DisableSnap ${image.number}`)
      this.checkQuiet(image, 'unconfigure')
      if (options.dryRun) return
      const { source } = image.wod.record
      await this.wods.update(image.wod, ({ flags }) => ({ flags: flags & WOD_STALE, source: 0, relationship: 0, imageSize: 0, asOfMs: 0, reason: '' }), {
        code: 'relationship.unconfigured',
        message: this.describe(image),
      })
      this.byNumber.delete([...this.byNumber].find(([, one]) => one === image)![0])
      this.wire(source)
    })
  }

  /**
   * Empties devices and takes a new instant, at one with `relationships`. Images that are enabled already stay as they are, unless `fresh`.
   * The old instant of an image ends in the commit that begins the new one.
   * @returns the images that changed, and what became of the relationships
   * @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY`, and as `Relationships.enable`; then nothing has changed
   */
  enable(
    images: readonly WodImage[],
    options: EnableOptions,
    relationships: readonly Relationship[] = [],
  ): Promise<{ readonly changed: ReadonlySet<WodImage>; readonly enabled: readonly Enabled[] }> {
    return this.exclusively(async () => {
      const due = [...new Set(images)].filter(image => this.isDue(image, options))
      // What a device lies on is looked at before anything waits for the instant; what a read still copies back was of the one before.
      for (const { wod, locks } of due) {
        await wod.device()
        await locks.settled()
      }
      const enabled = await this.relationships.enableNow(
        relationships,
        options,
        this.together(due, (now, commit) =>
          this.wods.renew(
            due.map(({ wod }) => wod),
            record => ({ flags: WOD_CONFIGURED | WOD_ENABLED, asOfMs: now, imageSize: this.sourceSize(record.source), reason: '' }),
            fill =>
              commit(batch => {
                fill(batch)
                this.tell('enabledNew', due, batch)
              }),
          ),
        ),
      )
      if (!options.dryRun) for (const image of due) image.forget()
      return { changed: new Set(due), enabled }
    })
  }

  private together(due: readonly WodImage[], change: Together['change']): Together | undefined {
    return due.length === 0 ? undefined : { luns: due.map(({ wod }) => wod.record.source), change }
  }

  private tell(event: string, images: readonly WodImage[], batch: Batch): void {
    for (const image of images) this.pool.event(batch, `relationship.${event}`, image.wod.name, this.describe(image))
  }

  private sourceSize(source: number): number {
    return this.relationships.volume(source).size
  }

  /** @returns whether it is to be enabled. @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY`, `ERR_MIXED`, `ERR_INCOMPLETE` when it cannot be */
  private isDue(image: WodImage, { fresh, forceMixed }: EnableOptions): boolean {
    const { wod } = image
    if (!fresh) {
      if (wod.isInvalid) this.refuse(image, 'enable', `it is invalid: ${wod.record.reason}`, `lunar EnableNewSnap ${image.number}`)
      if (wod.isEnabled) return false
      if (wod.record.asOfMs > 0)
        this.refuse(
          image,
          'enable',
          'a write-once device keeps no account of what changes while it is disabled, so its instant cannot be taken up again',
          `lunar EnableNewSnap ${image.number}`,
        )
    }
    if (image.isCompleting) this.refuse(image, 'enable', 'complete image is running', `lunar StopCompleteImage ${image.number}`)
    this.checkQuiet(image, 'enable')
    const source = this.source(image)
    if (source.isIncomplete) this.refuse(image, 'enable', `an import into its source "${source.name}" has not ended`)
    if (wod.record.size < source.size) this.refuse(image, 'enable', `the source has grown to ${source.size} bytes, the device has ${wod.record.size}`)
    this.checkNoUpdate(image, 'enable')
    const mixed = forceMixed ? undefined : this.relationships.mixedBy(source)
    if (mixed) throw new LunarError('ERR_MIXED', `Cannot enable ${image.label}`, { why: `${mixed.reason} (${mixed.label})` })
    return true
  }

  /** One update at a time on a volume. */
  private checkNoUpdate(image: WodImage, what: string): void {
    const source = this.source(image)
    const other = this.relationships.updateOn(source)
    if (other) this.refuse(image, what, ...underWay(other))
    const snapshot = this.relationships.restoredTo(source)
    if (snapshot !== undefined) this.refuse(image, what, `its source is being restored to ${snapshot}`, 'wait for the end: lunar task list')
  }

  /** @returns the images that changed, and what became of the relationships that are disabled at the same instant */
  disable(
    images: readonly WodImage[],
    options: { readonly dryRun: boolean },
    relationships: readonly Relationship[] = [],
  ): Promise<{ readonly changed: ReadonlySet<WodImage>; readonly disabled: readonly Disabled[] }> {
    return this.exclusively(async () => {
      const due = [...new Set(images)].filter(({ wod }) => wod.isEnabled)
      for (const image of due) {
        if (image.isUpdating) this.refuse(image, 'disable', ...underWay(this.updateOf(image)!))
        this.checkQuiet(image, 'disable')
      }
      const disabled = await this.relationships.disableNow(
        relationships,
        options,
        this.together(due, (_, commit) =>
          this.wods.updateTogether(
            due.map(({ wod }) => wod),
            ({ flags }) => ({ flags: flags & ~(WOD_ENABLED | WOD_COMPLETING) }),
            fill =>
              commit(batch => {
                fill(batch)
                this.tell('disabled', due, batch)
              }),
          ),
        ),
      )
      return { changed: new Set(due), disabled }
    })
  }

  // ---- complete image

  /** @returns whether it did not run yet. @throws LunarError `ERR_RELATIONSHIP_STATE` */
  startComplete(image: WodImage, options: { readonly dryRun: boolean }): Promise<boolean> {
    return this.exclusively(async () => {
      this.checkActive(image, 'complete the image of')
      if (image.isCompleting) return false
      if (!options.dryRun) await this.wods.update(image.wod, ({ flags }) => ({ flags: flags | WOD_COMPLETING }))
      return true
    })
  }

  /** @returns whether it ran */
  stopComplete(image: WodImage): Promise<boolean> {
    return this.exclusively(async () => {
      if (!image.isCompleting) return false
      await this.endComplete(image)
      return true
    })
  }

  private endComplete(image: WodImage): Promise<void> {
    return this.wods.update(image.wod, ({ flags }) => ({ flags: flags & ~WOD_COMPLETING }))
  }

  /** A process, to be run; undefined when the image does not want it. */
  async process(image: WodImage, kind: WodProcessName): Promise<ProcessBody | undefined> {
    const { wod } = image
    const volume = this.volume(image)
    const nowMs = (): number => this.pool.options.clock.monotonicMs()
    let body: WodComplete | WodUpdate | undefined
    if (kind === 'sourceUpdate' && image.isUpdating) body = new WodUpdate(image, volume, nowMs, () => this.finishUpdate(image))
    if (kind === 'completeImage' && image.isCompleting && image.isActive)
      body = new WodComplete(
        image,
        this.copySource(image),
        (from, to) => this.wods.written(wod, from * wod.blockBytes, (to - from) * wod.blockBytes),
        () => volume.lastUsedMs,
        nowMs,
        () => this.endComplete(image),
      )
    await body?.begin()
    return body
  }

  // ---- source update

  /**
   * What the device holds is frozen; from now on the source reads as it was at the instant, but for what nobody has written since.
   * @returns whether it was not under way yet. @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY`, `ERR_PROTECTED`
   */
  startUpdate(image: WodImage, options: { readonly dryRun: boolean }): Promise<boolean> {
    return this.exclusively(async () => {
      const what = 'update the source of'
      this.checkActive(image, what)
      if (image.isUpdating) return false
      this.checkNoUpdate(image, what)
      const source = this.source(image)
      this.relationships.checkOpen(source, { mixed: true })
      if (source.isIncomplete) this.refuse(image, what, `an import into its source "${source.name}" has not ended`)
      checkUnused(source, `${what} ${image.label}`)
      if (source.isProtected)
        throw new LunarError('ERR_PROTECTED', `Cannot ${what} ${image.label}`, {
          why: `LUN "${source.name}" is protected`,
          fix: `lunar lun unprotect ${source.name}`,
        })
      await image.wod.device() // away, it would leave the source half way
      if (options.dryRun) return true
      await whileQuiet([this.volume(image)], () =>
        this.wods.update(image.wod, ({ flags, nextEra }) => ({ flags: flags | WOD_UPDATING, updateEra: nextEra, nextEra: nextEra + 1 }), {
          code: 'relationship.sourceUpdate',
          message: 'started',
        }),
      )
      return true
    })
  }

  /** Nothing is frozen any more: but for what was written since, the source is what it was at the instant. */
  private async finishUpdate(image: WodImage): Promise<void> {
    if (!image.isUpdating) return
    await this.wods.update(image.wod, ({ flags }) => ({ flags: flags & ~(WOD_UPDATING | WOD_MIXED), updateEra: 0, reason: '' }), {
      code: 'relationship.sourceUpdate',
      message: 'done',
    })
    await this.wods.noteOldMaps(image.wod)
  }

  /** Ends an update before its end, when its process runs no more: the source is of two instants. @returns bytes left */
  stopUpdate(image: WodImage, reason: string): Promise<number> {
    return this.exclusively(async () => {
      if (!image.isUpdating) return 0
      const left = (await image.frozen.count(image.chunks.count)) * image.wod.blockBytes
      if (left === 0) {
        await this.finishUpdate(image)
        return 0
      }
      // Paused: a write of the source that copies nothing back first must not be durable before the set is known to be given up.
      await whilePaused([this.volume(image)], () =>
        this.wods.update(image.wod, ({ flags }) => ({ flags: (flags & ~WOD_UPDATING) | WOD_MIXED, updateEra: 0, reason: this.endedEarly(image, reason) }), {
          code: 'relationship.mixed',
          message: this.endedEarly(image, reason),
        }),
      )
      await this.wods.noteOldMaps(image.wod)
      return left
    })
  }

  private endedEarly(image: WodImage, reason: string): string {
    return fitting(`an update of "${this.source(image).name}" ended before its end: ${reason}`, WOD_REASON_MAX)
  }

  private updating(lun: number): WodImage | undefined {
    return this.all.find(({ wod, isUpdating }) => isUpdating && wod.record.source === lun)
  }

  private updateOf(image: WodImage | undefined): UpdateOf | undefined {
    return image && { number: image.number, label: image.label, kind: 'sourceUpdate' }
  }

  private mixedBy(lun: number): Mixed | undefined {
    const image = this.all.find(({ wod }) => wod.isMixed && wod.record.source === lun)
    return image && { number: image.number, label: image.label, kind: 'sourceUpdate', reason: image.wod.record.reason }
  }

  private forgive(luns: readonly number[], change: (fill?: (batch: Batch) => void) => Promise<void>): Promise<void> {
    const mixed = this.all.filter(({ wod }) => wod.isMixed && luns.includes(wod.record.source)).map(({ wod }) => wod)
    if (mixed.length === 0) return change()
    return this.wods.updateTogether(mixed, ({ flags, reason }) => ({ flags: flags & ~WOD_MIXED, reason: (flags & WOD_INVALID) === 0 ? '' : reason }), change)
  }

  /** @returns what it was */
  setDelay(image: WodImage, kind: WodProcessName, delay: number, options: { readonly dryRun: boolean }): Promise<number> {
    return this.exclusively(async () => {
      checkDelay(delay)
      const field = kind === 'sourceUpdate' ? 'sourceDelay' : 'completeDelay'
      const was = image.wod.record[field]
      if (was !== delay && !options.dryRun) await this.wods.update(image.wod, () => ({ [field]: delay }))
      return was
    })
  }

  private copySource(image: WodImage): CopySource {
    const volume = this.volume(image)
    return { read: (offset, into) => volume.readThrough(offset, into), extents: (offset, length) => volume.extentsThrough(offset, length) }
  }

  private checkActive(image: WodImage, what: string): void {
    if (image.isActive) return
    this.refuse(image, what, image.wod.isInvalid ? `it is invalid: ${image.wod.record.reason}` : 'it is disabled', `lunar EnableNewSnap ${image.number}`)
  }

  private checkQuiet(image: WodImage, what: string): void {
    const users = [...new Set(image.users)]
    if (users.length === 0) return
    throw new LunarError('ERR_BUSY', `Cannot ${what} ${image.label}`, {
      why: `${users.join(', ')} ${users.length === 1 ? 'has' : 'have'} image "${image.wod.name}" open`,
      blockers: users,
    })
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` */
  refuse(image: WodImage, what: string, why: string, fix?: string): never {
    throw new LunarError('ERR_RELATIONSHIP_STATE', `Cannot ${what} ${image.label}`, { why, ...(fix === undefined ? {} : { fix }) })
  }

  /** The device cannot take a block: the policy says who loses (hazards 2, 23); a broken device never stops its source. */
  private async cannotPreserve(image: WodImage, error: unknown): Promise<void> {
    const full = isFull(error)
    if (!(error instanceof LunarError) || error.code === 'ERR_BUG' || (full && !image.dropsWhenFull)) throw error
    if (image.wod.isInvalid) return
    const reason = fitting(`${error.message}: ${error.why}`, WOD_REASON_MAX)
    await this.wods.update(
      image.wod,
      // A source update that ends here leaves its source of two instants.
      ({ flags }) => ({
        flags: (flags & ~(WOD_COMPLETING | WOD_UPDATING)) | WOD_INVALID | ((flags & WOD_UPDATING) !== 0 ? WOD_MIXED : 0),
        updateEra: 0,
        reason,
      }),
      { code: 'relationship.invalid', message: reason },
    )
    await this.wods.noteOldMaps(image.wod)
  }
}

/** Why an update is in the way, and what to do. */
const underWay = ({ number, label, kind }: UpdateOf): [why: string, fix: string] => [
  `${updateWords(kind)} of ${label} is under way`,
  `lunar Stop${updateVerb(kind)} ${number}`,
]
