/** Runs a test file against a mutant: scripts/mutate.mjs gives its name in MUTANT. */
import { join } from 'node:path'
import { defineConfig, mergeConfig } from 'vitest/config'
import base from '../../vitest.config.ts'
import { mutants, mutated } from './mutants.mjs'

const tree = join(import.meta.dirname, '..', '..')
const mutant = mutants.find(({ name }) => name === process.env['MUTANT'])
if (!mutant) throw new Error('MUTANT names no mutant')

export default mergeConfig(
  base,
  defineConfig({
    root: tree,
    plugins: [{ name: 'mutant', enforce: 'pre', transform: (_code, id) => (id.split('?')[0] === join(tree, mutant.file) ? mutated(tree, mutant) : undefined) }],
  }),
)
