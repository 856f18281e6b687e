/**
 * `npm run bench`: how fast Lunar is, as ratios to other programs on the same bytes in the same run. Installs nothing; a
 * row whose peer is missing fails, and names the Debian package. Prints a table and writes bench/results/TIME.json.
 *
 *   npm run bench -- [--rounds 5] [--size-mib 2048] [--dir FOLDER] [--only import] [--strict]
 *
 * FOLDER is where the images go (the system's folder for temporary files when left out); it needs four times the size.
 * `--strict` makes a goal that is missed a failure too.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { table } from '../bench/harness.mjs'
import { loopDelayRows } from '../bench/loop-delay.mjs'
import { nbdRows } from '../bench/nbd.mjs'
import { parityRows } from '../bench/parity.mjs'
import { relationshipSuites } from '../bench/relationships.mjs'
import { redundancyRows } from '../bench/redundancy.mjs'
import { snapshotSuites } from '../bench/snapshots.mjs'
import { startUpRows } from '../bench/start-up.mjs'
import { transferRows } from '../bench/transfer.mjs'
import { buildWhenStale, root } from './setup.mjs'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    'size-mib': { type: 'string', default: '2048' },
    dir: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' },
    strict: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const mebibytes = Number(values['size-mib'])
if (!(rounds > 0 && mebibytes > 0)) throw new Error('--rounds and --size-mib are numbers above 0')

const suites = [
  { name: 'start-up', rows: startUpRows },
  { name: 'import export', rows: transferRows },
  { name: 'redundancy', rows: redundancyRows },
  { name: 'parity', rows: parityRows },
  { name: 'nbd', rows: nbdRows },
  { name: 'loop delay', rows: loopDelayRows },
  ...relationshipSuites,
  ...snapshotSuites,
].filter(({ name }) => name.includes(values.only))

buildWhenStale()
const folder = mkdtempSync(join(values.dir, 'lunar-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const report = line => process.stderr.write(`${line}\n`)
const rows = []
for (const suite of suites) rows.push(...(await suite.rows(folder, { rounds, mebibytes, report })))

const when = new Date().toISOString()
const machine = { node: process.version, kernel: release(), processors: cpus().length, processor: cpus()[0]?.model ?? 'unknown', memory: totalmem() }
const results = join(root, 'bench', 'results')
const file = join(results, `${when.replaceAll(':', '-')}.json`)
mkdirSync(results, { recursive: true })
writeFileSync(file, `${JSON.stringify({ schema: 'bench/1', when, machine, rounds, mebibytes, rows }, null, 2)}\n`)

process.stdout.write(`${table(rows)}\n`)
report(`written to ${file.slice(root.length + 1)}`)
process.exitCode = rows.some(row => row.error || (values.strict && !row.met)) ? 1 : 0
