#!/usr/bin/env node
process.env.UV_THREADPOOL_SIZE ??= '16' // before anything uses the pool: 16 threads double direct random reads over 4

const fs = require('node:fs')
const Module = require('node:module')
const path = require('node:path')
const vm = require('node:vm')

const root = path.dirname(__dirname)
const bundle = path.join(root, 'dist', 'lunar.cjs')

/** The words that name a command: a topic and a verb, or one word in any letter case; never what it works on. */
function commandWords(argv, topics) {
  if (process.env.LUNAR_OWNER === '1') return ['owner']
  const first = argv[0]?.toLowerCase() ?? ''
  return [first, ...(topics.includes(first) ? argv.slice(1, 2) : [])].filter(word => /^[a-z]{1,24}$/.test(word))
}

/**
 * Compiles the bundle with V8's code cache, which takes some 20 ms off every start. There is a cache for each command,
 * because a cache holds just the functions that ran; for each version of Node; and for each bundle, whose first line
 * names its hash and the topics of its commands.
 */
function load(argv) {
  const source = fs.readFileSync(bundle, 'latin1') // the build writes ASCII only
  const [, hash = 'unknown', topics = ''] = /^\/\/ bundle ([0-9a-f]+) ([a-z,]*)/.exec(source) ?? []
  const words = commandWords(argv, topics.split(','))
  const cacheFile = path.join(root, 'dist', '.cache', `${process.version}-${process.arch}-${hash}-${words.join('-')}.bin`)
  let cachedData
  try {
    cachedData = fs.readFileSync(cacheFile)
  } catch {
    cachedData = undefined // the first start of this command with this Node and this bundle
  }
  const script = new vm.Script(Module.wrap(source), { filename: bundle, cachedData })
  // In the registry of modules under its own path, so that oclif's explicit strategy finds this very instance.
  const loaded = new Module(bundle, module)
  loaded.filename = bundle
  loaded.paths = Module._nodeModulePaths(path.dirname(bundle))
  Module._cache[bundle] = loaded
  script.runInThisContext().call(loaded.exports, loaded.exports, Module.createRequire(bundle), loaded, bundle, path.dirname(bundle))
  loaded.loaded = true
  return { main: loaded.exports.main, keep: () => (cachedData === undefined || script.cachedDataRejected) && keepCache(script, cacheFile) }
}

/** Written after the command, when its functions are compiled. An installation that cannot be written starts without a cache. */
function keepCache(script, cacheFile) {
  try {
    fs.mkdirSync(path.dirname(cacheFile), { recursive: true })
    const temporary = `${cacheFile}.${process.pid}`
    fs.writeFileSync(temporary, script.createCachedData())
    fs.renameSync(temporary, cacheFile)
  } catch {
    return // read-only, full or another user's: only slower
  }
}

const EXIT_USAGE = 2

if (fs.existsSync(bundle)) {
  const argv = process.argv.slice(2)
  const { main, keep } = load(argv)
  void main(argv, root).then(
    status => {
      process.exitCode = status
      if (status !== EXIT_USAGE) keep()
    },
    error => {
      process.stderr.write(`error: ${error.message} [ERR_BUG]\n`)
      process.exitCode = 1
    },
  )
} else {
  process.stderr.write('error: Cannot start lunar: it is not built [ERR_FAILED]\n  why: dist/lunar.cjs is missing\n  fix: npm run build\n')
  process.exitCode = 1
}
