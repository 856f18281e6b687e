/** What others ask about updates, whichever kind of image they are of. */
import type { Lun } from '../lun/lun.ts'
import type { Batch } from '../../metadata/batch.ts'
import type { UpdateKind } from './relationship.ts'

/** An update under way, or one that ended before its end. */
export interface UpdateOf {
  readonly number: number
  /** What its relationship is called in messages. */
  readonly label: string
  readonly kind: UpdateKind
}

/** Why a volume is of two instants. */
export interface Mixed extends UpdateOf {
  readonly reason: string
}

/** Source updates from write-once devices, as the directory of their images knows them. */
export interface WodUpdates {
  /** The update that writes a LUN. */
  running(lun: number): UpdateOf | undefined
  /** Bytes of a LUN that it has still to do, in order. */
  frozenRanges(lun: number): AsyncIterable<{ readonly offset: number; readonly length: number }> | undefined
  /** The update that left a LUN half way. */
  mixed(lun: number): Mixed | undefined
  /** Runs a change after which LUNs are whole again: what `fill` adds is in its one commit. */
  forgive(luns: readonly number[], change: (fill?: (batch: Batch) => void) => Promise<void>): Promise<void>
  /** @throws LunarError `ERR_IN_RELATIONSHIP` when an image needs more of a LUN than a size */
  checkCut(lun: Lun, size: number): void
}

export const NO_WOD_UPDATES: WodUpdates = {
  running: () => undefined,
  frozenRanges: () => undefined,
  mixed: () => undefined,
  forgive: (_, change) => change(),
  checkCut: () => undefined,
}

/** The verb of a kind of update, after Start or Stop. */
export const updateVerb = (kind: UpdateKind): string => (kind === 'sourceUpdate' ? 'SourceUpdate' : 'ImageUpdate')
export const updateWords = (kind: UpdateKind): string => (kind === 'sourceUpdate' ? 'a source update' : 'an image update')
