/** The metrics of a process that owns pools: memory, processor time, and how late the event loop was. */
import type { IntervalHistogram } from 'node:perf_hooks'
import type { Exposition } from './exposition.ts'
import { VERSION } from './version.ts'

/** How often it is looked how late the event loop is. Milliseconds; what comes earlier than that again is not late. */
const LOOK_EVERY = 10
const QUANTILES = [0.5, 0.9, 0.99, 0.999, 1]

/** The delay of the event loop is only measured from `start` on: it costs a hundred wake-ups a second. */
export class ProcessMetrics {
  private delays: IntervalHistogram | undefined
  private starting: Promise<void> | undefined
  private closed = false

  /** Repeating it is harmless. */
  start(): Promise<void> {
    this.starting ??= this.begin()
    return this.starting
  }

  private async begin(): Promise<void> {
    const { monitorEventLoopDelay } = await import('node:perf_hooks')
    if (this.closed) return
    this.delays = monitorEventLoopDelay({ resolution: LOOK_EVERY })
    this.delays.enable()
  }

  measure(into: Exposition): void {
    into.gauge('info', 'What runs; always 1.', { version: VERSION, node: process.version }, 1)
    into.gauge('process_start_time_seconds', 'When the process started.', {}, Date.now() / 1000 - process.uptime())
    into.gauge('process_resident_memory_bytes', 'Memory that the process has.', {}, process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    into.counter('process_cpu_seconds_total', 'Processor time of all threads.', {}, (user + system) / 1e6)
    if (this.delays) this.measureDelays(this.delays, into)
  }

  private measureDelays(delays: IntervalHistogram, into: Exposition): void {
    const { count } = delays as IntervalHistogram & { readonly count: number }
    const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - LOOK_EVERY / 1000)
    const quantiles = new Map(count === 0 ? [] : QUANTILES.map(quantile => [quantile, late(delays.percentile(Math.min(100, quantile * 100)))]))
    const help = 'How late the event loop was, since it was first asked for, or since a port for metrics is open.'
    into.summary('event_loop_delay_seconds', help, {}, quantiles, count === 0 ? 0 : late(delays.mean) * count, count)
  }

  close(): void {
    this.closed = true
    this.delays?.disable()
  }
}
