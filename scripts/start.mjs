/** `npm start`: installs, builds, runs the demo. */
import { buildWhenStale, installDependencies, installPackages, runNode } from './setup.mjs'

installDependencies()
installPackages()
buildWhenStale()
try {
  runNode(['scripts/demo.mjs', ...process.argv.slice(2)], { stdio: 'inherit' })
} catch (error) {
  process.exitCode = error.status ?? 1 // the demo has said what failed
}
