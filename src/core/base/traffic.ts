/** What was asked of a device since this process opened it: plain numbers, so that counting costs nothing. */
export class Traffic {
  reads = 0
  writes = 0
  flushes = 0
  /** Ranges that were trimmed or zeroed. */
  discards = 0
  /** Bytes. */
  bytesRead = 0
  bytesWritten = 0
  bytesDiscarded = 0

  read(bytes: number): void {
    this.reads++
    this.bytesRead += bytes
  }

  wrote(bytes: number): void {
    this.writes++
    this.bytesWritten += bytes
  }

  discarded(bytes: number): void {
    this.discards++
    this.bytesDiscarded += bytes
  }
}
