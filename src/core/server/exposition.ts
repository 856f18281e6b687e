/** Metrics as text: the format of Prometheus, version 0.0.4, which everything that collects metrics reads. */
import type { Latencies } from '../base/latency.ts'

/** What the text is sent as. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export type Labels = Readonly<Record<string, string | number>>
type Type = 'counter' | 'gauge' | 'histogram' | 'summary'

interface Family {
  readonly type: Type
  readonly help: string
  readonly lines: string[]
}

/**
 * Gathers samples, of several pools where a server has them, and writes each family of them once, in the order in which they came up.
 * Names are without the prefix of all, `lunar_`; units are those of Prometheus: seconds and bytes; what counts up ends in `_total`.
 */
export class Exposition {
  private readonly families = new Map<string, Family>()

  counter(name: string, help: string, labels: Labels, value: number): void {
    this.add(name, 'counter', help, '', labels, value)
  }

  gauge(name: string, help: string, labels: Labels, value: number): void {
    this.add(name, 'gauge', help, '', labels, value)
  }

  /** One sample for each of `states`: 1 for the one that is so, 0 for the others. */
  state(name: string, help: string, labels: Labels, states: readonly string[], now: string): void {
    for (const state of states) this.gauge(name, help, { ...labels, state }, state === now ? 1 : 0)
  }

  histogram(name: string, help: string, labels: Labels, times: Latencies): void {
    let all = 0
    for (const { bound, count } of times.cumulative()) {
      this.add(name, 'histogram', help, '_bucket', { ...labels, le: valueText(bound) }, count)
      all = count
    }
    this.add(name, 'histogram', help, '_sum', labels, times.sum)
    this.add(name, 'histogram', help, '_count', labels, all)
  }

  /** @param quantiles by quantile, from 0 to 1 */
  summary(name: string, help: string, labels: Labels, quantiles: ReadonlyMap<number, number>, sum: number, count: number): void {
    for (const [quantile, value] of quantiles) this.add(name, 'summary', help, '', { ...labels, quantile }, value)
    this.add(name, 'summary', help, '_sum', labels, sum)
    this.add(name, 'summary', help, '_count', labels, count)
  }

  text(): string {
    const families = [...this.families].map(([name, { type, help, lines }]) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('\n')}\n`)
    return families.join('')
  }

  private add(name: string, type: Type, help: string, suffix: string, labels: Labels, value: number): void {
    const full = `lunar_${name}`
    let family = this.families.get(full)
    if (!family) this.families.set(full, (family = { type, help, lines: [] }))
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(String(text))}"`)
    family.lines.push(`${full}${suffix}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${valueText(value)}`)
  }
}

const valueText = (value: number): string => (value === Infinity ? '+Inf' : String(value))
const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
