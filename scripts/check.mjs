/** `npm run check`: types, lint, format, dead code, import direction, manifest, reference of the library. Runs all of them, fails when one does. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { buildWhenStale, installDependencies, root } from './setup.mjs'

installDependencies()
const tool = (...path) => join(root, 'node_modules', ...path)
const checks = [
  { name: 'types', args: [tool('typescript', 'bin', 'tsc'), '-p', '.'] },
  { name: 'lint', args: [tool('eslint', 'bin', 'eslint.js'), '.', '--max-warnings', '0'] },
  { name: 'format', args: [tool('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level', 'warn', '.'] },
  { name: 'dead code', args: [tool('knip', 'bin', 'knip.js'), '--no-progress'] },
  { name: 'import direction', args: [tool('vitest', 'vitest.mjs'), 'run', 'test/tidy.test.ts'] },
  { name: 'manifest', before: buildWhenStale, args: [join(root, 'scripts', 'manifest.mjs'), '--check'] },
  { name: 'description of the control socket', args: [join(root, 'scripts', 'openapi.mjs'), '--check'] },
  { name: 'library reference', before: buildWhenStale, args: [join(root, 'scripts', 'api-doc.mjs'), '--check'] },
]

let passed = 0
for (const { name, before, args } of checks) {
  let ok = false
  try {
    before?.()
    ok = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status === 0
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  }
  process.stdout.write(`check: ${name}: ${ok ? 'ok' : 'FAILED'}\n`)
  if (ok) passed++
}
process.stdout.write(`checks: ${passed} passed, ${checks.length - passed} failed\n`)
process.exitCode = passed === checks.length ? 0 : 1
