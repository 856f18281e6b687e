/** Longest header that is read in one piece. Bytes. */
const PEEK_MAX = 64

/** Received bytes in the pieces they came in: never joined, sliced where something is taken. */
export class Input {
  /** Bytes that wait. */
  length = 0
  /** Where `peek` found its bytes, and at which place of it. Valid until the next call. */
  buffer: Buffer
  position = 0

  private pieces: (Buffer | undefined)[] = []
  private first = 0
  /** Bytes of the first piece that were taken. */
  private taken = 0
  private readonly scratch = Buffer.allocUnsafeSlow(PEEK_MAX)

  constructor() {
    this.buffer = this.scratch
  }

  push(piece: Buffer): void {
    if (piece.length === 0) return
    this.pieces.push(piece)
    this.length += piece.length
  }

  /**
   * Makes the next `count` bytes (at most 64) readable at `buffer` from `position` on; only those that are cut in two are copied.
   * @returns false when so many have not arrived
   */
  peek(count: number): boolean {
    if (this.length < count) return false
    const piece = this.pieces[this.first]!
    if (piece.length - this.taken >= count) {
      this.buffer = piece
      this.position = this.taken
      return true
    }
    this.copy(this.scratch, count)
    this.buffer = this.scratch
    this.position = 0
    return true
  }

  /** Drops `count` bytes, which have arrived. */
  skip(count: number): void {
    this.length -= count
    let left = count + this.taken
    for (let piece = this.pieces[this.first]; piece && left >= piece.length; piece = this.pieces[this.first]) {
      left -= piece.length
      this.pieces[this.first++] = undefined
    }
    this.taken = left
    if (this.first === this.pieces.length) {
      this.pieces.length = 0
      this.first = 0
    } else if (this.first >= 1024) {
      this.pieces.splice(0, this.first)
      this.first = 0
    }
  }

  /** The next `count` bytes when they lie in one piece, else undefined; they are not dropped. */
  whole(count: number): Buffer | undefined {
    const piece = this.pieces[this.first]
    return piece && piece.length - this.taken >= count ? piece.subarray(this.taken, this.taken + count) : undefined
  }

  /** The next `count` bytes, which have arrived, as slices of what was received. */
  take(count: number): Buffer[] {
    const parts: Buffer[] = []
    let left = count
    let from = this.taken
    for (let index = this.first; left > 0; index++) {
      const part = this.pieces[index]!.subarray(from, from + left)
      parts.push(part)
      left -= part.length
      from = 0
    }
    this.skip(count)
    return parts
  }

  /** The next `count` bytes, which have arrived, in memory of their own. */
  read(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count)
    this.copy(bytes, count)
    this.skip(count)
    return bytes
  }

  /** Copies the next `count` bytes, which have arrived, without dropping them. */
  copy(into: Uint8Array, count: number): void {
    let done = 0
    let from = this.taken
    for (let index = this.first; done < count; index++) {
      const piece = this.pieces[index]!
      const part = piece.subarray(from, from + count - done)
      into.set(part, done)
      done += part.length
      from = 0
    }
  }

  clear(): void {
    this.skip(this.length)
  }
}
