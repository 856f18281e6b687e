import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, optionalPoolArg, pastFlags, pastParams, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { historyColumns } from '../../core/cli/views/history.ts'

export default class PoolHistory extends LunarCommand {
  static override summary = 'List who changed a pool, when, and how, oldest first'
  static override description = 'Each administrative change is kept, also one that failed; the last thousand are. A command may make several.'
  static override examples = [
    'lunar pool history tank',
    'lunar pool history tank --limit 5 -o time,user,command,verb,parameters',
    'lunar pool history tank --json',
  ]
  static override args = { pool: optionalPoolArg() }
  static override flags = {
    ...pastFlags('changes'),
    ...poolFlag(),
    ...listFlags(),
  }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(PoolHistory)
    const help = await this.columnsHelp(historyColumns, flags)
    if (help) return help
    const pool = parsePool(args.pool, flags.pool)
    return this.list(await this.ask(pool, 'view', 'pool.history', pastParams(flags)), historyColumns, flags, 'no changes')
  }
}
