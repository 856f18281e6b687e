import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { storeColumns } from '../../core/cli/views/snapshot.ts'

export default class StoreList extends LunarCommand {
  static override summary = 'List the stores of a pool, in which snapshots keep chunks'
  static override examples = ['lunar store list --pool tank', 'lunar store list --pool tank -H --bytes -o name,chunks']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(StoreList)
    return (await this.columnsHelp(storeColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'store.list', {}), storeColumns, flags, 'no stores')
  }
}
