/** Makes one program of the simulation and the sources of a tree, for scripts that run it without the test runner. */
import { join } from 'node:path'
import { build } from 'esbuild'

/** @returns the path of the program, called `name` */
export async function bundleSimulation(tree, into, { name = 'simulation', plugins = [] } = {}) {
  const outfile = join(into, `${name}.mjs`)
  await build({
    entryPoints: [join(tree, 'test', 'simulation', 'torture-main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    sourcemap: 'inline',
    logLevel: 'warning',
    plugins,
  })
  return outfile
}
