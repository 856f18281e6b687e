import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { hostColumns } from '../../core/cli/views/host.ts'

export default class HostList extends LunarCommand {
  static override summary = 'List the hosts of a pool'
  static override examples = ['lunar host list --pool tank', 'lunar host list --pool tank -o name,volumes -H']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(HostList)
    return (await this.columnsHelp(hostColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'host.list', {}), hostColumns, flags, 'no hosts')
  }
}
