/** Bounds of the buckets are powers of two of a microsecond, from 1 us to 2^24 us (16.8 s). */
const BOUNDED = 25

/** How long things took, counted in buckets: made for data paths, where adding one costs a few numbers. */
export class Latencies {
  /** By bucket: how many took so long, and not less than the bucket before; the last has no bound. */
  private readonly counts = new Float64Array(BOUNDED + 1)
  private sumUs = 0

  /** @param us microseconds @param times how many took so long */
  add(us: number, times = 1): void {
    this.counts[us <= 1 ? 0 : us > 2 ** (BOUNDED - 1) ? BOUNDED : 32 - Math.clz32(Math.ceil(us) - 1)]! += times
    this.sumUs += us * times
  }

  /** Seconds, all together. */
  get sum(): number {
    return this.sumUs / 1e6
  }

  /** From short to long, each with all that is shorter; bounds are seconds, and belong to their bucket. */
  *cumulative(): Generator<{ readonly bound: number; readonly count: number }> {
    let count = 0
    for (let bucket = 0; bucket <= BOUNDED; bucket++) {
      count += this.counts[bucket]!
      yield { bound: bucket === BOUNDED ? Infinity : 2 ** bucket / 1e6, count }
    }
  }
}
