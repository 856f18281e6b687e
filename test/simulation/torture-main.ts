/** The simulation as a program, bundled by scripts/torture.mjs and scripts/mutate.mjs: seeds from one on, until the time is over or one fails. */
import { parseArgs } from 'node:util'
import { newReport, simulate, type Bounds } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    /** Stop after so many seeds. */
    seeds: { type: 'string' },
    lives: { type: 'string', default: '4' },
    operations: { type: 'string', default: '40' },
    cuts: { type: 'string', default: '120' },
    states: { type: 'string', default: '2' },
    /** In percent. */
    deep: { type: 'string', default: '15' },
    more: { type: 'string', default: '3' },
    /** Go on after a failure, with one line for each. */
    all: { type: 'boolean', default: false },
  },
})
const number = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`"${text}" is not a whole number`)
  return value
}
const bounds: Bounds = {
  lives: number(values.lives),
  operations: number(values.operations),
  cuts: number(values.cuts),
  states: number(values.states),
  deep: number(values.deep) / 100,
  more: number(values.more) / 100,
}
const print = (text: string): void => void process.stdout.write(`${text}\n`)

let seed = number(values.seed)
process.on('unhandledRejection', error => {
  print(`seed ${seed}: a rejection that nobody handled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  process.exit(1)
})

const start = performance.now()
const elapsed = (): number => (performance.now() - start) / 1000
const until = number(values.seconds)
const last = values.seeds === undefined ? Infinity : seed + number(values.seeds) - 1
let states = 0
let distinct = 0
let failures = 0
let told = 0
for (; elapsed() < until && seed <= last; seed++) {
  const report = newReport()
  try {
    await simulate(seed, bounds, report)
  } catch (error) {
    failures++
    const text = error instanceof Error ? error.message : String(error)
    print(values.all ? text.split('\n')[0]! : text)
  }
  states += report.states
  distinct += report.distinct.size
  if (failures > 0 && !values.all) break
  if (elapsed() - told > 30) {
    told = elapsed()
    print(`seed ${seed}: ${states} states, ${distinct} of them different and after an acknowledged flush, ${Math.round((states / elapsed()) * 60)} a minute`)
  }
}
print(
  `${states} states, ${distinct} of them different and after an acknowledged flush, in ${Math.round(elapsed())} s: ${Math.round((states / elapsed()) * 60)} a minute; next seed ${seed}`,
)
process.exit(failures > 0 ? 1 : 0)
