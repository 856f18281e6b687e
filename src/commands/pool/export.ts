import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'

export default class PoolExport extends LunarCommand {
  static override summary = 'Stop the owner of a pool and forget where its disks are; the disks keep everything'
  static override examples = ['lunar pool export tank --dry-run', 'lunar pool export tank', 'lunar pool import .']
  static override args = { pool: optionalPoolArg() }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<{ name: string; disks: string[] }> {
    const { args, flags } = await this.parse(PoolExport)
    const name = parsePool(args.pool, flags.pool)
    const front = await this.around.front()
    const reply = await this.waitFor(
      'letting the pool go',
      front.exportPool({ ...(name === undefined ? {} : { name }), dryRun: flags['dry-run'], command: this.typed, signal: this.signal }),
    )
    return this.say(reply, done => `${flags['dry-run'] ? 'Would export' : 'Exported'} pool "${done.name}": ${done.disks.length} disks`)
  }
}
