import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class HostRemove extends LunarCommand {
  static override summary = 'Remove a host to which nothing is presented'
  static override examples = ['lunar host remove tank/db2 --dry-run', 'lunar host remove db2 --pool tank']
  static override args = { host: neededArg('the host') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'host.remove'>> {
    const { args, flags } = await this.parse(HostRemove)
    const { pool, name: host } = parseReference(args.host, flags.pool, 'host')
    const reply = await this.ask(pool, 'owner', 'host.remove', { host, dryRun: flags['dry-run'] })
    return this.say(reply, gone => `${flags['dry-run'] ? 'Would remove' : 'Removed'} host "${gone.name}"`)
  }
}
