/** Where short copies are cut from: one allocation for many, so that they cost no more than the bytes. Bytes. */
const SLAB = 256 * 1024
/** Empty slabs that are kept: fresh memory costs a page fault every 4 KiB. */
const KEPT_MAX = 64

/** Cuts short pieces from larger buffers, which are used again when all of their pieces were given back. */
export class Slab {
  private buffer: Uint8Array = new Uint8Array(0)
  private used = 0
  /** Pieces of each slab that are out. */
  private readonly out = new Map<ArrayBufferLike, number>()
  private readonly kept: Uint8Array[] = []

  /** @returns a copy of `bytes`, until it is given back */
  copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length > SLAB / 8) return new Uint8Array(bytes)
    if (this.used + bytes.length > this.buffer.length) {
      this.buffer = this.kept.pop() ?? new Uint8Array(SLAB)
      this.used = 0
    }
    const copy = this.buffer.subarray(this.used, this.used + bytes.length)
    copy.set(bytes)
    this.used += bytes.length
    const { buffer } = copy
    this.out.set(buffer, (this.out.get(buffer) ?? 0) + 1)
    return copy
  }

  /** Nobody uses a copy any more. @param copy of this slab, given back once */
  release(copy: Uint8Array): void {
    const { buffer } = copy
    const out = this.out.get(buffer)
    // Long ones are their own.
    if (out === undefined) return
    if (out > 1) return void this.out.set(buffer, out - 1)
    this.out.delete(buffer)
    if (buffer === this.buffer.buffer) this.used = 0
    else if (this.kept.length < KEPT_MAX) this.kept.push(new Uint8Array(buffer))
  }
}
