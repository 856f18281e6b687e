/**
 * For the bundle: modules that TypeScript compiled to CommonJS, such as oclif's, require everything at their top. Here each of those
 * requires waits until its module is used, so that a command loads what it runs: most never need help, plugins, manifests
 * or colours, and loading them took longer than many a command.
 */
import { readFile } from 'node:fs/promises'

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
    text = text.replace(line, '\0').replace(use, `(${name}())`).replace('\0', () => lazy)
  }
  return text
}

/** Applies it to oclif. */
export const lazyRequires = {
  name: 'lazy-requires',
  setup(build) {
    build.onLoad({ filter: /[\\/]@oclif[\\/]core[\\/]lib[\\/].*\.js$/ }, async ({ path }) => ({ contents: withLazyRequires(await readFile(path, 'utf8')), loader: 'js' }))
  },
}
