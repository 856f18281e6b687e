import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { wodColumns } from '../../core/cli/views/wod.ts'

export default class WodList extends LunarCommand {
  static override summary = 'List the write-once devices of a pool'
  static override examples = ['lunar wod list --pool tank', 'lunar wod list --pool tank -o name,size,written -H --bytes']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(WodList)
    return (
      (await this.columnsHelp(wodColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'wod.list', {}), wodColumns, flags, 'no write-once devices')
    )
  }
}
