/** The verbs of relationships for images on write-once devices; all others go on to those of LUN images. */
import { isoTime, isoTimeOrNone } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { PACE_ADAPTIVE, type WodRecord } from '../../metadata/records.ts'
import type { Progress } from '../process/runner.ts'
import { Relationship } from '../snapshot/relationship.ts'
import { Trees } from '../snapshot/tree/trees.ts'
import { WodImage } from '../snapshot/wod-image.ts'
import type { Params, RelationshipConfig, RelationshipStatus, RelationshipSummary, RelationshipView, Result } from './api.ts'
import type { EngineParts } from './engine.ts'
import { asOfView, disabledView, enabledView, enableOptions, snapChanges, startKeeping } from './snap-changes.ts'
import { delayView, progressView } from './snap-views.ts'

const BLOCK_BYTES = 512

function stateOf({ wod, isUpdating }: WodImage): RelationshipView['state'] {
  if (wod.isInvalid) return 'invalid'
  if (isUpdating) return 'updating'
  if (wod.isMixed) return 'mixed'
  return wod.isEnabled ? 'enabled' : 'disabled'
}

function view({ wodImages }: EngineParts, image: WodImage): RelationshipView {
  const { wod } = image
  return {
    number: image.number,
    name: null,
    source: wodImages.source(image).name,
    image: wod.name,
    state: stateOf(image),
    process: image.isUpdating ? 'sourceUpdate' : image.isCompleting ? 'completeImage' : null,
  }
}

/** Chunks that the device holds. What differs from the source is not recorded: what is copied counts, it was about to be written. */
async function chunks({ wods }: EngineParts, { wod, size }: WodImage): Promise<{ total: number; written: number; percent: number }> {
  const total = size / wod.blockBytes
  const written = size === 0 ? 0 : await wods.countWritten(wod, 0, size)
  return { total, written, percent: total === 0 ? 0 : Math.floor((written / total) * 100) }
}

async function summary(parts: EngineParts, image: WodImage): Promise<RelationshipSummary> {
  const { percent } = await chunks(parts, image)
  return {
    ...view(parts, image),
    chunkBytes: image.wod.blockBytes,
    completePercent: percent,
    differentPercent: percent,
    asOf: isoTimeOrNone(image.wod.record.asOfMs),
    cost: image.isActive ? 'preserving' : 'none',
    lessRedundant: false,
  }
}

function config(parts: EngineParts, image: WodImage): RelationshipConfig {
  return {
    ...view(parts, image),
    chunkBytes: image.wod.blockBytes,
    blockBytes: BLOCK_BYTES,
    delaysMs: { completeImage: delayView(image.wod.record.completeDelay), imageUpdate: 0, sourceUpdate: delayView(image.wod.record.sourceDelay) },
    store: `write-once device ${image.wod.name}`,
    policy: image.dropsWhenFull ? 'drop' : 'fail-writes',
    created: isoTime(image.wod.record.createdMs),
  }
}

function progressOf(running: Progress | undefined, { completeDelay, sourceDelay }: WodRecord): RelationshipStatus['progress'] {
  if (!running) return null
  return running.kind === 'sourceUpdate' ? progressView(running, 'sourceUpdate', sourceDelay) : progressView(running, 'completeImage', completeDelay)
}

async function status(parts: EngineParts, image: WodImage): Promise<RelationshipStatus> {
  const { total, written, percent } = await chunks(parts, image)
  const { record, isEnabled } = image.wod
  const running = parts.processes.of(image)
  return {
    ...view(parts, image),
    chunks: { total, migrated: written, different: written, frozen: await image.frozen.count(total), lost: 0 },
    differentPercent: percent,
    completePercent: percent,
    asOf: isoTimeOrNone(record.asOfMs),
    enabledAt: isEnabled ? isoTimeOrNone(record.asOfMs) : null,
    progress: progressOf(running, record),
    lost: [],
    reason: record.reason === '' ? null : record.reason,
  }
}

/** Undefined when it is no image on a write-once device. @throws LunarError `ERR_USAGE` when it could be a relationship of the same name, too */
function imageOf({ wodImages, relationships }: EngineParts, reference: string): WodImage | undefined {
  const image = wodImages.named(reference)
  const other = image?.wod.name === reference ? relationships.all.find(({ record }) => record.name === reference) : undefined
  if (!image || !other) return image
  throw new LunarError('ERR_USAGE', `Cannot tell which relationship "${reference}" is`, {
    why: `it is the name of ${other.label} and of the device of ${image.label}`,
    fix: `write DcsSnap${other.number} or ${image.label}`,
  })
}

/** What names mean, in their order: images on write-once devices and relationships with LUN images. */
function allOf(parts: EngineParts, names: readonly string[]): { all: (WodImage | Relationship)[]; images: WodImage[]; relationships: Relationship[] } {
  const all = names.map(name => imageOf(parts, name) ?? parts.relationships.find(name))
  return { all, images: all.filter(one => one instanceof WodImage), relationships: all.filter(one => one instanceof Relationship) }
}

const noImageUpdate = ({ wodImages }: EngineParts, image: WodImage, what: string): never =>
  wodImages.refuse(
    image,
    what,
    'its image is a write-once device: a block of it takes one write, and an update would be the second',
    `lunar EnableNewSnap ${image.number}, which makes the image what the source is now, in one commit`,
  )

export const wodSnaps = {
  'snap.configure': async (parts: EngineParts, params: Params<'snap.configure'>): Promise<Result<'snap.configure'>> => {
    const { wods, wodImages, hosts } = parts
    const wod = wods.named(params.image)
    if (wod) hosts.checkNoClients(hosts.of('wod', wod.number), `make write-once device "${wod.name}" an image`)
    if (!wod) return snapChanges['snap.configure'](parts, params)
    if (params.name !== undefined || (params.chunkBytes !== undefined && params.chunkBytes !== wod.blockBytes))
      throw new LunarError('ERR_USAGE', `Cannot configure write-once device "${wod.name}" as an image`, {
        why: `its name and its chunks of ${wod.blockBytes} bytes are those of the device`,
        fix: 'leave --name and --chunk-size out',
      })
    const image = await wodImages.configure({
      source: params.source,
      image: params.image,
      dryRun: params.dryRun === true,
      ...(params.policy === undefined ? {} : { onFull: params.policy }),
    })
    return config(parts, image)
  },

  'snap.unconfigure': async (parts: EngineParts, params: Params<'snap.unconfigure'>): Promise<Result<'snap.unconfigure'>> => {
    const image = imageOf(parts, params.relationship)
    if (!image) return snapChanges['snap.unconfigure'](parts, params)
    const before = view(parts, image)
    await parts.wodImages.unconfigure(image, { dryRun: params.dryRun === true })
    return before
  },

  'snap.enable': async (parts: EngineParts, params: Params<'snap.enable'>): Promise<Result<'snap.enable'>> => {
    const { all, images, relationships } = allOf(parts, params.relationships)
    if (images.length === 0) return snapChanges['snap.enable'](parts, params)
    const { changed, enabled } = await parts.wodImages.enable(images, enableOptions(params), relationships)
    if (!params.dryRun) await parts.processes.look()
    return [...new Set(all)].map(one => {
      if (one instanceof Relationship)
        return enabledView(
          parts,
          enabled.find(({ relationship }) => relationship === one)!,
        )
      return { ...view(parts, one), asOf: asOfView(parts, one.wod.record.asOfMs), lost: [], changed: changed.has(one) }
    })
  },

  'snap.disable': async (parts: EngineParts, params: Params<'snap.disable'>): Promise<Result<'snap.disable'>> => {
    const { all, images, relationships } = allOf(parts, params.relationships)
    if (images.length === 0) return snapChanges['snap.disable'](parts, params)
    const { wodImages, processes } = parts
    if (!params.dryRun) {
      await wodImages.disable(images, { dryRun: true }, relationships) // what is refused stops nothing
      for (const one of all) if (one.isCompleting) await processes.stopOf(one, 'completeImage')
    }
    const { changed, disabled } = await wodImages.disable(images, { dryRun: params.dryRun === true }, relationships)
    const result: Result<'snap.disable'> = []
    for (const one of new Set(all)) {
      if (one instanceof Relationship)
        result.push(
          disabledView(
            parts,
            disabled.find(({ relationship }) => relationship === one)!,
          ),
        )
      else result.push({ ...view(parts, one), changed: changed.has(one), complete: await wodImages.isWhole(one) })
    }
    return result
  },

  'snap.start': async (parts: EngineParts, params: Params<'snap.start'>): Promise<Result<'snap.start'>> => {
    const image = imageOf(parts, params.relationship)
    if (!image) return snapChanges['snap.start'](parts, params)
    const { kind } = params
    if (kind === 'imageUpdate') return noImageUpdate(parts, image, 'update the image of')
    const { wodImages } = parts
    const changed = await startKeeping(parts, image.label, params, kind === 'sourceUpdate' ? wodImages.source(image) : undefined, options =>
      kind === 'sourceUpdate' ? wodImages.startUpdate(image, options) : wodImages.startComplete(image, options),
    )
    if (params.dryRun) return { ...view(parts, image), task: parts.processes.numberOf(kind, image.number), changed }
    await parts.processes.look()
    return { ...view(parts, image), task: await parts.processes.latestOf(kind, image.number), changed }
  },

  'snap.stop': async (parts: EngineParts, params: Params<'snap.stop'>): Promise<Result<'snap.stop'>> => {
    const image = imageOf(parts, params.relationship)
    if (!image) return snapChanges['snap.stop'](parts, params)
    const stopped = await (params.dryRun ? parts.processes.wouldStop(image, params.kind) : parts.processes.stopOf(image, params.kind))
    return { ...view(parts, image), ...stopped }
  },

  'snap.setDelay': async (parts: EngineParts, params: Params<'snap.setDelay'>): Promise<Result<'snap.setDelay'>> => {
    const image = imageOf(parts, params.relationship)
    if (!image) return snapChanges['snap.setDelay'](parts, params)
    const { kind, delay } = params
    if (kind === 'imageUpdate') return noImageUpdate(parts, image, 'set a delay of an image update of')
    const was = await parts.wodImages.setDelay(image, kind, delay === 'adaptive' ? PACE_ADAPTIVE : delay, { dryRun: params.dryRun === true })
    if (!params.dryRun) parts.processes.paceChanged(image, kind)
    return { ...view(parts, image), delayMs: delay, was: delayView(was) }
  },

  'volume.show': async ({ luns, wods, wodImages, views, trees }: EngineParts, { volume: name }: Params<'volume.show'>): Promise<Result<'volume.show'>> => {
    if (Trees.isName(name)) {
      const { size } = trees.find(name).record
      return { name, size, bound: size }
    }
    const wod = wods.named(name)
    if (!wod) {
      const { name: called, size, bound } = await views.lunSummary(luns.find(name), 'healthy')
      return { name: called, size, bound }
    }
    await wodImages.checkOpen(wod)
    return { name, size: wod.record.imageSize, bound: wod.record.imageSize }
  },

  'snap.list': async (parts: EngineParts): Promise<Result<'snap.list'>> => {
    const { relationships, snaps, wodImages } = parts
    const luns = await Promise.all(relationships.all.map(relationship => snaps.summary(relationship)))
    const images = await Promise.all(wodImages.all.map(image => summary(parts, image)))
    return [...luns, ...images].sort((a, b) => a.number - b.number)
  },

  /** The device's map is the map of migrated chunks; there is no other. */
  'snap.maps': async (parts: EngineParts, { relationship }: Params<'snap.maps'>): Promise<Result<'snap.maps'>> => {
    const image = imageOf(parts, relationship)
    if (!image) return parts.snaps.maps(parts.relationships.find(relationship))
    const { wod, size } = image
    const count = size / wod.blockBytes
    const bits = Buffer.alloc(Math.ceil(count / 8))
    for await (const { block } of parts.wods.written(wod, 0, size)) bits[Math.floor(block / 8)]! |= 1 << (block % 8)
    const map = bits.toString('base64')
    return {
      ...view(parts, image),
      chunks: count,
      chunkBlocks: wod.blockBytes / BLOCK_BYTES,
      chunkBytes: wod.blockBytes,
      migrated: map,
      delta: map,
      generation: parts.pool.metadata.generation,
    }
  },

  'snap.config': (parts: EngineParts, { relationship }: Params<'snap.config'>): Result<'snap.config'> => {
    const image = imageOf(parts, relationship)
    return image ? config(parts, image) : parts.snaps.config(parts.relationships.find(relationship))
  },

  'snap.activeConfig': (parts: EngineParts, { relationship }: Params<'snap.activeConfig'>): Result<'snap.activeConfig'> => {
    const image = imageOf(parts, relationship)
    if (!image) return parts.snaps.activeConfig(parts.relationships.find(relationship))
    if (!image.wod.isEnabled) parts.wodImages.refuse(image, 'show the active configuration of', 'it is disabled', `lunar GetSnapConfig ${image.number}`)
    const asOf = isoTime(image.wod.record.asOfMs)
    return { ...config(parts, image), enabledAt: asOf, asOf }
  },

  'snap.status': (parts: EngineParts, { relationship }: Params<'snap.status'>): Promise<Result<'snap.status'>> => {
    const image = imageOf(parts, relationship)
    return image ? status(parts, image) : parts.snaps.status(parts.relationships.find(relationship))
  },
}
