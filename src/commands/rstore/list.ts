import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, optionalArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { rstoreColumns } from '../../core/cli/views/rstore.ts'

export default class RstoreList extends LunarCommand {
  static override summary = 'List the redundant stores of a LUN, or of all'
  static override examples = ['lunar rstore list tank/db', 'lunar rstore list --pool tank --sort -bound -o lun,store,disks']
  static override args = { lun: optionalArg('the LUN; all LUNs of the pool when left out') }
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(RstoreList)
    const help = await this.columnsHelp(rstoreColumns, flags)
    if (help) return help
    const { pool, name } = args.lun === undefined ? { pool: flags.pool, name: undefined } : parseReference(args.lun, flags.pool, 'lun')
    return this.list(
      await this.ask(pool, 'view', 'rstore.list', name === undefined ? {} : { lun: name }),
      rstoreColumns,
      flags,
      'no redundant stores: nothing was written',
    )
  }
}
