import { Batch } from '../../metadata/batch.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import type { PlacedBlock } from '../block/write-once.ts'
import type { Wod } from '../wod/wods.ts'
import { ChunkMap } from './chunk-map.ts'
import { runsWhere, type ChunkRun } from './chunks.ts'
import { whenLoaded } from './paged.ts'

/** What the frozen set of a device is read from. */
export interface FrozenParts {
  readonly metadata: Metadata
  /** Blocks that a device holds in [from, to), in order. */
  readonly written: (wod: Wod, from: number, to: number) => AsyncIterable<PlacedBlock>
}

/**
 * What a source update from a write-once device has still to do: the blocks that the device holds and that are not *done*. So it
 * begins with one commit, of the era of an empty map. A block that the device gets later is done before its source may change; until then both
 * hold the same, and copying it would change nothing.
 */
export class WodFrozen {
  private map: ChunkMap

  constructor(
    private readonly wod: Wod,
    private readonly parts: FrozenParts,
  ) {
    this.map = this.open()
  }

  private open(): ChunkMap {
    return new ChunkMap(this.parts.metadata, this.wod.number, this.wod.record.updateEra, 'wodDone')
  }

  /** Empty, and never changed, while there is no update. */
  private get done(): ChunkMap {
    if (this.map.era !== this.wod.record.updateEra) this.map = this.open()
    return this.map
  }

  /** The runs of a run that are still to be done, in order. */
  async of(run: ChunkRun): Promise<ChunkRun[]> {
    const { done } = this
    if (done.era === 0) return []
    const notDone = (): ChunkRun[] => runsWhere(run, block => !done.has(block))
    if ((await whenLoaded(done, run, notDone)).length === 0) return []
    const held = new Set<number>()
    for await (const { block } of this.parts.written(this.wod, run.from, run.to)) held.add(block)
    return whenLoaded(done, run, () => runsWhere(run, block => held.has(block) && !done.has(block)))
  }

  /** How many of the first `end` blocks there are. */
  async count(end: number): Promise<number> {
    let count = 0
    for await (const _ of this.blocks(0, end)) count++
    return count
  }

  /** The first one in [from, end). */
  async first(from: number, end: number): Promise<number | undefined> {
    for await (const block of this.blocks(from, end)) return block
    return undefined
  }

  /** Those in [from, end), in order. */
  async *blocks(from: number, end: number): AsyncGenerator<number> {
    const { done } = this
    if (done.era === 0) return
    for await (const { block } of this.parts.written(this.wod, from, end)) {
      if (await whenLoaded(done, { from: block, to: block + 1 }, () => !done.has(block))) yield block
    }
  }

  /** They are done, durably when it resolves. Whoever calls it has them locked. @throws LunarError `ERR_METADATA_FULL` */
  async finish(run: ChunkRun): Promise<void> {
    const { done } = this
    if (done.era === 0) return
    const due = await whenLoaded(done, run, () => runsWhere(run, block => !done.has(block)))
    if (due.length === 0) return
    const batch = new Batch()
    done.put(due, true, batch)
    await this.parts.metadata.commit(batch, 'data', true)
    done.remember(due, true)
  }

  /** Lets memory go, when nobody has a block locked. */
  trim(): void {
    this.map.trim()
  }
}
