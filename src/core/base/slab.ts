/** Where short copies are cut from: one allocation for many, so that they cost no more than the bytes. Bytes. */
const SLAB = 256 * 1024

/** Cuts short pieces from larger buffers; what one piece shares its buffer with lives as long as the last of them. */
export class Slab {
  private buffer: Uint8Array = new Uint8Array(0)
  private used = 0

  /** @returns a copy of `bytes` */
  copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length > SLAB / 8) return new Uint8Array(bytes)
    if (this.used + bytes.length > this.buffer.length) {
      this.buffer = new Uint8Array(SLAB)
      this.used = 0
    }
    const copy = this.buffer.subarray(this.used, this.used + bytes.length)
    copy.set(bytes)
    this.used += bytes.length
    return copy
  }
}
