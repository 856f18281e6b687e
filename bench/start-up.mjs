/** Commands that read metadata against `node -e 0`. */
import { brokenRow, delayRow, run, takeTurns } from './harness.mjs'
import { Product } from './product.mjs'

const POOL = 'reading'
/** Each is made by an opening of its own, which writes two roots: the ring of 128 is full, as in a pool that is in use. */
const LUNS = 64
/** Milliseconds that a reading command may take longer than node alone. */
const MORE_MAX = 60
/** One run takes a tenth of a second, and its noise is large: so many runs a round of the long rows. */
const RUNS_A_ROUND = 5

const commands = [
  { name: 'lun list', args: ['lun', 'list', '--pool', POOL] },
  { name: 'pool status', args: ['pool', 'status', POOL] },
]

export async function startUpRows(folder, { rounds, report }) {
  const product = new Product(folder)
  try {
    report(`making a pool and ${LUNS} LUNs`)
    product.freshPool(POOL, 4, '128MiB')
    for (let i = 0; i < LUNS; i++) product.lunar('lun', 'create', `${POOL}/lun${i}`, '--size', '16MiB', '--raid', 'raid1')
    const contestants = [
      { name: 'node -e 0', run: () => run(process.execPath, ['-e', '0']) },
      ...commands.map(({ name, args }) => ({ name, run: () => product.lunar(...args) })),
    ]
    for (const { run: once } of contestants) once() // the first start of a command writes its code cache
    report(`${rounds * RUNS_A_ROUND} starts of each command`)
    const samples = await takeTurns(contestants, rounds * RUNS_A_ROUND)
    product.destroy(POOL)
    return commands.map(({ name }) => ({ ...delayRow(name, samples, name, 'node -e 0', MORE_MAX), samples: Object.fromEntries(samples) }))
  } catch (error) {
    return commands.map(({ name }) => brokenRow(name, error))
  }
}
