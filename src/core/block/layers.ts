/** What layers say of themselves, and the tree that they make: found by walking what is wired (features.md B13). */
import type { BlockDevice } from './device.ts'

export type LayerKind = 'protocol' | 'access' | 'quality-of-service' | 'snapshot' | 'cache' | 'lun' | 'range' | 'redundancy'

/** One layer, for people. */
export interface ShownLayer {
  readonly layer: LayerKind
  /** What it does here: `read-only`. */
  readonly about: string
}

/** A layer, and what lies below it. */
export interface LayerView extends ShownLayer {
  readonly below: readonly LayerView[]
}

/** What a device offers that shows up in the tree. */
export interface Layered {
  /** Undefined while it does nothing: then only what lies below it is shown. */
  readonly shown: ShownLayer | undefined
  /** The device that it hands its calls to; a device without one says what it consists of in `consistsOf`. */
  readonly below?: BlockDevice
  readonly consistsOf?: readonly LayerView[]
}

/** The layers from a device down. @param until what is not shown any more, nor what lies below it: several devices may share it */
export function layersOf(device: BlockDevice & Partial<Layered>, until?: BlockDevice): readonly LayerView[] {
  if (device === until) return []
  const below = device.below ? layersOf(device.below, until) : (device.consistsOf ?? [])
  return device.shown ? [{ ...device.shown, below }] : below
}
