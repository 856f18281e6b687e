import { isCode, LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'
import { keyOf } from '../../metadata/key.ts'
import { fullPolicies, poolRecord, WOD_CONFIGURED, WOD_ENABLED, WOD_INVALID } from '../../metadata/records.ts'
import type { Lun } from '../lun/lun.ts'
import type { Luns } from '../lun/luns.ts'
import type { Pool } from '../pool/pool.ts'
import type { Wod, Wods } from '../wod/wods.ts'
import type { FullPolicy, Relationships } from './relationships.ts'
import type { Volume } from './volume.ts'
import { readOnlyImage, WodImage, WodVolume, type CopySource, type ReadSource } from './wod-image.ts'

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
  }

  private add(wod: Wod): WodImage {
    const image = new WodImage(wod)
    this.byNumber.set(image.number, image)
    this.wire(wod.record.source)
    return image
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

  /** @throws LunarError `ERR_IN_RELATIONSHIP` when an image reads what would be cut off */
  checkResize(lun: Lun, size: number): void {
    this.checkUsers(
      `shrink LUN "${lun.name}" to ${size} bytes`,
      this.of(lun).filter(image => image.isActive && size < image.size),
    )
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
  async open(wod: Wod, options: { readonly readOnly: boolean }): Promise<BlockDevice> {
    const image = await this.checkOpen(wod)
    if (!options.readOnly) throw readOnlyImage(wod)
    const source: ReadSource | undefined = wod.isEnabled ? (offset, into) => this.volume(image).readThrough(offset, into) : undefined
    return new WodVolume(image, source)
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
        flags: WOD_CONFIGURED,
        source: source.number,
        relationship: number,
        imageSize: 0,
        asOfMs: 0,
        onFull: fullPolicies.indexOf(spec.onFull ?? 'fail-writes'),
        reason: '',
      }
      if (spec.dryRun) return new WodImage(wod.with(change))
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
      await this.wods.update(image.wod, () => ({ flags: 0, source: 0, relationship: 0, imageSize: 0, asOfMs: 0, reason: '' }), {
        code: 'relationship.unconfigured',
        message: this.describe(image),
      })
      this.byNumber.delete([...this.byNumber].find(([, one]) => one === image)![0])
      this.wire(source)
    })
  }

  /**
   * Empties the device and takes a new instant. An image that is enabled already stays as it is, unless `fresh`.
   * @returns whether anything changed
   * @throws LunarError `ERR_RELATIONSHIP_STATE`, `ERR_BUSY`
   */
  enable(image: WodImage, options: { readonly fresh: boolean; readonly dryRun: boolean }): Promise<boolean> {
    return this.exclusively(async () => {
      const { wod } = image
      if (!options.fresh) {
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
      this.checkQuiet(image, 'enable')
      const source = this.source(image)
      if (source.isIncomplete) this.refuse(image, 'enable', `an import into its source "${source.name}" has not ended`)
      if (wod.record.size < source.size) this.refuse(image, 'enable', `the source has grown to ${source.size} bytes, the device has ${wod.record.size}`)
      const updating = this.volume(image).asSource.find(({ update }) => update !== undefined)
      if (updating) this.refuse(image, 'enable', `an update of ${updating.label} is under way`)
      if (options.dryRun) return true
      // The old instant is over before its blocks go, and nobody copies for it any more: after a crash the image is disabled, never of two instants.
      await this.atInstant(image, () => this.setFlags(image, 0, { asOfMs: 0, imageSize: 0, reason: '' }))
      await (await wod.device()).reallocate(0, wod.record.size)
      image.forget()
      const asOfMs = this.pool.options.clock.wallMs()
      await this.atInstant(image, () => this.setFlags(image, WOD_ENABLED, { asOfMs, imageSize: source.size }, 'enabledNew'))
      return true
    })
  }

  /** @returns whether anything changed */
  disable(image: WodImage, options: { readonly dryRun: boolean }): Promise<boolean> {
    return this.exclusively(async () => {
      if (!image.wod.isEnabled) return false
      this.checkQuiet(image, 'disable')
      if (!options.dryRun) await this.atInstant(image, () => this.setFlags(image, image.wod.record.flags & WOD_INVALID, {}, 'disabled'))
      return true
    })
  }

  /** Copies what the device lacks, so that the image needs its source no more. @returns bytes copied */
  async complete(image: WodImage): Promise<number> {
    await this.exclusively(() => {
      if (!image.isActive)
        this.refuse(
          image,
          'complete the image of',
          image.wod.isInvalid ? `it is invalid: ${image.wod.record.reason}` : 'it is disabled',
          `lunar EnableNewSnap ${image.number}`,
        )
      if (image.isCompleting) this.refuse(image, 'complete the image of', 'that is under way')
      image.isCompleting = true
      return Promise.resolve()
    })
    try {
      return await this.copyMissing(image)
    } finally {
      image.isCompleting = false
    }
  }

  private async copyMissing(image: WodImage): Promise<number> {
    const { wod, size } = image
    const device = await wod.device()
    const step = Math.max(1024 * 1024, wod.blockBytes)
    let copied = 0
    for (let at = 0; at < size; at += step) {
      for (const { offset, length, kind } of await device.extents(at, Math.min(step, size - at))) {
        if (kind !== 'hole') continue
        await image.copy(offset, length, this.copySource(image))
        copied += length
      }
    }
    return copied
  }

  private copySource(image: WodImage): CopySource {
    const volume = this.volume(image)
    return { read: (offset, into) => volume.readThrough(offset, into), extents: (offset, length) => volume.extents(offset, length) }
  }

  /** Everything acknowledged of the source is durable, nothing is in flight. */
  private async atInstant(image: WodImage, change: () => Promise<void>): Promise<void> {
    const volume = this.volume(image)
    await volume.flush()
    try {
      await volume.quiesce.pause()
      await volume.flush()
      await change()
    } finally {
      volume.quiesce.resume()
    }
  }

  private async setFlags(image: WodImage, flags: number, change: Partial<Wod['record']>, event?: string): Promise<void> {
    await this.wods.update(
      image.wod,
      () => ({ ...change, flags: WOD_CONFIGURED | flags }),
      event === undefined ? undefined : { code: `relationship.${event}`, message: this.describe(image) },
    )
  }

  private checkQuiet(image: WodImage, what: string): void {
    if (image.isCompleting) this.refuse(image, what, 'its image is being completed')
    if (image.users > 0) throw new LunarError('ERR_BUSY', `Cannot ${what} ${image.label}`, { why: `image "${image.wod.name}" is open`, fix: 'close it first' })
  }

  /** @throws LunarError `ERR_RELATIONSHIP_STATE` */
  refuse(image: WodImage, what: string, why: string, fix?: string): never {
    throw new LunarError('ERR_RELATIONSHIP_STATE', `Cannot ${what} ${image.label}`, { why, ...(fix === undefined ? {} : { fix }) })
  }

  /** The device cannot take a block: the policy says who loses (hazards 2, 23); a broken device never stops its source. */
  private async cannotPreserve(image: WodImage, error: unknown): Promise<void> {
    const full = isCode(error, 'ERR_POOL_FULL') || isCode(error, 'ERR_HOST_FULL') || isCode(error, 'ERR_METADATA_FULL')
    if (!(error instanceof LunarError) || error.code === 'ERR_BUG' || (full && !image.dropsWhenFull)) throw error
    if (image.wod.isInvalid) return
    const reason = Buffer.from(`${error.message}: ${error.why}`).subarray(0, 100).toString()
    await this.wods.update(image.wod, ({ flags }) => ({ flags: flags | WOD_INVALID, reason }), { code: 'relationship.invalid', message: reason })
  }
}
