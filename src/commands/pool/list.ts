import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags } from '../../core/cli/flags.ts'
import { poolColumns } from '../../core/cli/views/pool.ts'

export default class PoolList extends LunarCommand {
  static override summary = 'List the known pools'
  static override examples = ['lunar pool list', 'lunar pool list -H --bytes -o name,health,free', 'lunar pool list -o +id --sort -free']
  static override flags = listFlags()

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(PoolList)
    const help = await this.columnsHelp(poolColumns, flags)
    if (help) return help
    const front = await this.around.front()
    return this.list(
      await this.waitFor('looking for pools', front.listPools()),
      poolColumns,
      flags,
      'no pools are known: lunar pool create, or lunar pool import DIR',
    )
  }
}
