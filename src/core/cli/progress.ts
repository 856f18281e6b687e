/** Progress of long work on stderr: a bar on a terminal, JSON lines when asked, nothing otherwise. */
import { systemClock, type Clock } from '../base/clock.ts'
import { formatSize } from '../base/units.ts'
import { formatSeconds } from './cells.ts'
import { isFancy, type OutputStream, type Surroundings } from './surroundings.ts'

export type ProgressMode = 'auto' | 'json' | 'none'

const BAR_INTERVAL_MS = 100
const LINE_INTERVAL_MS = 1000
const BAR_WIDTH = 24
/** The rate is one of the last seconds. */
const RATE_WINDOW_MS = 5000

export interface ProgressState {
  /** Bytes gone through, holes included. */
  readonly done: number
  /** Bytes, or null when the end is not known. */
  readonly total: number | null
  /** Bytes a second over the last seconds. */
  readonly rate: number
  /** Seconds, or null when it cannot be told. */
  readonly eta: number | null
}

export interface Progress {
  update(done: number, total: number | null): void
  /** Takes the bar away, or prints the last line. Harmless when called twice. */
  end(): void
}

const silent: Progress = { update: () => undefined, end: () => undefined }

export function progressFor(around: Surroundings, mode: ProgressMode, json: boolean, label: string, clock: Clock = systemClock): Progress {
  if (mode === 'json') return new LineProgress(around.stderr, label, clock)
  if (mode === 'none' || json || !isFancy(around.stderr, around.env)) return silent
  return new BarProgress(around.stderr, label, clock)
}

/** Rate and time left from what was done when. */
export class RateMeter {
  private samples: { at: number; done: number }[] = []

  /** @param at milliseconds of a clock that never jumps */
  add(done: number, total: number | null, at: number): ProgressState {
    this.samples.push({ at, done })
    while (this.samples.length > 2 && at - this.samples[0]!.at > RATE_WINDOW_MS) this.samples.shift()
    const first = this.samples[0]!
    const rate = at > first.at ? ((done - first.done) * 1000) / (at - first.at) : 0
    return { done, total, rate, eta: total === null || rate <= 0 ? null : (total - done) / rate }
  }
}

/** Passes on at most one update in an interval, and the last one. */
abstract class ThrottledProgress implements Progress {
  private readonly meter = new RateMeter()
  private shownAt = -Infinity
  private unshown: ProgressState | undefined
  private ended = false

  constructor(
    protected readonly stream: OutputStream,
    protected readonly label: string,
    private readonly clock: Clock,
    private readonly intervalMs: number,
  ) {}

  update(done: number, total: number | null): void {
    const now = this.clock.monotonicMs()
    if (this.ended) return
    if (now - this.shownAt < this.intervalMs) {
      this.unshown = { done, total, rate: 0, eta: null }
      return
    }
    this.shownAt = now
    this.unshown = undefined
    this.show(this.meter.add(done, total, now))
  }

  end(): void {
    if (this.ended) return
    this.ended = true
    if (this.unshown) this.show(this.meter.add(this.unshown.done, this.unshown.total, this.clock.monotonicMs()))
    this.finish()
  }

  protected abstract show(state: ProgressState): void
  protected abstract finish(): void
}

class LineProgress extends ThrottledProgress {
  constructor(stream: OutputStream, label: string, clock: Clock) {
    super(stream, label, clock, LINE_INTERVAL_MS)
  }

  protected show({ done, total, rate, eta }: ProgressState): void {
    this.stream.write(JSON.stringify({ progress: this.label, done, total, rate: Math.round(rate), eta: eta === null ? null : Math.round(eta) }) + '\n')
  }

  protected finish(): void {}
}

class BarProgress extends ThrottledProgress {
  constructor(stream: OutputStream, label: string, clock: Clock) {
    super(stream, label, clock, BAR_INTERVAL_MS)
  }

  protected show(state: ProgressState): void {
    this.stream.write(`\r\u001b[2K${barText(this.label, state, this.stream.columns || 80)}`)
  }

  protected finish(): void {
    this.stream.write('\r\u001b[2K')
  }
}

/** One line that fits into `width` characters. */
export function barText(label: string, { done, total, rate, eta }: ProgressState, width: number): string {
  const speed = `${formatSize(Math.round(rate))}/s`
  if (total === null) return `${label} ${formatSize(done)} ${speed}`.slice(0, width - 1)
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const full = Math.round(share * BAR_WIDTH)
  const bar = '█'.repeat(full) + '░'.repeat(BAR_WIDTH - full)
  const left = eta === null ? '' : ` ${formatSeconds(eta)} left`
  return `${label} ${bar} ${Math.floor(share * 100)}% ${formatSize(done)} of ${formatSize(total)} ${speed}${left}`.slice(0, width - 1)
}
