import { alignedBuffers } from '../block/aligned.ts'
import { COLUMNS, SLICE } from '../raid/geometry.ts'

/**
 * Buffers of a resync, used again: sets of one for each column, of 1 MiB each. They are page memory, so what is written from them passes the
 * host's page cache, where nobody would look for it (aligned.ts).
 */
export class ResyncBuffers {
  private readonly free: (readonly Uint8Array[])[] = []

  /** Lends `use` a set, whatever is in it. */
  async lend<T>(use: (buffers: readonly Uint8Array[]) => Promise<T>): Promise<T> {
    const buffers = this.free.pop() ?? alignedBuffers(COLUMNS, SLICE)
    try {
      return await use(buffers)
    } finally {
      this.free.push(buffers)
    }
  }
}
