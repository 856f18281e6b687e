/** `npm test`: sets everything up, then runs the tests. Arguments go to vitest: npm test -- test/core/cli */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { buildWhenStale, installDependencies, installPackages, root } from './setup.mjs'

installDependencies()
installPackages()
buildWhenStale()
const result = spawnSync(process.execPath, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
if (result.error) throw result.error
process.exitCode = result.status ?? 1
