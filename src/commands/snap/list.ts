import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { relationshipColumns } from '../../core/cli/views/relationship.ts'

export default class SnapList extends LunarCommand {
  static override summary = 'List the relationships of a pool'
  static override examples = ['lunar snap list --pool tank', 'lunar snap list --pool tank -H -o number,state,different --sort -different']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(SnapList)
    const help = await this.columnsHelp(relationshipColumns, flags)
    return help ?? this.list(await this.ask(flags.pool, 'view', 'snap.list', {}), relationshipColumns, flags, 'no relationships')
  }
}
