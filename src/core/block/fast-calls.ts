/**
 * Small transfers without the thread pool (hazard 42): a call that need not wait for the disk costs 2 to 5 microseconds, the
 * way through the pool ten times as much.
 */
import fs from 'node:fs'
import { nativeCallsLoaded, processorWaitMs, readCached } from './host.ts'

/** Longer transfers go through the pool. Bytes. */
const LENGTH_MAX = 64 * 1024
/** So many reads through the pool take as long as loading the native library, which a command that only looks is spared. */
const READS_BEFORE_NATIVE = 100
/** A write that took longer than this met the disk, or a writer that is held back, or the processor was somebody else's. Milliseconds. */
const SLOW_MS = 1
/** After a slow one it is looked at for so long whether another is, and how much of that was waiting for a processor. Milliseconds. */
const WATCH_MS = 50
/** One as slow as this alone lets the pool take the next ones. Milliseconds. */
const STALL_MS = 20
/** For so many times as long as the slow one took, at most this. Milliseconds. */
const PAUSE_FACTOR = 20
const PAUSE_MAX_MS = 1000

export class FastCalls {
  private pausedUntil = 0
  private watchedUntil = -Infinity
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
    if (begun < this.pausedUntil) return false
    const waited = begun < this.watchedUntil ? processorWaitMs() : undefined
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
      const own = waited === undefined ? 0 : took - (processorWaitMs() - waited)
      if (took > STALL_MS || own > SLOW_MS) this.pausedUntil = ended + Math.min(PAUSE_MAX_MS, took * PAUSE_FACTOR)
      this.watchedUntil = ended + WATCH_MS
    }
    return written === data.length
  }
}
