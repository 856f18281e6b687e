import { LunarError } from '../base/errors.ts'
import type { PlacedBlock } from '../block/write-once.ts'
import type { ChunkRun } from './chunks.ts'
import { Copying } from './copying.ts'
import type { CopySource, WodImage } from './wod-image.ts'

/** Copies what the device of an image lacks, so that the image needs its source no more. What is on the device is its own cursor. */
export class WodComplete extends Copying {
  /**
   * @param source of the image
   * @param written blocks of the image's device in [from, to), in order
   * @param usedMs when a host last used the source
   */
  constructor(
    private readonly image: WodImage,
    private readonly source: CopySource,
    private readonly written: (from: number, to: number) => AsyncIterable<PlacedBlock>,
    private readonly usedMs: () => number,
    nowMs: () => number,
    ended: () => Promise<void>,
  ) {
    super(nowMs, ended)
  }

  protected get delay(): number {
    return this.image.wod.record.completeDelay
  }
  protected get chunkBytes(): number {
    return this.image.wod.blockBytes
  }
  protected get lastUsedMs(): number {
    return this.usedMs()
  }
  private get count(): number {
    return this.image.size / this.chunkBytes
  }

  protected async toDo(): Promise<number> {
    let left = this.count
    for await (const _ of this.written(0, this.count)) left--
    return left * this.chunkBytes
  }

  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    const { wod, label } = this.image
    if (wod.isInvalid) throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${label}`, { why: wod.record.reason })
    let at = from
    for await (const { block } of this.written(from, this.count)) {
      if (block > at) return { from: at, to: Math.min(block, at + most) }
      at = block + 1
    }
    return at < this.count ? { from: at, to: Math.min(this.count, at + most) } : undefined
  }

  protected async copy({ from, to }: ChunkRun): Promise<number> {
    const length = (to - from) * this.chunkBytes
    await this.image.copy(from * this.chunkBytes, length, this.source)
    return length
  }
}
