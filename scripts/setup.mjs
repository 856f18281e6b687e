/** What a fresh machine with Node and nothing else needs before anything runs. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Debian packages that tests and the demo make use of, with a program of each. */
export const debianPackages = [
  { name: 'e2fsprogs', program: 'mkfs.ext4' },
  { name: 'qemu-utils', program: 'qemu-img' },
  { name: 'sqlite3', program: 'sqlite3' },
  { name: 'libnbd-bin', program: 'nbdcopy' },
  { name: 'python3-libnbd', program: 'nbdsh' },
  { name: 'fio', program: 'fio' },
  { name: 'xfsprogs', program: 'mkfs.xfs' },
  { name: 'btrfs-progs', program: 'mkfs.btrfs' },
  { name: 'openssl', program: 'openssl' },
]

const say = text => process.stderr.write(`${text}\n`)

/** Runs a program of Node's in the project folder; its output goes to stderr, so that stdout stays the caller's. */
export function runNode(args, options = {}) {
  execFileSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2], ...options })
}

/** Installs the locked dependencies when node_modules is missing or older than the lock. */
export function installDependencies() {
  const installed = join(root, 'node_modules', '.package-lock.json')
  if (existsSync(installed) && sameVersions(installed)) return
  say('installing dependencies (npm ci)')
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`npm ci failed with status ${result.status}`)
}

/** Whether every package of the lock that is not for another platform is installed in its version. */
function sameVersions(installedLock) {
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedLock, 'utf8')).packages
  return Object.entries(wanted).every(([path, { version, optional }]) => path === '' || (optional && !installed[path]) || installed[path]?.version === version)
}

/** Builds when dist is missing or something it is made of is newer. */
export function buildWhenStale() {
  const built = [join('dist', 'lunar.cjs'), join('dist', 'index.js'), join('dist', 'types', 'index.d.ts'), 'oclif.manifest.json'].map(file => join(root, file))
  if (built.every(file => existsSync(file)) && newest() <= statSync(built[0]).mtimeMs) return
  say('building')
  runNode(['scripts/build.mjs'])
  runNode(['scripts/manifest.mjs'])
}

function newest() {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).map(file => join(root, 'src', file))
  return Math.max(
    ...[
      ...sources,
      join(root, 'package.json'),
      join(root, 'package-lock.json'),
      join(root, 'scripts', 'build.mjs'),
      join(root, 'scripts', 'declarations.mjs'),
    ].map(file => statSync(file).mtimeMs),
  )
}

const searched = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin']

/** @returns the path of a program, or undefined */
export function findProgram(program) {
  return searched.map(folder => join(folder, program)).find(path => existsSync(path))
}

/** Installs what is missing where that is possible (root, apt); else says which tests will tell. Never fails. */
export function installPackages() {
  const missing = debianPackages.filter(({ program }) => !findProgram(program)).map(({ name }) => name)
  if (missing.length === 0) return
  if (process.getuid?.() !== 0 || !findProgram('apt-get'))
    return say(`not installed, and this user cannot install it: ${missing.join(' ')} (apt-get install ${missing.join(' ')})`)
  say(`installing ${missing.join(' ')}`)
  const options = { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, timeout: 180_000 }
  const updated = spawnSync('apt-get', ['update', '-q'], options)
  const installed = spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], options)
  if (updated.status !== 0 || installed.status !== 0) say(`could not install ${missing.join(' ')}; tests that need it will say so`)
}
