/**
 * For the bundle: what a command does not use is not loaded.
 *
 * Modules that TypeScript compiled to CommonJS, such as oclif's, require everything at their top. Here each of those
 * requires waits until its module is used, so that a command loads what it runs: most never need help, plugins, manifests
 * or colours, and loading them took longer than many a command.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

/** `const cache_1 = __importDefault(require("./cache"));` at the beginning of a line. */
const topRequire = /^const (\w+) = ((?:__importDefault|__importStar)\()?require\(("[^"\n]+")\)(\))?;$/gm

/**
 * @param {string} source of one module
 * @returns the same, with lazy requires where every use of the name is plainly one of its members
 */
export function withLazyRequires(source) {
  let text = source
  for (const [line, name, wrap = '', path, close = ''] of source.matchAll(topRequire)) {
    if ((wrap === '') !== (close === '')) continue
    const rest = text.replace(line, '')
    const use = new RegExp(`(?<![\\w.$'"\`/-])${name}(?=[.,)])`, 'g')
    const uses = rest.match(use)?.length ?? 0
    if (uses !== (rest.match(new RegExp(`\\b${name}\\b`, 'g'))?.length ?? 0)) continue
    const value = `${name}_value`
    const lazy = `let ${value}; const ${name} = () => ${value} ??= ${wrap}require(${path})${close};`
    text = text
      .replace(line, '\0')
      .replace(use, `(${name}())`)
      .replace('\0', () => lazy)
  }
  return text
}

/** Modules of Node that bring many others with them, and that most commands have in reach without using them. */
const heavyBuiltins = ['child_process', 'fs/promises', 'http', 'os', 'perf_hooks', 'readline', 'stream', 'stream/promises', 'tty', 'zlib']

/** A module that has all names of a module of Node, and loads it when one is used. */
function lazyBuiltin(name) {
  const names = Object.keys(createRequire(import.meta.url)(name)).filter(key => /^\w+$/.test(key))
  return `for (const key of ${JSON.stringify(names)}) Object.defineProperty(exports, key, { enumerable: true, get: () => require("${name}")[key] })`
}

/** Applies both: to oclif, and to what our own sources import from Node. */
export const lazyRequires = {
  name: 'lazy-requires',
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path, importer, namespace }) => {
      const name = path.slice('node:'.length)
      const ours = namespace === 'file' && !/[\\/]node_modules[\\/]/.test(importer)
      return ours && heavyBuiltins.includes(name) ? { path, namespace: 'lazy-builtin' } : undefined
    })
    build.onLoad({ filter: /.*/, namespace: 'lazy-builtin' }, ({ path }) => ({ contents: lazyBuiltin(path), loader: 'js' }))
    build.onLoad({ filter: /[\\/]@oclif[\\/]core[\\/]lib[\\/].*\.js$/ }, async ({ path }) => ({
      contents: withLazyRequires(await readFile(path, 'utf8')),
      loader: 'js',
    }))
  },
}
