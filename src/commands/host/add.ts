import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { HostSummary } from '../../core/server/api.ts'

export default class HostAdd extends LunarCommand {
  static override summary = 'Add a host, to present volumes to'
  static override description = 'Its name is what its certificate says (CN), or that of its unix socket: lunar serve --help.'
  static override examples = ['lunar host add tank/db1', 'lunar host add db3 --pool tank --dry-run']
  static override args = { host: neededArg('name of the new host, or pool/name') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<HostSummary> {
    const { args, flags } = await this.parse(HostAdd)
    const { pool, name: host } = parseReference(args.host, flags.pool, 'host')
    const reply = await this.ask(pool, 'owner', 'host.add', { host, dryRun: flags['dry-run'] })
    return this.say(reply, added => `${flags['dry-run'] ? 'Would add' : 'Added'} host "${added.name}"`)
  }
}
