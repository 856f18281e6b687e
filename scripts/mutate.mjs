/** `npm run mutate`: builds each listed fault of the engine into the simulation and runs it until it fails; a fault that survives fails the command. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleSimulation } from '../test/simulation/bundle.mjs'
import { mutantPlugin, mutants } from '../test/simulation/mutants.mjs'
import { installDependencies, root } from './setup.mjs'

/** No new seed is begun after this. */
const SECONDS_MAX = 90
/** What has not failed by then has survived: the simulation itself fails when the engine hangs. */
const TIMEOUT_MS = 120_000

const { values } = parseArgs({ options: { list: { type: 'boolean', default: false }, only: { type: 'string', multiple: true } } })
const unknown = (values.only ?? []).filter(name => !mutants.some(mutant => mutant.name === name))
if (unknown.length > 0) {
  process.stderr.write(`no mutant is called ${unknown.join(', ')}; see npm run mutate -- --list\n`)
  process.exit(2)
}
const chosen = mutants.filter(({ name }) => !values.only || values.only.includes(name))
if (values.list) {
  for (const { name, file, test } of chosen) process.stdout.write(`${name}: ${file}${test ? `, found by ${test}` : ''}\n`)
  process.exit(0)
}

installDependencies()
const folder = join(root, 'node_modules', '.cache', 'simulation')
mkdirSync(folder, { recursive: true })

/** @returns the words in which the tests failed, or undefined when they passed */
async function failureOf(mutant) {
  if (mutant.test) {
    const config = join(root, 'test', 'simulation', 'mutant.vitest.config.mjs')
    const args = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', config, mutant.test]
    return wordsOf(args, mutant, /^.*Error.*$/m)
  }
  const program = await bundleSimulation(root, folder, { name: `mutant-${mutant.name}`, plugins: [mutantPlugin(root, mutant)] })
  try {
    return wordsOf([program, '--seconds', String(SECONDS_MAX), '--lives', '2', '--cuts', '60', '--more', '6'], mutant, /^seed \d+(, |: a rejection).*$/m)
  } finally {
    rmSync(program)
  }
}

function wordsOf(args, mutant, words) {
  const env = { ...process.env, MUTANT: mutant.name, NO_COLOR: '1' }
  const { status, error, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' })
  if (status === 0 || error?.code === 'ETIMEDOUT') return undefined
  if (error) throw error
  return words.exec(`${stdout}\n${stderr}`)?.[0].trim() ?? `exit ${status}`
}

const survivors = []
for (const mutant of chosen) {
  const start = performance.now()
  const failure = await failureOf(mutant)
  const seconds = Math.round((performance.now() - start) / 1000)
  if (failure === undefined) survivors.push(mutant.name)
  process.stdout.write(`${failure === undefined ? 'SURVIVED' : 'found'} ${mutant.name} (${seconds} s)${failure === undefined ? '' : `: ${failure}`}\n`)
}
process.stdout.write(
  `mutants: ${chosen.length - survivors.length} found, ${survivors.length} survived${survivors.length > 0 ? `: ${survivors.join(', ')}` : ''}\n`,
)
process.exitCode = survivors.length > 0 ? 1 : 0
