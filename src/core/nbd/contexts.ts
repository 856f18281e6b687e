/** Answers to BLOCK_STATUS: what meta contexts say of a range, put together within bounds. */
import { invariant } from '../base/errors.ts'
import { alignDown, alignUp, GIB, MIB } from '../base/units.ts'
import type { BlockDevice, ExtentKind } from '../block/device.ts'
import type { MetaContext, MetaExtent } from './exports.ts'
import { allocation } from './protocol.ts'

export const BASE_ALLOCATION = 'base:allocation'

/** Extents of one reply. */
const EXTENTS_MAX = 16_384
/** What is asked of a device at once: more and more, as long as it has little to tell. Bytes. */
const WINDOW_FIRST = 16 * MIB
const WINDOW_MAX = GIB
/** Looks at the device for one reply. */
const WINDOWS_MAX = 32

/** `lost` is what cannot be read: neither a hole nor zeros. */
const flagsOf: Readonly<Record<ExtentKind, number>> = {
  data: 0,
  zero: allocation.zero,
  hole: allocation.zero | allocation.hole,
  lost: 0,
}

/** The context that every export has. */
export function allocationContext(device: BlockDevice): MetaContext {
  return {
    name: BASE_ALLOCATION,
    async extents(offset, length) {
      const from = alignDown(offset, device.blockSize)
      const to = Math.min(device.size, alignUp(offset + length, device.blockSize))
      const extents = await device.extents(from, to - from)
      return extents.flatMap(extent => {
        const start = Math.max(offset, extent.offset)
        const end = Math.min(offset + length, extent.offset + extent.length)
        return end > start ? [{ length: end - start, flags: flagsOf[extent.kind] }] : []
      })
    },
  }
}

/**
 * What a context says of a range from its beginning on, neighbours of one kind in one; it may say less than all of it, as
 * the protocol allows, but never nothing.
 * @param one just the first extent, as long as it is inside of the range
 */
export async function statusOf(context: MetaContext, offset: number, length: number, one: boolean): Promise<MetaExtent[]> {
  const found: { length: number; flags: number }[] = []
  const end = offset + length
  let window = WINDOW_FIRST
  let at = offset
  for (let looks = 0; at < end && looks < WINDOWS_MAX && found.length < (one ? 2 : EXTENTS_MAX); looks++) {
    const asked = Math.min(end - at, window)
    const stop = at + asked
    const extents = await context.extents(at, asked)
    if (extents.length === 0) break
    for (const extent of extents) {
      const part = Math.min(extent.length, stop - at)
      if (part <= 0) break
      at += part
      const last = found.at(-1)
      if (last?.flags === extent.flags) last.length += part
      else found.push({ length: part, flags: extent.flags })
    }
    if (extents.length < 1024) window = Math.min(WINDOW_MAX, window * 2)
  }
  invariant(found.length > 0, `context ${context.name} says something of bytes ${offset} to ${end}`)
  return found.slice(0, one ? 1 : EXTENTS_MAX)
}
