/** The simulation as a program, bundled by scripts/torture.mjs and scripts/mutate.mjs: seeds from one on, until the time is over or one fails. */
import { parseArgs } from 'node:util'
import { newReport, simulate, type Bounds } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    /** Stop after so many seeds. */
    seeds: { type: 'string' },
    /** These and no others, with commas between them. */
    list: { type: 'string' },
    /** Stop when so many different states after an acknowledged flush were opened. */
    enough: { type: 'string' },
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

const list = values.list?.split(',').map(number)
const enough = values.enough === undefined ? Infinity : number(values.enough)
let seed = list?.[0] ?? number(values.seed)
process.on('unhandledRejection', error => {
  print(`seed ${seed}: a rejection that nobody handled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  process.exit(1)
})

const start = performance.now()
const elapsed = (): number => (performance.now() - start) / 1000
const until = number(values.seconds)
const first = seed
const most = list?.length ?? (values.seeds === undefined ? Infinity : number(values.seeds))
let states = 0
let distinct = 0
let failures = 0
let told = 0
for (let done = 0; elapsed() < until && done < most && distinct < enough; done++) {
  seed = list?.[done] ?? first + done
  const report = newReport()
  try {
    await simulate(seed, bounds, report, enough - distinct)
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
  `${states} states, ${distinct} of them different and after an acknowledged flush, in ${Math.round(elapsed())} s: ${Math.round((states / elapsed()) * 60)} a minute; next seed ${seed + 1}`,
)
process.exit(failures > 0 ? 1 : 0)
