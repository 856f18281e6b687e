/** Runs TypeScript in a process of its own: bundles it once and starts it with limits of the shell. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '../../..')

export interface Bundle {
  readonly path: string
  remove(): Promise<void>
}

/** @param source the program; it imports from `./src/…` of the repository */
export async function bundle(source: string): Promise<Bundle> {
  const cache = join(root, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'lunar-test-'))
  const path = join(folder, 'child.mjs')
  await build({
    stdin: { contents: source, resolveDir: root, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    outfile: path,
  })
  return { path, remove: () => rm(folder, { recursive: true }) }
}

/** Runs a bundle after `limits` ("ulimit -n 20") in a shell. @returns what it printed */
export async function runLimited(limits: string, path: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', ['-c', `${limits}; exec "$0" "$@"`, process.execPath, path, ...args])
  return stdout.trim()
}
