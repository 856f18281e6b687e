/** Reads metrics as Prometheus does, and is stricter than it: what its format demands of a page is demanded here (exposition formats, text 0.0.4). */
import { expect } from 'vitest'

export interface Page {
  /** By name and labels as they are written, `lunar_disk_state{pool="tank",disk="0",state="normal"}`. */
  readonly samples: ReadonlyMap<string, number>
  readonly types: ReadonlyMap<string, string>
  /** The sum of all samples of a name whose labels have these. @throws when there is none */
  sum(name: string, labels?: Readonly<Record<string, string>>): number
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (\S+)$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g
const suffixes: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
  counter: [''],
  gauge: [''],
}

export function readExposition(text: string): Page {
  expect(text.endsWith('\n')).toBe(true)
  const samples = new Map<string, number>()
  const types = new Map<string, string>()
  const rows: { name: string; labels: ReadonlyMap<string, string>; value: number }[] = []
  let family = ''
  let helped = ''
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP (\S+) \S/.exec(line)?.[1]
    const [, typed, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (help !== undefined) {
      helped = help
    } else if (typed !== undefined && type !== undefined) {
      expect(typed, 'a type follows its help').toBe(helped)
      expect(types.has(typed), `${typed} has one type, and its samples stand together`).toBe(false)
      expect(typed).toMatch(NAME)
      types.set((family = typed), type)
    } else {
      const [, name, labelText = '', valueText = ''] = SAMPLE.exec(line) ?? []
      expect(name, `a sample: ${line}`).toBeDefined()
      const allowed = suffixes[types.get(family)!]!.map(suffix => family + suffix)
      expect(allowed, line).toContain(name)
      if (types.get(family) === 'counter') expect(family).toMatch(/_total$/)
      const labels = new Map([...labelText.matchAll(LABEL)].map(([, key, value]) => [key!, value!]))
      const value = valueText === '+Inf' ? Infinity : Number(valueText)
      expect(Number.isNaN(value), line).toBe(false)
      const key = line.slice(0, line.lastIndexOf(' '))
      expect(samples.has(key), `once: ${key}`).toBe(false)
      samples.set(key, value)
      rows.push({ name: name!, labels, value })
    }
  }
  for (const [name, type] of types) if (type === 'histogram') checkHistogram(name, rows)
  return {
    samples,
    types,
    sum: (name, labels = {}) => {
      const found = rows.filter(row => row.name === name && Object.entries(labels).every(([key, value]) => row.labels.get(key) === value))
      expect(found.length, `${name} ${JSON.stringify(labels)} is there`).toBeGreaterThan(0)
      return found.reduce((sum, { value }) => sum + value, 0)
    },
  }
}

/** Buckets count up to the last, which has no bound and holds as many as there are. */
function checkHistogram(name: string, rows: readonly { name: string; labels: ReadonlyMap<string, string>; value: number }[]): void {
  const groups = new Map<string, { le: number; value: number }[]>()
  const without = (labels: ReadonlyMap<string, string>): string => JSON.stringify([...labels].filter(([key]) => key !== 'le'))
  for (const row of rows) {
    if (row.name !== `${name}_bucket`) continue
    const le = row.labels.get('le')
    const group = without(row.labels)
    groups.set(group, [...(groups.get(group) ?? []), { le: le === '+Inf' ? Infinity : Number(le), value: row.value }])
  }
  for (const [group, buckets] of groups) {
    for (const [i, bucket] of buckets.entries()) {
      if (i === 0) continue
      expect(bucket.le).toBeGreaterThan(buckets[i - 1]!.le)
      expect(bucket.value).toBeGreaterThanOrEqual(buckets[i - 1]!.value)
    }
    expect(buckets.at(-1)!.le).toBe(Infinity)
    expect(rows.find(row => row.name === `${name}_count` && without(row.labels) === group)?.value).toBe(buckets.at(-1)!.value)
  }
}
