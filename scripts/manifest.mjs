/**
 * Writes oclif.manifest.json from the built commands; with --check it only compares and fails when the file is stale.
 * A command that is missing from it would be "not found".
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Plugin } from '@oclif/core/config'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const file = join(root, 'oclif.manifest.json')

createRequire(import.meta.url)(join(root, 'dist', 'lunar.cjs')) // fails with a clear message when it is not built
const plugin = new Plugin({ root, ignoreManifest: true, errorOnManifestCreate: true, type: 'core' })
await plugin.load()
const text = JSON.stringify(plugin.manifest, null, 2) + '\n'

if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    process.stderr.write('oclif.manifest.json is not what the commands say: run npm run build\n')
    process.exitCode = 1
  }
} else {
  writeFileSync(file, text)
}
