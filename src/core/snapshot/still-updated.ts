import type { BlockDevice } from '../block/device.ts'
import { runsOf } from './chunks.ts'
import { whenLoaded } from './paged.ts'
import type { Relationship } from './relationship.ts'
import type { ThroughVolume } from './tree/snapshot-volume.ts'

/** A part of a range of a volume that an update writes. */
export interface UpdatePart {
  readonly offset: number
  readonly length: number
  /** The update has still to do it. */
  readonly frozen: boolean
}

/** Cuts a range where an update has something to do and where it has not. */
export async function updateParts(updating: Relationship, offset: number, length: number): Promise<UpdatePart[]> {
  const { chunks } = updating
  const run = chunks.touched(offset, length)
  const parts: UpdatePart[] = []
  for (const { from, to, value } of await whenLoaded(updating, run, () => [...runsOf(run, chunk => updating.frozen.has(chunk))])) {
    const at = Math.max(offset, chunks.offsetOf(from))
    parts.push({ offset: at, length: Math.min(offset + length, chunks.endOf(to - 1)) - at, frozen: value })
  }
  const beyond = Math.max(offset, Math.min(offset + length, chunks.size))
  if (beyond < offset + length) parts.push({ offset: beyond, length: offset + length - beyond, frozen: false })
  return parts
}

/**
 * Uses a range in parts: what an update has still to do, and the rest. What is copied while a part is used may change where it is copied from: then
 * what came of it does not count. @returns undefined when it is to be done anew, because something was copied or the update has ended
 */
export async function whileFrozen<T>(
  updating: Relationship,
  offset: number,
  length: number,
  use: (parts: readonly UpdatePart[]) => Promise<T>,
): Promise<T | undefined> {
  const { frozenEra } = updating.record
  const parts = await updateParts(updating, offset, length)
  const used = await use(parts)
  const now = await updateParts(updating, offset, length)
  const same = now.length === parts.length && now.every((part, i) => part.length === parts[i]!.length && part.frozen === parts[i]!.frozen)
  return same && updating.record.frozenEra === frozenEra ? used : undefined
}

interface Volumes {
  volume(lun: number): ThroughVolume & { readonly below: BlockDevice }
}

/** Where an update copies from. The image owns every chunk that differs; the source may be an image itself. */
export function copiedFrom({ update, record: { source, image } }: Relationship, volumes: Volumes): ThroughVolume {
  if (update === 'imageUpdate') return volumes.volume(source)
  const own = volumes.volume(image)
  return { readThrough: (offset, into) => own.below.read(offset, into), extentsThrough: (offset, length) => own.below.extents(offset, length) }
}
