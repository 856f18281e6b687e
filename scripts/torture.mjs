/** `npm run torture -- --seconds N --seed S`: the simulation for as long as it is told; stops at the first failure and names its seed. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { bundleSimulation } from '../test/simulation/bundle.mjs'
import { installDependencies, root } from './setup.mjs'

installDependencies()
const folder = join(root, 'node_modules', '.cache', 'simulation')
mkdirSync(folder, { recursive: true })
const program = await bundleSimulation(root, folder)
const { status } = spawnSync(process.execPath, ['--enable-source-maps', program, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
