import { LunarError } from '../base/errors.ts'
import { isZero } from '../base/zeros.ts'
import type { ChunkRun } from './chunks.ts'
import { CopyBuffers } from './copy-buffers.ts'
import { Copying } from './copying.ts'
import type { Volume } from './volume.ts'
import type { WodImage } from './wod-image.ts'

/** Bytes of the device and of the source that are compared at a time. */
const PIECE = 1024 * 1024

/**
 * Copies back what a source update from a write-once device has still to do of a run of blocks (DataCore Fig. 9): a write like any other for
 * everybody else, flushed before it counts as done. What the source holds already is not written, so that nobody else has to preserve it.
 * @returns bytes looked at
 */
export async function copyBack(volume: Volume, image: WodImage, run: ChunkRun, buffers = CopyBuffers.none): Promise<number> {
  const block = image.wod.blockBytes
  const release = await volume.lockFor(run.from * block, (run.to - run.from) * block)
  try {
    const due = await image.frozen.of(run)
    if (due.length === 0) return 0
    let moved = 0
    let written = false
    for (const part of due) {
      const end = part.to * block
      for (let at = part.from * block; at < end;) {
        const length = Math.min(end - at, Math.max(PIECE, block))
        if (await copyPiece(volume, image, at, length, buffers)) written = true
        moved += length
        at += length
      }
    }
    if (written) await volume.below.flush()
    for (const part of due) await image.frozen.finish(part)
    return moved
  } finally {
    release()
  }
}

/** @returns whether the source held anything else */
async function copyPiece(volume: Volume, image: WodImage, at: number, length: number, buffers: CopyBuffers): Promise<boolean> {
  return buffers.lend(length, bytes =>
    buffers.lend(length, async now => {
      await (await image.wod.device()).read(at, bytes)
      await volume.readThrough(at, now)
      const block = image.wod.blockBytes
      const differs = (from: number): boolean => Buffer.compare(bytes.subarray(from, from + block), now.subarray(from, from + block)) !== 0
      let written = false
      for (let from = 0; from < length;) {
        if (!differs(from)) {
          from += block
          continue
        }
        let to = from + block
        while (to < length && differs(to)) to += block
        const part = bytes.subarray(from, to)
        const start = at + from
        await volume.changeLocked(start, part.length, () => (isZero(part) ? volume.below.zero(start, part.length) : volume.below.write(start, part)), image)
        written = true
        from = to
      }
      return written
    }),
  )
}

/** Source update from a write-once device: the device and the map of what is done are its cursor. */
export class WodUpdate extends Copying {
  private readonly buffers = new CopyBuffers(PIECE / 4, PIECE)

  constructor(
    private readonly image: WodImage,
    private readonly volume: Volume,
    nowMs: () => number,
    ended: () => Promise<void>,
  ) {
    super(nowMs, ended)
  }

  protected get delay(): number {
    return this.image.wod.record.sourceDelay
  }
  protected get chunkBytes(): number {
    return this.image.wod.blockBytes
  }
  protected get lastUsedMs(): number {
    return this.volume.lastUsedMs
  }

  protected async toDo(): Promise<number> {
    return (await this.image.frozen.count(this.image.chunks.count)) * this.chunkBytes
  }

  protected async next(from: number, most: number): Promise<ChunkRun | undefined> {
    const { wod, label, chunks } = this.image
    if (wod.isInvalid) throw new LunarError('ERR_IMAGE_INVALID', `Cannot go on with ${label}`, { why: wod.record.reason })
    const first = await this.image.frozen.first(from, chunks.count)
    return first === undefined ? undefined : { from: first, to: Math.min(chunks.count, first + most) }
  }

  protected copy(run: ChunkRun): Promise<number> {
    return copyBack(this.volume, this.image, run, this.buffers)
  }
}
