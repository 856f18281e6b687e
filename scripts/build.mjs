/**
 * Builds dist/lunar.cjs (the program, one CommonJS file that the launcher can cache compiled), dist/index.js (the
 * library) and dist/types (its declarations).
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { writeDeclarations } from './declarations.mjs'
import { lazyRequires } from './lazy-requires.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')

/** Native modules are loaded from node_modules; everything else is in the bundle. */
const nativeModules = ['@node-rs/crc32', 'fs-native-extensions', 'koffi']

/** oclif asks for it to run commands from TypeScript sources, which a bundle never does. */
const neverLoaded = ['typescript']

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  external: [...nativeModules, ...neverLoaded],
  absWorkingDir: root,
  logLevel: 'warning',
  legalComments: 'none',
  charset: 'ascii',
}

const { oclif } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Writes a CommonJS bundle whose first line names its hash and the topics: the launcher's code cache goes by both. */
async function bundleProgram(entry, name) {
  const result = await build({
    ...common,
    entryPoints: [entry],
    format: 'cjs',
    plugins: [lazyRequires],
    // import.meta does not exist in CommonJS
    define: { 'import.meta.url': '__bundleUrl' },
    banner: { js: "const __bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
    // The launcher compiles the bundle as a script, which has no import() of its own: require() instead.
    supported: { 'dynamic-import': false },
    minifySyntax: true,
    minifyWhitespace: true,
    outfile: join(dist, name),
    write: false,
  })
  const text = result.outputFiles[0].text
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16)
  const file = join(dist, name)
  // Another process may be starting: it must see the old bundle or the new one.
  writeFileSync(`${file}.new`, `// bundle ${hash} ${Object.keys(oclif.topics).join(',')}\n${text}`)
  renameSync(`${file}.new`, file)
}

mkdirSync(dist, { recursive: true })
rmSync(join(dist, '.cache'), { recursive: true, force: true })
await bundleProgram('src/main.ts', 'lunar.cjs')

await build({ ...common, entryPoints: ['src/index.ts'], format: 'esm', packages: 'external', outfile: join(dist, 'index.js') })
writeDeclarations(join(dist, 'types'))
