/**
 * Small transfers without the thread pool (hazard 42): a call that need not wait for the disk costs 2 to 5 microseconds, the
 * way through the pool ten times as much.
 */
import fs from 'node:fs'
import { nativeCallsLoaded, processorWaitMs, readCached } from './host.ts'
import { Patience } from './patience.ts'

/** Longer transfers go through the pool. Bytes. */
const LENGTH_MAX = 64 * 1024
/** So many reads through the pool take as long as loading the native library, which a command that only looks is spared. */
const READS_BEFORE_NATIVE = 100
/** A write that took longer than this met the disk, or a writer that is held back, or the processor was somebody else's. Milliseconds. */
const SLOW_MS = 1
/** One as slow as this is the disk's fault, whoever had the processor. Milliseconds. */
const STALL_MS = 20
/** After a slow one it is looked at for so long whether another is, and how much of that was waiting for a processor, which is asked this often. Milliseconds. */
const WATCH_MS = 50
const ASK_MS = 5

export class FastCalls {
  private readonly patience = new Patience()
  private watchedUntil = -Infinity
  private askedAt = -Infinity
  private processorWait = 0
  private reads = 0

  /** Reads what the host has in memory. @returns whether all of it was there; else nothing is known of `into` */
  read(fd: number, offset: number, into: Uint8Array): boolean {
    if (into.length > LENGTH_MAX || (!nativeCallsLoaded() && ++this.reads <= READS_BEFORE_NATIVE)) return false
    return readCached(fd, offset, into) === into.length
  }

  /**
   * Writes into the host's memory, as long as that has been quick.
   * @returns whether all of it was written; else nothing is known, and the usual way writes it again and tells what is wrong
   */
  write(fd: number, offset: number, data: Uint8Array): boolean {
    if (data.length > LENGTH_MAX) return false
    const begun = performance.now()
    if (this.patience.isOver(begun)) return false
    const watched = begun < this.watchedUntil
    if (watched && begun > this.askedAt + ASK_MS) this.ask(begun)
    let written: number
    try {
      written = fs.writeSync(fd, data, 0, data.length, offset)
    } catch {
      return false // the usual way meets the same error and reports it
    }
    const ended = performance.now()
    const took = ended - begun
    if (took > SLOW_MS) {
      // Whose processor others use would send all that it writes to threads that need one, too.
      const before = this.processorWait
      this.ask(ended)
      const own = watched ? took - (this.processorWait - before) : 0
      if (took > STALL_MS || own > SLOW_MS) this.patience.waited(ended, took > STALL_MS ? took : own)
      this.watchedUntil = ended + WATCH_MS
    }
    return written === data.length
  }

  private ask(now: number): void {
    this.askedAt = now
    this.processorWait = processorWaitMs()
  }
}
