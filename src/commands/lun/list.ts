import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { lunColumns } from '../../core/cli/views/lun.ts'

export default class LunList extends LunarCommand {
  static override summary = 'List the LUNs of a pool'
  static override examples = [
    'lunar lun list --pool tank',
    'lunar lun list --pool tank -o name,size,+used --sort -size,name',
    'lunar lun list --pool tank -H --bytes',
  ]
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(LunList)
    return (await this.columnsHelp(lunColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'lun.list', {}), lunColumns, flags, 'no LUNs')
  }
}
