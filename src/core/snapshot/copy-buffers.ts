import { alignedBuffers } from '../block/aligned.ts'

/**
 * Buffers of a copying process, used again. The long ones are page memory: what is written from them passes the host's page
 * cache, where nobody would look for it (aligned.ts).
 */
export class CopyBuffers {
  private readonly free: Uint8Array[] = []

  /** Keeps buffers of `longest` bytes for copies from `shortest` on, in bytes; shorter and longer ones are allocations of their own. */
  constructor(
    private readonly shortest: number,
    private readonly longest: number,
  ) {}

  /** Keeps nothing: for a copy that comes alone. */
  static readonly none = new CopyBuffers(1, 0)

  /** Lends `use` a buffer of so many bytes, whatever is in it. */
  async lend<T>(length: number, use: (bytes: Uint8Array) => Promise<T>): Promise<T> {
    if (length < this.shortest || length > this.longest) return use(new Uint8Array(length))
    const buffer = this.free.pop() ?? alignedBuffers(1, this.longest)[0]!
    try {
      return await use(buffer.subarray(0, length))
    } finally {
      this.free.push(buffer)
    }
  }
}
