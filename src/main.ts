/** The program: what `bin/lunar.cjs` calls, and the table of commands that oclif finds by name. */
import { Config } from '@oclif/core/config'
import { commands } from './commands/index.ts'
import { runLine } from './core/cli/main.ts'

export { commands }

/**
 * Runs a command line, or the owner in the background when this process was started to be one (server/handover.ts).
 *
 * @param argv without node and the program
 * @param root folder of package.json and oclif.manifest.json
 * @returns the exit status
 */
export async function main(argv: readonly string[], root: string): Promise<number> {
  // What goes wrong with a write reaches its writer (cli/output.ts); the event would end the process, with a stack, and
  // so would oclif's own listener.
  for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners('error').on('error', () => undefined)
  if (process.env['LUNAR_OWNER'] === '1') return (await import('./core/server/owner-main.ts')).runOwner()
  return runLine(argv, commands, () => Config.load({ root }))
}
